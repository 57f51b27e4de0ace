"""Judging and explaining a trained model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from immo_hpc.analysis.attribution import explain
from immo_hpc.analysis.classify import classify, predict
from immo_hpc.analysis.imputation import score_imputation
from immo_hpc.analysis.results import AttributionResult, ClassificationResult, ImputationResult
from immo_hpc.data.read import read_cohort
from immo_hpc.files import new_folder, require_absent, write_text
from immo_hpc.inference.outputs import write_table
from immo_hpc.workflow.opened import OpenRun, open_run
from immo_hpc.workflow.outcome import Outcome


def classify_run(run: Path, out: Path | None = None) -> Outcome:
    """Classify a run's held-out people, with baselines beside it.

    Raises:
        CohortError: If there is nothing to classify.
        OutputError: If ``out`` exists and is not empty.
    """
    if out is not None:
        require_absent(out)
    result = classified(open_run(run))
    if out is not None:
        save_classification(result, out)
    return Outcome(result.to_dict(), classification_text(result), result.notices)


def classify_new(run: Path, cohort: Path, out: Path | None = None) -> Outcome:
    """Predict the label of new samples with the classifier chosen inside the training people.

    Raises:
        CohortError: If the run has no label to learn, or the new cohort cannot be used.
        OutputError: If ``out`` exists and is not empty.
    """
    if out is not None:
        require_absent(out)
    opened = open_run(run)
    raw = read_cohort(cohort)
    new = opened.model.prepare(raw)
    latent, seed = opened.model.embed(opened.cohort), opened.model.config.seed
    result = classify(latent, opened.cohort, seed=seed)
    table = predict(
        result, latent, opened.cohort, opened.model.embed(new), new.sample_ids, seed=seed
    )
    if out is not None:
        with new_folder(out) as folder:
            write_table(table, folder / "predictions.csv")
    score = result.score(result.headline)
    counts = {str(name): int(n) for name, n in table["predicted"].value_counts().items()}
    shown = table.head(20).to_string(float_format=lambda value: f"{value:.3f}")
    text = (
        f"{len(table)} new samples, label '{result.label}': "
        + ", ".join(f"{name} {n}" for name, n in counts.items())
        + f"\nby {score.title} on the latent, whose AUC on held-out people of the run is "
        + f"{score.subject_auc}\n{shown}"
        + (f"\n... and {len(table) - 20} more (see --out)" if len(table) > 20 else "")
    )
    values = {"label": result.label, "classifier": result.headline, "counts": counts}
    values |= {"predictions": json.loads(table.reset_index().to_json(orient="records"))}
    return Outcome(values, text, (*raw.notices, *opened.model.notices(raw)))


def explain_run(
    run: Path, cohort: Path | None = None, out: Path | None = None, *, top: int = 10
) -> Outcome:
    """Name the features that move a classifier of the latent.

    Args:
        run: Run folder.
        cohort: New samples to explain; the run's held-out samples if None.
        out: New folder for the tables.
        top: Features to name per layer.

    Raises:
        CohortError: If there is nothing to classify, or the new cohort cannot be used.
        OutputError: If ``out`` exists and is not empty.
    """
    if out is not None:
        require_absent(out)
    opened = open_run(run)
    notices: tuple[str, ...] = ()
    samples = None
    if cohort is not None:
        raw = read_cohort(cohort)
        samples = opened.model.prepare(raw)
        notices = (*raw.notices, *opened.model.notices(raw))
    seed = opened.model.config.seed
    result = explain(opened.model, opened.cohort, top=top, seed=seed, samples=samples)
    if out is not None:
        save_attribution(result, out)
    return Outcome(result.to_dict(), attribution_text(result), (*notices, *result.notices))


def classified(opened: OpenRun) -> ClassificationResult:
    """Classification of the run's held-out people."""
    latent = opened.model.embed(opened.cohort)
    return classify(latent, opened.cohort, seed=opened.model.config.seed)


def imputed(opened: OpenRun) -> ImputationResult:
    """Hide-and-score imputation of the run's held-out people."""
    return score_imputation(opened.model, opened.cohort, seed=opened.model.config.seed)


def explained(opened: OpenRun, *, top: int = 10) -> AttributionResult:
    """Attribution on the run's held-out people."""
    return explain(opened.model, opened.cohort, top=top, seed=opened.model.config.seed)


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


def save_attribution(result: AttributionResult, out: Path) -> None:
    """Write the tables of an attribution into the new folder ``out``."""
    tables = {
        "features": result.features.set_index(["layer", "feature"]),
        "layers": result.layers.set_index("layer"),
        "subjects": result.subjects.set_index(["subject", "layer"]),
    }
    _save(out, "attribution.json", result.to_dict(), tables)


def classification_text(result: ClassificationResult) -> str:
    """The table of methods and the verdict, for a terminal."""
    header = (
        f"  {'method':<44} {'AUC by person':<20} {'AUC by sample':<20} split by sample (inflated)"
    )
    lines = [f"label '{result.label}', held-out people:", header]
    for score in result.scores:
        mark = "*" if (score.source, score.name) == ("latent", result.headline) else " "
        name = f"{score.title}, {score.source}"
        lines.append(
            f"{mark} {name:<44} {score.subject_auc!s:<20} {score.sample_auc!s:<20} "
            f"{score.sample_split_auc:.2f}"
        )
    lines += ["* chosen inside the training people", result.verdict]
    return "\n".join(lines)


def attribution_text(result: AttributionResult) -> str:
    """The top features of each layer and the sanity check, for a terminal."""
    lines = [f"label '{result.label}': mean |attribution| relative to {result.baseline}"]
    for layer, rows in result.top_features.groupby("layer", sort=False):
        lines.append(f"{layer}:")
        for row in rows.itertuples():
            sign = {1: "+", -1: "-"}.get(int(row.direction), " ")
            lines.append(f"  {sign} {row.mean_abs:.4f}  {row.feature}")
    lines.append(f"completeness error {result.completeness_error:.1%}; {result.randomised.message}")
    return "\n".join(lines)


def _save(
    out: Path, name: str, values: Mapping[str, Any], tables: Mapping[str, pd.DataFrame]
) -> None:
    with new_folder(out) as folder:
        write_text(folder / name, json.dumps(values, indent=1, allow_nan=False) + "\n")
        for table, frame in tables.items():
            frame.reset_index().to_csv(folder / f"{table}.csv", index=False)
