"""Times of the kernels beside plain PyTorch, ``torch.compile`` and the copy of the same bytes."""

from __future__ import annotations

import gc
import json
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from immo_hpc.bench import kernels_contenders as contenders
from immo_hpc.bench.kernels_cases import OPS, Case, Problem, cases, make_problem, moved_bytes
from immo_hpc.bench.kernels_check import fault
from immo_hpc.bench.kernels_claims import Claim, claims_of
from immo_hpc.bench.kernels_render import table
from immo_hpc.bench.kernels_rows import Row, make_row
from immo_hpc.bench.kernels_timing import (
    Quantiles,
    Run,
    kept_memory,
    peak_extra_bytes,
    time_in_turns,
)
from immo_hpc.files import write_text
from immo_hpc.train.device import resolve_device

FORMAT_VERSION = 2
# Data sets taken in turns on a GPU are together larger than any second-level cache.
_ROTATED_BYTES = 256 << 20
_COPY_MAX = 2 << 30


@dataclass(frozen=True)
class KernelBench:
    """All rows of one run.

    Attributes:
        rows: The cases in order.
        claims: What the project says about speed, and what was found.
        format_version: Version of this layout. 2: the bytes of a loss hold x twice; ops that
            hold a layer.
    """

    rows: tuple[Row, ...]
    claims: tuple[Claim, ...]
    format_version: int = FORMAT_VERSION

    def to_dict(self) -> dict[str, Any]:
        """The result as plain values."""
        return asdict(self)

    def text(self) -> str:
        """The result as a table."""
        return table(self.to_dict())


def bench_kernels(
    *,
    quick: bool = False,
    with_compile: bool = True,
    rounds: int = 9,
    device: str = "auto",
    out: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> KernelBench:
    """Time every case that fits the device.

    Args:
        quick: Only the cases that the claims are about.
        with_compile: Time ``torch.compile`` too; compiling takes seconds a shape.
        rounds: Timings of each contender.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        out: JSON file to write the result to.
        say: Told each case before it is timed.

    Raises:
        ConfigError: If the device is not there.
        OutputError: If ``out`` cannot be written.
    """
    place = resolve_device(device)
    rows: list[Row] = []
    for case in cases(place, _free_bytes(place), quick=quick):
        say(
            f"{case.op}, {case.samples} x {case.features}, {case.dtype}, "
            f"{case.absent:.0%} absent, {case.missing:.0%} missing"
        )
        rows += bench_case(case, place, rounds, with_compile=with_compile)
    result = KernelBench(tuple(rows), claims_of(rows))
    if out is not None:
        write_text(out, json.dumps(result.to_dict(), indent=1) + "\n")
    return result


def bench_case(
    case: Case, device: torch.device, rounds: int, *, with_compile: bool = True
) -> list[Row]:
    """Time one case, in each kind of memory that matters there; a red op is not timed."""
    wrong = fault(case, device)
    problems = _problems(case, device)
    moved = moved_bytes(case, problems[0])
    if wrong is not None:
        return [make_row(case, "kept", {}, {}, moved, [f"not timed: {wrong}"], device)]
    runs, held, notes = _runs(case, problems, device, moved, with_compile)
    peaks = {
        name: None if (extra := peak_extra_bytes(run, device)) is None else extra + held[name]
        for name, run in runs.items()
        if name != "copy"
    }
    on_cpu = device.type == "cpu"
    times = _times(runs, device, rounds)
    rows = [make_row(case, "fresh" if on_cpu else "kept", times, peaks, moved, notes, device)]
    if on_cpu:
        with kept_memory() as is_kept:
            if is_kept:
                times = _times(runs, device, rounds)
                rows.append(make_row(case, "kept", times, peaks, moved, notes, device))
    return rows


def _times(runs: dict[str, Run], device: torch.device, rounds: int) -> dict[str, Quantiles]:
    for run in runs.values():
        run(0)
    return time_in_turns(runs, device, rounds)


def _problems(case: Case, device: torch.device) -> list[Problem]:
    sets = 1
    if device.type == "cuda":
        sets = max(1, min(16, _ROTATED_BYTES // case.tensor_bytes))
    return [make_problem(case, device, seed) for seed in range(sets)]


def _runs(
    case: Case, problems: list[Problem], device: torch.device, moved: int, with_compile: bool
) -> tuple[dict[str, Run], dict[str, int], list[str]]:
    """Contenders that can run, each having run twice; what they hold; why others cannot."""
    makers = {"immo": contenders.immo, "plain": contenders.plain}
    is_step = case.op == "training step"
    if with_compile and not is_step:
        makers["compiled"] = contenders.compiled
    # With whole tensors data and parameters of a step are of one dtype.
    if case.op not in OPS and (not is_step or case.dtype == "float32"):
        makers["whole"] = contenders.whole
    runs: dict[str, Run] = {}
    held: dict[str, int] = {}
    notes = [] if with_compile else ["compiled: not asked for"]
    for name, make in makers.items():
        contender = make(case)

        def run(call: int, contender: contenders.Contender = contender) -> object:
            return contender(problems[call % len(problems)])

        try:
            run(0)
            run(1)
        except (RuntimeError, OSError) as error:
            # No compiler, or not enough memory: the row says so instead of a number.
            notes.append(f"{name}: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
            if name == "immo":
                raise
            gc.collect()
            if device.type == "cuda":
                torch.cuda.empty_cache()
        else:
            runs[name] = run
            held[name] = 0
            if is_step:
                held[name] = case.tensor_bytes + getattr(contender, "held_bytes", 0)
    runs["copy"] = _copy(moved, device)
    return runs, held, notes


def _copy(moved: int, device: torch.device) -> Run:
    """Copy half of the bytes, which reads them once and writes them once, in warm memory."""
    # A copy too large for the memory is made in pieces over the same buffers.
    pieces = -(-moved // 2 // _COPY_MAX)
    size = moved // 2 // pieces
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.zeros_like(source)

    def run(call: int) -> None:
        for _ in range(pieces):
            target.copy_(source)

    return run


def _free_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return sys.maxsize  # the cases of a CPU need 3 GB
