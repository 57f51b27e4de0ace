"""Training time beside a plain PyTorch loop of the same model, in one process."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from immo_hpc.bench.plain import reconstruct_plain, train_plain
from immo_hpc.config import ImmoConfig, ModelConfig, TrainConfig
from immo_hpc.data.batches import whole
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.shards import read_shards
from immo_hpc.files import write_text
from immo_hpc.nn import ImmoModel
from immo_hpc.train import train
from immo_hpc.train.device import resolve_device
from immo_hpc.train.environment import describe_environment, package_versions, source_commit

# The most of the plain loop's time that training may take.
LIMIT = 0.6


@dataclass(frozen=True)
class TrainBench:
    """Times of both loops and how well they learnt.

    Attributes:
        seconds: Wall time of each training, by loop ('immo', 'plain'), in the order run.
        median_s: Median of them by loop.
        ratio: Median of immo over median of plain.
        best_ratio: Shortest of immo over shortest of plain: what other processes of the
            machine disturb least.
        limit: Largest ratio that is accepted.
        loss: By loop, mean over layers of the squared error of the measured values of the
            samples trained on, everything shown, after the last training; z-score units.
        samples: Samples trained on.
        features: Number of features by layer.
        epochs: Epochs of each training.
        batch_size: Samples a step.
        environment: Machine and threads.
        versions: Package versions.
        commit: Commit of the source, if it is a checkout.
        date: UTC, ISO 8601.
    """

    seconds: dict[str, list[float]]
    median_s: dict[str, float]
    ratio: float
    best_ratio: float
    limit: float
    loss: dict[str, float]
    samples: int
    features: dict[str, int]
    epochs: int
    batch_size: int
    environment: dict[str, Any]
    versions: dict[str, str]
    commit: str | None
    date: str

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)

    def text(self) -> str:
        """The result as a small table."""
        lines = [
            f"{self.samples} samples, {sum(self.features.values())} features in "
            f"{len(self.features)} layers, {self.epochs} epochs, batches of {self.batch_size}, "
            f"{self.environment['device']}, {self.environment['threads']} threads",
            f"{'loop':<8}{'median s':>10}{'min s':>10}{'max s':>10}{'loss':>10}",
        ]
        for name, times in self.seconds.items():
            lines.append(
                f"{name:<8}{self.median_s[name]:>10.2f}{min(times):>10.2f}{max(times):>10.2f}"
                f"{self.loss[name]:>10.4f}"
            )
        lines.append(
            f"ratio {self.ratio:.3f} (accepted: at most {self.limit}), "
            f"of the shortest times {self.best_ratio:.3f}"
        )
        return "\n".join(lines)


def bench_train(
    shards: Path, *, epochs: int = 100, repeats: int = 3, out: Path | None = None
) -> TrainBench:
    """Time training on the shards beside a plain loop, alternating, without validation.

    Both train hidden 256, latent 110 on batches of 64 with the default masks, on every
    sample that is not on the test side. Each timed call starts from the cohort in memory.

    Args:
        shards: Folder of shards.
        epochs: Epochs of each training.
        repeats: Timed trainings of each loop; one short one of each comes before.
        out: JSON file to write the result to.

    Raises:
        ShardError: If the shards are damaged or missing.
        OutputError: If ``out`` cannot be written.
    """
    cohort = read_shards(shards).cohort
    if cohort.split is not None:
        cohort = replace(cohort.take(cohort.indices("train", "validation")), split=None)
    config = ImmoConfig(
        model=ModelConfig(latent_dim=110, encoder_dims=(256,), decoder_dims=(256,)),
        # Both loops with torch's threads, so that neither has more of the machine.
        train=TrainConfig(epochs=epochs, batch_size=64, num_threads=torch.get_num_threads()),
    )
    result = compare(cohort, config, repeats)
    if out is not None:
        write_text(out, json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def compare(cohort: PreparedCohort, config: ImmoConfig, repeats: int) -> TrainBench:
    """Time both loops on a cohort without a split (see `bench_train`)."""
    device = resolve_device(config.train.device)
    loops: dict[str, Callable[[ImmoConfig], Any]] = {
        "immo": lambda chosen: train(cohort, chosen).model,
        "plain": lambda chosen: train_plain(cohort, chosen, device),
    }
    short = config.model_copy(update={"train": config.train.model_copy(update={"epochs": 2})})
    for loop in loops.values():
        loop(short)
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    models: dict[str, Any] = {}
    for repeat in range(repeats):
        # Each loop goes first in turn, so that a drift of the machine favours neither.
        for name in list(loops) if repeat % 2 == 0 else list(loops)[::-1]:
            models[name], spent = _timed(loops[name], config, device)
            seconds[name].append(spent)
    median = {name: statistics.median(times) for name, times in seconds.items()}
    return TrainBench(
        seconds=seconds,
        median_s=median,
        ratio=median["immo"] / median["plain"],
        best_ratio=min(seconds["immo"]) / min(seconds["plain"]),
        limit=LIMIT,
        loss={
            "immo": observed_loss(_reconstruct(models["immo"], cohort), cohort),
            "plain": observed_loss(reconstruct_plain(models["plain"], cohort), cohort),
        },
        samples=len(cohort.samples),
        features={name: len(layer.features) for name, layer in cohort.layers.items()},
        epochs=config.train.epochs,
        batch_size=config.train.batch_size,
        environment=describe_environment(device),
        versions=package_versions(),
        commit=source_commit(),
        date=datetime.now(UTC).isoformat(timespec="seconds"),
    )


def observed_loss(x_hat: NDArray[np.float32], cohort: PreparedCohort) -> float:
    """Mean over layers of the squared error of measured values.

    Args:
        x_hat: Reconstruction of all layers side by side, ``(sample, feature)``.
        cohort: The samples.
    """
    errors, start = [], 0
    for layer in cohort.layers.values():
        stop = start + len(layer.features)
        errors.append(np.nanmean(np.square(x_hat[layer.rows, start:stop] - layer.values)))
        start = stop
    return float(np.mean(errors))


@torch.no_grad()
def _reconstruct(model: ImmoModel, cohort: PreparedCohort) -> NDArray[np.float32]:
    device = next(model.parameters()).device
    blocks = []
    for batch in whole(cohort, device=device):
        shown = {
            name: (torch.where(layer.values.isnan(), 0.0, layer.values), layer.rows)
            for name, layer in batch.layers.items()
        }
        x_hat = model.decode(model.encode(shown, batch.size), dict.fromkeys(cohort.layers))
        blocks.append(torch.cat(list(x_hat.values()), dim=1).cpu().numpy())
    return np.concatenate(blocks)


def _timed(
    loop: Callable[[ImmoConfig], Any], config: ImmoConfig, device: torch.device
) -> tuple[Any, float]:
    start = time.perf_counter()
    model = loop(config)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return model, time.perf_counter() - start
