"""Results in the types of JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd


def jsonable(value: Any) -> Any:
    """``value`` in the types of JSON: dataclasses as mappings, tables as lists of rows.

    NaN and infinity become None. The index of a table is kept as a column if it is named.

    Example:
        >>> jsonable({"auc": np.array([0.5, np.nan])})
        {'auc': [0.5, None]}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields(value)
    if isinstance(value, pd.DataFrame):
        table = value if value.index.name is None else value.reset_index()
        return [jsonable(row) for row in table.to_dict(orient="records")]
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return jsonable(value.tolist())
    if isinstance(value, list | tuple):
        return [jsonable(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def fields(result: Any, leave_out: tuple[str, ...] = ()) -> dict[str, Any]:
    """The fields of a dataclass but those to ``leave_out``, in the types of JSON."""
    return {
        item.name: jsonable(getattr(result, item.name))
        for item in dataclasses.fields(result)
        if item.name not in leave_out
    }
