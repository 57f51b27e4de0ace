"""Features that the user leaves out: patterns, the file they stand in, and what they match.

A pattern is a feature's name, or one with ``*``, ``?`` and ``[...]`` as in a shell; ``LAYER:``
before it confines it to one layer. A name that a feature has to the letter is that feature,
whatever signs are in it: names such as ``C10:2 carnitine`` need no escaping.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from immo_hpc.data.check import examples
from immo_hpc.errors import CohortError, UsageError

_COMMENT = re.compile(r"(^|\s)#.*$")
_MOST_NEAR = 3


def read_exclusions(file: Path) -> tuple[str, ...]:
    """The patterns in a text file: one a line, empty lines and ``# ...`` left away.

    Raises:
        UsageError: If the file cannot be read or holds no pattern.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = (
            f"{file}: expected a text file with one feature or pattern a line, but it cannot be "
            f"read ({error}). Name another file."
        )
        raise UsageError(message) from error
    patterns = parse_exclusions(text.splitlines())
    if not patterns:
        message = (
            f"{file}: expected one feature or pattern a line, found none besides comments. Write "
            "some, or leave the option out."
        )
        raise UsageError(message)
    return patterns


def parse_exclusions(lines: Iterable[str]) -> tuple[str, ...]:
    """The patterns in lines of text, each once.

    Example:
        >>> parse_exclusions(["# drugs", "mb:sulfapyridine  # of sulfasalazine", "", "UNMAPPED"])
        ('mb:sulfapyridine', 'UNMAPPED')
    """
    stripped = (_COMMENT.sub("", line).strip() for line in lines)
    return tuple(dict.fromkeys(line for line in stripped if line))


def excluded(patterns: Sequence[str], layer: str, features: Sequence[str]) -> tuple[str, ...]:
    """The features of a layer that any pattern matches, in their order.

    Example:
        >>> excluded(["mb:C10*", "urate"], "mb", ["C10:2 carnitine", "urate", "2-urate"])
        ('C10:2 carnitine', 'urate')
        >>> excluded(["mb:C10*"], "mg", ["C10"])
        ()
    """
    held: set[str] = set()
    for pattern in patterns:
        held |= _matches(pattern, layer, features)
    return tuple(name for name in features if name in held)


def require_matches(
    patterns: Sequence[str], features: Mapping[str, Sequence[str]], where: str
) -> None:
    """Refuse patterns that no feature matches: a mistyped name would exclude nothing, silently.

    Args:
        patterns: The patterns.
        features: All features there are, by layer.
        where: File or key the patterns stand in, for the message.

    Raises:
        CohortError: Naming the first patterns without a match, and the nearest names there are.
    """
    lost = [
        pattern
        for pattern in patterns
        if not any(_matches(pattern, layer, names) for layer, names in features.items())
    ]
    if not lost:
        return
    near = _nearest(lost[0], features)
    hint = f"The nearest to '{lost[0]}': {', '.join(near)}." if near else "No name is near it."
    message = (
        f"{where}: expected names or patterns of features, found {len(lost)} of {len(patterns)} "
        f"that match no feature of the layers {', '.join(features)}: {examples(lost)}. {hint} "
        "Correct or remove them."
    )
    raise CohortError(message)


def _matches(pattern: str, layer: str, features: Sequence[str]) -> set[str]:
    held = set()
    prefix = f"{layer}:"
    wanted = [pattern, *([pattern[len(prefix) :].strip()] if pattern.startswith(prefix) else [])]
    for name in wanted:
        if name in features:
            held.add(name)
        elif any(sign in name for sign in "*?["):
            held |= {feature for feature in features if fnmatchcase(feature, name)}
    return held


def _nearest(pattern: str, features: Mapping[str, Sequence[str]]) -> list[str]:
    """Names like the pattern, whatever their case, as they have to be written."""
    layer, _, rest = pattern.partition(":")
    wanted = (rest if layer in features else pattern).strip().casefold()
    written = {name.casefold(): name for names in features.values() for name in names}
    close = difflib.get_close_matches(wanted, list(written), n=_MOST_NEAR, cutoff=0.6)
    inside = [name for name in written if len(wanted) > 3 and wanted in name]
    return [f"'{written[name]}'" for name in dict.fromkeys([*close, *inside])][:_MOST_NEAR]
