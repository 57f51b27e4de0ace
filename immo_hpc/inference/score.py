"""How well a model foretells values and layers it is not shown."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from immo_hpc.data.hiding import has_both
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError
from immo_hpc.inference.trained import TrainedModel
from immo_hpc.train.validation import HIDING_KEEP, HIDING_STREAM
from immo_kernels import dynamic_mask

Table = NDArray[np.float32]


def hidden_r2(model: TrainedModel, cohort: PreparedCohort) -> pd.DataFrame:
    """R² of hidden values and of hidden layers, against the mean of the training samples.

    What is hidden is what the held-out error of the training hides
    (`immo_hpc.train.validation`): ``values``, a fixed part of the measured values, all at
    once; ``layers``, a whole layer at a time, of samples that have another one. R² is
    ``1 - sum (x_hat - x)^2 / sum x^2`` over a layer's hidden z-scores: 0 is as good as the
    training mean, 1 is perfect.

    Args:
        model: Trained model, its companion included.
        cohort: Prepared samples; ones it was not trained on, if the score is to say anything.

    Returns:
        Index ``layer``; columns ``values`` and ``layers``, NaN where nothing could be hidden.

    Raises:
        CohortError: If nothing could be hidden in any layer.
    """
    shown, hidden = _without_some_values(cohort)
    said = model.reconstruct(shown)
    scores: dict[str, dict[str, float]] = {"values": {}, "layers": {}}
    for name, layer in cohort.layers.items():
        scores["values"][name] = _r2(hidden[name], said[name][layer.rows])
        places = has_both(cohort, name)
        held = cohort.take(places)
        answer = model.reconstruct(held.without(name), [name])[name]
        scores["layers"][name] = _r2(held.wide([name]), answer)
    table = pd.DataFrame(scores).rename_axis("layer")
    if bool(table.isna().to_numpy().all()):
        message = (
            f"score: none of the {len(cohort.samples)} samples has a value that could be hidden."
        )
        raise CohortError(message)
    return table


def mean_score(table: pd.DataFrame) -> float:
    """Mean over layers of the mean of a layer's R² (`hidden_r2`), each layer alike."""
    return float(table.mean(axis=1).mean())


def _without_some_values(cohort: PreparedCohort) -> tuple[PreparedCohort, dict[str, Table]]:
    """The cohort with some values missing, and those values by layer, else NaN."""
    layers, hidden, first = {}, {}, 0
    for name, layer in cohort.layers.items():
        kept = dynamic_mask(
            torch.ones(layer.values.shape),
            torch.from_numpy(cohort.sample_uid[layer.rows]),
            keep_probability=HIDING_KEEP,
            stream=HIDING_STREAM,
            first_feature=first,
        )
        is_kept = kept.numpy() > 0
        layers[name] = replace(layer, values=np.where(is_kept, layer.values, np.float32(np.nan)))
        hidden[name] = np.where(is_kept, np.float32(np.nan), layer.values)
        first += len(layer.features)
    return replace(cohort, layers=layers), hidden


def _r2(truth: Table, said: Table) -> float:
    is_scored = np.isfinite(truth)
    x = truth[is_scored].astype(np.float64)
    total = float((x**2).sum())
    return 1 - float(((said[is_scored] - x) ** 2).sum()) / total if total else float("nan")
