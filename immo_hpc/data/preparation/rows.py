"""Training rows of a layer, walked in chunks whose statistics are merged in their order.

The borders of chunks depend on the number of features alone, never on workers, memory or
machine, and every chunk is a function of its own rows. So the merged statistics are the same to
the last bit in memory and from disk, with one process and with many.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.blocks import row_blocks, rows_in
from immo_hpc.data.preparation.statistics import Merge, Statistics, merged
from immo_hpc.work import WorkFolder

# A block is what is in memory at one time: 8 MiB in float64, and a few arrays as large.
BLOCK_BYTES = 4 << 20
# A chunk is what one process does at one time: long enough that its statistics (of the size of
# a few rows) are small beside it.
_CHUNK_BLOCKS = 4
_CHUNK_ROWS = 4096

# Gives the statistics of the chunks 0, 1, ... in this order: (name of the round, number of
# chunks, statistics of one chunk).
Reduction = Callable[[str, int, Callable[[int], Statistics]], Iterable[Statistics]]


@dataclass(frozen=True)
class Block:
    """Some of the training rows.

    Attributes:
        values: ``(row, feature)``, float64, original units, NaN = missing; every row has a
            measured value.
        places: Place of each row in the layer, ``(row,)``, int64.
    """

    values: NDArray[np.float64]
    places: NDArray[np.int64]


def in_memory(
    name: str, num_chunks: int, of_chunk: Callable[[int], Statistics]
) -> Iterator[Statistics]:
    """The reduction of one process: one chunk after the other."""
    return map(of_chunk, range(num_chunks))


def in_folder(work: WorkFolder, *, before: Callable[[], None] = lambda: None) -> Reduction:
    """The reduction of any number of processes, whose statistics are files in ``work``.

    Args:
        work: The folder that all of them name.
        before: Called before each chunk; what it raises ends the work of this process.
    """

    def reduction(
        name: str, num_chunks: int, of_chunk: Callable[[int], Statistics]
    ) -> Iterator[Statistics]:
        files = {f"{name}.{chunk:06d}.npz": chunk for chunk in range(num_chunks)}

        def make(file: str, temporary: Path) -> None:
            before()
            # Opened here, because a path would get another suffix.
            with temporary.open("wb") as stream:
                np.savez(stream, allow_pickle=False, **of_chunk(files[file]))

        work.do_all(list(files), make)
        return (_read(work.path / file) for file in files)

    return reduction


@dataclass(frozen=True)
class TrainingRows:
    """The training rows of a layer, and how statistics are learnt from them.

    Attributes:
        values: All rows of the layer, ``(row, feature)``, in memory or on disk.
        places: The training rows, ``(training row,)``, int64, increasing.
        columns: Features to use, ``(used feature,)``, int64, increasing.
        reduction: Who computes the statistics of chunks.
        name: Before the names of all rounds; file names are made of it.
    """

    values: NDArray[Any]
    places: NDArray[np.int64]
    columns: NDArray[np.int64]
    reduction: Reduction = in_memory
    name: str = "fit"

    @classmethod
    def of(cls, values: NDArray[Any]) -> Self:
        """All rows and features of an array."""
        return cls(values, np.arange(len(values)), np.arange(values.shape[1]))

    def using(self, columns: NDArray[np.int64], name: str) -> TrainingRows:
        """The same rows with other features and other names of rounds."""
        return replace(self, columns=columns, name=name)

    def learn(self, step: str, of_block: Callable[[Block], Statistics], merge: Merge) -> Statistics:
        """The merged statistics of all blocks; there is one training row at least.

        Args:
            step: Name of the round, unique among the rounds of this name.
            of_block: Statistics of a block, which may be without rows.
            merge: Merges those of two neighbours.
        """
        step_rows = rows_per_chunk(self.values.shape[1])
        num_chunks = -(-len(self.places) // step_rows)

        def of_chunk(chunk: int) -> Statistics:
            places = self.places[chunk * step_rows : (chunk + 1) * step_rows]
            return merged(map(of_block, self._blocks(places)), merge)

        return merged(self.reduction(f"{self.name}.{step}", num_chunks, of_chunk), merge)

    def row(self, place: int) -> NDArray[np.float64]:
        """The row at ``place`` of the layer, ``(used feature,)``."""
        _, values = next(iter(row_blocks(self.values, np.array([place]))))
        return np.asarray(values[0, self.columns], dtype=np.float64)

    def _blocks(self, places: NDArray[np.int64]) -> Iterator[Block]:
        for found, values in row_blocks(self.values, places, block_bytes=BLOCK_BYTES):
            # Taken, not indexed: the order in memory decides how rows are summed, and a row
            # must be summed alike in every company.
            used = np.take(values, self.columns, axis=1).astype(np.float64)
            held = ~np.isnan(used).all(axis=1)
            yield Block(used, found) if held.all() else Block(used[held], found[held])


def rows_per_chunk(num_features: int) -> int:
    """Rows of a chunk of a layer of so many features.

    Example:
        >>> rows_per_chunk(20_000), rows_per_chunk(100)
        (4096, 41940)
    """
    return max(_CHUNK_BLOCKS * rows_in(num_features, BLOCK_BYTES), _CHUNK_ROWS)


def _read(file: Path) -> Statistics:
    with np.load(file, allow_pickle=False) as content:
        return dict(content)
