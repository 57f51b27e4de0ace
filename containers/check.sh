#!/usr/bin/env bash
# Check an image as its users will meet it: run by a plain user, read-only, from a path with blanks, without a home
# folder, seeing one folder of the machine; and look for what it must not hold.
#   check.sh IMAGE.sif
set -euo pipefail
if [ $# != 1 ] || [ ! -f "$1" ]; then echo "usage: check.sh IMAGE.sif" >&2; exit 2; fi
image=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
fail() {
  echo "check.sh: $*" >&2
  exit 1
}

top=$(mktemp -d)
trap 'rm -rf "$top"' EXIT
work="$top/a path with blanks"
mkdir "$work" "$work/out" "$top/unpacked"
chmod 755 "$top" "$work"
ln "$image" "$work/immo.sif" 2>/dev/null || cp "$image" "$work/immo.sif"
chmod a+r "$work/immo.sif"
as_user=()
if [ "$(id -u)" = 0 ]; then
  chown nobody "$work/out"
  as_user=(runuser -u nobody --)
fi
# No home folder and no configuration of the caller.
inside() { # apptainer's verb, then what runs inside
  local verb=$1
  shift
  (cd "$work" && ${as_user[@]+"${as_user[@]}"} env HOME=/nonexistent APPTAINER_CONFIGDIR="$work/out/.apptainer" \
    apptainer --silent "$verb" --contain --no-home --pwd / --bind "$work/out" "$work/immo.sif" "$@")
}

inside test >/dev/null 2>"$top/said" || { cat "$top/said" >&2; fail "apptainer test failed"; }
label=$(apptainer inspect --labels "$image" | sed -n 's/^org.opencontainers.image.version: //p')
[ "$(inside run --version)" = "immo-hpc $label" ] || fail "the label says version $label, immo says $(inside run --version)"
! inside exec touch /opt/immo/probe 2>/dev/null || fail "the image can be written to"
inside run demo "$work/out/results" >"$top/said" 2>&1 || { tail -n 20 "$top/said" >&2; fail "immo demo failed"; }
[ -s "$work/out/results/report.html" ] || fail "immo demo wrote no report"

# What is baked in: nothing of pip's configuration, of mirrors, proxies, folders or the name of the machine.
# From a relative path, since Apptainer notes in what it unpacks where that came from.
(cd "$work" && apptainer --silent build --force --sandbox "$top/unpacked" immo.sif)
for file in etc/hostname etc/resolv.conf etc/machine-id; do
  [ ! -s "$top/unpacked/$file" ] || fail "$file is not empty in the image"
done
found=$(find "$top/unpacked" -xdev \( -name pip.conf -o -name .netrc -o -name .pypirc -o -name .git \) -o -path "$top/unpacked/mnt/*")
[ -z "$found" ] || fail "in the image: $found"
{
  python3 -m pip config list 2>/dev/null | sed 's/^[^=]*=//' | tr "'\", " '\n'
  env | sed -n 's/^[A-Za-z]*_proxy=//Ip; s/^PIP_[A-Z_]*=//p' | tr ' ' '\n'
  # shellcheck disable=SC2016 # apt's own variable
  apt-get indextargets --format '$(SITE)' 2>/dev/null
  git -C "$(dirname "$0")" rev-parse --show-toplevel 2>/dev/null | sed 's,$,/,'
  echo "$HOME"
  hostname -f 2>/dev/null
} | sed 's,^[a-z]*://,,; s,^[^@/]*@,,' | sort -u |
  # Public places, standard paths, and names too short to mean anything.
  grep -vE '^(/|/root|/etc/ssl/.*|(deb|security)\.debian\.org.*|([a-z.]*\.)?ubuntu\.com.*|(files\.)?(pypi|pythonhosted)\.org.*|.{0,5})$' >"$top/words" || true
if [ -s "$top/words" ] && grep -rlF -f "$top/words" "$top/unpacked" >"$top/hits"; then
  fail "words of this machine's configuration are in: $(head -n 5 "$top/hits" | sed "s,^$top/unpacked,," | tr '\n' ' ')"
fi
echo "$image: $(($(stat -c %s "$image") / 1000000)) MB, immo-hpc $label; runs for a plain user, read-only; none of $(wc -l <"$top/words") local words inside"
