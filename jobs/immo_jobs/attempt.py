"""One attempt at a task: begun, ended, judged, each written down before the next thing is done."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from dataclasses import replace
from datetime import datetime
from signal import Signals

from immo_hpc.errors import ImmoError
from immo_hpc.lines import append_line
from immo_jobs.child import CANCELLED, StopRelay, run_child
from immo_jobs.command import environment_of, ranks_of, started_command
from immo_jobs.folder import JobFolder
from immo_jobs.profile import Profile
from immo_jobs.state import (
    FAILED,
    FINISHED,
    GAVE_UP,
    INTERRUPTED,
    RUNNING,
    TaskFolder,
    TaskState,
    read_state,
    write_state,
)
from immo_jobs.task import Task, mark_of

# Exit code of a verb that stopped on request after a checkpoint.
RESUMABLE = 3
# Apptainer's when the container itself could not be started.
_NO_CONTAINER = 255
_BEAT_S = 10.0


def attempt(job: JobFolder, task: Task, worker: str, relay: StopRelay) -> TaskState:
    """Run the command of a task once and write down how that went.

    Returns:
        The state after it: finished, failed, interrupted or gave up.

    Raises:
        OutputError: If the task's folder cannot be written.
    """
    profile, folder = job.profile, job.task_folder(task.name)
    begun = _begin(folder, task, worker)
    size = folder.log.stat().st_size
    beat_at, is_noted = float("-inf"), False

    def beat() -> None:
        nonlocal beat_at, is_noted
        if time.monotonic() - beat_at >= _BEAT_S:
            folder.heartbeat.touch()
            beat_at = time.monotonic()
        if job.cancelled.exists():
            relay.cancel()
        if relay.name is not None and not is_noted:
            # Should there be no time to end in order, this is what remains of it.
            is_noted = True
            with contextlib.suppress(ImmoError):
                write_state(folder, replace(begun, reason=_asked(relay.name)))

    try:
        command = started_command(task, profile)
        environment = environment_of(profile, os.environ) | ranks_of(profile, os.environ)
        code = run_child(command, environment, folder.log, relay, beat)
    except (OSError, ImmoError) as error:
        return close(folder, task, begun, FAILED, f"could not be started: {error}", None, profile)
    said = _last_words(folder, size)
    state, reason = verdict(code, relay.name, said, in_container=profile.container is not None)
    return close(folder, task, begun, state, reason, code, profile)


def close_silent(job: JobFolder, task: Task, reason: str) -> TaskState:
    """Close an attempt whose worker is gone without having said how it went, if there is one.

    The caller holds the task's lease.
    """
    folder = job.task_folder(task.name)
    state = read_state(folder)
    if state.state != RUNNING:
        return state
    told = f"{state.reason}; {reason}" if state.reason not in reason else reason
    return close(folder, task, state, INTERRUPTED, told, None, job.profile)


def close_early(job: JobFolder, task: Task, worker: str, reason: str) -> TaskState:
    """Count an attempt of which the worker was ended before its command began.

    The caller holds the task's lease.
    """
    folder = job.task_folder(task.name)
    begun = _begin(folder, task, worker)
    return close(folder, task, begun, INTERRUPTED, reason, None, job.profile)


def close(
    folder: TaskFolder,
    task: Task,
    begun: TaskState,
    state: str,
    reason: str,
    code: int | None,
    profile: Profile,
) -> TaskState:
    """Write down the end of an attempt; too many without progress end the task."""
    mark = mark_of(task)
    fruitless = 0 if mark != begun.mark else begun.fruitless + 1
    if state == INTERRUPTED and fruitless >= profile.attempts:
        state = GAVE_UP
        reason = f"{fruitless} attempts in a row without progress; the last: {reason}"
    values = {
        "attempt": begun.attempts,
        "state": state,
        "reason": reason,
        "code": code,
        "began": begun.since,
        "ended": time.time(),
        "worker": begun.worker,
        "from": begun.mark,
        "to": mark,
    }
    append_line(folder.attempts, values)
    ended = replace(
        begun, state=state, reason=reason, fruitless=fruitless, mark=mark, since=time.time()
    )
    write_state(folder, ended)
    return ended


def verdict(code: int, stopped: str | None, said: str, *, in_container: bool) -> tuple[str, str]:
    """What an exit code means, as state and reason.

    Args:
        code: Exit code; minus the signal's number if one ended the command.
        stopped: What asked it to stop; None if nothing did.
        said: Its last words.
        in_container: Whether it ran in a container.

    Example:
        >>> verdict(3, "SIGUSR2", "", in_container=False)
        ('interrupted', 'stopped on SIGUSR2 after a checkpoint')
        >>> verdict(137, None, "", in_container=True)
        ('interrupted', 'killed by SIGKILL (out of memory, or by hand)')
    """
    asked = "was cancelled" if stopped == CANCELLED else f"stopped on {stopped}"
    number = -code if code < 0 else code - 128 if 128 < code <= 192 else None
    if code == 0:
        return FINISHED, ""
    if code == RESUMABLE:
        return INTERRUPTED, f"{asked} after a checkpoint" if stopped else said
    if number is not None and stopped is not None:
        return INTERRUPTED, f"{asked}, before a checkpoint of its own"
    if number is not None:
        name = Signals(number).name if number in set(Signals) else f"signal {number}"
        hint = " (out of memory, or by hand)" if name == "SIGKILL" else ""
        return INTERRUPTED, f"killed by {name}{hint}"
    if code == _NO_CONTAINER and in_container:
        return INTERRUPTED, f"the container could not be started: {said}"
    return FAILED, said or f"ended with exit code {code}"


def _begin(folder: TaskFolder, task: Task, worker: str) -> TaskState:
    before = read_state(folder)
    begun = replace(
        before,
        state=RUNNING,
        reason="",
        attempts=before.attempts + 1,
        mark=mark_of(task),
        worker=worker,
        since=time.time(),
    )
    write_state(folder, begun)
    stamp = datetime.now().astimezone().isoformat(timespec="seconds")
    with folder.log.open("a", encoding="utf-8") as file:
        file.write(f"--- attempt {begun.attempts} on {socket.gethostname()} ({worker}), {stamp}\n")
    return begun


def _asked(by: str) -> str:
    return "was cancelled" if by == CANCELLED else f"asked to stop on {by}"


def _last_words(folder: TaskFolder, begin: int) -> str:
    """The last line that begins with ``error:`` since byte ``begin`` of the log, else the last."""
    lines: list[str] = []
    with contextlib.suppress(OSError), folder.log.open("rb") as file:
        file.seek(max(begin, folder.log.stat().st_size - 65536))
        text = file.read().decode("utf-8", errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1]
