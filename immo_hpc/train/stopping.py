"""Early stopping on the held-out error."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass
class EarlyStopping:
    """Keeps the best weights and says when training has stopped getting better.

    Attributes:
        patience: Epochs without a better error before stopping.
        min_delta: Relative fall of the error that counts as better.
        best: Lowest error that counted as better so far.
        best_epoch: Epoch of `best`, counted from 0; -1 before the first.
        weights: Copy of the model's parameters and buffers at `best_epoch`.
    """

    patience: int
    min_delta: float
    best: float = math.inf
    best_epoch: int = -1
    weights: dict[str, Tensor] | None = None

    def update(self, error: float, epoch: int, model: nn.Module) -> bool:
        """Take note of the error after ``epoch``; True if it is the best so far."""
        is_better = self.best_epoch < 0 or error < self.best * (1 - self.min_delta)
        if is_better:
            self.best, self.best_epoch = error, epoch
            self.weights = self._copy(model)
        return is_better

    def is_over(self, epoch: int) -> bool:
        """True once ``epoch`` is ``patience`` or more epochs past the best one."""
        return epoch - max(self.best_epoch, 0) >= self.patience

    def _copy(self, model: nn.Module) -> dict[str, Tensor]:
        with torch.no_grad():
            now = model.state_dict()
            if self.weights is None:
                return {name: tensor.clone() for name, tensor in now.items()}
            return {name: self.weights[name].copy_(tensor) for name, tensor in now.items()}
