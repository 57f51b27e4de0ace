"""Table 4: a search of our own over the paper's space, or one that was made before."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort
from immo_hpc.errors import CohortError
from immo_hpc.files import write_text
from immo_hpc.search.keys import WEIGHTS
from immo_hpc.search.study import Ledger, StudyFolder
from immo_hpc.search.study.records import Result, Trial

# The fixed objective, and the paper's own: kept with each trial whatever was searched for.
FIXED, OWN = "held-out", "paper"


def search(cohort: Cohort, config: ImmoConfig, trials: int, place: Path) -> dict[str, Any]:
    """Search the paper's space, beginning with the paper's optimum.

    Shards and study lie in the folder ``place``: a search that was killed goes on.

    Args:
        cohort: The paper's samples.
        config: Published settings.
        trials: Rounds.
        place: Folder to work in.

    Returns:
        As `read_study`.
    """
    from immo_hpc.workflow.prepare import prepare_cohort
    from immo_hpc.workflow.tune import Asked, tune

    shards, study, settings = place / "shards", place / "study", place / "config.yaml"
    place.mkdir(parents=True, exist_ok=True)
    if not shards.exists():
        prepare_cohort(cohort, shards, config, source="reproduce")
    write_text(settings, config.to_yaml())
    asked = Asked(config=settings, warm=("paper",), seed=config.seed)
    tune(shards, study, asked, {"trials": trials, "top": 0, "seeds": 1})
    return read_study(study, list(cohort.layers))


def read_study(path: Path, layers: Sequence[str]) -> dict[str, Any]:
    """What a study found.

    Args:
        path: Study folder of `immo tune`.
        layers: Layers it has to be about.

    Returns:
        ``objective``, ``seed``, and ``trials``, one a complete trial: ``number``, ``origin``
        ('paper', 'start', 'gp', ...), ``fixed`` (error on the fixed objective), ``own`` (the
        paper's objective) and ``values`` by key, each the mean over its folds.

    Raises:
        RunError: If there is no study.
        CohortError: If it is about other layers, or has no complete trial.
    """
    plan = StudyFolder(path).read_plan()
    if set(plan.space.layers) != set(layers):
        message = (
            f"{path}: the study is about the layers {', '.join(plan.space.layers)}, and the "
            f"paper's are {', '.join(layers)}. Name a study on this cohort, or leave --study out."
        )
        raise CohortError(message)
    ledger = Ledger(StudyFolder(path).trials)
    ledger.sync()
    done = list(ledger.finished("complete"))
    if not done:
        message = f"{path}: the study has no complete trial yet. Go on with: immo resume {path}"
        raise CohortError(message)
    return {
        "objective": plan.objectives[0],
        "seed": plan.seed,
        "trials": [_row(plan.space.config(plan.config, t.params, t.seed), t, r) for t, r in done],
    }


def _row(config: ImmoConfig, trial: Trial, result: Result) -> dict[str, Any]:
    folds = result.detail["by_fold"]
    weights = {name: round(value, 3) for name, value in config.loss.weights.items()}
    values: dict[str, Any] = {
        "model.latent_dim": config.model.latent_dim,
        "model.dropout": config.model.dropout,
        "train.learning_rate": config.train.learning_rate,
        "mask.values.p0": config.mask.values.p0,
        "train.lr_decay": config.train.lr_decay,
        WEIGHTS: weights,
    }
    return {
        "number": trial.number,
        "origin": trial.origin,
        "fixed": fmean(fold[FIXED] for fold in folds),
        "own": fmean(fold[OWN] for fold in folds),
        "values": values,
    }
