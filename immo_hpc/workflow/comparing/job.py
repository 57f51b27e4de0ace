"""What is compared, and where the answers of single splits lie until all are there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from immo_hpc.analysis.compare.missing import Missing
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.errors import OutputError
from immo_hpc.files import make_folder, write_text
from immo_hpc.workflow.prepare import CohortOptions

_INPUTS = "inputs.json"


@dataclass(frozen=True)
class Answer:
    """One method on one split under one pattern: a file of the work folder."""

    method: str
    missing: Missing
    split: int

    @property
    def file(self) -> str:
        """Its name below the work folder."""
        pattern = str(self.missing).replace(":", "-")
        return f"{self.method}/{pattern}/{self.split}.json"


@dataclass(frozen=True)
class CompareJob:
    """Everything that decides the answers.

    Attributes:
        cohort: Place of the cohort.
        options: What the user says about it.
        config: Split, preparation, the first seed, and the settings of IMMO.
        missing: Patterns to put on top, each compared on its own.
        num_splits: Splits by subject, of the seeds from ``config.seed`` on.
        tasks: What methods are asked.
        work: Folder of the answers.
        visits: Whether methods are given the other visits of a sample's person.
    """

    cohort: Path
    options: CohortOptions
    config: ImmoConfig
    missing: tuple[Missing, ...]
    num_splits: int
    tasks: tuple[str, ...]
    work: Path
    visits: bool = False

    def read(self) -> Cohort:
        """The cohort."""
        return self.options.read(self.cohort)

    def settings(self, split: int) -> ImmoConfig:
        """The configuration of one split."""
        return self.config.model_copy(update={"seed": self.config.seed + split})

    def answers(self, method: str) -> list[Answer]:
        """All that a method is asked, split by split."""
        return [
            Answer(method, missing, split)
            for split in range(self.num_splits)
            for missing in self.missing
        ]

    def begin(self, files: Sequence[Any]) -> None:
        """Take the work folder, or go on with what was begun for the same inputs.

        Answers that are there are kept, but those of failed fits, which are tried again.

        Raises:
            OutputError: If the folder is the work of other inputs, or cannot be made.
        """
        inputs = {
            "files": files,
            "options": asdict(self.options),
            "configuration": self.config.model_dump(mode="json"),
            "tasks": list(self.tasks),
            "visits": self.visits,
        }
        inputs = dict(json.loads(json.dumps(inputs)))
        place = self.work / _INPUTS
        make_folder(self.work)
        if not place.exists():
            write_text(place, json.dumps(inputs, indent=1) + "\n")
        found = _read(place) or {}
        if differing := [name for name in inputs if found.get(name) != inputs[name]]:
            message = (
                f"{self.work}: expected answers begun with the same inputs, found those of others "
                f"(they differ in: {', '.join(differing)}). Remove this folder to begin anew, or "
                "choose another output place."
            )
            raise OutputError(message)
        for path in self.work.glob("*/*/*.json"):
            if (_read(path) or {"failed": "damaged"}).get("failed"):
                path.unlink(missing_ok=True)

    def items(self, methods: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        """All answers of the methods; what is not there counts as failed."""
        for method in methods:
            for answer in self.answers(method):
                known = {
                    "method": method,
                    "missing": str(answer.missing),
                    "split": answer.split,
                }
                found = _read(self.work / answer.file)
                yield {**known, **(found or {"failed": "its process was ended"})}

    def clear(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.work, ignore_errors=True)


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError):
        return None
