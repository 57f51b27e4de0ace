"""The preparation of one layer: filters, the transform of its kind, z-scores.

Legend of shapes: ``row`` counts samples that have the layer, ``feature`` its kept features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import LayerKind
from immo_hpc.data.blocks import row_blocks
from immo_hpc.data.cohort import Layer
from immo_hpc.data.preparation.composition import Composition
from immo_hpc.data.preparation.counts import Counts
from immo_hpc.data.preparation.extended import Extended, num_deciding
from immo_hpc.data.preparation.intensity import Intensity
from immo_hpc.data.preparation.plain import Plain
from immo_hpc.data.preparation.rows import BLOCK_BYTES
from immo_hpc.data.preparation.transform import Transform, decode, encode
from immo_hpc.data.prepared import PreparedLayer

_TRANSFORMS: dict[LayerKind, type[Transform]] = {
    "composition": Composition,
    "counts": Counts,
    "intensity": Intensity,
    "continuous": Plain,
    "binary": Plain,
}
# Values of one block of rows: bounds the float64 copies made on the way (8 MiB each).
_BLOCK_VALUES = 2**20


@dataclass(frozen=True, eq=False)
class LayerPreparation:
    """How one layer is prepared, and how its values get back to original units.

    Attributes:
        name: Name of the layer.
        kind: Kind of the layer in the training cohort.
        features: Kept features in order, ``(feature,)``.
        dropped: Features removed at fitting, by the filter that removed them:
            ``exclude``, ``min_measured``, ``min_prevalence``, ``min_sd``.
        mean: Mean of the transformed training values, ``(feature,)``, float64.
        sd: Their standard deviation (divisor n), ``(feature,)``, float64, above 0.
        transform: The transform of the kind with its parameters.
        num_rows: Training rows that the layer was fitted on.
    """

    name: str
    kind: LayerKind
    features: tuple[str, ...]
    dropped: Mapping[str, tuple[str, ...]]
    mean: NDArray[np.float64]
    sd: NDArray[np.float64]
    transform: Transform
    num_rows: int

    @property
    def median_scale(self) -> float:
        """Median scale of the training rows, original units (`Transform`)."""
        return self.transform.median_scale

    @property
    def dropped_counts(self) -> dict[str, int]:
        """Number of features that each filter removed."""
        return {name: len(features) for name, features in self.dropped.items()}

    def apply(self, layer: Layer) -> PreparedLayer:
        """Prepare a layer; features are matched by name, and those it lacks become NaN.

        Rows without any measured kept feature are left out: the layer counts as not
        measured there.
        """
        columns = self._columns(layer)
        held = self.measured_rows(layer)
        z = np.empty((held.size, columns.size), dtype=np.float32)
        scale = np.empty(held.size, dtype=np.float32)
        filled = 0
        for _, values in row_blocks(layer.values, held, block_bytes=BLOCK_BYTES):
            block = slice(filled, filled + len(values))
            # Taken, not indexed: rows lie one after the other, so that a row is summed alike
            # in every company.
            chosen = np.where(columns >= 0, np.take(values, columns, axis=1), np.nan)
            transformed, scale[block] = self.transform.forward(chosen.astype(np.float64))
            z[block] = (transformed - self.mean) / self.sd
            filled = block.stop
        return PreparedLayer(self.name, self.features, z, layer.rows[held], scale)

    def measured_rows(self, layer: Layer) -> NDArray[np.int64]:
        """Rows of a layer that `apply` does not leave out, ``(row,)``, increasing."""
        columns = self._columns(layer)
        deciding = columns[: num_deciding(self.transform, len(columns))]
        return _measured_rows(layer, deciding[deciding >= 0])

    def invert(
        self, z: NDArray[np.floating[Any]], scale: NDArray[np.floating[Any]] | None = None
    ) -> NDArray[np.float64]:
        """Bring z-scores back to original units.

        Args:
            z: ``(row, feature)``, z-score units, NaN = missing.
            scale: Scale of each row, ``(row,)``, as `apply` gave it; None: the training
                median for every row.

        Returns:
            ``(row, feature)``, float64, original units, NaN where ``z`` is.

        Raises:
            ValueError: If the shapes do not fit the layer.
        """
        rows = np.full(len(z), self.median_scale) if scale is None else np.asarray(scale)
        if z.ndim != 2 or z.shape[1] != len(self.features) or rows.shape != z.shape[:1]:
            message = (
                f"layer '{self.name}': z must be (row, {len(self.features)}) and scale (row,); "
                f"got z {z.shape}, scale {rows.shape}."
            )
            raise ValueError(message)
        result = np.empty(z.shape)
        for block in _blocks(*z.shape):
            transformed = z[block].astype(np.float64) * self.sd + self.mean
            result[block] = self.transform.inverse(transformed, rows[block].astype(np.float64))
        return result

    def _columns(self, layer: Layer) -> NDArray[np.int64]:
        """Place of each kept feature in a layer, ``(feature,)``, -1 = not there."""
        place = {name: column for column, name in enumerate(layer.features)}
        return np.array([place.get(name, -1) for name in self.features], dtype=np.int64)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; floats keep every bit."""
        return {
            "name": self.name,
            "kind": self.kind,
            "num_rows": self.num_rows,
            "features": list(self.features),
            "dropped": {name: list(features) for name, features in self.dropped.items()},
            "mean": encode(self.mean),
            "sd": encode(self.sd),
            "transform": self.transform.to_dict(),
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The layer that `to_dict` described."""
        kind = cast(LayerKind, content["kind"])
        return cls(
            name=content["name"],
            kind=kind,
            features=tuple(content["features"]),
            dropped={name: tuple(features) for name, features in content["dropped"].items()},
            mean=np.asarray(decode(content["mean"])),
            sd=np.asarray(decode(content["sd"])),
            transform=_read_transform(content["transform"], _TRANSFORMS[kind]),
            num_rows=content["num_rows"],
        )


def _read_transform(content: Mapping[str, Any], kind: type[Transform]) -> Transform:
    return Extended.read(content, kind) if "base" in content else kind.from_dict(content)


def _blocks(num_rows: int, num_features: int) -> Iterator[slice]:
    step = max(1, _BLOCK_VALUES // num_features)
    return (slice(start, start + step) for start in range(0, num_rows, step))


def _measured_rows(layer: Layer, columns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Rows of a layer with a value in one of the columns."""
    blocks = row_blocks(layer.values, block_bytes=BLOCK_BYTES)
    held = [
        places[~np.isnan(np.take(values, columns, axis=1)).all(axis=1)] for places, values in blocks
    ]
    return np.concatenate([np.empty(0, dtype=np.int64), *held])
