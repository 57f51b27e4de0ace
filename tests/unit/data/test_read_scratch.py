"""Reading into a scratch folder gives the cohort, notices and errors of reading into memory."""

import errno
import gzip
import multiprocessing
import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from immo_hpc.data import anndata_disk, blocks, parquet_table, spool, text_table, turning
from immo_hpc.data.blocks import on_disk
from immo_hpc.data.cohort import Cohort
from immo_hpc.data.read import read_cohort
from immo_hpc.errors import CohortError, ImmoError, OutputError

FORMATS = (
    *("tsv", "csv", "tsv.gz", "csv.zst", "parquet", "parquet.zst"),
    *("dense.h5ad", "csr.h5ad", "csc.h5ad"),
)
NUMBERS = (0.0, 1.0, 2.0, 12.0, 0.25, 1e-3, 5e6, -1.5, np.nan, np.nan)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Blocks of a few rows, so that every table has several."""
    monkeypatch.setitem(blocks.row_blocks.__kwdefaults__, "block_bytes", 48)
    monkeypatch.setattr(blocks.rows_in, "__defaults__", (48,))
    monkeypatch.setattr(text_table, "_CHUNK_BYTES", 40)
    monkeypatch.setattr(parquet_table, "_GROUP_BYTES", 48)
    monkeypatch.setattr(parquet_table, "BLOCK_BYTES", 48)
    monkeypatch.setattr(anndata_disk, "_MOST_CHUNK_ROW", 48)
    monkeypatch.setattr(turning, "TURN_BYTES", 64)


def pack(file, content):
    if file.suffix == ".gz":
        file.write_bytes(gzip.compress(content))
    elif file.suffix == ".zst":
        with pa.CompressedOutputStream(str(file), "zstd") as stream:
            stream.write(content)
    else:
        file.write_bytes(content)


def save(frame, folder, name, suffix, *, fault=None):
    """Write a frame as a table of that format."""
    file = folder / f"{name}.{suffix.replace('dense.', '').replace('csr.', '').replace('csc.', '')}"
    if suffix.endswith("h5ad"):
        import anndata
        from scipy import sparse

        kinds = {"dense": np.asarray, "csr": sparse.csr_matrix, "csc": sparse.csc_matrix}
        matrix = kinds[suffix.split(".")[0]](frame.to_numpy(dtype=np.float64))
        obs, var = pd.DataFrame(index=frame.index), pd.DataFrame(index=frame.columns)
        options = {"compression": "gzip"} if suffix.startswith("dense") else {}
        with warnings.catch_warnings(action="ignore"):  # names that stand twice, on purpose
            anndata.AnnData(X=matrix, obs=obs, var=var).write_h5ad(file, **options)
        return
    table = frame.rename_axis("sample_id").reset_index()
    if "parquet" in suffix:
        target = pa.BufferOutputStream()
        content = pa.Table.from_pandas(table, preserve_index=False)
        pq.write_table(content, target, row_group_size=3)
        pack(file, target.getvalue().to_pybytes())
        return
    text = table.to_csv(sep="\t" if suffix.startswith("tsv") else ",", index=False, na_rep="NA")
    lines = text.splitlines()
    if fault == "text":
        lines[-1] += "x"
    if fault == "ragged":
        lines[-1] += "\t,"
    if fault == "quotes":
        lines = [f'"{line}"' if "," not in line and "\t" not in line else line for line in lines]
        lines[-1] = '"' + lines[-1].replace(",", '","').replace("\t", '"\t"') + '"'
    pack(file, ("\r\n".join(lines) + "\n\n").encode())


@st.composite
def families(draw):
    count, width = draw(st.integers(2, 9)), draw(st.integers(2, 6))
    ids = [f"s{number}" for number in range(count)]
    tables = {}
    for name in ("mg", "mb")[: draw(st.integers(1, 2))]:
        flat = draw(st.lists(st.sampled_from(NUMBERS), min_size=count * width, max_size=99))
        values = np.array(flat[: count * width]).reshape(count, width)
        if draw(st.booleans()):
            values = np.abs(values)
        features = [f"{name}.{number}" for number in range(width)]
        frame = pd.DataFrame(values, index=ids, columns=features)
        order = draw(st.permutations(ids))[: draw(st.integers(1, count))]
        frame = frame.loc[order]
        if draw(st.booleans()):
            frame.loc["stranger"] = draw(st.sampled_from(NUMBERS))
        suffix = draw(st.sampled_from(FORMATS))
        if not suffix.endswith("h5ad") and draw(st.integers(0, 3)) == 0:
            frame = frame.T
        fault = draw(st.sampled_from([None, None, None, "text", "ragged", "quotes", "twice"]))
        if fault == "twice":
            frame = pd.concat([frame, frame.iloc[:1]])
        tables[name] = (frame, suffix, fault)
    samples = ids if draw(st.booleans()) else None
    layers = {name: {} for name in tables}
    if draw(st.booleans()):
        layers["mg"]["columns"] = draw(st.sampled_from(["*.1", "mg.[01]", "none*"]))
    if draw(st.booleans()):
        layers["mg"]["kind"] = draw(st.sampled_from(["binary", "counts", "continuous"]))
    return tables, samples, layers


def write(folder, family):
    tables, samples, layers = family
    for name, (frame, suffix, fault) in tables.items():
        save(frame, folder, name, suffix, fault=fault)
    if samples is not None:
        (folder / "samples.tsv").write_text("\n".join(["sample_id\tsite", *samples]) + "\n")
        lines = [f"{name}\tx" for name in samples]
        (folder / "samples.tsv").write_text("\n".join(["sample_id\tsite", *lines]) + "\n")
    (folder / "cohort.yaml").write_text(f"layers: {layers}\nunmeasured: drop\n")


def outcome(folder, **arguments):
    try:
        return read_cohort(folder, **arguments)
    except ImmoError as error:
        return f"{type(error).__name__}: {error}"


def assert_same(one, other):
    assert isinstance(one, Cohort) == isinstance(other, Cohort), (one, other)
    if not isinstance(one, Cohort):
        assert one == other
        return
    pd.testing.assert_frame_equal(one.samples, other.samples)
    assert (one.roles, one.notices, list(one.layers)) == (
        other.roles,
        other.notices,
        list(other.layers),
    )
    for name, layer in one.layers.items():
        twin = other.layers[name]
        assert (layer.kind, layer.features, layer.source) == (
            twin.kind,
            twin.features,
            twin.source,
        )
        np.testing.assert_array_equal(layer.values, twin.values)
        np.testing.assert_array_equal(layer.rows, twin.rows)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(families())
def test_scratch_is_the_same_as_memory(tmp_path_factory, family):
    folder = tmp_path_factory.mktemp("family")
    write(folder, family)
    scratch = tmp_path_factory.mktemp("scratch")
    held = outcome(folder)
    spooled = outcome(folder, scratch=scratch)
    assert_same(held, spooled)
    assert_same(spooled, outcome(folder, scratch=scratch))
    if isinstance(spooled, Cohort):
        for layer in spooled.layers.values():
            assert on_disk(layer.values)
            assert not layer.values.flags.writeable
    assert not [path for path in scratch.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("suffix", FORMATS)
def test_every_format_holds_what_was_written(tmp_path, suffix):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(11, 5)).astype(np.float32)
    values[rng.random(values.shape) < 0.2] = np.nan
    frame = pd.DataFrame(values, [f"s{n}" for n in range(11)], [f"f.{n}" for n in range(5)])
    (tmp_path / "in").mkdir()
    save(frame, tmp_path / "in", "mg", suffix)
    for scratch in (None, tmp_path / "scratch"):
        layer = read_cohort(tmp_path / "in", scratch=scratch).layers["mg"]
        np.testing.assert_array_equal(layer.values, values)


def test_h5mu_stays_unpadded_on_disk(tmp_path):
    anndata, mudata = pytest.importorskip("anndata"), pytest.importorskip("mudata")
    rng = np.random.default_rng(0)

    def modality(ids):
        values = rng.normal(size=(len(ids), 3)).astype(np.float32)
        obs = pd.DataFrame({"age": np.arange(len(ids))}, index=ids)
        return anndata.AnnData(values, obs=obs, var=pd.DataFrame(index=["a", "b", "c"]))

    with mudata.set_options(pull_on_update=False), warnings.catch_warnings(action="ignore"):
        mdata = mudata.MuData({"mg": modality(["s1", "s2"]), "mb": modality(["s3", "s2", "s4"])})
        mdata.write_h5mu(tmp_path / "c.h5mu")
    held, spooled = outcome(tmp_path / "c.h5mu"), outcome(tmp_path / "c.h5mu", scratch=tmp_path)
    assert_same(held, spooled)
    assert [len(layer.values) for layer in spooled.layers.values()] == [2, 3]


def plain_cohort(folder):
    folder.mkdir()
    frame = pd.DataFrame(np.arange(40.0).reshape(10, 4), [f"s{n}" for n in range(10)], list("abcd"))
    save(frame, folder, "mg", "tsv")
    return folder


def test_a_table_is_read_once_until_it_changes(tmp_path, monkeypatch):
    folder, scratch = plain_cohort(tmp_path / "in"), tmp_path / "scratch"
    first = read_cohort(folder, scratch=scratch)
    opened = []
    blocks_of = text_table._blocks
    monkeypatch.setattr(text_table, "_blocks", lambda lay: opened.append(lay) or blocks_of(lay))
    assert_same(read_cohort(folder, scratch=scratch), first)
    assert opened == []
    text = (folder / "mg.tsv").read_text().replace("s0\t0.0", "s0\t777")
    (folder / "mg.tsv").write_text(text)
    assert read_cohort(folder, scratch=scratch).layers["mg"].values[0, 0] == 777
    assert len(opened) == 1


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_turned_table_in_another_order_is_copied_once(tmp_path, suffix):
    (tmp_path / "in").mkdir()
    ids = [f"s{n}" for n in range(9)]
    values = np.random.default_rng(0).random((5, 11))
    values[3] = np.nan
    frame = pd.DataFrame(values, list("abcde"), ["x1", *ids[::-1], "x2"])
    save(frame, tmp_path / "in", "mg", suffix)
    lines = [f"{name},a" for name in ids]
    (tmp_path / "in" / "samples.csv").write_text("\n".join(["sample_id,site", *lines]) + "\n")
    cohort = read_cohort(tmp_path / "in", scratch=tmp_path / "scratch")
    assert_same(cohort, read_cohort(tmp_path / "in"))
    assert cohort.layers["mg"].values.flags.c_contiguous
    assert cohort.layers["mg"].features == tuple("abce")
    sizes = sorted(path.stat().st_size for path in (tmp_path / "scratch").iterdir())
    assert len(sizes) == 2
    assert sizes[0] == 4 * 9 * 4


def test_columns_that_no_pattern_fits_are_not_parsed(tmp_path):
    folder = plain_cohort(tmp_path / "in")
    text = (folder / "mg.tsv").read_text().replace("3.0\n", "a note\n").replace("3.0\r", "note\r")
    (folder / "mg.tsv").write_text(text)
    (folder / "cohort.yaml").write_text("layers: {mg: {columns: ['a', 'b']}}")
    for scratch in (None, tmp_path / "scratch"):
        assert read_cohort(folder, scratch=scratch).layers["mg"].features == ("a", "b")


def test_of_a_parquet_table_only_the_columns_named_are_read(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    frame = pd.DataFrame(np.ones((4, 9)), list("wxyz"), [f"f{n}" for n in range(9)])
    save(frame, tmp_path / "in", "mg", "parquet")
    (tmp_path / "in/cohort.yaml").write_text("layers: {mg: {columns: 'f[36]'}}")
    read = []
    columns = parquet_table._columns
    monkeypatch.setattr(
        parquet_table,
        "_columns",
        lambda f, places, *a: read.extend(places) or columns(f, places, *a),
    )
    cohort = read_cohort(tmp_path / "in", scratch=tmp_path / "scratch")
    assert cohort.layers["mg"].features == ("f3", "f6")
    assert set(read) == {0, 4, 7}


@pytest.mark.parametrize("suffix", ["tsv.gz", "tsv.zst", "parquet.zst", "parquet.gz"])
def test_a_packed_file_cut_off_half_way(tmp_path, suffix):
    (tmp_path / "in").mkdir()
    values = np.random.default_rng(0).normal(size=(300, 20))
    frame = pd.DataFrame(values, [f"s{n}" for n in range(300)], [f"f{n}" for n in range(20)])
    save(frame, tmp_path / "in", "mg", suffix)
    file = tmp_path / f"in/mg.{suffix}"
    content = file.read_bytes()
    for damaged in (content[: len(content) // 2], content[:40] + b"junk" * 9 + content[76:]):
        file.write_bytes(damaged)
        for scratch in (None, tmp_path / "scratch"):
            with pytest.raises(CohortError, match=rf"mg.{suffix}.*(cannot be read|expected)"):
                read_cohort(tmp_path / "in", scratch=scratch)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_a_text_file_cut_off_names_the_line(tmp_path):
    folder = plain_cohort(tmp_path / "in")
    content = (folder / "mg.tsv").read_bytes()
    (folder / "mg.tsv").write_bytes(content[: len(content) * 3 // 4 - 3])
    for scratch in (None, tmp_path / "scratch"):
        with pytest.raises(CohortError, match=r"line 9: expected 5 cells.*truncated"):
            read_cohort(folder, scratch=scratch)


@pytest.mark.parametrize("suffix", ["tsv", "parquet", "csc.h5ad", "parquet.zst"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, suffix):
    (tmp_path / "in").mkdir()
    frame = pd.DataFrame(np.ones((9, 4)), [f"s{n}" for n in range(9)], list("abcd"))
    save(frame, tmp_path / "in", "mg", suffix)

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(spool, "write_rows", full)
        with pytest.raises(OutputError, match=r"disk is full.*repeat"):
            read_cohort(tmp_path / "in", scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []
    assert (
        read_cohort(tmp_path / "in", scratch=tmp_path / "scratch").layers["mg"].values.sum() == 36
    )


def test_a_full_disk_under_a_column_file(tmp_path):
    class Full:
        def write(self, _):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    columns = turning.ColumnFile(Full(), tmp_path, 3)
    with pytest.raises(OutputError, match="disk is full"):
        columns.add(np.ones((3, 2), dtype=np.float32))


def test_of_two_bad_tables_the_first_is_told_whoever_meets_it(tmp_path, monkeypatch):
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("aa", "bb", "cc"):
        (folder / f"{name}.tsv").write_text("sample_id\tf\ns1\tx\n")
    for number in range(3):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        with pytest.raises(CohortError, match=r"aa\.tsv"):
            read_cohort(folder, scratch=tmp_path / "scratch")


def _read_and_hang(folder, scratch, started):
    def hang(target, block):
        target.write(block.tobytes())
        target.flush()
        Path(started).touch()
        time.sleep(60)

    spool.write_rows = hang
    read_cohort(folder, scratch=scratch)


def test_a_killed_reader_is_followed_by_another(tmp_path):
    folder, scratch = plain_cohort(tmp_path / "in"), tmp_path / "scratch"
    started = tmp_path / "started"
    worker = multiprocessing.get_context("fork").Process(
        target=_read_and_hang, args=(folder, scratch, started)
    )
    worker.start()
    while not started.exists():
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert list(scratch.iterdir())
    assert_same(read_cohort(folder, scratch=scratch), read_cohort(folder))
    assert len(list(scratch.iterdir())) == 1
