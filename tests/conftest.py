"""Fixtures shared by every suite."""

import multiprocessing
import multiprocessing.forkserver
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Time limits belong to benchmarks. A check of a change draws the same examples every time;
# everybody else's runs look for new ones.
settings.register_profile("explore", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True)
settings.load_profile("ci" if os.environ.get("CI") else "explore")


@pytest.fixture(scope="session")
def cohorts_dir():
    """Folder of the real cohorts, named by IMMO_COHORTS; the test is skipped where it is not."""
    named = os.environ.get("IMMO_COHORTS")
    if not named or not Path(named).is_dir():
        pytest.skip(
            "real cohorts absent: set IMMO_COHORTS to the folder that holds ibdmdb/ and ipop/"
        )
    return Path(named)


class Forked:
    """A process of its own, used like a `subprocess.Popen` with both outputs captured.

    It is forked from a process that has imported the package already: starting Python and
    importing torch takes seconds on a busy machine, and is seldom what a test is about. It does
    not wait for the disk (`no_fsync`).
    """

    _BEFORE = (
        "import os, sys\n"
        "os.fsync = lambda descriptor: None\n"
        "for n in (1, 2): os.dup2(os.open({0}[n - 1], os.O_WRONLY), n)\n"
    )

    def __init__(self, folder, script, *words):
        """Run ``script``, Python, with ``words`` behind ``sys.argv[0]``."""
        self._files = [str(folder / name) for name in ("out", "err")]
        for file in self._files:
            Path(file).touch()
        script = (
            self._BEFORE.format(self._files)
            + f"sys.argv[:] = {['immo', *map(str, words)]}\n"
            + script
        )
        context = multiprocessing.get_context("forkserver")
        self._process = context.Process(target=exec, args=(script, {"__name__": "__main__"}))
        self._process.start()
        self.pid = self._process.pid

    @property
    def returncode(self):
        return self._process.exitcode

    @property
    def said(self):
        """What it has said until now."""
        return Path(self._files[0]).read_text()

    def poll(self):
        return self.returncode

    def kill(self):
        self._process.kill()

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=120):
        self._process.join(timeout)
        assert self.returncode is not None, f"still at work after {timeout} s"
        return self.returncode

    def communicate(self, timeout=120):
        """What it said and told, once it has ended."""
        self.wait(timeout)
        return tuple(Path(file).read_text() for file in self._files)


@pytest.fixture(scope="session")
def forked(tmp_path_factory):
    """Starts a script in a process of its own (`Forked`), with one thread for arithmetic."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")
        modules = ("cli", "workflow.prepare", "workflow.train", "train")
        modules = [*(f"immo_hpc.{name}" for name in modules), "scipy.stats"]
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(modules)
        multiprocessing.forkserver.ensure_running()
    return lambda script, *words: Forked(tmp_path_factory.mktemp("forked"), script, *words)


@pytest.fixture
def no_fsync(monkeypatch):
    """Do not wait for the disk: what a killed process has written is there all the same."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order():
    """Give every test the same global draws, whatever ran before it."""
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
