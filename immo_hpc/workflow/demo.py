"""The whole flow in one go: from tables, given or simulated, to the report."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from immo_hpc.analysis.report import write_report
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.labels import require_labels
from immo_hpc.errors import ImmoError
from immo_hpc.files import require_absent
from immo_hpc.train import RunFolder
from immo_hpc.workflow.calibrate import calibrated_after, covered
from immo_hpc.workflow.companion import write_companion
from immo_hpc.workflow.evaluate import (
    classified,
    imputed,
    save_classification,
    save_imputation,
)
from immo_hpc.workflow.explain import explained, save_attribution
from immo_hpc.workflow.opened import open_run
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.prepare import CohortOptions, prepare_cohort, simulate
from immo_hpc.workflow.report import attempt, content_of
from immo_hpc.workflow.train import OnEpoch, require_layers, train_settled
from immo_hpc.workflow.use import embed, impute

Result = TypeVar("Result")
Say = Callable[[str], None]

_SUBJECTS, _VISITS = 60, 6


@dataclass(frozen=True)
class DemoPlaces:
    """Where each part of a demonstration goes."""

    out: Path

    @property
    def cohort(self) -> Path:
        """The simulated cohort."""
        return self.out / "cohort"

    @property
    def shards(self) -> Path:
        """Prepared shards."""
        return self.out / "shards"

    @property
    def run(self) -> Path:
        """Run folder."""
        return self.out / "run"

    @property
    def latent(self) -> Path:
        """Latent of every sample."""
        return self.out / "latent.parquet"

    @property
    def imputed(self) -> Path:
        """Complete layers."""
        return self.out / "imputed"

    @property
    def report(self) -> Path:
        """The report."""
        return self.out / "report.html"


def demo(
    out: Path,
    cohort_path: Path | None,
    config: ImmoConfig,
    options: CohortOptions,
    *,
    on_epoch: OnEpoch | None = None,
    say: Say = lambda line: None,
) -> Outcome:
    """Prepare, train, embed, impute, classify, explain, report.

    Everything that can be refused is checked before the first file is written.

    Args:
        out: New folder for everything.
        cohort_path: Cohort to use; None for a simulated one.
        config: Resolved configuration.
        options: What the user says about the cohort.
        on_epoch: Called with each epoch's record and the most epochs.
        say: Called with a line at the start of each step.

    Raises:
        CohortError: If the cohort cannot be used, or has one class or one person only.
        OutputError: If ``out`` exists and is not empty, or cannot be written.
    """
    require_absent(out)
    places = DemoPlaces(out)
    clock = _Clock(say)
    cohort = _cohort(places, cohort_path, config, options, clock)
    name = cohort_path.resolve().name if cohort_path else "simulated cohort"
    prepared = clock.step(
        "prepare", lambda: prepare_cohort(cohort, places.shards, config, source=name)
    )
    clock.step("train", lambda: train_settled(places.shards, places.run, config, on_epoch=on_epoch))
    clock.step("companion", lambda: write_companion(RunFolder(places.run), places.shards))
    clock.step("calibrate", lambda: calibrated_after(RunFolder(places.run), places.shards))
    clock.step("embed", lambda: embed(places.run, None, places.latent))
    tables = cohort_path or places.cohort
    clock.step("impute", lambda: impute(places.run, tables, places.imputed))
    opened = open_run(places.run)
    classification = clock.step("classify", lambda: classified(opened))
    save_classification(classification, out / "classification")
    imputation = clock.step("score imputation", lambda: imputed(opened))
    save_imputation(imputation, out / "imputation")
    attribution = clock.step("explain", lambda: explained(opened))
    save_attribution(attribution, out / "attribution")
    absent: dict[str, str] = {}
    coverage = clock.step("intervals", lambda: attempt(absent, "coverage", lambda: covered(opened)))
    content = content_of(
        opened,
        absent,
        classification=classification,
        imputation=imputation,
        coverage=coverage,
        attribution=attribution,
    )
    clock.step("report", lambda: write_report(content, places.report))
    values = {
        "report": str(places.report.resolve()),
        "seconds": clock.seconds,
        "verdicts": [classification.verdict, imputation.verdict],
    }
    text = "\n".join(
        [
            classification.verdict,
            imputation.verdict,
            f"done in {sum(clock.seconds.values()):.0f} s; open the report in a browser:",
            str(places.report.resolve()),
        ]
    )
    return Outcome(values, text, prepared.notices)


def _cohort(
    places: DemoPlaces,
    path: Path | None,
    config: ImmoConfig,
    options: CohortOptions,
    clock: _Clock,
) -> Cohort:
    if path is None:
        clock.step(
            "simulate",
            lambda: simulate(
                places.cohort, num_subjects=_SUBJECTS, visits_mean=_VISITS, seed=config.seed
            ),
        )
        return options.read(places.cohort)
    cohort = clock.step("read", lambda: options.read(path))
    require_labels(cohort.samples, cohort.roles)
    require_layers(config, list(cohort.layers))
    return cohort


class _Clock:
    """Says each step as it starts and remembers how long it took."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self.seconds: dict[str, float] = {}

    def step(self, name: str, work: Callable[[], Result]) -> Result:
        self._say(f"{name} ...")
        started = time.perf_counter()
        try:
            return work()
        except ImmoError as error:
            error.add_note(f"(while: {name})")
            raise
        finally:
            self.seconds[name] = round(time.perf_counter() - started, 2)
