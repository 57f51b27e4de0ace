"""The header of a Parquet data page: how long the page is, what it holds, and its checksum.

Arrow does not hand it out. It is a struct in Thrift's compact protocol that starts with 32-bit
integers, and so does the struct inside it that tells of a data page. The rest, which only a
decoder needs, is not read.
"""

from __future__ import annotations

from typing import NamedTuple

_INT32, _STRUCT = 5, 12
_COMPRESSED_SIZE, _CRC, _DATA_PAGE = 3, 4, 5
_NUM_VALUES, _ENCODING = 1, 2
_PLAIN = 0


class PageHeader(NamedTuple):
    """What a data page says of itself.

    Attributes:
        size: Bytes of the page after its header.
        crc: CRC-32 of these bytes; None if the writer left it out.
        num_plain: Values in it, absent ones among them; None if they are not PLAIN.
    """

    size: int
    crc: int | None
    num_plain: int | None


def read_page_header(start: bytes) -> PageHeader | None:
    """Read the header that ``start`` begins with; None if it does not begin with one.

    Example:
        >>> read_page_header(bytes.fromhex("1500 1508 1508 15cc90dbf30b 1c 1502 1500"))
        PageHeader(size=4, crc=1597727782, num_plain=1)
    """
    page, place, field = _integers(start, 0)
    size, crc = page.get(_COMPRESSED_SIZE), page.get(_CRC)
    if size is None or size < 0:
        return None
    inner: dict[int, int] = {}
    following = start[place] if place < len(start) else 0
    if following & 15 == _STRUCT and field + (following >> 4) == _DATA_PAGE:
        inner, _, _ = _integers(start, place + 1)
    num_plain = inner.get(_NUM_VALUES) if inner.get(_ENCODING) == _PLAIN else None
    return PageHeader(size, None if crc is None else crc & 0xFFFFFFFF, num_plain)


def _integers(content: bytes, place: int) -> tuple[dict[int, int], int, int]:
    """The integers a struct begins with by field, where they end, and the last field."""
    numbers: dict[int, int] = {}
    field = 0
    # A byte before each: how many fields it is after the last one, and its type.
    while place < len(content) and content[place] & 15 == _INT32 and content[place] >> 4:
        number = shift = 0
        end = place + 1
        while end < len(content) and content[end] >= 128 and shift < 28:
            number |= (content[end] & 127) << shift
            shift, end = shift + 7, end + 1
        if end == len(content) or content[end] >= 128:
            break
        number |= content[end] << shift
        field += content[place] >> 4
        numbers[field] = (number >> 1) ^ -(number & 1)
        place = end + 1
    return numbers, place, field
