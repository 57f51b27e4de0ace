"""How far samples have moved in the latent space between two trainings.

Two latent spaces may differ by a shift and a rotation that mean nothing. So beside the cosine
of each sample's two vectors as they stand, the distance is measured that is left after
the best shift and rotation (orthogonal Procrustes), in units of the samples' spread before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray


@dataclass(frozen=True)
class EmbeddingDrift:
    """Where the same samples stood before and stand after.

    Attributes:
        table: Index ``sample_id``; ``cosine`` of the two vectors (0 where one is 0), and
            ``distance`` after the best shift and rotation, 1 = root mean square distance of
            the samples from their centre before.
        summary: Number of samples; median, 5 % and least cosine; median, 95 % and largest
            distance; share of the spread before that the aligned samples keep.
    """

    table: pd.DataFrame
    summary: dict[str, Any]

    def text(self) -> str:
        """The summary in a sentence."""
        found = self.summary
        return (
            f"{found['samples']} samples that both have: cosine {found['cosine_median']:.3f} "
            f"(5 %: {found['cosine_5_percent']:.3f}), aligned distance "
            f"{found['distance_median']:.3f} (95 %: {found['distance_95_percent']:.3f}) of the "
            f"spread; {found['kept_share']:.0%} of the space is kept"
        )


def embedding_drift(
    before: NDArray[np.floating], after: NDArray[np.floating], sample_ids: Sequence[str]
) -> EmbeddingDrift:
    """Compare two embeddings of the same samples.

    Args:
        before: ``(sample, latent)``.
        after: Same shape.
        sample_ids: Names, ``(sample,)``; at least two.

    Example:
        >>> draw = np.random.default_rng(0)
        >>> before = draw.normal(size=(30, 3))
        >>> turn, _ = np.linalg.qr(draw.normal(size=(3, 3)))
        >>> found = embedding_drift(before, before @ turn + 5, [str(n) for n in range(30)])
        >>> round(found.summary["distance_largest"], 6), round(found.summary["kept_share"], 6)
        (0.0, 1.0)
    """
    old, new = np.asarray(before, np.float64), np.asarray(after, np.float64)
    norms = np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1)
    cosine = np.divide((old * new).sum(1), norms, out=np.zeros(len(old)), where=norms > 0)
    old, new = old - old.mean(0), new - new.mean(0)
    left, _, right = np.linalg.svd(new.T @ old)
    residual = np.linalg.norm(new @ (left @ right) - old, axis=1)
    spread = float(np.sqrt(np.mean(np.square(old).sum(1))))
    distance = residual / spread if spread > 0 else residual
    table = pd.DataFrame(
        {"cosine": cosine, "distance": distance}, index=pd.Index(sample_ids, name="sample_id")
    )
    summary = {
        "samples": len(table),
        **_figures("cosine", cosine, 5, "least", np.min),
        **_figures("distance", distance, 95, "largest", np.max),
        "kept_share": max(0.0, 1.0 - float(np.mean(np.square(distance)))),
    }
    return EmbeddingDrift(table, summary)


def _figures(
    name: str, values: NDArray[np.float64], percent: int, extreme: str, of: Any
) -> dict[str, float]:
    """Median, a percentile and the worst of some figures."""
    return {
        f"{name}_median": float(np.median(values)),
        f"{name}_{percent}_percent": float(np.percentile(values, percent)),
        f"{name}_{extreme}": float(of(values)),
    }
