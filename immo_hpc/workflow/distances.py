"""How far samples are from those a model knows, noted as they pass by, and what is said of it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.check import examples
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.inference import Samples, TrainedModel
from immo_hpc.inference.calibration.distance import FAR_BELOW
from immo_hpc.inference.tables import table_suffix


class Distances:
    """Collects the distances of samples, some at a time; none if the model has no calibration."""

    def __init__(self, model: TrainedModel) -> None:
        self._model = model
        self._parts: list[pd.DataFrame] = []

    @classmethod
    def of(cls, model: TrainedModel, samples: Samples) -> Self:
        """The distances of all samples."""
        distances = cls(model)
        if model.calibration is not None:
            for portion in samples.portions():
                distances.add(portion.cohort)
        return distances

    def add(self, cohort: PreparedCohort) -> NDArray[np.bool_]:
        """Note the distances of some samples, and tell which are far, ``(sample,)``."""
        if self._model.calibration is None:
            return np.zeros(len(cohort.samples), dtype=np.bool_)
        self._parts.append(self._model.distances(cohort))
        return np.asarray(self._parts[-1]["is_far"], dtype=np.bool_)

    def table(self) -> pd.DataFrame | None:
        """All of them, index ``sample_id``; None if the model has no calibration."""
        return pd.concat(self._parts) if self._parts else None

    def far(self) -> int | None:
        """How many samples are far; None if that is not known."""
        table = self.table()
        return None if table is None else int(table["is_far"].sum())

    def notices(self, done: str) -> tuple[str, ...]:
        """A sentence on the samples that are far.

        Args:
            done: What was done with them, as the end of a sentence.
        """
        table = self.table()
        if table is None:
            sentence = (
                "the run has no calibration, so samples unlike the training data are not "
                "recognised; make one with immo calibrate."
            )
            return (sentence,)
        far = table[table["is_far"]]
        if far.empty:
            return ()
        where = ", ".join(f"{name} {count}" for name, count in far["layer"].value_counts().items())
        sentence = (
            f"{len(far)} of {len(table)} samples are far from the training data, as less than "
            f"{FAR_BELOW:.0%} of its people are: {examples(far.index)}. Layer that is off most: "
            f"{where}. Look for wrong units, exchanged features or another batch; {done}."
        )
        return (sentence,)


def distance_columns(table: pd.DataFrame | None) -> pd.DataFrame:
    """The table with names that tell where the columns come from; no columns for None."""
    return pd.DataFrame() if table is None else table.add_prefix("immo_")


def beside_table(table: Path) -> Path:
    """Where the distances of a table's samples stand.

    Raises:
        UsageError: If the table's suffix is unknown.

    Example:
        >>> beside_table(Path("out/latent.csv.gz")).as_posix()
        'out/latent.distance.tsv'
    """
    suffix = table_suffix(table)
    return table.with_name(f"{table.name[: -len(suffix)]}.distance.tsv")
