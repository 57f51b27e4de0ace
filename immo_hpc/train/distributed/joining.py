"""Meeting the other processes of a training, and parting from them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch

from immo_hpc.errors import ConfigError, LostProcess, TrainingError
from immo_hpc.train.distributed.group import ALONE, Group, first_line
from immo_hpc.train.distributed.guard import Guard
from immo_hpc.train.distributed.place import Place, place_of

JOIN_S = "IMMO_JOIN_S"
LOST_AFTER_S = "IMMO_LOST_AFTER_S"
# Longer than one process may write or read while the others wait: the guard tells the dead.
_WAIT = timedelta(hours=6)


@contextmanager
def joined(environment: Mapping[str, str] = os.environ) -> Iterator[Group]:
    """Join the processes that the environment names (`place_of`), for the duration.

    CPU tensors travel by gloo and, where there are GPUs, theirs by NCCL. If one process
    fails, all end with its message; if one is killed or its machine is lost, the others end
    with `LostProcess`: as soon as its connections break, or after the time of silence that
    IMMO_LOST_AFTER_S gives (60 seconds). IMMO_JOIN_S seconds (600) are waited for all to come.

    Yields:
        The group; the trivial one if this process is alone.

    Raises:
        ConfigError: If the environment is incomplete.
        TrainingError: If the processes do not all come.
    """
    place = place_of(environment)
    if place is None:
        yield ALONE
        return
    import torch.distributed as dist

    guard = _join(place, environment)
    guard.start()
    group = Group(place.rank, place.world_size, place.local_rank, guard)
    try:
        group.barrier()
        yield group
        group.barrier()
    except LostProcess:
        raise
    except BaseException as error:
        guard.tell(error)
        raise
    else:
        guard.stop()
        group.barrier()  # Only then may the first process take the store away.
        dist.destroy_process_group()
    finally:
        guard.stop()


def _join(place: Place, environment: Mapping[str, str]) -> Guard:
    """Open the connections of this process; the guard is not yet at work."""
    import torch.distributed as dist

    join_s = _seconds(environment, JOIN_S, 600.0)
    lost_after_s = _seconds(environment, LOST_AFTER_S, 60.0)
    has_nccl = torch.cuda.is_available() and dist.is_nccl_available()
    try:
        store = _store(place, join_s, is_server=place.rank == 0 and not place.is_served)
        # A torchrun that starts its processes again keeps what they stored.
        attempt = environment.get("TORCHELASTIC_RESTART_COUNT", "0")
        store.set(f"immo/{attempt}/here/{place.rank}", "1")
        everyone = [f"immo/{attempt}/here/{rank}" for rank in range(place.world_size)]
        store.wait(everyone, timedelta(seconds=join_s))
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if has_nccl else "gloo",
            store=_prefixed(store, f"immo/{attempt}/group"),
            rank=place.rank,
            world_size=place.world_size,
            timeout=_WAIT,
        )
        own = _store(place, max(lost_after_s / 30, 1.0), is_server=False)
    except (RuntimeError, ValueError) as error:
        message = (
            f"process {place.rank} of {place.world_size} could not meet the others at "
            f"{place.address}:{place.port} within {join_s:.0f} s ({first_line(error)}). Check that "
            "all were started, that the first one's host can be reached from the others by that "
            f"name, and that the port is free (MASTER_PORT); {JOIN_S} sets the time."
        )
        raise TrainingError(message) from error
    own = _prefixed(own, f"immo/{attempt}/guard")
    return Guard(own, place.rank, place.world_size, lost_after_s=lost_after_s)


def _prefixed(store: Any, prefix: str) -> Any:
    from torch.distributed import PrefixStore  # type: ignore[attr-defined] # torch's own lack

    return PrefixStore(prefix, store)


def _store(place: Place, timeout_s: float, *, is_server: bool) -> Any:
    from torch.distributed import TCPStore  # type: ignore[attr-defined] # torch's own lack

    return TCPStore(
        place.address,
        place.port,
        place.world_size,
        is_master=is_server,
        timeout=timedelta(seconds=timeout_s),
        wait_for_workers=False,
    )


def _seconds(environment: Mapping[str, str], name: str, default: float) -> float:
    text = environment.get(name) or str(default)
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        message = f"{name}: expected a number of seconds above 0, found '{text}'."
        raise ConfigError(message)
    return seconds
