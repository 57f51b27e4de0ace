"""JSON lines: a record that processes add to and that a crash can cut, but not spoil."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from immo_hpc.files import refuse_output


def append_line(path: Path, values: Mapping[str, Any]) -> None:
    """Add one line, in one write, flushed to disk; the file is made if it is not there.

    Raises:
        OutputError: If the file cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            size = os.fstat(descriptor).st_size
            # A line that a crash cut short must not swallow this one.
            is_cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
            os.write(descriptor, b"\n" * is_cut + json.dumps(dict(values)).encode() + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        refuse_output(path, error)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a file, oldest first; one that was cut short is left out.

    Args:
        path: The file; one that is not there has no lines.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "events.jsonl"
        ...     append_line(path, {"event": "began"})
        ...     with path.open("a") as file:
        ...         _ = file.write('{"event": "en')
        ...     append_line(path, {"event": "began again"})
        ...     [line["event"] for line in read_lines(path)]
        ['began', 'began again']
    """
    try:
        texts = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except FileNotFoundError:
        return []
    found = []
    for text in texts:
        try:
            values = json.loads(text)
        except ValueError:
            continue
        if isinstance(values, dict):
            found.append(values)
    return found
