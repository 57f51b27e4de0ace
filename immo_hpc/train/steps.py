"""One training step up to its gradient: in one process, or shared among several."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

import torch

from immo_hpc.data.batches import Batch, Source
from immo_hpc.nn import GradientPass, ImmoModel
from immo_hpc.nn.gradient import DECODER
from immo_hpc.nn.shared import SharedStacks
from immo_hpc.train.agreement import AgreedStop
from immo_hpc.train.distributed import Group
from immo_hpc.train.objective import LayerLoss, Objective
from immo_hpc.train.optimiser import Optimiser
from immo_hpc.train.samples import Samples
from immo_hpc.train.shares import EpochShares


class Steps(Protocol):
    """Losses of batches and their gradients."""

    def start_epoch(self, objective: Objective) -> None:
        """Prepare for the epoch of ``objective``."""

    def losses(self, batch: Batch, step: int) -> tuple[dict[str, LayerLoss], int]:
        """Losses by layer of the whole batch ``step``, and its number of samples.

        Figures are those of the whole batch; reconstructions and their gradients those of
        this process's rows.
        """

    def backward(self, losses: Mapping[str, LayerLoss]) -> None:
        """Set every parameter's gradient to that of the whole batch's loss."""


class OwnSteps:
    """Steps of one process.

    Args:
        model: The network, in training mode.
    """

    def __init__(self, model: ImmoModel) -> None:
        self._pass = GradientPass(model)

    def start_epoch(self, objective: Objective) -> None:
        """See `Steps`."""
        self._objective = objective

    def losses(self, batch: Batch, step: int) -> tuple[dict[str, LayerLoss], int]:
        """See `Steps`."""
        return self._objective.losses(self._pass, batch), batch.size

    def backward(self, losses: Mapping[str, LayerLoss]) -> None:
        """See `Steps`."""
        self._pass.backward({name: layer.gradient for name, layer in losses.items()})


class SharedSteps:
    """Steps of several processes, each with its part of every batch.

    A step exchanges: statistics of the blocks (`immo_hpc.nn.shared`), one buffer of scored sums,
    counts and requests to stop, and the flat gradient.

    Args:
        model: The network, in training mode.
        optimiser: Holds the flat gradient.
        samples: The cohort.
        source: Where the batches come from.
        group: The processes.
        stop: Told what any of them was asked.
        device: Where to compute.
    """

    def __init__(
        self,
        model: ImmoModel,
        optimiser: Optimiser,
        samples: Samples,
        source: Source,
        group: Group,
        stop: AgreedStop,
        device: torch.device,
    ) -> None:
        self._stacks = SharedStacks(group)
        self._pass = GradientPass(model, self._stacks)
        self._optimiser, self._samples, self._source = optimiser, samples, source
        self._group, self._stop, self._device = group, stop, device

    def start_epoch(self, objective: Objective) -> None:
        """See `Steps`."""
        self._objective = replace(objective, is_part=True)
        self._shares = EpochShares(
            self._samples, self._source, objective, self._group.rank, self._device
        )

    def losses(self, batch: Batch, step: int) -> tuple[dict[str, LayerLoss], int]:
        """See `Steps`."""
        share = self._shares.of(step)
        assert len(share.rows[DECODER].mine) == batch.size
        self._stacks.shares = share.rows
        losses = self._objective.losses(self._pass, batch, share.present)
        return self._of_all(losses, share.size), share.size

    def backward(self, losses: Mapping[str, LayerLoss]) -> None:
        """See `Steps`."""
        self._pass.backward({name: layer.gradient for name, layer in losses.items()})
        self._group.all_sum(self._optimiser.gradient)

    def _of_all(self, losses: Mapping[str, LayerLoss], size: int) -> dict[str, LayerLoss]:
        """Losses of this process's rows, not yet divided, made those of all processes' rows."""
        wishes = torch.tensor(self._stop.wishes, dtype=torch.float64, device=self._device)
        figures = [part.double() for layer in losses.values() for part in layer[1:3]]
        everyone = self._group.all_sum(torch.cat([wishes, *figures]))
        self._stop.hear(everyone[: len(wishes)])
        pairs = everyone[len(wishes) :].view(-1, 2)
        results = {}
        for (name, layer), (total, count) in zip(losses.items(), pairs, strict=True):
            term = self._objective.terms[name]
            by_size = self._objective.config.loss.normalizer == "size"
            number = torch.full_like(count, size * term.num_features) if by_size else count
            inverse = torch.where(number > 0, 1 / number, 0.0)
            layer.scale_gradient(inverse)
            results[name] = LayerLoss(
                term.weight * total * inverse if term.weight > 0 else torch.zeros_like(total),
                total.view(1),
                count.view(1),
                layer.x_hat,
                layer.gradient,
            )
        return results


def make_steps(
    model: ImmoModel,
    optimiser: Optimiser,
    samples: Samples,
    source: Source,
    group: Group,
    stop: AgreedStop,
    device: torch.device,
) -> Steps:
    """The steps of a training by ``group``; arguments as for `SharedSteps`."""
    if group.is_alone:
        return OwnSteps(model)
    return SharedSteps(model, optimiser, samples, source, group, stop, device)
