"""A folder of work shared by real processes, some of them killed."""

import errno
import os
import signal
import subprocess
import sys
import time

import pytest

from immo_hpc.errors import OutputError
from immo_hpc.work import WorkFolder

# Notes who does which item; stays in the item it is told to stay in.
WORKER = """
import os, sys, time
from pathlib import Path
from immo_hpc.work import WorkFolder
folder, log, stay = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
def do(name, temporary):
    with log.open("a") as lines:
        lines.write(f"{os.getpid()} {name}\\n")
    temporary.write_text("half")
    if name == stay:
        print("inside", flush=True)
        time.sleep(600)
    time.sleep(0.02)
    temporary.write_text(f"whole {name}")
print("ready", flush=True)
sys.stdin.readline()
WorkFolder(folder).do_all([f"{i:02}" for i in range(20)], do)
"""
NAMES = [f"{number:02}" for number in range(20)]


def start(folder, log, stay="none"):
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), str(log), stay],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert worker.stdout.readline() == "ready\n"
    return worker


def go(*workers):
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()


def assert_whole(folder):
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        name: f"whole {name}" for name in NAMES
    }


def test_workers_share_the_items(tmp_path):
    log = tmp_path / "log"
    workers = [start(tmp_path / "work", log) for _ in range(4)]
    go(*workers)
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0] * 4
    assert_whole(tmp_path / "work")
    lines = [line.split() for line in log.read_text().splitlines()]
    assert sorted(name for _, name in lines) == NAMES
    assert len({pid for pid, _ in lines}) > 1


def test_the_item_of_a_killed_worker_is_finished_by_another(tmp_path):
    folder, log = tmp_path / "work", tmp_path / "log"
    stuck = start(folder, log, stay="07")
    go(stuck)
    assert stuck.stdout.readline() == "inside\n"
    other = start(folder, log)
    go(other)
    deadline = time.monotonic() + 30
    while len(list(folder.glob("[0-9][0-9]"))) < 19 and time.monotonic() < deadline:
        time.sleep(0.02)
    # All but the item that is held, which the other worker waits for.
    assert not (folder / "07").exists()
    assert other.poll() is None
    stuck.send_signal(signal.SIGKILL)
    stuck.communicate()
    other.communicate(timeout=30)
    assert other.returncode == 0
    assert_whole(folder)


def test_a_repeated_run_finishes_the_work_of_a_killed_one(tmp_path):
    folder, log = tmp_path / "work", tmp_path / "log"
    stuck = start(folder, log, stay="07")
    go(stuck)
    stuck.stdout.readline()
    stuck.send_signal(signal.SIGKILL)
    stuck.communicate()
    assert any(path.name.endswith(".07") for path in folder.iterdir())
    done = {path: path.stat().st_mtime_ns for path in folder.glob("[0-9][0-9]")}
    again = start(folder, log)
    go(again)
    again.communicate(timeout=30)
    assert_whole(folder)
    assert {path: path.stat().st_mtime_ns for path in done} == done


def test_what_do_raises_comes_out_and_nothing_is_left(tmp_path):
    work = WorkFolder(tmp_path / "work")

    def fail(name, temporary):
        temporary.write_text("half")
        message = f"cannot do {name}"
        raise KeyError(message)

    with pytest.raises(KeyError, match="cannot do a"):
        work.do_all(["a"], fail)
    assert list(work.path.iterdir()) == []
    # An error of reading is not taken for one of writing.
    with pytest.raises(FileNotFoundError, match=r"absent\.csv"):
        work.do_all(["a"], lambda *_: (tmp_path / "absent.csv").open())
    assert list(work.path.iterdir()) == []
    work.do_all(["a"], lambda name, path: path.write_text(name))
    assert [path.name for path in work.path.iterdir()] == ["a"]


def test_a_full_disk_says_so(tmp_path):
    work = WorkFolder(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(OutputError, match="the disk is full"):
        work.do_all(["a"], full)
    assert list(tmp_path.iterdir()) == []


def test_do_that_writes_nothing_is_refused(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"):
        WorkFolder(tmp_path).do_all(["a"], lambda *_: None)


def test_folders_below_and_files_that_are_there(tmp_path):
    work = WorkFolder(tmp_path / "work")
    (tmp_path / "work" / "fit").mkdir(parents=True)
    (tmp_path / "work" / "fit" / "a").write_text("old")
    work.do_all(["fit/a", "fit/b", "shards/a"], lambda name, path: path.write_text(name) and None)
    found = {str(p.relative_to(work.path)): p.read_text() for p in work.path.rglob("*/*")}
    assert found == {"fit/a": "old", "fit/b": "fit/b", "shards/a": "shards/a"}
    work.do_all([], lambda *_: None)


def test_workers_begin_at_different_places(tmp_path, monkeypatch):
    orders = []
    for pid in (0, 1):
        order = []
        monkeypatch.setattr(os, "getpid", lambda pid=pid: pid + 100)
        work = WorkFolder(tmp_path / str(pid))
        work.do_all(["a", "b", "c"], lambda name, path, o=order: (path.touch(), o.append(name)))
        orders.append(order)
    assert orders == [["b", "c", "a"], ["c", "a", "b"]]


def test_a_worker_that_stood_still_leaves_the_item_to_who_took_over(tmp_path):
    work = WorkFolder(tmp_path, stale_after_s=30)
    calls = []

    def do(name, temporary):
        calls.append(name)
        if len(calls) == 1:  # As if, meanwhile, another took over and cleared up.
            (tmp_path / "a.lease").unlink()
            return
        temporary.write_text("whole")

    work.do_all(["a"], do)
    assert calls == ["a", "a"]
    assert (tmp_path / "a").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
