"""The state of a training and the three things that move it: steps, epoch ends, restoring."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from immo_hpc.config import ImmoConfig
from immo_hpc.data.batches import Batch
from immo_hpc.errors import ConfigError, TrainingError
from immo_hpc.nn import ImmoModel
from immo_hpc.train.agreement import AgreedStop
from immo_hpc.train.checkpoint import Checkpoint
from immo_hpc.train.device import random_state, set_random_state
from immo_hpc.train.diagnosis import explain_non_finite, has_huge_values
from immo_hpc.train.distributed import ALONE, Group
from immo_hpc.train.interrupt import StopRequest
from immo_hpc.train.metrics import EpochRecord, EpochSums
from immo_hpc.train.objective import LayerLoss, Objective, layer_terms
from immo_hpc.train.optimiser import Optimiser
from immo_hpc.train.samples import Samples, held_out_samples, training_source
from immo_hpc.train.steps import make_steps
from immo_hpc.train.stopping import EarlyStopping
from immo_hpc.train.validation import HeldOut, HeldOutError


class Trainer:
    """A training between two steps.

    Everything random is torch's generator (weights, dropout) or a pure function of seed and
    epoch (order, masks), so `checkpoint` and `restore` lose nothing.

    Args:
        cohort: Prepared cohort, or opened shards that are streamed; trained on its 'train'
            side, stopped by its 'validation' side. Without a split all samples are trained on.
        config: Resolved configuration.
        device: Where to compute.
        group: The processes that share the training; each has a trainer, and all call its
            methods alike.
        stop: What the processes were asked; None: nothing stops the training.

    Attributes:
        model: The network in training.
        epoch: Epoch in progress, counted from 0.
        sums: Its sums so far.
        records: Epochs that are complete.
        is_over: True once no further epoch is to be trained.
        notices: Sentences for the user.

    Raises:
        TrainingError: If there is no sample to train on.
        ConfigError: If the configuration names a layer that is not there.
    """

    def __init__(
        self,
        cohort: Samples,
        config: ImmoConfig,
        device: torch.device,
        group: Group = ALONE,
        stop: AgreedStop | None = None,
    ) -> None:
        self._cohort, self._config, self._device = cohort, config, device
        self._group, self._stop = group, stop or AgreedStop(StopRequest(), group)
        self._terms = layer_terms(cohort, config)
        _require_known_layers(config, list(self._terms))
        train, held_out = _sides(cohort)
        _require_values(cohort, train)
        self._source, notice = training_source(cohort, train, config, device, group)
        self.notices: list[str] = [notice]
        if not group.is_alone:
            self.notices.append(
                f"{group.world_size} processes share each batch of {config.train.batch_size} "
                "samples."
            )
        self._held_out = self._hold_out(held_out) if len(held_out) else None
        features = {name: term.num_features for name, term in self._terms.items()}
        self.model = ImmoModel(features, config.model).to(device)
        self._optimiser = Optimiser(self.model, config.train)
        self._steps = make_steps(
            self.model, self._optimiser, cohort, self._source, group, self._stop, device
        )
        self._stopping = EarlyStopping(config.train.patience, config.train.min_delta)
        self.epoch, self.is_over = 0, False
        self.sums = EpochSums.empty(list(self._terms))
        self.records: list[EpochRecord] = []
        if self._held_out is None:
            self.notices.append(
                f"no held-out samples: all {config.train.epochs} epochs are trained, without "
                "early stopping."
            )

    def _hold_out(self, places: NDArray[np.int64]) -> HeldOut:
        cohort, index, notice = held_out_samples(
            self._cohort, places, self._config.train, self._group
        )
        self.notices += [notice] if notice else []
        return HeldOut(cohort, index, self._device, group=self._group)

    @property
    def num_batches(self) -> int:
        """Steps of an epoch."""
        return self._source.num_batches

    @property
    def best_epoch(self) -> int | None:
        """Epoch whose weights are the best so far; None before, or without held-out samples."""
        return self._stopping.best_epoch if self._stopping.best_epoch >= 0 else None

    def steps(self) -> Generator[None, None, None]:
        """Do the steps of the epoch that are not done yet, giving control back after each.

        Raises:
            TrainingError: If the loss or its gradient is not finite.
        """
        self._steps.start_epoch(Objective(self._terms, self._config, self.epoch))
        self._optimiser.start_epoch(self.epoch)
        self.model.train()
        before, start = self.sums.seconds, time.perf_counter()
        # Closed at once if the training stops here: a source may read ahead in a thread.
        with closing(self._source.epoch(self.epoch, start=self.sums.steps)) as batches:
            # A step ends with its figures on the CPU, so a GPU has nothing to do meanwhile.
            while (batch := self._next(batches)) is not None:
                self._step(batch)
                self.sums.seconds = before + time.perf_counter() - start
                yield

    def _next(self, batches: Iterator[Batch]) -> Batch | None:
        asked = time.perf_counter()
        batch = next(batches, None)
        self.sums.waiting_s += time.perf_counter() - asked
        return batch

    def _step(self, batch: Batch) -> None:
        losses, size = self._steps.losses(batch, self.sums.steps)
        if not losses:
            self.sums.add(0.0, 0, {})
            return
        self._steps.backward(losses)
        norm = self._optimiser.gradient_norm()
        self._optimiser.step(self._note(losses, norm, batch, size))

    def _note(self, losses: dict[str, LayerLoss], norm: Tensor, batch: Batch, size: int) -> float:
        """Add a step's figures to the sums, refuse those not finite; the gradient's norm."""
        gradient, *figures = _floats(
            [norm, *(part for layer in losses.values() for part in layer[:3])]
        )
        triples = zip(figures[::3], figures[1::3], figures[2::3], strict=True)
        by_layer = dict(zip(losses, triples, strict=True))
        loss = sum(figures[::3])
        if not (math.isfinite(loss) and math.isfinite(gradient)):
            raise self._non_finite(batch, {name: layer[0] for name, layer in by_layer.items()})
        sums = {name: (total, count) for name, (_, total, count) in by_layer.items()}
        self.sums.add(loss, size, sums)
        return gradient

    def _non_finite(self, batch: Batch, losses: dict[str, float]) -> TrainingError:
        """Why; of several processes, one that has a part in it explains it."""
        error = explain_non_finite(
            self.model,
            batch,
            self._cohort.layers,
            losses,
            epoch=self.epoch,
            step=self.sums.steps,
        )
        if self._group.is_alone:
            return error
        said = self._group.texts(f"{int(not has_huge_values(batch))}{error}")
        return TrainingError(min(said, key=lambda text: text[0])[1:])

    def finish_epoch(self) -> EpochRecord:
        """Measure the held-out error, note the epoch and move to the next one.

        Raises:
            TrainingError: If the held-out error is not finite.
        """
        start = time.perf_counter()
        held_out = self._measure()
        config, epoch = self._config, self.epoch
        record = EpochRecord(
            epoch=epoch,
            loss=self.sums.mean_loss(),
            validation=held_out.error,
            learning_rate=self._optimiser.learning_rate(epoch),
            keep={name: config.mask.value_probability(name, epoch) for name in self._terms},
            keep_layers=config.mask.layer_probability(epoch),
            layer_loss=self.sums.layer_loss(),
            validation_values=held_out.values,
            validation_layers=held_out.layers,
            steps=self.sums.steps,
            seconds=self.sums.seconds + time.perf_counter() - start,
            waiting_s=self.sums.waiting_s,
        )
        self.records.append(record)
        self.epoch += 1
        self.sums = EpochSums.empty(list(self._terms))
        stops_early = held_out.error is not None and self._stopping.is_over(epoch)
        self.is_over = stops_early or self.epoch >= config.train.epochs
        self._stop.agree()
        return record

    def _measure(self) -> HeldOutError:
        if self._held_out is None:
            return HeldOutError(dict.fromkeys(self._terms), dict.fromkeys(self._terms))
        measured = self._held_out.measure(self.model)
        if measured.error is None:
            return measured
        if not math.isfinite(measured.error):
            message = (
                f"epoch {self.epoch}: the held-out error is not finite: hidden values "
                f"{measured.values}, hidden layers {measured.layers}. Check these layers of the "
                "validation samples for huge values, or lower train.learning_rate."
            )
            raise TrainingError(message)
        self._stopping.update(measured.error, self.epoch, self.model)
        return measured

    def best_model(self) -> ImmoModel:
        """A copy of the network with the best weights (the last ones without held-out samples)."""
        weights = self._stopping.weights or self.model.state_dict()
        with torch.random.fork_rng(devices=[]):
            model = ImmoModel(self.model.features, self.model.config)
        model.load_state_dict(weights)
        return model.to(self._device).eval()

    def checkpoint(self) -> Checkpoint:
        """Everything `restore` needs; the tensors are the training's own, not copies."""
        stopping = self._stopping
        return Checkpoint(
            epoch=self.epoch,
            step=self.sums.steps,
            is_over=self.is_over,
            sums=self.sums,
            records=self.records,
            best=stopping.best if stopping.best_epoch >= 0 else None,
            best_epoch=stopping.best_epoch,
            weights=self.model.state_dict(),
            best_weights=stopping.weights or {},
            optimiser=self._optimiser.state(),
            random=random_state(self._device),
        )

    def restore(self, checkpoint: Checkpoint) -> None:
        """Go on where `checkpoint` was made, on the same cohort and configuration."""
        self.epoch, self.is_over = checkpoint.epoch, checkpoint.is_over
        self.sums, self.records = checkpoint.sums, list(checkpoint.records)
        self.model.load_state_dict(checkpoint.weights)
        self._optimiser.load_state(checkpoint.optimiser)
        if checkpoint.best is not None:
            self._stopping.best, self._stopping.best_epoch = checkpoint.best, checkpoint.best_epoch
            self._stopping.weights = {
                name: tensor.to(self._device) for name, tensor in checkpoint.best_weights.items()
            }
        set_random_state(checkpoint.random, self._device)


def _floats(tensors: list[Tensor]) -> list[float]:
    """Values of tensors of one element each, brought to the CPU at once."""
    if tensors[0].device.type == "cpu":
        return [tensor.item() for tensor in tensors]
    values: list[float] = torch.cat([tensor.double().view(1) for tensor in tensors]).tolist()
    return values


def _sides(cohort: Samples) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if cohort.split is None:
        everyone = np.arange(len(cohort.samples), dtype=np.int64)
        return everyone, everyone[:0]
    return cohort.indices("train"), cohort.indices("validation")


def _require_values(cohort: Samples, train: NDArray[np.int64]) -> None:
    is_train = np.zeros(len(cohort.samples), dtype=np.bool_)
    is_train[train] = True
    if not any(is_train[layer.rows].any() for layer in cohort.layers.values()):
        message = (
            f"nothing to learn from: none of the {len(train)} training samples (of "
            f"{len(cohort.samples)}) has a layer. Lower split.test_fraction and "
            "split.validation_fraction, or check the cohort with immo validate."
        )
        raise TrainingError(message)


def _require_known_layers(config: ImmoConfig, names: Sequence[str]) -> None:
    unknown = sorted(set(config.mask.values_by_layer) - set(names))
    if unknown:
        message = f"mask.values_by_layer names {unknown}, but the layers are {list(names)}."
        raise ConfigError(message)
