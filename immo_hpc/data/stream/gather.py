"""Rows copied from many addresses to one matrix, by compiled code.

The values are written past the processor's caches: what is put together here is larger than
they are, and a plain store would fetch from memory what it overwrites, half as much again as the
copy moves (docs/notes/loader-speed.md).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from immo_compiling import compiled

_LANES = 16
_LINE = 64


def gather_rows(
    addresses: NDArray[np.int64], item_bytes: NDArray[np.uint8], out: NDArray[np.float32]
) -> None:
    """Copy rows of float32 or float16 values to the rows of a matrix.

    Args:
        addresses: Where each row's values lie one after the other, of any alignment, ``(row,)``.
            As many of them as ``out`` is wide must be there.
        item_bytes: 4 for a row of float32, 2 for one of float16, ``(row,)``, uint8.
        out: Where to, ``(row, feature)``, float32, C-contiguous.
    """
    assert out.flags.c_contiguous
    assert out.dtype == np.float32
    assert len(addresses) == len(item_bytes) == len(out)
    _kernel()(addresses, item_bytes, out.ctypes.data, out.shape[1])


def prepare_gathering() -> None:
    """Compile or load what `gather_rows` runs, so that the first call takes no longer."""
    _kernel()


@functools.cache
def _kernel() -> Callable[..., Any]:
    return compiled(_gather, "void(i8[::1], u1[::1], i8, i8)")


def _gather(
    addresses: NDArray[np.int64], item_bytes: NDArray[np.uint8], target: int, width: int
) -> None:
    for row in range(len(addresses)):
        if item_bytes[row] == 4:
            _copy_singles(target, addresses[row], width)
        else:
            _copy_halves(target, addresses[row], width)
        target += 4 * width


def _move(item: ir.Type, lanes: int) -> Callable[[int, int], None]:
    """Move so many values from an address to another, as float32; many of them past the caches."""

    @intrinsic
    def move(_context: Any, _target: Any, _source: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, places: Any) -> Any:
            stored, wide = item, ir.FloatType()
            if lanes > 1:
                stored, wide = ir.VectorType(item, lanes), ir.VectorType(wide, lanes)
            target = builder.inttoptr(places[0], wide.as_pointer())
            source = builder.inttoptr(places[1], stored.as_pointer())
            values = builder.load(source, align=1)
            if stored != wide:
                values = builder.fpext(values, wide)
            moved = builder.store(values, target, align=_LINE if lanes > 1 else 4)
            if lanes > 1:
                mark = builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)])
                moved.set_metadata("nontemporal", mark)
            return context.get_dummy_value()

        return types.void(types.int64, types.int64), generate

    return move  # type: ignore[no-any-return]


_single, _singles = _move(ir.FloatType(), 1), _move(ir.FloatType(), _LANES)
_half, _halves = _move(ir.HalfType(), 1), _move(ir.HalfType(), _LANES)


@njit
def _copy_singles(target: int, source: int, width: int) -> None:
    end = target + 4 * width
    while target < end and target % _LINE:
        _single(target, source)
        target, source = target + 4, source + 4
    while target + _LINE <= end:
        _singles(target, source)
        target, source = target + _LINE, source + _LINE
    while target < end:
        _single(target, source)
        target, source = target + 4, source + 4


@njit
def _copy_halves(target: int, source: int, width: int) -> None:
    end = target + 4 * width
    while target < end and target % _LINE:
        _half(target, source)
        target, source = target + 4, source + 2
    while target + _LINE <= end:
        _halves(target, source)
        target, source = target + _LINE, source + _LINE // 2
    while target < end:
        _half(target, source)
        target, source = target + 4, source + 2
