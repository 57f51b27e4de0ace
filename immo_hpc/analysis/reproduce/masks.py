"""Fig. 2: the same training with masks drawn anew each epoch, and with one mask for good."""

from __future__ import annotations

from typing import Any, Literal

from immo_hpc.analysis.reproduce.sides import prepared_cohort
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort

Kind = Literal["dynamic", "static"]
By = Literal["sample", "subject"]
# The paper's keep probability in this comparison, and the epochs it measures the fall over.
KEEP = 0.75
EPOCHS = 10


def measure_masks(cohort: Cohort, config: ImmoConfig, by: By, kind: Kind) -> dict[str, Any]:
    """Train with one kind of mask and tell each epoch.

    Args:
        cohort: The paper's samples.
        config: Published settings, with the seed of this split.
        by: What is held out together.
        kind: Kind of mask.

    Returns:
        ``losses`` (of training, scored values of that epoch's masks) and ``held_out`` (error on
        hidden values and layers of held-out samples, the same for both kinds), one an epoch.
    """
    from immo_hpc.train import train

    settings = mask_config(config, by, kind)
    _, prepared = prepared_cohort(cohort, settings)
    records = train(prepared, settings).records
    return {
        "losses": [record.loss for record in records],
        "held_out": [record.validation for record in records],
    }


def mask_config(config: ImmoConfig, by: By, kind: Kind) -> ImmoConfig:
    """``config`` with a fixed keep probability and this kind of mask."""
    schedule = config.mask.values.model_copy(update={"p0": KEEP, "growth": 0.0, "p_max": KEEP})
    mask = config.mask.model_copy(update={"dynamic": kind == "dynamic", "values": schedule})
    return split_by(config.model_copy(update={"mask": mask}), by)


def split_by(config: ImmoConfig, by: By) -> ImmoConfig:
    """``config`` with another unit of the split."""
    return config.model_copy(update={"split": config.split.model_copy(update={"by": by})})


def fall(losses: list[float], epochs: int = EPOCHS) -> float:
    """Share by which a loss fell from the first to the last of the first ``epochs`` epochs.

    Example:
        >>> fall([2.0, 1.5, 1.0, 0.1], epochs=3)
        0.5
    """
    return 1 - losses[min(epochs, len(losses)) - 1] / losses[0]
