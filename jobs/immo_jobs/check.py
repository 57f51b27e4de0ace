"""What is looked at before anything is submitted: image, programs, folders, run folders."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from immo_hpc._version import __version__, source_digest
from immo_hpc.config import ImmoConfig, differing_keys, validated
from immo_hpc.errors import BusyError, ConfigError, OutputError, RunError, SubmissionError
from immo_hpc.files import refuse_output
from immo_hpc.lease import hold
from immo_jobs.command import container_program, plain_program
from immo_jobs.folder import make_folder
from immo_jobs.profile import Profile

VERSION_LABEL = "org.opencontainers.image.version"
REVISION_LABEL = "org.opencontainers.image.revision"
SOURCE_LABEL = "org.immo-hpc.source"
_PROBE_BYTES = 1 << 20


def check_programs(profile: Profile) -> tuple[str, ...]:
    """Make sure that the work can be started with this profile.

    Returns:
        What could not be checked, as sentences.

    Raises:
        ConfigError: If immo or Apptainer is missing.
        SubmissionError: If the image is missing or of another version.
    """
    if profile.container is None:
        plain_program("immo")
        return ()
    return check_image(profile.container.image, is_loaded_later=bool(profile.set_up))


def check_image(image: Path, *, is_loaded_later: bool = False) -> tuple[str, ...]:
    """Make sure that an image is there and holds what is installed here.

    Two states of one version are told apart by a digest of their Python files, since one may
    know configuration keys that the other does not.

    Args:
        image: The .sif file.
        is_loaded_later: Whether the profile's set-up lines may bring Apptainer.

    Returns:
        What could not be checked, as sentences.

    Raises:
        ConfigError: If Apptainer is missing and nothing may bring it.
        SubmissionError: If the image is missing, cannot be read, is of another version or of
            another state of this version.
    """
    if not image.is_file():
        message = (
            f"{image}: the image is missing. Build it (make container) or copy it there, and "
            "name it in the profile as container: {image: ...}."
        )
        raise SubmissionError(message)
    if (
        is_loaded_later
        and shutil.which("apptainer") is None
        and shutil.which("singularity") is None
    ):
        return (f"{image}: its version was not checked, as Apptainer is not on PATH here.",)
    labels = image_labels(image)
    found = labels.get(VERSION_LABEL)
    if found != __version__:
        message = (
            f"{image}: the image holds immo-hpc {found or 'of unknown version'}, and this is "
            f"{__version__}. Build the image of this version, or submit with the version in it."
        )
        raise SubmissionError(message)
    if labels.get(SOURCE_LABEL) not in (None, source_digest()):
        commit = labels.get(REVISION_LABEL, "unknown")[:12]
        message = (
            f"{image}: the image holds another state of immo-hpc {__version__} (commit {commit}) "
            "than the one installed here. Build the image of this state (make container), or "
            f"install commit {commit} here."
        )
        raise SubmissionError(message)
    return ()


def image_labels(image: Path) -> dict[str, str]:
    """What an image is labelled with, by name of the label.

    Raises:
        SubmissionError: If Apptainer cannot read the image.
    """
    command = [container_program(), "inspect", "--json", str(image)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    try:
        values: Any = json.loads(done.stdout)
        labels: Mapping[str, Any] = values["data"]["attributes"]["labels"] or {}
        return {name: str(value) for name, value in labels.items()}
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        message = f"{image}: Apptainer cannot read this image ({said}). Build or copy it anew."
        raise SubmissionError(message) from error


def check_folder(folder: Path, mode: int) -> None:
    """Make sure that a folder can be made and written, has space, and keeps leases.

    Args:
        folder: Where outputs and job folder go.
        mode: Mode of folders that have to be made.

    Raises:
        OutputError: If one of these does not hold.
    """
    make_folder(folder, mode)
    probe = folder / ".immo-probe"
    try:
        with probe.open("wb") as file:
            file.write(bytes(_PROBE_BYTES))
            file.flush()
    except OSError as error:
        refuse_output(folder, error)
    finally:
        probe.unlink(missing_ok=True)
    lease = folder / ".immo-probe.lease"
    try:
        with hold(lease, wait_s=5.0) as held:
            is_ours = held.is_ours()
    except BusyError:
        return  # Somebody else is trying right now, and it works for them.
    except OSError as error:
        message = (
            f"{folder}: no lease can be held there ({error}). Runs are kept apart by leases, so "
            "choose a folder on a shared file system that has hard links or exclusive files."
        )
        raise OutputError(message) from error
    if not is_ours:
        message = (
            f"{folder}: a lease made there was not kept by the file system. Runs are kept apart "
            "by leases, so choose a folder on another shared file system."
        )
        raise OutputError(message)


def check_run(run: Path, settings: ImmoConfig, shards_checksum: str) -> None:
    """Make sure that a run folder, where there is one, can be gone on with.

    Args:
        run: Run folder; may be absent.
        settings: Configuration the job is going to ask for.
        shards_checksum: SHA-256 of the manifest of the shards.

    Raises:
        RunError: If it is no run folder, or of another configuration or other shards.
    """
    if not run.is_dir() or not any(run.iterdir()):
        return
    try:
        description = json.loads((run / "run.json").read_text(encoding="utf-8"))
        values = yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))
        other_shards = description.get("manifest_sha256") != shards_checksum
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        message = (
            f"{run}: expected nothing or a run folder there, found something else ({error}). "
            "Choose another folder for the runs."
        )
        raise RunError(message) from error
    if other_shards:
        message = (
            f"{run}: this run was started on other shards ({description.get('shards')}). "
            "Nothing was submitted; choose another folder for the runs."
        )
        raise RunError(message)
    try:
        differing = differing_keys(validated(values, where=str(run / "config.yaml")), settings)
    except ConfigError as error:
        raise RunError(str(error)) from error
    if differing:
        changes = "; ".join(
            f"{key} was {old!r}, now {new!r}" for key, (old, new) in differing.items()
        )
        message = (
            f"{run}: this run was started with another configuration: {changes}. Nothing was "
            "submitted; leave out these changes, or choose another folder for the runs."
        )
        raise RunError(message)


def unique_names(names: Sequence[str]) -> None:
    """Refuse names that occur twice.

    Raises:
        ConfigError: With the first such name.
    """
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        message = f"two tasks would be named '{twice[0]}'; rename one of the configurations."
        raise ConfigError(message)
