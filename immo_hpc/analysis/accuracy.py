"""Measures of imputation: per feature, and per layer with intervals over subjects.

Legend of shapes: ``item`` counts the samples scored, ``feature`` one layer's features.
NaN in the truth marks what is not scored.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.bootstrap import draw_subjects
from immo_hpc.analysis.results import Interval

_FEWEST = 3  # Values from which a correlation is told.
_NUM_RESAMPLES = 1000

Table = NDArray[np.floating[Any]]


def feature_table(truth: Table, said: Table, features: Sequence[str]) -> pd.DataFrame:
    """Error and correlation of each feature over its scored values.

    Args:
        truth: ``(item, feature)``, z-score units, NaN = not scored.
        said: Predictions, same shape and units, no NaN where scored.
        features: Names, ``(feature,)``.

    Returns:
        Columns ``feature``, ``num_values``, ``rmse``, ``r2`` (about the training mean, 0 in
        z-score units), ``pearson``, ``spearman``: NaN where fewer than three values or equal
        values leave them undefined; a constant prediction of varying values counts as 0.

    Example:
        >>> truth = np.array([[1.0], [2.0], [4.0]])
        >>> feature_table(truth, truth, ["a"])[["rmse", "r2", "spearman"]].values.tolist()
        [[0.0, 1.0, 1.0]]
    """
    scored = np.isfinite(truth)
    truth = truth.astype(np.float64)
    said = np.where(scored, said, np.nan).astype(np.float64)
    count = scored.sum(axis=0)
    residual, total = np.nansum((said - truth) ** 2, axis=0), np.nansum(truth**2, axis=0)
    return pd.DataFrame(
        {
            "feature": list(features),
            "num_values": count,
            "rmse": np.sqrt(_quotient(residual, count)),
            "r2": 1 - _quotient(residual, total),
            "pearson": _correlation(truth, said),
            "spearman": _correlation(_ranks(truth), _ranks(said)),
        }
    )


def layer_row(truth: Table, table: pd.DataFrame, r2: Interval) -> dict[str, Any]:
    """The measures of a whole layer.

    Args:
        truth: ``(item, feature)``, z-score units, NaN = not scored.
        table: `feature_table` of it and the predictions.
        r2: Pooled R² with its interval (`pooled_r2`).

    Returns:
        The columns of `ImputationResult.scores` from ``num_samples`` on.
    """
    scored = np.isfinite(truth)
    count = table["num_values"].to_numpy()
    residual = np.nansum(table["rmse"].to_numpy() ** 2 * count)
    return {
        "num_samples": int(scored.any(axis=1).sum()),
        "num_features": int(scored.any(axis=0).sum()),
        "num_values": int(count.sum()),
        "rmse": float(np.sqrt(residual / count.sum())),
        "r2": r2.value,
        "r2_lower": r2.lower,
        "r2_upper": r2.upper,
        "pearson": _median(table["pearson"]),
        "spearman": _median(table["spearman"]),
    }


def _median(column: pd.Series) -> float:
    """Median of the defined values; NaN, without a warning, where there are none."""
    known = column.dropna()
    return float(known.median()) if len(known) else float("nan")


def pooled_r2(
    truth: Table, said: Table, subjects: NDArray[np.str_], seed: int
) -> tuple[float, NDArray[np.float64]]:
    """1 - SSE/SST pooled over all scored values, and its resamples over subjects.

    Args:
        truth: ``(item, feature)``, z-score units, NaN = not scored.
        said: Predictions, same shape and units.
        subjects: Subject of each item, ``(item,)``.
        seed: Seed of the resamples: one seed gives two methods the same draws (paired).

    Returns:
        The value, and ``(resample,)``, float64.
    """
    scored = np.isfinite(truth)
    known = np.where(scored, truth, 0).astype(np.float64)
    error = (np.where(scored, said, 0) - known) ** 2
    _, subject = np.unique(subjects, return_inverse=True)
    residual, total = (np.bincount(subject, part.sum(axis=1)) for part in (error, known**2))
    drawn = draw_subjects(np.zeros(len(total), dtype=np.int64), _NUM_RESAMPLES, seed)
    value = 1 - float(_quotient(residual.sum(), total.sum()))
    return value, 1 - _quotient(drawn @ residual, drawn @ total)


def _correlation(one: Table, other: Table) -> NDArray[np.float64]:
    count = np.isfinite(one).sum(axis=0)
    centred = [part - _quotient(np.nansum(part, axis=0), count) for part in (one, other)]
    product = np.nansum(centred[0] * centred[1], axis=0)
    spread = [np.nansum(part**2, axis=0) for part in centred]
    scale = [np.nansum(part**2, axis=0) for part in (one, other)]
    # Equal values leave a rounding error behind, not 0.
    varies = [s > 1e-10 * t for s, t in zip(spread, scale, strict=True)]
    known = _quotient(product, np.sqrt(spread[0] * spread[1]))
    value = np.where(varies[1], known, 0.0)
    return np.where(varies[0] & (count >= _FEWEST), value, np.nan)


def _ranks(table: Table) -> NDArray[np.float64]:
    return np.asarray(pd.DataFrame(table).rank(), dtype=np.float64)


def _quotient(above: Any, below: Any) -> NDArray[np.float64]:
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    quotient = np.full(np.broadcast(above, below).shape, np.nan)
    np.divide(above, below, out=quotient, where=below > 0)
    return quotient
