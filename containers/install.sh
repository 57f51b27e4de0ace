#!/bin/sh
# Install immo-hpc into /opt/immo of the image that is being made. Runs inside it, for immo.def and Containerfile alike.
#   install.sh CONSTRAINTS PIP_ARGUMENT...   the arguments say what to install, and from where
set -eu
constraints=$1
shift
umask 022
python3 -m venv /opt/immo
# Isolated: neither the environment nor a file of the machine that builds may say where packages come from.
# Compiled now, as nobody can write beside the sources of a read-only image later.
/opt/immo/bin/python -m pip --isolated install --quiet --no-cache-dir --disable-pip-version-check --no-warn-script-location \
  --compile --constraint "$constraints" "$@"

# Tests of other packages, 200 MB that nothing here runs or imports; torch keeps theirs as programs.
for package in pandas scipy sklearn numpy numba pyarrow matplotlib networkx sympy; do
  find /opt/immo/lib/python3*/site-packages/"$package" -depth -type d -name tests -exec rm -r {} + 2>/dev/null || true
done
for torch in /opt/immo/lib/python3*/site-packages/torch; do
  rm -rf "$torch/test"
  find "$torch/bin" -type f ! -name torch_shm_manager -delete
done

# Triton compiles a small C program on first use of a GPU; without CUDA nothing asks for a compiler.
if /opt/immo/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is None)' && ! command -v gcc >/dev/null; then
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends gcc libc6-dev
fi
rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/*.log /root/.cache
