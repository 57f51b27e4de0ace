"""Ways to get shuffled batches of one cohort from disk.

All of them give the same: float32 tensors of the measured rows of each layer, in memory of their
own, and which sample of the batch each row belongs to. A contender is opened in a process of its
own (`immo_hpc.bench.loader_child`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import util
from pathlib import Path

from immo_hpc.bench import loader_rivals as rivals
from immo_hpc.bench.loader_batch import SEED, Delivered, Opened
from immo_hpc.bench.loader_data import BenchCohort
from immo_hpc.data.stream import StreamSource, open_shards


@dataclass(frozen=True)
class Contender:
    """A way to read, before it is opened.

    Attributes:
        copy: The copy of the cohort that it reads (`loader_copies.COPIES`).
        open: Opens it: cohort, folder of the copies, batch size, bytes of memory it may use
            for itself.
        needs: Packages that must be there.
        is_mapped: It maps its files, which keeps them in the page cache while it is open; so it
            is opened anew for each epoch.
        is_whole: Measured over whole epochs; others for a stated time.
    """

    copy: str
    open: Callable[[BenchCohort, Path, int, int], Opened]
    needs: tuple[str, ...] = ()
    is_mapped: bool = False
    is_whole: bool = False

    def absent(self) -> list[str]:
        """Packages that it needs and that are not installed."""
        return [name for name in self.needs if util.find_spec(name) is None]


def open_immo(cohort: BenchCohort, folder: Path, batch_size: int, memory_bytes: int) -> Opened:
    """The loader of this project."""
    index = open_shards(folder / "shards")
    source = StreamSource(index, batch_size=batch_size, seed=SEED, memory_bytes=memory_bytes)

    def epoch(number: int) -> Iterator[Delivered]:
        for batch in source.epoch(number):
            layers = {name: (layer.values, layer.rows) for name, layer in batch.layers.items()}
            yield Delivered(batch.sample_uid.numpy(), layers)

    return Opened(index.sample_uid, epoch)


CONTENDERS: dict[str, Contender] = {
    "immo": Contender("shards", open_immo, is_whole=True),
    "npy": Contender("npy", rivals.open_npy, is_mapped=True),
    "npy, 2 workers": Contender("npy", partial(rivals.open_npy, num_workers=2), is_mapped=True),
    "anndata": Contender("h5ad", rivals.open_anndata, ("anndata", "h5py")),
    "parquet": Contender("parquet", rivals.open_parquet),
    "datasets": Contender("arrow", rivals.open_datasets, ("datasets",), is_mapped=True),
    "torchdata": Contender(
        "npy",
        partial(rivals.open_npy, loader=("torchdata.stateful_dataloader", "StatefulDataLoader")),
        ("torchdata",),
        is_mapped=True,
    ),
}
