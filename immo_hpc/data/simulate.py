"""A simulated cohort whose latent factors are known.

People come for repeated visits. A few latent factors, partly the person's own and partly
the visit's, drive all layers through partly non-linear links (`simulated_layers`). The
label belongs to the person and shifts some factors. Which layers a sample has follows the
frequencies of IBDMDB's patterns, and depends on time: later visits have fewer layers. So
missingness is not random, and neither are the values missing below detection limits.

Legend of shapes: ``subject``, ``sample`` (visits), ``factor``, ``feature``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.simulated_layers import (
    Drive,
    SimulatedLayer,
    clinical,
    composition,
    counts,
    intensities,
)
from immo_hpc.errors import ConfigError

# Samples of IBDMDB by pattern of measured layers (mg, mt, mb).
PATTERNS = {
    (True, True, True): 326,
    (True, True, False): 470,
    (True, False, True): 144,
    (False, True, True): 1,
    (True, False, False): 645,
    (False, True, False): 2,
    (False, False, True): 75,
}
_SITES = ("North", "South", "East", "West")
_MOST_VISITS = 24


@dataclass(frozen=True)
class SimulationConfig:
    """What is simulated.

    Attributes:
        seed: Same seed, same cohort; at least 0.
        num_subjects: People, at least 4.
        visits_mean: Mean number of visits of a person, at least 1; nobody has more than 24.
        control_fraction: Share of people with the label 'control'; the others are 'case'.
        num_factors: Latent factors, at least 1.
        num_label_factors: Factors that the label shifts, at most ``num_factors``.
        label_effect: Distance of cases and controls on those factors, in sd of a factor.
        subject_share: Share of a factor's variance that is the person's own, 0 to 1.
        nonlinearity: Share of the signal's variance that is not linear in the factors, 0 to 1.
        noise: Standard deviation of a feature's noise, that of its signal being 1.
        site_effect: Standard deviation of a site's effect on a feature, on the same scale.
        time_dependence: How strongly missing layers follow time: 0 not at all, 1 wholly.
        num_mg: Features of the composition ``mg`` (percent), at least 2.
        num_mt: Features of the counts ``mt``, at least 2.
        num_mb: Features of the intensities ``mb``, at least 1.
        num_clin: Features of the continuous layer ``clin``; 0 leaves it out.
    """

    seed: int = 0
    num_subjects: int = 60
    visits_mean: float = 6.0
    control_fraction: float = 0.25
    num_factors: int = 8
    num_label_factors: int = 2
    label_effect: float = 1.2
    subject_share: float = 0.6
    nonlinearity: float = 0.3
    noise: float = 0.7
    site_effect: float = 0.3
    time_dependence: float = 0.6
    num_mg: int = 150
    num_mt: int = 120
    num_mb: int = 180
    num_clin: int = 0

    def __post_init__(self) -> None:
        """Check the ranges.

        Raises:
            ConfigError: If a value is out of range; the message names it.
        """
        limits: dict[str, tuple[float, float]] = {
            "seed": (0, 2**63 - 1),
            "num_subjects": (4, 10**7),
            "visits_mean": (1, _MOST_VISITS),
            "control_fraction": (0, 1),
            "num_factors": (1, 10**4),
            "num_label_factors": (0, self.num_factors),
            "subject_share": (0, 1),
            "nonlinearity": (0, 1),
            "noise": (0, np.inf),
            "site_effect": (0, np.inf),
            "time_dependence": (0, 1),
            "num_mg": (2, 10**7),
            "num_mt": (2, 10**7),
            "num_mb": (1, 10**7),
            "num_clin": (0, 10**7),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                message = f"simulation: {name} must be from {low} to {high}, found {value}."
                raise ConfigError(message)


@dataclass(frozen=True, eq=False)
class Simulation:
    """A simulated cohort and what is known about it.

    Attributes:
        cohort: The cohort as a study would have it, with all that is missing missing.
        latent: True factors, ``(sample, factor)``, float64.
        complete: Values of every layer for every sample before anything was hidden,
            ``(sample, feature)``, float32, original units, in the cohort's order of samples.
    """

    cohort: Cohort
    latent: NDArray[np.float64]
    complete: dict[str, NDArray[np.float32]]


def simulate_cohort(config: SimulationConfig) -> Simulation:
    """Simulate a cohort with subjects ``S001``, ... and samples ``S001V01``, ...

    Example:
        >>> simulation = simulate_cohort(SimulationConfig(num_subjects=5))
        >>> list(simulation.cohort.layers), simulation.cohort.sample_ids[0]
        (['mg', 'mt', 'mb'], 'S001V01')
    """
    people_rng, latent_rng, pattern_rng, *layer_rngs = (
        np.random.default_rng([config.seed, part]) for part in range(7)
    )
    samples, subject = _visits(people_rng, config)
    latent = _factors(latent_rng, samples, subject, config)
    site = np.array([_SITES.index(name) for name in samples["site"]])
    drive = Drive(latent, subject, site, config.nonlinearity, config.noise, config.site_effect)
    simulated = {
        "mg": composition(layer_rngs[0], drive, config.num_mg),
        "mt": counts(layer_rngs[1], drive, config.num_mt),
        "mb": intensities(layer_rngs[2], drive, config.num_mb),
    }
    has = _patterns(pattern_rng, samples["days"].to_numpy(), config.time_dependence)
    measured = dict(zip(("mg", "mt", "mb"), has.T, strict=True))
    if config.num_clin:
        simulated["clin"] = clinical(layer_rngs[3], drive, config.num_clin)
        measured["clin"] = pattern_rng.random(len(samples)) < 0.7
    layers = {name: _layer(name, drawn, measured[name]) for name, drawn in simulated.items()}
    roles = Roles("diagnosis", "case", "subject_id", "site", ("age", "sex"))
    complete = {name: drawn.complete for name, drawn in simulated.items()}
    return Simulation(Cohort(samples, layers, roles), latent, complete)


def _visits(
    rng: np.random.Generator, config: SimulationConfig
) -> tuple[pd.DataFrame, NDArray[np.int64]]:
    """Sample table, and the number of each sample's subject, ``(sample,)``."""
    count = config.num_subjects
    visits = np.minimum(1 + rng.poisson(config.visits_mean - 1, count), _MOST_VISITS)
    subject = np.repeat(np.arange(count), visits)
    visit = np.concatenate([np.arange(1, number + 1) for number in visits])
    gaps = np.where(visit == 1, rng.uniform(0, 14, len(visit)), rng.gamma(4, 5, len(visit)))
    days = pd.Series(gaps).groupby(subject).cumsum().round().to_numpy()
    is_control = rng.permutation(count) < round(config.control_fraction * count)
    per_subject = pd.DataFrame(
        {
            "subject_id": [f"S{number + 1:03}" for number in range(count)],
            "diagnosis": np.where(is_control, "control", "case"),
            "site": rng.choice(_SITES, count),
            "age": rng.integers(8, 76, count),
            "sex": rng.choice(("Female", "Male"), count),
        }
    ).astype({"subject_id": object, "diagnosis": object, "site": object, "sex": object})
    samples = per_subject.iloc[subject].reset_index(drop=True)
    names = samples["subject_id"] + [f"V{number:02}" for number in visit]
    samples.index = pd.Index(names, name="sample_id", dtype=object)
    return samples.assign(visit=visit, days=days), subject


def _factors(
    rng: np.random.Generator,
    samples: pd.DataFrame,
    subject: NDArray[np.int64],
    config: SimulationConfig,
) -> NDArray[np.float64]:
    own = rng.normal(size=(config.num_subjects, config.num_factors))[subject]
    of_visit = rng.normal(size=(len(samples), config.num_factors))
    share = config.subject_share
    latent = np.sqrt(share) * own + np.sqrt(1 - share) * of_visit
    is_case = (samples["diagnosis"] == "case").to_numpy()
    latent[:, : config.num_label_factors] += (
        config.label_effect * (is_case - (1 - config.control_fraction))[:, None]
    )
    return np.asarray(latent)


def _patterns(
    rng: np.random.Generator, days: NDArray[np.float64], time_dependence: float
) -> NDArray[np.bool_]:
    """Measured layers of each sample, ``(sample, layer)``; the fuller patterns come early."""
    frequency = np.array(list(PATTERNS.values())) / sum(PATTERNS.values())
    wanted = frequency * len(days)
    held = np.floor(wanted).astype(np.int64)
    largest = np.argsort(held - wanted, kind="stable")[: len(days) - held.sum()]
    held[largest] += 1
    time = np.argsort(np.argsort(days, kind="stable")) / len(days)
    spread = np.sqrt(1 / 12)  # sd of `time`, which is uniform
    noise = rng.normal(0, spread, len(days))
    lateness = time_dependence * time + np.sqrt(1 - time_dependence**2) * noise
    table = np.repeat(np.array(list(PATTERNS)), held, axis=0)
    has = np.empty_like(table)
    has[np.argsort(lateness, kind="stable")] = table
    return has


def _layer(name: str, drawn: SimulatedLayer, measured: NDArray[np.bool_]) -> Layer:
    rows = np.flatnonzero(measured)
    return Layer(name, drawn.kind, drawn.features, drawn.values[rows], rows)
