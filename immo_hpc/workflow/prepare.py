"""From tables to shards, and cohorts made up for trying things."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.preparation import Preparation, fit_preparation
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.data.read import read_cohort
from immo_hpc.data.shards import write_shards
from immo_hpc.data.simulate import SimulationConfig, simulate_cohort
from immo_hpc.data.split import split_notices, split_samples
from immo_hpc.data.write import write_cohort
from immo_hpc.files import require_absent
from immo_hpc.workflow.outcome import Outcome


@dataclass(frozen=True)
class CohortOptions:
    """What the user says about a cohort beside its own description; None = as described."""

    layers: Sequence[str] | None = None
    label: str | None = None
    subject: str | None = None
    positive: str | None = None

    def read(self, path: Path) -> Cohort:
        """Read the cohort at ``path`` with these options."""
        return read_cohort(
            path,
            layers=self.layers,
            label=self.label,
            subject=self.subject,
            positive=self.positive,
        )


def simulate(out: Path, *, num_subjects: int, visits_mean: float, seed: int) -> Outcome:
    """Write a simulated cohort into the new folder ``out``.

    Raises:
        OutputError: If ``out`` exists and is not empty, or cannot be written.
    """
    require_absent(out)
    config = SimulationConfig(num_subjects=num_subjects, visits_mean=visits_mean, seed=seed)
    cohort = simulate_cohort(config).cohort
    write_cohort(cohort, out)
    layers = {name: len(layer.rows) for name, layer in cohort.layers.items()}
    counted = ", ".join(f"{name} {rows}" for name, rows in layers.items())
    return Outcome(
        {"cohort": str(out), "samples": len(cohort.samples), "layers": layers},
        f"{out}: {len(cohort.samples)} samples of {cohort.subjects.nunique()} people ({counted})",
    )


def prepare(cohort_path: Path, shards: Path, config: ImmoConfig, options: CohortOptions) -> Outcome:
    """Read a cohort, split it, fit the preparation on its training samples, write shards.

    Raises:
        CohortError: If the cohort cannot be used as it is.
        OutputError: If ``shards`` exists and is not empty, or cannot be written.
    """
    require_absent(shards)
    return prepare_cohort(options.read(cohort_path), shards, config, source=cohort_path.name)


def prepare_cohort(cohort: Cohort, shards: Path, config: ImmoConfig, *, source: str) -> Outcome:
    """As `prepare`, for a cohort that was read already."""
    split = split_samples(cohort.samples, cohort.roles, config.split, config.seed)
    notices = (*cohort.notices, *split_notices(cohort.samples, cohort.roles, config.split))
    preparation = fit_preparation(cohort, np.flatnonzero(split == "train"), config.preparation)
    prepared = preparation.apply(cohort, split=split)
    write_shards(
        prepared,
        preparation,
        shards,
        source=source,
        config=config.model_dump(mode="json", include={"seed", "split", "preparation"}),
        notices=notices,
    )
    layers = {name: _layer_counts(cohort, prepared, name) for name in prepared.layers}
    sides = _split_counts(prepared)

    def people(num_subjects: int) -> str:
        return "" if cohort.roles.subject is None else f"{num_subjects} people, "

    lines = [
        f"{shards}: {len(prepared.samples)} samples",
        *_layer_lines(preparation, layers),
        "  split: "
        + "; ".join(
            f"{side} {people(counts['subjects'])}{counts['samples']} samples"
            for side, counts in sides.items()
        ),
    ]
    values = {"shards": str(shards), "layers": layers, "split": sides}
    return Outcome(values, "\n".join(lines), notices)


def _layer_counts(cohort: Cohort, prepared: PreparedCohort, name: str) -> dict[str, int]:
    return {
        "samples": len(prepared.layers[name].rows),
        "features": len(cohort.layers[name].features),
        "kept": len(prepared.layers[name].features),
    }


def _split_counts(prepared: PreparedCohort) -> dict[str, dict[str, int]]:
    assert prepared.split is not None
    subjects = prepared.subjects.to_numpy()
    return {
        side: {
            "samples": int((prepared.split == side).sum()),
            "subjects": len(set(subjects[prepared.split == side])),
        }
        for side in ("train", "validation", "test")
    }


def _layer_lines(preparation: Preparation, layers: Mapping[str, Mapping[str, int]]) -> list[str]:
    return [
        f"  {name:<12} {preparation.layers[name].kind:<12} {counts['samples']:>6} samples  "
        f"{counts['kept']} of {counts['features']} features kept"
        for name, counts in layers.items()
    ]
