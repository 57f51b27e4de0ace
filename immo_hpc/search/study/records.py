"""Trials as files: each is written whole, once, and never changed.

A trial is a folder. ``trial.json`` says what is tried; it comes with the folder, which takes
its name in one step. ``result.json`` says what came of it; the first one that is
written stays. A trial without a result is open: a worker has it, or lost it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from immo_hpc.files import is_disk_full, refuse_output, write_text
from immo_hpc.search.space import Params

State = Literal["complete", "pruned", "failed"]
TRIAL, RESULT = "trial.json", "result.json"
_NAMED = {errno.EEXIST, errno.ENOTEMPTY}
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK}


@dataclass(frozen=True)
class Trial:
    """What is tried.

    Attributes:
        number: Its number; of a training on another seed, that of the trial it repeats.
        params: Its point of the space.
        seed: Seed of the training.
        origin: Who suggested it, in words.
        retry_of: Number of the lost trial it replaces.
        created: Seconds since 1970, for people.
    """

    number: int
    params: Params
    seed: int
    origin: str
    retry_of: int | None = None
    created: float = 0.0


@dataclass(frozen=True)
class Result:
    """What came of a trial.

    Attributes:
        state: 'complete', 'pruned' (ended early) or 'failed'.
        values: One an objective; None unless complete.
        reason: Why it was pruned or failed.
        intermediate: Held-out error after epochs of the first fold: (epoch, error).
        detail: What else was measured, by name.
        seconds: Time it took, all attempts.
        attempts: How often it was taken up.
        worker: Who finished it.
        retry: Its point is to be tried once more, as a new trial.
        finished: Seconds since 1970, for people.
    """

    state: State
    values: tuple[float, ...] | None = None
    reason: str = ""
    intermediate: tuple[tuple[int, float], ...] = ()
    detail: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    attempts: int = 1
    worker: str = ""
    retry: bool = False
    finished: float = 0.0


@dataclass
class Ledger:
    """What is known of the trials in one folder; `sync` reads what is new.

    Attributes:
        path: Folder of trial folders.
        trials: Trials by the name of their folder.
        results: Results of those that are finished.
    """

    path: Path
    trials: dict[str, Trial] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)

    def sync(self) -> None:
        """Read what was added since the last time; what is damaged is left out.

        A folder without a readable trial keeps its name, and so its number.
        """
        for name in _names(self.path):
            if name not in self.trials:
                trial = _read_trial(self.path / name / TRIAL, name)
                self.trials[name] = trial
            if name not in self.results:
                result = _read_result(self.path / name / RESULT)
                if result is not None:
                    self.results[name] = result

    @property
    def open(self) -> list[str]:
        """Names of the trials without a result, oldest first."""
        return sorted(name for name in self.trials if name not in self.results)

    @property
    def next_number(self) -> int:
        """Number of the next trial."""
        return 1 + max((trial.number for trial in self.trials.values()), default=-1)

    def finished(self, *states: State) -> Iterator[tuple[Trial, Result]]:
        """Trials that ended in one of these states (any, if none is named), by number."""
        for name in sorted(self.results):
            result = self.results[name]
            if not states or result.state in states:
                yield self.trials[name], result


def trial_name(number: int) -> str:
    """Name of a trial's folder; names sort by number.

    Example:
        >>> trial_name(17)
        '00017'
    """
    return f"{number:05d}"


def add_trial(folder: Path, name: str, trial: Trial) -> bool:
    """Make a trial's folder, whole or not at all; False if the name is taken.

    Raises:
        OutputError: If the folder cannot be written.
    """
    temporary = folder / f".{secrets.token_hex(6)}.{name}"
    try:
        temporary.mkdir()
        write_text(temporary / TRIAL, json.dumps(asdict(trial)) + "\n")
        temporary.rename(folder / name)
    except OSError as error:
        if error.errno in _NAMED:
            return False
        refuse_output(folder / name, error)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return True


def add_result(folder: Path, result: Result) -> bool:
    """Write a trial's result unless it has one; False if it had.

    Raises:
        OutputError: If the folder cannot be written.
    """
    place = folder / RESULT
    temporary = folder / f".{secrets.token_hex(6)}.{RESULT}"
    text = json.dumps(asdict(result), allow_nan=False) + "\n"
    try:
        write_text(temporary, text)
        if place.exists() and _read_result(place) is None:
            place.unlink(missing_ok=True)  # Cut short by a crash of the machine.
        return _name_once(temporary, place)
    except OSError as error:
        refuse_output(place, error)
    finally:
        temporary.unlink(missing_ok=True)


def _name_once(temporary: Path, place: Path) -> bool:
    try:
        os.link(temporary, place)
    except FileExistsError:
        return False
    except OSError as error:
        if error.errno not in _NO_LINKS or is_disk_full(error):
            raise
        if place.exists():
            return False
        temporary.replace(place)
    return True


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".")]
    except OSError:
        return []
    return sorted(name for name in names if name[:1].isdigit())


def _read_trial(path: Path, name: str) -> Trial:
    try:
        return Trial(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        number = int(name.split("-")[0])
        return Trial(number, {}, 0, "damaged", created=time.time())


def _read_result(path: Path) -> Result | None:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        seen = values["values"]
        steps = tuple((int(step), float(value)) for step, value in values["intermediate"])
        values |= {"values": None if seen is None else tuple(seen), "intermediate": steps}
        return Result(**values)
    except (OSError, ValueError, TypeError, LookupError):
        return None
