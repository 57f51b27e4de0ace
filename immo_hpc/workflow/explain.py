"""Explaining a trained model."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from immo_hpc.analysis.attribution import EVERY_CHECK, Checks, explain
from immo_hpc.analysis.explaining.baseline import BASELINES
from immo_hpc.analysis.results import AttributionResult
from immo_hpc.data.exclude import read_exclusions, require_matches
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.suspects import exclusion_text, suspects
from immo_hpc.errors import UsageError
from immo_hpc.files import new_folder, require_absent, write_text
from immo_hpc.inference import TrainedModel
from immo_hpc.train.threads import one_thread
from immo_hpc.workflow.explaining.retrain import RetrainJob, retrained
from immo_hpc.workflow.explaining.told import attribution_tables, attribution_text
from immo_hpc.workflow.opened import OpenRun, new_cohort, open_run
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.subset import some_subjects


@dataclass(frozen=True)
class Asked:
    """What the user wants to know of an attribution.

    Attributes:
        top: Features to name per layer.
        baseline: 'mean' or 'class'.
        exclude: File of features to leave out.
        permuted: As `Checks.permuted`; a number below 0 for none.
        networks: How many networks to train anew; 0 for none.
        workers: Processes that train them.
    """

    top: int = 10
    baseline: str = "mean"
    exclude: Path | None = None
    permuted: int = 25
    networks: int = 0
    workers: int = 1


def explain_run(
    run: Path,
    cohort: Path | None = None,
    out: Path | None = None,
    asked: Asked | None = None,
    *,
    say: Callable[[str], None] = lambda line: None,
) -> Outcome:
    """Name the features that move a classifier of the latent, and those of the product of experts.

    Args:
        run: Run folder.
        cohort: New samples to explain; the run's held-out samples if None.
        out: New folder for the tables.
        asked: What is wanted besides.
        say: Told what is done, a line at a time.

    Raises:
        CohortError: If there is nothing to classify, a cohort cannot be used, or a pattern of
            the exclusion file matches no feature.
        UsageError: If the wishes contradict each other.
        OutputError: If ``out`` exists and is not empty.
    """
    asked = asked or Asked()
    if out is not None:
        require_absent(out)
    if asked.networks and (cohort is not None or asked.networks < 2):
        message = (
            f"--refit {asked.networks}: expected at least 2 networks, which are explained on the "
            "run's own held-out people, so without COHORT."
        )
        raise UsageError(message)
    opened = open_run(run)
    checks = checks_of(opened, asked)
    samples, notices = _samples(opened, cohort, out)
    with tempfile.TemporaryDirectory() as scratch:
        work = Path(scratch) if out is None else out.absolute().with_name(f".{out.name}.explain")
        job = RetrainJob(run, asked.networks, checks.exclude, checks.baseline, work)
        if asked.networks:
            job.begin(str(opened.description["created"]))
            checks = replace(checks, retrained=retrained(job, asked.workers, say))
        result = explained(opened, top=asked.top, samples=samples, checks=checks)
        if out is not None:
            save_attribution(result, out)
            job.clear()
    notices = (*notices, *result.notices)
    if result.product is not None:
        own = [line for line in result.product.notices if line not in result.notices]
        notices = (*notices, *(f"{result.product.explained}: {line}" for line in own))
    return Outcome(result.to_dict(), attribution_text(result), notices)


def suggest_exclusions(run: Path) -> Outcome:
    """Features of a run whose names look like drugs or technical artefacts, as a file."""
    found = suspects(TrainedModel.load(run).layers)
    values = [{"layer": s.layer, "feature": s.feature, "reason": s.reason} for s in found]
    notice = (
        f"{len(found)} features look like drugs or artefacts by their names; whether they are, and "
        "whether they shall go, is for you to decide. Names that are mere numbers tell nothing."
    )
    return Outcome({"suggested": values}, exclusion_text(found), (notice,))


@one_thread()
def explained(
    opened: OpenRun,
    *,
    top: int = 10,
    samples: PreparedCohort | None = None,
    checks: Checks = EVERY_CHECK,
) -> AttributionResult:
    """Attribution on the run's held-out people, or on the samples given."""
    cohort, seed = opened.analysed.cohort, opened.model.config.seed
    return explain(opened.model, cohort, top=top, seed=seed, samples=samples, checks=checks)


def checks_of(opened: OpenRun, asked: Asked) -> Checks:
    """What the analysis shall check.

    Raises:
        CohortError: If a pattern of the exclusion file matches no feature of the run's layers.
        UsageError: If the file cannot be read, or the baseline is unknown.
    """
    if asked.baseline not in BASELINES:
        message = f"--baseline: found '{asked.baseline}'; choose from {', '.join(BASELINES)}."
        raise UsageError(message)
    exclude: tuple[str, ...] = ()
    if asked.exclude is not None:
        exclude = read_exclusions(asked.exclude)
        require_matches(exclude, _known(opened), str(asked.exclude))
    return replace(
        EVERY_CHECK,
        baseline=asked.baseline,
        exclude=exclude,
        permuted=None if asked.permuted < 0 else asked.permuted,
    )


def save_attribution(result: AttributionResult, out: Path) -> None:
    """Write the tables of an attribution into the new folder ``out``."""
    with new_folder(out) as folder:
        values = json.dumps(result.to_dict(), indent=1, allow_nan=False)
        write_text(folder / "attribution.json", values + "\n")
        for name, table in attribution_tables(result).items():
            table.reset_index().to_csv(folder / f"{name}.csv", index=False)


def _known(opened: OpenRun) -> dict[str, Sequence[str]]:
    """All features of the run's layers, those that the filters dropped too."""
    return {
        name: [*layer.features, *(f for gone in layer.dropped.values() for f in gone)]
        for name, layer in opened.model.preparation.layers.items()
    }


def _samples(
    opened: OpenRun, cohort: Path | None, out: Path | None
) -> tuple[PreparedCohort | None, tuple[str, ...]]:
    notices = opened.analysed.notices
    if cohort is None:
        return None, notices
    beside = Path(cohort.resolve().name) if out is None else out
    with new_cohort(opened.model, cohort, beside) as chosen:
        subset = some_subjects(chosen.samples, opened.model.config.train.memory_gb)
    return subset.cohort, (*chosen.notices, *notices, *subset.notices)
