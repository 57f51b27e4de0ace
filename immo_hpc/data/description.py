"""``cohort.yaml``: which tables and columns of a cohort mean what."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from immo_hpc.config import LayerKind
from immo_hpc.data.times import TimeUnit
from immo_hpc.errors import CohortError

FILE_NAMES = ("cohort.yaml", "cohort.yml")
TableFormat = Literal["auto", "table", "metaphlan", "humann", "hmp2_metabolomics"]
SamplesFormat = Literal["auto", "table", "hmp2_metadata"]
Rank = Literal["kingdom", "phylum", "class", "order", "family", "genus", "species", "strain"]


class _Section(BaseModel):
    # Label values such as 1 are numbers to YAML and texts to a sample table.
    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)


class LayerDescription(_Section):
    """One table to use."""

    kind: LayerKind | None = Field(
        None, description="How the values were made; guessed from them if absent."
    )
    columns: str | tuple[str, ...] | None = Field(
        None, description="Pattern (or patterns) of the features to use, such as 's__*'."
    )
    file: str | None = Field(
        None, description="File inside the folder, or a pattern that fits one; else by name."
    )
    format: TableFormat = Field("auto", description="How the file is laid out; auto: by content.")
    rank: Rank | None = Field(None, description="metaphlan: rank to read; species if absent.")
    stratified: bool | None = Field(
        None, description="humann: whether to read the rows by taxon; false if absent."
    )
    named_only: bool | None = Field(
        None, description="hmp2_metabolomics: only compounds with a name; true if absent."
    )
    data_type: str | None = Field(
        None, description="Data type in hmp2_metadata that the file's assays have; else found."
    )

    @property
    def patterns(self) -> tuple[str, ...]:
        """Patterns of the features to use; none means all."""
        return (self.columns,) if isinstance(self.columns, str) else self.columns or ()


class SamplesDescription(_Section):
    """The table of samples."""

    file: str | None = Field(
        None, description="File inside the folder, or a pattern that fits one; else by name."
    )
    format: SamplesFormat = Field("auto", description="How it is laid out; auto: by content.")


class CohortDescription(_Section):
    """Everything ``cohort.yaml`` may say; every key is optional."""

    layers: dict[str, LayerDescription] | None = Field(
        None, min_length=1, description="Tables to use, in this order; all if absent."
    )
    label: str | None = Field(None, description="Column to classify.")
    positive: str | None = Field(None, description="Label value that counts as 1, of two.")
    subject: str | None = Field(None, description="Column naming the person.")
    batch: str | None = Field(None, description="Column naming the site or batch.")
    covariates: tuple[str, ...] = Field((), description="Further columns of interest.")
    time: str | None = Field(
        None, description="Column saying when a sample was taken: numbers or ISO dates."
    )
    time_unit: TimeUnit | None = Field(
        None, description="What the numbers in the column of times count; days if absent."
    )
    unlabelled: tuple[str, ...] = Field((), description="Further label values meaning 'no label'.")
    unmeasured: Literal["error", "drop"] = Field(
        "error", description="What to do with samples that no layer was measured in."
    )
    samples: SamplesDescription | None = Field(
        None, description="Table of samples, as a file or {file, format}; else samples.tsv."
    )

    @field_validator("layers", mode="before")
    @classmethod
    def _bare_names(cls, value: Any) -> Any:
        """Let ``mg:`` with nothing behind it stand for a layer of guessed kind."""
        if isinstance(value, Mapping):
            return {key: {} if item is None else item for key, item in value.items()}
        return value

    @field_validator("samples", mode="before")
    @classmethod
    def _bare_file(cls, value: Any) -> Any:
        """Let ``samples: people.tsv`` name the file alone."""
        return {"file": value} if isinstance(value, str) else value


def read_description(folder: Path) -> CohortDescription | None:
    """Read the ``cohort.yaml`` of a folder, if there is one.

    Raises:
        CohortError: If it is not YAML, or holds an unknown key or a value of a wrong type.
    """
    files = [folder / name for name in FILE_NAMES if (folder / name).is_file()]
    if not files:
        return None
    file = files[0]
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        detail = " ".join(str(error).split())
        message = f"{file}: expected YAML, but it cannot be read ({detail}). Correct the file."
        raise CohortError(message) from error
    return parse_description({} if content is None else content, where=str(file))


def parse_description(content: Any, *, where: str) -> CohortDescription:
    """Turn plain values into a `CohortDescription`.

    Raises:
        CohortError: As for `read_description`; the message names the key.
    """
    if not isinstance(content, Mapping):
        message = (
            f"{where}: expected keys such as 'layers:' and 'label:', found "
            f"{type(content).__name__}. Correct the file."
        )
        raise CohortError(message)
    try:
        return CohortDescription.model_validate(content)
    except ValidationError as error:
        problems = "; ".join(dict.fromkeys(_explain(item) for item in error.errors()))
        message = f"{where}: {problems}. Correct the file."
        raise CohortError(message) from None


_SECTIONS: dict[str, type[_Section]] = {"layers": LayerDescription, "samples": SamplesDescription}


def _explain(item: Any) -> str:
    path = [str(part) for part in item["loc"]]
    key = ".".join(path)
    if item["type"] == "extra_forbidden":
        section = _SECTIONS.get(path[0], CohortDescription)
        valid = list(section.model_fields)
        near = difflib.get_close_matches(path[-1], valid, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        return f"unknown key '{key}'{hint}; the keys there are {', '.join(valid)}"
    if isinstance(item["input"], bool):
        return (
            f"'{key}': expected text, found {item['input']}; YAML reads yes, no, true and false "
            'as truth values, so put the text in quotes (such as "yes")'
        )
    found = f"'{key}': {item['msg'].removeprefix('Value error, ')}, found {item['input']!r}"
    meaning = _meaning(path)
    return f"{found} (it means: {meaning})" if meaning else found


def _meaning(path: list[str]) -> str:
    """What the key at ``path`` stands for, as its field says."""
    # Between 'layers' and a key of a layer stands the layer's name.
    inner = path[2:] if path[0] == "layers" else path[1:]
    is_inner = bool(inner) and path[0] in _SECTIONS
    section = _SECTIONS[path[0]] if is_inner else CohortDescription
    field = section.model_fields.get(inner[0] if is_inner else path[0])
    return (field.description or "").rstrip(".") if field else ""
