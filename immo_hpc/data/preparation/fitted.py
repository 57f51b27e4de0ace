"""The preparation of a whole cohort: fitted once, saved, applied to any samples."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.preparation.extended import Extended
from immo_hpc.data.preparation.filters import check_domain
from immo_hpc.data.preparation.fit import fit_layer
from immo_hpc.data.preparation.layer import LayerPreparation
from immo_hpc.data.preparation.rows import Reduction, in_memory
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.errors import ConfigError

FORMAT_VERSION = 1
# Of a preparation with a layer that features joined: older programs would misread it.
_EXTENDED_VERSION = 2


@dataclass(frozen=True, eq=False)
class Preparation:
    """How every layer of a cohort becomes z-scores, and how values get back.

    Attributes:
        layers: Preparation by layer name, in the order of the training cohort.
    """

    layers: Mapping[str, LayerPreparation]

    def apply(self, cohort: Cohort, *, split: NDArray[np.str_] | None = None) -> PreparedCohort:
        """Prepare samples, new or old, with whatever layers and features they have.

        Layers and features are matched by name. Unknown ones are ignored, missing ones count
        as not measured; `match_features` tells which. Each sample's values depend on that
        sample alone.

        Args:
            cohort: Samples in original units.
            split: Side of each sample, ``(sample,)``, to keep with them.

        Returns:
            The same samples; every layer of the preparation, with no rows if absent. Of the
            sample table, the columns that have a role.

        Raises:
            CohortError: If a layer holds values that its kind does not allow.
        """
        layers = {}
        for name, preparation in self.layers.items():
            if name in cohort.layers:
                check_domain(cohort.layers[name], preparation.kind, cohort.sample_ids)
                layers[name] = preparation.apply(cohort.layers[name])
        return self.outline(cohort, split=split, layers=layers)

    def outline(
        self,
        cohort: Cohort,
        *,
        split: NDArray[np.str_] | None = None,
        layers: Mapping[str, PreparedLayer] | None = None,
    ) -> PreparedCohort:
        """What `apply` gives, with the prepared ``layers``; no rows in those not given."""
        given = layers or {}
        complete = {
            name: given.get(name, _absent(preparation)) for name, preparation in self.layers.items()
        }
        samples = cohort.samples[list(cohort.roles.columns)]
        return PreparedCohort(samples, complete, cohort.roles, split)

    def match_features(self, cohort: Cohort) -> tuple[str, ...]:
        """What `apply` ignores in a cohort or treats as not measured, as sentences.

        Features that the filters removed at fitting are known and not told again.
        """
        notices = [
            f"layer '{name}' is not one of the model's ({_some(self.layers)}): ignored."
            for name in cohort.layers
            if name not in self.layers
        ]
        for name, preparation in self.layers.items():
            if name in cohort.layers:
                notices += _compare(preparation, cohort.layers[name])
            else:
                notices.append(f"layer '{name}' is absent: not measured in any sample.")
        return tuple(notices)

    def invert(
        self,
        layer: str,
        z: NDArray[np.floating[Any]],
        scale: NDArray[np.floating[Any]] | None = None,
    ) -> NDArray[np.float64]:
        """Original units of z-scores ``(row, feature)`` of a layer; see `LayerPreparation`."""
        return self.layers[layer].invert(z, scale)

    def to_dict(self) -> dict[str, Any]:
        """JSON values; floats keep every bit."""
        is_extended = any(isinstance(entry.transform, Extended) for entry in self.layers.values())
        return {
            "format": "immo-preparation",
            "version": _EXTENDED_VERSION if is_extended else FORMAT_VERSION,
            "layers": [layer.to_dict() for layer in self.layers.values()],
        }

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """The preparation that `to_dict` described.

        Raises:
            ConfigError: For another format or version, or missing entries.
        """
        found = (content.get("format"), content.get("version"))
        versions = (FORMAT_VERSION, _EXTENDED_VERSION)
        if found[0] != "immo-preparation" or found[1] not in versions:
            message = (
                f"preparation: format {found[0]!r}, version {found[1]!r} was found; this "
                "version of immo-hpc reads 'immo-preparation', versions 1 and 2. Run "
                "'immo prepare' again, or use the version of immo-hpc that wrote it."
            )
            raise ConfigError(message)
        try:
            layers = [LayerPreparation.from_dict(entry) for entry in content["layers"]]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            message = (
                f"preparation: damaged, an entry is missing or wrong ({error!r}). Run "
                "'immo prepare' again, or restore the file."
            )
            raise ConfigError(message) from error
        return cls({layer.name: layer for layer in layers})


def fit_preparation(
    cohort: Cohort,
    train: NDArray[np.int64],
    config: PreparationConfig,
    *,
    reduction: Reduction = in_memory,
) -> Preparation:
    """Fit the preparation of every layer on training samples only.

    The layers may be larger than memory; what is fitted is the same to the last bit in
    memory and from disk, with any reduction.

    Args:
        cohort: Samples in original units; those outside ``train`` are not looked at.
        train: Places of the training samples, ``(train sample,)``, in any order.
        config: Filters and options.
        reduction: Who computes the statistics of chunks of rows (`in_folder`).

    Raises:
        CohortError: If a training sample holds a value that its layer's kind does not allow,
            or a layer has no training sample or no feature left (`fit_layer`).
    """
    is_train = np.zeros(len(cohort.samples), dtype=np.bool_)
    is_train[train] = True
    layers = {}
    for number, layer in enumerate(cohort.layers.values()):
        layers[layer.name] = fit_layer(
            layer,
            np.flatnonzero(is_train[layer.rows]),
            cohort.sample_ids,
            config,
            reduction=reduction,
            name=f"{number}",
        )
    return Preparation(layers)


def _absent(preparation: LayerPreparation) -> PreparedLayer:
    return PreparedLayer(
        preparation.name,
        preparation.features,
        np.empty((0, len(preparation.features)), dtype=np.float32),
        np.empty(0, dtype=np.int64),
        np.empty(0, dtype=np.float32),
    )


def _compare(preparation: LayerPreparation, layer: Layer) -> list[str]:
    notices = []
    dropped = {name for features in preparation.dropped.values() for name in features}
    known = dropped.union(preparation.features)
    held = set(layer.features)
    unknown = [name for name in layer.features if name not in known]
    missing = [name for name in preparation.features if name not in held]
    if layer.kind != preparation.kind:
        notices.append(
            f"layer '{layer.name}' is {layer.kind} here, but {preparation.kind} in the model: "
            f"prepared as {preparation.kind}."
        )
    if unknown:
        notices.append(
            f"layer '{layer.name}': {len(unknown)} of {len(layer.features)} features are unknown "
            f"to the model and ignored: {_some(unknown)}."
        )
    if missing:
        notices.append(
            f"layer '{layer.name}': {len(missing)} of the model's {len(preparation.features)} "
            f"features are missing and treated as not measured: {_some(missing)}."
        )
    return notices


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:3]) + (", ..." if len(listed) > 3 else "")
