"""Fitting a companion: which setting each layer takes, and how far it is to be trusted.

Everything is chosen by people who were left out: settings and weights by folds over the
people of training and validation, the network's part by the people of validation alone,
from whom the network did not learn.

Legend of shapes: ``item`` counts the samples that are scored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from immo_hpc.companion.carried import (
    CarriedRegression,
    fit_carried_layer,
    fit_carried_values,
)
from immo_hpc.companion.companion import Companion
from immo_hpc.companion.layers import LayerProcess, LayerSetting
from immo_hpc.companion.reference import nameless, rounded
from immo_hpc.companion.rules import Mode, Rules
from immo_hpc.companion.trial import Foretell, Places, Table, Trial
from immo_hpc.companion.values import ValueRegression, ValueSetting, fit_values
from immo_hpc.companion.weights import Scored, Weight, fitted_weight
from immo_hpc.data.hiding import has_both
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import SUFFIX, people, without_visits

_NOISES, _VISITS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), (0.0, 0.5, 1.0)
_PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0)
# Other layers at half their scale: better than at the whole where a layer's own features say
# much, and as good elsewhere (docs/notes/imputation.md).
_OTHERS = 0.5

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
        trial = Trial.of(reference, network, seed)
        rules["plain"] = _rules(trial)
        if visits and len(names) < len(reference.samples):
            rules["visits"] = _rules(trial.with_visits(rules["plain"]))
    return Companion(nameless(reference), rules)


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


def _rules(trial: Trial) -> Rules:
    """Setting and weight of each layer for both tasks, where people can be left out."""
    layers = {name: _layer_rule(trial, name) for name in trial.hidden}
    values = {name: _value_rule(trial, name) for name in trial.hidden}
    revisited = {name: _revisited_rule(trial, name) for name in trial.hidden if trial.plain}
    return Rules(
        {name: rule for name, rule in layers.items() if rule is not None},
        {name: rule for name, rule in values.items() if rule is not None},
        {name: rule for name, rule in revisited.items() if rule is not None},
    )


def _layer_rule(trial: Trial, name: str) -> tuple[LayerSetting, Weight] | None:
    layer = trial.full.layers[name]
    places = trial.common(name, has_both(without_visits(trial.full), name))
    truth = layer.values[np.searchsorted(layer.rows, places)]
    mean = np.zeros_like(truth)
    scales = (0.0,) if trial.plain is None else _VISITS
    said = {
        LayerSetting(noise, visits): np.zeros_like(truth) for visits in scales for noise in _NOISES
    }
    for (fit, _), place in zip(trial.folds, trial.scored(places), strict=True):
        process = LayerProcess(trial.full.take(fit), name, LayerSetting(1.0))
        mean[place] = process.mean
        for visits in scales:
            scaled = process.under(LayerSetting(1.0, visits))
            told = scaled.foretell_each(trial.full, places[place], _NOISES)
            for noise, part in zip(_NOISES, told, strict=True):
                said[LayerSetting(noise, visits)][place] = part
    setting = min(said, key=lambda tried: _error(truth, said[tried]))
    hidden = Hidden(truth, mean, places, trial.network_layers.get(name))
    return _rule(trial, setting, said[setting], hidden)


def _revisited_rule(trial: Trial, name: str) -> tuple[LayerSetting, Weight] | None:
    """Of samples whose layer is hidden, while the person's other visits show theirs."""
    layer = trial.full.layers[name]
    both = has_both(without_visits(trial.full), name)
    places = trial.common(name, np.intersect1d(both, trial.full.layers[name + SUFFIX].rows))
    truth = layer.values[np.searchsorted(layer.rows, places)]
    mean = np.zeros_like(truth)
    said = {LayerSetting(noise, 0.0): np.zeros_like(truth) for noise in _NOISES}
    for (fit, _), place in zip(trial.folds, trial.scored(places), strict=True):
        model = fit_carried_layer(trial.full.take(fit), name, LayerSetting(1.0, 0.0))
        mean[place] = model.mean
        told = model.foretell_each(trial.full, places[place], _NOISES)
        for setting, part in zip(said, told, strict=True):
            said[setting][place] = part
    setting = min(said, key=lambda tried: _error(truth, said[tried]))
    hidden = Hidden(truth, mean, places, trial.network_layers.get(name))
    return _rule(trial, setting, said[setting], hidden)


def _value_rule(trial: Trial, name: str) -> tuple[ValueSetting, Weight] | None:
    truth, places = trial.hidden[name], trial.full.layers[name].rows
    fit_one: Callable[..., ValueRegression | CarriedRegression] = fit_values
    if trial.plain is not None:
        # Samples of people with one visit are told of without visits.
        fit_one = fit_carried_values
        visited = np.isin(places, trial.shown.layers[name + SUFFIX].rows)
        truth, places = truth[visited], places[visited]
    if not np.isfinite(truth).any() or (trial.plain is not None and name not in trial.plain.values):
        return None
    where = trial.scored(places)
    mean, said = np.zeros_like(truth), np.zeros_like(truth)
    best, models = ValueSetting(1.0), []
    least = np.inf
    for setting, penalties in _value_settings(trial, name):
        fits = [fit_one(trial.full.take(fit), name, setting) for fit, _ in trial.folds]
        for penalty in penalties:
            scaled = [model.times(penalty) for model in fits]
            for model, place in zip(scaled, where, strict=True):
                said[place] = model.regressed(trial.shown, places[place])
            error = _error(truth, said)
            if error < least:
                least, models = error, scaled
                best = replace(setting, penalty=penalty)
    for model, place in zip(models, where, strict=True):
        mean[place] = model.mean
        said[place] = model.foretell(trial.shown, places[place])
    hidden = Hidden(truth, mean, places, trial.network_values.get(name))
    return _rule(trial, best, said, hidden)


def _value_settings(trial: Trial, name: str) -> Iterator[tuple[ValueSetting, tuple[float, ...]]]:
    """Settings with a penalty of 1, and what to try as penalty under each."""
    if trial.plain is None:
        yield ValueSetting(1.0, _OTHERS), _PENALTIES
    else:
        plain = trial.plain.values[name][0]
        yield ValueSetting(1.0, _OTHERS, 0.0), (plain.penalty,)
        yield ValueSetting(1.0, _OTHERS, 1.0), _PENALTIES


def _rule(
    trial: Trial, setting: Setting, said: Table, hidden: Hidden
) -> tuple[Setting, Weight] | None:
    """A setting and the weight of what it says; None if nothing can be scored."""
    if not np.isfinite(hidden.truth).any():
        return None
    judged = np.flatnonzero(np.isin(hidden.places, trial.judged))
    network = None
    if hidden.network is not None:
        network = np.zeros_like(said)
        rows = np.searchsorted(trial.judged, hidden.places[judged])
        network[judged] = hidden.network[rows] - hidden.mean[judged]
    scored = Scored(
        hidden.truth - hidden.mean,
        said - hidden.mean,
        trial.person[hidden.places],
        network,
        judged,
    )
    return setting, fitted_weight(scored)


def _error(truth: Table, said: Table) -> float:
    return float(np.nansum((truth - said).astype(np.float64) ** 2))
