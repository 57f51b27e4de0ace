"""Every method that can be compared, and how names are asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import util

from immo_hpc.analysis.compare.contender import TASKS, Contender, Task
from immo_hpc.analysis.compare.fused import learn_immo_fusion
from immo_hpc.analysis.compare.lowrank import learn_pca, learn_svd
from immo_hpc.analysis.compare.mofa import learn_mofa
from immo_hpc.analysis.compare.neighbours import learn_neighbours
from immo_hpc.analysis.compare.networks import (
    learn_autoencoder,
    learn_companion,
    learn_immo,
    learn_network,
    learn_paper,
    learn_umint,
)
from immo_hpc.analysis.compare.regression import learn_pls, learn_ridge, learn_visits
from immo_hpc.analysis.compare.simple import (
    by_fusion,
    by_trees,
    learn_complete,
    learn_intermediate,
    learn_layers_only,
    learn_mean,
)
from immo_hpc.errors import UsageError

_LABEL: tuple[Task, ...] = ("label",)
_LAYERS: tuple[Task, ...] = ("layers",)

CONTENDERS: Mapping[str, Contender] = {
    item.name: item
    for item in (
        Contender(
            "layers_only", "Which layers exist, nothing else", "simple", _LABEL, learn_layers_only
        ),
        Contender("mean", "Mean fill, early fusion", "simple", TASKS, learn_mean),
        Contender("complete", "Complete cases only", "simple", _LABEL, learn_complete),
        Contender(
            "random_forest", "Random forest, filled", "simple", _LABEL, by_trees("random_forest")
        ),
        Contender(
            "gradient_boosting",
            "Gradient boosting, filled",
            "simple",
            _LABEL,
            by_trees("gradient_boosting"),
        ),
        Contender(
            "intermediate",
            "Intermediate fusion, PCA per layer",
            "simple",
            _LABEL,
            learn_intermediate,
        ),
        Contender(
            "late_fusion",
            "Late fusion, logits averaged",
            "simple",
            _LABEL,
            by_fusion("late_fusion"),
        ),
        Contender(
            "weighted_fusion",
            "Late fusion by subject, weighted mean",
            "simple",
            _LABEL,
            by_fusion("weighted_fusion"),
        ),
        Contender(
            "product",
            "Late fusion by subject, product of experts",
            "simple",
            _LABEL,
            by_fusion("product"),
        ),
        Contender("pca", "PCA on filled data", "simple", TASKS, learn_pca),
        Contender("svd", "Iterative SVD", "simple", TASKS, learn_svd),
        Contender("knn", "k nearest neighbours", "simple", TASKS, learn_neighbours),
        Contender("ridge", "Ridge regression", "simple", ("layers", "values"), learn_ridge),
        Contender("pls", "Partial least squares", "simple", ("label", "layers"), learn_pls),
        Contender(
            "kernel_ridge",
            "Kernel ridge (RBF)",
            "simple",
            _LAYERS,
            partial(learn_ridge, kernel="rbf"),
        ),
        Contender(
            "visits", "The person's other visits", "simple", ("values", "revisited"), learn_visits
        ),
        Contender("mofa", "MOFA2 (mofapy2)", "peer", TASKS, learn_mofa, needs="mofapy2"),
        Contender("autoencoder", "Plain autoencoder, filled", "peer", TASKS, learn_autoencoder),
        Contender("umint", "UMINT-style autoencoder", "peer", TASKS, learn_umint),
        Contender("immo_paper", "IMMO, published settings", "immo", TASKS, learn_paper),
        Contender("immo", "IMMO", "immo", TASKS, learn_immo),
        Contender(
            "immo_network", "IMMO, its network alone", "immo", ("layers", "values"), learn_network
        ),
        Contender(
            "immo_companion",
            "IMMO, its companion alone",
            "immo",
            ("layers", "values"),
            learn_companion,
        ),
        Contender("immo_fusion", "IMMO and late fusion", "immo", _LABEL, learn_immo_fusion),
    )
}


def chosen(names: Sequence[str] | None, tasks: Sequence[str]) -> tuple[list[Contender], list[str]]:
    """The methods asked for that can do one of ``tasks``, and why others are left out.

    Args:
        names: Names in `CONTENDERS`; None for all.
        tasks: Tasks that will be asked.

    Raises:
        UsageError: If a name is unknown, or none is left.
    """
    asked = list(CONTENDERS) if names is None else list(dict.fromkeys(names))
    unknown = [name for name in asked if name not in CONTENDERS]
    if unknown:
        message = (
            f"--methods: found {', '.join(map(repr, unknown))}; choose from "
            f"{', '.join(CONTENDERS)}."
        )
        raise UsageError(message)
    able = [CONTENDERS[name] for name in asked if any(map(CONTENDERS[name].can, tasks))]
    notices = [
        f"{item.title} left out: it needs the package {item.needs}, which is not installed "
        "(pip install 'immo-hpc[peers]')."
        for item in able
        if not is_there(item)
    ]
    ready = [item for item in able if is_there(item)]
    if not ready:
        message = f"--methods: none of {', '.join(asked)} can be used for {', '.join(tasks)}." + (
            " " + " ".join(notices)
        )
        raise UsageError(message.rstrip())
    return ready, notices


def is_there(contender: Contender) -> bool:
    """True if the package it needs is installed."""
    return not contender.needs or util.find_spec(contender.needs) is not None
