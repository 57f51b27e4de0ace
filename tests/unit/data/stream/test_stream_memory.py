"""Memory stays flat while several times as much is streamed."""

import gc
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.preparation import Preparation
from immo_hpc.data.prepared import PreparedCohort, PreparedLayer
from immo_hpc.data.shards import write_shards
from immo_hpc.data.stream import StreamSource, assembly, mapped, open_shards
from immo_hpc.data.stream.memory import Memory

MB = 2**20
SIZE_MB, MEMORY_MB = 160, 40


def anonymous_mb():
    (line,) = [
        line for line in Path("/proc/self/status").read_text().splitlines() if "RssAnon" in line
    ]
    return int(line.split()[1]) / 1024


@pytest.fixture(scope="module", params=[5000, 500], ids=["long rows", "short rows"])
def index(request, tmp_path_factory):
    width = request.param
    num_samples = SIZE_MB * MB // 4 // width
    values = np.random.default_rng(0).random((num_samples, width), dtype=np.float32)
    names = tuple(f"f{number}" for number in range(width))
    rows = np.arange(num_samples)
    layer = PreparedLayer("mg", names, values, rows, np.ones(num_samples, np.float32))
    samples = pd.DataFrame(index=[f"s{number}" for number in rows])
    folder = tmp_path_factory.mktemp("large") / "shards"
    write_shards(PreparedCohort(samples, {"mg": layer}), Preparation({}), folder)
    return open_shards(folder)


@pytest.mark.parametrize("route", ["mapped", "read"])
def test_resident_memory_is_bounded_and_flat(index, monkeypatch, route):
    if route == "read":
        monkeypatch.setattr(mapped, "_map", lambda path: None)
        # Each thread has a buffer, and takes it when its turn comes.
        monkeypatch.setattr(assembly, "_READERS", 1)
    gc.collect()
    source = StreamSource(index, batch_size=256, seed=0, memory_bytes=MEMORY_MB * MB)
    before = anonymous_mb()
    peaks = []
    for epoch in range(3):
        peak, total = 0.0, 0
        for batch in source.epoch(epoch):
            total += batch.layers["mg"].values.nbytes
            peak = max(peak, anonymous_mb())
        assert total == index.value_bytes
        peaks.append(peak - before)
    # Beside the windows: places of samples, and one row group read for the first time.
    assert max(peaks) < MEMORY_MB + 10
    # Windows of one row group or two differ, and so do the pieces of memory that fit them.
    assert peaks[2] < peaks[1] + 16


def test_memory_that_is_given_up_goes_back_to_the_system():
    """Also in pieces of a size that an allocator keeps once one as large was freed."""

    def taken(size_mb):
        matrix = Memory(pin=False).matrices({"mg": (size_mb, MB // 4)})["mg"]
        matrix[:] = 1
        return matrix

    gc.collect()
    before = anonymous_mb()
    large = taken(20)
    del large
    lower, upper = taken(15), taken(14)
    assert 28 < anonymous_mb() - before < 32
    del lower
    gc.collect()
    assert 13 < anonymous_mb() - before < 17, "memory below what is used was kept"
    assert (upper == 1).all()
