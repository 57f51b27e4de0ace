"""Figures as text cells."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from immo_hpc.analysis.report.text import UNDEFINED


def records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values, None where nothing is known."""
    return [
        {str(key): None if _is_nothing(value) else value for key, value in row.items()}
        for row in table.to_dict(orient="records")
    ]


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def count(value: Any) -> str:
    """A number of things."""
    return UNDEFINED if value is None else f"{value:,.0f}"


def pair(negative: Any, positive: Any) -> str:
    """Two numbers of things."""
    return f"{count(negative)} / {count(positive)}"


def share(value: Any) -> str:
    """A share in percent."""
    return UNDEFINED if value is None else f"{value:.1%}".replace("-", "\N{MINUS SIGN}")


def cell(value: Any, digits: int = 2, *, sign: bool = False) -> str:
    """A figure with a true minus sign."""
    if value is None:
        return UNDEFINED
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def interval(row: dict[str, Any], by: str) -> str:
    """A mean of a row with its interval."""
    if row.get(by) is None:
        return UNDEFINED
    return f"{cell(row[by])} [{cell(row[f'{by}_lower'])}, {cell(row[f'{by}_upper'])}]"


def gap(row: dict[str, Any], by: str) -> str:
    """A difference of a row with its interval."""
    if row.get(f"{by}_gain") is None:
        return UNDEFINED
    ends = [cell(row[f"{by}_{name}"], sign=True) for name in ("gain", "lower", "upper")]
    return f"{ends[0]} [{ends[1]}, {ends[2]}]"
