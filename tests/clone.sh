#!/usr/bin/env bash
# Be the newcomer: clone the committed state into an empty folder, run `make demo` there with a fresh
# environment, then paste every other command of the README in order. Nothing of the caller's
# environment is used.
set -euo pipefail
source_folder=$(git rev-parse --show-toplevel)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$source_folder" "$folder/immo hpc"
cd "$folder/immo hpc"
unset PYTHONPATH VIRTUAL_ENV

started=$(date +%s)
make demo
test -s demo/report.html
echo "from bare clone to report: $(($(date +%s) - started)) s, installation included"

# Code blocks without a language are shell; the two make targets were the first of them.
code_blocks() { # language
  awk -v fence="\`\`\`$1" '/^```/ { shut = open; open = !open; inside = !shut && $0 == fence; next } inside' README.md
}
code_blocks "" | grep -v '^make ' > readme.sh
code_blocks python > readme.py
grep -c '^immo ' readme.sh
bash -euxo pipefail readme.sh
.venv/bin/python readme.py
for made in results/report.html report.html latent.csv imputed/mb.parquet mb_from_mg.csv \
  classification/methods.csv attribution/features.csv; do
  test -s "$made"
done
