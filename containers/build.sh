#!/usr/bin/env bash
# Build the Apptainer image from the committed state.
#   build.sh [--from docker|debootstrap] [--torch default|cpu] IMAGE.sif
# --from docker       python:3.11-slim of Docker Hub (default)
# --from debootstrap  a Debian bookworm made here with debootstrap (root), where no registry can be reached
# --torch cpu         PyTorch's index of CPU wheels too; by default whatever pip's own configuration finds, which
#                     on PyPI is the CUDA build
# PYTHON names a Python with pip for the downloads, PIP_ARGS adds arguments for it (such as an index).
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
from=docker
read -r -a pip_args <<<"${PIP_ARGS:-}"
image=

usage() {
  sed -n '3,9s/^# \{0,1\}//p' "$0" >&2
  exit 2
}
while [ $# -gt 0 ]; do
  case $1 in
    --from) from=${2:-} && shift ;;
    --torch)
      case ${2:-} in
        cpu) pip_args+=(--extra-index-url https://download.pytorch.org/whl/cpu) ;;
        default) ;;
        *) usage ;;
      esac
      shift
      ;;
    -*) usage ;;
    *) [ -z "$image" ] || usage; image=$1 ;;
  esac
  shift
done
[ -n "$image" ] || usage
case $from in docker | debootstrap) ;; *) usage ;; esac
fail() {
  echo "build.sh: $*" >&2
  exit 1
}
command -v apptainer >/dev/null || fail "apptainer is not on PATH; see docs/containers.md"
repository=$(git -C "$here" rev-parse --show-toplevel) || fail "a git clone is needed, for the image holds its commit"
commit=$(git -C "$repository" rev-parse HEAD)
[ -z "$(git -C "$repository" status --porcelain --untracked-files=no)" ] ||
  echo "build.sh: changes that are not committed will not be in the image" >&2

started=$SECONDS
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/source" "$work/mnt" "$(dirname "$image")"
image=$(cd "$(dirname "$image")" && pwd)/$(basename "$image")
git -C "$repository" archive HEAD | tar -x -C "$work/source"
cp "$work/source/constraints.txt" "$work/source/containers/install.sh" "$work/mnt"

# All that is installed is fetched here, by pip as this machine has it configured; the image never learns from where.
pip() { "$python" -m pip --disable-pip-version-check -qq "$@"; }
pip wheel --no-deps --wheel-dir "$work/mnt" "$work/source"
wheel=$(cd "$work/mnt" && echo immo_hpc-*.whl)
version=$(echo "$wheel" | cut -d - -f 2)
(cd "$work/mnt" && pip download ${pip_args[@]+"${pip_args[@]}"} --only-binary=:all: --python-version 3.11 \
  --constraint constraints.txt --dest . "./${wheel}[mudata]")
echo "wheels: $(du -sh "$work/mnt" | cut -f 1), $((SECONDS - started)) s"

arguments=(--build-arg "VERSION=$version" --build-arg "COMMIT=$commit")
if [ "$from" = debootstrap ]; then
  [ "$(id -u)" = 0 ] || fail "debootstrap needs root; with a registry in reach, --from docker does not"
  command -v debootstrap >/dev/null || fail "debootstrap is not on PATH; install it, or use --from docker"
  bash "$here/debian.sh" "$work/base" "$work/mnt"
  echo "Debian: $(du -sh "$work/base" | cut -f 1), $((SECONDS - started)) s"
  # A relative path: the image keeps this line of the definition.
  arguments+=(--build-arg BOOTSTRAP=localimage --build-arg BASE=base)
fi
# A temporary name of the same folder, so that an image in use, or a good one, is never half replaced.
# gzip, which every kernel mounts; level 6 takes a third of the time of 9 and makes the image 1 % larger.
(cd "$work" && apptainer --quiet build --force "${arguments[@]}" --bind "$work/mnt:/mnt:ro" \
  --mksquashfs-args "-comp gzip -Xcompression-level 6" "$image.part" source/containers/immo.def)
mv "$image.part" "$image"
echo "$image: $(($(stat -c %s "$image") / 1000000)) MB, immo-hpc $version, commit ${commit:0:12}, built in $((SECONDS - started)) s"
