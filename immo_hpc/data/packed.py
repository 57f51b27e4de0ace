"""Files that are packed (``.gz``, ``.zst``), read as if they were not."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from immo_hpc.data.tables import PACKED
from immo_hpc.files import refuse_output


@contextmanager
def opened_bytes(path: Path) -> Iterator[Any]:
    """The content of a file as a stream of bytes, unpacked."""
    suffix = path.suffix.lower()
    if suffix == ".gz":
        with gzip.open(path) as stream:
            yield stream
    elif suffix == ".zst":
        with pa.CompressedInputStream(str(path), "zstd") as stream:
            yield stream
    else:
        with path.open("rb") as stream:
            yield stream


def unpacked(path: Path, folder: Path | None = None) -> Any:
    """A file that can be read at any place: the path itself, or its unpacked content.

    Args:
        path: The file.
        folder: Where the content is kept, in a nameless file; in memory if not given.

    Raises:
        OutputError: If ``folder`` cannot hold the content.
    """
    if path.suffix.lower() not in PACKED:
        return path
    if folder is None:
        with opened_bytes(path) as stream:
            return pa.BufferReader(stream.read())
    with opened_bytes(path) as stream:
        try:
            target = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - closed below
        except OSError as error:
            refuse_output(folder, error)
        with target:
            while piece := stream.read(1 << 20):
                try:
                    target.write(piece)
                    target.flush()
                except OSError as error:
                    refuse_output(folder, error)
            # Opened again by number, as it has no name, so that Arrow closes it when it is done.
            return pa.OSFile(f"/dev/fd/{target.fileno()}")
