"""Writing files so that a reader, or a later run, never meets half of one.

Every file is written under a unique temporary name in its own folder, flushed to
disk and renamed; a whole folder is filled under a temporary name and renamed last.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from immo_hpc.errors import OutputError

_NO_SPACE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; on success it becomes ``path``, else it is gone.

    Args:
        path: Final place of the file. Its folder must exist.

    Yields:
        A path that does not exist yet, in the same folder and with the same suffixes.

    Raises:
        OutputError: If the disk is full or the place cannot be written.
    """
    temporary = path.with_name(f".{secrets.token_hex(6)}.{path.name}")
    try:
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    except OSError as error:
        refuse_output(path, error)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path`` in one step, as `atomic_path` does."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """Give a temporary folder to fill; on success it becomes ``path``, else it is gone.

    Args:
        path: Final folder: absent, or present and empty.

    Yields:
        An empty folder beside ``path``.

    Raises:
        OutputError: If ``path`` exists and is not empty, or cannot be written.
    """
    require_absent(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.mkdir()
        yield temporary
        if path.is_dir():
            path.rmdir()
        temporary.replace(path)
        _fsync(path.parent)
    except OSError as error:
        refuse_output(path, error)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def make_folder(path: Path) -> None:
    """Make a folder, and those above it, where they are not there yet.

    Raises:
        OutputError: If that is not possible.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        refuse_output(path, error)


def require_absent(path: Path) -> None:
    """Refuse an output place that already holds something.

    Raises:
        OutputError: If ``path`` is a file, or a folder that is not empty.
    """
    if path.is_dir() and not any(path.iterdir()):
        return
    if path.exists() or path.is_symlink():
        what = "a folder that is not empty" if path.is_dir() else "a file"
        message = (
            f"{path}: expected nothing there, found {what}. "
            "Choose another output place, or remove this one first."
        )
        raise OutputError(message)


def is_disk_full(error: OSError) -> bool:
    """True if the disk, or the user's share of it, is full."""
    return error.errno in _NO_SPACE


def refuse_output(path: Path, error: OSError) -> NoReturn:
    """Say in the user's words why ``path`` cannot be written.

    Raises:
        OutputError: Always; ``error`` itself if it is one.
    """
    if isinstance(error, OutputError):
        raise error
    if is_disk_full(error):
        message = (
            f"{path}: the disk is full or over quota ({error.strerror}). Nothing was left "
            "half-written; free some space or choose another place, and repeat the command."
        )
        raise OutputError(message) from error
    message = (
        f"{path}: cannot be written ({error.strerror or error}). "
        "Check that the folder exists and that you may write to it."
    )
    raise OutputError(message) from error


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
