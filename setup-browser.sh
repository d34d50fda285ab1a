#!/usr/bin/env bash
# Finds or installs the Chromium that the browser tests drive. Never fails: without one those tests are skipped.
set -uo pipefail
for name in chromium chromium-browser google-chrome; do
  command -v "$name" >/dev/null 2>&1 && exit 0
done
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "setup: installing Chromium for the browser tests" >&2
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium >/dev/null; } >&2 && exit 0
fi
echo "setup: no Chromium here; the browser tests will be skipped (install the package 'chromium')" >&2
