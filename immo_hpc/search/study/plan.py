"""What a study is: fixed when it is made, and the same for every worker that ever joins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from immo_hpc.config import ImmoConfig, validated
from immo_hpc.errors import RunError
from immo_hpc.search.space import Params, Space, space_from_dict
from immo_hpc.search.suggest import Direction, Question, SamplerName, Seen

# Silence after which a worker of another host counts as dead, seconds.
STALE_AFTER_S = 60.0


@dataclass(frozen=True)
class Plan:
    """What decides which trials are made and what their values mean.

    Attributes:
        shards: Where the shards were when the study was made.
        data: Checksum of their manifest: the cohort, its preparation and its split.
        config: Configuration of what is not searched.
        space: What is searched.
        objectives: What is measured, by name (`immo_hpc.search.measures`).
        directions: What is better, one an objective.
        folds: Subject folds of a trial; 1: the validation side of the shards.
        sampler: Who suggests.
        seed: Seed of the suggestions; trials are trained with that of ``config``.
        pruner: Which trials are ended early, in words (`immo_hpc.search.pruning`).
        warm: What the study was begun with, as asked for.
        queue: Points to try first, each with its origin.
        known: Trials of earlier studies whose values compare with those of this one.
        mask_stream_version: Version of the mask stream.
    """

    shards: str
    data: str
    config: ImmoConfig
    space: Space
    objectives: tuple[str, ...]
    directions: tuple[Direction, ...]
    folds: int = 1
    sampler: SamplerName = "gp"
    seed: int = 0
    pruner: str = "none"
    warm: tuple[str, ...] = ()
    queue: tuple[tuple[str, Params], ...] = ()
    known: tuple[Seen, ...] = ()
    mask_stream_version: int = field(default=1)

    @property
    def question(self) -> Question:
        """What the sampler is asked."""
        return Question(self.space, self.directions, self.sampler, self.seed)

    def to_dict(self) -> dict[str, Any]:
        """The plan as plain values."""
        return {
            "shards": self.shards,
            "data": self.data,
            "config": self.config.model_dump(mode="json"),
            "space": self.space.to_dict(),
            "objectives": list(self.objectives),
            "directions": list(self.directions),
            "folds": self.folds,
            "sampler": self.sampler,
            "seed": self.seed,
            "pruner": self.pruner,
            "warm": list(self.warm),
            "queue": [[origin, params] for origin, params in self.queue],
            "known": [[seen.params, list(seen.values or ())] for seen in self.known],
            "mask_stream_version": self.mask_stream_version,
        }


def plan_from_dict(values: Mapping[str, Any], where: str) -> Plan:
    """The plan that `Plan.to_dict` gave.

    Raises:
        RunError: If the values are not those of a plan.
    """
    try:
        return Plan(
            shards=values["shards"],
            data=values["data"],
            config=validated(values["config"], where=where),
            space=space_from_dict(values["space"]),
            objectives=tuple(values["objectives"]),
            directions=tuple(values["directions"]),
            folds=values["folds"],
            sampler=values["sampler"],
            seed=values["seed"],
            pruner=values["pruner"],
            warm=tuple(values["warm"]),
            queue=tuple((origin, params) for origin, params in values["queue"]),
            known=tuple(Seen(params, tuple(seen)) for params, seen in values["known"]),
            mask_stream_version=values["mask_stream_version"],
        )
    except (LookupError, TypeError, ValueError) as error:
        message = f"{where}: not readable as a study ({error}). Begin a new one elsewhere."
        raise RunError(message) from error


def differences(before: Plan, now: Plan) -> list[str]:
    """What two plans do not share, in words; where the shards lie does not count."""
    # What earlier studies contributed was settled when the study was made.
    left = ("shards", "queue", "known")
    old, new = (json.loads(json.dumps(plan.to_dict())) for plan in (before, now))
    flat_old, flat_new = (_flat({k: v for k, v in x.items() if k not in left}) for x in (old, new))
    found = []
    for key in dict.fromkeys([*flat_old, *flat_new]):
        was, is_now = flat_old.get(key), flat_new.get(key)
        if was == is_now:
            continue
        if key == "data":
            found.append(f"the cohort (shards of {before.shards}, now {now.shards})")
        else:
            found.append(f"{key} was {_short(was)}, now {_short(is_now)}")
    return found


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key == "dimensions":
            flat |= _flat({item["key"]: _range(item) for item in value}, "space ")
        elif isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


def _range(item: Mapping[str, Any]) -> str:
    scale = " on a logarithmic scale" if item["log"] else ""
    when = f" when {item['when']}" if item["when"] else ""
    values = f"{item['low']}..{item['high']}{scale}" if item["low"] is not None else item["choices"]
    return f"{values}{when}"


def _short(value: Any) -> str:
    text = "not there" if value is None else repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
