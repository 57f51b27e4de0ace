"""Using a model on cohorts larger than memory gives what it gives in memory."""

import errno
import os
import threading
from functools import partial

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from immo_hpc.data import blocks, turning
from immo_hpc.data.read import read_cohort
from immo_hpc.data.shards import read_shards
from immo_hpc.data.stream import ShardIndex
from immo_hpc.data.validate import inspect_cohort
from immo_hpc.errors import BusyError, CohortError, OutputError, ShardError, UsageError
from immo_hpc.inference import TrainedModel, forward, samples, tables
from immo_hpc.lease import hold
from immo_hpc.workflow import evaluate, explain, imputing, opened, reading, use
from immo_hpc.workflow import subset as subset_module
from immo_hpc.workflow.prepare import CohortOptions, validate
from immo_hpc.workflow.report import report_run

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture(autouse=True)
def _small_pieces(monkeypatch):
    """Batches of 8 samples, so that there are several."""
    monkeypatch.setattr(forward, "BATCH_SIZE", 8)
    monkeypatch.setattr(samples, "BATCH_SIZE", 8)


@pytest.fixture
def quick(monkeypatch):
    """One classifier and few resamples: which samples are used is the question here."""
    few = partial(evaluate.classify, classifiers=["lda"], num_bootstrap=20)
    monkeypatch.setattr(evaluate, "classify", few)
    monkeypatch.setattr(explain, "explain", partial(explain.explain, steps=4))


@pytest.fixture
def streamed(monkeypatch):
    """Every cohort counts as large, and is held a batch, and a few rows, at a time."""
    monkeypatch.setattr(reading, "SMALL_BYTES", -1)
    monkeypatch.setattr(samples, "PORTION_BYTES", 1)
    monkeypatch.setitem(blocks.row_blocks.__kwdefaults__, "block_bytes", 100)
    monkeypatch.setattr(turning, "TURN_BYTES", 100)
    portions = []
    complete = TrainedModel.complete
    monkeypatch.setattr(
        TrainedModel,
        "complete",
        lambda model, part, *a, **k: portions.append(part) or complete(model, part, *a, **k),
    )
    return portions


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def table(path):
    return pd.read_parquet(path).set_index("sample_id")


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".h5mu"])
@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")
def test_embed_is_that_of_memory(suffix, run, use_cohort, tmp_path, request):
    held = use.embed(run, use_cohort, tmp_path / f"held{suffix}")
    request.getfixturevalue("streamed")
    found = use.embed(run, use_cohort, tmp_path / f"large{suffix}")
    assert found.notices == held.notices
    if suffix == ".h5mu":
        mudata = pytest.importorskip("mudata")
        one, other = (mudata.read_h5mu(tmp_path / f"{n}.h5mu") for n in ("held", "large"))
        np.testing.assert_array_equal(one.obsm["X_immo"], other.obsm["X_immo"])
    else:
        for end in (suffix, ".distance.tsv"):
            one, other = ((tmp_path / f"{name}{end}").read_bytes() for name in ("held", "large"))
            assert one == other
    assert len(list(tmp_path.iterdir())) == (2 if suffix == ".h5mu" else 4), "something was left"


@pytest.mark.parametrize("table_format", ["tsv", "csv.gz", "parquet"])
def test_impute_is_that_of_memory(table_format, run, use_cohort, tmp_path, request, monkeypatch):
    held = use.impute(run, use_cohort, tmp_path / "held", table_format=table_format)
    portions = request.getfixturevalue("streamed")
    monkeypatch.setattr(tables, "_GROUP_BYTES", 1000)
    found = use.impute(run, use_cohort, tmp_path / "large", table_format=table_format)
    assert found.values["imputed_share"] == held.values["imputed_share"]
    assert len(portions) == 12
    assert max(len(part.samples) for part in portions) == 8
    one, other = content(tmp_path / "held"), content(tmp_path / "large")
    assert sorted(one) == sorted(other)
    if table_format != "parquet":
        assert one == other
    for name in one if table_format == "parquet" else ():
        if name.endswith(".parquet"):
            frames = [table(tmp_path / folder / name) for folder in ("held", "large")]
            pd.testing.assert_frame_equal(*frames, check_exact=True)
    if table_format == "parquet":
        assert pq.ParquetFile(tmp_path / "large" / "mg.parquet").num_row_groups > 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["held", "large"]


def test_generate_is_that_of_memory(run, use_cohort, tmp_path, request):
    held = use.generate(run, use_cohort, tmp_path / "a.csv", source=["mg"], target="mb")
    request.getfixturevalue("streamed")
    found = use.generate(run, use_cohort, tmp_path / "b.csv", source=["mg"], target="mb")
    assert found.values["samples"] == held.values["samples"] == 60
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


def test_shards_above_the_memory_given_are_streamed_in_order(new_run, tmp_path, monkeypatch):
    large = new_run("train.memory_gb=0.000001")
    monkeypatch.setattr(samples, "PORTION_BYTES", 1)
    run = opened.open_run(large)
    assert isinstance(run.cohort, ShardIndex)
    model, cohort = run.model, read_shards(run.shards).cohort
    expected = model.embed_frame(cohort)
    use.embed(large, None, tmp_path / "latent.parquet")
    found = table(tmp_path / "latent.parquet")
    pd.testing.assert_frame_equal(found, expected, check_exact=True)
    use.impute(large, None, tmp_path / "imputed", layers=["mb"])
    whole = model.complete(cohort, ["mb"])
    found = table(tmp_path / "imputed" / "mb.parquet")
    pd.testing.assert_frame_equal(found, whole.values["mb"], check_exact=True)
    use.generate(large, None, tmp_path / "mb.parquet", source=["mg", "rna"], target="mb")
    found = table(tmp_path / "mb.parquet")
    expected = model.generate(cohort, ["mg", "rna"], "mb")
    pd.testing.assert_frame_equal(found, expected, check_exact=True)


def test_analyses_of_large_shards_rest_on_some_subjects_and_say_so(
    new_run, tmp_path, monkeypatch, quick
):
    # Padded, 56 of the 90 samples take so much.
    monkeypatch.setattr(subset_module, "_SHARE", 1.0)
    large = new_run("train.memory_gb=0.0000034")
    run = opened.open_run(large)
    subset = run.analysed
    assert 50 < len(subset.places) <= 56
    everyone = run.cohort.subjects.to_numpy()
    inside = set(everyone[subset.places])
    assert not inside & set(np.delete(everyone, subset.places)), "a subject was torn apart"
    assert list(subset.cohort.samples.index) == list(run.cohort.samples.index[subset.places])
    assert run.latent.shape == (90, 3)
    expected = f"rests on {len(subset.places)} of 90 samples ({len(inside)} of 30 subjects)"
    for outcome in (evaluate.classify_run(large), explain.explain_run(large)):
        assert sum(expected in notice for notice in outcome.notices) == 1
    outcome = report_run(large, tmp_path / "report.html")
    assert expected in outcome.notices[0]
    page = (tmp_path / "report.html").read_text()
    assert expected in page
    assert "Map of 90 samples" in page


def test_analyses_of_a_small_run_rest_on_everybody(run):
    assert opened.open_run(run).analysed.notices == ()
    assert len(opened.open_run(run).analysed.places) == 90


def test_which_subjects_does_not_depend_on_the_others(new_run):
    run = opened.open_run(new_run("train.memory_gb=0.0000034"))
    some = opened.some_subjects(run.samples, 0.000014)
    fewer = opened.some_subjects(run.samples, 0.000007)
    assert 0 < len(fewer.places) < len(some.places)
    assert set(fewer.places) < set(some.places)
    assert opened.some_subjects(run.samples, 1e-12).places.size == 3, "one subject at least"


def test_new_cohorts_are_classified_and_explained_alike(run, use_cohort, tmp_path, request, quick):
    held = evaluate.classify_new(run, use_cohort, tmp_path / "a")
    explained = explain.explain_run(run, use_cohort, tmp_path / "b", explain.Asked(top=2))
    request.getfixturevalue("streamed")
    found = evaluate.classify_new(run, use_cohort, tmp_path / "c")
    assert found.values["predictions"] == held.values["predictions"]
    again = explain.explain_run(run, use_cohort, tmp_path / "d", explain.Asked(top=2))
    assert content(tmp_path / "b") == content(tmp_path / "d")
    assert again.notices == explained.notices
    assert sorted(path.name for path in tmp_path.iterdir()) == list("abcd")


def test_validate_tells_the_same(use_cohort, tmp_path, streamed, monkeypatch):
    monkeypatch.chdir(tmp_path)
    summary = validate(use_cohort, CohortOptions())
    assert summary == inspect_cohort(use_cohort)
    assert list(tmp_path.iterdir()) == []
    assert validate(use_cohort, CohortOptions(), tmp_path / "new" / "work") == summary


def test_mudata_too_large_for_memory_is_refused_before_it_is_made(
    run, use_cohort, tmp_path, streamed, monkeypatch
):
    monkeypatch.setattr(imputing, "MOST_MUDATA_BYTES", 90 * 15 * 5 - 1)
    with pytest.raises(UsageError, match=r"90 samples and 15 features take 0\.0 GB.* --out"):
        use.impute(run, use_cohort, tmp_path / "out.h5mu")
    assert streamed == []
    assert list(tmp_path.iterdir()) == []


def break_it(folder, cohort, name, change):
    folder.mkdir()
    for path in cohort.iterdir():
        text = path.read_text()
        (folder / path.name).write_text(change(text) if path.name == name else text)
    return folder


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("mb.csv", lambda text: text.replace("s005,", "s005,-"), "expected no negative value"),
        ("mg.csv", lambda text: text.replace("mg", "x"), r"58 of 61 samples have a measured"),
    ],
)
def test_what_cannot_be_used_is_told_before_anything_is_written(
    name, change, message, run, use_cohort, tmp_path, streamed
):
    bad = break_it(tmp_path / "bad", use_cohort, name, change)
    lines = (bad / "cohort.yaml").read_text()
    (bad / "cohort.yaml").write_text(lines + "unmeasured: drop\n")
    if name == "mg.csv":
        for layer in ("rna", "mb"):
            text = (bad / f"{layer}.csv").read_text().splitlines()
            (bad / f"{layer}.csv").write_text("\n".join(text[:3]) + "\n")
    with pytest.raises(CohortError, match=message):
        use.impute(run, bad, tmp_path / "out")
    assert streamed == []
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_a_full_disk_half_way_leaves_nothing(run, use_cohort, tmp_path, streamed, monkeypatch):
    monkeypatch.setattr(tables, "_GROUP_BYTES", 1)
    writer = tables.pq.ParquetWriter
    rooms = iter([*[None] * 15, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))])

    class Limited(writer):
        def write_table(self, *args, **options):
            if (error := next(rooms, None)) is not None:
                raise error
            super().write_table(*args, **options)

    monkeypatch.setattr(tables.pq, "ParquetWriter", Limited)
    with pytest.raises(OutputError, match="the disk is full"):
        use.impute(run, use_cohort, tmp_path / "out")
    assert len(streamed) == 3
    assert list(tmp_path.iterdir()) == []


def test_two_commands_with_one_output_do_not_share_their_tables(
    run, use_cohort, tmp_path, streamed
):
    with hold(tmp_path / ".a.csv.tables.lease"), pytest.raises(BusyError, match="is at work"):
        use.embed(run, use_cohort, tmp_path / "a.csv")
    use.embed(run, use_cohort, tmp_path / "a.csv")


def test_tables_that_a_killed_command_left_are_used(
    run, use_cohort, tmp_path, streamed, monkeypatch
):
    read_cohort(use_cohort, scratch=tmp_path / ".a.csv.tables")
    monkeypatch.setattr("immo_hpc.data.spool._write", None)
    use.embed(run, use_cohort, tmp_path / "a.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "a.distance.tsv"]


def test_a_run_is_opened_without_reading_its_samples(run, monkeypatch):
    monkeypatch.setattr(opened, "load_samples", None)
    found = opened.open_run(run)
    assert found.manifest.num_samples == 90


def test_damaged_shards_are_told_whatever_their_size(new_run, tmp_path):
    before = threading.active_count()
    for words in ((), ("train.memory_gb=0.000001",)):
        run = new_run(*words)
        shard = next(opened.open_run(run).shards.glob("*.parquet"))
        raw = bytearray(shard.read_bytes())
        index = opened.open_run(run).cohort if words else None
        place = index.groups[0].chunks["mg"].offset + 60 if words else len(raw) // 2
        raw[place] ^= 1
        shard.write_bytes(raw)
        with pytest.raises(ShardError, match=shard.name):
            use.embed(run, None, tmp_path / "latent.csv")
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before
