"""Killed at any moment, a growing set is as it was or grown, and the command does the rest."""

import json
import os
import subprocess
import sys

import pytest

# Run in a process of its own: it forks, and nothing of Arrow may run before that.
SCRIPT = '''
import hashlib, json, os, random, shutil, signal, sys, time
from pathlib import Path
import numpy as np
import pandas as pd
from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import append_cohort, read_shards, verify_shards, write_shards

CALLS = ["replace", "fsync", "link", "unlink", "mkdir", "rmdir", "open", "write"]


def cohort(first, count, layers):
    rng = np.random.default_rng(first)
    made = {
        name: Layer(name, "continuous", tuple(f"{name}{n}" for n in range(width)),
                    rng.standard_normal((count, width)).astype(np.float32), np.arange(count))
        for name, width in layers.items()
    }
    samples = pd.DataFrame({"person": [f"P{(first + n) // 2}" for n in range(count)]},
                           index=[f"s{first + n}" for n in range(count)])
    return Cohort(samples, made, Roles(subject="person"))


def prepare(folder):
    first = cohort(0, 30, {"mg": 4})
    preparation = fit_preparation(first, np.arange(20), PreparationConfig())
    split = np.repeat(["train", "test"], [20, 10])
    write_shards(preparation.apply(first, split=split), preparation, folder, rows_per_shard=10)


def grow(folder):
    new = cohort(30, 25, {"mg": 6, "mb": 3})
    append_cohort(folder, lambda scratch: new, source="more", add_features=True, rows_per_shard=10)


def grow_until(folder, last_call):
    left = [last_call]
    for name in CALLS:
        def counted(*args, inner=getattr(os, name), **kwargs):
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*args, **kwargs)
        setattr(os, name, counted)
    grow(folder)
    (folder.parent / "calls").write_text(str(last_call - left[0]))


def content(folder):
    return {path.name: path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.iterdir()) if path.suffix not in (".lease", ".claim")}


def check(folder, original):
    """The set reads as it was or as it is grown; repeated, it is as if never disturbed."""
    assert verify_shards(folder) == (), verify_shards(folder)
    found = read_shards(folder)
    assert found.manifest.num_samples in (30, 55)
    kept = {name: digest for name, digest in content(folder).items() if name in original}
    del original["manifest.json"], kept["manifest.json"]
    assert kept == original, "a file that stood was changed"
    old = read_shards(folder, 1).cohort
    assert len(old.samples) == 30
    grow(folder)
    assert verify_shards(folder) == ()
    (folder.parent / "state").write_text(str(found.manifest.num_samples))


def child(work, *args):
    number = os.fork()
    if number == 0:
        try:
            work(*args)
            os._exit(0)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
    return number


def wait(number):
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


home, seed = Path(sys.argv[1]), int(sys.argv[2])
assert wait(child(prepare, home / "start")) == 0
original = content(home / "start")
shutil.copytree(home / "start", home / "undisturbed" / "set")
began = time.monotonic()
assert wait(child(grow_until, home / "undisturbed" / "set", 10**9)) == 0
seconds = time.monotonic() - began
calls = int((home / "undisturbed" / "calls").read_text())
expected = content(home / "undisturbed" / "set")
random.seed(seed)
moments = [("call", call) for call in sorted(random.sample(range(1, calls), 14))]
moments += [("time", seconds * random.random()) for _ in range(6)]
told = []
for number, (kind, moment) in enumerate(moments):
    folder = home / str(number) / "set"
    shutil.copytree(home / "start", folder)
    if kind == "call":
        assert wait(child(grow_until, folder, moment)) == -signal.SIGKILL
    else:
        running = child(grow, folder)
        time.sleep(moment)
        os.kill(running, signal.SIGKILL)
        wait(running)
    left = sorted({path.name for path in folder.iterdir()} - set(original))
    assert wait(child(check, folder, dict(original))) == 0, (kind, moment)
    assert content(folder) == expected, (kind, moment)
    told.append([kind, moment, (home / str(number) / "state").read_text(), left])
print(json.dumps(told))
'''


@pytest.mark.timeout(200)
def test_killed_at_any_moment_nothing_is_lost_and_the_command_finishes(tmp_path):
    seed = "0" if os.environ.get("CI") else str(os.getpid())
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path), seed],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, f"seed {seed}:\n{done.stderr}"
    told = json.loads(done.stdout)
    assert len(told) == 20
    assert any(state == "30" for _, _, state, _ in told), "none was killed before the switch"
