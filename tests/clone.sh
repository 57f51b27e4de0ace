#!/usr/bin/env bash
# Be the newcomer: clone the committed state into an empty folder, run `make demo` there with a
# fresh environment, and look for the report. Nothing of the caller's environment is used.
set -euo pipefail
source_folder=$(git rev-parse --show-toplevel)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$source_folder" "$folder/immo hpc"
cd "$folder/immo hpc"
started=$(date +%s)
env -u PYTHONPATH -u VIRTUAL_ENV make demo
echo "from bare clone to report: $(($(date +%s) - started)) s, installation included"
test -s demo/report.html
