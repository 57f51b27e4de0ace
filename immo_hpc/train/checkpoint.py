"""Checkpoints: everything a training needs to go on, in one safetensors file.

Tensors are stored as such; numbers stand as JSON in the file's metadata, with a checksum
of the tensors. Reading one never executes code.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from isal import isal_zlib
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from immo_hpc.errors import RunError
from immo_hpc.files import atomic_path
from immo_hpc.train.metrics import EpochRecord, EpochSums
from immo_kernels import MASK_STREAM_VERSION

FORMAT = "immo-checkpoint"
FORMAT_VERSION = 1
NUM_KEPT = 2


class CheckpointDamaged(RunError):
    """A checkpoint that is cut short or altered; the one before may still serve."""


@dataclass(frozen=True)
class Checkpoint:
    """A point in a training.

    Attributes:
        epoch: Epoch to go on in, counted from 0 (it decides learning rate and masks).
        step: Steps of that epoch already done.
        is_over: True if no further epoch is to be trained.
        sums: Partial sums of that epoch.
        records: Epochs that are complete, oldest first.
        best: Lowest held-out error so far; None before the first.
        best_epoch: Its epoch; -1 before the first.
        weights: Parameters and buffers of the model by name.
        best_weights: The same at `best_epoch`; empty before.
        optimiser: Moments and step count of Adam by name.
        random: States of torch's generators by device type, uint8.
    """

    epoch: int
    step: int
    is_over: bool
    sums: EpochSums
    records: list[EpochRecord]
    best: float | None
    best_epoch: int
    weights: Mapping[str, Tensor]
    best_weights: Mapping[str, Tensor]
    optimiser: Mapping[str, Tensor]
    random: Mapping[str, Tensor]

    @property
    def file_name(self) -> str:
        """Name of its file; names sort by age."""
        return f"epoch-{self.epoch:06d}-step-{self.step:08d}.safetensors"


_GROUPS = ("weights", "best_weights", "optimiser", "random")


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write a checkpoint in one step, then remove all but the last `NUM_KEPT`.

    Args:
        folder: Existing folder of checkpoints.
        checkpoint: What to write.

    Returns:
        The new file, named after epoch and step so that names sort by age.

    Raises:
        OutputError: If the disk is full or the folder cannot be written.
    """
    path = folder / checkpoint.file_name
    tensors = {
        f"{group}/{name}": tensor.detach().cpu().clone()
        for group in _GROUPS
        for name, tensor in getattr(checkpoint, group).items()
    }
    content = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "mask_stream_version": MASK_STREAM_VERSION,
        "checksum": _checksum(tensors),
        "epoch": checkpoint.epoch,
        "step": checkpoint.step,
        "is_over": checkpoint.is_over,
        "sums": asdict(checkpoint.sums),
        "records": [record.to_dict() for record in checkpoint.records],
        "best": checkpoint.best,
        "best_epoch": checkpoint.best_epoch,
    }
    with atomic_path(path) as temporary:
        # Not save_file: it makes a file that only its owner may read, whatever the umask.
        temporary.write_bytes(save(tensors, metadata={"immo": json.dumps(content)}))
    for old in list_checkpoints(folder)[:-NUM_KEPT]:
        old.unlink()
    return path


def list_checkpoints(folder: Path) -> list[Path]:
    """Checkpoint files of a folder, oldest first."""
    return sorted(folder.glob("epoch-*-step-*.safetensors"))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint, with its tensors on the CPU.

    Raises:
        CheckpointDamaged: If the file is cut short or its tensors are not those written.
        RunError: If it is of another format or mask stream version.
    """
    content, tensors = _read(path)
    for key, expected in (
        ("format", FORMAT),
        ("format_version", FORMAT_VERSION),
        ("mask_stream_version", MASK_STREAM_VERSION),
    ):
        if content.get(key) != expected:
            message = (
                f"{path}: expected {key} {expected!r}, found {content.get(key)!r}. Resume "
                "with the version of immo-hpc that wrote it, or start a new run folder."
            )
            raise RunError(message)
    if content["checksum"] != _checksum(tensors):
        message = f"{path}: the tensors do not have the checksum they were written with."
        raise CheckpointDamaged(message)
    groups: dict[str, dict[str, Tensor]] = {group: {} for group in _GROUPS}
    for key, tensor in tensors.items():
        group, _, name = key.partition("/")
        groups[group][name] = tensor
    return Checkpoint(
        epoch=content["epoch"],
        step=content["step"],
        is_over=content["is_over"],
        sums=EpochSums(**content["sums"]),
        records=[EpochRecord(**record) for record in content["records"]],
        best=content["best"],
        best_epoch=content["best_epoch"],
        **groups,
    )


def newest_checkpoint(folder: Path) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that can be read, and notices about those that could not.

    Damaged files that are newer are removed, since training will pass their place again.

    Returns:
        The checkpoint, or None if the folder has none yet; sentences for the user.

    Raises:
        RunError: If there are checkpoints but none can be read.
    """
    damaged: list[tuple[Path, str]] = []
    files = list_checkpoints(folder)
    for path in reversed(files):
        try:
            checkpoint = read_checkpoint(path)
        except CheckpointDamaged as error:
            damaged.append((path, str(error)))
            continue
        for broken, _ in damaged:
            broken.unlink()
        return checkpoint, [
            f"{reason} It was removed; training goes on from {path.name}." for _, reason in damaged
        ]
    if damaged:
        message = (
            f"{folder}: none of {len(files)} checkpoints can be read ("
            + " ".join(reason for _, reason in damaged)
            + ") Start again in a new run folder."
        )
        raise RunError(message)
    return None, []


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            # A copy each: the tensors of a mapped file share its pages and their alignment.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return json.loads(metadata["immo"]), tensors
    except (SafetensorError, OSError, KeyError, json.JSONDecodeError) as error:
        message = f"{path}: the checkpoint is damaged ({error})."
        raise CheckpointDamaged(message) from error


def _checksum(tensors: Mapping[str, Tensor]) -> int:
    """CRC-32 over names and bytes, in the order of the names."""
    checksum = 0
    for name in sorted(tensors):
        flat = tensors[name].contiguous().view(-1)
        checksum = isal_zlib.crc32(name.encode(), checksum)
        checksum = isal_zlib.crc32(flat.view(torch.uint8).numpy().data, checksum)
    return checksum
