"""From a finished run to its calibration: how far off it is on people it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from immo_hpc.analysis.coverage import CoverageResult, measure_coverage
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.stream import ShardIndex
from immo_hpc.errors import CohortError, OutputError, RunError
from immo_hpc.inference import TrainedModel, prepared_samples
from immo_hpc.inference.calibration.calibrated import Calibration
from immo_hpc.inference.calibration.fit import calibration_of
from immo_hpc.inference.calibration.store import load_calibration, save_calibration
from immo_hpc.train import RunFolder
from immo_hpc.train.run import check_run
from immo_hpc.train.samples import load_samples
from immo_hpc.train.threads import one_thread
from immo_hpc.workflow.opened import OpenRun
from immo_hpc.workflow.outcome import Outcome
from immo_hpc.workflow.subset import some_subjects


def calibrate(run: Path, shards: Path | None = None, *, force: bool = False) -> Outcome:
    """Write the calibration of a run into its folder.

    Args:
        run: Finished run folder.
        shards: The shards it was trained on; None: where they were then.
        force: Replace a calibration that is there.

    Raises:
        OutputError: If there is one already and ``force`` is False, or it cannot be written.
        CohortError: If nobody was held out for validation, or nothing of them can be hidden.
        RunError, ShardError: If the run or its shards cannot be opened, or do not belong together.
    """
    folder = RunFolder(run)
    if folder.calibration.exists() and not force:
        message = f"{folder.calibration}: the run has a calibration. Add --force to make it again."
        raise OutputError(message)
    model = TrainedModel.load(run, calibrated=False)
    place = Path(folder.read_description()["shards"]) if shards is None else shards
    check_run(folder, None, place)
    calibration = write_calibration(folder, model, place)
    return Outcome(*_describe(folder, calibration))


@one_thread()
def write_calibration(folder: RunFolder, model: TrainedModel, shards: Path) -> Calibration:
    """Calibrate the model of a run, and write the calibration beside it; errors as `calibrate`."""
    cohort = load_samples(shards, model.config.train)[0]
    held_out, train = (_side(model, cohort, side) for side in ("validation", "train"))
    seed = model.config.seed
    calibration = calibration_of(model.held_back(), train, held_out, seed=seed)
    save_calibration(folder, calibration)
    return calibration


def calibrated_after(folder: RunFolder, shards: Path) -> str | None:
    """Calibrate a run that has just been trained, if it is not as it is now.

    Returns:
        Why it could not be, as a sentence; None if it is calibrated.

    Raises:
        OutputError: If the folder cannot be written.
    """
    try:
        if load_calibration(folder) is not None:
            return None
    except RunError:
        pass  # Of the run before it got its companion, or cut short: it is made anew.
    try:
        write_calibration(folder, TrainedModel.load(folder.path, calibrated=False), shards)
    except CohortError as error:
        return f"no intervals: {error}"
    return None


def _side(model: TrainedModel, cohort: PreparedCohort | ShardIndex, side: str) -> PreparedCohort:
    """One side's samples, as many subjects as a quarter of ``train.memory_gb`` holds."""
    split = cohort.split
    places = np.flatnonzero(split == side) if split is not None else np.empty(0, dtype=np.int64)
    if not len(places):
        message = (
            f"nobody stands on the {side} side of the split, and how far off a model is shows on "
            "people it was not trained on. Prepare with split.validation_fraction above 0."
        )
        raise CohortError(message)
    return some_subjects(prepared_samples(cohort), model.config.train.memory_gb, places).cohort


def _describe(folder: RunFolder, calibration: Calibration) -> tuple[dict[str, Any], str]:
    spreads = {"/".join(at): spread for at, spread in calibration.spreads.items()}
    values: dict[str, Any] = {
        "calibration": str(folder.calibration),
        "subjects": {key: spread.num_subjects for key, spread in spreads.items()},
        "values": {key: spread.num_values for key, spread in spreads.items()},
        "unknown": calibration.unknown(),
    }
    fewest = min(spread.num_subjects for spread in spreads.values())
    text = (
        f"{folder.calibration}: how far off the model is, from {fewest} validation people or more"
    )
    return values, text


@one_thread()
def covered(opened: OpenRun) -> CoverageResult:
    """Coverage of intervals on the run's held-out people.

    Raises:
        UsageError: If the run has no calibration.
        CohortError: If nothing could be hidden from held-out people.
    """
    cohort = opened.analysed.cohort
    return measure_coverage(opened.model, cohort, seed=opened.model.config.seed)
