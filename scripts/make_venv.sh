#!/bin/sh
# Makes the virtual environment $1 unless it is there and works.
set -eu

venv=$1
"$venv/bin/python" -c 'import pip' >/dev/null 2>&1 && exit 0

python=$("$(dirname "$0")/find_python.sh")
echo "Making $venv with $("$python" --version) ..."
rm -rf "$venv"
if "$python" -c 'import ensurepip' >/dev/null 2>&1; then
    "$python" -m venv "$venv"
elif "$python" -m pip --version >/dev/null 2>&1; then
    # Debian and Ubuntu keep ensurepip in a package of its own; where pip is there, it can fill the environment from outside.
    "$python" -m venv --without-pip "$venv"
    "$python" -m pip --disable-pip-version-check --python "$venv/bin/python" install --quiet pip
else
    echo "$python comes without the venv module's ensurepip. Install it (Debian, Ubuntu: apt-get install python3-venv) and try again." >&2
    exit 1
fi
