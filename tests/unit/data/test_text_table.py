"""Text tables as programs write them: quotes, line ends, blanks, packed in several frames."""

import csv
import gzip
import io

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data import text_table
from immo_hpc.data.read import read_table
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


@settings(max_examples=40)
@given(
    texts(),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.integers(0, 4),
    st.sampled_from([1, 30, 1 << 20]),
)
def test_every_dialect_gives_the_cells(tmp_path_factory, drawn, quoting, ends, place, characters):
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
        patch.setattr(text_table, "_BLOCK_CHARACTERS", characters)
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
