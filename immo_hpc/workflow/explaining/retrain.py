"""Networks trained anew for `immo explain --refit`, by several processes, each a file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any

from immo_hpc.analysis.explaining.baseline import Kind
from immo_hpc.analysis.explaining.retrained import from_values, retrain, to_values
from immo_hpc.analysis.explaining.stability import Refit
from immo_hpc.errors import OutputError
from immo_hpc.files import make_folder, write_text
from immo_hpc.work import WorkFolder
from immo_hpc.workflow.opened import open_run

_INPUTS = "inputs.json"


@dataclass(frozen=True)
class RetrainJob:
    """All that decides the retrainings.

    Attributes:
        run: The run folder.
        number: How many.
        exclude: Patterns of features that the networks shall not see.
        baseline: Baseline of the attributions.
        work: Folder of their files; a command that was ended goes on with what is there.
    """

    run: Path
    number: int
    exclude: tuple[str, ...]
    baseline: Kind
    work: Path

    @property
    def files(self) -> list[str]:
        """A file a retraining."""
        return [f"network-{number:03d}.json" for number in range(self.number)]

    def begin(self, created: str) -> None:
        """Take the work folder, or go on with what was begun for the same inputs.

        Args:
            created: When the run was made, which tells it from another in its place.

        Raises:
            OutputError: If the folder is the work of other inputs, or cannot be made.
        """
        inputs = {
            "run": str(self.run.resolve()),
            "created": created,
            "exclude": list(self.exclude),
            "baseline": self.baseline,
        }
        place = self.work / _INPUTS
        make_folder(self.work)
        if not place.exists():
            write_text(place, json.dumps(inputs, indent=1) + "\n")
        found = _read(place)
        if differing := [name for name, value in inputs.items() if found.get(name) != value]:
            message = (
                f"{self.work}: expected networks trained for the same command, found those of "
                f"another (they differ in: {', '.join(differing)}). Remove this folder to begin "
                "anew, or choose another output place."
            )
            raise OutputError(message)

    def clear(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.work, ignore_errors=True)


def retrained(job: RetrainJob, workers: int, say: Callable[[str], None]) -> list[Refit]:
    """Every retraining, by ``workers`` processes, this one among them.

    A process that dies leaves its share to the others.
    """
    say(f"training {job.number} networks anew, {workers} at a time; kept in {job.work}")
    others = [
        # Spawned, not forked: a fork would begin with the threads of this process.
        get_context("spawn").Process(target=_work, args=(job,), daemon=True)
        for _ in range(min(workers, job.number) - 1)
    ]
    for process in others:
        process.start()
    try:
        _work(job, say)
    finally:
        for process in others:
            process.terminate()
            process.join()
    return [from_values(_read(job.work / name)) for name in job.files]


def _work(job: RetrainJob, say: Callable[[str], None] = lambda line: None) -> None:
    cohort, config = None, None

    def make(name: str, temporary: Path) -> None:
        nonlocal cohort, config
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            raise SystemExit(1)  # Killed: nobody waits for the rest.
        if cohort is None or config is None:
            opened = open_run(job.run)
            cohort, config = opened.analysed.cohort, opened.model.config
        number = job.files.index(name)
        refit = retrain(cohort, config, number, exclude=job.exclude, baseline=job.baseline)
        temporary.write_text(json.dumps(to_values(refit), allow_nan=False), encoding="utf-8")
        say(f"network {number + 1} of {job.number} trained")

    WorkFolder(job.work).do_all(job.files, make)


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        message = f"{path}: expected JSON of this command, but it is damaged ({error}). Remove it."
        raise OutputError(message) from error
