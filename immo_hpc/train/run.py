"""The run folder: what is where, how it is made, and whether it may be gone on with."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
import yaml

from immo_hpc.config import ImmoConfig, differing_keys, validated
from immo_hpc.data.manifest import MANIFEST_NAME
from immo_hpc.errors import OutputError, RunError, ShardError
from immo_hpc.files import new_folder, require_absent
from immo_hpc.train.environment import describe_environment, package_versions, source_commit
from immo_hpc.train.model_file import DESCRIPTION_NAME, WEIGHTS_NAME
from immo_kernels import MASK_STREAM_VERSION

FORMAT = "immo-run"
FORMAT_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """Every path of a run (contract 6); nothing else in the project spells them.

    Attributes:
        path: The folder.
    """

    path: Path

    @property
    def config(self) -> Path:
        """Resolved configuration, YAML."""
        return self.path / "config.yaml"

    @property
    def description(self) -> Path:
        """Format, data, seed, versions and commit, JSON."""
        return self.path / "run.json"

    @property
    def environment(self) -> Path:
        """Machine the run was started on, JSON."""
        return self.path / "environment.json"

    @property
    def preparation(self) -> Path:
        """The fitted preparation, JSON."""
        return self.path / "preparation.json"

    @property
    def metrics(self) -> Path:
        """One line an epoch (`immo_hpc.train.metrics`)."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> Path:
        """Folder of the last two checkpoints."""
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        """The final network's weights."""
        return self.path / WEIGHTS_NAME

    @property
    def model(self) -> Path:
        """The final network's description, JSON; written last."""
        return self.path / DESCRIPTION_NAME

    @property
    def companion_arrays(self) -> Path:
        """The arrays of the companion, safetensors."""
        return self.path / "companion.safetensors"

    @property
    def calibration(self) -> Path:
        """How far off the model is (`immo_hpc.inference.calibration`), safetensors."""
        return self.path / "calibration.safetensors"

    @property
    def companion(self) -> Path:
        """The companion of the network (`immo_hpc.companion`), JSON; written last of its two."""
        return self.path / "companion.json"

    @property
    def drift(self) -> Path:
        """How each sample moved since the run this one started from, TSV."""
        return self.path / "drift.tsv"

    @property
    def drift_summary(self) -> Path:
        """The same in a few figures, JSON; written last."""
        return self.path / "drift.json"

    @property
    def lease(self) -> Path:
        """Held while a process trains; beside the folder, which is not there before it is whole."""
        return self.path.with_name(f".{self.path.name}.lease")

    @property
    def exists(self) -> bool:
        """True once the folder holds anything."""
        return self.path.is_dir() and any(self.path.iterdir())

    @property
    def is_finished(self) -> bool:
        """True once the final model is written."""
        return self.model.exists()

    def require_new(self) -> None:
        """Refuse a folder that holds something already.

        Raises:
            OutputError: If it does; the message offers to resume.
        """
        try:
            require_absent(self.path)
        except OutputError as error:
            message = (
                f"{self.path}: expected a new run folder, found one that is not empty. Go on "
                "with its run with --resume, or choose another folder."
            )
            raise OutputError(message) from error

    def read_config(self) -> ImmoConfig:
        """The configuration the run was started with.

        Raises:
            RunError: If the file is missing or not readable as YAML.
            ConfigError: If it holds keys or values this version does not know.
        """
        try:
            values = yaml.safe_load(self.config.read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            message = f"{self.config}: the configuration of the run cannot be read ({error})."
            raise RunError(message) from error
        return validated(values, where=str(self.config))

    def read_description(self) -> dict[str, Any]:
        """Content of `description`.

        Raises:
            RunError: If the file is missing or damaged.
        """
        return _read_json(self.description)

    def read_preparation(self) -> dict[str, Any]:
        """The fitted preparation as plain values.

        Raises:
            RunError: If the file is missing or damaged.
        """
        return _read_json(self.preparation)


def create_run(
    run: RunFolder,
    config: ImmoConfig,
    *,
    shards: Path,
    preparation: Mapping[str, Any],
    device: torch.device,
    processes: int = 1,
    init_from: Mapping[str, Any] | None = None,
) -> None:
    """Make a run folder, whole or not at all.

    Args:
        run: The folder; absent or empty.
        config: Resolved configuration.
        shards: Folder of the shards to train on.
        preparation: The fitted preparation as plain values.
        device: Where training computes.
        processes: How many processes begin the training.
        init_from: What the run it starts from gave it (`immo_hpc.train.warm_start`), if any.

    Raises:
        OutputError: If the folder holds something already, or cannot be written.
    """
    run.require_new()
    description = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "shards": str(shards.resolve()),
        "manifest_sha256": manifest_checksum(shards),
        "seed": config.seed,
        "mask_stream_version": MASK_STREAM_VERSION,
        "versions": package_versions(),
        "commit": source_commit(),
    }
    if init_from is not None:
        description["init_from"] = dict(init_from)
    with new_folder(run.path) as folder:
        new = RunFolder(folder)
        new.checkpoints.mkdir()
        new.config.write_text(config.to_yaml(), encoding="utf-8")
        new.preparation.write_text(json.dumps(preparation) + "\n", encoding="utf-8")
        for path, content in (
            (new.environment, {**describe_environment(device), "processes": processes}),
            (new.description, description),
        ):
            path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def check_run(run: RunFolder, config: ImmoConfig | None, shards: Path) -> ImmoConfig:
    """Make sure that a run may be gone on with, and with what.

    Args:
        run: An existing run folder.
        config: Configuration asked for; None for the run's own.
        shards: Shards asked for.

    Returns:
        The configuration to go on with.

    Raises:
        RunError: If the folder is no run, of another format version, or of another
            configuration or other shards; the message says what differs.
        ShardError: If there are no shards.
    """
    description = _read_json(run.description)
    found = description.get("format"), description.get("format_version")
    if found != (FORMAT, FORMAT_VERSION):
        message = (
            f"{run.description}: expected {FORMAT} version {FORMAT_VERSION}, found {found[0]} "
            f"version {found[1]}. Use the version of immo-hpc that wrote it, or train anew."
        )
        raise RunError(message)
    if description.get("mask_stream_version") != MASK_STREAM_VERSION:
        message = (
            f"{run.description}: expected mask stream version {MASK_STREAM_VERSION}, found "
            f"{description.get('mask_stream_version')}; the masks would not be those of the run "
            "so far. Use the version of immo-hpc that wrote it, or train anew."
        )
        raise RunError(message)
    if description.get("manifest_sha256") != manifest_checksum(shards):
        message = (
            f"{run.path}: the run was started on the shards of {description.get('shards')}, and "
            f"the manifest of {shards} is another one. Resume with the shards of the run, or "
            "train anew in a new folder."
        )
        raise RunError(message)
    before = run.read_config()
    if config is None:
        return before
    differing = differing_keys(before, config)
    if differing:
        message = (
            f"{run.path}: the run was started with another configuration: "
            + "; ".join(f"{key} was {old!r}, now {new!r}" for key, (old, new) in differing.items())
            + ". Resume without these changes, or train anew in a new folder."
        )
        raise RunError(message)
    return config


def manifest_checksum(shards: Path) -> str:
    """SHA-256 of the manifest of a shard folder, which names every shard's checksum.

    Raises:
        ShardError: If there is no manifest.
    """
    path = shards / MANIFEST_NAME
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        message = (
            f"{path}: cannot be read ({error.strerror}), so {shards} is no folder of shards. "
            "Name the output folder of immo prepare."
        )
        raise ShardError(message) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        message = (
            f"{path}: not readable ({error}), so {path.parent} is no run folder, or not a whole "
            "one. Name the folder that immo train wrote, or train anew."
        )
        raise RunError(message) from error
    if not isinstance(content, dict):
        message = f"{path}: expected a JSON object, found {type(content).__name__}."
        raise RunError(message)
    return content
