"""What is hidden from whom while a companion is fitted, and what the network says of it.

Legend of shapes: ``sample`` counts the samples kept, ``judged`` those of validation people.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from immo_hpc.companion.rules import Rules
from immo_hpc.data.cohort import sample_uid
from immo_hpc.data.hiding import hide_values
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, people, with_visits

NUM_FOLDS = 4
HIDDEN_SHARE = 0.1
# Of a layer, while settings are chosen: more take longer and say the same.
MOST_FEATURES = 1000
# Sets of source layers, each of which costs a decomposition a fold and setting.
MOST_PATTERNS = 8

Table = NDArray[np.float32]
Places = NDArray[np.int64]
# From samples and the names of layers to what a network says of them, by layer.
Foretell = Callable[[PreparedCohort, Sequence[str]], Mapping[str, Table]]


def person_folds(subjects: Sequence[str], number: int = NUM_FOLDS) -> list[tuple[Places, Places]]:
    """Places to learn from and to score, fold by fold; people are dealt by a hash of their name.

    Example:
        >>> [score.tolist() for _, score in person_folds(["ann", "bob", "ann"])]
        [[1], [0, 2]]
    """
    everyone = np.asarray(subjects, dtype=str)
    names = np.unique(everyone)
    order = names[np.argsort(sample_uid(names.tolist()).view(np.uint64), kind="stable")]
    folds = []
    for start in range(min(number, len(order))):
        is_scored = np.isin(everyone, order[start::number])
        folds.append((np.flatnonzero(~is_scored), np.flatnonzero(is_scored)))
    return folds


@dataclass(frozen=True)
class Trial:
    """What is hidden from whom, and what the network says of it.

    Attributes:
        full: The samples kept, with at most `MOST_FEATURES` features a layer.
        shown: The same with some values hidden.
        hidden: These values by layer, rows as in ``full``, NaN elsewhere.
        folds: Places to learn from and to score.
        person: Person of each sample, ``(sample,)``.
        network_layers: What the network says of each layer hidden whole, by layer
            ``(judged, feature)``; empty without a network.
        network_values: Likewise of the values hidden.
        judged: Samples of validation people, increasing.
        plain: Rules for samples without other visits, which those with them start from.
    """

    full: PreparedCohort
    shown: PreparedCohort
    hidden: Mapping[str, Table]
    folds: list[tuple[Places, Places]]
    person: Places
    network_layers: Mapping[str, Table]
    network_values: Mapping[str, Table]
    judged: Places
    plain: Rules | None = None

    @classmethod
    def of(cls, cohort: PreparedCohort, network: Foretell | None, seed: int) -> Trial:
        """Hide values of ``cohort``, and ask the network about its validation people."""
        shown, hidden = hide_values(
            cohort, HIDDEN_SHARE, np.random.default_rng([seed, *b"companion"])
        )
        judged = cohort.indices("validation") if network is not None else np.empty(0, np.int64)
        step = {
            name: slice(None, None, max(1, -(-len(layer.features) // MOST_FEATURES)))
            for name, layer in cohort.layers.items()
        }
        said_layers: dict[str, Table] = {}
        said_values: dict[str, Table] = {}
        if network is not None and len(judged):
            held = cohort.take(judged)
            for name in cohort.layers:
                said_layers[name] = network(held.without(name), [name])[name][:, step[name]]
                said = network(shown.take(judged), [name])[name]
                said_values[name] = said[:, step[name]]
        names = people(cohort.samples, cohort.roles)
        return cls(
            _thinned(cohort, step),
            _thinned(shown, step),
            {name: values[:, step[name]] for name, values in hidden.items()},
            person_folds(names.tolist()),
            np.unique(names, return_inverse=True)[1].astype(np.int64),
            said_layers,
            said_values,
            judged,
        )

    def with_visits(self, plain: Rules) -> Trial:
        """The same with layers of other visits beside those measured."""
        full, shown = with_visits(self.full), with_visits(self.shown)
        return replace(self, full=full, shown=shown, plain=plain)

    def scored(self, places: Places) -> list[Places]:
        """Which of ``places`` each fold scores."""
        return [np.flatnonzero(np.isin(places, score)) for _, score in self.folds]

    def common(self, name: str, places: Places) -> Places:
        """Those of ``places`` whose source layers are one of the sets met most often."""
        sources = [other for other in self.full.layers if other not in (name, name + SUFFIX)]
        has = np.zeros((len(self.full.samples), len(sources)), dtype=np.bool_)
        for column, other in enumerate(sources):
            has[self.full.layers[other].rows, column] = True
        _, pattern, count = np.unique(has[places], axis=0, return_inverse=True, return_counts=True)
        often = np.argsort(-count, kind="stable")[:MOST_PATTERNS]
        return places[np.isin(pattern.ravel(), often)]


def _thinned(cohort: PreparedCohort, step: Mapping[str, slice]) -> PreparedCohort:
    layers = {
        name: replace(
            layer, values=layer.values[:, step[name]], features=layer.features[step[name]]
        )
        for name, layer in cohort.layers.items()
    }
    return replace(cohort, layers=layers)
