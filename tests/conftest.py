"""Fixtures shared by every suite."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def cohorts_dir():
    """Folder of the real cohorts, named by IMMO_COHORTS; the test is skipped where it is not."""
    named = os.environ.get("IMMO_COHORTS")
    if not named or not Path(named).is_dir():
        pytest.skip(
            "real cohorts absent: set IMMO_COHORTS to the folder that holds ibdmdb/ and ipop/"
        )
    return Path(named)
