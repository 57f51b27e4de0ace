"""What is reproduced, the parts it falls into, and where they lie until all are there."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from immo_hpc.analysis.reproduce.masks import By, Kind, measure_masks
from immo_hpc.analysis.reproduce.published import CLASSIFIER_NAMES, Published, published
from immo_hpc.analysis.reproduce.samples import paper_cohort
from immo_hpc.analysis.reproduce.split import measure_split
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.errors import OutputError
from immo_hpc.files import make_folder, write_text
from immo_hpc.workflow.prepare import CohortOptions
from immo_hpc.workflow.preparing.place import describe_inputs
from immo_hpc.workflow.reproducing.search import read_study, search

INPUTS = "inputs.json"
SEARCH = "search.json"
# Trainings with each kind of mask: they differ little from split to split.
_MASK_SPLITS = 2
# Classifiers of a try-out: the two that are fitted fastest.
_QUICK = ("lda", "ridge")


@dataclass(frozen=True)
class ReproduceJob:
    """Everything that decides the result.

    Attributes:
        which: Name of the paper's cohort.
        cohort: Place of the tables, absolute.
        options: What the user says about them.
        config: Published settings and the first seed.
        by_subject: Splits by person.
        by_sample: Splits by sample, as in the paper.
        trials: Rounds of the search.
        study: A study made before, instead of a search; absolute.
        is_quick: A try-out.
        out: The new folder, absolute.
    """

    which: str
    cohort: Path
    options: CohortOptions
    config: ImmoConfig
    by_subject: int
    by_sample: int
    trials: int
    study: Path | None
    is_quick: bool
    out: Path

    @property
    def facts(self) -> Published:
        """What the paper says."""
        return published(self.which)

    @property
    def work(self) -> Path:
        """Folder of the parts."""
        return self.out.with_name(f".{self.out.name}.reproduce")

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the classifiers."""
        return _QUICK if self.is_quick else CLASSIFIER_NAMES

    def read(self) -> Cohort:
        """The paper's samples.

        Raises:
            CohortError: If the cohort is not the paper's.
        """
        read = self.options.read(self.cohort)
        is_chosen = self.options.label is not None
        return paper_cohort(read, self.facts, str(self.cohort), is_chosen=is_chosen)

    def splits(self, by: By) -> int:
        """Number of splits."""
        return self.by_subject if by == "subject" else self.by_sample

    def mask_splits(self, by: By) -> int:
        """Number of splits that both kinds of mask are trained on."""
        return min(_MASK_SPLITS, self.splits(by))

    def part_names(self) -> list[str]:
        """Files of the work folder that the result is made of, the longest work first."""
        names = [SEARCH] if self.facts.search else []
        names += [
            f"split-{by}-{split}.json" for by in get_args(By) for split in range(self.splits(by))
        ]
        if self.facts.masks is not None:
            names += [
                f"masks-{by}-{kind}-{split}.json"
                for by in get_args(By)
                for kind in get_args(Kind)
                for split in range(self.mask_splits(by))
            ]
        return names

    def make(self, name: str, cohort: Cohort) -> dict[str, Any]:
        """The content of one of these files."""
        part, *rest = name.removesuffix(".json").split("-")
        if part == "search":
            if self.study is not None:
                return read_study(self.study, self.facts.layers)
            return search(cohort, self.config, self.trials, self.work / "search")
        by: By = "subject" if rest[0] == "subject" else "sample"
        config = self.config.model_copy(update={"seed": self.config.seed + int(rest[-1])})
        if part == "masks":
            kind: Kind = "dynamic" if rest[1] == "dynamic" else "static"
            return measure_masks(cohort, config, by, kind)
        return measure_split(cohort, self.facts, config, by, self.classifiers)

    def digests(self) -> dict[str, str]:
        """Of each input that decides the result, by its name for the user."""
        inputs = {
            "which": self.which,
            "cohort": describe_inputs([self.cohort]),
            "cohort options": asdict(self.options),
            "configuration": self.config.model_dump(mode="json"),
            "splits": [self.by_subject, self.by_sample],
            "search": [self.trials, None if self.study is None else str(self.study)],
            "quick": self.is_quick,
        }
        return {
            name: hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]
            for name, value in inputs.items()
        }

    def begin(self) -> int:
        """Take the work folder, or go on with what was begun; how many parts are there.

        Raises:
            OutputError: If the folder is the work of other inputs, or cannot be made.
        """
        place = self.work / INPUTS
        make_folder(self.work)
        if not place.exists():
            write_text(place, json.dumps(self.digests(), indent=1) + "\n")
        if differing := self.differing(read_json(place) or {}):
            message = (
                f"{self.work}: expected parts begun with the same inputs, found those of others "
                f"(they differ in: {', '.join(differing)}). Remove this folder to begin anew, or "
                "choose another output place."
            )
            raise OutputError(message)
        for name in self.part_names():
            if (self.work / name).exists() and read_json(self.work / name) is None:
                (self.work / name).unlink()  # damaged
        return sum((self.work / name).exists() for name in self.part_names())

    def differing(self, found: Mapping[str, Any]) -> list[str]:
        """Names of the inputs that differ from those of another job."""
        return [name for name, value in self.digests().items() if found.get(name) != value]

    def parts(self) -> dict[str, dict[str, Any]]:
        """All parts by name; they must be there."""
        return {name: dict(read_json(self.work / name) or {}) for name in self.part_names()}

    def clear(self) -> None:
        """Remove the work folder."""
        shutil.rmtree(self.work, ignore_errors=True)


def read_json(path: Path) -> dict[str, Any] | None:
    """Content of a JSON file; None if it is not there or damaged."""
    try:
        return dict(json.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError):
        return None
