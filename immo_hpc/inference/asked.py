"""What may be asked of a model: layers it knows, samples it can say something about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.check import examples
from immo_hpc.errors import CohortError, UsageError


def known_layers(names: Sequence[str] | None, layers: Sequence[str]) -> list[str]:
    """The layers named, each once; all if none is.

    Args:
        names: Layers asked for; one alone may be given as text.
        layers: Layers of the model.

    Raises:
        UsageError: If one is not of the model.

    Example:
        >>> known_layers(["mb", "mb"], ["mg", "mb"]), known_layers(None, ["mg", "mb"])
        (['mb'], ['mg', 'mb'])
    """
    if isinstance(names, str):
        names = [names]
    found = list(layers) if names is None else list(dict.fromkeys(names))
    unknown = [name for name in found if name not in layers]
    if unknown:
        message = (
            f"the model has no layer {', '.join(map(repr, unknown))}; "
            f"its layers are {', '.join(layers)}."
        )
        raise UsageError(message)
    return found


def require_measured(
    sample_ids: Sequence[str], measured: NDArray[np.bool_], layers: Sequence[str]
) -> None:
    """Refuse samples without a measured value in any of the model's layers.

    Args:
        sample_ids: Names of the samples, ``(sample,)``.
        measured: True where a sample has a layer, ``(sample, layer)``, bool.
        layers: Layers of the model.

    Raises:
        CohortError: Naming some of them.
    """
    lacking = np.flatnonzero(~measured.any(axis=1)).tolist()
    if lacking:
        named = examples(sample_ids[place] for place in lacking)
        message = (
            f"{len(lacking)} of {len(sample_ids)} samples have a measured value in none "
            f"of the model's layers: {named}. The layers are {', '.join(layers)}; "
            "leave these samples out, or check the names of layers and features."
        )
        raise CohortError(message)


def foretellable(
    rows: Mapping[str, NDArray[np.int64]],
    source: Sequence[str],
    target: str,
    num_samples: int,
) -> NDArray[np.int64]:
    """Places of the samples for which one layer can be foretold from others, increasing.

    Args:
        rows: Places of the samples that have a layer, by layer of the model.
        source: Layers to look at.
        target: Layer to foretell.
        num_samples: Samples there are.

    Raises:
        UsageError: If a layer is not one of the model's, ``source`` is empty, or ``target``
            is one of ``source``.
        CohortError: If no sample has any of the source layers.
    """
    names = known_layers(source, list(rows))
    known_layers([target], list(rows))
    if not names or target in names:
        message = (
            f"generate: source must name at least one layer and not the target '{target}'; "
            f"found source {list(source)}."
        )
        raise UsageError(message)
    places = np.unique(np.concatenate([rows[name] for name in names]))
    if not len(places):
        message = (
            f"generate: none of the {num_samples} samples has a source layer ({', '.join(names)})."
        )
        raise CohortError(message)
    return places
