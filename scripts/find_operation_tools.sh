#!/bin/sh
# Makes sure that the tools are there which the tests of deploy/ and of faults need: nginx, docker-compose, systemd-analyze, strace,
# e2fsprogs, xfsprogs, libfaketime.
# What cannot be installed here is named, and the tests that need it fail with the same sentence.
set -eu

missing() {
    PATH="$PATH:/usr/sbin:/sbin"
    command -v nginx >/dev/null || printf 'nginx-light '
    command -v docker-compose >/dev/null || docker compose version >/dev/null 2>&1 || printf 'docker-compose '
    command -v systemd-analyze >/dev/null || printf 'systemd '
    command -v strace >/dev/null || printf 'strace '
    command -v mkfs.ext4 >/dev/null || printf 'e2fsprogs '
    command -v mkfs.xfs >/dev/null || printf 'xfsprogs '
    [ -e "/usr/lib/$(uname -m)-linux-gnu/faketime/libfaketime.so.1" ] || printf 'libfaketime '
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi
}

packages=$(missing)
[ -z "$packages" ] && exit 0
echo "Installing $packages..."
if command -v apt-get >/dev/null && as_root true 2>/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    as_root apt-get update -qq || true
    # shellcheck disable=SC2086 # a list of packages
    as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null || true
fi
packages=$(missing)
[ -z "$packages" ] || echo "Not there and not installable here: $packages. The tests that need them will fail and say so." >&2
