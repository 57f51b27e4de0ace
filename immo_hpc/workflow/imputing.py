"""What `immo_hpc.workflow.use.impute` does with each portion of samples, and says at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.visits import people, without_visits
from immo_hpc.errors import UsageError
from immo_hpc.inference import Imputation, Samples, TrainedModel
from immo_hpc.inference.calibration.hidden import Mode
from immo_hpc.inference.impute import abstained
from immo_hpc.workflow.distances import Distances

# Values and masks of an .h5mu file, which are all in memory before it is written.
MOST_MUDATA_BYTES = 4 * 10**9
_IMPUTED_BYTES = 5
_BOUNDS_BYTES = 8
# What may be done with samples far from the training data, and what is said of it then.
DONE = {
    "abstain": "what they lack was left missing (--far keep imputes it)",
    "keep": "what they lack was imputed all the same, as asked",
}


@dataclass(frozen=True)
class Asked:
    """What is to be imputed, and how.

    Attributes:
        layers: Layers to complete; None for all.
        level: Level of the intervals; None for none.
        abstains: Whether samples far from the training data are left as they are.
        visits: Whether other visits of a sample's person are looked at. Samples that are far
            say nothing of the others if ``abstains``.
    """

    layers: Sequence[str] | None
    level: float | None
    abstains: bool
    visits: bool


def completed(
    model: TrainedModel, samples: Samples, asked: Asked, distances: Distances
) -> Iterator[Imputation]:
    """Complete samples, portion by portion; their distances are noted as they pass by."""

    def is_far_off(cohort: PreparedCohort) -> NDArray[np.bool_]:
        return np.asarray(model.distances(cohort)["is_far"], dtype=np.bool_)

    unheard = is_far_off if asked.abstains and model.calibration is not None else None
    for portion in samples.portions(visits=asked.visits, unheard=unheard):
        is_far = distances.add(without_visits(portion.cohort))
        complete = model.complete(portion.cohort, asked.layers, raw=portion.raw, level=asked.level)
        yield abstained(complete, is_far) if asked.abstains else complete


def with_others(model: TrainedModel, samples: Samples, visits: bool) -> int:
    """How many samples other visits of their person can say something of, if that is asked for.

    The companion alone looks at them: without it there are none.
    """
    if not visits or model.companion is None:
        return 0
    _, person, count = np.unique(
        people(samples.table, samples.roles), return_inverse=True, return_counts=True
    )
    return int(np.count_nonzero(count[person.ravel()] > 1))


def other_visits_used(num_samples: int) -> tuple[str, ...]:
    """A sentence that other visits were looked at, if they were."""
    if not num_samples:
        return ()
    return (
        f"of {num_samples} samples what other visits of their person say was used too "
        "(--no-visits: each sample by itself).",
    )


def without_ends(model: TrainedModel, asked: Asked) -> tuple[str, ...]:
    """A sentence if some intervals are missing because nobody could show how wide they are."""
    if asked.level is None:
        return ()
    mode: Mode = "visits" if asked.visits else "plain"
    unknown = model.require_calibration().unknown(asked.layers, mode)
    if not unknown:
        return ()
    listed = ", ".join(unknown)
    return (f"no validation person could show how far off the model is, so no interval: {listed}.",)


class Shares:
    """Share of the values that were imputed, by layer, counted as they pass by."""

    def __init__(self) -> None:
        self._imputed: dict[str, int] = {}
        self._all: dict[str, int] = {}

    def counted(self, portions: Iterable[Imputation]) -> Iterator[Imputation]:
        """The portions as they are, counted as they pass by."""
        for portion in portions:
            for name, mask in portion.imputed.items():
                count = int(np.count_nonzero(mask.to_numpy()))
                self._imputed[name] = self._imputed.get(name, 0) + count
                self._all[name] = self._all.get(name, 0) + mask.size
            yield portion

    @property
    def by_layer(self) -> dict[str, float]:
        """Share by layer."""
        return {name: count / max(self._all[name], 1) for name, count in self._imputed.items()}


def require_room(model: TrainedModel, samples: Samples, asked: Asked, out: Path) -> None:
    """Refuse what does not fit memory: a ``.h5mu`` is written from there."""
    names = model.layers if asked.layers is None else asked.layers
    num_features = sum(len(model.layers.get(name, ())) for name in names)
    each = _IMPUTED_BYTES + (0 if asked.level is None else _BOUNDS_BYTES)
    size = len(samples.table) * num_features * each
    if size > MOST_MUDATA_BYTES:
        message = (
            f"{out}: complete layers of {len(samples.table)} samples and {num_features} features "
            f"take {size / 1e9:.1f} GB, and an .h5mu file is written from memory, up to "
            f"{MOST_MUDATA_BYTES / 1e9:g} GB. Name a folder with --out, where tables are written "
            "some rows at a time, or fewer layers with --layers."
        )
        raise UsageError(message)
