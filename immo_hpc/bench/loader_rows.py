"""What one contender of `immo bench loader` did in all rounds, as one row."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from immo_hpc.bench.kernels_timing import Quantiles, quantiles

Epoch = Mapping[str, Any]


@dataclass(frozen=True)
class Run:
    """One process: a contender in one round.

    Attributes:
        epochs: What it printed of each epoch (`loader_child`).
        peak_private_mb: Largest private resident memory in each epoch, 10^6 bytes.
        peak_total_mb: The same with mapped files and shared memory.
        curve: Seconds since the first epoch began, private and total memory; time between
            epochs left out.
    """

    epochs: tuple[Epoch, ...]
    peak_private_mb: tuple[float, ...]
    peak_total_mb: tuple[float, ...]
    curve: tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Row:
    """A contender on one cohort, from one state of the page cache.

    Attributes:
        cohort: Missing patterns of the cohort.
        contender: Its name.
        state: 'cold': nothing of its files was in the page cache; 'warm': all.
        mb_per_s: Values delivered (for a floor: bytes read), 10^6 bytes a second, by epoch,
            over the rounds.
        samples_per_s: Median over rounds, by epoch.
        of_floor: Rate over that of reading the shards from end to end in the same round, by
            epoch, over the rounds; empty where there was no such floor.
        batches: Batches of an epoch that were timed, most of all rounds.
        is_whole: Whether these were whole epochs.
        private_mb: Largest private resident memory, by epoch, 10^6 bytes.
        total_mb: The same with mapped files and shared memory.
        asked_bytes: Bytes asked of files, by epoch, median; mapped ones are not counted.
        disk_bytes: Bytes that came from the disk, by epoch, median.
        delivered_bytes: Values delivered, by epoch, median.
        resident_before: Share of its files in the page cache before an epoch: least and most.
        curve: Memory over time in the first round (`Run.curve`).
        notes: Why a number is missing, or what to know.
    """

    cohort: str
    contender: str
    state: str
    mb_per_s: tuple[Quantiles, ...] = ()
    samples_per_s: tuple[float, ...] = ()
    of_floor: tuple[Quantiles, ...] = ()
    batches: int = 0
    is_whole: bool = True
    private_mb: tuple[float, ...] = ()
    total_mb: tuple[float, ...] = ()
    asked_bytes: tuple[float, ...] = ()
    disk_bytes: tuple[float, ...] = ()
    delivered_bytes: tuple[float, ...] = ()
    resident_before: tuple[float, float] | None = None
    curve: tuple[tuple[float, float, float], ...] = ()
    notes: tuple[str, ...] = ()


def rate(epoch: Epoch) -> float:
    """Delivered 10^6 bytes a second."""
    return float(epoch["bytes"]) / 1e6 / _seconds(epoch)


def floor_rate(runs: Sequence[Run]) -> float:
    """Rate of all epochs of the floor's runs of one round together."""
    epochs = [epoch for run in runs for epoch in run.epochs]
    return sum(float(epoch["bytes"]) for epoch in epochs) / 1e6 / sum(map(_seconds, epochs))


def make_row(
    cohort: str,
    contender: str,
    state: str,
    runs: Sequence[Run],
    floors: Sequence[float] = (),
    notes: Sequence[str] = (),
) -> Row:
    """A row from a contender's runs and the floor's rate in the round of each."""
    if not runs:
        return Row(cohort, contender, state, notes=tuple(notes))
    # The epochs of one number in all rounds.
    numbered = list(zip(*(run.epochs for run in runs), strict=True))
    held = [epoch["resident_before"] for epochs in numbered for epoch in epochs]

    def medians(name: str) -> tuple[float, ...]:
        return tuple(
            float(statistics.median(epoch[name] for epoch in epochs)) for epochs in numbered
        )

    return Row(
        cohort=cohort,
        contender=contender,
        state=state,
        mb_per_s=tuple(quantiles([rate(epoch) for epoch in epochs]) for epochs in numbered),
        samples_per_s=tuple(
            statistics.median(epoch["samples"] / _seconds(epoch) for epoch in epochs)
            for epochs in numbered
        ),
        of_floor=tuple(
            quantiles([rate(epoch) / floor for epoch, floor in zip(epochs, floors, strict=True)])
            for epochs in numbered
        )
        if floors
        else (),
        batches=max(epoch["batches"] for epochs in numbered for epoch in epochs),
        is_whole=all(epoch["is_whole"] for epochs in numbered for epoch in epochs),
        private_mb=tuple(map(max, zip(*(run.peak_private_mb for run in runs), strict=True))),
        total_mb=tuple(map(max, zip(*(run.peak_total_mb for run in runs), strict=True))),
        asked_bytes=medians("rchar"),
        disk_bytes=medians("read_bytes"),
        delivered_bytes=medians("bytes"),
        resident_before=(min(held), max(held)),
        curve=runs[0].curve,
        notes=tuple(notes),
    )


def _seconds(epoch: Epoch) -> float:
    return float(epoch["ended"]) - float(epoch["began"])
