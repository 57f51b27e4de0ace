"""Fitting a companion: which setting each layer takes, and how far it is to be trusted.

Everything is chosen by people who were left out: settings and weights by folds over the
people of training and validation, the network's part by the people of validation alone,
from whom the network did not learn.

Legend of shapes: ``sample`` counts the samples kept, ``item`` those of them that are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from immo_hpc.companion.carried import CarriedRegression, fit_carried_values
from immo_hpc.companion.companion import Companion, Mode, Rules
from immo_hpc.companion.layers import LayerProcess, LayerSetting
from immo_hpc.companion.reference import nameless, rounded
from immo_hpc.companion.values import ValueRegression, ValueSetting, fit_values
from immo_hpc.companion.weights import Scored, Weight, fitted_weight
from immo_hpc.data.cohort import sample_uid
from immo_hpc.data.hiding import has_both, hide_values
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, people, with_visits, without_visits

NUM_FOLDS = 4
HIDDEN_SHARE = 0.1
# Of a layer, while settings are chosen: more take longer and say the same.
MOST_FEATURES = 1000

_NOISES, _VISITS = (0.5, 1.0, 2.0, 4.0), (0.0, 0.5, 1.0)
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
# Other layers at half their scale: better than at the whole where a layer's own features say
# much, and as good elsewhere (docs/notes/imputation.md).
_OTHERS = 0.5

Table = NDArray[np.float32]
Places = NDArray[np.int64]
# From samples and the names of layers to what a network says of them, by layer.
Foretell = Callable[[PreparedCohort, Sequence[str]], Mapping[str, Table]]
Setting = TypeVar("Setting", LayerSetting, ValueSetting)


def fit_companion(
    cohort: PreparedCohort, network: Foretell | None, seed: int, *, visits: bool = True
) -> Companion:
    """Fit a companion to the people of training and validation.

    Args:
        cohort: Prepared samples of the sides 'train' and 'validation'; without a split all
            count as 'train'. They are kept with the companion.
        network: What the network says, learnt from the train side; None: there is none.
        seed: Seed of the values that are hidden while weights are fitted.
        visits: Fit rules for samples that come with other visits of their person, too.
    """
    reference = rounded(cohort)
    names = np.unique(people(reference.samples, reference.roles))
    rules: dict[Mode, Rules] = {}
    if len(names) > 1:
        trial = _Trial.of(reference, network, seed)
        rules["plain"] = trial.rules()
        if visits and len(names) < len(reference.samples):
            rules["visits"] = trial.with_visits(rules["plain"]).rules()
    return Companion(nameless(reference), rules)


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
class _Trial:
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
    def of(cls, cohort: PreparedCohort, network: Foretell | None, seed: int) -> _Trial:
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

    def with_visits(self, plain: Rules) -> _Trial:
        """The same with layers of other visits beside those measured."""
        full, shown = with_visits(self.full), with_visits(self.shown)
        return replace(self, full=full, shown=shown, plain=plain)

    def rules(self) -> Rules:
        """Setting and weight of each layer for both tasks, where people can be left out."""
        layers = {name: self._layer_rule(name) for name in self.hidden}
        values = {name: self._value_rule(name) for name in self.hidden}
        return Rules(
            {name: rule for name, rule in layers.items() if rule is not None},
            {name: rule for name, rule in values.items() if rule is not None},
        )

    def _layer_rule(self, name: str) -> tuple[LayerSetting, Weight] | None:
        layer = self.full.layers[name]
        places = has_both(without_visits(self.full), name)
        truth = layer.values[np.searchsorted(layer.rows, places)]
        base = LayerSetting(1.0)
        processes = [LayerProcess(self.full.take(fit), name, base) for fit, _ in self.folds]
        where = self._where(places)
        mean = np.zeros_like(truth)
        for process, place in zip(processes, where, strict=True):
            mean[place] = process.mean

        def said(setting: LayerSetting) -> Table:
            result = np.zeros_like(truth)
            for process, place in zip(processes, where, strict=True):
                result[place] = process.under(setting).foretell(self.full, places[place])
            return result

        tried = ((setting, said(setting)) for setting in self._layer_settings())
        setting, answer = min(tried, key=lambda pair: _error(truth, pair[1]))
        hidden = Hidden(truth, mean, places, self.network_layers.get(name))
        return self._rule(setting, answer, hidden)

    def _layer_settings(self) -> Iterator[LayerSetting]:
        scales = (0.0,) if self.plain is None else _VISITS
        return (LayerSetting(noise, scale) for noise, scale in product(_NOISES, scales))

    def _value_rule(self, name: str) -> tuple[ValueSetting, Weight] | None:
        truth, places = self.hidden[name], self.full.layers[name].rows
        fit_one: Callable[..., ValueRegression | CarriedRegression] = fit_values
        if self.plain is not None:
            # Samples of people with one visit are told of without visits.
            fit_one = fit_carried_values
            visited = np.isin(places, self.shown.layers[name + SUFFIX].rows)
            truth, places = truth[visited], places[visited]
        if not np.isfinite(truth).any() or (
            self.plain is not None and name not in self.plain.values
        ):
            return None
        where = self._where(places)
        mean, said = np.zeros_like(truth), np.zeros_like(truth)
        best, models = ValueSetting(1.0), []
        least = np.inf
        for setting, penalties in self._value_settings(name):
            fits = [fit_one(self.full.take(fit), name, setting) for fit, _ in self.folds]
            for penalty in penalties:
                scaled = [model.times(penalty) for model in fits]
                for model, place in zip(scaled, where, strict=True):
                    said[place] = model.regressed(self.shown, places[place])
                error = _error(truth, said)
                if error < least:
                    least, models = error, scaled
                    best = replace(setting, penalty=penalty)
        for model, place in zip(models, where, strict=True):
            mean[place] = model.mean
            said[place] = model.foretell(self.shown, places[place])
        hidden = Hidden(truth, mean, places, self.network_values.get(name))
        return self._rule(best, said, hidden)

    def _value_settings(self, name: str) -> Iterator[tuple[ValueSetting, tuple[float, ...]]]:
        """Settings with a penalty of 1, and what to try as penalty under each."""
        if self.plain is None:
            yield ValueSetting(1.0, _OTHERS), _PENALTIES
        else:
            plain = self.plain.values[name][0]
            yield ValueSetting(1.0, _OTHERS, 0.0), (plain.penalty,)
            yield ValueSetting(1.0, _OTHERS, 1.0), _PENALTIES

    def _where(self, places: Places) -> list[Places]:
        """Which of ``places`` each fold scores."""
        return [np.flatnonzero(np.isin(places, score)) for _, score in self.folds]

    def _rule(self, setting: Setting, said: Table, hidden: Hidden) -> tuple[Setting, Weight] | None:
        """A setting and the weight of what it says; None if nothing can be scored."""
        if not np.isfinite(hidden.truth).any():
            return None
        judged = np.flatnonzero(np.isin(hidden.places, self.judged))
        network = None
        if hidden.network is not None:
            network = np.zeros_like(said)
            rows = np.searchsorted(self.judged, hidden.places[judged])
            network[judged] = hidden.network[rows] - hidden.mean[judged]
        scored = Scored(
            hidden.truth - hidden.mean,
            said - hidden.mean,
            self.person[hidden.places],
            network,
            judged,
        )
        return setting, fitted_weight(scored)


@dataclass(frozen=True)
class Hidden:
    """What was hidden of one layer.

    Attributes:
        truth: ``(item, feature)``, z-scores, NaN where nothing was hidden.
        mean: Training mean of the fold that scores the item, same shape.
        places: Sample of each item, ``(item,)``.
        network: What the network says, ``(judged, feature)``; None without a network.
    """

    truth: Table
    mean: Table
    places: Places
    network: Table | None


def _thinned(cohort: PreparedCohort, step: Mapping[str, slice]) -> PreparedCohort:
    layers = {
        name: replace(
            layer, values=layer.values[:, step[name]], features=layer.features[step[name]]
        )
        for name, layer in cohort.layers.items()
    }
    return replace(cohort, layers=layers)


def _error(truth: Table, said: Table) -> float:
    return float(np.nansum((truth - said).astype(np.float64) ** 2))
