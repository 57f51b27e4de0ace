"""A worker of the bench: trials of a fixed length, measured by a formula instead of a training."""

from __future__ import annotations

import time
from pathlib import Path

from immo_hpc.bench.search_quality import synthetic
from immo_hpc.search.study import Measured, Report, StudyFolder, Trial, Worker


def main(path: str, seconds: float) -> None:
    """Work on the study at ``path``; each trial takes ``seconds``."""
    folder = StudyFolder(Path(path))
    plan = folder.read_plan()
    surface, _ = synthetic(plan.space)["valley"]

    def evaluate(place: Path, trial: Trial, report: Report) -> Measured:
        time.sleep(seconds)
        return Measured((surface(trial.params),), {"measured_s": seconds})

    Worker(folder, plan, evaluate).run()
