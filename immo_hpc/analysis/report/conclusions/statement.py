"""What a part of the report supports, and what it does not."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Conclusions:
    """Sentences of the report's most important paragraph.

    Attributes:
        may: What the numbers support.
        may_not: What they do not support.
    """

    may: tuple[str, ...]
    may_not: tuple[str, ...]
