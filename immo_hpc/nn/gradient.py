"""The network's gradient, written out.

In training at this size (docs/notes/train-speed.md) a tenth of a step is autograd's
bookkeeping and its adding of gradients to zeros. Here a forward pass keeps what the backward
pass needs, and the backward pass writes each parameter's gradient where it belongs. It is
the gradient of `ImmoModel.forward`, which a test holds it to.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from immo_hpc.nn.blocks import BlockTape, DenseBlocks
from immo_hpc.nn.model import ImmoModel
from immo_hpc.nn.wide import LastLayer, MaskedRows, gradient_of, is_wide, set_linear
from immo_kernels import LinearGradients

# Key of the decoder among the stacks; an encoder's is the place of its layer.
DECODER = -1


class Stacks(Protocol):
    """How stacks of dense blocks are passed, forward and then backward, by key."""

    def forward(
        self, inputs: Mapping[int, tuple[DenseBlocks, Tensor | MaskedRows]]
    ) -> dict[int, tuple[Tensor, list[BlockTape]]]:
        """Output and tapes of each stack that has rows to work on; others are left out."""

    def backward(
        self,
        stacks: Mapping[int, tuple[DenseBlocks, list[BlockTape], Tensor]],
        *,
        to_input: bool = True,
    ) -> dict[int, Tensor]:
        """Set the parameters' gradients, given that by each output.

        Returns:
            Gradient by the input of each stack; without ``to_input`` by its first linear map.
        """


class GradientPass:
    """One forward pass after the other, each followed by its backward pass.

    Args:
        model: The network, in training mode; every parameter has a gradient tensor, which a
            backward pass overwrites.
        stacks: How its dense blocks are passed; None: within this process.
        is_wide: Whether a layer of so many rows and features is worked on in feature blocks:
            a reconstruction is then a `LastLayer`, and an input may be `MaskedRows`.

    Attributes:
        is_wide: As given.
    """

    def __init__(
        self,
        model: ImmoModel,
        stacks: Stacks | None = None,
        is_wide: Callable[[int, int], bool] = is_wide,
    ) -> None:
        self._model, self.is_wide = model, is_wide
        self._stacks: Stacks = OwnStacks() if stacks is None else stacks

    def __call__(
        self,
        batch: Mapping[str, tuple[Tensor | MaskedRows, Tensor]],
        size: int,
        rows: Mapping[str, Tensor],
    ) -> dict[str, Tensor | LastLayer]:
        """As `ImmoModel.forward`, without a graph; wide layers are not reconstructed."""
        model = self._model
        with torch.no_grad():
            latent = model.latent_bias.repeat(size, 1)
            rows_of = {model.place[name]: places for name, (_, places) in batch.items()}
            encoded = self._stacks.forward(
                {model.place[name]: (self._encoder(name), h) for name, (h, _) in batch.items()}
            )
            self._encoders = {layer: (rows_of[layer], *encoded[layer]) for layer in encoded}
            for layer, (places, code, _) in self._encoders.items():
                latent.index_add_(0, places, F.linear(code, model.fusion[layer]))
            decoded = self._stacks.forward({DECODER: (model.decoder, latent)})
            hidden, self._decoder = decoded[DECODER]
            self._hidden_shape = hidden.shape
            self._outputs = {
                model.place[name]: (places, hidden.index_select(0, places))
                for name, places in rows.items()
            }
            return {
                name: self._output(name, layer, shown)
                for name, (layer, (_, shown)) in zip(rows, self._outputs.items(), strict=True)
            }

    def _output(self, name: str, layer: int, shown: Tensor) -> Tensor | LastLayer:
        weight = self._model.output_weights[layer]
        bias = self._model.output_biases[layer]
        if self.is_wide(len(shown), self._model.features[name]):
            return LastLayer(shown, weight, bias)
        return F.linear(shown, weight, bias)

    @torch.no_grad()
    def backward(self, gradients: Mapping[str, Tensor | LinearGradients]) -> None:
        """Set every parameter's gradient.

        Args:
            gradients: Gradient of the loss by each result of the last forward pass,
                ``(row, feature)``, by layer; of a `LastLayer` those by its parts, of which
                those of its parameters are set already. Parameters that took no part get 0.
        """
        model = self._model
        by_hidden = model.latent_bias.new_zeros(self._hidden_shape)
        for name, gradient in gradients.items():
            layer = model.place[name]
            places, shown = self._outputs[layer]
            if isinstance(gradient, LinearGradients):
                by_hidden.index_add_(0, places, gradient.by_h)
                continue
            weight = model.output_weights[layer]
            set_linear(weight, model.output_biases[layer], gradient, shown)
            by_hidden.index_add_(0, places, gradient @ weight)
        decoder = {DECODER: (model.decoder, self._decoder, by_hidden)}
        by_latent = self._stacks.backward(decoder)[DECODER]
        torch.sum(by_latent, 0, out=model.latent_bias.grad)
        encoders = {}
        for name, layer in model.place.items():
            if layer not in self._encoders:
                continue
            places, code, tapes = self._encoders[layer]
            weight = model.fusion[layer]
            by_part = by_latent.index_select(0, places)
            torch.mm(by_part.t(), code, out=weight.grad)
            encoders[layer] = self._encoder(name), tapes, by_part @ weight
        self._stacks.backward(encoders, to_input=False)
        self._clear_others(gradients)

    def _encoder(self, name: str) -> DenseBlocks:
        encoder = self._model.encoders[self._model.place[name]]
        assert isinstance(encoder, DenseBlocks)
        return encoder

    def _clear_others(self, gradients: Mapping[str, Tensor | LinearGradients]) -> None:
        model = self._model
        for name, layer in model.place.items():
            if layer not in self._encoders:
                _clear(model.fusion[layer], *model.encoders[layer].parameters())
            if name not in gradients:
                _clear(model.output_weights[layer], model.output_biases[layer])


class OwnStacks:
    """Stacks passed one by one, with the statistics of the rows that are here."""

    def forward(
        self, inputs: Mapping[int, tuple[DenseBlocks, Tensor | MaskedRows]]
    ) -> dict[int, tuple[Tensor, list[BlockTape]]]:
        """See `Stacks`."""
        results = {}
        for key, (blocks, h) in inputs.items():
            if len(h):
                tapes = []
                for block in blocks:
                    out, tape = block.taped(h)
                    h = out
                    tapes.append(tape)
                results[key] = out, tapes
        return results

    def backward(
        self,
        stacks: Mapping[int, tuple[DenseBlocks, list[BlockTape], Tensor]],
        *,
        to_input: bool = True,
    ) -> dict[int, Tensor]:
        """See `Stacks`."""
        return {
            key: _backward(blocks, tapes, gradient, to_input=to_input)
            for key, (blocks, tapes, gradient) in stacks.items()
        }


def _backward(
    blocks: DenseBlocks, tapes: list[BlockTape], gradient: Tensor, *, to_input: bool
) -> Tensor:
    for number, (block, tape) in reversed(list(enumerate(zip(blocks, tapes, strict=True)))):
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
        gradient_of(block.scale).copy_(by_scale)
        gradient_of(block.shift).copy_(by_shift)
        gradient = torch.ops.aten.silu_backward(gradient, tape.linear)
        set_linear(block.weight, block.bias, gradient, tape.h)
        if number > 0 or to_input:
            gradient = gradient @ block.weight
    return gradient


def _clear(*parameters: nn.Parameter) -> None:
    for parameter in parameters:
        gradient_of(parameter).zero_()
