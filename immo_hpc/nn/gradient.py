"""The network's gradient, written out.

In training at this size (docs/notes/train-speed.md) a tenth of a step is autograd's
bookkeeping and its adding of gradients to zeros. Here a forward pass keeps what the backward
pass needs, and the backward pass writes each parameter's gradient where it belongs. It is
the gradient of `ImmoModel.forward`, which a test holds it to.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from immo_hpc.nn.blocks import BlockTape, DenseBlock, DenseBlocks
from immo_hpc.nn.model import ImmoModel


class GradientPass:
    """One forward pass after the other, each followed by its backward pass.

    Args:
        model: The network, in training mode; every parameter has a gradient tensor, which a
            backward pass overwrites.
    """

    def __init__(self, model: ImmoModel) -> None:
        self._model = model

    def __call__(
        self,
        batch: Mapping[str, tuple[Tensor, Tensor]],
        size: int,
        rows: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """As `ImmoModel.forward`, without a graph."""
        model = self._model
        with torch.no_grad():
            latent = model.latent_bias.repeat(size, 1)
            self._encoders: dict[int, tuple[Tensor, Tensor, list[BlockTape]]] = {}
            for name, (values, places) in batch.items():
                if len(places):
                    layer = model.place[name]
                    code, tapes = _forward(model.encoders[layer], values)
                    latent.index_add_(0, places, F.linear(code, model.fusion[layer]))
                    self._encoders[layer] = places, code, tapes
            hidden, self._decoder = _forward(model.decoder, latent)
            self._hidden_shape = hidden.shape
            self._outputs = {
                model.place[name]: (places, hidden.index_select(0, places))
                for name, places in rows.items()
            }
            return {
                name: F.linear(shown, model.output_weights[layer], model.output_biases[layer])
                for name, (layer, (_, shown)) in zip(rows, self._outputs.items(), strict=True)
            }

    @torch.no_grad()
    def backward(self, gradients: Mapping[str, Tensor]) -> None:
        """Set every parameter's gradient.

        Args:
            gradients: Gradient of the loss by each result of the last forward pass,
                ``(row, feature)``, by layer. Parameters that took no part get 0.
        """
        model = self._model
        by_hidden = next(iter(gradients.values())).new_zeros(self._hidden_shape)
        for name, gradient in gradients.items():
            layer = model.place[name]
            places, shown = self._outputs[layer]
            weight = model.output_weights[layer]
            _set_linear(weight, model.output_biases[layer], gradient, shown)
            by_hidden.index_add_(0, places, gradient @ weight)
        by_latent = _backward(model.decoder, self._decoder, by_hidden)
        torch.sum(by_latent, 0, out=model.latent_bias.grad)
        for layer, (places, code, tapes) in self._encoders.items():
            weight = model.fusion[layer]
            by_part = by_latent.index_select(0, places)
            torch.mm(by_part.t(), code, out=weight.grad)
            _backward(model.encoders[layer], tapes, by_part @ weight, to_input=False)
        self._clear_others(gradients)

    def _clear_others(self, gradients: Mapping[str, Tensor]) -> None:
        model = self._model
        for name, layer in model.place.items():
            if layer not in self._encoders:
                _clear(model.fusion[layer], *model.encoders[layer].parameters())
            if name not in gradients:
                _clear(model.output_weights[layer], model.output_biases[layer])


def _forward(blocks: nn.Module, h: Tensor) -> tuple[Tensor, list[BlockTape]]:
    assert isinstance(blocks, DenseBlocks)
    tapes = []
    for block in blocks.blocks:
        assert isinstance(block, DenseBlock)
        h, tape = block.taped(h)
        tapes.append(tape)
    return h, tapes


def _backward(
    blocks: nn.Module, tapes: list[BlockTape], gradient: Tensor, *, to_input: bool = True
) -> Tensor:
    """Gradient by the input of the first block; without ``to_input`` by its linear map."""
    assert isinstance(blocks, DenseBlocks)
    for number in reversed(range(len(tapes))):
        block, tape = blocks.blocks[number], tapes[number]
        assert isinstance(block, DenseBlock)
        if tape.dropped is not None:
            gradient = gradient * tape.dropped
        gradient, by_scale, by_shift = torch.ops.aten.native_batch_norm_backward(
            gradient,
            tape.swished,
            block.scale,
            block.running_mean,
            block.running_var,
            tape.mean,
            tape.inverse_sd,
            tape.own_statistics,
            block.epsilon,
            [True, True, True],
        )
        _of(block.scale).copy_(by_scale)
        _of(block.shift).copy_(by_shift)
        gradient = torch.ops.aten.silu_backward(gradient, tape.linear)
        _set_linear(block.weight, block.bias, gradient, tape.h)
        if number > 0 or to_input:
            gradient = gradient @ block.weight
    return gradient


def _set_linear(weight: nn.Parameter, bias: nn.Parameter, gradient: Tensor, h: Tensor) -> None:
    torch.mm(gradient.t(), h, out=_of(weight))
    torch.sum(gradient, 0, out=_of(bias))


def _clear(*parameters: nn.Parameter) -> None:
    for parameter in parameters:
        _of(parameter).zero_()


def _of(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
