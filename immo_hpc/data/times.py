"""When samples were taken: numbers of a stated unit or ISO dates, as days."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TimeUnit = Literal["hours", "days", "weeks", "months", "years"]

_DAYS: dict[TimeUnit, float] = {
    "hours": 1 / 24,
    "days": 1.0,
    "weeks": 7.0,
    "months": 365.25 / 12,
    "years": 365.25,
}


def as_days(column: pd.Series, unit: TimeUnit) -> NDArray[np.float64]:
    """Times in days since some moment that all samples share.

    Args:
        column: Numbers, or texts that are ISO dates such as '2015-03-02', each with or without
            a time of day; missing where unknown.
        unit: What the numbers count; dates need none.

    Returns:
        ``(sample,)``, float64, NaN where a time is unknown or is neither number nor date.

    Example:
        >>> as_days(pd.Series([0, 2.5, None]), "weeks").tolist()
        [0.0, 17.5, nan]
        >>> as_days(pd.Series(["2015-03-02", None, "2015-03-01T12:00"]), "weeks").tolist()
        [16496.0, nan, 16495.5]
    """
    if pd.api.types.is_numeric_dtype(column.dtype):
        times = column.to_numpy(dtype=np.float64, na_value=np.nan) * _DAYS[unit]
        return np.where(np.isfinite(times), times, np.nan)
    dates = pd.to_datetime(column.astype(object), format="ISO8601", errors="coerce", utc=True)
    days = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    return np.asarray(days, dtype=np.float64)
