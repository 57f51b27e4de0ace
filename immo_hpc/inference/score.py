"""How well a model foretells values and layers it is not shown."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch

from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError
from immo_hpc.inference.forward import device_of
from immo_hpc.nn import ImmoModel
from immo_hpc.train.validation import HeldOut


def hidden_r2(model: ImmoModel, cohort: PreparedCohort) -> pd.DataFrame:
    """R² of hidden values and of hidden layers, against the mean of the training samples.

    What is hidden is what the held-out error of the training hides
    (`immo_hpc.train.validation`): ``values``, a fixed part of the measured values, all at
    once; ``layers``, a whole layer at a time, of samples that have another one. R² is
    ``1 - sum (x_hat - x)^2 / sum x^2`` over a layer's hidden z-scores: 0 is as good as the
    training mean, 1 is perfect.

    Args:
        model: Trained network.
        cohort: Prepared samples; ones it was not trained on, if the score is to say anything.

    Returns:
        Index ``layer``; columns ``values`` and ``layers``, NaN where nothing could be hidden.

    Raises:
        CohortError: If nothing could be hidden in any layer.
    """
    everyone = np.arange(len(cohort.samples), dtype=np.int64)
    held_out = HeldOut(cohort, everyone, device_of(model))
    errors, mean = held_out.measure(model), held_out.measure(_mean_of_training(model))
    table = pd.DataFrame(
        {
            "values": _r2(errors.values, mean.values),
            "layers": _r2(errors.layers, mean.layers),
        }
    ).rename_axis("layer")
    if bool(table.isna().to_numpy().all()):
        message = f"score: none of the {len(everyone)} samples has a value that could be hidden."
        raise CohortError(message)
    return table


def mean_score(table: pd.DataFrame) -> float:
    """Mean over layers of the mean of a layer's R² (`hidden_r2`), each layer alike."""
    return float(table.mean(axis=1).mean())


def _mean_of_training(model: ImmoModel) -> ImmoModel:
    """A network that says 0, the z-score of the training mean, for every value."""
    null = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in [*null.output_weights, *null.output_biases]:
            parameter.zero_()
    return null


def _r2(errors: Mapping[str, float | None], mean: Mapping[str, float | None]) -> dict[str, float]:
    scores = {}
    for name, error in errors.items():
        reference = mean[name]
        scores[name] = 1 - error / reference if error is not None and reference else np.nan
    return scores
