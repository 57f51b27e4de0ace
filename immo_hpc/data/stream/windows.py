"""Windows: the rows that are shuffled together, and where each of them lies in memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.stream.groups import GroupReader
from immo_hpc.data.stream.index import RowGroup, ShardIndex
from immo_hpc.data.stream.memory import Memory


class Rows:
    """The rows of a folder of shards, by layer.

    Args:
        index: The opened shards.
    """

    def __init__(self, index: ShardIndex) -> None:
        self.index = index
        self.measured = dict(zip(index.layers, index.measured().T, strict=True))
        self.widths = {name: len(layer.features) for name, layer in index.layers.items()}
        self._number = {name: np.cumsum(held) - 1 for name, held in self.measured.items()}
        self._first = {
            name: np.searchsorted(layer.rows, index.first_samples)
            for name, layer in index.layers.items()
        }

    def held(self, places: NDArray[np.int64], layer: str) -> NDArray[np.int64]:
        """Which of some samples have a layer, ``(row,)``, increasing."""
        return np.flatnonzero(self.measured[layer][places])

    def by_group(
        self, samples: NDArray[np.int64], layer: str
    ) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
        """The rows of samples that have a layer, by row group.

        Args:
            samples: Places of such samples, increasing, ``(row,)``.
            layer: Name of the layer.

        Yields:
            A row group, the place of its first row among these, and the places of its rows among
            those of the group.
        """
        group = np.searchsorted(self.index.first_samples, samples, side="right") - 1
        rows = self._number[layer][samples] - self._first[layer][group]
        cuts = np.flatnonzero(np.diff(group)) + 1
        for low, high in zip([0, *cuts], [*cuts, len(group)], strict=True):
            if high > low:
                yield int(group[low]), int(low), rows[low:high]


class Window:
    """Where the rows of a window lie: in mapped shards, or in memory of its own.

    Args:
        rows: The rows of the shards.
        samples: Places of the window's samples, increasing, ``(sample,)``.
        memory: Where it takes memory for what is not mapped.
    """

    def __init__(self, rows: Rows, samples: NDArray[np.int64], memory: Memory) -> None:
        self._rows, self._memory = rows, memory
        self._samples = {name: samples[rows.held(samples, name)] for name in rows.measured}
        self._addresses = {
            name: np.zeros(len(held), dtype=np.int64) for name, held in self._samples.items()
        }
        self._item_bytes = {
            name: np.zeros(len(held), dtype=np.uint8) for name, held in self._samples.items()
        }
        self._lock = threading.Lock()
        self._room: dict[str, NDArray[np.float32]] = {}
        self._wanted: dict[int, list[tuple[str, int, NDArray[np.int64]]]] = {}
        for name, held in self._samples.items():
            for group, low, places in rows.by_group(held, name):
                self._wanted.setdefault(group, []).append((name, low, places))

    @property
    def groups(self) -> list[int]:
        """Numbers of its row groups, in the order of the files."""
        return sorted(self._wanted)

    def load(self, number: int, reader: GroupReader) -> None:
        """Bring in the rows of a row group, by any thread.

        Raises:
            ShardError: As `GroupReader.pieces`.
        """
        group = self._rows.index.groups[number]
        for name, first, places in self._wanted[number]:
            self._load(group, name, first, places, reader)

    def _load(
        self, group: RowGroup, name: str, first: int, places: NDArray[np.int64], reader: GroupReader
    ) -> None:
        for piece in reader.pieces(group, name, places):
            low = first + piece.low
            high = low + len(piece.addresses)
            addresses, item_bytes = piece.addresses, piece.item_bytes
            if not piece.stays:
                room = self._layer_room(name)[low:high]
                piece.copy_to(room)
                addresses = room.ctypes.data + room.strides[0] * np.arange(len(room))
                item_bytes = room.itemsize
            self._addresses[name][low:high] = addresses
            self._item_bytes[name][low:high] = item_bytes

    def _layer_room(self, name: str) -> NDArray[np.float32]:
        with self._lock:
            if not self._room:
                shapes = {
                    layer: (len(held), self._rows.widths[layer])
                    for layer, held in self._samples.items()
                }
                self._room = self._memory.matrices(shapes)
            return self._room[name]

    def find(
        self, samples: NDArray[np.int64], layer: str
    ) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Addresses of the rows of samples that have a layer, and bytes of their values.

        Args:
            samples: Places of such samples of the window, ``(row,)``.
            layer: Name of the layer.
        """
        place = np.searchsorted(self._samples[layer], samples)
        return self._addresses[layer][place], self._item_bytes[layer][place]
