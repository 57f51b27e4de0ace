"""A command as jobs run them: it goes on from its last checkpoint and stops on request.

``work.py OUT STEPS MODE``: makes STEPS checkpoints in OUT, then OUT/result. MODE: ok; fail
(says why); killed (once, by SIGKILL, halfway); orphaned (once its parent is killed, halfway);
hopeless (killed every time before it gets anywhere); timed (once its worker gets SIGUSR2
twice, halfway, as before a time limit in a container); preempted (the same with one SIGTERM).
"""

import os
import signal
import sys
import time
from pathlib import Path

SIGNALS = {
    "killed": (False, signal.SIGKILL, 1),
    "orphaned": (True, signal.SIGKILL, 1),
    "timed": (True, signal.SIGUSR2, 2),
    "preempted": (True, signal.SIGTERM, 1),
}


def work(out, steps, mode):
    asked = []
    for number in (signal.SIGUSR2, signal.SIGTERM):
        signal.signal(number, lambda number, frame: asked.append(number))
    checkpoints, once = out / "checkpoints", out / "once"
    checkpoints.mkdir(parents=True, exist_ok=True)
    if mode == "fail":
        sys.stdout.write("error: the cohort has no layer mb\n")
        return 1
    if mode == "hopeless":
        os.kill(os.getpid(), signal.SIGKILL)
    done = len(list(checkpoints.iterdir()))
    sys.stdout.write(f"begins at {done}\n")
    sys.stdout.flush()
    while done < steps:
        time.sleep(0.03)
        done += 1
        (checkpoints / f"epoch-{done:06d}-step-00000000.safetensors").touch()
        if done == steps // 2 and mode in SIGNALS and not once.exists():
            once.touch()
            to_parent, number, times = SIGNALS[mode]
            for _ in range(times):
                os.kill(os.getppid() if to_parent else os.getpid(), number)
            while not asked:  # The worker, or the kernel once the worker is gone, asks.
                time.sleep(0.01)
        if asked:
            return 3
    (out / "result").write_text(str(done))
    return 0


def alone(out, steps, mode):
    """Work, and leave a mark if somebody else is at it."""
    busy = out / "busy"
    out.mkdir(parents=True, exist_ok=True)
    if mode == "ok" and busy.exists() and Path(f"/proc/{busy.read_text()}").exists():
        (out / "collision").touch()
    busy.write_text(str(os.getpid()))
    code = work(out, steps, mode)
    busy.unlink()
    return code


if __name__ == "__main__":
    sys.exit(alone(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]))
