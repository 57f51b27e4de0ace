"""From the splits of a reproduction to its tables of AUCs, with intervals over people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from immo_hpc.analysis.bootstrap import Ranked, by_subject
from immo_hpc.analysis.classifiers import CLASSIFIERS
from immo_hpc.analysis.compare.resampled import Draws, Resampled, auc_of, subject_draws
from immo_hpc.analysis.reproduce.masks import By
from immo_hpc.analysis.reproduce.published import Published
from immo_hpc.analysis.reproduce.split import LAYERS_BY, SOURCES
from immo_hpc.analysis.results import Interval

Part = Mapping[str, Any]
NUM_BOOTSTRAP = 1000


def auc_tables(
    splits: Mapping[By, Sequence[Part]], facts: Published, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """`Reproduction.auc`, `gains` and `layers`.

    Args:
        splits: Results of `measure_split` by what was held out together, split by split.
        facts: What the paper says.
        seed: Seed of the resamples.
    """
    auc: dict[tuple[str, str], dict[str, Any]] = {}
    gains: dict[str, dict[str, Any]] = {}
    layers: dict[str, dict[str, Any]] = {}
    for by, parts in splits.items():
        draws = _draws(parts, seed)
        for subset in facts.subsets:
            given = _given(parts, "subsets", subset.name)
            scored = _scored(given, by, draws)
            for name in scored["latent"]:
                row = auc.setdefault(
                    (subset.name, name),
                    {
                        "subset": subset.name,
                        "classifier": name,
                        "title": CLASSIFIERS[name].title,
                        "paper": facts.paper_auc(subset.name, name),
                    },
                )
                row |= _columns(by, scored["latent"][name])
                row[f"{by}_raw"] = scored["raw"][name].mean
            row = gains.setdefault(subset.name, {"subset": subset.name})
            row |= _gain(by, scored)
        for shown in parts[0]["shown"] if parts else ():
            row = layers.setdefault(shown, _layer_row(shown, facts))
            scored = _scored(_given(parts, "shown", shown), by, draws)
            if LAYERS_BY in scored["latent"]:
                row |= _columns(by, scored["latent"][LAYERS_BY])
    return (
        pd.DataFrame(auc.values()),
        pd.DataFrame(gains.values()),
        pd.DataFrame(layers.values()),
    )


def _given(parts: Sequence[Part], what: str, name: str) -> dict[int, Part]:
    """Answers about one subset, or one set of layers, by split."""
    held = {split: part[what][name] for split, part in enumerate(parts) if name in part[what]}
    return {split: answer for split, answer in held.items() if "failed" not in answer}


def _draws(parts: Sequence[Part], seed: int) -> Draws:
    answers = [
        answer
        for part in parts
        for what in ("subsets", "shown")
        for answer in part[what].values()
        if "failed" not in answer
    ]
    return subject_draws(answers, NUM_BOOTSTRAP, seed)


def _scored(given: Mapping[int, Part], by: By, draws: Draws) -> dict[str, dict[str, Resampled]]:
    """By source and classifier the AUC on every split."""
    scored: dict[str, dict[str, Resampled]] = {source: {} for source in SOURCES}
    first: Part = next(iter(given.values()), {"scores": {}})
    for source, by_name in first["scores"].items():
        for name in by_name:
            answers = {split: _answer(own, source, name, by) for split, own in given.items()}
            scored[source][name] = auc_of(answers, draws)
    return scored


def _answer(own: Part, source: str, name: str, by: By) -> dict[str, Any]:
    """Scores of samples as they are, or averaged within a person."""
    scores = np.asarray(own["scores"][source][name], dtype=np.float64)[:, None]
    if by == "sample":
        return {"y": own["y"], "subject": own["subject"], "scores": scores}
    names, subject = np.unique(own["subject"], return_inverse=True)
    people = by_subject(Ranked(scores, np.asarray(own["y"]), subject))
    return {
        "y": people.y,
        "subject": [str(names[code]) for code in people.subject],
        "scores": people.scores,
    }


def _columns(by: By, value: Resampled) -> dict[str, Any]:
    spread = _interval(value)
    return {
        by: value.mean,
        f"{by}_sd": value.sd,
        f"{by}_lower": spread.lower,
        f"{by}_upper": spread.upper,
        f"{by}_splits": len(value.by_split),
    }


def _interval(value: Resampled) -> Interval:
    """The mean over splits with its interval: its difference to nothing."""
    nothing = {split: (0.0, np.zeros_like(drawn)) for split, (_, drawn) in value.by_split.items()}
    return value.minus(Resampled(nothing))


def _gain(by: By, scored: Mapping[str, Mapping[str, Resampled]]) -> dict[str, Any]:
    """Mean over classifiers on the latent, on raw features, and their paired difference."""
    if not scored["latent"]:
        return {}
    latent, raw = (_mean(list(scored[source].values())) for source in SOURCES)
    gain = latent.minus(raw)
    return {
        f"{by}_latent": latent.mean,
        f"{by}_raw": raw.mean,
        f"{by}_gain": gain.value,
        f"{by}_lower": gain.lower,
        f"{by}_upper": gain.upper,
    }


def _mean(values: Sequence[Resampled]) -> Resampled:
    """The mean over classifiers, in every split and resample."""
    by_split = {}
    for split in values[0].by_split:
        pairs = [value.by_split[split] for value in values]
        by_split[split] = (
            float(np.mean([value for value, _ in pairs])),
            np.mean([drawn for _, drawn in pairs], axis=0),
        )
    return Resampled(by_split)


def _layer_row(shown: str, facts: Published) -> dict[str, Any]:
    num_layers = shown.count("+") + 1
    paper = facts.layers_left.get(num_layers)
    return {"shown": shown, "num_layers": num_layers, "paper": paper}
