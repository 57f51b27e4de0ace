"""Fixtures shared by every suite."""

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


@pytest.fixture(autouse=True)
def _same_draws_in_any_order():
    """Give every test the same global draws, whatever ran before it."""
    np.random.seed(0)  # noqa: NPY002 - libraries under test may draw from it
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
