"""Other loaders that `immo bench loader` stands beside, each as its own documentation has it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from immo_hpc.bench.loader_batch import SEED, Delivered, Opened
from immo_hpc.bench.loader_cache import copy_files
from immo_hpc.bench.loader_copies import PARQUET_SAMPLES
from immo_hpc.bench.loader_data import LAYERS, BenchCohort


class RowsDataset(Dataset[dict[str, Tensor]]):
    """A plain map-style data set: the rows of one sample at a time.

    Args:
        cohort: Which sample has which row.
        values: Matrix of each layer that gives a row as an array.
    """

    def __init__(self, cohort: BenchCohort, values: Mapping[str, Any]) -> None:
        self._values = values
        self._row = {name: _row_of_sample(cohort, name) for name in values}
        self._samples = cohort.samples

    def __len__(self) -> int:
        return self._samples

    def __getitem__(self, sample: int) -> dict[str, Tensor]:
        item = {"": torch.tensor(sample)}
        for name, row in self._row.items():
            if row[sample] >= 0:
                item[name] = torch.from_numpy(np.array(self._values[name][row[sample]]))
        return item


class BatchesDataset(RowsDataset):
    """The same, asked for all samples of a batch at once, for files where one row costs much.

    Args:
        cohort: Which sample has which row.
        take: By layer, a function of increasing rows that gives their values.
    """

    def __init__(self, cohort: BenchCohort, take: Mapping[str, Callable[[Any], Tensor]]) -> None:
        super().__init__(cohort, take)
        self._take = take

    def __getitems__(self, samples: list[int]) -> Delivered:
        """The batch of ``samples``; torch's loader looks for this method."""
        wanted = np.array(samples)
        layers = {}
        for name, row_of_sample in self._row.items():
            rows = row_of_sample[wanted]
            places = np.flatnonzero(rows >= 0)
            places = places[np.argsort(rows[places])]
            layers[name] = (self._take[name](rows[places]), torch.from_numpy(places))
        return Delivered(wanted, layers)


def collate(items: list[dict[str, Tensor]]) -> Delivered:
    """Stack what samples have of each layer."""
    layers = {}
    for name in LAYERS:
        places = [place for place, item in enumerate(items) if name in item]
        rows = [items[place][name] for place in places]
        layers[name] = (torch.stack(rows) if rows else torch.empty(0, 0), torch.tensor(places))
    return Delivered(torch.stack([item[""] for item in items]).numpy(), layers)


def open_npy(
    cohort: BenchCohort,
    folder: Path,
    batch_size: int,
    _: int,
    *,
    loader: tuple[str, str] = ("torch.utils.data", "DataLoader"),
    num_workers: int = 0,
) -> Opened:
    """A plain data set over memory-mapped ``.npy`` files, through a loader of torch's kind."""
    values = {path.stem: np.load(path, mmap_mode="r") for path in copy_files(folder, "npy")}
    dataset = RowsDataset(cohort, values)
    kind = getattr(import_module(loader[0]), loader[1])
    return _loaded(cohort, dataset, kind, batch_size, collate, num_workers)


def open_anndata(cohort: BenchCohort, folder: Path, batch_size: int, _: int) -> Opened:
    """AnnData in backed mode, asked for the sorted rows of each batch."""
    import anndata

    tables = {path.stem: anndata.read_h5ad(path, backed="r") for path in copy_files(folder, "h5ad")}

    def take(name: str, rows: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(tables[name].X[rows])

    dataset = BatchesDataset(cohort, {name: partial(take, name) for name in tables})
    return _loaded(cohort, dataset, DataLoader, batch_size, _as_it_is)


def open_datasets(cohort: BenchCohort, folder: Path, batch_size: int, _: int) -> Opened:
    """Hugging Face's `datasets` in torch's format, memory-mapped."""
    from datasets import Dataset as Table  # type: ignore[import-not-found,unused-ignore]

    tables = {
        path.stem: Table.from_file(str(path)).with_format("torch")
        for path in copy_files(folder, "arrow")
    }

    def take(name: str, rows: NDArray[np.int64]) -> Tensor:
        values: Tensor = tables[name][rows.tolist()]["x"]
        return values

    dataset = BatchesDataset(cohort, {name: partial(take, name) for name in tables})
    return _loaded(cohort, dataset, DataLoader, batch_size, _as_it_is)


def open_parquet(cohort: BenchCohort, folder: Path, batch_size: int, _: int) -> Opened:
    """Parquet with one column a feature: files in random order, each shuffled by itself.

    No sample can be read without decoding all columns, so this is the finest shuffle it has.
    """
    from pyarrow import parquet

    def epoch(number: int) -> Iterator[Delivered]:
        rng = np.random.default_rng([SEED, number])
        for part in rng.permutation(-(-cohort.samples // PARQUET_SAMPLES)).tolist():
            samples = np.arange(part * PARQUET_SAMPLES, (part + 1) * PARQUET_SAMPLES)
            samples = samples[samples < cohort.samples]
            values = {}
            for name in LAYERS:
                table = parquet.read_table(folder / "parquet" / name / f"{part:05d}.parquet")
                values[name] = torch.from_numpy(table.to_pandas().to_numpy(np.float32))
            rows = np.cumsum(cohort.measured[samples], axis=0) - 1
            order = rng.permutation(len(samples))
            for start in range(0, len(order), batch_size):
                chosen = order[start : start + batch_size]
                layers = {}
                for place, name in enumerate(LAYERS):
                    held = np.flatnonzero(cohort.measured[samples[chosen], place])
                    wanted = torch.from_numpy(rows[chosen[held], place])
                    layers[name] = (values[name][wanted], torch.from_numpy(held))
                yield Delivered(samples[chosen], layers)

    return Opened(np.arange(cohort.samples), epoch)


def _loaded(
    cohort: BenchCohort,
    dataset: RowsDataset,
    kind: Any,
    batch_size: int,
    collate_fn: Callable[[Any], Delivered],
    num_workers: int = 0,
) -> Opened:
    def epoch(number: int) -> Iterator[Delivered]:
        yield from kind(
            dataset,
            batch_size=batch_size,
            shuffle=True,
            collate_fn=collate_fn,
            num_workers=num_workers,
            generator=torch.Generator().manual_seed(number),
        )

    return Opened(np.arange(cohort.samples), epoch)


def _as_it_is(batch: Delivered) -> Delivered:
    return batch


def _row_of_sample(cohort: BenchCohort, layer: str) -> NDArray[np.int64]:
    row = np.full(cohort.samples, -1, dtype=np.int64)
    row[cohort.rows[layer]] = np.arange(len(cohort.rows[layer]))
    return row
