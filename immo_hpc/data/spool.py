"""Tables on disk: read once into a folder, then used from there without being in memory.

A file holds the values (float32, row by row) from its first byte, so that it can be mapped,
then the names as JSON, the length of that, and a mark with the version.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from immo_hpc.data.matrices import open_matrix, write_rows
from immo_hpc.data.streams import TableStream
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError, OutputError
from immo_hpc.work import WorkFolder

_MARK = b"immo-f32-table-1"
_LENGTH_BYTES = 8


def spooled(
    scratch: Path, names: Mapping[str, str], stream_of: Callable[[str], TableStream]
) -> dict[str, Table]:
    """Tables with their values on disk; those that ``scratch`` holds already are not read again.

    Processes that share ``scratch`` share the work.

    Args:
        scratch: Folder for the files; made if it is not there.
        names: File name of each table, by layer (`spool_name`).
        stream_of: Opens the table of a layer.

    Raises:
        CohortError: As the reader of the first table, in order, that cannot be read.
        OutputError: If ``scratch`` cannot be written, or the disk is full.
    """
    layer_of = {file: layer for layer, file in names.items()}

    def write(file: str, temporary: Path) -> None:
        _write(stream_of(layer_of[file]), temporary)

    work = WorkFolder(scratch)
    try:
        work.do_all(list(layer_of), write)
    except CohortError:
        # Workers start at different tables, but should tell of the same one.
        for file in layer_of:
            work.do_all([file], write)
        raise
    return {layer: _opened(scratch / file, layer) for layer, file in names.items()}


def spool_name(source: Path, layer: str, *how: object) -> str:
    """File name of a table: another one if the source changes, or the way it is read.

    Args:
        source: File of the table.
        layer: Name of the layer.
        how: What else decides the content, such as patterns of features.
    """
    stat = source.stat()
    key = repr((str(source.resolve()), stat.st_size, stat.st_mtime_ns, how))
    return f"{layer}.{hashlib.blake2b(key.encode(), digest_size=12).hexdigest()}.f32"


def _write(stream: TableStream, temporary: Path) -> None:
    ids: list[str] = []
    with temporary.open("wb") as target:
        for names, block in stream.blocks:
            ids += names
            write_rows(target, block)
            del block
        head = {
            "name": stream.name,
            "features": stream.features,
            "sample_ids": stream.checked(ids),
            "source": None if stream.source is None else str(stream.source),
        }
        content = json.dumps(head).encode()
        target.write(content)
        target.write(len(content).to_bytes(_LENGTH_BYTES, "little") + _MARK)


def _opened(file: Path, layer: str) -> Table:
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        end = size - len(_MARK) - _LENGTH_BYTES
        stream.seek(max(end, 0))
        length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
        if stream.read() != _MARK or length > end:
            message = f"{file}: expected a table of this version, found other content. Remove it."
            raise OutputError(message)
        stream.seek(end - length)
        head = json.loads(stream.read(length))
    ids, features = tuple(head["sample_ids"]), tuple(head["features"])
    source = None if head["source"] is None else Path(head["source"])
    return Table(layer, ids, features, open_matrix(file, (len(ids), len(features))), source)
