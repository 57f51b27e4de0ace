"""The benchmark of the loader: all contenders give the same, wrong ones are refused."""

import json
from importlib import util
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from immo_hpc.bench import loader, loader_cache, loader_render
from immo_hpc.bench.kernels_timing import Quantiles
from immo_hpc.bench.loader_batch import Delivered, Opened
from immo_hpc.bench.loader_cache import copy_files
from immo_hpc.bench.loader_child import fault
from immo_hpc.bench.loader_claims import claims_of
from immo_hpc.bench.loader_contenders import CONTENDERS
from immo_hpc.bench.loader_copies import COPIES, write_copy
from immo_hpc.bench.loader_data import LAYERS, BenchCohort, cohort_of, describe, described
from immo_hpc.bench.loader_limit import described_limit
from immo_hpc.bench.loader_memory import MemoryPoint, between
from immo_hpc.bench.loader_rows import Row
from immo_hpc.bench.loader_runs import Settings, measure
from immo_hpc.data.shards import read_shards
from immo_hpc.errors import ImmoError, OutputError

COHORT = BenchCohort(150, (7, 30, 5), "ibdmdb")


@pytest.fixture(scope="module")
def copies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("copies")
    describe(COHORT, folder)
    for kind in COPIES:
        if kind != "h5ad" or util.find_spec("anndata"):
            write_copy(COHORT, kind, folder)
    return folder


def test_shards_hold_what_the_cohort_says(copies):
    assert described(copies) == COHORT
    cohort = read_shards(copies / "shards").cohort
    for name in LAYERS:
        layer = cohort.layers[name]
        np.testing.assert_array_equal(layer.rows, COHORT.rows[name])
        np.testing.assert_array_equal(layer.values, COHORT.values(name, layer.rows))
        assert len(np.unique(layer.values[:, 0])) > 0.9 * len(layer.rows)
    assert sum(layer.values.nbytes for layer in cohort.layers.values()) == COHORT.value_bytes


def test_sizes_and_patterns_are_as_asked():
    absent = cohort_of(2e6, "60%", (20, 20, 20))
    assert absent.value_bytes == pytest.approx(2e6, rel=0.02)
    assert absent.value_bytes / absent.full_bytes == pytest.approx(0.4, abs=0.01)
    assert absent.measured.any(axis=1).all()
    share = cohort_of(2e6, "ibdmdb", (20, 20, 20)).measured.mean(axis=0)
    np.testing.assert_allclose(share, [0.953, 0.480, 0.328], atol=0.02)


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.parametrize("name", CONTENDERS)
def test_every_contender_gives_the_same_rows(copies, name):
    contender = CONTENDERS[name]
    if contender.absent():
        pytest.skip(f"not installed: {contender.absent()}")
    opened = contender.open(COHORT, copies, 32, 10**6)
    assert fault(opened, COHORT, 32, -1) is None
    assert fault(opened, BenchCohort(150, (7, 30, 5), "ibdmdb", seed=1), 32, -1) is not None


def _batches(order, change=lambda values: values):
    def epoch(_):
        for samples in np.split(np.array(order), range(32, len(order), 32)):
            layers = {}
            for place, name in enumerate(LAYERS):
                held = np.flatnonzero(COHORT.measured[samples, place])
                values = torch.from_numpy(change(COHORT.values(name, samples[held])))
                layers[name] = (values, torch.from_numpy(held))
            yield Delivered(samples, layers)

    return Opened(np.arange(COHORT.samples), epoch)


def test_wrong_batches_are_seen():
    shuffled = np.random.default_rng(0).permutation(COHORT.samples)
    assert fault(_batches(shuffled), COHORT, 32, -1) is None
    assert "not shuffled" in fault(_batches(np.arange(150)), COHORT, 32, -1)
    assert "149 of 150 samples" in fault(_batches(shuffled[1:]), COHORT, 32, -1)
    twice = [*shuffled[:-1], shuffled[0]]
    assert "149 of 150 samples came in 150 places" in fault(_batches(twice), COHORT, 32, -1)
    assert "other values" in fault(_batches(shuffled, lambda values: values + 1), COHORT, 32, -1)
    assert "32 samples" in fault(_batches(shuffled), COHORT, 16, -1)


def test_page_cache_is_dropped_and_filled(copies):
    files = copy_files(copies, "parquet")
    size = sum(path.stat().st_size for path in files)
    assert loader_cache.read_through(files) == size
    assert loader_cache.read_through(files, 4 * loader_cache.READ_BYTES) == size
    assert loader_cache.resident_share(files) == 1
    assert loader_cache.resident_share([]) == 0


def test_the_limit_in_words():
    assert "control group of 2 GB" in described_limit(2 * 10**9, 2 * 10**9)
    assert "systemd-run" in described_limit(2 * 10**9, None)


def test_no_peak_is_lost_in_the_curve():
    points = [MemoryPoint(at, 5.0 if at == 777 else 1.0, 9.0) for at in range(2000)]
    kept = between(points, 100, 1900)
    assert len(kept) <= 240
    assert max(point.private_mb for point in kept) == 5
    assert all(100 <= point.at <= 1900 for point in kept)


def _row(contender, rates, cohort="ibdmdb", **more):
    return Row(cohort, contender, "cold", tuple(Quantiles(r, r, r) for r in rates), **more)


def test_claims_say_what_holds():
    ours = _row(
        "immo",
        (700.0, 900.0),
        of_floor=(Quantiles(0.6, 0.7, 0.8), Quantiles(0.8, 0.9, 1.0)),
        private_mb=(500.0, 510.0),
    )
    absent = _row(
        "immo", (1.0,), "60%", disk_bytes=(403.0,), delivered_bytes=(400.0,), private_mb=(1.0,)
    )
    claims = claims_of([ours, _row("npy", (500.0, 800.0)), absent], 10**9, 1000)
    assert [(claim.found, claim.holds) for claim in claims] == [
        (0.7, False),
        (0.9, True),
        (pytest.approx(0.01), True),
        (pytest.approx(0.51), True),
        (pytest.approx(700 / 800), False),
        (pytest.approx(403 / 400), True),
        (pytest.approx(0.403), True),
    ]
    assert claims_of([Row("ibdmdb", "immo", "cold", notes=("failed",))], 1, 1) == ()


def test_measured_in_processes_of_their_own(copies, tmp_path, monkeypatch):
    settings = Settings(32, 2 * 10**9, 1, 1.0, ("cold",), 0.001)
    rows = measure("ibdmdb", COHORT, copies, ["read", "immo"], settings, lambda _: None)
    read, ours = rows
    assert (read.contender, ours.contender) == ("read", "immo")
    assert len(ours.mb_per_s) == len(ours.of_floor) == len(ours.private_mb) == 2
    assert ours.delivered_bytes == (COHORT.value_bytes, COHORT.value_bytes)
    assert ours.asked_bytes[0] < COHORT.value_bytes, "read although they can be mapped"
    assert (ours.batches, ours.is_whole) == (5, True)
    assert read.asked_bytes[0] >= sum(path.stat().st_size for path in copy_files(copies, "shards"))
    monkeypatch.setattr(loader, "measure", lambda name, *_, **__: rows if name == "ibdmdb" else [])
    monkeypatch.setattr(loader, "write_copy", lambda *_: None)
    out = tmp_path / "loader-here.json"
    result = loader.bench_loader(gb=0.001, repeats=1, folder=tmp_path, out=out)
    assert [path.name for path in tmp_path.iterdir()] == ["loader-here.json"], "copies were left"
    assert json.loads(out.read_text()) == json.loads(json.dumps(result.to_dict()))
    assert "epoch 1: share of the rate" in result.text()
    loader_render.render_folder(tmp_path, tmp_path / "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "(bench-loader-here.svg)" in page
    assert "| ibdmdb | cold | immo |" in page
    assert (tmp_path / "bench-loader-here.svg").stat().st_size > 1000


def test_a_loader_that_fails_is_told(copies, tmp_path):
    settings = Settings(32, 2 * 10**9, 1, 1.0, ("cold",))
    describe(COHORT, tmp_path)
    with pytest.raises(ImmoError, match=r"bench loader: the loader failed: .*manifest"):
        measure("ibdmdb", COHORT, tmp_path, ["immo"], settings, lambda _: None)


def test_no_space_is_told_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: SimpleNamespace(free=10**6))
    with pytest.raises(OutputError, match=r"GB, 0.0 GB are free; name another --folder"):
        loader.bench_loader(gb=0.01, folder=tmp_path)
    assert not list(tmp_path.iterdir())
