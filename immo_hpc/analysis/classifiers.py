"""The classifiers and the settings they may take.

Every input is brought to one common scale, not feature by feature: a latent whose small
dimensions are noise must not have them blown up.

Legend of shapes: ``sample``, ``feature``.
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
        reads_wide: False if it takes too long on thousands of features: it then reads leading
            principal components instead (`immo_hpc.analysis.methods.on_matrix`).
    """

    name: str
    title: str
    settings: Mapping[str, Factory]
    reads_wide: bool = True


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


_LOGISTIC_C = (1e-4, 1e-3, 1e-2, 1e-1)
LOGISTIC = Classifier(
    "logistic", "Logistic regression", {f"C={c:g}": _logistic(c) for c in _LOGISTIC_C}
)

CLASSIFIERS: Mapping[str, Classifier] = {
    kind.name: kind
    for kind in (
        Classifier("svm", "SVM (RBF)", {f"C={c:g}": _svm(c) for c in (0.1, 1.0, 10.0)}, False),
        Classifier(
            "gradient_boosting", "Gradient boosting", {"60 trees": _gradient_boosting}, False
        ),
        Classifier("neural_net", "Neural net", {"64 hidden units": _neural_net}, False),
        Classifier("lda", "LDA (shrinkage)", {"Ledoit-Wolf": _lda}),
        Classifier("ridge", "Ridge", {f"alpha={a:g}": _ridge(a) for a in (1e2, 1e3, 1e4)}),
        Classifier("random_forest", "Random forest", {"150 trees": _random_forest}),
        Classifier(
            "elastic_net",
            "Elastic net (logistic)",
            {f"C={c:g}": _elastic_net(c) for c in (1e-2, 1e-1)},
            False,
        ),
    )
}
