"""A device for each process of a group."""

from __future__ import annotations

import socket

import torch

from immo_hpc.errors import ConfigError
from immo_hpc.train.device import resolve_device
from immo_hpc.train.distributed.group import Group


def group_device(name: str, group: Group) -> torch.device:
    """Turn ``train.device`` into this process's device; all processes must call it.

    Raises:
        ConfigError: If a device is not there, two processes got one GPU, or some compute on
            GPUs and some do not.
    """
    device = group.on_each(lambda: resolve_device(name, group.local_rank))
    if group.is_alone:
        return device
    named = group.texts(_named(device))
    kinds = {text.partition(" ")[0] for text in named}
    if len(kinds) > 1:
        message = (
            f"train.device: of {group.world_size} processes some compute on GPUs and some do not "
            f"({'; '.join(named)}). Ask for a GPU for each process, or set train.device=cpu."
        )
        raise ConfigError(message)
    if kinds == {"cuda"} and len(set(named)) < len(named):
        message = (
            f"train.device: {group.world_size} processes share {len(set(named))} GPUs, and each "
            f"needs one of its own ({'; '.join(sorted(set(named)))}). Start as many processes as "
            "there are GPUs, or set train.device=cpu."
        )
        raise ConfigError(message)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def _named(device: torch.device) -> str:
    """The device in words that no other device shares."""
    host = socket.gethostname()
    if device.type != "cuda":
        return f"cpu of {host}"
    return f"cuda {torch.cuda.get_device_properties(device).uuid} of {host}"
