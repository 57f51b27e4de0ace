"""What is written as a folder, or handed over as MuData, comes back as the same cohort."""

import warnings
from dataclasses import replace

import mudata
import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from immo_hpc.data.cohort import Roles
from immo_hpc.data.frames import cohort_from_frames
from immo_hpc.data.mudata_io import cohort_from_mudata, cohort_to_mudata
from immo_hpc.data.read import read_cohort
from immo_hpc.data.write import write_cohort
from immo_hpc.errors import CohortError, OutputError

NAMES = st.text(
    st.characters(categories=["L", "N", "P", "S"], include_characters=" "), min_size=1, max_size=8
).filter(lambda name: name == name.strip() and name != "sample_id")
CELLS = st.one_of(st.none(), NAMES, st.integers(-5, 5), st.floats(allow_nan=True), st.booleans())


@st.composite
def cohorts(draw):
    ids = draw(st.lists(NAMES, min_size=1, max_size=6, unique=True))
    tables, kinds = {}, {}
    for number in range(draw(st.integers(1, 3))):
        everything = number == 0  # So that no sample is without a layer.
        held = ids if everything else draw(st.lists(st.sampled_from(ids), min_size=1, unique=True))
        features = draw(st.lists(NAMES, min_size=1, max_size=4, unique=True))
        shape = (len(held), len(features))
        numbers = st.floats(0, 2.0**100, width=32) | st.just(np.nan)
        values = draw(hnp.arrays(np.float32, shape, elements=numbers))
        values[:, 0] = 1.5  # So that no row is empty.
        tables[f"layer {number}"] = pd.DataFrame(values, index=held, columns=features)
        kinds[f"layer {number}"] = draw(st.sampled_from(["composition", "intensity", "continuous"]))
    columns = draw(st.lists(NAMES, max_size=3, unique=True))
    cells = {name: draw(st.lists(CELLS, min_size=len(ids), max_size=len(ids))) for name in columns}
    samples = pd.DataFrame(cells, index=ids)
    roles = Roles(
        label=columns[0] if columns else None,
        batch=columns[1] if len(columns) > 1 else None,
        covariates=tuple(columns[2:]),
    )
    return cohort_from_frames(tables, samples, kinds=kinds, roles=roles)


def assert_same(one, other):
    pd.testing.assert_frame_equal(one.samples, other.samples, check_exact=True)
    assert one.roles == other.roles
    assert list(one.layers) == list(other.layers)
    for name, layer in one.layers.items():
        twin = other.layers[name]
        assert (layer.kind, layer.features) == (twin.kind, twin.features)
        np.testing.assert_array_equal(layer.values, twin.values)
        np.testing.assert_array_equal(layer.rows, twin.rows)


@settings(max_examples=40, deadline=None)
@given(cohort=cohorts())
def test_folder_gives_the_cohort_back(cohort, tmp_path_factory):
    folder = tmp_path_factory.mktemp("written") / "cohort"
    write_cohort(cohort, folder)
    assert_same(read_cohort(folder), cohort)


def small():
    mg = pd.DataFrame([[20.0, 80.0], [50.0, 50.0]], index=["s3", "s1"], columns=["f", "g"])
    mb = pd.DataFrame([[1.0, np.nan], [5e6, 3.0]], index=["s2", "s1"], columns=["f", "h"])
    samples = pd.DataFrame(
        {
            "label": ["1", None, "0"],
            "who": ["p", "p", "q"],
            "age": [1.5, np.nan, 3.0],
            "week": [0.0, 2.0, np.nan],
        },
        index=["s2", "s3", "s1"],
    )
    return cohort_from_frames(
        {"mg": mg, "mb": mb},
        samples,
        kinds={"mg": "composition", "mb": "intensity"},
        roles=Roles("label", "1", "who", None, ("age",), "week", "weeks"),
    )


def test_taken_samples_are_written_too(tmp_path):
    part = small().take([2, 0])
    write_cohort(part, tmp_path / "part")
    assert_same(read_cohort(tmp_path / "part"), part)


def test_nothing_is_written_over_or_left_half_written(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "note").write_text("mine")
    with pytest.raises(OutputError, match="a folder that is not empty"):
        write_cohort(small(), tmp_path / "full")
    broken = replace(small().layers["mg"], features=("only one",))
    cohort = small()
    with pytest.raises(ValueError, match="names"):
        write_cohort(replace(cohort, layers={"mg": broken}), tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_mudata_gives_the_cohort_back():
    cohort = small()
    latent = np.arange(6, dtype=np.float32).reshape(3, 2)
    mdata = cohort_to_mudata(cohort, latent)
    assert mdata["mg"].shape == (2, 2)  # No padding.
    assert mdata["mg"].uns["immo_kind"] == "composition"
    order = [cohort.sample_ids.index(name) for name in mdata.obs_names]
    np.testing.assert_array_equal(mdata.obsm["X_immo"], latent[order])
    assert_same(cohort_from_mudata(mdata), cohort)


def save_h5mu(cohort, file):
    with mudata.set_options(pull_on_update=False), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="var_names are not unique")
        warnings.filterwarnings("ignore", message="Cannot join columns with the same name")
        cohort_to_mudata(cohort).write_h5mu(file)


def test_h5mu_file_gives_the_cohort_back(tmp_path):
    cohort = small()
    save_h5mu(cohort, tmp_path / "c.h5mu")
    assert_same(read_cohort(tmp_path / "c.h5mu"), cohort)
    part = read_cohort(tmp_path / "c.h5mu", layers=["mb"], label="age")
    assert part.sample_ids == ["s2", "s1"]
    assert any("not used (mg)" in notice for notice in part.notices)
    with pytest.raises(CohortError, match=r"c\.h5mu: no modality 'mq'; did you mean 'mg'"):
        read_cohort(tmp_path / "c.h5mu", layers=["mq"])


def test_damaged_h5mu_is_refused(tmp_path):
    save_h5mu(small(), tmp_path / "c.h5mu")
    whole = (tmp_path / "c.h5mu").read_bytes()
    (tmp_path / "c.h5mu").write_bytes(whole[:2000])
    with pytest.raises(CohortError, match=r"c\.h5mu: cannot be read"):
        read_cohort(tmp_path / "c.h5mu")


@pytest.mark.parametrize("beside", [True, False])
def test_folder_of_h5ad_files(tmp_path, beside):
    cohort = small()
    mdata = cohort_to_mudata(cohort)
    for name in cohort.layers:
        modality = mdata[name]
        if not beside:
            modality.obs = mdata.obs.loc[modality.obs_names]
        modality.write_h5ad(tmp_path / f"{name}.h5ad")
    if beside:
        cohort.samples.to_csv(tmp_path / "samples.csv")
    (tmp_path / "cohort.yaml").write_text(
        "layers: {mg: {}, mb: {}}\nlabel: label\npositive: 1\nsubject: who\ncovariates: [age]\n"
        "time: week\ntime_unit: weeks\n"
    )
    found = read_cohort(tmp_path)
    assert {name: layer.kind for name, layer in found.layers.items()} == {
        "mg": "composition",
        "mb": "intensity",
    }
    place = [found.sample_ids.index(name) for name in cohort.sample_ids]
    assert_same(found.take(place), cohort)


def test_sparse_matrices_and_padding_are_accepted():
    cohort = small()
    mdata = cohort_to_mudata(cohort)
    mdata["mg"].X = scipy.sparse.csr_matrix(mdata["mg"].X)
    mdata["mb"].X[1] = np.nan
    found = cohort_from_mudata(mdata)
    np.testing.assert_array_equal(found.layers["mg"].values, cohort.layers["mg"].values)
    assert len(found.layers["mb"].rows) == len(cohort.layers["mb"].rows) - 1
    assert any("count as not measured" in notice for notice in found.notices)


def test_features_named_like_samples_do_not_turn_a_table():
    tables = {
        "one": pd.DataFrame({"a": [1.0, 2.0, 3.0]}, index=["a", "b", "c"]),
        "two": pd.DataFrame({"a": [1.0], "b": [2.0]}, index=["a"]),
    }
    cohort = cohort_from_frames(tables)
    assert cohort.layers["two"].features == ("a", "b")
    assert cohort.sample_ids == ["a", "b", "c"]
