"""k nearest neighbours: what the training samples most like a sample say."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from immo_hpc.analysis.compare.contender import Learnt, Table
from immo_hpc.analysis.compare.lowrank import visible_mean
from immo_hpc.analysis.compare.representation import classified
from immo_hpc.analysis.compare.tuning import Candidate, sides, tuned
from immo_hpc.analysis.hiding import columns
from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort

_NUMBERS = (5, 10, 20, 40)
_BLOCK = 256


@dataclass(frozen=True)
class Neighbours:
    """Training samples and how many of them are asked.

    The distance of two samples is the mean squared difference over the features that both
    have measured. Only neighbours that have the layer are asked about it.
    """

    reference: PreparedCohort
    number: int

    def values(self, cohort: PreparedCohort) -> dict[str, Table]:
        """Mean over the nearest neighbours, by layer ``(sample, feature)``."""
        known, mean = self.reference.wide(), visible_mean(self.reference)
        distance = _distances(cohort.wide(), known)
        result: dict[str, Table] = {}
        for name, place in columns(self.reference).items():
            rows = self.reference.layers[name].rows
            said: Table = np.tile(mean[place], (len(distance), 1))
            if len(rows):
                said = self._means(distance[:, rows], known[rows, place], said)
            result[name] = said
        return result

    def layer(self, cohort: PreparedCohort, name: str) -> Table:
        """One layer of `values`."""
        return self.values(cohort)[name]

    def completed(self, cohort: PreparedCohort) -> Table:
        """The samples side by side, what is missing filled in, ``(sample, feature)``."""
        said = np.concatenate(list(self.values(cohort).values()), axis=1)
        x = cohort.wide()
        return np.where(np.isnan(x), said, x)

    def _means(self, distance: Table, known: Table, otherwise: Table) -> Table:
        number = min(self.number, distance.shape[1])
        nearest = np.argpartition(distance, number - 1, axis=1)[:, :number]
        said = np.array(otherwise)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Mean of empty slice")
            for start in range(0, len(said), _BLOCK):
                block = slice(start, start + _BLOCK)
                asked = np.where(
                    np.isfinite(np.take_along_axis(distance[block], nearest[block], axis=1))[
                        ..., None
                    ],
                    known[nearest[block]],
                    np.nan,
                )
                mean = np.nanmean(asked, axis=1)
                said[block] = np.where(np.isfinite(mean), mean, said[block])
        return said


def learn_neighbours(training: PreparedCohort, config: ImmoConfig) -> Learnt:
    """The number of neighbours is tuned; the label is learnt from completed samples."""
    train, tuning = sides(training, config.seed)
    models = [Neighbours(train, number) for number in _NUMBERS]
    candidates = [
        Candidate(f"{model.number} neighbours", model.layer, model.values) for model in models
    ]
    learnt, chosen = tuned(candidates, tuning, config.seed)
    return classified(learnt, models[chosen].completed)


def _distances(x: Table, known: Table) -> Table:
    """Mean squared difference over shared features, ``(sample, reference)``; infinite if none."""
    here, there = np.isfinite(x), np.isfinite(known)
    a, b = np.where(here, x, 0).astype(np.float64), np.where(there, known, 0).astype(np.float64)
    count = here.astype(np.float64) @ there.T.astype(np.float64)
    total = (a**2) @ there.T - 2 * a @ b.T + here @ (b**2).T
    return np.where(count > 0, np.maximum(total, 0) / np.maximum(count, 1), np.inf)
