"""What the label score loses when a feature is exchanged between people (Breiman 2001).

An attribution says what the score is made of; this says what is needed on people never seen.
Whole people are exchanged within the samples that have the layer: each person gets the values of
one other, visits together, a missing value too. The log-loss by person is what ranks features: it
is less coarse than the AUC of a few dozen people. Scores are made less sure first, as far as that
lowers the loss: a score that is too sure would else gain from any exchange, since that flattens it.

Legend of shapes: ``row``, ``person``, ``repeat``, ``column`` as in
`immo_hpc.analysis.explaining.explained`.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import logsumexp
from scipy.stats import spearmanr

from immo_hpc.analysis.bootstrap import Ranked, macro_auc
from immo_hpc.analysis.explaining.explained import Array, Explained
from immo_hpc.analysis.explaining.people import exchange_people, owners, person_means
from immo_hpc.analysis.explaining.results import PermutationResult
from immo_hpc.analysis.labels import main_label
from immo_hpc.data.prepared import PreparedCohort

_NEEDED = 2.0  # Standard errors above 0.


@dataclass(frozen=True)
class _People:
    """People, their codes and scores, and how scores become log-odds: slope, then offsets."""

    place: NDArray[np.int64]
    y: NDArray[np.int64]
    scores: Array
    scale: Array

    def loss(self, scores: Array) -> Array:
        """Log-loss of ``(any, person, column)``, ``(any,)``, nats."""
        return balanced_loss(self.scale[0] * scores + self.scale[1:], self.y)

    def auc(self, scores: Array) -> Array:
        """AUC of ``(any, person, column)``, ``(any,)``."""
        own = np.arange(len(self.y))
        return np.array([macro_auc(Ranked(each, self.y, own))[0] for each in scores])


def balanced_loss(scores: Array, y: NDArray[np.int64]) -> Array:
    """Log-loss, classes counting alike.

    Args:
        scores: Log-odds, ``(any, person, column)``.
        y: Class codes, ``(person,)``.

    Returns:
        ``(any,)``, nats; ln 2 for scores of 0 and two classes.
    """
    if scores.shape[-1] == 1:
        scores = np.concatenate([np.zeros_like(scores), scores], axis=-1)
    own = np.take_along_axis(scores, y[None, :, None], axis=-1)[..., 0]
    _, code, count = np.unique(y, return_inverse=True, return_counts=True)
    weight = 1 / (len(count) * count[code])
    return np.asarray(((logsumexp(scores, axis=-1) - own) * weight).sum(axis=-1))


def permutation_importance(
    explained: Explained,
    samples: PreparedCohort,
    y: NDArray[np.int64],
    ranked: pd.DataFrame,
    *,
    top: int,
    most: int,
    num_repeats: int,
    seed: int,
) -> PermutationResult:
    """Exchange features of held-out people one at a time.

    Of each layer the ``most`` strongest by attribution are tested, and as many drawn from the
    others as controls.

    Args:
        explained: The label score.
        samples: Held-out samples with a label.
        y: Their class codes, ``(sample,)``.
        ranked: `AttributionResult.features` of the same score.
        top: Features of a layer that count as named.
        most: As above; 0 for all features.
        num_repeats: Exchanges a feature.
        seed: Seed of exchanges and controls.
    """
    people = _people(explained, samples, y)
    features, layers = [], []
    for name, layer in samples.layers.items():
        own = ranked[ranked["layer"] == name]
        if own.empty or not len(layer.rows):
            continue
        chosen = _chosen(own, most, np.random.default_rng([seed, zlib.crc32(name.encode())]))
        table = _tested(explained, samples, name, people, chosen, num_repeats, seed)
        features.append(table)
        layers.append((name, len(own), len(table), *_agreement(table, top, num_repeats)))
    columns = ["layer", "num_features", "num_tested", "spearman", "top", "top_needed"]
    return PermutationResult(
        num_people=len(people.y),
        num_repeats=num_repeats,
        loss=float(people.loss(people.scores[None])[0]),
        auc=float(people.auc(people.scores[None])[0]),
        features=pd.concat(features, ignore_index=True),
        layers=pd.DataFrame(layers, columns=columns),
    )


def _people(explained: Explained, samples: PreparedCohort, y: NDArray[np.int64]) -> _People:
    owner = owners(samples)
    names, scores = person_means(explained.scores(samples), owner)
    place = np.searchsorted(names, owner)
    label = main_label(y, place)
    codes = np.array([label[number] for number in range(len(names))])
    return _People(place, codes, scores, _least_sure(scores, codes))


def _least_sure(scores: Array, y: NDArray[np.int64]) -> Array:
    """Slope in [0, 1] and an offset a column that minimise the loss."""

    def loss(scale: Array) -> float:
        return float(balanced_loss((scale[0] * scores + scale[1:])[None], y)[0])

    start = np.concatenate([[0.5], np.zeros(scores.shape[1])])
    bounds = [(0.0, 1.0), *[(None, None)] * scores.shape[1]]
    return np.asarray(minimize(loss, start, method="L-BFGS-B", bounds=bounds).x)


def _chosen(own: pd.DataFrame, most: int, generator: np.random.Generator) -> pd.DataFrame:
    own = own.sort_values("rank_in_layer")
    first = own if most == 0 else own.head(most)
    rest = own.iloc[len(first) :]
    drawn = generator.permutation(len(rest))[: len(first)]
    parts = [first.assign(chosen="top"), rest.iloc[np.sort(drawn)].assign(chosen="control")]
    return pd.concat([part for part in parts if len(part)])


def _tested(
    explained: Explained,
    samples: PreparedCohort,
    layer: str,
    people: _People,
    chosen: pd.DataFrame,
    num_repeats: int,
    seed: int,
) -> pd.DataFrame:
    held = samples.layers[layer]
    column = {name: place for place, name in enumerate(held.features)}
    places = [column[name] for name in chosen["feature"]]
    changes = _changes(explained, samples, layer, people, places, num_repeats, seed)
    loss, auc = people.loss(people.scores[None]), people.auc(people.scores[None])
    rows = []
    for scores in changes:
        rise, drop = people.loss(scores) - loss, auc - people.auc(scores)
        rows.append((rise.mean(), rise.std(ddof=1), drop.mean(), drop.std(ddof=1)))
    measured = ["loss_rise", "loss_rise_sd", "auc_drop", "auc_drop_sd"]
    table = chosen[["layer", "feature", "chosen", "rank_in_layer", "mean_abs"]].reset_index(
        drop=True
    )
    table = table.rename(columns={"rank_in_layer": "attribution_rank"})
    table = table.join(pd.DataFrame(rows, columns=measured))
    rank = table["loss_rise"].rank(ascending=False, method="first").astype(int)
    return table.assign(permutation_rank=rank)


def _changes(
    explained: Explained,
    samples: PreparedCohort,
    layer: str,
    people: _People,
    features: Sequence[int],
    num_repeats: int,
    seed: int,
) -> Iterator[Array]:
    """Scores of people ``(repeat, person, column)`` after exchanges of each feature."""
    effect = explained.effect(samples, layer)
    person = people.place[samples.layers[layer].rows]
    for feature in features:
        # Seeded by feature: what others are tested changes nothing.
        generator = np.random.default_rng([seed, feature])
        taken = exchange_people(person, num_repeats, generator)
        change = effect.change(feature, effect.values[:, feature][taken])
        scores = np.repeat(people.scores[None], num_repeats, axis=0)
        for repeat in range(num_repeats):
            np.add.at(scores[repeat], person, effect.share[:, None] * change[repeat])
        yield scores


def _agreement(table: pd.DataFrame, top: int, num_repeats: int) -> tuple[float, int, int]:
    """Spearman's correlation of the two measures, and how many named features are needed."""
    spearman = float("nan")
    if len(table) > 2 and np.ptp(table["mean_abs"]) > 0 and np.ptp(table["loss_rise"]) > 0:
        spearman = float(spearmanr(table["mean_abs"], table["loss_rise"]).statistic)
    named = table[table["attribution_rank"] <= top]
    error = named["loss_rise_sd"] / np.sqrt(num_repeats)
    needed = (named["loss_rise"] > _NEEDED * error) & (named["loss_rise"] > 0)
    return spearman, len(named), int(needed.sum())
