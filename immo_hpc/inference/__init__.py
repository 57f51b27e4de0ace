"""A trained model applied to old or new samples with any set of layers."""

from immo_hpc.inference.impute import Imputation
from immo_hpc.inference.outputs import to_mudata, write_folder, write_imputed, write_mudata
from immo_hpc.inference.samples import Samples, embed_samples, new_samples, prepared_samples
from immo_hpc.inference.score import hidden_r2, mean_score
from immo_hpc.inference.tables import TABLE_SUFFIXES, table_writer, write_table
from immo_hpc.inference.trained import TrainedModel

__all__ = [
    "TABLE_SUFFIXES",
    "Imputation",
    "Samples",
    "TrainedModel",
    "embed_samples",
    "hidden_r2",
    "mean_score",
    "new_samples",
    "prepared_samples",
    "table_writer",
    "to_mudata",
    "write_folder",
    "write_imputed",
    "write_mudata",
    "write_table",
]
