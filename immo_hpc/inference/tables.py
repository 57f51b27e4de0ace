"""Writing one table, at once or some rows at a time; it is there whole or not at all."""

from __future__ import annotations

import gzip
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from immo_hpc.errors import UsageError
from immo_hpc.files import atomic_path, make_folder, require_absent

TABLE_SUFFIXES = (".parquet", ".csv", ".csv.gz", ".tsv", ".tsv.gz")
# Of a row group: each costs an entry a column in the footer, so wide tables need large ones.
_GROUP_BYTES = 256 << 20

Add = Callable[[pd.DataFrame], None]


def table_suffix(path: Path) -> str:
    """Suffix of a table file, one of `TABLE_SUFFIXES`.

    Raises:
        UsageError: If the name ends in none of them.

    Example:
        >>> table_suffix(Path("out/latent.tsv.gz"))
        '.tsv.gz'
    """
    name = path.name.lower()
    for suffix in sorted(TABLE_SUFFIXES, key=len, reverse=True):
        if name.endswith(suffix) and len(name) > len(suffix):
            return suffix
    message = (
        f"{path}: a table is written to a name that ends in {', '.join(TABLE_SUFFIXES)}; "
        f"found '{path.suffix or path.name}'."
    )
    raise UsageError(message)


def write_table(frame: pd.DataFrame, path: Path, *, overwrite: bool = False) -> None:
    """Write one table; the suffix of ``path`` decides the format.

    Args:
        frame: Index: sample names, written as the first column ``sample_id``. Numbers are
            written with as many digits as reading them back exactly takes.
        path: Place ending in one of `TABLE_SUFFIXES`. Missing folders are made.
        overwrite: Replace a file that is there already.

    Raises:
        UsageError: If the suffix is none of those.
        OutputError: If the file exists and ``overwrite`` is False, or cannot be written.
    """
    with table_writer(path, overwrite=overwrite) as add:
        add(frame)


@contextmanager
def table_writer(path: Path, *, overwrite: bool = False) -> Iterator[Add]:
    """Write one table some rows at a time; the file takes its name when the block ends well.

    Args:
        path: As for `write_table`.
        overwrite: As for `write_table`.

    Yields:
        A function that takes the next rows as a frame, as `write_table` does; all with the
        same columns. It holds a row group of them at most.

    Raises:
        UsageError, OutputError: As `write_table`.
    """
    suffix = table_suffix(path)
    require_free(path, overwrite)
    make_folder(path.parent)
    with atomic_path(path) as temporary, ExitStack() as stack:
        if suffix == ".parquet":
            add = stack.enter_context(_parquet_rows(temporary))
        else:
            add = stack.enter_context(_text_rows(temporary, suffix))
        yield lambda frame: add(_with_ids(frame))
        stack.close()  # The file is whole before it is renamed.


def require_free(path: Path, overwrite: bool) -> None:
    """Refuse a place that holds something which may not be replaced.

    Raises:
        OutputError: If it does; a folder is never replaced.
    """
    if not overwrite or path.is_dir():
        require_absent(path)


def _with_ids(frame: pd.DataFrame) -> pd.DataFrame:
    table = frame.rename_axis("sample_id").reset_index()
    table["sample_id"] = table["sample_id"].astype(str)
    return table


@contextmanager
def _parquet_rows(file: Path) -> Iterator[Add]:
    held: list[pa.Table] = []
    writers: list[pq.ParquetWriter] = []

    def flush() -> None:
        if held:
            table = pa.concat_tables(held)
            held.clear()
            if not writers:
                # Measurements hardly repeat, and nobody looks rows up by their range.
                options = {"use_dictionary": False, "write_statistics": False}
                writers.append(pq.ParquetWriter(file, table.schema, **options))
            writers[0].write_table(table, row_group_size=max(table.num_rows, 1))

    def add(frame: pd.DataFrame) -> None:
        held.append(pa.Table.from_pandas(frame, preserve_index=False))
        if sum(table.nbytes for table in held) >= _GROUP_BYTES:
            flush()

    try:
        yield add
        flush()
    finally:
        for writer in writers:
            writer.close()


@contextmanager
def _text_rows(file: Path, suffix: str) -> Iterator[Add]:
    separator = "\t" if suffix.startswith(".tsv") else ","
    is_first = True
    with ExitStack() as stack:
        raw: Any = stack.enter_context(file.open("wb"))
        if suffix.endswith(".gz"):
            # A fixed time and no name in the gzip header keep two writes of one table equal.
            raw = stack.enter_context(gzip.GzipFile("", "wb", fileobj=raw, mtime=1))
        text = stack.enter_context(io.TextIOWrapper(raw, encoding="utf-8", newline=""))

        def add(frame: pd.DataFrame) -> None:
            nonlocal is_first
            frame.to_csv(text, sep=separator, index=False, header=is_first)
            is_first = False

        yield add
