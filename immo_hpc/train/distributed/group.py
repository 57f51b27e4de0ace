"""The processes of a training, and the few things they do together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn, TypeVar

import torch
from torch import Tensor

from immo_hpc import errors
from immo_hpc.errors import ImmoError, LostProcess, TrainingError
from immo_hpc.train.distributed.guard import Guard, failure_message

T = TypeVar("T")


@dataclass(frozen=True)
class Group:
    """The processes that train a model together; by default this one alone.

    Everything that exchanges must be called by all of them in the same order. Alone, nothing
    is exchanged and torch's distributed package is not even loaded.

    Attributes:
        rank: Number of this process, from 0.
        world_size: Number of processes.
        local_rank: Number of this process among those of its machine.
        guard: Watches the others; None alone.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    guard: Guard | None = field(default=None, compare=False, repr=False)

    @property
    def is_alone(self) -> bool:
        """True if there is no other process."""
        return self.world_size == 1

    @property
    def is_first(self) -> bool:
        """True for the one process that writes."""
        return self.rank == 0

    def all_sum(self, buffer: Tensor) -> Tensor:
        """Make a flat buffer hold its sum over all processes, the same bits on each."""
        if self.world_size > 1:
            import torch.distributed as dist

            with self._reaching_all():
                dist.all_reduce(buffer)
        return buffer

    def gathered(self, buffer: Tensor) -> Tensor:
        """Flat buffers of one size of all processes, ``(process, number)``, by rank."""
        if self.world_size == 1:
            return buffer.unsqueeze(0)
        import torch.distributed as dist

        table = buffer.new_empty(self.world_size, len(buffer))
        with self._reaching_all():
            dist.all_gather(list(table.unbind()), buffer)
        return table

    def barrier(self) -> None:
        """Wait until all processes are here."""
        self.all_sum(torch.zeros(1))

    def texts(self, text: str) -> list[str]:
        """A text of each process, by rank."""
        data = torch.frombuffer(bytearray(text.encode() or b"\0"), dtype=torch.uint8)
        sizes = self.gathered(torch.tensor([len(text.encode()), len(data)]))
        padded = torch.zeros(int(sizes[:, 1].max()), dtype=torch.uint8)
        padded[: len(data)] = data
        rows = zip(self.gathered(padded), sizes[:, 0].tolist(), strict=True)
        return [bytes(row[:size].tolist()).decode() for row, size in rows]

    def on_first(self, do: Callable[[], str]) -> str:
        """What ``do`` gives on the first process, given to all; its error is raised on all.

        Raises:
            ImmoError: What ``do`` raised, of the same class.
        """
        if self.world_size == 1:
            return do()
        return self._shared(do if self.is_first else lambda: "")[0]

    def on_each(self, do: Callable[[], T]) -> T:
        """What ``do`` gives here; if it fails on one process, all fail.

        Raises:
            ImmoError: What ``do`` raised here, or else on the first process where it failed.
        """
        if self.world_size == 1:
            return do()
        results: list[T] = []

        def note() -> str:
            results.append(do())
            return ""

        self._shared(note)
        return results[0]

    def _shared(self, do: Callable[[], str]) -> list[str]:
        failure: ImmoError | None = None
        try:
            text = "+" + do()
        except ImmoError as error:
            failure, text = error, f"-{type(error).__name__}:{error}"
        answers = self.texts(text)
        if failure is not None:
            raise failure
        for rank, answer in enumerate(answers):
            if answer.startswith("-"):
                name, _, said = answer[1:].partition(":")
                message = f"process {rank} of {self.world_size}: {said}"
                raise getattr(errors, name, TrainingError)(message)
        return [answer[1:] for answer in answers]

    @contextmanager
    def _reaching_all(self) -> Iterator[None]:
        try:
            yield
        except RuntimeError as error:
            self._refuse(error)

    def _refuse(self, error: RuntimeError) -> NoReturn:
        told = None if self.guard is None else self.guard.wait_told()
        if told is not None:
            message = failure_message(told, self.world_size)
            raise (LostProcess if told.is_resumable else TrainingError)(message) from error
        message = (
            f"process {self.rank} of {self.world_size} cannot reach another one, which has ended "
            f"or was killed ({first_line(error)}). The training can be gone on with from its last "
            "checkpoint (--resume), on any number of processes."
        )
        raise LostProcess(message) from error


def first_line(error: Exception) -> str:
    """The first line of what torch says, without the place in its source."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return re.sub(r"^\[\S+:\d+\] ", "", line).partition(". ")[0][:160]


ALONE = Group()
