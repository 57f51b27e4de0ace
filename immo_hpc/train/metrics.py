"""What an epoch is remembered by: one JSON object a line, and the sums behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from immo_hpc.errors import RunError
from immo_hpc.files import write_text


@dataclass(frozen=True)
class EpochRecord:
    """One epoch of training; squared z-score units for every loss and error.

    Attributes:
        epoch: Counted from 0.
        loss: Loss of Eq. 7, mean over the epoch's batches weighted by their samples.
        validation: Held-out error (`immo_hpc.train.validation`); None without held-out samples.
        learning_rate: Adam's step size in this epoch.
        keep: Keep probability of single values by layer (Eq. 1).
        keep_layers: Keep probability of whole layers.
        layer_loss: Mean squared error of the scored values by layer, without alpha; None
            where nothing was scored.
        validation_values: Held-out error on hidden values by layer; None where there is none.
        validation_layers: Held-out error on whole hidden layers by layer; likewise.
        steps: Optimisation steps in this epoch.
        seconds: Wall time of the epoch, validation included.
        waiting_s: Of it, time in which the training waited for its next batch; 0 in files of
            older versions, which did not say.
    """

    epoch: int
    loss: float
    validation: float | None
    learning_rate: float
    keep: dict[str, float]
    keep_layers: float
    layer_loss: dict[str, float | None]
    validation_values: dict[str, float | None]
    validation_layers: dict[str, float | None]
    steps: int
    seconds: float
    waiting_s: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """The record as plain values, in the order of the attributes."""
        return asdict(self)


@dataclass
class EpochSums:
    """Partial sums of an epoch, in the order of the steps; float64.

    Attributes:
        loss: Sum over steps of loss times samples.
        samples: Samples seen.
        layers: By layer: sum of squared errors, and number of scored values.
        steps: Steps done.
        seconds: Wall time spent, over all attempts that led here.
        waiting_s: Of it, time spent waiting for batches.
    """

    loss: float
    samples: int
    layers: dict[str, list[float]]
    steps: int
    seconds: float
    waiting_s: float = 0.0

    @classmethod
    def empty(cls, layers: Sequence[str]) -> EpochSums:
        """Sums before the first step."""
        return cls(0.0, 0, {name: [0.0, 0.0] for name in layers}, 0, 0.0)

    def add(self, loss: float, size: int, layers: Mapping[str, tuple[float, float]]) -> None:
        """Add a step of ``size`` samples with (sum, count) by layer."""
        self.loss += loss * size
        self.samples += size
        self.steps += 1
        for name, (total, count) in layers.items():
            self.layers[name][0] += total
            self.layers[name][1] += count

    def mean_loss(self) -> float:
        """Mean loss a sample."""
        return self.loss / self.samples

    def layer_loss(self) -> dict[str, float | None]:
        """Mean squared error by layer; None where nothing was scored."""
        return {
            name: total / count if count else None for name, (total, count) in self.layers.items()
        }


def append_metrics(path: Path, record: EpochRecord) -> None:
    """Add one line to a metrics file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record.to_dict()) + "\n")


def rewrite_metrics(path: Path, records: Sequence[EpochRecord]) -> None:
    """Make a metrics file hold exactly ``records``, in one step."""
    write_text(path, "".join(json.dumps(record.to_dict()) + "\n" for record in records))


def read_metrics(path: Path) -> list[EpochRecord]:
    """Records of a metrics file, oldest first; none if there is no file yet.

    A last line that a running or killed training has not finished writing is left out.

    Raises:
        RunError: If another line cannot be read.
    """
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8").split("\n")
    records = []
    for number, line in enumerate(lines[:-1], start=1):
        try:
            records.append(EpochRecord(**json.loads(line)))
        except (json.JSONDecodeError, TypeError) as error:
            message = (
                f"{path}, line {number}: expected the metrics of an epoch, found {line[:60]!r}. "
                "Resume the run (--resume) to have the file written anew from its checkpoint."
            )
            raise RunError(message) from error
    return records
