#!/bin/sh
# Installs the requirement file $2 into the virtual environment $1; tries again, because package servers have bad minutes.
set -eu

venv=$1
requirements=$2
echo "Installing $requirements ..."
for pause in 5 20 0; do
    "$venv/bin/python" -m pip --disable-pip-version-check install --quiet --retries 10 --timeout 60 --requirement "$requirements" && exit 0
    [ "$pause" = 0 ] || { echo "That failed; trying again in $pause seconds." >&2; sleep "$pause"; }
done
echo "pip could not install $requirements: see its message above. A proxy or another package index is set in pip's own settings (pip config)." >&2
exit 1
