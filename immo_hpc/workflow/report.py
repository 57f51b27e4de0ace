"""From a finished run to the report."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from immo_hpc.analysis.attribution import EVERY_CHECK, Checks
from immo_hpc.analysis.report import ReportContent, write_report
from immo_hpc.errors import CohortError, UsageError
from immo_hpc.files import make_folder
from immo_hpc.train import read_metrics
from immo_hpc.train.model_file import load_model
from immo_hpc.workflow.calibrate import covered
from immo_hpc.workflow.evaluate import classified, imputed
from immo_hpc.workflow.explain import Asked, checks_of, explained
from immo_hpc.workflow.opened import OpenRun, open_run
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.use import require_free

Result = TypeVar("Result")


def report_run(
    run: Path, out: Path, *, force: bool = False, exclude: Path | None = None
) -> Outcome:
    """Compute everything the report shows, and write it.

    Args:
        run: Run folder.
        out: HTML file to write.
        force: Replace a file that is there.
        exclude: File of features to leave out of attributions.

    Raises:
        CohortError: If a pattern in ``exclude`` matches no feature.
        OutputError: If ``out`` exists and ``force`` is False, or cannot be written.
        RunError, ShardError: If the run or its shards cannot be opened.
    """
    require_free(out, force)
    make_folder(out.parent)
    opened = open_run(run)
    checks = checks_of(opened, Asked(exclude=exclude))
    content = gather(opened, checks)
    write_report(content, out)
    values = {"out": str(out), "bytes": out.stat().st_size}
    return Outcome(values, f"report: {out}", opened.analysed.notices)


def gather(opened: OpenRun, checks: Checks = EVERY_CHECK) -> ReportContent:
    """Everything the report shows; what cannot be computed leaves its reason in ``absent``."""
    absent: dict[str, str] = {}
    return content_of(
        opened,
        absent,
        classification=attempt(absent, "classification", lambda: classified(opened)),
        imputation=attempt(absent, "imputation", lambda: imputed(opened)),
        coverage=attempt(absent, "coverage", lambda: covered(opened)),
        attribution=attempt(absent, "attribution", lambda: explained(opened, checks=checks)),
    )


def content_of(opened: OpenRun, absent: dict[str, str], **results: object) -> ReportContent:
    """The report's content from an opened run and the results at hand."""
    cohort, manifest = opened.cohort, opened.manifest
    preparation = opened.model.preparation
    return ReportContent(
        cohort=manifest.source or opened.folder.path.name,
        samples=cohort.samples,
        roles=cohort.roles,
        layers=list(cohort.layers),
        measured=cohort.measured(),
        kinds={name: layer.kind for name, layer in preparation.layers.items()},
        num_features={name: len(layer.features) for name, layer in cohort.layers.items()},
        split=cohort.split,
        latent=opened.latent,
        metrics=[record.to_dict() for record in read_metrics(opened.folder.metrics)],
        best_epoch=load_model(opened.folder.path).best_epoch,
        absent=absent,
        config=opened.folder.config.read_text(encoding="utf-8"),
        seed=opened.model.config.seed,
        versions=opened.description["versions"] | _python(opened),
        commit=opened.description.get("commit"),
        notices=(*manifest.notices, *opened.analysed.notices),
        **results,  # type: ignore[arg-type] # the three results, by name
    )


def attempt(absent: dict[str, str], name: str, compute: Callable[[], Result]) -> Result | None:
    """What ``compute`` gives; if it cannot be computed, None and the reason in ``absent``."""
    try:
        return compute()
    except (CohortError, UsageError) as error:
        absent[name] = str(error)
        return None


def _python(opened: OpenRun) -> dict[str, str]:
    environment = json.loads(opened.folder.environment.read_text(encoding="utf-8"))
    return {"python": environment["python"]}
