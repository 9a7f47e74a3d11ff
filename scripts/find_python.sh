#!/bin/sh
# Prints a Python of at least 3.11: $UAR_PYTHON if set, else the first of the usual names. Fails with a sentence if there is none.
set -eu

is_new_enough() {
    "$1" -c 'import sys; raise SystemExit(sys.version_info < (3, 11))' >/dev/null 2>&1
}

if [ -n "${UAR_PYTHON:-}" ]; then
    is_new_enough "$UAR_PYTHON" && { echo "$UAR_PYTHON"; exit 0; }
    echo "UAR_PYTHON=$UAR_PYTHON is not a Python 3.11 or newer that starts." >&2
    exit 1
fi

for candidate in python3 python3.13 python3.12 python3.11 python3.14; do
    is_new_enough "$candidate" && { echo "$candidate"; exit 0; }
done

found=$(python3 --version 2>/dev/null || echo "no python3 at all")
echo "Python 3.11 or newer is needed, and this machine has $found." >&2
echo "Install it (Debian, Ubuntu: apt-get install python3 python3-venv; macOS: brew install python@3.12), or name one: make UAR_PYTHON=/path/to/python3.12" >&2
exit 1
