"""Which of how many processes this one is, as torchrun or Slurm's srun tell it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from immo_hpc.errors import ConfigError

# Ports that a job without one takes: from here on, by its number.
_FIRST_PORT, _NUM_PORTS = 20000, 20000


@dataclass(frozen=True)
class Place:
    """One of the processes of a training.

    Attributes:
        rank: Its number, from 0.
        world_size: How many there are.
        local_rank: Its number among those of its machine.
        address: Where the first of them, or torchrun, listens.
        port: Port there.
        is_served: True if torchrun listens, False if the process of rank 0 has to.
    """

    rank: int
    world_size: int
    local_rank: int
    address: str
    port: int
    is_served: bool = False


def place_of(environment: Mapping[str, str]) -> Place | None:
    """The place of this process; None if it is alone.

    torchrun's variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT) come before
    those of srun. A batch script that srun did not start is alone, however many tasks
    its job has.

    Raises:
        ConfigError: If a variable is missing or no number.

    Example:
        >>> place_of({"SLURM_PROCID": "3", "SLURM_STEP_NUM_TASKS": "4", "SLURM_LOCALID": "1",
        ...           "SLURM_STEP_NODELIST": "node[07-08]", "SLURM_JOB_ID": "12"})
        Place(rank=3, world_size=4, local_rank=1, address='node07', port=20012, is_served=False)
    """
    if "WORLD_SIZE" in environment or "RANK" in environment:
        place = _by_torchrun(environment)
    elif "SLURM_STEP_NUM_TASKS" in environment:
        place = _by_slurm(environment)
    else:
        return None
    if not 0 <= place.rank < place.world_size:
        message = (
            f"this process is number {place.rank} of {place.world_size}; expected 0 to "
            f"{place.world_size - 1}. Check RANK and WORLD_SIZE, or start with torchrun or srun."
        )
        raise ConfigError(message)
    return None if place.world_size == 1 else place


def first_host(nodes: str) -> str:
    """The first host of a list of nodes as Slurm writes it.

    Example:
        >>> first_host("gpu[003-005,009],login1"), first_host("rack[2,4]n[0-3]"), first_host("a,b")
        ('gpu003', 'rack2n0', 'a')
    """
    found = re.match(r"(?:[^,\[\]]|\[[^\]]*\])+", nodes.strip())
    if found is None:
        message = f"SLURM_JOB_NODELIST: expected names of nodes, found '{nodes}'."
        raise ConfigError(message)
    return re.sub(r"\[([^\],-]+)[^\]]*\]", r"\1", found.group())


def _by_torchrun(environment: Mapping[str, str]) -> Place:
    world_size = _number(environment, "WORLD_SIZE")
    rank = _number(environment, "RANK")
    if world_size == 1:
        return Place(rank, 1, 0, "", 0)
    return Place(
        rank,
        world_size,
        _number(environment, "LOCAL_RANK", rank),
        _text(environment, "MASTER_ADDR"),
        _number(environment, "MASTER_PORT"),
        is_served=environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
    )


def _by_slurm(environment: Mapping[str, str]) -> Place:
    world_size = _number(environment, "SLURM_STEP_NUM_TASKS")
    rank = _number(environment, "SLURM_PROCID", 0)
    if world_size == 1:
        return Place(rank, 1, 0, "", 0)
    nodes = environment.get("SLURM_STEP_NODELIST") or _text(environment, "SLURM_JOB_NODELIST")
    # Another number at each attempt and step, so that none meets what another left.
    number = sum(
        _number(environment, name, 0)
        for name in ("SLURM_JOB_ID", "SLURM_RESTART_COUNT", "SLURM_STEP_ID")
    )
    return Place(
        rank,
        world_size,
        _number(environment, "SLURM_LOCALID", 0),
        environment.get("MASTER_ADDR") or first_host(nodes),
        _number(environment, "MASTER_PORT", _FIRST_PORT + number % _NUM_PORTS),
    )


def _number(environment: Mapping[str, str], name: str, default: int | None = None) -> int:
    text = environment.get(name) or ("" if default is None else str(default))
    try:
        return int(text)
    except ValueError:
        message = (
            f"{name}: expected a number, found '{text}'. Start several processes with torchrun, "
            "srun or immo train --processes, or unset WORLD_SIZE and RANK to train in one."
        )
        raise ConfigError(message) from None


def _text(environment: Mapping[str, str], name: str) -> str:
    if not environment.get(name):
        message = (
            f"{name} is not set, so the processes of this training cannot meet. Start them with "
            "torchrun, srun or immo train --processes."
        )
        raise ConfigError(message)
    return environment[name]
