#!/usr/bin/env bash
# Install what the cluster tests need: Slurm with accounting, and Apptainer. This changes the machine, so
# it does so only as root, on Debian or Ubuntu, and when told to:  install.sh --install [slurm] [apptainer]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

if [ "${1:-}" != --install ]; then
  echo "usage: install.sh --install [slurm] [apptainer]   (installs packages on this machine)" >&2
  exit 2
fi
shift
export DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin

may_install() { # what
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "install.sh: root and apt-get are needed to install $1; found uid $(id -u), apt-get '$(command -v apt-get || true)'" >&2
    exit 3
  fi
}

for what in "${@:-slurm}"; do
  case $what in
    slurm)
      missing=()
      for pair in slurmctld:slurm-wlm slurmd:slurm-wlm slurmdbd:slurmdbd munged:munge mariadbd:mariadb-server; do
        command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
      done
      if [ ${#missing[@]} -gt 0 ]; then
        may_install "${missing[*]}"
        apt-get update -qq
        apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
      fi
      slurmctld -V
      ;;
    apptainer)
      if ! command -v apptainer >/dev/null; then
        may_install apptainer
        bash "$here/install-apptainer.sh"
      fi
      apptainer version
      ;;
    *)
      echo "install.sh: expected slurm or apptainer, found '$what'" >&2
      exit 2
      ;;
  esac
done
