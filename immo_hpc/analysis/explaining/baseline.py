"""What an attribution is relative to, and which score it is of."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.explaining.latent import Baseline
from immo_hpc.analysis.explaining.people import owners, person_means
from immo_hpc.analysis.labels import LabelledSamples
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import UsageError

Kind = Literal["mean", "class"]
BASELINES: tuple[Kind, ...] = ("mean", "class")
_MISSING = "missing values are 0 in both and get no attribution"


def baseline_of(kind: Kind, cohort: PreparedCohort, data: LabelledSamples) -> Baseline | None:
    """The baseline's z-scores by layer ``(feature,)``; None for all 0.

    Args:
        kind: 'mean': the training mean; 'class': the mean of the training people of the first
            of two classes, visits averaged within a person first.
        cohort: The training cohort.
        data: Its labelled samples.

    Raises:
        UsageError: If it is 'class' and there are more than two, of which none stands against
            all others.
    """
    if kind == "mean":
        return None
    if data.num_classes != 2:
        message = (
            f"--baseline class: expected two classes, found {data.num_classes} "
            f"({', '.join(data.classes)}). Use --baseline mean."
        )
        raise UsageError(message)
    first = cohort.take(data.index[data.training & (data.y == 0)])
    owner, means = owners(first), {}
    for name, layer in first.layers.items():
        means[name] = np.zeros(len(layer.features), dtype=np.float32)
        if len(layer.rows):
            _, values = person_means(np.nan_to_num(layer.values), owner[layer.rows])
            means[name] = values.mean(axis=0).astype(np.float32)
    return means


def baseline_words(kind: Kind, data: LabelledSamples) -> str:
    """The same for people."""
    if kind == "class":
        return (
            f"the mean of the training people of class '{data.classes[0]}' (visits averaged "
            f"first), with the same layers measured; {_MISSING}"
        )
    return (
        "all z-scores 0: a sample with the same layers measured, every value at the mean of the "
        f"training samples; {_MISSING}"
    )


def targets(samples: PreparedCohort, data: LabelledSamples) -> NDArray[np.int64]:
    """Column of the score to attribute: the positive class, or the sample's own class."""
    if data.num_classes == 2:
        return np.zeros(len(samples.samples), dtype=np.int64)
    label = samples.roles.label
    if label is None or label not in samples.samples.columns:
        return np.full(len(samples.samples), -1, dtype=np.int64)
    code = {name: place for place, name in enumerate(data.classes)}
    texts = samples.samples[label].tolist()
    return np.array([code.get(str(text), -1) for text in texts], dtype=np.int64)
