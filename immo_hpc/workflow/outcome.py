"""What a flow hands back: values for machines, a text for people, and what was noticed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Outcome:
    """Result of one verb.

    Attributes:
        values: JSON-able values.
        summary: The same for a person, one or more lines.
        notices: What was guessed, left out or put right, as sentences.
    """

    values: Mapping[str, Any]
    summary: str
    notices: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Values and notices, JSON-able."""
        return {**self.values, "notices": list(self.notices)}

    def text(self) -> str:
        """The summary."""
        return self.summary
