"""People with several visits: what stays of a person, and the deviations from it.

Of a feature, a person's other visits say a slope times their mean (`immo_hpc.data.visits`).
What a sample deviates from that is foretold by the deviations of what the sample has: single
values by a Gaussian of their own, a layer that this visit lacks and another one has by a
Gaussian process. Both are told on top of what the other visits say.

Legend of shapes: ``item`` counts samples to complete, ``feature`` those of the layer asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from immo_hpc.companion.layers import LayerProcess, LayerSetting, mean_of, rows_of
from immo_hpc.companion.values import Table, ValueRegression, ValueSetting, fit_values
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, measured_layers, without_visits

# Differences between people that are larger than between visits allow no more than this.
_LARGEST_SLOPE = 2.0

# From samples and places of some of them to a layer, ``(item, feature)``.
Foretell = Callable[[PreparedCohort, NDArray[np.int64]], Table]


@dataclass(frozen=True)
class Carried:
    """What other visits say of every value.

    Attributes:
        slopes: By layer, ``(feature,)``, on the mean of the other visits.
    """

    slopes: Mapping[str, Table]

    def said(self, cohort: PreparedCohort, name: str, places: NDArray[np.int64]) -> Table:
        """Of a layer at ``places``, ``(item, feature)``, z-scores; 0 without other visits."""
        return np.asarray(self.slopes[name] * rows_of(cohort, name + SUFFIX, places))

    def deviations(self, cohort: PreparedCohort) -> PreparedCohort:
        """The samples without layers of other visits, what these say taken from each value."""
        layers = {
            name: replace(layer, values=layer.values - self.said(cohort, name, layer.rows))
            for name, layer in without_visits(cohort).layers.items()
        }
        return replace(cohort, layers=layers)

    def below(
        self, foretell: Foretell, cohort: PreparedCohort, name: str, places: NDArray[np.int64]
    ) -> Table:
        """What they say of a layer, and the deviations from it that ``foretell`` tells on top."""
        return foretell(self.deviations(cohort), places) + self.said(cohort, name, places)


@dataclass(frozen=True)
class CarriedRegression:
    """As `ValueRegression`, for samples that come with other visits.

    Attributes:
        carried: What the other visits say.
        regression: What the measured values say of the deviations.
        mean: Mean of the layer over the training samples, ``(feature,)``, z-scores.
    """

    carried: Carried
    regression: ValueRegression
    mean: Table

    def foretell(self, cohort: PreparedCohort, places: NDArray[np.int64]) -> Table:
        """As `ValueRegression.foretell`."""
        told = self.regression.foretell
        return self.carried.below(told, cohort, self.regression.name, places)

    def regressed(self, cohort: PreparedCohort, places: NDArray[np.int64]) -> Table:
        """As `ValueRegression.regressed`."""
        told = self.regression.regressed
        return self.carried.below(told, cohort, self.regression.name, places)

    def times(self, factor: float) -> CarriedRegression:
        """The same with ``factor`` times the penalty."""
        return replace(self, regression=self.regression.times(factor))


@dataclass(frozen=True)
class CarriedProcess:
    """As `LayerProcess`, for samples whose person has the layer at another visit.

    Attributes:
        carried: What the other visits say.
        process: What the deviations of the other layers say of those of this one.
        mean: Mean of the layer over the training samples, ``(feature,)``, z-scores.
    """

    carried: Carried
    process: LayerProcess
    mean: Table

    def foretell(self, cohort: PreparedCohort, places: NDArray[np.int64]) -> Table:
        """As `LayerProcess.foretell`."""
        told = self.process.foretell
        return self.carried.below(told, cohort, self.process.name, places)

    def foretell_each(
        self, cohort: PreparedCohort, places: NDArray[np.int64], noises: Sequence[float]
    ) -> list[Table]:
        """As `LayerProcess.foretell_each`."""
        above = self.process.foretell_each(self.carried.deviations(cohort), places, noises)
        said = self.carried.said(cohort, self.process.name, places)
        return [each + said for each in above]


def fit_carried(reference: PreparedCohort, share: float = 1.0) -> Carried:
    """Slopes of least squared error through the origin, of training samples with visits.

    Args:
        reference: Training samples with layers of other visits.
        share: Factor on every slope, 0 to 1.
    """
    slopes = {}
    for name in measured_layers(reference):
        layer = reference.layers[name]
        visits = rows_of(reference, name + SUFFIX, layer.rows).astype(np.float64)
        visits[np.isnan(layer.values)] = 0
        product = (np.nan_to_num(layer.values) * visits).sum(axis=0)
        slope = product / np.maximum((visits**2).sum(axis=0), 1e-9)
        slopes[name] = (share * np.clip(slope, 0, _LARGEST_SLOPE)).astype(np.float32)
    return Carried(slopes)


def fit_carried_values(
    reference: PreparedCohort, name: str, setting: ValueSetting
) -> CarriedRegression:
    """Fit to training samples with layers of other visits, those of one visit among them."""
    carried = fit_carried(reference, setting.carried)
    regression = fit_values(carried.deviations(reference), name, setting)
    return CarriedRegression(carried, regression, mean_of(reference, name))


def fit_carried_layer(
    reference: PreparedCohort, name: str, setting: LayerSetting
) -> CarriedProcess:
    """Fit to training samples with layers of other visits, those of one visit among them."""
    carried = fit_carried(reference)
    process = LayerProcess(carried.deviations(reference), name, setting)
    return CarriedProcess(carried, process, mean_of(reference, name))
