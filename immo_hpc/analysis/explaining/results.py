"""What the checks of an attribution return: frozen tables that turn into JSON."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from immo_hpc.analysis.results import Interval


@dataclass(frozen=True)
class StabilityResult:
    """How alike the rankings of several refits are.

    Attributes:
        kind: What the refits are, in words.
        num_refits: Their number.
        layers: One row a layer: ``layer``, ``num_features``, ``top`` (features that count as
            chosen), ``index`` (Nogueira et al. 2018: 1 = the same features in every refit, 0 =
            as alike as random choices; NaN where nothing can differ).
        features: One row a feature: ``layer``, ``feature``, ``mean_rank`` in the layer,
            ``rank_sd``, ``top_share`` (share of the refits that have it among the top),
            ``sign_agreement`` (share of the refits with the reported direction).
    """

    kind: str
    num_refits: int
    layers: pd.DataFrame
    features: pd.DataFrame


@dataclass(frozen=True)
class PermutationResult:
    """What the label score loses when one feature is exchanged between held-out people.

    Attributes:
        num_people: Held-out people with a label.
        num_repeats: Exchanges a feature.
        loss: Log-loss by person as it is, classes counting alike, nats; of scores made less
            sure as far as that lowers it.
        auc: AUC by person as it is.
        features: One row a tested feature: ``layer``, ``feature``, ``chosen`` ('top' by
            attribution, or 'control', drawn from the others), ``attribution_rank`` in the
            layer, ``loss_rise`` (mean over exchanges, nats; the more, the more important),
            ``loss_rise_sd``, ``auc_drop``, ``auc_drop_sd``, ``permutation_rank`` among the
            tested of the layer.
        layers: One row a layer: ``layer``, ``num_features``, ``num_tested``, ``spearman``
            (of mean |attribution| and loss_rise over the tested), ``top``, ``top_needed`` (how many
            of the top features raise the loss by more than two standard errors).
    """

    num_people: int
    num_repeats: int
    loss: float
    auc: float
    features: pd.DataFrame
    layers: pd.DataFrame


@dataclass(frozen=True)
class ExclusionResult:
    """The explained classifier with and without features that the user excluded.

    Attributes:
        features: What was excluded: ``layer``, ``feature``, ``rank_in_layer`` and ``share`` it
            had with all features.
        auc_all: AUC by held-out person with all features.
        auc_without: The same without.
        difference: Without minus with, on the same resamples of people.
        layers: Share of the attribution: ``layer``, ``share_all``, ``share_without``.
        top: Top features side by side: ``layer``, ``rank``, ``all``, ``without``.
    """

    features: pd.DataFrame
    auc_all: Interval
    auc_without: Interval
    difference: Interval
    layers: pd.DataFrame
    top: pd.DataFrame
