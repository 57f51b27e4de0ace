"""The Triton path on the CPU, through Triton's interpreter in a process of its own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


def test_the_interpreted_path_passes_its_tests():
    pytest.importorskip("triton")
    tests = Path(__file__).with_name("interpreted_triton.py")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", str(tests), "-q", "-x", "-p", "no:cacheprovider"],
        cwd=tests.parents[2],
        env=os.environ | {"TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
