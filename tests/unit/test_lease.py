"""Leases between real processes, some of them killed."""

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from immo_hpc.errors import BusyError, OutputError
from immo_hpc.lease import Watcher, hold, owner

SHORT_S = 0.4  # Beats every 0.1 s.
HOLDER = """
import sys, time
from pathlib import Path
from immo_hpc.lease import hold
with hold(Path(sys.argv[1]), stale_after_s=float(sys.argv[2])):
    print("held", flush=True)
    time.sleep(float(sys.argv[3]))
"""
# Takes turns at a counter that only exclusion keeps right.
COUNTER = """
import sys
from pathlib import Path
from immo_hpc.lease import hold
folder, turns = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
for _ in range(turns):
    with hold(folder / "a.lease", wait_s=60, stale_after_s=30):
        inside = folder / "inside"
        inside.touch(exist_ok=False)
        count = int((folder / "count").read_text())
        (folder / "count").write_text(str(count + 1))
        inside.unlink()
"""
# Waits for the word, tries once to take the lease, and says whether it has it.
TAKER = """
import sys
from pathlib import Path
from immo_hpc.lease import Watcher
watcher = Watcher(float(sys.argv[2]))
watcher.try_take(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
lease = watcher.try_take(Path(sys.argv[1]))
print("taken" if lease else "refused", flush=True)
sys.stdin.readline()
print(lease is None or lease.is_ours(), flush=True)
"""


def start(code, *arguments):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def say(process):
    process.stdin.write("\n")
    process.stdin.flush()


def finish(*processes):
    for process in processes:
        process.communicate(timeout=60)


def foreign(path, **changes):
    """Write a lease of another host, which says nothing more."""
    other = replace(owner.new_owner(0.1), host="elsewhere", place="another boot", **changes)
    path.write_bytes(owner.to_text(other))
    return other


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.lease"


def test_it_is_there_while_held_and_gone_after(path):
    with hold(path) as lease:
        held = json.loads(path.read_text().splitlines()[0])
        assert (held["pid"], held["host"]) == (os.getpid(), socket.gethostname())
        assert lease.is_ours()
    assert list(path.parent.iterdir()) == []
    with pytest.raises(KeyError), hold(path):
        raise KeyError
    assert list(path.parent.iterdir()) == []


def test_a_second_thread_is_refused_too(path):
    with hold(path), pytest.raises(BusyError, match=r"table\.lease: process \d+ on "), hold(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_eight_processes_take_turns(tmp_path):
    (tmp_path / "count").write_text("0")
    processes = [start(COUNTER, tmp_path, 12) for _ in range(8)]
    for process in processes:
        process.stdout.readline()
    for process in processes:
        say(process)
    finish(*processes)
    assert [process.returncode for process in processes] == [0] * 8
    assert (tmp_path / "count").read_text() == "96"
    assert [entry.name for entry in tmp_path.iterdir()] == ["count"]


def test_a_busy_lease_names_its_holder_and_a_patient_one_gets_it(path):
    process = start(HOLDER, path, 30, 0.6)
    process.stdout.readline()
    with (
        pytest.raises(BusyError, match=rf"process {process.pid} on .* remove this file"),
        hold(path),
    ):
        pass
    with hold(path, wait_s=30):
        assert json.loads(path.read_text().splitlines()[0])["pid"] == os.getpid()
    finish(process)


def test_the_lease_of_a_killed_process_is_taken_at_once(path):
    process = start(HOLDER, path, 600, 600)
    process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    began = time.monotonic()
    while Path(f"/proc/{process.pid}/stat").read_text().split()[2] != "Z":
        time.sleep(0.01)
    # Not collected yet by its parent, and dead all the same.
    with hold(path, stale_after_s=600):
        assert time.monotonic() - began < 10
    finish(process)
    assert list(path.parent.iterdir()) == []


def test_exactly_one_of_many_takes_a_stale_lease(path):
    foreign(path)
    takers = [start(TAKER, path, SHORT_S) for _ in range(6)]
    for taker in takers:
        taker.stdout.readline()
    time.sleep(SHORT_S)
    for taker in takers:
        say(taker)
    answers = [taker.stdout.readline().strip() for taker in takers]
    assert sorted(answers) == ["refused"] * 5 + ["taken"]
    for taker in takers:
        say(taker)
    assert [taker.stdout.readline().strip() for taker in takers] == ["True"] * 6
    finish(*takers)


def test_the_taker_of_a_stale_lease_may_be_killed_between_claim_and_lease(path):
    dead = foreign(path)
    died = subprocess.Popen(["true"])
    left = replace(owner.new_owner(60), pid=died.pid, started="1")
    died.wait()
    path.with_name(f".{dead.token}.claim").write_bytes(owner.to_text(left))
    with hold(path, wait_s=0, stale_after_s=SHORT_S) as lease:
        assert lease.is_ours()
    assert list(path.parent.iterdir()) == []


def test_beats_keep_the_lease_of_a_slow_holder(path):
    process = start(HOLDER, path, SHORT_S, 4 * SHORT_S)
    process.stdout.readline()
    # As it looks from another host, where only its beats tell that it lives.
    seen = Watcher(SHORT_S)
    looks = []
    while process.poll() is None and len(looks) < 12:
        looks.append(seen._is_dead(path))
        time.sleep(SHORT_S / 4)
    assert looks == [False] * 12
    assert seen.is_alive(path)
    finish(process)


def test_a_beating_holder_elsewhere_is_reported_as_soon_as_it_is_seen_to_live(path):
    other = foreign(path, stale_after_s=20.0)
    beat = threading.Timer(0.3, lambda: path.write_bytes(owner.to_text(other, 1)))
    beat.start()
    began = time.monotonic()
    with pytest.raises(BusyError, match="on elsewhere, since 2"), hold(path, stale_after_s=20):
        pass
    assert 0.2 < time.monotonic() - began < 10


def test_the_time_a_holder_named_is_kept_to(path):
    foreign(path, stale_after_s=30.0)
    watcher = Watcher(0.01)
    assert watcher.try_take(path) is None
    time.sleep(0.05)
    assert watcher.try_take(path) is None


def test_who_stood_still_too_long_loses_the_lease_and_leaves_its_successors(path):
    process = start(HOLDER, path, SHORT_S, 0.5)
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    try:
        with hold(path, wait_s=30, stale_after_s=SHORT_S) as lease:
            process.send_signal(signal.SIGCONT)
            finish(process)
            assert process.returncode == 0
            assert lease.is_ours()
    finally:
        process.kill()
    assert list(path.parent.iterdir()) == []


def test_a_late_release_does_not_remove_what_was_taken_over(path):
    lease = Watcher(30).try_take(path)
    foreign(path)
    assert not lease.is_ours()
    lease.release()
    assert path.exists()


@pytest.mark.parametrize("other", [{"pid": 1}, {"place": "namespace 7"}, {"started": "12"}])
def test_equal_process_numbers_are_told_apart(path, other):
    mine = owner.new_owner(60)
    assert owner.lives_here(mine) is True
    expected = None if "place" in other else False
    assert owner.lives_here(replace(mine, **other)) is expected


def test_without_hard_links_files_are_made_exclusively(path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    with hold(path) as lease:
        assert lease.is_ours()
        with pytest.raises(BusyError), hold(path):
            pass
    assert list(path.parent.iterdir()) == []
    foreign(path)
    with hold(path, stale_after_s=SHORT_S) as lease:
        assert lease.is_ours()
    path.write_bytes(b"")  # Its maker was killed before it could write.
    with hold(path, stale_after_s=SHORT_S) as lease:
        assert lease.is_ours()
    assert list(path.parent.iterdir()) == []


def test_a_link_that_was_made_but_reported_as_failed_counts(path, monkeypatch):
    link = os.link

    def repeated(source, target):
        link(source, target)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))

    monkeypatch.setattr(os, "link", repeated)
    with hold(path) as lease:
        assert lease.is_ours()
    assert list(path.parent.iterdir()) == []


def test_a_full_disk_keeps_no_lease(path, monkeypatch):
    with hold(path):

        def full(*_):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "fsync", full)
    assert list(path.parent.iterdir()) == []
    with pytest.raises(OutputError, match="the disk is full"), hold(path):
        pass
    assert list(path.parent.iterdir()) == []


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(OutputError, match="cannot be written"), hold(tmp_path / "no" / "a.lease"):
        pass


def test_a_child_that_was_forked_leaves_the_lease_of_its_parent(path):
    with hold(path) as lease:
        lease._owner = replace(lease._owner, pid=os.getpid() + 1)
        lease.release()
        assert path.exists()
        lease._owner = replace(lease._owner, pid=os.getpid())


def test_the_text_of_a_lease_keeps_its_length():
    mine = owner.new_owner(60)
    assert len(owner.to_text(mine, 10**9)) == len(owner.to_text(mine))
    assert owner.from_text(owner.to_text(mine, 3)) == mine
    assert owner.from_text(b"half a li") is None
