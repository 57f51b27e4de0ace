"""Text tables as programs write them: quotes, line ends, blanks, packed in several frames."""

import csv
import gzip
import io
import threading
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data import text_scan, text_table
from immo_hpc.data.read import read_table
from immo_hpc.data.tables import MISSING_TEXTS
from immo_hpc.data.text_cells import Layout, careful_rows
from immo_hpc.data.text_chunks import Lines
from immo_hpc.data.text_scan import UnusualError, scanned_rows
from immo_hpc.errors import CohortError

# Names that need quotes, or look as if they did.
NAMES = st.text("ab ,\t\"'\né", min_size=1, max_size=6).map(lambda text: f"s{text}s")
CELLS = st.sampled_from(["1.5", "-2", "1e3", "", "NA", " 4", "nan"])


@st.composite
def texts(draw):
    width = draw(st.integers(1, 4))
    row = st.tuples(NAMES, *[CELLS] * width)
    rows = draw(st.lists(row, min_size=1, max_size=6, unique_by=lambda cells: cells[0]))
    return width, rows


@settings(max_examples=80)
@given(
    texts(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(0, 4),
    st.sampled_from([1, 30, 1 << 20]),
    st.booleans(),
)
def test_every_dialect_gives_the_cells(
    tmp_path_factory, drawn, quoting, ends, place, size, is_scanned
):
    width, rows = drawn
    place = min(place, width)
    if ends == "\r":  # csv.writer leaves a line feed without quotes then.
        rows = [(name.replace("\n", " "), *cells) for name, *cells in rows]
    stream = io.StringIO()
    writer = csv.writer(stream, quoting=quoting, lineterminator=ends)
    for name, *cells in [("sample_id", *[f"f{n}" for n in range(width)]), *rows]:
        writer.writerow([*cells[:place], name, *cells[place:]])
    file = tmp_path_factory.mktemp("text") / "mg.csv"
    file.write_bytes(b"\xef\xbb\xbf" + stream.getvalue().encode())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_table, "_CHUNK_BYTES", size)
        patch.setattr(text_table, "_COMPILED_FROM", 0 if is_scanned else 1 << 30)
        table = read_table(file)
    numbers = {"": np.nan, "NA": np.nan, "nan": np.nan}
    wanted = [[float(numbers.get(cell, cell)) for cell in cells] for _, *cells in rows]
    assert table.sample_ids == tuple(name for name, *_ in rows)
    np.testing.assert_array_equal(table.values, np.array(wanted, dtype=np.float32))


def test_blank_lines_are_passed_over_and_counted(tmp_path):
    file = tmp_path / "mg.csv"
    file.write_text("\nsample_id,a\n\ns1,1\n\n\ns2,2\n\n")
    assert read_table(file).values.tolist() == [[1], [2]]
    file.write_text("\nsample_id,a\n\ns1,1\n\n\ns2,x\n\n")
    with pytest.raises(CohortError, match=r"line 7 \(sample 's2'\), column 'a'.*'x'"):
        read_table(file)


def test_a_cell_of_blanks_around_a_missing_value(tmp_path):
    file = tmp_path / "mg.csv"
    file.write_text("sample_id,a,b\ns1, NA ,1\ns2, 3 , 4\n")
    np.testing.assert_array_equal(read_table(file).values, [[np.nan, 1], [3, 4]])


def test_a_number_only_python_reads_is_named(tmp_path):
    file = tmp_path / "mg.csv"
    file.write_text("sample_id,a,b\ns1,1,1\ns2,1,1_0\n")
    with pytest.raises(CohortError, match=r"line 3 \(sample 's2'\), column 'b'.*'1_0'"):
        read_table(file)


def test_bytes_that_are_not_utf8(tmp_path):
    file = tmp_path / "mg.csv"
    file.write_bytes(b"sample_id,a\n" + b"s1,1\n" * 3000 + b"s\xff,1\n")
    with pytest.raises(CohortError, match="UTF-8"):
        read_table(file)


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_frames_one_behind_the_other_are_one_file(tmp_path, suffix):
    pieces = [b"sample_id,a\ns1,1\n", b"s2,2\ns3,", b"3\n"]
    packed = []
    for piece in pieces:
        target = pa.BufferOutputStream()
        if suffix == "gz":
            packed.append(gzip.compress(piece))
            continue
        with pa.CompressedOutputStream(target, "zstd") as stream:
            stream.write(piece)
        packed.append(target.getvalue().to_pybytes())
    (tmp_path / f"mg.csv.{suffix}").write_bytes(b"".join(packed))
    assert read_table(tmp_path / f"mg.csv.{suffix}").values.tolist() == [[1], [2], [3]]


def test_a_wide_table_costs_what_its_values_cost(tmp_path):
    width = 20_000
    file = tmp_path / "mg.csv"
    names = ",".join(f"f{n}" for n in range(width))
    line = ",".join(["0.5"] * width)
    file.write_text(f"sample_id,{names}\n" + "".join(f"s{n},{line}\n" for n in range(40)))
    before = pa.total_allocated_bytes()
    peak = pa.default_memory_pool().max_memory
    start = peak()
    table = read_table(file)
    assert table.values.shape == (40, width)
    # Arrow held 600 bytes a column and block when it split the columns itself.
    assert peak() - max(start, before) < 40 << 20


PLAIN = {
    "plain": ["sample_id,a,b", "s1,1,", "séance,NA,-2.5e3"],
    "names last": ["a,b,sample_id", "1,,s1", "NA,-2.5e3,séance"],
    "names between": ["a,sample_id,b", "1,s1,", "NA,séance,-2.5e3"],
    "names in quotes": ['"","a","b"', '"s1",1,', '"séance",NA,-2.5e3'],
    "no header of names": ["a,b", "s1,1,", "séance,NA,-2.5e3"],
    "blanks and blank lines": ["sample_id,a,b", "s1, 1 ,", "", "séance, NA,  -2.5e3 ", ""],
}


@pytest.fixture
def scanned(monkeypatch):
    """Files of any size are scanned by compiled code."""
    monkeypatch.setattr(text_table, "_COMPILED_FROM", 0)


@pytest.mark.parametrize("ends", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["ended", "cut"])
@pytest.mark.parametrize("size", [1, 1 << 20])
@pytest.mark.parametrize("lines", PLAIN.values(), ids=PLAIN)
def test_plain_lines_are_scanned(lines, ends, last, size, scanned, tmp_path, monkeypatch):
    def refuse(*given):
        pytest.fail("read cell by cell")

    monkeypatch.setattr(text_table, "careful_rows", refuse)
    monkeypatch.setattr(text_table, "_CHUNK_BYTES", size)
    file = tmp_path / "mg.csv"
    file.write_bytes((ends.join(lines) + ends * last).encode())
    table = read_table(file)
    assert table.sample_ids == ("s1", "séance")
    np.testing.assert_array_equal(table.values, [[1, np.nan], [np.nan, -2500]])
    only_b = read_table(file, ["b"])
    assert only_b.features == ("b",)
    np.testing.assert_array_equal(only_b.values, [[np.nan], [-2500]])


RAGGED = {
    "a cell too many and one too few": "s1,1,2,3\ns2,4\n",
    "separators of the next line": "s1,1\ns2,2,3,4\n",
    "a blank line and a long one": "\ns1,1,2,3,4\n",
}


@pytest.mark.parametrize("rows", RAGGED.values(), ids=RAGGED)
@pytest.mark.parametrize("size", [0, 1 << 30], ids=["scanned", "careful"])
def test_lines_that_only_together_have_as_many_cells_are_ragged(rows, size, tmp_path, monkeypatch):
    monkeypatch.setattr(text_table, "_COMPILED_FROM", size)
    file = tmp_path / "mg.csv"
    file.write_text(f"sample_id,a,b\ns0,1,2\n{rows}")
    with pytest.raises(CohortError, match=r"line [34]: expected 3 cells as in the header, found"):
        read_table(file)


def test_what_is_wrong_first_is_told_first(tmp_path):
    file = tmp_path / "mg.csv"
    file.write_text("sample_id,a\ns1,1\ns2,x\ns3,1,1\n")
    with pytest.raises(CohortError, match=r"line 3 \(sample 's2'\), column 'a'.*'x'"):
        read_table(file)


def test_scanning_goes_on_behind_a_cell_in_quotes(scanned, tmp_path, monkeypatch):
    careful, look = [], text_table.careful_rows
    monkeypatch.setattr(text_table, "_CHUNK_BYTES", 30)
    monkeypatch.setattr(
        text_table, "careful_rows", lambda *given: careful.append(look(*given)) or careful[-1]
    )
    file = tmp_path / "mg.csv"
    lines = [f"sample {n:03d},{n}\n" for n in range(60)]
    # It goes on over three chunks.
    lines[20] = '"sample\n' + "of many\nlines " * 6 + '\n020",20\n'
    file.write_text("sample_id,a\n" + "".join(lines))
    table = read_table(file)
    assert table.values.ravel().tolist() == list(range(60))
    assert table.sample_ids[20].endswith("\n020")
    assert len(careful) == 1
    assert len(careful[0][1][0]) < 5


@pytest.mark.parametrize("threads", [1, 4])
def test_any_number_of_threads_gives_the_same_and_leaves_none(
    threads, scanned, tmp_path, monkeypatch
):
    monkeypatch.setattr(text_table, "_CHUNK_BYTES", 100)
    monkeypatch.setattr(text_table.os, "sched_getaffinity", lambda _: set(range(threads)))
    file = tmp_path / "mg.csv"
    file.write_text("sample_id,a\n" + "".join(f"s{n},{n}\n" for n in range(1000)))
    assert read_table(file).values.ravel().tolist() == list(range(1000))
    blocks = text_table.text_stream(file, ()).blocks
    next(blocks)
    blocks.close()
    assert not [thread for thread in threading.enumerate() if "immo-scan" in thread.name]


# Middles of two float32, and texts beside them.
MIDDLES = st.builds(
    lambda bits, beside: (
        (
            Decimal(float(np.uint32(bits).view(np.float32)))
            + Decimal(float(np.uint32(bits + 1).view(np.float32)))
        )
        / 2,
        beside,
    ),
    st.integers(0x01000000, 0x7F000000),
    st.sampled_from(["", "0", "1", "e0"]),
).map(lambda drawn: f"{drawn[0]:.17g}{drawn[1] if 'e' not in f'{drawn[0]:.17g}' else ''}")
NUMBERS = st.one_of(
    st.floats(width=32, allow_nan=False).map(repr),
    st.floats(allow_nan=False).map(repr),
    st.floats(allow_nan=False).map(lambda value: f"{value:.3g}"),
    st.decimals(allow_nan=False, allow_infinity=False).map(lambda value: f"{value:f}"[:60]),
    st.integers().map(str),
    st.integers(2**23, 2**30).map(lambda value: f"{value}.0"),
    st.integers(2**23, 2**25).map(lambda value: f"{value / 2}"),
    st.tuples(st.integers(2**23, 2**25), st.integers(-14, 4)).map(
        lambda drawn: f"{Decimal(2 * drawn[0] + 1).scaleb(drawn[1])}"
    ),
    MIDDLES,
    st.text("0123456789.eE+-", max_size=12),
    st.sampled_from(
        [
            *MISSING_TEXTS,
            " NA",
            "-0",
            "-",
            ".",
            ".5",
            "5.",
            "1e",
            "1e+5",
            "+1",
            "inf",
            "0x1",
            "1e-46",
            "1.17549435e-38",
            "3.4028236e38",
            "1e39",
            "9" * 19,
            "9" * 25,
            "1_0",
            "NAN",
        ]
    ),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(NUMBERS, min_size=1, max_size=30))
def test_scanned_numbers_have_the_bits_that_arrow_gives(cells):
    layout = Layout(Path("mg.csv"), ",", ["sample_id", "a"], 0, [1], 1)
    for cell in cells:
        chunk = f"s1,{cell}\n".encode()
        try:
            expected = careful_rows(Lines(iter([chunk])), 1, layout)[1][1]
        except CohortError:
            with pytest.raises((UnusualError, pa.ArrowInvalid)):
                scanned_rows(chunk, layout)
        else:
            found = scanned_rows(chunk, layout)[1][1]
            np.testing.assert_array_equal(found.view(np.uint32), expected.view(np.uint32), cell)


def test_plain_numbers_are_not_left_to_arrow(monkeypatch):
    layout = Layout(Path("mg.csv"), ",", ["sample_id", "a"], 0, [1], 1)
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(0, 8, 20_000))
    left = []
    monkeypatch.setattr(text_scan, "numbers_of", lambda texts: left.append(len(texts)) or 0)
    writers = (
        repr,
        "{:.6g}".format,
        "{:.4f}".format,
        lambda value: f"-{value:.3e}",
        lambda value: f"{int(value) + 2**24}",
        lambda value: f"{int(value) + 2**24}.0",
    )
    for write in writers:
        lines = "".join(f"s,{write(value)}\n" for value in values.tolist())
        found = scanned_rows(lines.encode(), layout)[1][1]
        np.testing.assert_array_equal(found[:, 0], [np.float32(write(v)) for v in values.tolist()])
    assert sum(left) == 0
