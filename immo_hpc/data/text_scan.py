"""Lines of plain numbers, scanned in one pass by compiled code.

A number of up to 19 digits is an integer of 64 bits times a power of ten. In float64 that is
right to a few units in the last place, so its nearest float32 is that of the number itself,
unless the float64 lies that close to the middle of two float32. Such a number, and whatever else
is not plain, is left to Arrow: every value has the bits that `text_cells.careful_rows` would
give it (docs/adr/0031-text-scan.md).
"""

from __future__ import annotations

import functools

import numpy as np
from numba import njit
from numpy.typing import NDArray

from immo_compiling import compiled
from immo_hpc.data.streams import RowBlock
from immo_hpc.data.tables import MISSING_TEXTS
from immo_hpc.data.text_cells import Layout, numbers_of

Bytes = NDArray[np.uint8]
Places = NDArray[np.int64]

_END, _QUOTE, _BLANK, _MINUS, _POINT = (ord(sign) for sign in '\n" -.')
_SMALL_E, _LARGE_E = ord("e"), ord("E")
_ZERO, _NINE = np.uint32(ord("0")), np.uint32(9)
_TEN = np.uint64(10)
# As many as an integer of 64 bits holds, and powers of ten beyond which no float32 is.
_MOST_DIGITS = 19
_POWERS = np.array([10.0**power for power in range(60)])
# The bits of a float64 that a float32 lacks, and the middle of two float32 in these.
_LOW_BITS = np.uint64((1 << 29) - 1)
_MIDDLE = 1 << 28
_CLOSE = 8
# Up to here float64 holds every integer, and 25 bits times such a power of ten.
_EXACT, _EXACT_POWER = 2.0**53, 12
# Of float32 that have all their bits.
_SMALLEST, _LARGEST = 1.2e-38, 3.4e38
_LONGEST_MISSING = 7
# One cell in so many may be left to Arrow; a chunk with more is read cell by cell.
_CELLS_FOR_ONE_LEFT = 8


class UnusualError(Exception):
    """A line is not cells between separators, without quotes but around its name."""


def scanned_rows(chunk: bytes, layout: Layout) -> tuple[int, RowBlock]:
    """How many lines a chunk has, and what stands in them, if they are plain.

    Args:
        chunk: Whole lines of the file.
        layout: How they are to be read.

    Raises:
        UnusualError, pyarrow.ArrowInvalid: If they are not; `careful_rows` can say more.
    """
    if b"\r" in chunk:
        chunk = chunk.replace(b"\r\n", b"\n")
        if b"\r" in chunk:
            raise UnusualError
    if not chunk.endswith(b"\n"):
        chunk += b"\n"
    most = chunk.count(b"\n")
    is_chosen = np.zeros(len(layout.header), dtype=np.bool_)
    is_chosen[layout.chosen] = True
    values = np.empty((most, len(layout.chosen)), dtype=np.float32)
    names = np.empty((most, 2), dtype=np.int64)
    left = np.empty((values.size // _CELLS_FOR_ONE_LEFT + 16, 4), dtype=np.int64)
    text = np.frombuffer(chunk, dtype=np.uint8).copy()
    lines, rows, num_left = _compiled_scan(
        text, ord(layout.delimiter), layout.place, is_chosen, _missing_codes(), values, names, left
    )
    if lines < 0:
        raise UnusualError
    left = left[:num_left]
    try:
        ids = [chunk[start:stop].decode() for start, stop in names[:rows].tolist()]
        if num_left:
            texts = [chunk[start:stop].decode().strip() for start, stop in left[:, 2:].tolist()]
            values[left[:, 0], left[:, 1]] = numbers_of(texts)
    except UnicodeDecodeError:
        raise UnusualError from None
    return lines, (ids, values[:rows])


def _scan(
    text: Bytes,
    delimiter: int,
    place: int,
    is_chosen: NDArray[np.bool_],
    missing: Places,
    values: NDArray[np.float32],
    names: Places,
    left: Places,
) -> tuple[int, int, int]:
    """Lines, rows and cells in ``left``; -1 lines if one is not plain.

    Args:
        text: Whole lines; the last byte is a line feed.
        delimiter: Separator of cells.
        place: Column of row names.
        is_chosen: Which columns are numbers to read, ``(column,)``.
        missing: Codes of the texts that mean a missing value.
        values: Gets the numbers, ``(row, feature)``.
        names: Gets where each row's name begins and ends, ``(row, 2)``.
        left: Gets row, feature, begin and end of each cell that is left to Arrow, ``(cell, 4)``.
    """
    at, lines, rows, num_left = 0, 0, 0, 0
    width = len(is_chosen)
    while at < len(text):
        lines += 1
        if text[at] == _END:
            at += 1
            continue
        feature = 0
        for column in range(width):
            begin = at
            if column != place and is_chosen[column]:
                while text[at] == _BLANK:
                    at += 1
                at, value, is_known = _number(text, at)
                while text[at] == _BLANK:
                    at += 1
                if not is_known or (text[at] != delimiter and text[at] != _END):
                    at = _cell_end(text, at, delimiter)
                    value = np.nan
                    if not _is_missing(text, begin, at, missing):
                        if num_left == len(left):
                            return -1, 0, 0
                        left[num_left, 0], left[num_left, 1] = rows, feature
                        left[num_left, 2], left[num_left, 3] = begin, at
                        num_left += 1
                values[rows, feature] = value
                feature += 1
            elif column == place and text[at] == _QUOTE:
                at += 1
                while text[at] != _QUOTE and text[at] != _END:
                    at += 1
                names[rows, 0], names[rows, 1] = begin + 1, at
                if text[at] == _END:
                    return -1, 0, 0
                at += 1
            else:
                at = _cell_end(text, at, delimiter)
                if column == place:
                    names[rows, 0], names[rows, 1] = begin, at
            if text[at] != (_END if column == width - 1 else delimiter):
                return -1, 0, 0
            at += 1
        rows += 1
    return lines, rows, num_left


@njit(inline="always")
def _number(text: Bytes, at: int) -> tuple[int, float, bool]:
    """Where a number that begins at ``at`` ends, and its value if that is known to the bit."""
    is_negative = text[at] == _MINUS
    if is_negative:
        at += 1
    begin = at
    while text[at] == _ZERO:
        at += 1
    first = at
    at, mantissa = _digits(text, at, np.uint64(0))
    has_digits, digits, exponent = bool(at > begin), at - first, 0
    if text[at] == _POINT:
        at += 1
        point = at
        if mantissa == 0:
            while text[at] == _ZERO:
                at += 1
        begin = at
        at, mantissa = _digits(text, at, mantissa)
        digits += at - begin
        exponent = point - at
        has_digits = has_digits or bool(at > point)
    if not has_digits or digits > _MOST_DIGITS:
        return at, 0.0, False
    if text[at] == _SMALL_E or text[at] == _LARGE_E:
        at, power = _power(text, at + 1)
        exponent += power
    if exponent <= -len(_POWERS) or exponent >= len(_POWERS):
        return at, 0.0, False
    whole = np.float64(mantissa)
    value = whole * _POWERS[exponent] if exponent >= 0 else whole / _POWERS[-exponent]
    if mantissa != 0:
        low = np.int64(np.float64(value).view(np.uint64) & _LOW_BITS)
        is_unclear = bool(abs(low - _MIDDLE) <= _CLOSE)
        if low == _MIDDLE and whole <= _EXACT:
            # A middle has 25 bits, so its product with such a power of ten is exact.
            if exponent >= 0:
                is_unclear = bool(value > _EXACT)
            else:
                is_unclear = exponent < -_EXACT_POWER or value * _POWERS[-exponent] != whole
        if is_unclear or not _SMALLEST < value < _LARGEST:
            return at, 0.0, False
    return at, -value if is_negative else value, True


@njit(inline="always")
def _digits(text: Bytes, at: int, mantissa: np.uint64) -> tuple[int, np.uint64]:
    """Where the digits that begin at ``at`` end, and the number with them behind it."""
    digit = np.uint32(text[at]) - _ZERO
    while digit <= _NINE:
        mantissa = mantissa * _TEN + np.uint64(digit)
        at += 1
        digit = np.uint32(text[at]) - _ZERO
    return at, mantissa


@njit(inline="always")
def _power(text: Bytes, at: int) -> tuple[int, int]:
    """Where the exponent that begins at ``at`` ends, and its value; a large one without digits."""
    sign = 1
    if text[at] == _MINUS:
        sign = -1
        at += 1
    elif text[at] == ord("+"):
        at += 1
    power, begin = 0, at
    digit = np.uint32(text[at]) - _ZERO
    while digit <= _NINE:
        power = min(power * 10 + int(digit), 10_000)
        at += 1
        digit = np.uint32(text[at]) - _ZERO
    return at, sign * power if at > begin else 10_000


@njit(inline="always")
def _cell_end(text: Bytes, at: int, delimiter: int) -> int:
    """The next separator, line feed or quote."""
    while text[at] != delimiter and text[at] != _END and text[at] != _QUOTE:
        at += 1
    return at


@njit(inline="always")
def _is_missing(text: Bytes, begin: int, end: int, missing: Places) -> bool:
    """Whether a cell, blanks around it apart, is one of the texts for a missing value."""
    while begin < end and text[begin] == _BLANK:
        begin += 1
    while begin < end and text[end - 1] == _BLANK:
        end -= 1
    if end - begin > _LONGEST_MISSING:
        return False
    code = 1
    for place in range(begin, end):
        code = code * 256 + text[place]
    found = False
    for known in missing:
        found = found or known == code
    return found


@functools.cache
def _missing_codes() -> Places:
    """The texts for missing values as numbers, a byte each behind a leading 1."""
    assert max(map(len, MISSING_TEXTS)) <= _LONGEST_MISSING
    codes = [int.from_bytes(b"\1" + text.encode(), "big") for text in MISSING_TEXTS]
    return np.array(codes, dtype=np.int64)


# At import, before several threads ask for it.
_PLACES, _TABLE = "int64[:, ::1]", "float32[:, ::1]"
_compiled_scan = compiled(
    _scan,
    "UniTuple(int64, 3)(uint8[::1], int64, int64, boolean[::1], int64[::1], "
    f"{_TABLE}, {_PLACES}, {_PLACES})",
)
