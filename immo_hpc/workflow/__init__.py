"""Whole flows over files: what each verb of the command line calls."""
