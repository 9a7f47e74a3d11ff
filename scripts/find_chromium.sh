#!/bin/sh
# Makes sure that there is a Chromium for the browser tests: on the machine, in Playwright's own folder, or installed now.
set -eu

venv=$1

found() {
    for name in chromium chromium-browser google-chrome google-chrome-stable; do
        command -v "$name" && return 0
    done
    "$venv/bin/python" - <<'PYTHON'
import pathlib, sys
from playwright.sync_api import sync_playwright

with sync_playwright() as playwright:
    path = pathlib.Path(playwright.chromium.executable_path)
print(path)
sys.exit(not path.is_file())
PYTHON
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

install_with_apt() {
    command -v apt-get >/dev/null || return 1
    as_root true 2>/dev/null || return 1
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq && as_root apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core
}

found >/dev/null 2>&1 && exit 0
echo "No Chromium found; installing one ..."
install_with_apt || true
found >/dev/null 2>&1 && exit 0
"$venv/bin/python" -m playwright install --with-deps chromium || "$venv/bin/python" -m playwright install chromium || true
found >/dev/null 2>&1 && exit 0
echo "The browser tests need Chromium and it could not be installed. Install it (Debian: apt-get install chromium;" >&2
echo "elsewhere: $venv/bin/python -m playwright install --with-deps chromium) and try again." >&2
exit 1
