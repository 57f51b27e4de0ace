"""Room for cluster jobs: executors, profiles, container wrapping.

It may import `immo_hpc` below the command line and holds no mathematics.
"""
