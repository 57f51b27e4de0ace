"""Why a loss is not finite: which layer, which features, and what to do about it.

Called only once a step has failed, so it may look at everything.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from immo_hpc.data.batches import Batch
from immo_hpc.data.prepared import PreparedLayer
from immo_hpc.data.stream import StoredLayer
from immo_hpc.errors import TrainingError
from immo_hpc.nn import ImmoModel

_NAMED = 5
# The square of a larger float32 is infinite.
_LARGEST = 1e19


@torch.no_grad()
def explain_non_finite(
    model: ImmoModel,
    batch: Batch,
    layers: Mapping[str, PreparedLayer | StoredLayer],
    losses: Mapping[str, float],
    *,
    epoch: int,
    step: int,
) -> TrainingError:
    """The error to raise for a step whose loss or gradient is not finite.

    Args:
        model: The network before the step.
        batch: The step's batch.
        layers: Layers of the cohort, for the features' names.
        losses: Loss by layer present in the batch.
        epoch: Counted from 0.
        step: Step in the epoch, counted from 0.

    Returns:
        An error that names epoch, step, layers, features, the likely cause and a remedy.
    """
    where = f"epoch {epoch}, step {step}: the loss or its gradient is not finite"
    bad_layers = [name for name, loss in losses.items() if not math.isfinite(loss)]
    for name in losses:
        values = batch.layers[name].values
        found = _features(layers[name], (values.abs() > _LARGEST).sum(0))
        if found:
            return TrainingError(
                f"{where} in layer '{name}': {found} hold infinite or huge values (above "
                f"{_LARGEST:.0e} z-score units). Check these features with immo validate, or "
                "drop them, and prepare the cohort again."
            )
    parameters = [name for name, p in model.named_parameters() if not bool(p.isfinite().all())]
    named = f"in layer {', '.join(map(repr, bad_layers or losses))}"
    shown = {
        name: (torch.where(layer.values.isnan(), 0, layer.values), layer.rows)
        for name, layer in batch.layers.items()
    }
    x_hat = model.decode(
        model.encode(shown, batch.size), {name: batch.layers[name].rows for name in losses}
    )
    wrong = [
        f"'{name}': {_features(layers[name], (~x_hat[name].isfinite()).sum(0))}"
        for name in losses
        if not bool(x_hat[name].isfinite().all())
    ]
    what = f"; the reconstruction is not finite in layer {'; '.join(wrong)}" if wrong else ""
    why = f"; weights {', '.join(parameters[:_NAMED])} are not finite" if parameters else ""
    return TrainingError(
        f"{where} {named}{what}{why}. The inputs are finite, so the training has diverged: "
        "lower train.learning_rate or train.clip_norm and train again."
    )


def has_huge_values(batch: Batch) -> bool:
    """Whether a value of the batch is infinite or so large that its square is."""
    return any(bool((layer.values.abs() > _LARGEST).any()) for layer in batch.layers.values())


def _features(layer: PreparedLayer | StoredLayer, counts: Tensor) -> str:
    """Names of the features with a count above 0 and their number; '' without any."""
    places = counts.nonzero().view(-1).tolist()
    if not places:
        return ""
    names = ", ".join(f"'{layer.features[place]}'" for place in places[:_NAMED])
    more = f" and {len(places) - _NAMED} more" if len(places) > _NAMED else ""
    return f"{len(places)} of {len(layer.features)} features ({names}{more})"
