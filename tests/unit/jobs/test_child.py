"""Signals reach the command once, and the command does not outlive its worker."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from immo_jobs.child import StopRelay, run_child

# Counts the signals it gets during the half second after the first one.
COUNTS = """
import signal, sys, time
seen = []
for number in (signal.SIGUSR2, signal.SIGTERM):
    signal.signal(number, lambda number, frame: seen.append(signal.Signals(number).name))
open(sys.argv[1] + "/ready", "w").close()
end = time.monotonic() + 20
while not seen and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.5)
open(sys.argv[1] + "/seen", "w").write(" ".join(seen))
sys.exit(3)
"""


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("sent", "seen"),
    [
        ([signal.SIGUSR2, signal.SIGUSR2], "SIGUSR2"),
        ([signal.SIGUSR2, signal.SIGTERM, signal.SIGTERM], "SIGUSR2"),
        ([signal.SIGTERM, signal.SIGUSR2], "SIGTERM"),
    ],
)
def test_of_several_requests_one_is_passed_on(tmp_path, sent, seen):
    left = list(sent)

    def poll():
        if left and (tmp_path / "ready").exists():
            for number in left:
                signal.raise_signal(number)
            left.clear()

    before = [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)]
    with StopRelay() as relay:
        command = [sys.executable, "-S", "-c", COUNTS, str(tmp_path)]
        code = run_child(command, os.environ, tmp_path / "log", relay, poll)
    assert code == 3
    assert (tmp_path / "seen").read_text() == seen
    assert relay.name == seen
    assert [signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)] == before


def test_a_request_that_came_before_the_command_reaches_it(tmp_path):
    with StopRelay() as relay:
        signal.raise_signal(signal.SIGTERM)
        code = run_child(["/bin/sleep", "30"], os.environ, tmp_path / "log", relay, lambda: None)
    assert code == -signal.SIGTERM


def test_cancelling_is_a_request_too(tmp_path):
    with StopRelay() as relay:
        code = run_child(["/bin/sleep", "30"], os.environ, tmp_path / "log", relay, relay.cancel)
    assert (code, relay.name) == (-signal.SIGTERM, "cancel")


def test_the_command_ends_with_its_worker(tmp_path):
    script = """
import os, sys
from pathlib import Path
from immo_jobs.child import StopRelay, run_child
with StopRelay() as relay:
    command = ["/bin/sh", "-c", "echo $$; exec sleep 60"]
    run_child(command, os.environ, Path(sys.argv[1]), relay, lambda: None)
"""
    worker = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "log")])
    log = tmp_path / "log"
    try:
        wait_for(lambda: log.exists() and log.read_text().strip())
        pid = int(log.read_text())
        os.kill(worker.pid, signal.SIGKILL)
    finally:
        worker.kill()
        worker.wait()
    stat = Path(f"/proc/{pid}/stat")
    wait_for(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_a_program_that_cannot_be_started_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError), StopRelay() as relay:
        run_child(["/no/such"], os.environ, tmp_path / "log", relay, lambda: None)
