#!/usr/bin/env bash
# Finds or installs what the browser tests drive: Chromium, a font with emoji for the pictures that they take, and
# axe-core (npm), which looks for barriers. Never fails: what is missing here is skipped there, with the reason.
set -uo pipefail
cd "$(dirname "$0")"
axe=axe-core-4.14.1.tgz
axe_sum=e6b0ce02b84d892e2e33e403485e7f3d6c29e2be6df65daf44d89ba564139745
emoji() { command -v fc-list >/dev/null 2>&1 && fc-list | grep -qi emoji; }
browser() { for name in chromium chromium-browser google-chrome; do command -v "$name" && return; done; return 1; }
good() { echo "$axe_sum  .venv/axe/$axe" | sha256sum --check --status 2>/dev/null; }

fetch_axe() {
  good && return
  mkdir -p .venv/axe
  timeout 60 npm pack --silent --pack-destination .venv/axe axe-core@4.14.1 >/dev/null 2>&1 || true
  good || { rm -f ".venv/axe/$axe"; echo "setup: axe-core cannot be had from npm; the tests for barriers will be skipped" >&2; }
}

install_browser() {
  if browser >/dev/null 2>&1 && emoji; then return; fi
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    echo "setup: installing Chromium for the browser tests" >&2
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y chromium fontconfig fonts-noto-color-emoji >/dev/null; } >&2 && return
  fi
  browser >/dev/null 2>&1 || echo "setup: no Chromium here; the browser tests will be skipped (install the package 'chromium')" >&2
}

fetch_axe
install_browser
exit 0
