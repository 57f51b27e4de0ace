"""Trainings as processes of this machine, stopped in their middle so that things can happen."""

import contextlib
import os
import signal
import threading
import time
from pathlib import Path


def trainings(run):
    """Ids of the processes of this machine that train into ``run``, host or container."""
    return _into(run, _all_trainings())


def _into(run, found):
    """Those of the trainings found that fill ``run``.

    What a training starts looks like the training until it is its own program: not counted.
    """
    parents = {pid: _stat(pid)[1:2] for pid, words in found if str(run).encode() in words}
    return [pid for pid, parent in parents.items() if parent and int(parent[0]) not in parents]


def _all_trainings():
    """Id and arguments of every training; one look at all processes, as it costs time."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        # python .../immo train SHARDS RUN: programs that start it have other first words.
        if words[1:2] and words[1].endswith(b"/immo"):
            found.append((int(entry.name), words[2:]))
    return found


class Freezer(threading.Thread):
    """Stops each training (SIGSTOP) once it has written a checkpoint, until its task is let go.

    So a disturbance meets every run in its middle, however fast the machine is. A process that
    is asked to end goes on, as does one that Slurm itself continues. Every look counts how many
    processes train into one run.
    """

    def __init__(self, job, names):
        super().__init__(daemon=True)
        self._job, self._held, self._is_over = job, set(names), threading.Event()
        self._stopped, self._found_by = set(), {}
        self.most_at_once = dict.fromkeys(names, 0)

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self._is_over.set()
        self.join()
        for name in self.most_at_once:
            self._let_go(name)

    def run(self):
        while not self._is_over.wait(0.05):
            found = _all_trainings()
            for name in self.most_at_once:
                run = self._job.run(name)
                pids = _into(run, found)
                self.most_at_once[name] = max(self.most_at_once[name], len(pids))
                if name in self._held:
                    self._look(pids, {path.name for path in run.glob("checkpoints/epoch-*")})

    def _look(self, pids, checkpoints):
        for pid in pids:
            found = self._found_by.setdefault(pid, checkpoints)
            if pid not in self._stopped:
                if checkpoints != found:
                    self._stopped.add(pid)
                    _signal(pid, signal.SIGSTOP)
            elif _has_pending(pid, signal.SIGUSR2) or _has_pending(pid, signal.SIGTERM):
                _signal(pid, signal.SIGCONT)

    def disturb(self, name, act, reason):
        """Do ``act(pid)`` to a frozen training until its record tells of ``reason``; let it go.

        It is done again where it came too late: the time limit may have been quicker.

        Returns:
            Row of the task in ``immo status`` then, while it is still kept from its end.
        """
        end = time.monotonic() + 300
        while True:
            num_attempts = len(self._job.attempts(name))
            act(self._frozen(name))
            next_look = time.monotonic() + 60
            while len(self._job.attempts(name)) == num_attempts and time.monotonic() < next_look:
                time.sleep(0.3)
            found = self._job.reasons(name)
            if reason in found:
                break
            assert time.monotonic() < end, f"{name}: {reason!r} is not in its record: {found}"
        row = self._job.status()[name]
        self._held.discard(name)
        time.sleep(0.2)  # A look that has begun may still stop it.
        self._let_go(name)
        return row

    def _let_go(self, name):
        for pid in trainings(self._job.run(name)):
            _signal(pid, signal.SIGCONT)

    def _frozen(self, name):
        """Wait until the training of a task is stopped; hand the task over again if it rests."""
        end = time.monotonic() + 180
        while time.monotonic() < end:
            for _ in range(30):
                frozen = [pid for pid in trainings(self._job.run(name)) if _is_stopped(pid)]
                if frozen:
                    return frozen[0]
                time.sleep(0.3)
            if not self._job.status()[name]["is_live"]:
                self._job.resume()
        message = f"{name} is not in its middle after 180 s: {self._job.status()[name]}"
        raise AssertionError(message)


def _signal(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def _is_stopped(pid):
    return _stat(pid)[:1] == ["T"]


def parent_of(pid):
    return int(_stat(pid)[1])


def _stat(pid):
    """State, parent and so on of a process; nothing of one that is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _has_pending(pid, number):
    """Whether a stopped process is going to meet a signal when it goes on."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return False
    masks = [int(line.split()[1], 16) for line in lines if line.startswith(("SigPnd", "ShdPnd"))]
    return any(mask >> (number - 1) & 1 for mask in masks)
