"""Table 5 and Figs. 3 to 6 on one split: one model of all samples, scored on every subset.

That the paper used one model for all subsets can be read off its Table 5: for IBD_common and
tra_bio_common, the same 324 samples by three and by two layers, the classifiers that draw
nothing at random (SVM, LDA, ridge) have the same AUC to three digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.attribution import explain
from immo_hpc.analysis.classifiers import CLASSIFIERS
from immo_hpc.analysis.labels import LabelledSamples, labelled_samples
from immo_hpc.analysis.methods import on_matrix
from immo_hpc.analysis.reproduce.masks import By, split_by
from immo_hpc.analysis.reproduce.published import Published
from immo_hpc.analysis.reproduce.samples import measured_by_layer, places_of
from immo_hpc.analysis.reproduce.sides import prepared_cohort
from immo_hpc.analysis.results import Source
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError
from immo_hpc.inference import TrainedModel

SOURCES: tuple[Source, ...] = ("latent", "raw")
TOP = 10
# The classifier of the paper's Fig. 5.
LAYERS_BY = "neural_net"


def measure_split(
    cohort: Cohort, facts: Published, config: ImmoConfig, by: By, classifiers: Sequence[str]
) -> dict[str, Any]:
    """Train on one split and answer everything that is asked of it.

    Args:
        cohort: The paper's samples (`paper_cohort`).
        facts: The cohort of the paper.
        config: Published settings, with the seed of this split.
        by: What is held out together: 'sample' as in the paper, or 'subject'.
        classifiers: Names in `CLASSIFIERS`.

    Returns:
        ``subsets``: by name, ``y``, ``subject`` (name) of the test samples, and ``scores`` by
        source and classifier; or ``failed``, a sentence. ``shown``: for each set of layers,
        joined by '+', the same of the complete samples for the neural net alone. ``features``
        (people held out only): the top ten a layer and those that the paper names.
    """
    from immo_hpc.train import train

    settings = split_by(config, by)
    preparation, prepared = prepared_cohort(cohort, settings)
    model = TrainedModel(train(prepared, settings).model, preparation, settings, cohort.roles)
    latent = model.embed(prepared)
    measured = measured_by_layer(prepared.measured(), list(prepared.layers))
    inputs: dict[Source, NDArray[np.float32]] = {
        "latent": latent,
        "raw": np.nan_to_num(prepared.wide()),
    }
    answers = {}
    for subset in facts.subsets:
        place = places_of(subset, measured)
        own = {source: x[place] for source, x in inputs.items()}
        answers[subset.name] = _answers(prepared.take(place), own, classifiers, config.seed)
    complete = np.flatnonzero(prepared.measured().all(axis=1))
    return {
        "subsets": answers,
        "shown": _shown(model, prepared.take(complete), config.seed),
        "features": _features(model, prepared, facts, config.seed) if by == "subject" else None,
    }


def _answers(
    cohort: PreparedCohort,
    inputs: dict[Source, NDArray[np.float32]],
    classifiers: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    """Scores of the test samples by each classifier on each input."""
    try:
        data = labelled_samples(cohort)
    except CohortError as error:
        # A side without one of the groups: a split by person of few people may be so.
        return {"failed": str(error)}
    folds = data.folds(seed)
    fit, test = np.flatnonzero(data.training), np.flatnonzero(~data.training)
    scores: dict[str, dict[str, list[float]]] = {}
    for source in inputs:
        x = inputs[source][data.index]
        scores[source] = {}
        for name in classifiers:
            method = on_matrix(CLASSIFIERS[name], source, x, data, folds, seed)
            said = method.scores(fit, test)[:, 0]
            scores[source][name] = [float(f"{value:.7g}") for value in said]
    return {**_who(cohort, data, test), "scores": scores}


def _who(cohort: PreparedCohort, data: LabelledSamples, test: NDArray[np.int64]) -> dict[str, Any]:
    names = cohort.subjects.astype(str).to_numpy()[data.index[test]]
    return {"y": data.y[test].tolist(), "subject": names.tolist()}


def _shown(model: TrainedModel, cohort: PreparedCohort, seed: int) -> dict[str, Any]:
    """Complete samples, embedded from every set of their layers."""
    layers = list(cohort.layers)
    found = {}
    for size in range(len(layers), 0, -1):
        for kept in combinations(layers, size):
            away = [name for name in layers if name not in kept]
            latent = model.embed(cohort.without(*away))
            found["+".join(kept)] = _answers(cohort, {"latent": latent}, [LAYERS_BY], seed)
    return found


def _features(
    model: TrainedModel, cohort: PreparedCohort, facts: Published, seed: int
) -> list[dict[str, Any]]:
    """The top features of each layer on the test people, and those that the paper names."""
    result = explain(model, cohort, top=TOP, seed=seed)
    rows = []
    for row in result.features.to_dict(orient="records"):
        named = any(
            item.layer == row["layer"] and item.is_meant(str(row["feature"]))
            for item in facts.features
        )
        if named or row["rank_in_layer"] <= TOP:
            keys = ("layer", "feature", "rank_in_layer", "mean_abs", "share", "direction")
            rows.append({key: row[key] for key in keys})
    return rows
