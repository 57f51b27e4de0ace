"""The classifiers, and the choice of their settings inside the training subjects.

Every input is brought to one common scale, not feature by feature: a latent whose small
dimensions are noise must not have them blown up.

Legend of shapes: ``sample``, ``feature``; ``column`` as in `immo_hpc.analysis.bootstrap`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from immo_hpc.analysis.bootstrap import Ranked, by_subject, macro_auc
from immo_hpc.analysis.labels import Fold, LabelledSamples

Factory = Callable[[int], Any]


class CommonScale(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn is untyped.
    """Subtract each feature's mean, divide all by one number, their root mean variance."""

    def fit(self, x: NDArray[np.floating[Any]], y: object = None) -> Self:
        """Learn means and scale from ``x``, ``(sample, feature)``."""
        self.mean_ = x.mean(axis=0)
        self.scale_ = float(np.sqrt(x.var(axis=0).mean())) or 1.0
        return self

    def transform(self, x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Centred and scaled copy of ``x``."""
        return np.asarray((x - self.mean_) / self.scale_)


class PrincipalSubspace(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # As above.
    """The first ``most`` principal components where there are more features than that.

    A covariance over all features would be too large to hold for tens of thousands.
    """

    def __init__(self, most: int = 1024, random_state: int = 0) -> None:
        self.most = most
        self.random_state = random_state

    def fit(self, x: NDArray[np.floating[Any]], y: object = None) -> Self:
        """Learn the components, if any are needed."""
        num_components = min(self.most, len(x))
        self.pca_ = None
        if x.shape[1] > self.most:
            self.pca_ = PCA(num_components, random_state=self.random_state).fit(x)
        return self

    def transform(self, x: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Components of ``x``, or ``x`` itself."""
        return x if self.pca_ is None else np.asarray(self.pca_.transform(x))


@dataclass(frozen=True)
class Classifier:
    """A kind of classifier with the settings it may take.

    Attributes:
        name: Short name.
        title: Name for people.
        settings: By setting (as text), a function of the seed that makes the estimator.
    """

    name: str
    title: str
    settings: Mapping[str, Factory]


@dataclass(frozen=True)
class Choice:
    """A setting chosen inside the training subjects.

    Attributes:
        setting: Key of `Classifier.settings`.
        auc: Its subject-level AUC, mean over folds; NaN where there were no folds.
        out_of_fold: Scores of the training samples by models that saw other subjects,
            ``(sample, column)``, NaN where no fold scored a sample.
    """

    setting: str
    auc: float
    out_of_fold: NDArray[np.float64]


def _svm(c: float) -> Factory:
    return lambda seed: make_pipeline(CommonScale(), SVC(C=c, class_weight="balanced"))


def _gradient_boosting(seed: int) -> Any:
    return HistGradientBoostingClassifier(
        max_iter=60, max_leaf_nodes=8, max_bins=32, early_stopping=False, random_state=seed
    )


def _neural_net(seed: int) -> Any:
    # Stops when the loss no longer falls by tol: the limit of epochs is far beyond that.
    network = MLPClassifier(
        (64,),
        alpha=1.0,
        learning_rate_init=3e-3,
        tol=1e-3,
        max_iter=2000,
        random_state=seed,
    )
    return make_pipeline(CommonScale(), network)


def _lda(seed: int) -> Any:
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto")
    return make_pipeline(CommonScale(), PrincipalSubspace(random_state=seed), lda)


def _ridge(alpha: float) -> Factory:
    return lambda seed: make_pipeline(
        CommonScale(), RidgeClassifier(alpha=alpha, class_weight="balanced")
    )


def _random_forest(seed: int) -> Any:
    return RandomForestClassifier(150, min_samples_leaf=3, random_state=seed)


def _elastic_net(c: float) -> Factory:
    # From scikit-learn 1.8 on, l1_ratio alone says which penalty; before, it had to be named.
    named = {"penalty": "elasticnet"} if LogisticRegression().penalty == "l2" else {}
    return lambda seed: make_pipeline(
        CommonScale(),
        LogisticRegression(
            solver="saga",
            l1_ratio=0.5,
            C=c,
            tol=1e-2,
            max_iter=5000,
            class_weight="balanced",
            random_state=seed,
            **named,
        ),
    )


def _logistic(c: float) -> Factory:
    return lambda seed: make_pipeline(CommonScale(), LogisticRegression(C=c, max_iter=5000))


LOGISTIC = Classifier(
    "logistic",
    "Logistic regression",
    {f"C={c:g}": _logistic(c) for c in (1e-4, 1e-3, 1e-2, 1e-1)},
)

CLASSIFIERS: Mapping[str, Classifier] = {
    kind.name: kind
    for kind in (
        Classifier("svm", "SVM (RBF)", {f"C={c:g}": _svm(c) for c in (0.1, 1.0, 10.0)}),
        Classifier("gradient_boosting", "Gradient boosting", {"60 trees": _gradient_boosting}),
        Classifier("neural_net", "Neural net", {"64 hidden units": _neural_net}),
        Classifier("lda", "LDA (shrinkage)", {"Ledoit-Wolf": _lda}),
        Classifier("ridge", "Ridge", {f"alpha={a:g}": _ridge(a) for a in (1e2, 1e3, 1e4)}),
        Classifier("random_forest", "Random forest", {"150 trees": _random_forest}),
        Classifier(
            "elastic_net",
            "Elastic net (logistic)",
            {f"C={c:g}": _elastic_net(c) for c in (1e-2, 1e-1)},
        ),
    )
}


def fitted(factory: Factory, x: NDArray[np.floating[Any]], y: NDArray[np.int64], seed: int) -> Any:
    """The estimator fitted to ``x``; a class with a single sample is left out.

    Returns:
        The fitted estimator, or None if fewer than two classes are left.
    """
    codes, count = np.unique(y, return_counts=True)
    usable = codes[count > 1]
    if len(usable) < 2:
        return None
    held = np.isin(y, usable)
    return factory(seed).fit(x[held], y[held])


def class_scores(
    estimator: Any, x: NDArray[np.floating[Any]], num_classes: int
) -> NDArray[np.float64]:
    """Score of each sample for each class, ``(sample, column)``, float64.

    A class that the estimator did not see scores 0 everywhere, so that its AUC is 0.5; so
    does everything if ``estimator`` is None.
    """
    scores = np.zeros((len(x), num_classes))
    if estimator is not None and len(x):
        seen = np.asarray(estimator.classes_)
        if hasattr(estimator, "decision_function"):
            raw = np.asarray(estimator.decision_function(x), dtype=np.float64)
        else:
            raw = np.asarray(estimator.predict_proba(x), dtype=np.float64)
        if raw.ndim == 1:
            raw = np.stack([-raw, raw], axis=1)
        scores[:, seen] = raw
    return scores[:, 1:] if num_classes == 2 else scores


def choose(
    classifier: Classifier,
    x: NDArray[np.floating[Any]],
    data: LabelledSamples,
    folds: list[Fold],
    seed: int,
) -> Choice:
    """The setting with the best subject-level AUC over ``folds`` of the training subjects.

    Args:
        classifier: The kind and its settings.
        x: Inputs of all labelled samples, ``(sample, feature)``, no NaN.
        data: Their labels; samples outside ``folds`` are not touched.
        folds: (fit, score) pairs of places in ``x``; if there are none, the middle setting.
        seed: Seed of estimators that draw.
    """
    num_columns = 1 if data.num_classes == 2 else data.num_classes
    settings = list(classifier.settings)
    nothing = np.full((len(x), num_columns), np.nan)
    best = Choice(settings[len(settings) // 2], float("nan"), nothing)
    for setting, factory in classifier.settings.items():
        out_of_fold, values = nothing.copy(), []
        for fit, score in folds:
            estimator = fitted(factory, x[fit], data.y[fit], seed)
            out_of_fold[score] = class_scores(estimator, x[score], data.num_classes)
            values.append(subject_auc(out_of_fold[score], data, score))
        defined = [value for value in values if np.isfinite(value)]
        if defined and not np.mean(defined) <= best.auc:  # The first is better than NaN.
            best = Choice(setting, float(np.mean(defined)), out_of_fold)
    return best


def subject_auc(
    scores: NDArray[np.float64], data: LabelledSamples, place: NDArray[np.int64]
) -> float:
    """AUC over subjects of the samples at ``place``, NaN where one class is absent."""
    if not len(place):
        return float("nan")
    ranked = Ranked(scores, data.y[place], data.subject[place])
    return float(macro_auc(by_subject(ranked))[0])
