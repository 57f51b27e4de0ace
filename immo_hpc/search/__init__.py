"""Hyperparameter search over one study folder that any number of processes share.

`space` says what is searched, `suggest` where to look next (Optuna), `study` keeps the trials
as files and hands them to workers, `objective` measures one. Nothing here knows of clusters.
"""
