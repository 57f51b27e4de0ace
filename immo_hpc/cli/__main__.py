"""``python -m immo_hpc.cli``: the command line without the script that pip installs."""

from immo_hpc.cli import main

main()
