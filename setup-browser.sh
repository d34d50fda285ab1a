#!/usr/bin/env bash
# Finds or installs the Chromium that the browser tests drive, and a font with emoji for the pictures it takes.
# Never fails: without a browser those tests are skipped.
set -uo pipefail
emoji() { command -v fc-list >/dev/null 2>&1 && fc-list | grep -qi emoji; }
browser() { for name in chromium chromium-browser google-chrome; do command -v "$name" && return; done; return 1; }
if browser >/dev/null 2>&1 && emoji; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "setup: installing Chromium for the browser tests" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium fontconfig fonts-noto-color-emoji >/dev/null; } >&2 && exit 0
fi
browser >/dev/null 2>&1 || echo "setup: no Chromium here; the browser tests will be skipped (install the package 'chromium')" >&2
