"""A verb's command line, checked by the verb itself and taken apart, to be run elsewhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer.main

from immo_hpc.errors import UsageError
from immo_jobs.plan import JOB_VERBS, Asked


def asked(verb: str, words: Sequence[str]) -> Asked:
    """Read ``words`` as the verb would, and write them again with absolute paths.

    Raises:
        UsageError: If the verb cannot be a job, or takes no folder to fill.
        click's UsageError: If the verb would refuse the words.
    """
    from immo_hpc.cli._app import app

    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    verbs = [name for name in JOB_VERBS if name in commands]
    if verb not in verbs:
        message = f"'{verb}' cannot be a job; the verbs that can are {', '.join(verbs)}."
        raise UsageError(message)
    context = commands[verb].make_context(f"immo {verb}", list(words))
    positionals: list[str] = []
    options: list[str] = []
    paths: list[Path] = []
    for parameter in context.command.params:
        value = context.params.get(parameter.name)
        if value is None or context.get_parameter_source(parameter.name).name != "COMMANDLINE":
            continue
        values = list(value) if isinstance(value, list | tuple) else [value]
        paths += [_absolute(one) for one in values if isinstance(one, Path)]
        if parameter.param_type_name == "argument":
            positionals += [_text(one) for one in values]
        elif isinstance(value, bool):
            options.append(_flag(parameter, value))
        else:
            options += [word for one in values for word in (parameter.opts[0], _text(one))]
    given = context.params
    file = given.get("config")
    assignments = list(given.get("assign") or ())
    if given.get("seed") is not None:
        assignments.append(f"seed={given['seed']}")
    config = (file and _absolute(file), given.get("recipe") or "default", tuple(assignments))
    return Asked(verb, tuple(positionals), tuple(options), tuple(paths), config)


def _text(value: Any) -> str:
    return str(_absolute(value)) if isinstance(value, Path) else str(value)


def _absolute(path: Path) -> Path:
    # Not resolved: a link may be the path that all nodes of a cluster share.
    return Path(os.path.normpath(path.absolute()))


def _flag(parameter: Any, value: bool) -> str:
    return str(parameter.opts[0] if value else parameter.secondary_opts[0])
