"""The benchmark of preparing: both contenders do the same, each measured by itself."""

import json

import numpy as np
import pandas as pd
import pytest

from immo_hpc.bench import prepare as bench
from immo_hpc.bench.prepare_child import by_pandas
from immo_hpc.bench.prepare_data import write_tables
from immo_hpc.data.read import read_cohort
from immo_hpc.errors import ImmoError, UsageError


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_tables_are_a_cohort_of_the_size_asked_for(tmp_path, kind):
    table = write_tables(tmp_path / "cohort", 40, 7, kind)
    cohort = read_cohort(table.parent)
    assert cohort.layers["mb"].values.shape == (40, 7)
    assert cohort.layers["mb"].kind == "intensity"
    assert cohort.subjects.nunique() == 10
    assert (cohort.layers["mb"].values > 0).all()
    by_pandas(table, tmp_path / "plain.parquet")
    plain = pd.read_parquet(tmp_path / "plain.parquet").to_numpy()
    np.testing.assert_allclose(plain.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(plain.std(axis=0), 1, atol=1e-5)


def test_both_formats_hold_the_same_values(tmp_path):
    csv, parquet = (
        read_cohort(write_tables(tmp_path / kind, 12, 5, kind).parent).layers["mb"].values
        for kind in ("csv", "parquet")
    )
    np.testing.assert_allclose(csv, parquet, rtol=1e-6)
    with pytest.raises(UsageError, match="expected csv or parquet, found 'xlsx'"):
        write_tables(tmp_path / "other", 3, 3, "xlsx")


def test_result_says_what_was_measured(tmp_path):
    sizes = [bench.Size(60, 8), bench.Size(60, 8)]
    result = bench.bench_prepare(sizes=sizes, repeats=1, folder=tmp_path, out=tmp_path / "out.json")
    assert [(row.contender, row.format) for row in result.rows] == [
        ("immo", "csv"),
        ("pandas", "csv"),
        ("immo", "parquet"),
        ("pandas", "parquet"),
    ]
    for row in result.rows:
        assert row.mb_per_s == pytest.approx(row.input_mb / row.seconds[0])
        assert 20 < row.rss_before_mb <= row.rss_mb < 2_000
    assert json.loads((tmp_path / "out.json").read_text()) == json.loads(
        json.dumps(result.to_dict())
    )
    assert "immo" in result.text()
    assert [path.name for path in tmp_path.iterdir()] == ["out.json"], "tables were left"


def test_large_tables_are_left_to_immo(tmp_path):
    small, large = bench.Size(20, 4), bench.Size(40, 4)
    result = bench.bench_prepare(sizes=[small], large=[large], repeats=1, folder=tmp_path)
    whom = {(row.samples, row.contender) for row in result.rows}
    assert whom == {(20, "immo"), (20, "pandas"), (40, "immo")}


def test_a_contender_that_fails_is_told(tmp_path):
    with pytest.raises(ImmoError, match=r"'pandas' failed on .*nothing.csv: FileNotFoundError"):
        bench._run("pandas", tmp_path / "nothing.csv", tmp_path / "out", 1)
