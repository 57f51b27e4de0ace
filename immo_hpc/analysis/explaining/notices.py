"""What a reader of an attribution must know, as sentences."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from immo_hpc.analysis.explaining.results import StabilityResult
from immo_hpc.data.prepared import PreparedCohort

# Gaps in completeness that are told, relative to the mean change of the score.
INCOMPLETE_MEAN, INCOMPLETE_MAX = 0.05, 0.25
# Poor agreement beyond chance, after Fleiss; so read by Nogueira et al. (2018) too.
UNSTABLE = 0.4
_LEAST_AUC = 0.6


def notices_of(
    samples: PreparedCohort,
    gaps: NDArray[np.float64],
    training_auc: float,
    *stabilities: StabilityResult | None,
) -> tuple[str, ...]:
    """Layers without samples, gaps, a weak classifier, rankings that others do not share.

    Args:
        samples: The explained samples.
        gaps: Of `immo_hpc.analysis.gradients.completeness_gaps`, ``(sample,)``.
        training_auc: AUC inside the training subjects.
        stabilities: After refits of the classifier, and of the network, if there were any.
    """
    notices = [
        f"Layer '{name}' is measured in none of these samples: its features are not ranked."
        for name, layer in samples.layers.items()
        if not len(layer.rows)
    ]
    if gaps.mean() > INCOMPLETE_MEAN or gaps.max() > INCOMPLETE_MAX:
        notices.append(
            f"Attributions miss the change of the score by {gaps.mean():.1%} on average and by "
            f"{gaps.max():.1%} at worst (limits {INCOMPLETE_MEAN:.0%} and {INCOMPLETE_MAX:.0%}): "
            "give more steps."
        )
    if np.isfinite(training_auc) and training_auc < _LEAST_AUC:
        notices.append(
            f"The explained classifier hardly separates unseen subjects (AUC {training_auc:.2f} "
            "inside the training subjects): what it rests on is hardly about the label."
        )
    return (*notices, *(line for each in stabilities if each is not None for line in _poor(each)))


def _poor(stability: StabilityResult) -> list[str]:
    poor = stability.layers[stability.layers["index"] < UNSTABLE]
    return [
        f"Layer '{row.layer}': the top {row.top} features hardly stay the same in "
        f"{stability.num_refits} refits ({stability.kind}): stability {row.index_:.2f}, 1 = always "
        "the same, 0 = chance. Read single names with care."
        for row in poor.rename(columns={"index": "index_"}).itertuples()
    ]
