"""Adam on one flat buffer, with clipping by global norm and exponential decay.

All parameters are views into one buffer and all gradients views into another, so that
the global norm, clipping and Adam are one operation each instead of one a
parameter (docs/notes/train-speed.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from immo_hpc.config import TrainConfig

# Every parameter starts on a cache line: matrix products choose their path, and so their
# last bits, by alignment.
_ALIGNMENT = 16
_BETAS = (0.9, 0.999)
_EPSILON = 1e-8


class FlatParameters:
    """A module's parameters and gradients as two flat buffers.

    The module's parameters become views: what is written to `values` is seen by the
    module, and what is written to the parameters' ``grad`` stands in `gradient`.

    Args:
        module: Its parameters must be float32 on one device.

    Attributes:
        values: All parameters, ``(number,)``, float32; gaps between parameters hold 0.
        gradient: Their gradients, same shape.
    """

    values: Tensor
    gradient: Tensor

    def __init__(self, module: nn.Module) -> None:
        parameters = list(module.parameters())
        sizes = [-(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT for parameter in parameters]
        device = parameters[0].device
        self.values = torch.zeros(sum(sizes), device=device)
        self.gradient = torch.zeros(sum(sizes), device=device)
        pieces = zip(
            parameters,
            torch.split(self.values, sizes),
            torch.split(self.gradient, sizes),
            strict=True,
        )
        for parameter, values, gradient in pieces:
            num, shape = parameter.numel(), parameter.shape
            values[:num].copy_(parameter.detach().view(-1))
            parameter.data = values[:num].view(shape)
            parameter.grad = gradient[:num].view(shape)


class Optimiser:
    """Adam (AdamW with weight decay) with clipping and a learning rate that decays by epoch.

    Weight decay, where it is used, acts on every parameter.

    Args:
        module: The module to train; its parameters become views (`FlatParameters`).
        config: Learning rate, its decay, weight decay and the largest gradient norm.
    """

    def __init__(self, module: nn.Module, config: TrainConfig) -> None:
        self._config = config
        self._flat = FlatParameters(module)
        self._learning_rate = config.learning_rate
        self._state = {
            "step": torch.zeros((), device=self._flat.values.device),
            "exp_avg": torch.zeros_like(self._flat.values),
            "exp_avg_sq": torch.zeros_like(self._flat.values),
        }

    @property
    def gradient(self) -> Tensor:
        """The whole gradient, ``(number,)``, float32, as one buffer."""
        return self._flat.gradient

    def learning_rate(self, epoch: int) -> float:
        """Step size at ``epoch``, counted from 0."""
        return self._config.learning_rate * self._config.lr_decay**epoch

    def start_epoch(self, epoch: int) -> None:
        """Set the learning rate of ``epoch``."""
        self._learning_rate = self.learning_rate(epoch)

    def gradient_norm(self) -> Tensor:
        """Global norm of the gradient, shape ``()``, float32."""
        norm: Tensor = torch.linalg.vector_norm(self._flat.gradient)
        return norm

    def step(self, norm: float) -> None:
        """Clip the gradient, whose global norm is ``norm``, and move the parameters."""
        if norm > self._config.clip_norm:
            self._flat.gradient.mul_(self._config.clip_norm / norm)
        # The functional form spares the bookkeeping of torch.optim.
        adamw(
            [self._flat.values],
            [self._flat.gradient],
            [self._state["exp_avg"]],
            [self._state["exp_avg_sq"]],
            [],
            [self._state["step"]],
            fused=True,
            amsgrad=False,
            beta1=_BETAS[0],
            beta2=_BETAS[1],
            lr=self._learning_rate,
            weight_decay=self._config.weight_decay,
            eps=_EPSILON,
            maximize=False,
        )

    def state(self) -> dict[str, Tensor]:
        """Moments and step count by name; the tensors themselves, not copies."""
        return dict(self._state)

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Put back what `state` gave; names and shapes must agree."""
        for name, tensor in self._state.items():
            tensor.copy_(state[name])
