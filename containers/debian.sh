#!/usr/bin/env bash
# A Debian bookworm with Python as a folder, without a trace of the mirror or the machine it came from.
#   debian.sh TARGET WHEELS   (root; with CUDA among the wheels it gets the C compiler that Triton needs)
set -euo pipefail
target=$1 wheels=$2
packages=ca-certificates,python3,python3-venv
if compgen -G "$wheels/triton-*" >/dev/null; then packages+=,gcc,libc6-dev,python3-dev; fi
# The mirror of this machine, where it is a Debian.
# shellcheck disable=SC2016 # apt's own variable
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' 2>/dev/null | awk '/\/debian\/?$/ && !found++') || true
mirror=${mirror:-http://deb.debian.org/debian}
debootstrap --variant=minbase --include=$packages bookworm "$target" "$mirror" >"$target.log" 2>&1 || {
  tail -n 20 "$target.log" >&2
  exit 1
}
rm -rf "$target"/var/{cache/apt,lib/apt/lists,log,cache/debconf}/* "$target"/usr/share/{doc,man,info,locale}/*
# The mirror, and what debootstrap copies from the machine.
for file in etc/apt/sources.list etc/resolv.conf etc/hostname etc/machine-id; do : >"$target/$file"; done
