"""The study folder: what is where, how it is made, and whether it may be gone on with."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from immo_hpc._version import __version__
from immo_hpc.errors import RunError
from immo_hpc.files import make_folder, new_folder, require_absent, write_text
from immo_hpc.lease import hold
from immo_hpc.search.study.plan import STALE_AFTER_S, Plan, differences, plan_from_dict

FORMAT = "immo-study"
FORMAT_VERSION = 1
# A suggestion takes seconds; many workers may stand in line for one.
WAIT_S = 1800.0


@dataclass(frozen=True)
class Goal:
    """When a study is done. May be changed by a later command.

    Attributes:
        trials: Trials to make, those that replace lost ones not counted.
        patience: Finished trials without a better one before no more are begun; 0: no limit.
        top: Best trials to train again on other seeds; 0: none.
        seeds: Seeds each of them is judged by, the study's own among them.
    """

    trials: int = 50
    patience: int = 0
    top: int = 3
    seeds: int = 3


@dataclass(frozen=True)
class StudyFolder:
    """Every path of a study; nothing else in the project spells them.

    Attributes:
        path: The folder, on storage that all workers share.
    """

    path: Path

    @property
    def description(self) -> Path:
        """Format and plan, JSON; written once."""
        return self.path / "study.json"

    @property
    def goal(self) -> Path:
        """The goal, JSON."""
        return self.path / "goal.json"

    @property
    def lease(self) -> Path:
        """Held while a trial is added."""
        return self.path / "study.lease"

    @property
    def trials(self) -> Path:
        """A folder a trial."""
        return self.path / "trials"

    @property
    def confirm(self) -> Path:
        """A folder for each training of a good trial on another seed."""
        return self.path / "confirm"

    @property
    def progress(self) -> Path:
        """An empty file for every piece of work done: a sign to those who count."""
        return self.path / "progress"

    @property
    def table(self) -> Path:
        """All trials, tab-separated."""
        return self.path / "trials.tsv"

    @property
    def best(self) -> Path:
        """Configuration of the winner, YAML."""
        return self.path / "best.yaml"

    @property
    def page(self) -> Path:
        """Pictures of the search, HTML."""
        return self.path / "search.html"

    @property
    def journal(self) -> Path:
        """The study as Optuna's journal file."""
        return self.path / "optuna.journal"

    @property
    def exists(self) -> bool:
        """True if a study was made here."""
        return self.description.exists()

    @property
    def version(self) -> str:
        """Version of immo-hpc that began the study."""
        return str(self._read(self.description).get("immo_hpc"))

    def read_plan(self) -> Plan:
        """What the study is.

        Raises:
            RunError: If there is none, or it is of another version.
        """
        values = self._read(self.description)
        found = values.get("format"), values.get("format_version")
        if found != (FORMAT, FORMAT_VERSION):
            message = (
                f"{self.description}: expected {FORMAT} version {FORMAT_VERSION}, found "
                f"{found[0]} version {found[1]}. Use the version of immo-hpc that wrote it "
                f"({values.get('immo_hpc')}), or begin a new study elsewhere."
            )
            raise RunError(message)
        return plan_from_dict(values["plan"], str(self.description))

    def require_version(self) -> None:
        """Refuse a study that another version of immo-hpc began: its values may not compare.

        Raises:
            RunError: If it is one. It can still be read.
        """
        if self.version != __version__:
            message = (
                f"{self.path}: begun by immo-hpc {self.version}, this is {__version__}, and what "
                "the trials of two versions measure need not compare. Go on with the former, or "
                f"name another folder and begin with what is known: --warm {self.path}."
            )
            raise RunError(message)

    def read_goal(self) -> Goal:
        """When it is done.

        Raises:
            RunError: If the file is damaged.
        """
        values = self._read(self.goal)
        try:
            return Goal(**values)
        except TypeError as error:
            message = f"{self.goal}: not readable as a goal ({error}); name --trials again."
            raise RunError(message) from error

    def write_goal(self, goal: Goal) -> None:
        """Replace the goal in one step."""
        write_text(self.goal, json.dumps(asdict(goal), indent=1) + "\n")

    def _read(self, path: Path) -> dict[str, Any]:
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            message = (
                f"{path}: not readable ({error}), so {self.path} is no study folder, or not a "
                "whole one. Name the folder that immo tune wrote, or begin a new study."
            )
            raise RunError(message) from error
        return dict(values)


def make_or_join(folder: StudyFolder, plan: Plan, goal: Goal) -> Plan:
    """Make the study, or join the one that is there if it is the same.

    Of many that call this at once one makes it.

    Returns:
        The plan of the study; where a study was there, its own.

    Raises:
        RunError: If another study is there; the message names what differs.
        OutputError: If something else is there, or the folder cannot be made.
    """
    make_folder(folder.path.parent)
    beside = folder.path.with_name(f".{folder.path.name}.lease")
    with hold(beside, wait_s=WAIT_S, stale_after_s=STALE_AFTER_S):
        if folder.exists:
            return _joined(folder, plan)
        require_absent(folder.path)
        _make(folder, plan, goal)
    return plan


def change_goal(folder: StudyFolder, **changes: int) -> Goal:
    """Set the given parts of the goal and leave the others.

    Raises:
        RunError, OutputError: If the goal cannot be read or written.
    """
    before = folder.read_goal()
    goal = replace(before, **changes)
    if goal != before:
        with hold(folder.lease, wait_s=WAIT_S, stale_after_s=STALE_AFTER_S):
            goal = replace(folder.read_goal(), **changes)
            folder.write_goal(goal)
    return goal


def _joined(folder: StudyFolder, plan: Plan) -> Plan:
    there = folder.read_plan()
    if found := differences(there, plan):
        message = (
            f"{folder.path}: another study is there; it differs in {'; '.join(found)}. "
            "Join it without these changes (or with --join alone), or name another folder."
        )
        raise RunError(message)
    return there


def _make(folder: StudyFolder, plan: Plan, goal: Goal) -> None:
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "immo_hpc": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "plan": plan.to_dict(),
    }
    with new_folder(folder.path) as path:
        new = StudyFolder(path)
        for inner in (new.trials, new.confirm, new.progress):
            inner.mkdir()
        new.write_goal(goal)
        write_text(new.description, json.dumps(description, indent=1) + "\n")
