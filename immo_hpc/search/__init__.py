"""Room for the hyperparameter search: study, search space, objective.

It may import everything below it (analysis, train, data) and never Submitit or Slurm.
"""
