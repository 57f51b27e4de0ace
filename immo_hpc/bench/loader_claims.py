"""What the project says about the speed of its loader, held against measured rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from immo_hpc.bench.kernels_claims import Claim
from immo_hpc.bench.loader_rows import Row

OF_FLOOR = 0.8
# Peaks are seen at intervals, the allocator is not exact, and an epoch is planned while memory for
# batches is held already. A share of the limit, since the loader itself takes little.
FLAT = 0.025
# Headers and what describes the samples.
_OVER_VALUES = 1.02
_ABSENT_SHARE = 0.4


def claims_of(rows: Sequence[Row], memory_bytes: int, full_bytes: int) -> tuple[Claim, ...]:
    """Every claim that these rows can speak to.

    Args:
        rows: Rows of all cohorts.
        memory_bytes: Memory limit of a process.
        full_bytes: Bytes of the second cohort if every sample had every layer.
    """
    timed = [row for row in rows if row.mb_per_s]
    return tuple(
        claim
        for state in ("cold", "warm")
        for claim in _of_state([row for row in timed if row.state == state], memory_bytes)
    ) + tuple(_of_absent(timed, full_bytes))


def _of_state(rows: Sequence[Row], memory_bytes: int) -> Iterator[Claim]:
    ours = next((row for row in rows if _is_ours(row) and row.cohort == "ibdmdb"), None)
    if ours is None:
        return
    for number, share in enumerate(ours.of_floor, 1):
        what = f"{ours.state}, epoch {number}: share of the rate of reading the files end to end"
        yield _at_least(what, share.median, OF_FLOOR)
    kept = next((row for row in rows if row.contender == "read, kept"), None)
    if kept is not None:
        for number, rate in enumerate(ours.mb_per_s, 1):
            what = f"{ours.state}, epoch {number}: the same into memory that stays, as a batch does"
            yield _at_least(what, rate.median / kept.mb_per_s[0].median, OF_FLOOR)
    # Epochs shorter than the time between two looks have no peak.
    if len(ours.private_mb) > 1 and ours.private_mb[0]:
        what = f"{ours.state}: growth of peak private memory over the limit, epoch 1 to 2"
        yield _at_most(what, 1e6 * (ours.private_mb[1] - ours.private_mb[0]) / memory_bytes, FLAT)
    what = f"{ours.state}: private memory at its peak over the limit"
    yield _at_most(what, 1e6 * max(ours.private_mb) / memory_bytes, 1)
    for row in rows:
        if row.contender.startswith("read") or _is_ours(row):
            continue
        # Its slowest epoch beside the other's fastest.
        ratio = min(rate.median for rate in ours.mb_per_s) / max(
            rate.median for rate in row.mb_per_s
        )
        what = f"{ours.state}: slower epoch over the faster one of {row.contender}"
        yield _at_least(what, ratio, 1)


def _of_absent(rows: Sequence[Row], full_bytes: int) -> Iterator[Claim]:
    for row in rows:
        if row.cohort == "60%" and _is_ours(row) and row.state == "cold":
            # Mapped files are not asked for, but from a cold cache all of it comes from the disk.
            read, delivered = max(row.disk_bytes), max(row.delivered_bytes)
            what = "60 % of blocks absent: bytes read over those of the measured values"
            yield _at_most(what, read / delivered, _OVER_VALUES)
            what = (
                "60 % of blocks absent: bytes read over those of the same samples with all layers"
            )
            yield _at_most(what, read / full_bytes, _ABSENT_SHARE * _OVER_VALUES)


def _is_ours(row: Row) -> bool:
    return row.contender == "immo"


def _at_least(statement: str, found: float, bound: float) -> Claim:
    return Claim(f"{statement}, at least", found, bound, found >= bound)


def _at_most(statement: str, found: float, bound: float) -> Claim:
    return Claim(f"{statement}, at most", found, bound, found <= bound)
