"""The held-out error: hidden values and hidden layers of samples not trained on.

What is hidden is the same after every epoch, in every run and in every trial of a search,
and every layer counts the same, so that the error can be compared between all of them:
neither the training masks nor the loss weights enter it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.data.batches import Batch, LayerBatch, whole
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.nn import ImmoModel
from immo_hpc.train.distributed import ALONE, Group
from immo_kernels import MaskStream, dynamic_mask, masked_wmse

HIDING_STREAM = MaskStream(seed=20_261_120, epoch=0)
HIDING_KEEP = 0.75
BATCH_SIZE = 1024


@dataclass(frozen=True)
class HeldOutError:
    """Mean squared error of held-out samples, squared z-score units.

    Attributes:
        values: By layer, over the quarter of the measured values that was hidden; None
            where there is none.
        layers: By layer, over samples that also have another layer, when the whole layer
            was hidden and all else was shown; None where there is no such sample.
    """

    values: dict[str, float | None]
    layers: dict[str, float | None]

    @property
    def error(self) -> float | None:
        """Mean over layers of the mean of the errors that a layer has; None without any."""
        by_layer = []
        for name in self.values:
            known = [v for v in (self.values[name], self.layers[name]) if v is not None]
            if known:
                by_layer.append(sum(known) / len(known))
        return sum(by_layer) / len(by_layer) if by_layer else None


class HeldOut:
    """Measures a model on fixed held-out samples.

    Args:
        cohort: Prepared cohort; kept on ``device`` in batches.
        index: Places of the held-out samples of this process, ``(sample,)``, int64.
        device: Where the model is.
        batch_size: Samples that go through the model at once.
        group: Processes whose held-out samples are measured together.
    """

    def __init__(
        self,
        cohort: PreparedCohort,
        index: NDArray[np.int64],
        device: torch.device,
        batch_size: int = BATCH_SIZE,
        group: Group = ALONE,
    ) -> None:
        batches = whole(cohort, index, batch_size=batch_size, device=device)
        self._batches = list(batches) if len(index) else []
        self._group = group
        self._offsets, offset = {}, 0
        for name, layer in cohort.layers.items():
            self._offsets[name] = offset
            offset += len(layer.features)

    @torch.no_grad()
    def measure(self, model: ImmoModel) -> HeldOutError:
        """Error of ``model``, which is left in the mode (train, eval) it was in."""
        was_training = model.training
        model.eval()
        values = {name: _Mean() for name in self._offsets}
        layers = {name: _Mean() for name in self._offsets}
        for batch in self._batches:
            present = {name: layer for name, layer in batch.layers.items() if len(layer.rows)}
            self._hide_values(model, batch, present, values)
            self._hide_layers(model, batch, present, layers)
        model.train(was_training)
        self._add_others(*values.values(), *layers.values())
        return HeldOutError(
            {name: mean.value() for name, mean in values.items()},
            {name: mean.value() for name, mean in layers.items()},
        )

    def _hide_values(
        self,
        model: ImmoModel,
        batch: Batch,
        present: Mapping[str, LayerBatch],
        means: Mapping[str, _Mean],
    ) -> None:
        shown = {
            name: (self._masked(name, layer, batch.sample_uid, HIDING_KEEP), layer.rows)
            for name, layer in present.items()
        }
        latent = model.encode(shown, batch.size)
        x_hat = model.decode(latent, {name: layer.rows for name, layer in present.items()})
        for name, layer in present.items():
            scored = masked_wmse(
                x_hat[name],
                layer.values,
                batch.sample_uid.index_select(0, layer.rows),
                weight=1.0,
                keep_probability=HIDING_KEEP,
                stream=HIDING_STREAM,
                scope="dropped",
                first_feature=self._offsets[name],
            )
            means[name].add(scored.layer_sum, scored.layer_count)

    def _hide_layers(
        self,
        model: ImmoModel,
        batch: Batch,
        present: Mapping[str, LayerBatch],
        means: Mapping[str, _Mean],
    ) -> None:
        shown = {
            name: (self._masked(name, layer, batch.sample_uid, 1.0), layer.rows)
            for name, layer in present.items()
        }
        parts = model.parts(shown)
        num_layers = torch.zeros(batch.size, dtype=torch.int64, device=batch.sample_uid.device)
        for layer in present.values():
            num_layers.index_add_(0, layer.rows, torch.ones_like(layer.rows))
        for name, layer in present.items():
            chosen = (num_layers.index_select(0, layer.rows) > 1).nonzero().view(-1)
            if not len(chosen):
                continue
            others = [part for other, part in parts.items() if other != name]
            rows = layer.rows.index_select(0, chosen)
            # Decoding only these samples is exact: in eval mode no sample sees another.
            latent = model.fuse(others, batch.size).index_select(0, rows)
            x = layer.values.index_select(0, chosen)
            observed = ~x.isnan()
            x_hat = model.decode(latent, {name: None})[name]
            residual = torch.where(observed, x_hat, 0) - torch.where(observed, x, 0)
            means[name].add(residual.square().sum(), observed.sum())

    def _add_others(self, *means: _Mean) -> None:
        """Make sums those of all processes."""
        if self._group.is_alone:
            return
        own = torch.tensor([mean.sums for mean in means], dtype=torch.float64)
        for mean, sums in zip(means, self._group.all_sum(own.view(-1)).view(-1, 2), strict=True):
            mean.sums = (float(sums[0]), float(sums[1]))

    def _masked(self, name: str, layer: LayerBatch, sample_uid: Tensor, keep: float) -> Tensor:
        return dynamic_mask(
            layer.values,
            sample_uid.index_select(0, layer.rows),
            keep_probability=keep,
            stream=HIDING_STREAM,
            first_feature=self._offsets[name],
        )


class _Mean:
    def __init__(self) -> None:
        self.sums = (0.0, 0.0)

    def add(self, total: Tensor, count: Tensor) -> None:
        self.sums = (self.sums[0] + float(total), self.sums[1] + float(count))

    def value(self) -> float | None:
        total, count = self.sums
        return total / count if count else None
