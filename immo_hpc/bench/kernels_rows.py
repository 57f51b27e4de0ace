"""One timed case: its numbers, what they are held against, and where they were taken."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import torch

from immo_hpc.bench.kernels_cases import Case
from immo_hpc.bench.kernels_timing import Quantiles
from immo_hpc.train.environment import describe_environment, package_versions, source_commit

CONTENDERS = ("immo", "plain", "compiled", "whole", "copy")


@dataclass(frozen=True)
class Row:
    """One case, timed.

    Attributes:
        case: The case.
        memory: 'fresh': tensors as the C library makes them; 'kept': freed memory is kept for
            the next tensor (`kernels_timing.kept_memory`), for every contender. On a GPU torch
            keeps memory: 'kept' alone.
        ms: Milliseconds a call by contender; None: it could not run, or is not one of the op's.
        peak_extra_mb: Memory of one call at its peak, results included, MB by contender; of a
            training step all that is held, data, parameters and Adam's state too.
        moved_mb: Bytes that the op must move, MB.
        gb_per_s: These over the median time of immo.
        copy_share: Time of copying as many bytes, in warm memory, over that of immo.
        over_plain: Median time of plain PyTorch over that of immo.
        over_compiled: The same for ``torch.compile`` of plain PyTorch.
        over_whole: The same for the op with whole tensors instead of feature blocks.
        notes: Why a number is missing.
        environment: Device, threads, commit, versions and date.
    """

    case: Case
    memory: str
    ms: dict[str, Quantiles | None]
    peak_extra_mb: dict[str, float | None]
    moved_mb: float
    gb_per_s: float | None
    copy_share: float | None
    over_plain: float | None
    over_compiled: float | None
    over_whole: float | None
    notes: tuple[str, ...]
    environment: dict[str, Any]


def make_row(
    case: Case,
    memory: str,
    times: Mapping[str, Quantiles],
    peaks: Mapping[str, int | None],
    moved: int,
    notes: Iterable[str],
    device: torch.device,
) -> Row:
    """A row from the times (by contender; those that did not run left out) and peaks in bytes."""
    ours = times["immo"].median if "immo" in times else None

    def over_ours(name: str) -> float | None:
        return times[name].median / ours if ours and name in times else None

    return Row(
        case=case,
        memory=memory,
        ms={name: times.get(name) for name in CONTENDERS},
        peak_extra_mb={
            name: None if (peak := peaks.get(name)) is None else peak / 1e6
            for name in CONTENDERS[:-1]
        },
        moved_mb=moved / 1e6,
        gb_per_s=moved / 1e6 / ours if ours else None,
        copy_share=over_ours("copy"),
        over_plain=over_ours("plain"),
        over_compiled=over_ours("compiled"),
        over_whole=over_ours("whole"),
        notes=tuple(notes),
        environment={
            **describe_environment(device),
            "versions": package_versions(),
            "commit": source_commit(),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
