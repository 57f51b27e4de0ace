"""The IMMO network: an encoder per layer, one shared latent, one shared decoder.

Legend of shapes: ``sample`` counts the samples of a batch, ``row`` those of them that have
a layer, ``feature`` the layer's features, ``code`` the width of an encoder's last block.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from immo_hpc.config import ModelConfig
from immo_hpc.nn.blocks import DenseBlocks, linear_parameters


class Part(NamedTuple):
    """What one layer contributes to a batch.

    Attributes:
        values: One row a sample that has the layer, ``(row, any)``, float32.
        rows: Place of each row in the batch, ``(row,)``, int64, no place twice.
    """

    values: Tensor
    rows: Tensor


class ImmoModel(nn.Module):
    """Autoencoder for samples with any set of layers.

    The latent is one dense layer on the concatenation of the per-layer codes, where the
    code of a layer that is absent counts as 0. It is computed as the bias plus each
    layer's product on the rows that have the layer, so absent layers cost nothing and
    never touch the batch statistics of their encoder. The decoder's last linear map works
    only on the rows asked for.

    Args:
        features: Number of features by layer, in the order of the weights.
        config: Widths and dropout.

    Example:
        >>> import torch
        >>> model = ImmoModel({"mg": 3, "mb": 2}, ModelConfig(latent_dim=4)).eval()
        >>> rows = torch.tensor([0, 2])
        >>> latent = model.encode({"mb": Part(torch.ones(2, 2), rows)}, size=3)
        >>> {name: tuple(x_hat.shape) for name, x_hat in
        ...  model.decode(latent, {"mg": None, "mb": rows}).items()}
        {'mg': (3, 3), 'mb': (2, 2)}
    """

    def __init__(self, features: Mapping[str, int], config: ModelConfig) -> None:
        super().__init__()
        self.features = dict(features)
        self.config = config
        self.place = {name: place for place, name in enumerate(self.features)}
        code = config.encoder_dims[-1]
        # Lists in layer order, since a layer's name may not be a valid module name.
        self.encoders = nn.ModuleList(
            DenseBlocks(num, config.encoder_dims, config.dropout) for num in features.values()
        )
        fusion, self.latent_bias = linear_parameters(len(features) * code, config.latent_dim)
        self.fusion = nn.ParameterList(
            nn.Parameter(part.clone()) for part in torch.split(fusion.detach(), code, dim=1)
        )
        self.decoder = DenseBlocks(config.latent_dim, config.decoder_dims, config.dropout)
        outputs = [linear_parameters(config.decoder_dims[-1], num) for num in features.values()]
        self.output_weights = nn.ParameterList(weight for weight, _ in outputs)
        self.output_biases = nn.ParameterList(bias for _, bias in outputs)

    def forward(
        self,
        batch: Mapping[str, tuple[Tensor, Tensor]],
        size: int,
        rows: Mapping[str, Tensor],
    ) -> dict[str, Tensor]:
        """`encode`, then `decode`."""
        return self.decode(self.encode(batch, size), rows)

    def encode(self, batch: Mapping[str, tuple[Tensor, Tensor]], size: int) -> Tensor:
        """Latent of a batch.

        Args:
            batch: For each layer present, its values ``(row, feature)``, float32, z-score
                units, no NaN (missing = 0), and the rows' places in the batch ``(row,)``.
            size: Number of samples in the batch.

        Returns:
            Latent, ``(sample, latent)``, float32.
        """
        return self.fuse(self.parts(batch).values(), size)

    def parts(self, batch: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Part]:
        """Each layer's summand of the latent, ``(row, latent)``, by layer (see `encode`)."""
        parts = {}
        for name, (values, rows) in batch.items():
            place = self.place[name]
            if len(rows):
                code = self.encoders[place](values)
                parts[name] = Part(F.linear(code, self.fusion[place]), rows)
        return parts

    def fuse(self, parts: Iterable[Part], size: int) -> Tensor:
        """Latent ``(sample, latent)`` of the given summands; the bias alone without any."""
        latent = self.latent_bias.expand(size, -1)
        for part in parts:
            latent = latent.index_add(0, part.rows, part.values)
        return latent

    def decode(self, latent: Tensor, rows: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
        """Reconstruction of the layers asked for.

        Args:
            latent: ``(sample, latent)``, float32.
            rows: For each layer to reconstruct, the samples to reconstruct it for
                ``(row,)``, int64, or None for all.

        Returns:
            ``(row, feature)``, float32, z-score units, by layer.
        """
        hidden = self.decoder(latent)
        x_hat = {}
        for name, chosen in rows.items():
            place = self.place[name]
            h = hidden if chosen is None else hidden.index_select(0, chosen)
            x_hat[name] = F.linear(h, self.output_weights[place], self.output_biases[place])
        return x_hat
