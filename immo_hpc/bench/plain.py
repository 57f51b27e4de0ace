"""A plain PyTorch loop of the same model, as a competent user would write it.

The measure for `immo_hpc.bench.train`: a padded rectangle with absent layers as zeros, a
DataLoader over a TensorDataset, torch's modules, ``torch.rand`` masks, Adam with its
defaults. It shares nothing with the package but the configuration.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from immo_hpc.config import ImmoConfig
from immo_hpc.data.prepared import PreparedCohort


class PlainModel(nn.Module):
    """The network of `immo_hpc.nn.ImmoModel` out of torch's modules.

    Args:
        features: Number of features of each layer.
        config: The configuration; widths and dropout are used.
    """

    def __init__(self, features: list[int], config: ImmoConfig) -> None:
        super().__init__()
        shape = config.model
        self.features = features
        self.encoders = nn.ModuleList(
            _blocks(num, shape.encoder_dims, shape.dropout) for num in features
        )
        self.fusion = nn.Linear(len(features) * shape.encoder_dims[-1], shape.latent_dim)
        self.decoder = _blocks(shape.latent_dim, shape.decoder_dims, shape.dropout)
        self.output = nn.Linear(shape.decoder_dims[-1], sum(features))

    def forward(self, x: Tensor) -> Tensor:
        """Reconstruct ``(sample, feature)``, float32, from the same with zeros for NaN."""
        parts = x.split(self.features, dim=1)  # type: ignore[no-untyped-call]  # torch's own
        codes = [encoder(part) for encoder, part in zip(self.encoders, parts, strict=True)]
        x_hat: Tensor = self.output(self.decoder(self.fusion(torch.cat(codes, dim=1))))
        return x_hat


def train_plain(cohort: PreparedCohort, config: ImmoConfig, device: torch.device) -> PlainModel:
    """Train on all samples of ``cohort`` for ``config.train.epochs`` epochs."""
    x = torch.from_numpy(cohort.wide())
    features = [len(layer.features) for layer in cohort.layers.values()]
    has_layer = torch.from_numpy(cohort.measured())
    data = TensorDataset(x.nan_to_num(0.0), (~x.isnan()).float(), has_layer)
    batch_size = config.train.batch_size
    # Batch normalisation refuses a batch of one.
    is_last_single = len(data) % batch_size == 1
    loader = DataLoader(data, batch_size, shuffle=True, drop_last=is_last_single)
    model = PlainModel(features, config).to(device)
    optimiser = torch.optim.Adam(model.parameters(), lr=config.train.learning_rate)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimiser, config.train.lr_decay)
    weights = list(config.loss.layer_weights(list(cohort.layers)).values())
    for epoch in range(config.train.epochs):
        keep = config.mask.values.at(epoch)
        keep_layers = config.mask.layers.at(epoch)
        for batch in loader:
            values, observed, present = (tensor.to(device) for tensor in batch)
            shown = (torch.rand_like(values) < keep).float()
            if keep_layers < 1:
                shown = shown * _shown_layers(present, keep_layers, features)
            x_hat = model(values * shown)
            loss = _masked_mse(x_hat, values, observed, features, weights)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]  # torch's own lack of types
            nn.utils.clip_grad_norm_(model.parameters(), config.train.clip_norm)
            optimiser.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def reconstruct_plain(model: PlainModel, cohort: PreparedCohort) -> np.ndarray:
    """Reconstruction of all samples, ``(sample, feature)``, float32."""
    x = torch.from_numpy(cohort.wide()).nan_to_num(0.0)
    x_hat: np.ndarray = model(x.to(next(model.parameters()).device)).cpu().numpy()
    return x_hat


def _blocks(num_in: int, dims: tuple[int, ...], dropout: float) -> nn.Sequential:
    modules: list[nn.Module] = []
    for dim in dims:
        modules += [nn.Linear(num_in, dim), nn.SiLU(), nn.BatchNorm1d(dim), nn.Dropout(dropout)]
        num_in = dim
    return nn.Sequential(*modules)


def _shown_layers(present: Tensor, keep: float, features: list[int]) -> Tensor:
    """Whole layers to show, ``(sample, feature)``: the best draw if none would stay."""
    draw = torch.rand(present.shape, device=present.device) * present
    shown = present & (draw > 1 - keep)
    last = nn.functional.one_hot(draw.argmax(1), present.shape[1]).bool()
    shown = torch.where(shown.any(1, keepdim=True), shown, last)
    return shown.float().repeat_interleave(torch.tensor(features, device=shown.device), dim=1)


def _masked_mse(
    x_hat: Tensor, x: Tensor, observed: Tensor, features: list[int], weights: list[float]
) -> Tensor:
    squared = (x_hat - x).square() * observed
    sums = squared.split(features, dim=1)  # type: ignore[no-untyped-call]  # torch's own
    counts = observed.split(features, dim=1)  # type: ignore[no-untyped-call]  # torch's own
    terms = [
        weight * total.sum() / count.sum().clamp(min=1)
        for weight, total, count in zip(weights, sums, counts, strict=True)
    ]
    return torch.stack(terms).sum()
