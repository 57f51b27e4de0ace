"""Requests to stop, heard by all processes of a training at the same step."""

from __future__ import annotations

import torch
from torch import Tensor

from immo_hpc.train.distributed import Group
from immo_hpc.train.interrupt import StopRequest

_NAMES = ("SIGUSR2", "SIGTERM", "SIGINT")


class AgreedStop:
    """What any process of a group was asked; alone, what this one was.

    Args:
        own: Requests that reach this process.
        group: The processes.
    """

    def __init__(self, own: StopRequest, group: Group) -> None:
        self._own, self._group = own, group
        self._heard: Tensor | None = None

    @property
    def name(self) -> str | None:
        """The signal that asked for a stop, as far as all processes know; None if none did."""
        if self._group.is_alone:
            return self._own.name
        if self._heard is None:
            return None
        asked = [name for name, number in zip(_NAMES, self._heard.tolist(), strict=True) if number]
        return asked[0] if asked else None

    @property
    def wishes(self) -> list[float]:
        """1 for the signal that reached this process, 0 for others; to be added up by all."""
        return [float(name == self._own.name) for name in _NAMES]

    def hear(self, wishes: Tensor) -> None:
        """Take note of the sum of all processes' wishes."""
        self._heard = wishes

    def agree(self) -> None:
        """Exchange wishes outside of a step; all processes must call it."""
        if not self._group.is_alone:
            self.hear(self._group.all_sum(torch.tensor(self.wishes)))
