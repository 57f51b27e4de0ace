"""From what a verb was asked for to the tasks of a job."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from immo_hpc.config import load_config
from immo_hpc.data.manifest import MANIFEST_NAME, read_manifest
from immo_hpc.errors import UsageError
from immo_jobs.check import check_run, unique_names
from immo_jobs.task import Task

# Verbs of which many processes may do one piece of work together, by the same command.
SHARED_VERBS = ("prepare", "tune")
JOB_VERBS = ("train", *SHARED_VERBS, "reproduce")
# How long a command waits for the lease of its folder: a lost node's is silent for a minute first.
_WAIT_S = 300


@dataclass(frozen=True)
class Asked:
    """A command line of a verb, taken apart, with absolute paths.

    Attributes:
        verb: The verb.
        positionals: Its arguments; the last is what it fills.
        options: Its options and their values, as words.
        paths: All paths among both.
        config: File, recipe and ``--set`` texts, for a verb that has them.
    """

    verb: str
    positionals: tuple[str, ...]
    options: tuple[str, ...]
    paths: tuple[Path, ...]
    config: tuple[Path | None, str, tuple[str, ...]] = (None, "default", ())

    @property
    def out(self) -> Path:
        """What the verb fills."""
        return Path(self.positionals[-1])


@dataclass(frozen=True)
class Array:
    """How one command line becomes several tasks.

    Attributes:
        seeds: A run for each of these seeds (train).
        configs: A run for each of these configuration files (train).
        count: This many tasks: seeds 0, 1, ... (train), or processes that share the work.
    """

    seeds: tuple[int, ...] = ()
    configs: tuple[Path, ...] = ()
    count: int | None = None


def plan(asked: Asked, array: Array) -> list[Task]:
    """The tasks of a job; nothing is written.

    Raises:
        UsageError: If the verb cannot be a job, or the array does not fit it.
        ConfigError, RunError, ShardError: If a training could not begin or go on as asked.
    """
    if asked.verb == "train":
        return _plan_train(asked, array)
    if array.seeds or array.configs:
        message = f"--seeds and --configs are for train; {asked.verb} takes --array N."
        raise UsageError(message)
    if asked.verb == "reproduce" and (array.count or 1) > 1:
        message = "reproduce is one task; leave out --array."
        raise UsageError(message)
    return _plan_shared(asked, array.count or 1)


def parse_seeds(text: str) -> tuple[int, ...]:
    """Seeds of a list with ranges.

    Raises:
        UsageError: If the text is no such list.

    Example:
        >>> parse_seeds("0-3,7")
        (0, 1, 2, 3, 7)
    """
    seeds: list[int] = []
    for part in text.split(","):
        found = re.fullmatch(r"\s*(\d+)(?:-(\d+))?\s*", part)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (1, 0)
        if last < first:
            message = f"--seeds '{text}': expected numbers and ranges, such as 0-7 or 0,3,5-9."
            raise UsageError(message)
        seeds += range(first, last + 1)
    return tuple(dict.fromkeys(seeds))


def parse_configs(texts: Sequence[str]) -> tuple[Path, ...]:
    """Configuration files of lists of files and folders of .yaml files.

    Raises:
        UsageError: If one is not there, or a folder holds none.
    """
    found: list[Path] = []
    for text in (part for joined in texts for part in joined.split(",")):
        path = Path(text).absolute()
        files = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not files or not files[0].is_file():
            message = f"--configs '{text}': expected a .yaml file, or a folder that holds some."
            raise UsageError(message)
        found += files
    return tuple(found)


def _plan_train(asked: Asked, array: Array) -> list[Task]:
    if array.count and array.seeds:
        message = "--array and --seeds say the same; give one of them."
        raise UsageError(message)
    seeds = array.seeds or tuple(range(array.count or 0))
    for given, option in ((seeds, "--seed"), (array.configs, "--config")):
        if given and option in asked.options:
            message = f"{option} gives one value, and the array gives several; leave out one."
            raise UsageError(message)
    runs: list[tuple[str, list[str]]] = [(asked.out.name, [])]
    if array.configs:
        runs = [(file.stem, ["--config", str(file)]) for file in array.configs]
    if seeds:
        prefix = "{}-" if array.configs else ""
        runs = [
            (prefix.format(name) + f"seed-{seed}", [*words, "--seed", str(seed)])
            for name, words in runs
            for seed in seeds
        ]
    unique_names([name for name, _ in runs])
    is_array = bool(seeds or array.configs)
    return [
        _train_task(asked, name, asked.out / name if is_array else asked.out, words)
        for name, words in runs
    ]


def _train_task(asked: Asked, name: str, run: Path, words: list[str]) -> Task:
    shards = Path(asked.positionals[0])
    options = [*asked.options, *words]
    _check_training(asked, shards, run, words)
    inputs = [path for path in asked.paths if path != asked.out]
    for word in ("--resume", f"--wait={_WAIT_S}"):
        if word not in options:
            options.append(word)
    folders = [
        *(str(path) for path in _folders([*inputs, *_paths_among(words)])),
        str(run.parent),
    ]
    return Task(
        name=name,
        command=("immo", "train", str(shards), str(run), *options),
        out=str(run),
        progress=str(run / "checkpoints"),
        folders=tuple(dict.fromkeys(folders)),
    )


def _check_training(asked: Asked, shards: Path, run: Path, words: list[str]) -> None:
    """Refuse now what `immo train` would refuse hours later, without loading torch."""
    import hashlib

    manifest = read_manifest(shards)
    file, recipe, assignments = asked.config
    given = dict(zip(words[::2], words[1::2], strict=True))
    settings = load_config(
        Path(given["--config"]) if "--config" in given else file,
        recipe=recipe,
        assignments=[*assignments, *([f"seed={given['--seed']}"] if "--seed" in given else [])],
        base=dict(manifest.config),
    )
    check_run(run, settings, hashlib.sha256((shards / MANIFEST_NAME).read_bytes()).hexdigest())


def _plan_shared(asked: Asked, count: int) -> list[Task]:
    options = list(asked.options)
    progress = asked.out
    if asked.verb == "prepare":
        # All tasks share the parts of the work in this folder.
        if "--work" not in options:
            options += ["--work", str(asked.out.with_name(asked.out.name + ".work"))]
        progress = Path(options[options.index("--work") + 1])
    elif asked.verb == "tune":
        progress = asked.out / "progress"
    elif asked.verb == "reproduce":
        # Its parts lie there until all are made.
        progress = asked.out.with_name(f".{asked.out.name}.reproduce")
    inputs = [path for path in asked.paths if path != asked.out]
    folders = [*_folders(inputs), asked.out.parent, progress.parent]
    return [
        Task(
            name=asked.verb if count == 1 else f"{asked.verb}-{number}",
            command=("immo", asked.verb, *asked.positionals, *options),
            out=str(asked.out),
            progress=str(progress),
            folders=tuple(dict.fromkeys(str(folder) for folder in folders)),
        )
        for number in range(count)
    ]


def _folders(paths: Sequence[Path]) -> list[Path]:
    return [path if path.is_dir() else path.parent for path in paths]


def _paths_among(words: list[str]) -> list[Path]:
    return [Path(word) for word in words if word.startswith("/")]
