"""What the project says about the speed of its kernels, held against measured rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from immo_hpc.bench.kernels_cases import OPS
from immo_hpc.bench.kernels_rows import Row


@dataclass(frozen=True)
class Claim:
    """One statement and what was measured.

    Attributes:
        statement: What is said.
        found: The measured number.
        bound: The number it is held against.
        holds: Whether it is true of this run.
    """

    statement: str
    found: float
    bound: float
    holds: bool


@dataclass(frozen=True)
class _CpuLimits:
    """Limits of mask + loss with gradient, float32, 30 % missing, nothing absent."""

    samples: int
    features: int
    over_plain: float
    over_compiled: float
    of_copy: float | None


# At most 2 times the time of copying 410 MB, five tensors. Six must move (`moved_bytes`), so the
# limit on the copy of those is lower.
_OF_COPY = 2 * 5 / 6
_CPU = (_CpuLimits(1_024, 20_000, 8, 4, _OF_COPY), _CpuLimits(64, 10_000, 6, 6, None))
# From this many values on, a GPU's bandwidth and not its launches decide.
_GPU_VALUES_MIN = 1 << 24
_GPU_COPY_SHARE = {"float32": 0.9, "bfloat16": 0.8}
_GPU_OVER_PLAIN = 6
_GPU_OVER_COMPILED = 1.5
_GPU_ABSENT_SHARE = 0.5
# MB that a training step at 4,096 x 1,000,000 in bfloat16 may hold, on any device.
_STEP_MB = 40_000


def claims_of(rows: Sequence[Row]) -> tuple[Claim, ...]:
    """Every claim that these rows can speak to."""
    timed = [row for row in rows if row.ms.get("immo") is not None]
    on_gpu = [row for row in timed if row.environment["device"].startswith("cuda")]
    on_cpu = [row for row in timed if not row.environment["device"].startswith("cuda")]
    return (*_cpu_claims(on_cpu), *_gpu_claims(on_gpu), *_step_claims(timed))


def _step_claims(rows: Sequence[Row]) -> Iterable[Claim]:
    for row in rows:
        case, peak = row.case, row.peak_extra_mb["immo"]
        if (
            (case.op, case.dtype) == ("training step", "bfloat16")
            and (case.samples, case.features) == (4_096, 1_000_000)
            and peak is not None
        ):
            yield _at_most(f"{_what(row)}: MB in all", peak, _STEP_MB)


def _cpu_claims(rows: Sequence[Row]) -> Iterable[Claim]:
    for limits in _CPU:
        for row in rows:
            case = row.case
            if (
                (case.samples, case.features) != (limits.samples, limits.features)
                or (case.op, case.dtype) != ("mask + loss", "float32")
                or (case.absent, case.missing) != (0.0, 0.3)
            ):
                continue
            what = f"{_what(row)}: times faster than"
            yield from _at_least(f"{what} plain PyTorch", row.over_plain, limits.over_plain)
            yield from _at_least(f"{what} torch.compile", row.over_compiled, limits.over_compiled)
            if limits.of_copy is not None and row.copy_share:
                text = f"{_what(row)}: time over that of copying the same bytes"
                yield _at_most(text, 1 / row.copy_share, limits.of_copy)


def _gpu_claims(rows: Sequence[Row]) -> Iterable[Claim]:
    whole = {_kind(row): row for row in rows if row.case.absent == 0 and _is_large(row)}
    for row in rows:
        case = row.case
        if case.op not in OPS or not _is_large(row) or case.dtype not in _GPU_COPY_SHARE:
            continue
        if case.absent == 0:
            share = _GPU_COPY_SHARE[case.dtype]
            yield from _at_least(f"{_what(row)}: share of copy bandwidth", row.copy_share, share)
            what = f"{_what(row)}: times faster than"
            yield from _at_least(f"{what} plain PyTorch", row.over_plain, _GPU_OVER_PLAIN)
            yield from _at_least(f"{what} torch.compile", row.over_compiled, _GPU_OVER_COMPILED)
        ours, theirs = row.ms["immo"], whole[_kind(row)].ms["immo"] if _kind(row) in whole else None
        if case.absent == 0.6 and ours and theirs:
            text = f"{_what(row)}: time over that with nothing absent"
            yield _at_most(text, ours.median / theirs.median, _GPU_ABSENT_SHARE)


def _what(row: Row) -> str:
    case = row.case
    memory = f", {row.memory} memory" if row.memory == "fresh" else ""
    absent = f", {case.absent:.0%} absent" if case.absent else ""
    return (
        f"{case.op}, {case.samples:,} x {case.features:,} {case.dtype}, "
        f"{case.missing:.0%} missing{absent}{memory}"
    )


def _kind(row: Row) -> tuple[object, ...]:
    case = row.case
    return case.op, case.samples, case.features, case.dtype, case.missing


def _is_large(row: Row) -> bool:
    return row.case.samples * row.case.features >= _GPU_VALUES_MIN


def _at_least(statement: str, found: float | None, bound: float) -> Iterable[Claim]:
    if found is not None:
        yield Claim(f"{statement}, at least", found, bound, found >= bound)


def _at_most(statement: str, found: float, bound: float) -> Claim:
    return Claim(f"{statement}, at most", found, bound, found <= bound)
