"""Any number of samples to use a model on, prepared and in memory some at a time.

Portions are whole batches of the network, so what comes out of all portions together is, to
the last bit, what comes out of all samples at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Cohort, Roles, measured_table
from immo_hpc.data.preparation.filters import check_domain
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.stream import ShardIndex, read_samples
from immo_hpc.data.visits import people, with_other_visits, with_visits
from immo_hpc.inference.asked import require_measured
from immo_hpc.inference.forward import BATCH_SIZE
from immo_hpc.inference.trained import TrainedModel

# Of a portion with every layer measured, as float32; a few times this is in memory.
PORTION_BYTES = 64 << 20


@dataclass(frozen=True)
class Portion:
    """Some of the samples.

    Attributes:
        cohort: Prepared, with layers of other visits if these were asked for.
        raw: In original units, if they come from tables.
    """

    cohort: PreparedCohort
    raw: Cohort | None


@dataclass(frozen=True)
class Samples:
    """Samples that need not all be in memory.

    Attributes:
        table: Sample table, index ``sample_id``.
        roles: Meaning of its columns.
        rows: Places of the samples that have a layer, by layer of the model, increasing.
        num_features: Features of all layers of the model together.
        read: Gives the samples at some places, ``(sample,)``, increasing.
    """

    table: pd.DataFrame
    roles: Roles
    rows: Mapping[str, NDArray[np.int64]]
    num_features: int
    read: Callable[[NDArray[np.int64]], Portion]

    def portions(
        self,
        places: NDArray[np.int64] | None = None,
        *,
        visits: bool = False,
        unheard: Callable[[PreparedCohort], NDArray[np.bool_]] | None = None,
    ) -> Iterator[Portion]:
        """The samples at ``places`` (all if None), in order; at least one portion.

        With ``visits`` each comes with what all other samples of its person say, as layers of
        their own, whatever the portion they are in (`immo_hpc.data.visits`); ``unheard`` names
        samples that say nothing of the others.
        """
        chosen = np.arange(len(self.table)) if places is None else places
        batch_bytes = 4 * max(self.num_features, 1) * BATCH_SIZE
        step = BATCH_SIZE * max(1, PORTION_BYTES // batch_bytes)
        for start in range(0, max(len(chosen), 1), step):
            part = chosen[start : start + step]
            yield self._with_visits(part, unheard) if visits else self.read(part)

    def _with_visits(
        self,
        places: NDArray[np.int64],
        unheard: Callable[[PreparedCohort], NDArray[np.bool_]] | None,
    ) -> Portion:
        everyone = with_other_visits(people(self.table, self.roles), places)
        portion = self.read(everyone)
        silent = None if unheard is None else unheard(portion.cohort)
        cohort = with_visits(portion.cohort, unheard=silent)
        cohort = cohort.take(np.searchsorted(everyone, places))
        return Portion(cohort, portion.raw)


def prepared_samples(cohort: PreparedCohort | ShardIndex) -> Samples:
    """Samples that are prepared already: in memory, or in shards and read from there."""

    def read(places: NDArray[np.int64]) -> Portion:
        if isinstance(cohort, ShardIndex):
            return Portion(read_samples(cohort, places), None)
        is_all = len(places) == len(cohort.samples)
        return Portion(cohort if is_all else cohort.take(places), None)

    rows = {name: layer.rows for name, layer in cohort.layers.items()}
    num_features = sum(len(layer.features) for layer in cohort.layers.values())
    return Samples(cohort.samples, cohort.roles, rows, num_features, read)


def new_samples(model: TrainedModel, cohort: Cohort) -> Samples:
    """Samples of a cohort in original units, in memory or on disk.

    All values are looked over here, so that nothing is refused half-way.

    Raises:
        CohortError: As `TrainedModel.prepare`.
    """
    rows = {name: np.empty(0, dtype=np.int64) for name in model.layers}
    for name, preparation in model.preparation.layers.items():
        if name in cohort.layers:
            layer = cohort.layers[name]
            check_domain(layer, preparation.kind, cohort.sample_ids)
            rows[name] = layer.rows[preparation.measured_rows(layer)]
    ids = cohort.sample_ids
    require_measured(ids, measured_table(len(ids), list(rows.values())), list(rows))

    def read(places: NDArray[np.int64]) -> Portion:
        part = cohort.take(places)
        return Portion(model.timed(model.preparation.apply(part)), part)

    outline = model.preparation.outline(cohort)
    num_features = sum(map(len, model.layers.values()))
    return Samples(outline.samples, cohort.roles, rows, num_features, read)


def embed_samples(model: TrainedModel, samples: Samples) -> pd.DataFrame:
    """Latent of every sample, index ``sample_id``, columns `TrainedModel.latent_names`."""
    latent = np.empty((len(samples.table), model.latent_dim), dtype=np.float32)
    start = 0
    for portion in samples.portions():
        stop = start + len(portion.cohort.samples)
        latent[start:stop] = model.embed(portion.cohort)
        start = stop
    index = pd.Index([str(name) for name in samples.table.index], name="sample_id")
    return pd.DataFrame(latent, index=index, columns=model.latent_names)
