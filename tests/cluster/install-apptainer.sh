#!/usr/bin/env bash
# Apptainer where apt has no package of it: Debian's own build from sid, unpacked under a prefix of its own, beside the
# C library it was built with. Nothing of the system's libraries or apt sources changes. Called by install.sh.
set -euo pipefail
prefix=${APPTAINER_PREFIX:-/opt/apptainer}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
triplet=$(uname -m)-linux-gnu

apt-get update -qq
if apt-get install -y -qq --no-install-recommends apptainer >/dev/null 2>&1; then exit 0; fi
if [ ! -s $keyring ]; then
  echo "install-apptainer.sh: apt has no apptainer here; see https://apptainer.org/docs/admin/latest/installation.html" >&2
  exit 3
fi
apt-get install -y -qq --no-install-recommends patchelf squashfs-tools squashfuse fuse-overlayfs fuse3 fakeroot uidmap \
  debootstrap libseccomp2 libsqlite3-0 >/dev/null

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2016 # apt's own variable
mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' | awk '/\/debian\/?$/ && !found++')
mirror=${mirror:-http://deb.debian.org/debian}
mkdir -p "$work"/{state/lists/partial,cache/archives/partial,packages}
: >"$work/status"
# Sid's lists expire within a week; an older mirror snapshot serves as well.
cat >"$work/sources.list" <<SOURCES
deb [signed-by=$keyring] $mirror trixie main
deb [signed-by=$keyring check-valid-until=no] $mirror sid main
SOURCES
apt_aside() {
  apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
    -o Dir::Etc::preferencesparts=/dev/null -o Dir::State="$work/state" -o Dir::State::status="$work/status" \
    -o Dir::Cache="$work/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none "$@"
}
apt_aside update
(cd "$work/packages" && apt_aside download libc6/trixie && { apt_aside download apptainer=1.4.5-2 2>/dev/null || apt_aside download apptainer/sid; })

rm -rf "$prefix"
mkdir -p "$prefix/libc"
dpkg-deb -x "$work"/packages/apptainer_*.deb "$prefix"
dpkg-deb -x "$work"/packages/libc6_*.deb "$prefix/libc"
libraries=$prefix/libc/usr/lib/$triplet
loader=$(find "$libraries" -name 'ld-linux-*' | head -n 1)
# The old form of the run path is inherited by the libraries that these programs load; the new one is not.
for program in "$prefix/usr/bin/apptainer" "$prefix/usr/lib/$triplet/apptainer/bin/starter"; do
  patchelf --force-rpath --set-interpreter "$loader" --set-rpath "$libraries" "$program"
done
# Moved out of /, the two programs look for their configuration beside themselves.
for name in etc var; do
  ln -s "../$name" "$prefix/usr/$name"
  ln -s "../../$name" "$prefix/usr/lib/$name"
done

# Root in a small virtual machine may lack capabilities, and Apptainer run by root asks for all of them. So it is told
# which ones there are: by its configuration for exec, by the environment for the steps of a build.
bounds=$((16#$(awk '/^CapBnd/ { print $2 }' /proc/self/status)))
held=() lacking=() bit=0
while read -r name; do
  name=CAP_${name^^}
  if ((bounds >> bit & 1)); then held+=("\"$name\""); else lacking+=("$name"); fi
  bit=$((bit + 1))
done < <(setpriv --list-caps)
join() { local IFS=,; echo "$*"; }
if [ ${#lacking[@]} -gt 0 ]; then
  sed -i 's/^root default capabilities = .*/root default capabilities = file/' "$prefix/etc/apptainer/apptainer.conf"
  echo "{\"users\": {\"root\": [$(join "${held[@]}")]}}" >"$prefix/etc/apptainer/capability.json"
fi

# Other users mount images by FUSE, which some virtual machines keep for root.
[ ! -c /dev/fuse ] || chmod 666 /dev/fuse

drop=$(join "${lacking[@]}")
{
  echo '#!/bin/sh'
  [ -z "$drop" ] || echo "[ \"\$(id -u)\" != 0 ] || export APPTAINER_DROP_CAPS=\"\${APPTAINER_DROP_CAPS:-$drop}\""
  echo "exec $prefix/usr/bin/apptainer \"\$@\""
} >"$prefix/apptainer"
chmod 755 "$prefix/apptainer"
ln -sf "$prefix/apptainer" /usr/local/bin/apptainer
