"""Judging a trained model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from immo_hpc.analysis.classify import classify, learn_fusion, predict
from immo_hpc.analysis.imputation import score_imputation
from immo_hpc.analysis.labels import owner_codes
from immo_hpc.analysis.results import ClassificationResult, ImputationResult
from immo_hpc.files import new_folder, require_absent, write_text
from immo_hpc.inference import write_table
from immo_hpc.train.threads import one_thread
from immo_hpc.workflow.distances import Distances, distance_columns
from immo_hpc.workflow.opened import OpenRun, new_cohort, open_run
from immo_hpc.workflow.outcome import Outcome


def classify_run(run: Path, out: Path | None = None) -> Outcome:
    """Classify a run's held-out people, with baselines beside it.

    Raises:
        CohortError: If there is nothing to classify.
        OutputError: If ``out`` exists and is not empty.
    """
    if out is not None:
        require_absent(out)
    opened = open_run(run)
    result = classified(opened)
    if out is not None:
        save_classification(result, out)
    notices = (*opened.analysed.notices, *result.notices)
    return Outcome(result.to_dict(), classification_text(result), notices)


def classify_new(run: Path, cohort: Path, out: Path | None = None) -> Outcome:
    """Predict the label of new samples by the headline of the run's classification.

    Raises:
        CohortError: If the run has no label to learn, or the new cohort cannot be used.
        OutputError: If ``out`` exists and is not empty.
    """
    if out is not None:
        require_absent(out)
    opened = open_run(run)
    samples, latent, seed = opened.analysed, opened.analysed_latent, opened.model.config.seed
    result = classify(latent, samples.cohort, seed=seed)
    fusion = learn_fusion(latent, samples.cohort, seed=seed)
    with new_cohort(opened.model, cohort, _beside(out, cohort)) as chosen:
        scores = [
            fusion.scores(portion.cohort, opened.model.embed(portion.cohort))
            for portion in chosen.samples.portions()
        ]
        distances = Distances.of(opened.model, chosen.samples)
    new, roles = chosen.samples.table, chosen.samples.roles
    table = predict(fusion, np.concatenate(scores), owner_codes(new, roles), [*map(str, new.index)])
    table = table.join(distance_columns(distances.table()))
    if out is not None:
        with new_folder(out) as folder:
            write_table(table, folder / "predictions.csv")
    score = result.head
    counts = {str(name): int(n) for name, n in table["predicted"].value_counts().items()}
    shown = table.head(20).to_string(float_format=lambda value: f"{value:.3f}")
    text = (
        f"{len(table)} new samples, label '{result.label}': "
        + ", ".join(f"{name} {n}" for name, n in counts.items())
        + f"\nby {score.title}, whose AUC on held-out people of the run is "
        + f"{score.subject_auc}\n{shown}"
        + (f"\n... and {len(table) - 20} more (see --out)" if len(table) > 20 else "")
    )
    values = {"label": result.label, "classifier": result.headline, "counts": counts}
    values |= {"predictions": json.loads(table.reset_index().to_json(orient="records"))}
    said = distances.notices("their predictions mean little")
    return Outcome(values, text, (*chosen.notices, *said, *samples.notices))


@one_thread()
def classified(opened: OpenRun) -> ClassificationResult:
    """Classification of the run's held-out people."""
    cohort = opened.analysed.cohort
    return classify(opened.analysed_latent, cohort, seed=opened.model.config.seed)


@one_thread()
def imputed(opened: OpenRun) -> ImputationResult:
    """Hide-and-score imputation of the run's held-out people."""
    cohort = opened.analysed.cohort
    return score_imputation(opened.model, cohort, seed=opened.model.config.seed)


def save_classification(result: ClassificationResult, out: Path) -> None:
    """Write the tables of a classification into the new folder ``out``."""
    tables = {
        "methods": result.table.set_index(["source", "name"]),
        "predictions": result.predictions,
        "counts": result.counts.set_index(["side", "class"]),
    }
    _save(out, "classification.json", result.to_dict(), tables)


def save_imputation(result: ImputationResult, out: Path) -> None:
    """Write the tables of an imputation score into the new folder ``out``."""
    tables = {
        "layers": result.scores.set_index(["task", "layer", "method"]),
        "features": result.features.set_index(["task", "layer", "feature", "method"]),
        "differences": result.differences.set_index(["task", "layer"]),
    }
    _save(out, "imputation.json", result.to_dict(), tables)


def classification_text(result: ClassificationResult) -> str:
    """The table of methods and the verdict, for a terminal."""
    header = (
        f"  {'method':<44} {'AUC by person':<20} {'AUC by sample':<20} split by sample (inflated)"
    )
    lines = [f"label '{result.label}', held-out people:", header]
    for score in result.scores:
        mark = "*" if result.is_headline(score) else " "
        name = f"{score.title}, {score.source}"
        lines.append(
            f"{mark} {name:<44} {score.subject_auc!s:<20} {score.sample_auc!s:<20} "
            f"{score.sample_split_auc:.2f}"
        )
    lines += ["* headline: its weights were learnt inside the training people", result.verdict]
    return "\n".join(lines)


def _beside(out: Path | None, cohort: Path) -> Path:
    """Place whose hidden neighbour holds a large cohort while it is read."""
    return Path(cohort.resolve().name) if out is None else out


def _save(
    out: Path, name: str, values: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> None:
    with new_folder(out) as folder:
        write_text(folder / name, json.dumps(values, indent=1, allow_nan=False) + "\n")
        for table, frame in tables.items():
            frame.reset_index().to_csv(folder / f"{table}.csv", index=False)
