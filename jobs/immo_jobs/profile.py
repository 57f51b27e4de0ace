"""Profiles: how jobs run at one place, as YAML, checked when read.

A profile is a file of the user's, or one shipped with the package by its name
(``local``, ``slurm``). Nothing in it is about the data.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from immo_hpc.errors import ConfigError

SHIPPED = Path(__file__).parent / "profiles"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Container(_Section):
    """The Apptainer image that the work runs in."""

    image: Path = Field(description="Image file (.sif).")
    binds: tuple[str, ...] = Field(
        (), description="More folders to show inside, as Apptainer's SRC[:DEST[:OPTS]]."
    )
    nv: bool = Field(False, description="Show NVIDIA GPUs inside (apptainer exec --nv).")


class Profile(_Section):
    """Where and with what jobs run."""

    executor: Literal["local", "slurm", "inprocess"] = Field(
        description="local: processes of this machine; slurm: a queue; inprocess: here, one by one."
    )
    partition: str | None = Field(None, description="Slurm partition; None for the default one.")
    account: str | None = Field(None, description="Slurm account that is charged.")
    qos: str | None = Field(None, description="Slurm quality of service.")
    constraint: str | None = Field(None, description="Features the nodes must have.")
    time_min: int | None = Field(
        None, ge=1, description="Time limit of one attempt, minutes; None for none (local) or 60."
    )
    cpus: int = Field(1, ge=1, description="CPU cores of each process.")
    memory_gb: float | None = Field(
        None, gt=0, description="Memory of each node's part, GiB; None for the queue's default."
    )
    gpus: int = Field(0, ge=0, description="GPUs on each node.")
    nodes: int = Field(1, ge=1, description="Nodes of one task.")
    processes: int = Field(1, ge=1, description="Processes on each node of one task.")
    array_throttle: int = Field(16, ge=1, description="Most tasks at once.")
    max_array_size: int | None = Field(
        None,
        ge=1,
        description="Most tasks of one Slurm array; None to ask Slurm (1001 if unknown).",
    )
    container: Container | None = Field(None, description="None for the plain environment.")
    environment: Mapping[str, str] = Field({}, description="Environment variables of the work.")
    set_up: tuple[str, ...] = Field((), description="Shell lines before the work (module load).")
    signal_lead_s: int = Field(
        120, ge=1, description="Seconds before the time limit at which a checkpoint is asked for."
    )
    attempts: int = Field(
        3, ge=1, description="Attempts in a row without progress after which a task is given up."
    )
    folder_mode: str = Field(
        "0700", description="Mode of the folders made: 0700 (you alone), 0750 or 0770 (your group)."
    )
    require: tuple[str, ...] = Field((), description="Keys that must be given at this place.")
    sbatch: Mapping[str, str | int | bool] = Field(
        {}, description="Further options of sbatch by their long name, such as mail-type: END."
    )

    @field_validator("folder_mode")
    @classmethod
    def _known_mode(cls, value: str) -> str:
        if value not in {"0700", "0750", "0770"}:
            message = "expected 0700, 0750 or 0770 in quotes"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _agree(self) -> Self:
        unknown = sorted(set(self.require) - set(type(self).model_fields))
        if unknown:
            message = f"require names {unknown}, which are no keys of a profile"
            raise ValueError(message)
        if self.time_min is not None and self.signal_lead_s >= 60 * self.time_min:
            message = (
                f"signal_lead_s is {self.signal_lead_s} s, but time_min is only "
                f"{self.time_min} min; the signal must come before the limit"
            )
            raise ValueError(message)
        if self.executor != "slurm" and self.num_processes > 1:
            message = "nodes and processes above 1 need executor: slurm"
            raise ValueError(message)
        return self

    @property
    def num_processes(self) -> int:
        """Processes of one task on all its nodes."""
        return self.nodes * self.processes

    @property
    def mode(self) -> int:
        """`folder_mode` as a number."""
        return int(self.folder_mode, 8)

    def require_keys(self, where: str) -> None:
        """Refuse a profile that leaves out what its own ``require`` asks for.

        Raises:
            ConfigError: With the keys that are missing and how to give them.
        """
        missing = [name for name in self.require if getattr(self, name) in (None, ())]
        if missing:
            message = (
                f"{where}: this profile requires {', '.join(missing)}, and no value was given. "
                "Write it into the profile, or give it with "
                + " ".join(f"--with {name}=..." for name in missing)
                + "."
            )
            raise ConfigError(message)


def load_profile(name: str, assignments: Sequence[str] = ()) -> Profile:
    """Read a profile.

    Args:
        name: Path of a YAML file, or the name of a shipped profile.
        assignments: Texts such as ``account=lab``, put over the file; values are YAML.

    Raises:
        ConfigError: If there is no such profile, or it holds unknown keys or wrong values.

    Example:
        >>> load_profile("local", ["array_throttle=2"]).array_throttle
        2
    """
    path = Path(name) if Path(name).is_file() else SHIPPED / f"{name}.yaml"
    if not re.fullmatch(r"[\w-]+", name) and not Path(name).is_file():
        path = Path(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        shipped = ", ".join(sorted(file.stem for file in SHIPPED.glob("*.yaml")))
        message = f"profile '{name}': no such file, and the shipped profiles are {shipped}."
        raise ConfigError(message) from error
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        message = f"{path}: the profile cannot be read ({error})."
        raise ConfigError(message) from error
    if not isinstance(values, dict):
        message = f"{path}: expected a mapping of keys, found {type(values).__name__}."
        raise ConfigError(message)
    for text in assignments:
        key, sign, value = text.partition("=")
        if not sign:
            message = f"--with '{text}': expected key=value, such as account=my_lab."
            raise ConfigError(message)
        section, dot, inner = key.strip().partition(".")
        parsed = yaml.safe_load(value)
        values[section] = {**(values.get(section) or {}), inner: parsed} if dot else parsed
    return validated_profile(values, where=str(path))


def validated_profile(values: Mapping[str, Any], *, where: str) -> Profile:
    """Turn plain values into a `Profile`.

    Raises:
        ConfigError: With the key, what was found, and the valid keys.
    """
    try:
        return Profile.model_validate(values)
    except ValidationError as error:
        lines = "; ".join(_explain(item) for item in error.errors())
        message = f"{where}: {lines}"
        raise ConfigError(message) from None


def _explain(item: Any) -> str:
    key = ".".join(str(part) for part in item["loc"]) or "the profile"
    if item["type"] == "extra_forbidden":
        model = Container if key.startswith("container.") else Profile
        return f"unknown key '{key}'; the keys are {', '.join(model.model_fields)}"
    if item["type"] == "missing":
        return f"{key}: required, but not given"
    found = "" if isinstance(item["input"], Mapping) else f", found {item['input']!r}"
    return f"{key}: {item['msg'].removeprefix('Value error, ')}{found}"
