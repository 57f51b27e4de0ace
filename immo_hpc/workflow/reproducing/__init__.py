"""Reproducing the paper: the job, its parts, its processes, and what they leave behind."""
