"""Would other people, folds or seeds name the same features?

The top features of several refits are sets of features; their agreement beyond chance is
measured by the index of Nogueira, Sechidis and Brown, On the stability of feature selection
algorithms (JMLR 18, 2018), Eq. 4. For sets of one size it is the mean over pairs of the index of
Kuncheva, A stability index for feature selection (AIA 2007): 1 for equal sets, 0 on average
for sets drawn at random.

Legend of shapes: ``refit``, ``feature``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata

from immo_hpc.analysis.explaining.results import StabilityResult


@dataclass(frozen=True)
class Refit:
    """How strong each feature is after one refit.

    Attributes:
        strength: Mean |attribution| over people, by layer ``(feature,)``.
        direction: +1, -1 or 0, by layer ``(feature,)``.
    """

    strength: Mapping[str, NDArray[np.float64]]
    direction: Mapping[str, NDArray[np.int64]]


def stability_index(chosen: NDArray[np.bool_]) -> float:
    """Agreement of sets of features beyond chance (Nogueira et al. 2018, Eq. 4).

    Args:
        chosen: True where a refit chose a feature, ``(refit, feature)``.

    Returns:
        At most 1 (all sets equal); 0 on average for random sets; NaN with fewer than two
        sets, or if every set holds no or all features, so that they cannot differ.

    Example:
        >>> sets = np.array([[1, 1, 0, 0], [1, 0, 1, 0]], dtype=bool)
        >>> stability_index(sets)  # One in common where two of four give one by chance.
        0.0
    """
    num_refits, num_features = chosen.shape
    if num_refits < 2 or num_features == 0:
        return float("nan")
    share = chosen.mean(axis=0)
    variance = num_refits / (num_refits - 1) * share * (1 - share)
    size = share.sum() / num_features
    by_chance = size * (1 - size)
    return float(1 - variance.mean() / by_chance) if by_chance > 0 else float("nan")


def compare_refits(
    refits: Sequence[Refit],
    reported: Refit,
    names: Mapping[str, Sequence[str]],
    top: int,
    kind: str,
) -> StabilityResult | None:
    """Rank features in every refit and compare; None if there are fewer than two.

    Args:
        refits: The refits.
        reported: The attribution that is reported, whose direction others agree with or not.
        names: Features by layer.
        top: Features of a layer that count as chosen.
        kind: What the refits are, in words.
    """
    if len(refits) < 2:
        return None
    layers, features = [], []
    for name, ours in reported.strength.items():
        if not len(ours):
            continue
        strength = np.stack([refit.strength[name] for refit in refits])
        rank = np.apply_along_axis(_ranks, 1, strength)
        is_top = (rank <= top) & (strength > 0)  # A refit may leave a layer out.
        directions = np.stack([refit.direction[name] for refit in refits])
        features.append(
            pd.DataFrame(
                {
                    "layer": name,
                    "feature": list(names[name]),
                    "mean_rank": rank.mean(axis=0),
                    "rank_sd": rank.std(axis=0, ddof=1),
                    "top_share": is_top.mean(axis=0),
                    "sign_agreement": (directions == reported.direction[name]).mean(axis=0),
                }
            )
        )
        layers.append((name, len(ours), min(top, len(ours)), stability_index(is_top)))
    columns = ["layer", "num_features", "top", "index"]
    return StabilityResult(
        kind=kind,
        num_refits=len(refits),
        layers=pd.DataFrame(layers, columns=columns),
        features=pd.concat(features, ignore_index=True),
    )


def _ranks(strength: NDArray[np.float64]) -> NDArray[np.float64]:
    """1 for the strongest; of equals the first, so that each refit chooses as many."""
    return np.asarray(rankdata(-strength, method="ordinal"), dtype=np.float64)
