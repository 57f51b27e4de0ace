"""Slurm's commands on one machine without Slurm: jobs are processes, the queue is a folder.

Made for tests: copied under the names sbatch, srun, squeue, sacct, scancel and scontrol into
a folder on PATH. A job's script really runs, once for each element of its array, and again after
``scontrol requeue``; scancel sends SIGTERM to everything of an element, as Slurm does.
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
STATE = HERE / "state"


def sbatch(words):
    script = Path(words[-1])
    STATE.mkdir(exist_ok=True)
    job = 100 + 10 * len(list(STATE.glob("*.job")))
    (STATE / f"{job}.job").touch()
    array = re.search(r"--array=0-(\d+)", script.read_text())
    elements = [""] if array is None else [f"_{n}" for n in range(int(array[1]) + 1)]
    for number, element in enumerate(elements):
        worker = f"{job}{element}"
        copied = STATE / f"{worker}.sh"  # Slurm keeps its own copy of a script.
        copied.write_text(script.read_text())
        environment = {**os.environ, "SLURM_JOB_ID": str(job + number)}
        if element:
            environment |= {"SLURM_ARRAY_JOB_ID": str(job), "SLURM_ARRAY_TASK_ID": element[1:]}
        runner = subprocess.Popen(
            [sys.executable, "-S", __file__, "run", str(copied), worker],
            env=environment,
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        (STATE / f"{worker}.pid").write_text(str(runner.pid))
    sys.stdout.write(f"Submitted batch job {job}\n")


def run(words):
    """Be one element: run its script until nobody asks for another time."""
    script, worker = words
    signal.signal(signal.SIGTERM, lambda number, frame: None)
    requeue, count = STATE / f"{worker}.requeue", 0
    while True:
        environment = {**os.environ, **({"SLURM_RESTART_COUNT": str(count)} if count else {})}
        code = subprocess.run(["bash", script], env=environment, check=False).returncode
        if not requeue.exists():
            break
        requeue.unlink()
        count += 1
    word = "COMPLETED" if code == 0 else "FAILED"
    if (STATE / f"{worker}.cancelled").exists():
        word = "CANCELLED by 0"
    (STATE / f"{worker}.done").write_text(word)


def srun(words):
    paths = {}
    while words[0].startswith("--"):
        option = words.pop(0)
        if option in ("--output", "--error"):
            paths[option] = words.pop(0)
    job = os.environ.get("SLURM_ARRAY_JOB_ID") or os.environ["SLURM_JOB_ID"]
    element = os.environ.get("SLURM_ARRAY_TASK_ID", "")
    for number, option in ((1, "--output"), (2, "--error")):
        path = paths[option].replace("%A", job).replace("%a", element)
        file = os.open(
            path.replace("%j", job).replace("%t", "0"), os.O_WRONLY | os.O_APPEND | os.O_CREAT
        )
        os.dup2(file, number)
    os.environ["SLURM_PROCID"] = "0"
    # A child as with Slurm, so that killing it leaves the script alive.
    sys.exit(subprocess.run(words, check=False).returncode % 256)


def squeue(words):
    for worker in workers(words):
        if not (STATE / f"{worker}.done").exists():
            is_ending = (STATE / f"{worker}.cancelled").exists()
            sys.stdout.write(f"{worker}|{'COMPLETING' if is_ending else 'RUNNING'}|None\n")


def sacct(words):
    for worker in workers(words):
        done = STATE / f"{worker}.done"
        word = done.read_text() if done.exists() else "RUNNING"
        sys.stdout.write(f"{worker}|{word}\n")


def workers(words):
    (jobs,) = [word.removeprefix("--jobs=").split(",") for word in words if "--jobs=" in word]
    names = [path.stem for path in sorted(STATE.glob("*.pid"))]
    return [name for name in names if name.partition("_")[0] in jobs]


def scancel(words):
    if "--state=PENDING" in words:
        return  # Here all begin at once.
    for worker in words[1:]:
        if not (STATE / f"{worker}.done").exists():
            (STATE / f"{worker}.cancelled").touch()
            os.killpg(int((STATE / f"{worker}.pid").read_text()), signal.SIGTERM)


def scontrol(words):
    if words[0] == "requeue":
        (STATE / f"{words[1]}.requeue").touch()


if __name__ == "__main__":
    name = Path(sys.argv[0]).name
    arguments = sys.argv[1:]
    if arguments[:1] == ["run"]:
        run(arguments[1:])
    else:
        while name == "squeue" and not STATE.exists():
            time.sleep(0.01)
        globals()[name](arguments)
