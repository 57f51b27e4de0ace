"""Where a preparation of many processes does its work, and how it is begun, gone on with and ended.

Beside the output ``NAME`` lies the folder ``.NAME.prepare``: finished shards wait in it until all
are there, and everything else that is made on the way lies in it too, or in a work folder that
the user names. Both say in ``inputs.json`` what they are the work of.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from immo_hpc.data.manifest import MANIFEST_NAME
from immo_hpc.errors import OutputError, UsageError
from immo_hpc.files import make_folder, refuse_output, write_text
from immo_hpc.lease import hold

INPUTS = "inputs.json"
# Ending is one manifest and one rename: whoever waits longer waits for a process that hangs.
_ENDING_S = 600.0


@dataclass(frozen=True)
class PreparePlace:
    """The folders of one preparation.

    Attributes:
        output: Folder the shards will have, absolute.
        work: Folder of what is made on the way, absolute.
    """

    output: Path
    work: Path

    @property
    def home(self) -> Path:
        """Folder beside the output, in its file system."""
        return self.output.with_name(f".{self.output.name}.prepare")

    @property
    def shards(self) -> Path:
        """Folder in which finished shards wait for the others."""
        return self.home / "shards"

    @property
    def is_finished(self) -> bool:
        """True if the output is there: it gets its name when it is complete."""
        return (self.output / MANIFEST_NAME).exists()

    def begin(self, inputs: Mapping[str, Any]) -> None:
        """Take the folders for these inputs, or go on with what was begun for the same.

        Raises:
            OutputError: If a folder is the work of other inputs, or cannot be made.
        """
        for folder in dict.fromkeys((self.work, self.home)):
            make_folder(folder)
            try:
                _claim(folder / INPUTS, inputs)
            except OSError as error:
                refuse_output(folder, error)
            self._require_same(folder, inputs)
        make_folder(self.shards)

    def was_for(self, inputs: Mapping[str, Any]) -> bool:
        """True if a folder was begun for the same inputs."""
        return any(_read(folder / INPUTS) == inputs for folder in (self.work, self.home))

    def end(self, names: Sequence[str], write_manifest: Callable[[Path], None]) -> None:
        """Give the shards their folder's name, if no other process has done it yet.

        Args:
            names: File names of the shards.
            write_manifest: Writes the manifest into the folder it is given.

        Raises:
            OutputError: If a shard is gone, or a folder cannot be written.
        """
        with hold(self.work / "end.lease", wait_s=_ENDING_S):
            if self.is_finished:
                return
            self._require_shards(names)
            write_manifest(self.shards)
            try:
                if self.output.is_dir():
                    self.output.rmdir()
                self.shards.replace(self.output)
            except OSError as error:
                refuse_output(self.output, error)

    def clear(self) -> None:
        """Remove what is left of the work, but a folder that the user named and its inputs."""
        # Renamed first: a process that looks for the folder finds all of it, or nothing.
        gone = self.home.with_name(f"{self.home.name}.{secrets.token_hex(6)}")
        try:
            self.home.replace(gone)
        except OSError:
            gone = self.home
        shutil.rmtree(gone, ignore_errors=True)
        # A process that was ended while it cleared away left what it had renamed.
        left = re.compile(re.escape(self.home.name) + r"\.[0-9a-f]{12}")
        for path in self.home.parent.iterdir():
            if left.fullmatch(path.name):
                shutil.rmtree(path, ignore_errors=True)
        if self.work != self.home and self.work.is_dir():
            for path in self.work.iterdir():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                elif path.name != INPUTS:
                    path.unlink(missing_ok=True)

    def _require_same(self, folder: Path, inputs: Mapping[str, Any]) -> None:
        found = _read(folder / INPUTS)
        if found == inputs:
            return
        known = found if isinstance(found, dict) else {}
        differing = [name for name in inputs if known.get(name) != inputs[name]]
        message = (
            f"{folder}: expected work begun with the same inputs, found that of others (they "
            f"differ in: {', '.join(differing)}). Remove this folder to begin anew, or choose "
            "another output or work folder."
        )
        raise OutputError(message)

    def _require_shards(self, names: Sequence[str]) -> None:
        """Refuse an end without every shard; remove half files of processes that were killed."""
        there = {path.name for path in self.shards.iterdir()}
        if missing := [name for name in names if name not in there]:
            message = (
                f"{self.shards}: {missing[0]} was written, but is not there any more "
                f"({len(missing)} such files). Remove {self.work} and repeat the command."
            )
            raise OutputError(message)
        for name in there - set(names):
            (self.shards / name).unlink(missing_ok=True)


def prepare_place(output: Path, work: Path | None) -> PreparePlace:
    """The folders for an output; all work beside it if no work folder is named.

    Raises:
        UsageError: If the work folder lies in the output folder.
    """
    output = output.absolute()
    if work is None:
        return PreparePlace(output, PreparePlace(output, output).home)
    work = work.absolute()
    if work == output or output in work.parents:
        message = (
            f"--work {work}: expected a folder outside the output {output}, which is made last. "
            "Name another one."
        )
        raise UsageError(message)
    return PreparePlace(output, work)


def describe_inputs(paths: Sequence[Path]) -> list[list[Any]]:
    """Path, size and time of change of every file the cohorts are made of."""
    listed: list[list[Any]] = []
    for path in paths:
        files = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in files:
            if file.is_file() and not file.name.startswith("."):
                stat = file.stat()
                listed.append([str(file.absolute()), stat.st_size, stat.st_mtime_ns])
    return listed


def _claim(path: Path, inputs: Mapping[str, Any]) -> None:
    """Write the file unless it is there; of several processes one does."""
    if path.exists():
        return
    with hold(path.with_name("inputs.lease"), wait_s=_ENDING_S):
        if not path.exists():
            write_text(path, json.dumps(inputs, indent=1) + "\n")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
