"""Reading TSV and CSV tables: fast where all is well, exact about the place where it is not."""

from __future__ import annotations

import csv
import io
import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

import pyarrow as pa

from immo_hpc.data.packed import opened_bytes
from immo_hpc.data.streams import RowBlock, TableStream, guarded
from immo_hpc.data.tables import (
    DELIMITERS,
    PACKED,
    id_place,
    matching,
    reading,
    table_name,
    table_suffix,
)
from immo_hpc.data.text_cells import Layout, careful_rows, ragged_message
from immo_hpc.data.text_chunks import Chunks, Lines
from immo_hpc.errors import CohortError

_NAMES = {"\t": "tabs", ",": "commas"}
# Lines are read in chunks of about this size: small enough for the caches.
_CHUNK_BYTES = 1 << 20
# From this size on, of packed files a quarter, compiled code saves more than it takes to load.
_COMPILED_FROM = 32 << 20
_MOST_THREADS = 4


def text_stream(path: Path, patterns: Sequence[str]) -> TableStream:
    """Open a TSV or CSV file of numbers (see `immo_hpc.data.read.read_table`).

    Raises:
        CohortError: Then, or while the blocks are walked.
    """
    with reading(path):
        header, line = _header(path)
    place = id_place(header)
    others = [number for number in range(len(header)) if number != place]
    fitting = [others[hit] for hit in matching([header[n] for n in others], patterns)]
    layout = Layout(path, delimiter_of(path), header, place, fitting or others, line)
    return TableStream(
        table_name(path),
        tuple(header[number] for number in layout.chosen),
        guarded(path, _blocks(layout)),
        path,
        header[place],
    )


def read_text_ids(path: Path) -> set[str]:
    """Names in the first column and in the header of a TSV or CSV file."""
    delimiter = delimiter_of(path)
    with reading(path), opened_text(path) as stream:
        header = next(csv.reader(stream, delimiter=delimiter), [])
        first = {line.partition(delimiter)[0].strip().strip('"') for line in stream}
    return {name.strip() for name in header} | first


def text_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each line that is not blank, the header first."""
    with opened_text(path) as stream:
        lines = csv.reader(stream, delimiter=delimiter_of(path))
        for cells in lines:
            if any(cells):
                yield lines.line_num, cells


def delimiter_of(path: Path) -> str:
    """Separator of cells in a ``.tsv`` or ``.csv`` file."""
    suffix = table_suffix(path)
    assert suffix in DELIMITERS
    return DELIMITERS[suffix]


@contextmanager
def opened_text(path: Path) -> Iterator[TextIO]:
    """The file as UTF-8 text, unpacked if it is packed, without a byte order mark."""
    with (
        opened_bytes(path) as stream,
        io.TextIOWrapper(stream, encoding="utf-8-sig", newline="") as text,
    ):
        yield text


def _header(path: Path) -> tuple[list[str], int]:
    """Column names, and lines up to the header."""
    rows = text_rows(path)
    skipped, header = next(rows, (0, []))
    line, first = next(rows, (0, []))
    header = [name.strip() for name in header]
    if len(first) == len(header) + 1:  # R leaves out the name of the first column.
        header = ["", *header]
    if len(header) < 2:
        separator = _NAMES[delimiter_of(path)]
        message = (
            f"{path}: expected a header with sample_id and features separated by {separator}, "
            f"found {' '.join(header)[:60]!r}. Check the separator."
        )
        raise CohortError(message)
    if not first:
        message = f"{path}: expected rows below the header, found none. Write the table again."
        raise CohortError(message)
    if len(first) != len(header):
        raise CohortError(ragged_message(path, line, len(first), len(header)))
    return header, skipped


def _blocks(layout: Layout) -> Iterator[RowBlock]:
    with opened_bytes(layout.path) as stream:
        chunks = Chunks(stream, _CHUNK_BYTES)
        chunks.skip(layout.line)
        packing = 4 if layout.path.suffix.lower() in PACKED else 1
        if packing * layout.path.stat().st_size < _COMPILED_FROM:
            yield from _careful_blocks(chunks, layout)
        else:
            yield from _scanned_blocks(chunks, layout)


def _careful_blocks(chunks: Chunks, layout: Layout) -> Iterator[RowBlock]:
    lines, line = Lines(iter(chunks.next, b"")), layout.line
    while lines.at_hand():
        count, block = careful_rows(lines, line, layout)
        line += count
        if len(block[0]):
            yield block


def _scanned_blocks(chunks: Chunks, layout: Layout) -> Iterator[RowBlock]:
    """The rows chunk by chunk, while threads scan those ahead."""
    # Importing numba takes as long as reading a small table.
    from immo_hpc.data.text_scan import UnusualError, scanned_rows

    line, number = layout.line, min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    ahead: deque[tuple[bytes, Future[tuple[int, RowBlock]]]] = deque()
    with _threads(number) as threads:

        def begun(chunk: bytes) -> tuple[bytes, Future[tuple[int, RowBlock]]]:
            return chunk, threads.submit(scanned_rows, chunk, layout)

        def following() -> Iterator[bytes]:
            while ahead:
                yield ahead.popleft()[0]
            yield from iter(chunks.next, b"")

        while True:
            while len(ahead) <= number and (chunk := chunks.next()):
                ahead.append(begun(chunk))
            if not ahead:
                return
            try:
                count, block = ahead[0][1].result()
                ahead.popleft()
            except (UnusualError, pa.ArrowInvalid):
                # A cell in quotes may go on in the chunks behind.
                lines = Lines(following())
                count, block = careful_rows(lines, line, layout)
                if left := lines.left():
                    ahead.appendleft(begun(left))
            line += count
            if len(block[0]):
                yield block


@contextmanager
def _threads(number: int) -> Iterator[ThreadPoolExecutor]:
    """Threads that leave what they have not begun when the block ends, however it ends."""
    threads = ThreadPoolExecutor(number, thread_name_prefix="immo-scan")
    try:
        yield threads
    finally:
        threads.shutdown(cancel_futures=True)
