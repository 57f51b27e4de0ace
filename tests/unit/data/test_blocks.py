"""Walking matrices block by block: arrays and matrices on disk give the same rows."""

import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.blocks import is_turned, on_disk, row_blocks
from immo_hpc.data.matrices import gather, open_matrix
from immo_hpc.errors import OutputError


def on_file(folder, values, *, before=0):
    """The values as a matrix on disk, behind ``before`` further bytes."""
    file = folder / "values.f32"
    file.write_bytes(b"\1" * before + values.tobytes())
    return np.memmap(file, dtype=np.float32, mode="r", shape=values.shape, offset=before)


@st.composite
def matrices(draw):
    count = draw(st.integers(1, 12))
    width = draw(st.integers(1, 5))
    values = np.arange(count * width, dtype=np.float32).reshape(count, width)
    rows = draw(st.none() | st.lists(st.integers(0, count - 1), max_size=20))
    columns = draw(st.none() | st.lists(st.integers(0, width - 1), min_size=1, max_size=6))
    return values, rows, columns, draw(st.integers(1, 100)), draw(st.sampled_from([0, 4, 8192]))


@settings(max_examples=40)
@given(matrices())
def test_blocks_are_the_rows_asked_for(tmp_path_factory, drawn):
    values, rows, _, block_bytes, before = drawn
    matrix = on_file(tmp_path_factory.mktemp("blocks"), values, before=before)
    chosen = None if rows is None else np.array(rows, dtype=np.int64)
    wanted = values if rows is None else values[chosen]
    turned = on_file(tmp_path_factory.mktemp("turned"), values.T.copy(), before=before).T
    assert is_turned(turned) == (1 not in values.shape)
    for source in (values, matrix, turned):
        blocks = list(row_blocks(source, chosen, block_bytes=block_bytes))
        if blocks:
            np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]), wanted)
            places = np.concatenate([p for p, _ in blocks])
            np.testing.assert_array_equal(values[places], wanted)
        assert sum(len(block) for _, block in blocks) == len(wanted)
        for _, block in blocks:
            assert block.nbytes <= max(block_bytes, values[:1].nbytes)
            assert not isinstance(block, np.memmap)


@settings(max_examples=40)
@given(matrices())
def test_gather_is_indexing(tmp_path_factory, drawn):
    values, rows, columns, _, before = drawn
    folder = tmp_path_factory.mktemp("gather")
    matrix = on_file(folder, values, before=before)
    chosen = np.arange(len(values)) if rows is None else np.array(rows, dtype=np.int64)
    places = None if columns is None else np.array(columns)
    wanted = values[chosen] if places is None else values[chosen][:, places]
    turned = on_file(tmp_path_factory.mktemp("turned"), values.T.copy(), before=before).T
    for source in (values, matrix, turned):
        for scratch in (None, folder):
            taken = gather(source, chosen, places, scratch=scratch)
            np.testing.assert_array_equal(taken, wanted)
            assert not is_turned(taken)
            if source is not values and scratch is folder and wanted.size:
                assert on_disk(taken)


def test_views_of_a_matrix_on_disk_start_where_they_start(tmp_path):
    values = np.arange(40, dtype=np.float32).reshape(10, 4)
    matrix = on_file(tmp_path, values, before=4096 + 8)
    for view, wanted in ((matrix[3:], values[3:]), (matrix[:, 1:3], values[:, 1:3])):
        found = np.concatenate([block for _, block in row_blocks(view, block_bytes=32)])
        np.testing.assert_array_equal(found, wanted)


def test_gather_finds_the_file_of_an_earlier_request(tmp_path):
    matrix = on_file(tmp_path, np.arange(40, dtype=np.float32).reshape(10, 4))
    first = gather(matrix, np.array([2, 1]), scratch=tmp_path)
    again = gather(matrix, np.array([2, 1]), scratch=tmp_path)
    other = gather(matrix, np.array([1, 2]), scratch=tmp_path)
    assert first.filename == again.filename != other.filename
    assert gather(matrix, np.arange(10), np.arange(4), scratch=tmp_path) is matrix


def test_gather_into_a_place_that_is_no_folder(tmp_path):
    matrix = on_file(tmp_path, np.ones((3, 2), dtype=np.float32))
    with pytest.raises(OutputError, match="cannot be written"):
        gather(matrix, np.array([1]), scratch=tmp_path / "values.f32")


def test_a_shortened_file_is_no_endless_loop(tmp_path):
    matrix = on_file(tmp_path, np.ones((3, 2), dtype=np.float32))
    (tmp_path / "values.f32").write_bytes(b"\0" * 8)
    with pytest.raises(EOFError, match="too early"):
        list(row_blocks(matrix))


def test_reading_a_matrix_leaves_it_out_of_resident_memory(tmp_path):
    file = tmp_path / "large.f32"
    with file.open("wb") as stream:
        stream.truncate(512 << 20)
    matrix = open_matrix(file, (1024, 128 << 10))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    total = sum(float(block[:, 0].sum()) for _, block in row_blocks(matrix, block_bytes=8 << 20))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert total == 0
    assert grown < 100 << 10  # KiB
