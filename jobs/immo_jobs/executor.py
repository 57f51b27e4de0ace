"""What every way of running workers can do, and which one a profile names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from immo_jobs.folder import JobFolder, Submission
from immo_jobs.profile import Profile


@dataclass(frozen=True)
class Seen:
    """What an executor says of a worker.

    Attributes:
        phase: ``waiting``, ``working``, ``held`` if it waits for a person, ``gone``, or
            ``unknown`` if it cannot tell from here.
        word: More of it, such as Slurm's state; may be empty.
    """

    phase: str
    word: str = ""


class Executor(Protocol):
    """Brings workers to where they run. Files tell the rest."""

    def check(self, profile: Profile) -> tuple[str, ...]:
        """Make sure that it works here.

        Returns:
            What the user should know, as sentences.

        Raises:
            ImmoError: If it does not.
        """
        ...

    def preview(self, job: JobFolder, names: Sequence[str], profile: Profile) -> str:
        """What would be started, as text; nothing is touched."""
        ...

    def submit(self, job: JobFolder, names: Sequence[str]) -> None:
        """Start workers for these tasks and note them in the job folder, one by one.

        Raises:
            SubmissionError: If that is refused; what was noted before is under way.
        """
        ...

    def look(self, submissions: Sequence[Submission]) -> Mapping[str, Seen]:
        """How the workers of these submissions stand, by their id."""
        ...

    def cancel(self, workers: Sequence[str]) -> None:
        """Stop these workers, whatever they do."""
        ...

    def withdraw(self, workers: Sequence[str]) -> None:
        """Take back those of these workers that wait; the others see the job's mark."""
        ...


def executor_of(name: str) -> Executor:
    """The executor of a profile or a submission, by its name."""
    if name == "slurm":
        from immo_jobs.slurm import SlurmWorkers

        return SlurmWorkers()
    if name == "local":
        from immo_jobs.local import LocalWorkers

        return LocalWorkers()
    from immo_jobs.inprocess import InProcessWorkers

    return InProcessWorkers()
