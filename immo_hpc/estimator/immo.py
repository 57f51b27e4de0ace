"""``IMMO``: fit, transform, impute and generate with scikit-learn habits.

``X`` stands for anything `immo_hpc.estimator.inputs` reads: a ``Cohort``, the path of a
cohort, a MuData object, a mapping from layer to DataFrame, or one wide DataFrame whose
columns have two levels (layer, feature), NaN = missing.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn import get_config
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from immo_hpc.config import LayerKind
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.split import split_samples
from immo_hpc.data.visits import with_visits
from immo_hpc.errors import CohortError
from immo_hpc.estimator.inputs import (
    as_cohort,
    ignored_layers,
    is_mudata,
    num_columns,
    wide_names,
    widened,
)
from immo_hpc.estimator.params import config_of, params_of
from immo_hpc.inference import Imputation, TrainedModel, hidden_r2, mean_score, to_mudata
from immo_hpc.inference.calibration.fit import calibration_of
from immo_hpc.inference.companion import companion_of
from immo_hpc.train import EpochRecord, RunFolder, read_metrics, train
from immo_hpc.train.threads import one_thread


class IMMO(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # sklearn has no types
    """Shared latent space of an incomplete multi-omics cohort.

    A sample may lack any layers and any single values. Features are matched by name: new
    samples may come with other layers, other features and another order. What the model
    does not know is ignored, what it misses counts as not measured, and a warning says both.

    Args:
        latent_dim: Dimension of the latent.
        encoder_dims: Widths of the dense blocks of each layer's encoder.
        decoder_dims: Widths of the dense blocks of the shared decoder.
        dropout: Dropout rate inside dense blocks.
        p0: Keep probability of single values at the first epoch; a number, or one a layer.
        growth: Relative growth of the keep probability per epoch (Eq. 1).
        p_max: Upper limit of the keep probability.
        layer_p0: Keep probability of a sample's whole measured layer; 1 turns it off.
        dynamic_mask: New masks every epoch; False keeps those of the first epoch.
        loss_scope: Which measured values are scored: 'observed' (all), 'kept' or 'dropped'.
        layer_weights: Weight of the named layers in the loss; 1 for the others.
        epochs: Most epochs.
        batch_size: Samples a step.
        learning_rate: Step size at the first epoch.
        lr_decay: Factor on the learning rate per epoch.
        weight_decay: Decoupled weight decay.
        clip_norm: Largest global norm of the gradient.
        patience: Epochs without a better held-out error before stopping.
        validation_fraction: Share of subjects (samples without ``groups``) that decide when
            to stop; never learnt from.
        companion: Fit closed forms beside the network, which foretell missing layers and values
            together with it; samples of the training are then kept with the model.
        min_prevalence: Compositions and counts: features above zero in a smaller share of
            the samples are left out.
        kinds: Kind by layer ('composition', 'counts', 'intensity', 'continuous', 'binary'),
            before what ``X`` says; guessed for layers that neither of them names.
        device: 'auto', 'cpu', 'cuda' or 'cuda:N'.
        num_threads: CPU threads while fitting; 0 leaves torch's choice.
        random_state: Int for the same result every time, None for a new one, or a numpy
            generator. Global random states are neither used nor changed.

    Attributes:
        model_: The fitted `immo_hpc.inference.TrainedModel`.
        preparation_: Its preparation, from original units to z-scores and back.
        config_: The whole configuration, with the seed that was used.
        history_: One row an epoch: losses, held-out errors, keep probabilities.
        layers_: Names of the features the model knows, by layer.
        n_features_in_: Number of feature columns of the ``X`` it was fitted on.
        feature_names_in_: Its columns as ``layer:feature``, if it was a wide DataFrame.
        n_iter_: Epochs that were run.
        notices_: What was guessed, left out or put right in ``X``, as sentences.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> has_mb = rng.random((40, 1)) < 0.5
        >>> X = pd.concat(
        ...     {
        ...         "mg": pd.DataFrame(rng.normal(size=(40, 5))),
        ...         "mb": pd.DataFrame(np.where(has_mb, rng.normal(size=(40, 4)), np.nan)),
        ...     },
        ...     axis=1,
        ... )
        >>> kinds = {"mg": "continuous", "mb": "continuous"}
        >>> immo = IMMO(latent_dim=3, epochs=2, kinds=kinds, random_state=0).fit(X)
        >>> immo.transform(X).shape
        (40, 3)
        >>> bool(immo.impute(X).isna().any(axis=None))
        False
    """

    def __init__(
        self,
        latent_dim: int = 110,
        *,
        encoder_dims: Sequence[int] = (256,),
        decoder_dims: Sequence[int] = (256,),
        dropout: float = 0.6,
        p0: float | Mapping[str, float] = 0.75,
        growth: float = 0.01,
        p_max: float = 0.95,
        layer_p0: float = 0.7,
        dynamic_mask: bool = True,
        loss_scope: Literal["observed", "kept", "dropped"] = "observed",
        layer_weights: Mapping[str, float] | None = None,
        epochs: int = 200,
        batch_size: int = 64,
        learning_rate: float = 0.00183,
        lr_decay: float = 0.99,
        weight_decay: float = 0.0,
        clip_norm: float = 1.0,
        patience: int = 20,
        validation_fraction: float = 0.15,
        companion: bool = True,
        min_prevalence: float = 0.05,
        kinds: Mapping[str, LayerKind] | None = None,
        device: str = "auto",
        num_threads: int = 0,
        random_state: Any = None,
    ) -> None:
        self.latent_dim = latent_dim
        self.encoder_dims = encoder_dims
        self.decoder_dims = decoder_dims
        self.dropout = dropout
        self.p0 = p0
        self.growth = growth
        self.p_max = p_max
        self.layer_p0 = layer_p0
        self.dynamic_mask = dynamic_mask
        self.loss_scope = loss_scope
        self.layer_weights = layer_weights
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.lr_decay = lr_decay
        self.weight_decay = weight_decay
        self.clip_norm = clip_norm
        self.patience = patience
        self.validation_fraction = validation_fraction
        self.companion = companion
        self.min_prevalence = min_prevalence
        self.kinds = kinds
        self.device = device
        self.num_threads = num_threads
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None, groups: Any = None) -> Self:
        """Learn the preparation and the network.

        Args:
            X: Samples to learn from.
            y: Ignored; the latent is learnt without labels.
            groups: Subject of each sample, so that visits of one person stay on one side of
                the split that decides when to stop. None: the subjects that ``X`` names.

        Raises:
            ConfigError: If a parameter is out of range.
            CohortError: If ``X`` cannot be used as it is.
            UsageError: If ``X`` or ``groups`` are of a kind that is not accepted.
        """
        config = config_of(self.get_params(deep=False))
        cohort = as_cohort(X, kinds=self.kinds, groups=groups)
        split = split_samples(cohort.samples, cohort.roles, config.split, config.seed)
        preparation = fit_preparation(cohort, np.flatnonzero(split == "train"), config.preparation)
        prepared = preparation.apply(cohort, split=split)
        training = train(prepared, config)
        trained = TrainedModel(training.model, preparation, config, cohort.roles)
        self.notices_ = (*cohort.notices, *training.notices)
        if config.train.companion:
            with one_thread():
                companion, notice = companion_of(training.model, prepared, config)
            trained = replace(trained, companion=companion)
            self.notices_ = (*self.notices_, notice)
        with one_thread():
            trained = self._calibrated(trained, prepared)
        self._set_fitted(trained, training.records)
        self.n_features_in_ = num_columns(X, cohort)
        if isinstance(X, pd.DataFrame):
            self.feature_names_in_ = wide_names(X)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        return self

    def transform(self, X: Any) -> NDArray[np.float32] | pd.DataFrame:
        """Latent of every sample.

        Args:
            X: Samples with any set of the model's layers.

        Returns:
            ``(sample, latent)``, float32, in the order of the samples; a DataFrame after
            ``set_output(transform="pandas")``.

        Raises:
            CohortError: If a sample has none of the model's layers.
        """
        prepared = self._prepared(X)[1]
        if self._wants_frame() and not isinstance(X, pd.DataFrame):
            return self.model_.embed_frame(prepared)
        return self.model_.embed(prepared)

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Names of the latent's columns; ``input_features`` is ignored."""
        check_is_fitted(self)
        return np.array(self.model_.latent_names, dtype=object)

    def impute(self, X: Any, *, return_mask: bool = False, visits: bool = True) -> Any:
        """Complete layers for every sample, in the units of ``X``.

        Measured values come back exactly as they were. Features that the model left out when
        it was fitted (too rarely measured or seen, or constant) are not in the result.

        Args:
            X: Samples with any set of the model's layers.
            return_mask: Also return what was imputed.
            visits: Use what the other samples of a sample's subject in ``X`` say, too, where
                ``X`` names the subjects; else each sample stands by itself.

        Returns:
            A wide DataFrame for a wide DataFrame; a MuData object for one, with the layer
            ``immo_imputed`` in each modality; else a dict from layer to DataFrame. With
            ``return_mask`` a pair, the second being the same of bool (a dict for MuData):
            True where the value is the model's and not a measurement.

        Raises:
            CohortError: If a sample has none of the model's layers.
        """
        cohort, prepared = self._prepared(X)
        shown = with_visits(prepared) if visits else prepared
        result = self.model_.complete(shown, raw=cohort)
        values = self._contained(X, cohort, prepared, result)
        if not return_mask:
            return values
        wide = isinstance(X, pd.DataFrame)
        return values, widened(result.imputed, X) if wide else result.imputed

    def impute_interval(
        self, X: Any, level: float = 0.9, *, visits: bool = True
    ) -> tuple[Any, Any]:
        """Intervals around what `impute` gives, in the units of ``X``.

        They hold the share ``level`` of the hidden values of people the model has not seen, all
        layers' values of many people together; not of each person, sample or feature. The
        values of `impute` lie between the ends, and a measured value is its own ends.

        Args:
            X: Samples with any set of the model's layers.
            level: 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 0.98 or 0.99.
            visits: As for `impute`, whose values of the same ``visits`` the ends are around.

        Returns:
            Lower and upper ends, each a wide DataFrame for a wide DataFrame, else a dict from
            layer to DataFrame; NaN where nobody held out could show how far off the model is.

        Raises:
            UsageError: If ``level`` is none of these, or nobody was held out in `fit`.
            CohortError: If a sample has none of the model's layers.
        """
        cohort, prepared = self._prepared(X)
        shown = with_visits(prepared) if visits else prepared
        result = self.model_.complete(shown, raw=cohort, level=level)
        if isinstance(X, pd.DataFrame):
            return widened(result.lower, X), widened(result.upper, X)
        return result.lower, result.upper

    def distances(self, X: Any) -> pd.DataFrame:
        """How far each sample is from those the model was fitted on, by its measured layers.

        Args:
            X: Samples with any set of the model's layers.

        Returns:
            One row a sample; columns ``distance``, ``layer`` (the one that is off most),
            ``p_value`` (share of held-out samples at least as far) and ``is_far``, True for
            samples whose imputed values are better not used.

        Raises:
            UsageError: If nobody was held out in `fit`.
            CohortError: If a sample has none of the model's layers.
        """
        frame = self.model_.distances(self._prepared(X)[1])
        return frame.set_axis(X.index, axis=0) if isinstance(X, pd.DataFrame) else frame

    def generate(self, X: Any, *, source: Sequence[str], target: str) -> pd.DataFrame:
        """One layer as other layers foretell it, in original units.

        Args:
            X: Samples.
            source: Layers that are looked at; no value of any other layer is.
            target: Layer to generate, not one of ``source``.

        Returns:
            One row for each sample that has a source layer, columns the target's features.

        Raises:
            UsageError: If a layer is not one of the model's, or the target is a source.
            CohortError: If no sample has any of the source layers.
        """
        cohort, prepared = self._prepared(X)
        frame = self.model_.generate(prepared, source, target)
        if isinstance(X, pd.DataFrame):
            place = pd.Index(cohort.sample_ids).get_indexer(frame.index)
            frame = frame.set_axis(X.index[place], axis=0)
        return frame

    def score(self, X: Any, y: Any = None) -> float:
        """How well values and layers that are hidden are foretold; higher is better.

        The mean over layers of the R² of hidden values and hidden layers
        (`immo_hpc.inference.hidden_r2`): 0 is the mean of the training samples, 1 is
        perfect. What is hidden depends on sample and feature names only.

        Args:
            X: Samples; unseen ones, and better of unseen subjects, if it is to say anything.
            y: Ignored.
        """
        prepared = self._prepared(X)[1]
        return mean_score(hidden_r2(self.model_, prepared))

    def save(self, folder: str | Path) -> None:
        """Write the fitted model to a new folder, in the format of a run's final model.

        Raises:
            OutputError: If the folder exists and is not empty, or cannot be written.
        """
        check_is_fitted(self)
        self.model_.save(Path(folder), records=self._records)

    @classmethod
    def load(cls, folder: str | Path, *, device: str = "auto") -> Self:
        """Read a model that `save` or a training run wrote.

        Parameters are those of the training as far as the estimator has them; ``config_``
        is the whole configuration.

        Raises:
            RunError: If the folder is incomplete, damaged or of another format version.
        """
        trained = TrainedModel.load(Path(folder), device=device)
        kinds = {name: layer.kind for name, layer in trained.preparation.layers.items()}
        immo = cls(**params_of(trained.config), kinds=kinds)
        immo._set_fitted(trained, tuple(read_metrics(RunFolder(Path(folder)).metrics)))
        immo.notices_ = ()
        immo.n_features_in_ = sum(len(features) for features in trained.layers.values())
        return immo

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        return tags

    def _set_fitted(self, trained: TrainedModel, records: tuple[EpochRecord, ...]) -> None:
        self.model_ = trained
        self.preparation_ = trained.preparation
        self.config_ = trained.config
        self.layers_ = trained.layers
        self.history_ = pd.json_normalize([record.to_dict() for record in records])
        self.n_iter_ = len(records)
        self._records = records

    def _calibrated(self, trained: TrainedModel, prepared: PreparedCohort) -> TrainedModel:
        held_out = prepared.take(prepared.indices("validation"))
        if not len(held_out.samples):
            return trained
        train_side = prepared.take(prepared.indices("train"))
        seed = trained.config.seed
        try:
            found = calibration_of(trained.held_back(), train_side, held_out, seed=seed)
        except CohortError as error:
            self.notices_ = (*self.notices_, f"no intervals: {error}")
            return trained
        return replace(trained, calibration=found)

    def _prepared(self, X: Any) -> tuple[Cohort, PreparedCohort]:
        check_is_fitted(self)
        kinds = {name: layer.kind for name, layer in self.preparation_.layers.items()}
        cohort = as_cohort(X, kinds=kinds, only=self.layers_)
        prepared = self.model_.prepare(cohort)
        for notice in (*ignored_layers(X, self.layers_), *self.model_.notices(cohort)):
            warnings.warn(notice, UserWarning, stacklevel=3)
        return cohort, prepared

    def _contained(
        self, X: Any, cohort: Cohort, prepared: PreparedCohort, result: Imputation
    ) -> Any:
        if isinstance(X, pd.DataFrame):
            return widened(result.values, X)
        if is_mudata(X):
            latent = self.model_.embed_frame(prepared)
            return to_mudata(
                cohort.samples, latent=latent, layers=result.values, imputed=result.imputed
            )
        return result.values

    def _wants_frame(self) -> bool:
        # scikit-learn names rows after X only if X is a DataFrame; other X have names too.
        own = getattr(self, "_sklearn_output_config", {})
        return bool(own.get("transform", get_config()["transform_output"]) == "pandas")
