"""A trained model together with everything needed to use it on new samples."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.companion import Companion, load_companion, save_companion
from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort, Roles
from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import people
from immo_hpc.errors import UsageError
from immo_hpc.inference import forward
from immo_hpc.inference.asked import foretellable, known_layers, require_measured
from immo_hpc.inference.bounds import layer_bounds
from immo_hpc.inference.calibration.calibrated import Calibration
from immo_hpc.inference.calibration.hidden import MODES
from immo_hpc.inference.calibration.store import load_calibration, save_calibration
from immo_hpc.inference.companion import reconstruct
from immo_hpc.inference.impute import Imputation, complete_layer, original_units
from immo_hpc.inference.saved import load_parts, save_parts
from immo_hpc.nn import ImmoModel
from immo_hpc.train.metrics import EpochRecord
from immo_hpc.train.run import RunFolder


@dataclass(frozen=True)
class TrainedModel:
    """A network, its preparation and its configuration; never changed by use.

    Results depend on a sample's own values alone: not on the other samples, their order or
    the size of batches (up to the rounding of float32 sums).

    Attributes:
        model: The network, on the device it computes on.
        preparation: From original units to z-scores and back.
        config: Configuration of the training.
        roles: Meaning of the sample table's columns in the training cohort.
        companion: Closed forms that foretell what is missing together with the network; None
            where there are none, and the network does it alone.
        calibration: How far off the model is on people it was not trained on; None where
            nobody was held out, or an older run has none.
    """

    model: ImmoModel
    preparation: Preparation
    config: ImmoConfig
    roles: Roles = field(default_factory=Roles)
    calibration: Calibration | None = None
    companion: Companion | None = None

    @property
    def layers(self) -> dict[str, tuple[str, ...]]:
        """Names of the features the model knows, by layer."""
        return {name: tuple(layer.features) for name, layer in self.preparation.layers.items()}

    @property
    def latent_dim(self) -> int:
        """Dimension of the latent."""
        return self.config.model.latent_dim

    @property
    def latent_names(self) -> list[str]:
        """Column names of the latent: ``immo_0``, ``immo_1``, ..."""
        return [f"immo_{number}" for number in range(self.latent_dim)]

    @classmethod
    def load(cls, folder: Path, *, device: str = "auto", calibrated: bool = True) -> Self:
        """Read a model that `save` or a training run wrote; no code of it is executed.

        Args:
            folder: Run folder or folder of a saved model.
            device: 'auto' (the first GPU if there is one), 'cpu', 'cuda' or 'cuda:N'.
            calibrated: Read its calibration too, if it has one.

        Raises:
            RunError: If the folder is incomplete, damaged or of another format version.
            ConfigError: If the device is not there.
        """
        model = cls(*load_parts(folder, device))
        model = replace(model, companion=load_companion(folder, model.layers))
        if not calibrated:
            return model
        return replace(model, calibration=load_calibration(RunFolder(folder)))

    def save(self, folder: Path, *, records: Sequence[EpochRecord] = ()) -> None:
        """Write the model to a new folder: safetensors, JSON and YAML, no pickle.

        The files are those of a run folder, without what only resuming needs.

        Args:
            folder: New folder.
            records: Records of the training, kept with the model as ``metrics.jsonl``.

        Raises:
            OutputError: If the folder exists and is not empty, or cannot be written.
        """
        parts = (self.model, self.preparation, self.config, self.roles)
        save_parts(folder, *parts, records)
        if self.companion is not None:
            save_companion(folder, self.companion)
        if self.calibration is not None:
            save_calibration(RunFolder(folder), self.calibration)

    def require_calibration(self) -> Calibration:
        """The calibration.

        Raises:
            UsageError: If there is none; the message says how to get one.
        """
        if self.calibration is None:
            message = (
                "the model has no calibration, so nothing is known of how far off it is: it was "
                "trained without validation people, or by an older version. Trained from shards "
                "with split.validation_fraction above 0, a run is given one by: immo calibrate RUN."
            )
            raise UsageError(message)
        return self.calibration

    def distances(self, cohort: PreparedCohort) -> pd.DataFrame:
        """How far each sample is from those the model knows, by its measured layers alone.

        Args:
            cohort: Prepared samples.

        Returns:
            As `immo_hpc.inference.calibration.distance.Distance.table`.

        Raises:
            UsageError: If the model has no calibration.
        """
        return self.require_calibration().distance.table(cohort)

    def notices(self, cohort: Cohort) -> tuple[str, ...]:
        """What `prepare` ignores in ``cohort`` or treats as not measured, as sentences."""
        return self.preparation.match_features(cohort)

    def prepare(self, cohort: Cohort) -> PreparedCohort:
        """Make z-scores of samples, old or new, with whatever layers and features they have.

        Layers and features are matched by name; unknown ones are ignored, missing ones count
        as not measured. `notices` tells which.

        Raises:
            CohortError: If a sample has no measured value in any of the model's layers, or a
                layer holds values that its kind does not allow.
        """
        prepared = self.timed(self.preparation.apply(cohort))
        require_measured(prepared.sample_ids, prepared.measured(), list(self.layers))
        return prepared

    def timed(self, cohort: PreparedCohort) -> PreparedCohort:
        """The samples, without times if the model was fitted without.

        Other visits then count alike, as they did when it was fitted and calibrated.
        """
        if self.roles.time is not None or cohort.roles.time is None:
            return cohort
        return replace(cohort, roles=replace(cohort.roles, time=None))

    def embed(self, cohort: PreparedCohort) -> NDArray[np.float32]:
        """Latent of every sample, ``(sample, latent)``, float32, in the samples' order."""
        return forward.embed(self.model, cohort)

    def embed_frame(self, cohort: PreparedCohort) -> pd.DataFrame:
        """As `embed`, with the index ``sample_id`` and the columns `latent_names`."""
        index = pd.Index(cohort.sample_ids, name="sample_id")
        return pd.DataFrame(self.embed(cohort), index=index, columns=self.latent_names)

    def reconstruct(
        self, cohort: PreparedCohort, layers: Sequence[str] | None = None
    ) -> dict[str, NDArray[np.float32]]:
        """What the model says about every value of every sample.

        Of what is missing it is what network and companion say together; of what was
        measured, what the network alone makes of it.

        Args:
            cohort: Prepared samples. If `immo_hpc.data.visits.with_visits` has put other
                visits beside them, what is said depends on these too.
            layers: Layers to reconstruct; None for all.

        Returns:
            By layer ``(sample, feature)``, float32, z-score units.

        Raises:
            UsageError: If a layer is not one of the model's.
        """
        names = known_layers(layers, list(self.layers))
        return reconstruct(self.model, self.companion, cohort, names)

    def held_back(self) -> Self:
        """The model as it would be had it seen nobody of the validation side.

        The network never learnt from them, but its companion keeps their samples; how far
        off the model is on new people is shown by what this one says about them.
        """
        if self.companion is None:
            return self
        return replace(self, companion=self.companion.without_validation())

    def apart(self, train: PreparedCohort) -> Iterator[tuple[Self, PreparedCohort]]:
        """Training people in parts, each with the model had its companion not held them.

        Args:
            train: Training samples, which are given as they are if there is no companion; else
                those that the companion keeps are.
        """
        if self.companion is None:
            yield self, train
            return
        held = self.companion.without_validation().reference
        person = np.unique(people(held.samples, held.roles), return_inverse=True)[1].ravel()
        for part in (0, 1):
            mine = person % 2 == part
            others = Companion(held.take(np.flatnonzero(~mine)), self.companion.rules)
            yield replace(self, companion=others), held.take(np.flatnonzero(mine))

    def impute(
        self,
        cohort: PreparedCohort,
        layers: Sequence[str] | None = None,
        *,
        raw: Cohort | None = None,
    ) -> dict[str, pd.DataFrame]:
        """Complete layers in original units (the values of `complete`)."""
        return self.complete(cohort, layers, raw=raw).values

    def complete(
        self,
        cohort: PreparedCohort,
        layers: Sequence[str] | None = None,
        *,
        raw: Cohort | None = None,
        level: float | None = None,
    ) -> Imputation:
        """Fill single missing values and whole missing layers of every sample.

        Args:
            cohort: Prepared samples.
            layers: Layers to complete; None for all.
            raw: The same samples in original units. Given, measured values come back
                exactly as they were; otherwise recomputed from their z-scores.
            level: Also give intervals that hold this share of such values of new people, one
                of `immo_hpc.inference.calibration.intervals.LEVELS`.

        Returns:
            Complete tables and the mask of what was imputed. Values are physically
            possible: compositions, counts and intensities at least 0, binary in [0, 1].

        Raises:
            UsageError: If a layer is not one of the model's; if ``level`` is none of those, or
                the model has no calibration.
            CohortError: If ``raw`` does not hold the samples of ``cohort``.
        """
        values, imputed, lower, upper = {}, {}, {}, {}
        known = None if level is None else self.require_calibration()
        # One layer at a time, so that memory holds one rectangle and not all of them.
        for name in known_layers(layers, list(self.layers)):
            z_hat = self.reconstruct(cohort, [name])[name]
            values[name], imputed[name] = complete_layer(name, z_hat, cohort, self.preparation, raw)
            if known is not None and level is not None:
                offsets = {mode: known.offsets(name, level, mode) for mode in MODES}
                lower[name], upper[name] = layer_bounds(
                    name, z_hat, cohort, self.preparation, offsets, values[name]
                )
        return Imputation(values, imputed, lower, upper)

    def generate(self, cohort: PreparedCohort, source: Sequence[str], target: str) -> pd.DataFrame:
        """The target layer as the source layers alone foretell it.

        Values of any other layer, the target's own among them, are not looked at.

        Args:
            cohort: Prepared samples.
            source: Layers to encode.
            target: Layer to decode; not one of ``source``.

        Returns:
            One row for every sample that has a source layer; index ``sample_id``, columns
            the target's features, float32, original units (compositions and counts at the
            median scale of the training samples).

        Raises:
            UsageError: If a layer is not one of the model's, ``source`` is empty, or
                ``target`` is one of ``source``.
            CohortError: If no sample has any of the source layers.
        """
        names = list(self.layers)
        rows = {name: cohort.layers[name].rows for name in names}
        places = foretellable(rows, source, target, len(cohort.samples))
        shown = cohort.without(*(set(cohort.layers) - set(known_layers(source, names)))).take(
            places
        )
        z_hat = self.reconstruct(shown, [target])[target]
        return pd.DataFrame(
            original_units(target, z_hat, self.preparation),
            index=pd.Index(shown.sample_ids, name="sample_id"),
            columns=pd.Index(self.layers[target]),
        )
