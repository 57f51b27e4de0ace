"""What a study begins with: points to try first, and what earlier studies found."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from immo_hpc._version import __version__
from immo_hpc.config import ImmoConfig
from immo_hpc.errors import ConfigError, RunError
from immo_hpc.search.build import paper_optimum
from immo_hpc.search.keys import NOT_THE_RESULT, WEIGHTS, put
from immo_hpc.search.space import Params, Space, share_keys
from immo_hpc.search.study import Ledger, Plan, StudyFolder
from immo_hpc.search.study.standing import ranked
from immo_hpc.search.suggest import Seen

# Best points of a study whose values do not compare that are tried again.
_NUM_BEST = 5


@dataclass(frozen=True)
class Warm:
    """What to begin with.

    Attributes:
        queue: Points to try first, each with its origin.
        known: Trials whose values compare.
        notices: What was left out, as sentences.
    """

    queue: tuple[tuple[str, Params], ...]
    known: tuple[Seen, ...]
    notices: tuple[str, ...]


def warm_start(
    asked: Sequence[str], space: Space, base: ImmoConfig, compare: tuple[object, ...]
) -> Warm:
    """What the study begins with.

    Args:
        asked: 'paper' (the optimum of the paper's search), 'default' (the configuration that
            is searched around), or paths of earlier studies.
        space: Space of the new study.
        base: Its configuration.
        compare: `comparable` of the new study.

    Raises:
        ConfigError: If a point asked for by name lies outside the space.
        RunError: If a path is no study.
    """
    queue: list[tuple[str, Params]] = []
    known: list[Seen] = []
    notices: list[str] = []
    for name in asked:
        if name in ("paper", "default"):
            config = base if name == "default" else paper_optimum(base, space.layers)
            params, outside = space.point(config)
            if outside:
                message = (
                    f"--warm {name}: this point lies outside the search space "
                    f"({', '.join(outside)}). Widen the space, or leave it out."
                )
                raise ConfigError(message)
            queue.append((name, params))
            continue
        points, notice = _from_study(name, space, compare)
        notices.append(notice)
        for item in points:
            if item.values is None:
                queue.append((name, item.params))
            else:
                known.append(item)
    return Warm(tuple(queue), tuple(known), tuple(notices))


def comparable(plan: Plan) -> tuple[object, ...]:
    """What two studies must share for the values of their trials to compare."""
    searched = {dimension.key for dimension in plan.space.dimensions}
    settings = plan.config.model_dump(mode="json")
    shares = share_keys(plan.space.layers)
    for key in (*searched, *plan.space.fixed, *NOT_THE_RESULT):
        put(settings, WEIGHTS if key in shares else key, None)
    rest = json.dumps([settings, dict(plan.space.fixed)], sort_keys=True)
    return (plan.data, plan.objectives, plan.folds, rest, frozenset(searched))


def _from_study(name: str, space: Space, compare: tuple[object, ...]) -> tuple[list[Seen], str]:
    """Points of an earlier study; those without values are to be tried again."""
    folder = StudyFolder(Path(name))
    if not folder.exists:
        message = f"--warm {name}: expected paper, default, or the folder of a study."
        raise RunError(message)
    plan = folder.read_plan()
    ledger = Ledger(folder.trials)
    ledger.sync()
    done = list(ledger.finished("complete"))
    usable = [
        Seen(trial.params, result.values) for trial, result in done if space.holds(trial.params)
    ]
    if comparable(plan) == compare and folder.version == __version__:
        notice = f"{name}: {len(usable)} of its {len(done)} complete trials are taken as known."
        return usable, notice
    best = [trial for trial, _ in ranked(ledger, plan.directions) if space.holds(trial.params)]
    again = [Seen(trial.params, None) for trial in best[:_NUM_BEST]]
    return again, (
        f"{name}: its values do not compare (other data, objective, folds, keys, settings or "
        f"version); its {len(again)} best points that lie in this space are tried first."
    )
