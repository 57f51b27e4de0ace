"""What the estimator accepts as ``X``, and how it becomes a cohort.

A cohort, a folder or file of one, a MuData object, a mapping from layer to table, or one
wide table whose columns have two levels (layer, feature).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.config import LAYER_KINDS, LayerKind
from immo_hpc.data.check import examples
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.frames import cohort_from_frames
from immo_hpc.errors import CohortError, UsageError

GROUP_COLUMN = "subject_id"


def as_cohort(
    X: Any,
    *,
    kinds: Mapping[str, LayerKind] | None = None,
    groups: Any = None,
    only: Mapping[str, Any] | None = None,
) -> Cohort:
    """Read any accepted ``X`` as a cohort with the same samples in the same order.

    Args:
        X: See the module's docstring.
        kinds: Kind by layer, before what ``X`` says or its values suggest.
        groups: Subject of each sample: a Series indexed by sample, or values in the order of
            the samples. None leaves the subjects that ``X`` names, if it does.
        only: Layers a model knows; None for all. Tables of others are not looked at, and
            the kinds that ``X`` itself names are left to be compared with the model's.

    Raises:
        UsageError: If ``X`` is none of these, or ``kinds`` or ``groups`` do not fit it.
        CohortError: If a table cannot be used, or a sample has no measured value.
    """
    if isinstance(X, pd.DataFrame):
        cohort = _from_wide(X, kinds, only)
    elif isinstance(X, Mapping):
        cohort = _from_tables(dict(X), kinds, only)
    else:
        cohort = _from_whole(X) if only is not None else _with_kinds(_from_whole(X), kinds)
    return cohort if groups is None else _with_groups(cohort, groups)


def is_mudata(X: Any) -> bool:
    """True for a MuData object (asked without importing mudata)."""
    return type(X).__module__.partition(".")[0] == "mudata"


def num_columns(X: Any, cohort: Cohort) -> int:
    """Number of feature columns of ``X``, which was read as ``cohort``."""
    if isinstance(X, pd.DataFrame):
        return int(X.shape[1])
    return sum(len(layer.features) for layer in cohort.layers.values())


def wide_names(frame: pd.DataFrame) -> NDArray[np.object_]:
    """Columns of a wide table as ``layer:feature``."""
    return np.array([f"{layer}:{feature}" for layer, feature in frame.columns], dtype=object)


def ignored_layers(X: Any, known: Mapping[str, Any]) -> tuple[str, ...]:
    """One sentence if tables of ``X`` belong to no known layer.

    Only tables are asked: they are left unread. Other ``X`` is read as a whole, and the
    preparation tells what it does not know.
    """
    if isinstance(X, pd.DataFrame):
        names = list(dict.fromkeys(X.columns.get_level_values(0)))
    else:
        names = list(X) if isinstance(X, Mapping) else []
    unknown = [f"'{name}'" for name in names if str(name) not in known]
    if not unknown:
        return ()
    return (f"X: the model's layers are {', '.join(known)}; ignored {', '.join(unknown)}.",)


def widened(tables: Mapping[str, pd.DataFrame], like: pd.DataFrame) -> pd.DataFrame:
    """Tables side by side under two-level columns, with the row labels of ``like``."""
    names = like.columns.names if any(like.columns.names) else ["layer", "feature"]
    wide = pd.concat(dict(tables), axis=1, names=names)
    return wide.set_axis(like.index, axis=0)


def _from_whole(X: Any) -> Cohort:
    if isinstance(X, Cohort):
        return X
    if isinstance(X, str | Path):
        from immo_hpc.data.read import read_cohort

        return read_cohort(Path(X))
    if is_mudata(X):
        from immo_hpc.data.mudata_io import cohort_from_mudata

        return cohort_from_mudata(X)
    message = (
        "X must be a Cohort, a folder or .h5mu path, a MuData object, a mapping from layer to "
        "DataFrame, or a DataFrame with two-level columns (layer, feature); "
        f"found {type(X).__module__}.{type(X).__qualname__}."
    )
    raise UsageError(message)


def _from_wide(
    frame: pd.DataFrame, kinds: Mapping[str, LayerKind] | None, only: Mapping[str, Any] | None
) -> Cohort:
    if frame.columns.nlevels != 2:
        message = (
            "X: a wide DataFrame needs columns with two levels (layer, feature), such as "
            "pandas.concat({'mg': mg, 'mb': mb}, axis=1); "
            f"found {frame.columns.nlevels} level(s), first column {frame.columns[:1].tolist()}."
        )
        raise CohortError(message)
    names = list(dict.fromkeys(frame.columns.get_level_values(0)))
    tables = {str(name): frame[name] for name in names}
    return _from_tables(tables, kinds, only, samples=frame.index)


def _from_tables(
    tables: Mapping[str, Any],
    kinds: Mapping[str, LayerKind] | None,
    only: Mapping[str, Any] | None,
    samples: pd.Index | None = None,
) -> Cohort:
    for name, table in tables.items():
        if not isinstance(table, pd.DataFrame):
            message = f"X['{name}'] must be a DataFrame; found {type(table).__qualname__}."
            raise UsageError(message)
    tables = {str(name): table for name, table in tables.items()}
    if samples is None:
        samples = _union(tables.values())
    _require_unique(samples)
    ids = pd.Index([str(name) for name in samples], name="sample_id")
    known = {name: table for name, table in tables.items() if only is None or name in only}
    if not known:
        message = f"X has none of the layers {list(only or ())}; found {list(tables)}."
        raise CohortError(message)
    chosen = _known_kinds(kinds, tables, only)
    # A row without any value says that the layer was not measured.
    measured = {name: _renamed(table.dropna(how="all")) for name, table in known.items()}
    present = {name: table for name, table in measured.items() if len(table)}
    _require_values(ids, present)
    cohort = cohort_from_frames(
        present,
        pd.DataFrame(index=ids),
        kinds={name: kind for name, kind in chosen.items() if name in present},
    )
    cohort = cohort.take(pd.Index(cohort.sample_ids).get_indexer(ids))
    return _with_empty(cohort, known, chosen)


def _with_empty(
    cohort: Cohort, tables: Mapping[str, pd.DataFrame], kinds: Mapping[str, LayerKind]
) -> Cohort:
    """Put back features, and layers of a known kind, that are there but hold no value.

    A reader drops them; here it matters whether ``X`` has them, since what it does not
    have is told to the user.
    """
    layers, notices = {}, list(cohort.notices)
    for name, table in tables.items():
        features = tuple(dict.fromkeys(str(column) for column in table.columns))
        if name in cohort.layers:
            layers[name] = _widened_layer(cohort.layers[name], features)
        elif name in kinds:
            empty = np.empty((0, len(features)), dtype=np.float32)
            layers[name] = Layer(name, kinds[name], features, empty, np.empty(0, dtype=np.int64))
        else:
            notices.append(f"{name}: no sample has a value in this layer; it was left out.")
    return replace(cohort, layers=layers, notices=tuple(notices))


def _widened_layer(layer: Layer, features: tuple[str, ...]) -> Layer:
    if layer.features == features:
        return layer
    values = np.full((len(layer.rows), len(features)), np.nan, dtype=np.float32)
    values[:, pd.Index(features).get_indexer(pd.Index(layer.features))] = layer.values
    return replace(layer, features=features, values=values)


def _renamed(table: pd.DataFrame) -> pd.DataFrame:
    index = pd.Index([str(name) for name in table.index], name="sample_id")
    return table.set_axis(index, axis=0)


def _union(tables: Any) -> pd.Index:
    names: dict[Any, None] = {}
    for table in tables:
        _require_unique(table.index)
        names.update(dict.fromkeys(table.index))
    return pd.Index(list(names))


def _require_unique(index: pd.Index) -> None:
    doubled = index[index.duplicated()].unique()
    if len(doubled):
        message = (
            f"X: each sample may have one row; {examples(doubled)} come more than once. "
            "Give every sample (visit) its own name, and name the person with groups."
        )
        raise CohortError(message)


def _require_values(ids: pd.Index, tables: Mapping[str, pd.DataFrame]) -> None:
    held = ids.isin([name for table in tables.values() for name in table.index])
    if not held.all():
        message = (
            f"X: {int((~held).sum())} of {len(ids)} samples have no measured value in any known "
            f"layer: {examples(ids[~held])}. Leave them out, for example with X.dropna(how='all')."
        )
        raise CohortError(message)


def _known_kinds(
    kinds: Mapping[str, LayerKind] | None, layers: Any, only: Mapping[str, Any] | None
) -> dict[str, LayerKind]:
    for name, kind in (kinds or {}).items():
        if kind not in LAYER_KINDS:
            message = f"kinds['{name}'] must be one of {', '.join(LAYER_KINDS)}; found {kind!r}."
            raise UsageError(message)
        if only is None and name not in layers:
            message = f"kinds names '{name}', but the layers of X are {list(layers)}."
            raise UsageError(message)
    return dict(kinds or {})


def _with_kinds(cohort: Cohort, kinds: Mapping[str, LayerKind] | None) -> Cohort:
    chosen = _known_kinds(kinds, cohort.layers, None) if kinds else {}
    layers: dict[str, Layer] = {
        name: replace(layer, kind=chosen.get(name, layer.kind))
        for name, layer in cohort.layers.items()
    }
    return replace(cohort, layers=layers)


def _with_groups(cohort: Cohort, groups: Any) -> Cohort:
    ids = cohort.sample_ids
    if isinstance(groups, pd.Series):
        named = groups.set_axis([str(name) for name in groups.index])
        if named.index.is_unique and set(ids) <= set(named.index):
            groups = named.loc[ids]
    values = np.asarray(groups, dtype=object).ravel()
    if len(values) != len(ids):
        message = (
            f"groups must name a subject for each of the {len(ids)} samples; found {len(values)}."
        )
        raise UsageError(message)
    unknown = pd.isna(pd.Series(values)).to_numpy()
    if unknown.any():
        message = f"groups is missing for {examples(pd.Index(ids)[unknown])}; name every subject."
        raise UsageError(message)
    samples = cohort.samples.assign(**{GROUP_COLUMN: [str(value) for value in values]})
    return replace(cohort, samples=samples, roles=replace(cohort.roles, subject=GROUP_COLUMN))
