"""What the analyses return: frozen tables that turn into JSON.

Every score is a float that is NaN where it is undefined; `to_dict` writes NaN and
infinity as None, so that its result is valid JSON everywhere. Tables are pandas
DataFrames in tidy form, one row a measurement.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.analysis.jsonable import fields

if TYPE_CHECKING:  # They hold an `Interval`.
    from immo_hpc.analysis.explaining.results import (
        ExclusionResult,
        PermutationResult,
        StabilityResult,
    )

Source = Literal["latent", "raw", "fused", "baseline"]
Task = Literal["values", "layers"]


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % bootstrap interval over subjects (NaN = undefined)."""

    value: float
    lower: float
    upper: float

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.lower:.2f}, {self.upper:.2f}]"


@dataclass(frozen=True)
class MethodScore:
    """One classifier on one kind of input: a row of the table of classifications.

    AUC is the area under the ROC curve; with more than two classes the mean over
    classes of one against the rest.

    Attributes:
        name: Short name, such as ``svm`` or ``late_fusion``; unique within a ``source``.
        title: Name for people.
        source: What it saw: the latent, the raw features (prepared z-scores, missing values
            filled with the training mean), 'fused' for the layers and the latent as experts of
            one product, or 'baseline' for the baselines of their own kind.
        setting: The setting chosen inside the training subjects, as text.
        training_auc: Mean AUC over folds of grouped cross-validation inside the training
            subjects, subject level; NaN where nothing was chosen by it.
        sample_auc: AUC over the test subjects' samples.
        subject_auc: AUC over test subjects, scores averaged within a subject.
        sample_split_auc: AUC of the same setting when samples, not subjects, are split at
            random 75/25: inflated where subjects come more than once.
    """

    name: str
    title: str
    source: Source
    setting: str
    training_auc: float
    sample_auc: Interval
    subject_auc: Interval
    sample_split_auc: float


@dataclass(frozen=True)
class RocCurve:
    """ROC curve over test subjects on an even grid of false positive rates.

    Attributes:
        name: Name of the method (`MethodScore.name`).
        source: Its input (`MethodScore.source`).
        level: 'subject' (scores averaged within a subject) or 'sample'.
        false_positive: Grid from 0 to 1, ``(point,)``.
        true_positive: True positive rate, ``(point,)``; mean over classes if more than two.
        lower: 2.5 % quantile over bootstrap resamples of subjects, ``(point,)``.
        upper: 97.5 % quantile, ``(point,)``.
    """

    name: str
    source: Source
    level: Literal["subject", "sample"]
    false_positive: NDArray[np.float64]
    true_positive: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]


@dataclass(frozen=True)
class ClassificationResult:
    """Classification of held-out subjects, with the baselines beside it.

    Attributes:
        label: Column that was classified.
        classes: Its values, sorted; of two, the positive class stands last.
        headline: `MethodScore.name` of the method that speaks for the model; it was fixed, or
            chosen inside the training subjects, and all others are context.
        scores: Every method: classifiers on the latent, on raw features, then baselines.
        curves: ROC curves of the headline on the latent and of late fusion, at both levels.
        difference: Subject-level AUC of the headline minus that of late fusion, with the
            interval of the paired bootstrap over test subjects.
        counts: One row a side ('training', 'test') and class: columns ``side``, ``class``,
            ``samples``, ``subjects``.
        predictions: One row a labelled test sample: index ``sample_id``; columns ``subject``,
            ``label``, ``score_<class>`` of the headline (the positive class only if there are
            two classes), and ``probability_<class>`` where the headline gives probabilities.
        verdict: Plain words: what was reached and whether a simple baseline does better.
        notices: What a reader must know, as sentences.
        headline_source: `MethodScore.source` of the headline.
    """

    label: str
    classes: tuple[str, ...]
    headline: str
    scores: tuple[MethodScore, ...]
    curves: tuple[RocCurve, ...]
    difference: Interval
    counts: pd.DataFrame
    predictions: pd.DataFrame
    verdict: str
    notices: tuple[str, ...] = ()
    headline_source: Source = "latent"

    @property
    def head(self) -> MethodScore:
        """The row of the headline."""
        return self.score(self.headline, self.headline_source)

    def is_headline(self, score: MethodScore) -> bool:
        """True for the row of the headline."""
        return (score.name, score.source) == (self.headline, self.headline_source)

    def score(self, name: str, source: Source = "latent") -> MethodScore:
        """The row of one method.

        Raises:
            KeyError: If there is none.
        """
        for score in self.scores:
            if (score.name, score.source) == (name, source):
                return score
        raise KeyError((name, source))

    @property
    def table(self) -> pd.DataFrame:
        """One row a method, intervals as ``*_auc``, ``*_auc_lower``, ``*_auc_upper`` columns."""
        rows = []
        for score in self.scores:
            row: dict[str, Any] = {
                "name": score.name,
                "title": score.title,
                "source": score.source,
                "headline": self.is_headline(score),
                "setting": score.setting,
                "training_auc": score.training_auc,
            }
            for level, interval in (("subject", score.subject_auc), ("sample", score.sample_auc)):
                row[f"{level}_auc"] = interval.value
                row[f"{level}_auc_lower"] = interval.lower
                row[f"{level}_auc_upper"] = interval.upper
            row["sample_split_auc"] = score.sample_split_auc
            rows.append(row)
        return pd.DataFrame(rows)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return fields(self)


@dataclass(frozen=True)
class ImputationResult:
    """Hide-and-score imputation on test subjects, beside mean and ridge.

    Attributes:
        scores: One row a task, layer and method. Columns: ``task`` ('values': a share of the
            measured values was hidden; 'layers': the whole layer was hidden), ``layer``,
            ``method`` ('immo', 'ridge', 'mean'), ``num_samples``, ``num_features``,
            ``num_values`` (hidden and scored), ``rmse`` (z-score units), ``r2`` (1 - SSE/SST
            pooled over values, SST about the training mean, so that the mean scores 0) with its
            bootstrap interval over subjects ``r2_lower``, ``r2_upper``,
            ``pearson`` and ``spearman`` (medians over features; a constant prediction counts
            as 0).
        features: The same per feature: ``task``, ``layer``, ``feature``, ``method``,
            ``num_values``, ``rmse``, ``r2``, ``pearson``, ``spearman``.
        differences: One row a task and layer: ``task``, ``layer``, ``r2`` of the model minus that
            of ridge, with the paired bootstrap interval over subjects ``lower``, ``upper``.
        hidden_share: Share of the measured values that was hidden in task 'values'.
        ridge_wins: (task, layer) pairs where ridge has the smaller error.
        verdict: Plain words on the comparison.
        notices: What a reader must know, such as layers that could not be scored.
    """

    scores: pd.DataFrame
    features: pd.DataFrame
    differences: pd.DataFrame
    hidden_share: float
    ridge_wins: tuple[tuple[Task, str], ...]
    verdict: str
    notices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return fields(self)


@dataclass(frozen=True)
class RandomisationCheck:
    """Attributions of the trained encoder beside those of one with weights drawn at random.

    Attributes:
        rank_correlation: Spearman correlation of mean |attribution| over all features.
        top_overlap: Share of the top features, per layer, that both name; mean over layers.
        chance_overlap: What that share would be for two random rankings.
        passed: True if the rankings differ, as they must if they depend on what was learnt.
        message: The outcome in one sentence.
    """

    rank_correlation: float
    top_overlap: float
    chance_overlap: float
    passed: bool
    message: str


@dataclass(frozen=True)
class AttributionResult:
    """Integrated gradients of a classifier through the encoder to the features.

    Attributes:
        label: Column that is classified.
        classes: As in `ClassificationResult`; attributions are to the positive class's
            score, or, with more than two classes, to the score of the sample's own class.
        baseline: What the attributions are relative to, in words.
        top: Number of features a layer in `top_features`.
        features: One row a feature, largest first. Columns: ``layer``, ``feature``,
            ``mean_abs`` (mean |attribution| over the people who have the layer, visits averaged
            within a person first), ``mean_signed``, ``direction`` (+1: higher values push towards
            the class, -1 away, 0 neither), ``share`` (of the sum of mean_abs over all features),
            ``rank`` (1 = largest overall), ``rank_in_layer``, ``num_samples``, ``num_people``;
            where it was computed also those of `StabilityResult.features` (after refits of the
            classifier; with ``retrained_`` before them after retrainings of the network).
        layers: One row a layer: ``layer``, ``num_samples``, ``mean_abs`` (sum over its
            features), ``share`` with its 95 % bootstrap interval over people ``share_lower``,
            ``share_upper``, ``mean_signed``.
        subjects: Sums by subject and layer, mean over the subject's samples: ``subject``,
            ``layer``, ``num_samples``, ``signed``, ``absolute``.
        values: Attributions of each sample, ``(sample, feature)``, float32, index
            ``sample_id``, columns (layer, feature); 0 where not measured. Not in `to_dict`.
        completeness_error: |sum of attributions - (score - score at the baseline)|, mean
            over samples, relative to the mean |score - score at the baseline|.
        randomised: The sanity check.
        training_auc: Subject-level AUC of the explained classifier by grouped
            cross-validation inside the training subjects: how much there is to explain.
        notices: What a reader must know, as sentences.
        explained: What the score is of, in words.
        completeness_median: Median over samples of what `completeness_error` is the mean of.
        completeness_max: Largest of these.
        held_out_auc: AUC of the explained classifier over held-out people; None for new samples.
        stability: After refits of the classifier to folds of people.
        retrained: After retrainings of the network.
        permutation: Beside permutation importance on held-out people.
        exclusion: Beside the result with features that the user excluded.
        product: The same of the product of experts, which uses no latent.
    """

    label: str
    classes: tuple[str, ...]
    baseline: str
    top: int
    features: pd.DataFrame
    layers: pd.DataFrame
    subjects: pd.DataFrame
    values: pd.DataFrame
    completeness_error: float
    randomised: RandomisationCheck
    training_auc: float
    notices: tuple[str, ...] = ()
    explained: str = "classifier on the latent"
    completeness_median: float = float("nan")
    completeness_max: float = float("nan")
    held_out_auc: Interval | None = None
    stability: StabilityResult | None = None
    retrained: StabilityResult | None = None
    permutation: PermutationResult | None = None
    exclusion: ExclusionResult | None = None
    product: AttributionResult | None = None

    @property
    def top_features(self) -> pd.DataFrame:
        """The `top` features of each layer: the rows of `features` with a small rank."""
        return self.features[self.features["rank_in_layer"] <= self.top]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the attributions of single samples, as JSON-able values."""
        product = None if self.product is None else self.product.to_dict()
        return fields(self, leave_out=("values", "product")) | {"product": product}
