"""Does a ranking of features depend on what the encoder learnt?

After Adebayo et al., Sanity checks for saliency maps (2018): attributions that stay the same
when the weights are drawn at random describe the data, not the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from immo_hpc.analysis.results import RandomisationCheck

Blocks = Mapping[str, NDArray[np.float64]]

_MOST_CORRELATION = 0.7
_MOST_OVERLAP = 0.5  # Of what two rankings may share beyond chance.


def check_randomised(
    trained: Blocks, random: Sequence[Blocks], top: int, what: str = "an encoder drawn at random"
) -> RandomisationCheck:
    """Compare rankings within each layer, mean over layers and random models.

    Args:
        trained: Attributions by layer, ``(row, feature)``.
        random: The same of each random model.
        top: Number of features a layer whose overlap is counted.
        what: What the random models are, in words.

    Returns:
        The comparison; NaN where no layer has more than ``top`` features (overlap) or varies
        (correlation).
    """
    correlations, overlaps, chances = [], [], []
    for name, block in trained.items():
        ours = np.abs(block).mean(axis=0) if len(block) else np.zeros(0)
        for blocks in random:
            theirs = np.abs(blocks[name]).mean(axis=0) if len(block) else ours
            # A layer that either of the two leaves out ranks nothing.
            if not len(ours) or np.ptp(ours) == 0 or np.ptp(theirs) == 0:
                continue
            if len(ours) > 2:
                correlations.append(float(spearmanr(ours, theirs).statistic))
            if len(ours) > top:
                overlaps.append(_overlap(ours, theirs, top))
                chances.append(top / len(ours))
    correlation, overlap, chance = (_mean(part) for part in (correlations, overlaps, chances))
    beyond = (overlap - chance) / (1 - chance)
    # NaN, nothing to compare, must not pass as a difference.
    passed = correlation < _MOST_CORRELATION and not beyond > _MOST_OVERLAP
    return RandomisationCheck(
        correlation, overlap, chance, passed, _message(what, correlation, overlap, chance, passed)
    )


def _overlap(ours: NDArray[np.float64], theirs: NDArray[np.float64], top: int) -> float:
    first = [set(np.argsort(-part, kind="stable")[:top].tolist()) for part in (ours, theirs)]
    return len(first[0] & first[1]) / top


def _mean(values: list[float]) -> float:
    return float(np.mean(values)) if values else float("nan")


def _message(what: str, correlation: float, overlap: float, chance: float, passed: bool) -> str:
    told = (
        f"with {what} the ranks correlate by {correlation:.2f} and "
        f"{overlap:.0%} of the top features are the same ({chance:.0%} by chance)"
    )
    if passed:
        return f"Passed: {told}, so the ranking rests on what was learnt."
    return f"Not passed: {told}. Do not read this ranking as what the model learnt."
