"""One split of a cohort under one pattern of missingness: what every method gets to see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.compare.missing import Missing, degrade
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.hiding import hide_values
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.split import split_samples
from immo_hpc.data.visits import with_visits

# Share of the test samples' values that task 'values' hides where the pattern hides none.
HIDDEN_SHARE = 0.1


@dataclass(frozen=True)
class Trial:
    """The same for every method.

    Attributes:
        config: Configuration with the seed of this split.
        complete: The prepared samples as they were measured, with their split.
        shown: The same with the pattern's values missing: all that a method sees.
        shown_test: Test samples with the hidden values of task 'values' missing too.
        visits: Each sample comes with what the other visits of its person say, as further
            layers (`immo_hpc.data.visits`), for every method alike.
        hidden_values: These values by layer, rows as in ``shown_test``, NaN elsewhere.
    """

    config: ImmoConfig
    complete: PreparedCohort
    shown: PreparedCohort
    shown_test: PreparedCohort
    hidden_values: Mapping[str, NDArray[np.float32]]
    visits: bool = False

    @property
    def seed(self) -> int:
        """Seed of the split and of everything that is drawn."""
        return self.config.seed

    @property
    def training(self) -> PreparedCohort:
        """Train and validation samples: all that a method may learn from."""
        return self.seen(self.shown.take(self.shown.indices("train", "validation")))

    def seen(self, cohort: PreparedCohort) -> PreparedCohort:
        """Samples as methods get them: with their other visits, if these are given."""
        return with_visits(cohort) if self.visits else cohort


def make_trial(
    cohort: Cohort, config: ImmoConfig, missing: Missing, *, visits: bool = False
) -> Trial:
    """Split, prepare on the train side, and hide.

    Args:
        cohort: Samples in original units.
        config: Split, preparation and seed, and the settings of IMMO.
        missing: Pattern to put on top.
        visits: Whether methods are given the other visits of a sample's person.

    Raises:
        CohortError: If a side would be empty, or a layer cannot be prepared.
    """
    split = split_samples(cohort.samples, cohort.roles, config.split, config.seed)
    preparation = fit_preparation(cohort, np.flatnonzero(split == "train"), config.preparation)
    complete = preparation.apply(cohort, split=split)
    # A sample whose every value was filtered away says nothing to any method.
    complete = complete.take(np.flatnonzero(complete.measured().any(axis=1)))
    shown = degrade(complete, missing, config.seed)
    test = shown.indices("test")
    if missing.hides_test_values:
        shown_test, hidden = shown.take(test), _lost(complete.take(test), shown.take(test))
    else:
        generator = np.random.default_rng([config.seed, *b"hidden values"])
        shown_test, hidden = hide_values(shown.take(test), HIDDEN_SHARE, generator)
    return Trial(config, complete, shown, shown_test, hidden, visits)


def _lost(before: PreparedCohort, after: PreparedCohort) -> dict[str, NDArray[np.float32]]:
    """Values that are missing after and were not before, else NaN; the same rows in both."""
    return {
        name: np.where(np.isnan(after.layers[name].values), layer.values, np.float32(np.nan))
        for name, layer in before.layers.items()
    }
