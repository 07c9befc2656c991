#!/usr/bin/env bash
# Makes the wheels that a station carries to devices without the package of tpm2-pytss, or without a package manager:
#     scripts/device_wheels.sh SUITE ARCHITECTURE DIRECTORY [MIRROR...]
# for the Python of Debian's SUITE (bullseye, bookworm, trixie) and its ARCHITECTURE (amd64, arm64, armhf), in a root file
# system of that release, whose packages come from each MIRROR, by default Debian's own. Another architecture than the
# machine's needs the packages of the profile emulation of bindep.txt. As root.
set -euo pipefail
suite=$1 architecture=$2
mkdir -p "$3"
directory=$(cd "$3" && pwd)
mirrors=("${@:4}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

build=$work/build
cat >"$build" <<'SH'
#!/bin/sh
set -eu
# What this machine trusts, such as a proxy's authority, is trusted in there.
cp /etc/ssl/certs/ca-certificates.crt "$1/etc/ssl/certs/ca-certificates.crt"
chroot "$1" env PIP_CERT=/etc/ssl/certs/ca-certificates.crt PIP_ROOT_USER_ACTION=ignore PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONFIG_FILE=/dev/null python3 -m pip wheel --quiet --wheel-dir /tmp/wheels 'tpm2-pytss<3' pip
SH
chmod +x "$build"
mmdebstrap --quiet --variant=apt --architectures="$architecture" --dpkgopt=force-unsafe-io \
    --include=ca-certificates,gcc,libc6-dev,libffi-dev,libtss2-dev,pkg-config,python3-dev,python3-pip,python3-wheel \
    --customize-hook="$build" --customize-hook="sync-out /tmp/wheels '$directory'" --format=null "$suite" - "${mirrors[@]}"
ls "$directory"
