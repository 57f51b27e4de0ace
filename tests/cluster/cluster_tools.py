"""Slurm, jobs and processes as the cluster tests see them.

Everything waits for what it needs to see; nothing relies on how fast the machine is.
"""

import hashlib
import json
import subprocess
import sys
import time
from pathlib import Path

IMMO = Path(sys.executable).with_name("immo")


def wait_until(condition, seconds, what):
    """Wait for ``condition()`` to be true and return it; fail naming ``what`` after ``seconds``."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, f"after {seconds} s still waiting until {what}"
        time.sleep(0.3)
    return found


def command(*words, **options):
    """Run a command and return what it prints; fail with what it says."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{words} ended with {done.returncode}: {done.stderr}{done.stdout}"
    return done.stdout


def has_checkpoint(run):
    return any(run.glob("checkpoints/epoch-*.safetensors"))


def model_hash(run):
    return hashlib.sha256((run / "model.safetensors").read_bytes()).hexdigest()


class Cluster:
    """Slurm as its administrator sees it."""

    def task(self, worker):
        """State, node and reason of a job or array element; None if it is not in the queue."""
        lines = command("squeue", "--noheader", "--array", "--format=%i|%T|%N|%r").splitlines()
        rows = {line.split("|")[0]: line.split("|")[1:] for line in lines}
        return rows.get(worker)

    def node_of(self, worker):
        """Node that a worker runs on."""
        _, node, _ = wait_until(
            lambda: (row := self.task(worker)) and row[0] == "RUNNING" and row,
            120,
            f"{worker} runs",
        )
        return node

    def past(self, worker):
        """What accounting says of all attempts of a worker, as one text."""
        return command("sacct", "-DnX", "--format=State%30", f"--jobs={worker}")

    def set_node(self, node, state):
        command("scontrol", "update", f"nodename={node}", f"state={state}", "reason=test")

    def requeue(self, worker):
        command("scontrol", "requeue", worker)

    def cancel(self, worker):
        command("scancel", worker)

    def preempt(self, node):
        """Have the urgent partition take a whole node for a moment."""
        options = ("--parsable", "--partition=urgent", f"--nodelist={node}", "--exclusive")
        script = ("--output=/dev/null", "--chdir=/", "--wrap=sleep 1")
        return command("sbatch", *options, *script).strip()


class Job:
    """Trainings submitted as an array, used as their owner would: through the command line.

    Args:
        runs: Folder of the run folders.
        immo: Words that start the command line.
        folder: Job folder; by default beside ``runs``.
    """

    def __init__(self, runs, immo=(str(IMMO),), folder=None):
        self.runs, self.folder = runs, folder or runs.with_name(f"{runs.name}.jobs")
        self._immo = immo

    def submit(self, shards, configs, profile):
        self.immo("submit", "train", shards, self.runs, "--configs", configs, "--profile", profile)

    def resume(self):
        self.immo("resume", self.folder)

    def immo(self, *words):
        return command(*self._immo, *map(str, words), cwd=self.runs.parent)

    def status(self):
        """Rows of ``immo status`` by task."""
        rows = json.loads(self.immo("status", self.folder, "--json"))["tasks"]
        return {row["name"]: row for row in rows}

    def run(self, name):
        return self.runs / name

    def worker(self, name):
        """The Slurm job that has the task."""
        return self.status()[name]["workers"][-1]

    def attempts(self, name):
        """What is written down of each attempt that ended."""
        path = self.folder / "tasks" / name / "attempts.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def reasons(self, name):
        return " / ".join(attempt["reason"] for attempt in self.attempts(name))

    def wait_until_over(self, seconds):
        """Wait until no worker has or will have a task; rows by task."""

        def over():
            rows = self.status()
            return not any(row["is_live"] for row in rows.values()) and rows

        return wait_until(over, seconds, f"no task of {self.folder} is queued or runs")
