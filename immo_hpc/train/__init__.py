"""The training loop, checkpoints and run folders."""

from immo_hpc.train.loop import Training, fit, train
from immo_hpc.train.metrics import EpochRecord, read_metrics
from immo_hpc.train.model_file import SavedModel, load_model, save_model
from immo_hpc.train.run import RunFolder
from immo_hpc.train.running import train_run
from immo_hpc.train.validation import HeldOut, HeldOutError

__all__ = [
    "EpochRecord",
    "HeldOut",
    "HeldOutError",
    "RunFolder",
    "SavedModel",
    "Training",
    "fit",
    "load_model",
    "read_metrics",
    "save_model",
    "train",
    "train_run",
]
