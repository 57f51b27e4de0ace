"""How the command line speaks: results on stdout, everything said beside them on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any


def report_error(message: str) -> None:
    """Say what went wrong, on stderr."""
    print(f"error: {message}", file=sys.stderr)  # noqa: T201 - this is the console


def notes(lines: Iterable[str]) -> None:
    """Say what was guessed or left out, on stderr."""
    for line in lines:
        print(f"note: {line}", file=sys.stderr)  # noqa: T201 - this is the console


def status(line: str) -> None:
    """Say what is being done, on stderr."""
    print(line, file=sys.stderr, flush=True)  # noqa: T201 - this is the console


def result(text: str) -> None:
    """Give the verb's result, on stdout."""
    print(text, flush=True)  # noqa: T201 - this is the console


def emit(as_json: bool, values: dict[str, Any], text: str) -> None:
    """Give the result for a machine or for a person."""
    result(json.dumps(values, indent=2, allow_nan=False) if as_json else text)
