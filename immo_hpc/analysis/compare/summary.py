"""From the answers of all methods on all splits to one comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from immo_hpc.analysis.compare.calibration import brier, calibration_error, calibration_slope
from immo_hpc.analysis.compare.contender import Contender
from immo_hpc.analysis.compare.measure import UNION
from immo_hpc.analysis.compare.resampled import Resampled, auc_of, r2_of, subject_draws
from immo_hpc.analysis.compare.results import Comparison
from immo_hpc.analysis.compare.verdicts import verdicts

Item = Mapping[str, Any]


def summarise(
    items: Sequence[Item],
    contenders: Sequence[Contender],
    *,
    cohort: str,
    label: str | None,
    num_subjects: int,
    num_bootstrap: int,
    seed: int,
    notices: Sequence[str] = (),
) -> Comparison:
    """Tables, differences and words from single answers.

    Args:
        items: Results of `measure`, each with ``method``, ``split``, ``missing``, ``peak_mb``
            and, if it failed, ``failed`` (a sentence) alone.
        contenders: The methods, in the order of the tables.
        cohort: Name of the cohort.
        label: Column that was classified; None if nothing was.
        num_subjects: Subjects of the cohort.
        num_bootstrap: Resamples of subjects.
        seed: Seed of the resamples.
        notices: What a reader must know besides.
    """
    done = [item for item in items if not item.get("failed")]
    patterns = tuple(dict.fromkeys(item["missing"] for item in items))
    label_rows, imputation_rows = [], []
    for missing in patterns:
        own = [item for item in done if item["missing"] == missing]
        label_rows += _label_rows(own, contenders, num_bootstrap, seed)
        imputation_rows += _imputation_rows(own, contenders, num_bootstrap, seed)
    label_scores, imputation = pd.DataFrame(label_rows), pd.DataFrame(imputation_rows)
    classes = next((item["label"]["classes"] for item in done if "label" in item), ())
    return Comparison(
        cohort=cohort,
        label=label if classes else None,
        classes=tuple(classes),
        num_splits=len({item["split"] for item in items}),
        num_subjects=num_subjects,
        patterns=patterns,
        label_scores=label_scores,
        imputation=imputation,
        cost=_cost(done, contenders),
        failures=_failures(items),
        verdicts=verdicts(label_scores, imputation),
        notices=tuple(notices),
    )


def _label_rows(
    items: Sequence[Item], contenders: Sequence[Contender], num_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    answered = [item for item in items if "label" in item]
    draws = subject_draws(
        [part for item in answered for part in item["label"]["parts"].values()],
        num_bootstrap,
        seed,
    )
    names = dict.fromkeys(name for item in answered for name in item["label"]["parts"])
    rows = []
    for part in names:
        by_method = {}
        for contender in contenders:
            own = _of(answered, contender)
            answers = {
                item["split"]: item["label"]["parts"][part]
                for item in own
                if part in item["label"]["parts"]
            }
            if answers:
                by_method[contender] = (auc_of(answers, draws), answers)
        rows += _compared(
            {contender: value for contender, (value, _) in by_method.items()},
            {"missing": answered[0]["missing"], "part": part},
            "auc",
        )
        if part == UNION:
            for row, (_, answers) in zip(rows[-len(by_method) :], by_method.values(), strict=True):
                row.update(_calibration(list(answers.values())))
    return rows


def _imputation_rows(
    items: Sequence[Item], contenders: Sequence[Contender], num_bootstrap: int, seed: int
) -> list[dict[str, Any]]:
    rows = []
    for task in ("layers", "values", "revisited"):
        answered = [item for item in items if task in item]
        for layer in dict.fromkeys(name for item in answered for name in item[task]):
            held = [item for item in answered if layer in item[task]]
            draws = subject_draws([item[task][layer] for item in held], num_bootstrap, seed)
            by_method, further = {}, []
            for contender in contenders:
                answers = {item["split"]: item[task][layer] for item in _of(held, contender)}
                if answers:
                    by_method[contender] = r2_of(answers, draws)
                    further.append(_errors(list(answers.values())))
            at = {"missing": held[0]["missing"], "task": task, "layer": layer}
            compared = _compared(by_method, at, "r2")
            rows += [row | more for row, more in zip(compared, further, strict=True)]
    return rows


def _compared(
    by_method: Mapping[Contender, Resampled], at: Mapping[str, Any], measure: str
) -> list[dict[str, Any]]:
    """One row a method with mean, sd and the difference to the best simple one."""
    simple = [item for item in by_method if item.family == "simple"]
    best = max(simple, key=lambda item: by_method[item].mean, default=None)
    rows = []
    for contender, value in by_method.items():
        row = {
            **at,
            "method": contender.name,
            "title": contender.title,
            "family": contender.family,
            "splits": len(value.by_split),
            measure: value.mean,
            f"{measure}_sd": value.sd,
            "is_reference": contender is best,
        }
        if best is not None:
            gain = value.minus(by_method[best])
            row |= {"difference": gain.value, "lower": gain.lower, "upper": gain.upper}
        rows.append(row)
    return rows


def _calibration(parts: Sequence[Item]) -> dict[str, float]:
    """Over the subjects of all splits: a single split has too few of a class."""
    if not all("probability" in part for part in parts):
        return {}
    probability = np.concatenate([part["probability"] for part in parts])
    y = np.concatenate([part["y"] for part in parts])
    return {
        "brier": brier(probability, y),
        "calibration_error": calibration_error(probability, y),
        "calibration_slope": calibration_slope(probability, y),
    }


def _errors(answers: Sequence[Item]) -> dict[str, float]:
    """Means over splits of what needs no resamples."""
    residual = np.array([np.sum(item["residual"]) for item in answers])
    total = np.array([np.sum(item["total"]) for item in answers])
    count = np.array([item["num_values"] for item in answers])
    pearson, spearman = (
        [item[name] for item in answers if item[name] is not None] or [float("nan")]
        for name in ("pearson", "spearman")
    )
    return {
        "rmse": float(np.sqrt(residual / count).mean()),
        "rmse_ratio": float(np.sqrt(residual / total).mean()),
        "pearson": float(np.mean(pearson)),
        "spearman": float(np.mean(spearman)),
    }


def _cost(items: Sequence[Item], contenders: Sequence[Contender]) -> pd.DataFrame:
    rows = []
    for contender in contenders:
        own = _of(items, contender)
        if own:
            seconds = [sum(item["seconds"].values()) for item in own]
            learn = [item["seconds"]["learn"] for item in own]
            peaks = [item["peak_mb"] for item in own if item.get("peak_mb") is not None]
            rows.append(
                {
                    "method": contender.name,
                    "title": contender.title,
                    "seconds": float(np.mean(seconds)),
                    "learn_seconds": float(np.mean(learn)),
                    "peak_mb": float(max(peaks, default=float("nan"))),
                }
            )
    return pd.DataFrame(rows)


def _failures(items: Sequence[Item]) -> pd.DataFrame:
    columns = ["missing", "split", "method", "reason"]
    rows = [
        (item["missing"], item["split"], item["method"], item["failed"])
        for item in items
        if item.get("failed")
    ]
    return pd.DataFrame(rows, columns=columns)


def _of(items: Sequence[Item], contender: Contender) -> list[Item]:
    return [item for item in items if item["method"] == contender.name]
