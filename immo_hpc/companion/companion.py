"""The companion of a network: closed forms over training samples that are kept with it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from immo_hpc.companion.carried import (
    CarriedProcess,
    CarriedRegression,
    fit_carried_layer,
    fit_carried_values,
)
from immo_hpc.companion.layers import LayerProcess, values_at
from immo_hpc.companion.rules import Mode, Rules, Task
from immo_hpc.companion.values import ValueRegression, fit_values
from immo_hpc.companion.weights import Weight
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, is_visits, visited, with_visits, without_visits

Table = NDArray[np.float32]
Foreteller = LayerProcess | CarriedProcess | ValueRegression | CarriedRegression


@dataclass(frozen=True)
class Companion:
    """Foretells layers and values from training samples, beside a network.

    Attributes:
        reference: The training samples kept: z-scores, subjects, and the side of each.
        rules: By mode; 'visits' is there if people of the training have several samples.
    """

    reference: PreparedCohort
    rules: Mapping[Mode, Rules]
    _fitted: dict[tuple[Mode, Task, str], Foreteller] = field(
        default_factory=dict, repr=False, compare=False
    )

    def without_validation(self) -> Companion:
        """The companion fitted to the train side alone, under the same rules.

        What is said of validation people is then said by something that has not seen them.
        """
        train = self.reference.take(self.reference.indices("train"))
        return Companion(train, self.rules)

    def mode_of(self, cohort: PreparedCohort) -> Mode:
        """'visits' if ``cohort`` has layers of other visits that can be used."""
        return (
            "visits" if "visits" in self.rules and any(map(is_visits, cohort.layers)) else "plain"
        )

    def blended(self, cohort: PreparedCohort, name: str, network: Table | None) -> Table:
        """A layer of every sample: where it is missing, companion, network and mean together.

        Args:
            cohort: Prepared samples, with layers of other visits if these are to be used.
            name: Layer of the model.
            network: What the network says, ``(sample, feature)``, z-scores; None: nothing
                (0) at any value that is missing.

        Returns:
            ``(sample, feature)``, float32, z-scores. Values that were measured are left as
            ``network`` has them.
        """
        layer, alone = cohort.layers[name], without_visits(cohort)
        shape = (len(cohort.samples), len(layer.features))
        result = np.zeros(shape, dtype=np.float32) if network is None else network.copy()
        absent = np.setdiff1d(np.arange(len(cohort.samples)), layer.rows)
        partial = layer.rows[np.isnan(layer.values).any(axis=1)]
        # People with one visit are told of as if nobody had more.
        if self.mode_of(cohort) == "visits":
            has_layer = np.isin(np.arange(len(cohort.samples)), cohort.layers[name + SUFFIX].rows)
            is_visited = visited(cohort)
            if name in self.rules["visits"].revisited:
                self._mix("visits", "revisited", cohort, name, absent[has_layer[absent]], result)
                absent = absent[~has_layer[absent]]
            self._mix("visits", "layers", cohort, name, absent[is_visited[absent]], result)
            self._mix("visits", "values", cohort, name, partial[has_layer[partial]], result)
            absent, partial = absent[~is_visited[absent]], partial[~has_layer[partial]]
        self._mix("plain", "layers", alone, name, absent, result)
        self._mix("plain", "values", alone, name, partial, result)
        return result

    def _mix(
        self,
        mode: Mode,
        task: Task,
        cohort: PreparedCohort,
        name: str,
        places: NDArray[np.int64],
        result: Table,
    ) -> None:
        """Put what is said of the missing values at ``places`` into ``result``."""
        if mode not in self.rules or not len(places):
            return
        rules: Mapping[str, tuple[object, Weight]] = getattr(self.rules[mode], task)
        if name not in rules:
            return
        foreteller, weight = self._foreteller(mode, task, name), rules[name][1]
        said = foreteller.foretell(cohort, places)
        mixed = weight.mixed(foreteller.mean, said, result[places])
        is_known = np.isfinite(values_at(cohort, name, places))
        result[places] = np.where(is_known, result[places], mixed)

    @cached_property
    def _with_visits(self) -> PreparedCohort:
        return with_visits(self.reference)

    def _foreteller(self, mode: Mode, task: Task, name: str) -> Foreteller:
        key = mode, task, name
        if key not in self._fitted:
            reference = self._with_visits if mode == "visits" else self.reference
            rules = self.rules[mode]
            if task == "layers":
                self._fitted[key] = LayerProcess(reference, name, rules.layers[name][0])
            elif task == "revisited":
                self._fitted[key] = fit_carried_layer(reference, name, rules.revisited[name][0])
            else:
                fit_one = fit_carried_values if mode == "visits" else fit_values
                self._fitted[key] = fit_one(reference, name, rules.values[name][0])
        return self._fitted[key]
