"""Reading a cohort for use: into memory, or into a scratch folder that is gone afterwards."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from immo_hpc.data.cohort import Cohort
from immo_hpc.files import make_folder
from immo_hpc.lease import hold
from immo_hpc.workflow.preparing.place import describe_inputs

# Input files up to this size are read into memory, which is faster: most cohorts are small.
SMALL_BYTES = 32 * 2**20


def are_small(paths: Sequence[Path]) -> bool:
    """True if the files of these cohorts may be read into memory."""
    size: int = sum(entry[1] for entry in describe_inputs(paths))
    return size <= SMALL_BYTES


@contextmanager
def opened_cohort(
    path: Path, beside: Path, read: Callable[[Path | None], Cohort]
) -> Iterator[Cohort]:
    """The cohort at ``path``, to be used inside the block only.

    One that is not small is read into the hidden folder ``.NAME.tables`` beside ``beside``,
    which is removed at the end, however it ends. A command that was killed leaves it; the
    same command uses what is there.

    Args:
        path: Folder or file of the cohort.
        beside: Output that is made of it; the folder has its name.
        read: Reads the cohort; gets a folder for matrices larger than memory.

    Raises:
        BusyError: If another process uses the folder for the same output.
        CohortError: As ``read``.
        OutputError: If the folder cannot be made, or the disk is full.
    """
    if are_small([path]):
        yield read(None)
        return
    scratch = beside.absolute().with_name(f".{beside.name}.tables")
    make_folder(scratch.parent)
    with hold(scratch.with_name(f"{scratch.name}.lease")):
        try:
            yield read(scratch)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
