"""Written results are what they were, whole or not at all, and never overwrite unasked."""

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from immo_hpc.errors import OutputError, UsageError
from immo_hpc.inference import TABLE_SUFFIXES, to_mudata, write_folder, write_mudata, write_table
from immo_hpc.inference.outputs import table_suffix


def read_table(path):
    if path.name.endswith(".parquet"):
        return pq.read_table(path).to_pandas().set_index("sample_id")
    separator = "\t" if ".tsv" in path.name else ","
    return pd.read_csv(
        path,
        sep=separator,
        index_col="sample_id",
        dtype={"sample_id": str},
        float_precision="round_trip",
    )


@pytest.fixture
def frame():
    values = np.array([[0.1, -3.5e10], [np.nan, 1 / 3]], dtype=np.float32)
    return pd.DataFrame(values, index=["001", "b"], columns=["x, y", "ä"])


@pytest.mark.parametrize("suffix", TABLE_SUFFIXES)
def test_a_table_is_read_back_exactly(suffix, frame, tmp_path):
    path = tmp_path / "new" / f"latent{suffix}"
    write_table(frame, path)
    back = read_table(path)
    assert list(back.index) == ["001", "b"]
    assert list(back.columns) == ["x, y", "ä"]
    np.testing.assert_array_equal(back.to_numpy(dtype=np.float32), frame.to_numpy())
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


@settings(max_examples=20, deadline=None)
@given(
    values=arrays(
        np.float32, (3, 2), elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
    )
)
def test_text_keeps_every_bit(values, tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "t.csv.gz"
    write_table(pd.DataFrame(values, index=list("abc"), columns=["x", "y"]), path)
    np.testing.assert_array_equal(read_table(path).to_numpy(dtype=np.float32), values)


@pytest.mark.parametrize("suffix", [".parquet", ".csv.gz"])
def test_two_writes_of_one_table_are_equal(suffix, frame, tmp_path):
    first, second = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    write_table(frame, first)
    write_table(frame, second)
    head = 30 if suffix == ".csv.gz" else 0  # the gzip header holds the file's name
    assert first.read_bytes()[head:] == second.read_bytes()[head:]


@pytest.mark.parametrize("name", ["latent.txt", "latent", "latent.gz", "a.parquet.gz", ".csv"])
def test_an_unknown_suffix_lists_the_valid_ones(name, frame, tmp_path):
    with pytest.raises(UsageError, match=r"\.parquet, \.csv, \.csv\.gz, \.tsv, \.tsv\.gz"):
        write_table(frame, tmp_path / name)
    assert not list(tmp_path.iterdir())


def test_an_existing_table_is_kept_unless_told_otherwise(frame, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("precious")
    with pytest.raises(OutputError, match="expected nothing there"):
        write_table(frame, path)
    assert path.read_text() == "precious"
    write_table(frame, path, overwrite=True)
    assert len(read_table(path)) == 2


def test_a_folder_is_not_replaced_by_a_table(frame, tmp_path):
    (tmp_path / "t.csv").mkdir()
    (tmp_path / "t.csv" / "inside").touch()
    with pytest.raises(OutputError, match="not empty"):
        write_table(frame, tmp_path / "t.csv", overwrite=True)


def test_suffixes_are_read_whole(tmp_path):
    assert table_suffix(tmp_path / "a.b.TSV.gz") == ".tsv.gz"


def test_a_folder_holds_layers_masks_and_samples(trained, cohort, tmp_path):
    result = trained.complete(trained.prepare(cohort), raw=cohort)
    write_folder(tmp_path / "out", result.values, result.imputed, samples=cohort.samples)
    for name, values in result.values.items():
        back = read_table(tmp_path / "out" / f"{name}.parquet")
        np.testing.assert_array_equal(back.to_numpy(), values.to_numpy())
        mask = read_table(tmp_path / "out" / "imputed" / f"{name}.parquet")
        np.testing.assert_array_equal(mask.to_numpy(), result.imputed[name].to_numpy())
        assert mask.dtypes.eq(bool).all()
    samples = read_table(tmp_path / "out" / "samples.tsv")
    assert list(samples.index) == cohort.sample_ids


def test_a_written_folder_is_a_cohort_again(trained, cohort, tmp_path):
    from immo_hpc.data.read import read_cohort

    values = trained.impute(trained.prepare(cohort), raw=cohort)
    write_folder(tmp_path / "out", values, samples=cohort.samples, suffix=".csv")
    again = read_cohort(tmp_path / "out")
    assert set(again.layers) == set(cohort.layers)
    assert sorted(again.sample_ids) == sorted(cohort.sample_ids)


def test_a_failing_folder_leaves_nothing(frame, tmp_path):
    with pytest.raises(UsageError):
        write_folder(tmp_path / "out", {"mg": frame}, suffix=".xls")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "inside").touch()
    with pytest.raises(OutputError, match="not empty"):
        write_folder(tmp_path / "full", {"mg": frame})
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["full", "inside"]


def test_mudata_holds_latent_layers_and_masks(trained, cohort, tmp_path):
    mudata = pytest.importorskip("mudata")
    prepared = trained.prepare(cohort)
    result = trained.complete(prepared, raw=cohort)
    latent = trained.embed_frame(prepared)
    mdata = to_mudata(cohort.samples, latent=latent, layers=result.values, imputed=result.imputed)
    path = tmp_path / "out.h5mu"
    write_mudata(mdata, path)
    with mudata.set_options(pull_on_update=False):
        back = mudata.read_h5mu(path)
    assert list(back.obs_names) == cohort.sample_ids
    assert list(back.obs["subject_id"]) == list(cohort.samples["subject_id"])
    np.testing.assert_array_equal(back.obsm["X_immo"], latent.to_numpy())
    for name, values in result.values.items():
        np.testing.assert_array_equal(back[name].X, values.to_numpy())
        np.testing.assert_array_equal(
            back[name].layers["immo_imputed"], result.imputed[name].to_numpy()
        )
        assert list(back[name].var_names) == list(values.columns)
    with pytest.raises(OutputError, match="expected nothing there"):
        write_mudata(mdata, path)
    with pytest.raises(UsageError, match=r"\.h5mu"):
        write_mudata(mdata, tmp_path / "out.h5")


def test_mudata_may_hold_the_latent_alone(trained, cohort):
    pytest.importorskip("mudata")
    latent = trained.embed_frame(trained.prepare(cohort))
    mdata = to_mudata(cohort.samples, latent=latent)
    np.testing.assert_array_equal(mdata.obsm["X_immo"], latent.to_numpy())
