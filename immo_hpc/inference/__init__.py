"""A trained model applied to old or new samples with any set of layers."""

from immo_hpc.inference.impute import Imputation
from immo_hpc.inference.outputs import (
    TABLE_SUFFIXES,
    to_mudata,
    write_folder,
    write_mudata,
    write_table,
)
from immo_hpc.inference.score import hidden_r2, mean_score
from immo_hpc.inference.trained import TrainedModel

__all__ = [
    "TABLE_SUFFIXES",
    "Imputation",
    "TrainedModel",
    "hidden_r2",
    "mean_score",
    "to_mudata",
    "write_folder",
    "write_mudata",
    "write_table",
]
