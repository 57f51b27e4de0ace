"""Several places that are one cohort equal one place that holds everything."""

import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data.blocks import on_disk
from immo_hpc.data.read import read_cohort, read_cohorts
from immo_hpc.errors import CohortError, UsageError

SITE_A = {
    "mg.tsv": "sample_id\ta\tb\ns1\t0.5\t0.5\ns2\t0.2\t0.8\n",
    "samples.tsv": "sample_id\tdiagnosis\tage\ns1\tibd\t30\ns2\tno\t41\n",
}
SITE_B = {
    "mg.csv": "sample_id,c,b\nt1,0.1,0.9\nt2,0.75,0.25\n",
    "mb.csv": "sample_id,x\nt2,1000\nt3,5\n",
    "samples.csv": "sample_id,diagnosis,sex\nt1,no,f\nt2,ibd,m\nt3,no,f\n",
}


def site(folder, files, **changes):
    folder.mkdir(parents=True)
    for name, text in (files | changes).items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def sites(tmp_path):
    return [site(tmp_path / "a", SITE_A), site(tmp_path / "b", SITE_B)]


@pytest.mark.parametrize("on_scratch", [False, True])
def test_layers_features_and_samples_are_joined_by_name(tmp_path, sites, on_scratch):
    scratch = tmp_path / "scratch" if on_scratch else None
    cohort = read_cohorts(sites, label="diagnosis", scratch=scratch)
    assert cohort.sample_ids == ["s1", "s2", "t1", "t2", "t3"]
    assert list(cohort.samples.columns) == ["diagnosis", "age", "sex"]
    assert cohort.labels.tolist() == ["ibd", "no", "no", "ibd", "no"]
    assert cohort.samples["sex"].tolist() == [None, None, "f", "m", "f"]
    mg = cohort.layers["mg"]
    assert mg.features == ("a", "b", "c")
    nan = np.nan
    wanted = [[0.5, 0.5, nan], [0.2, 0.8, nan], [nan, 0.9, 0.1], [nan, 0.25, 0.75]]
    np.testing.assert_array_equal(mg.values, np.array(wanted, dtype=np.float32))
    assert mg.rows.tolist() == [0, 1, 2, 3]
    assert cohort.layers["mb"].rows.tolist() == [3, 4]
    assert on_disk(mg.values) == on_scratch


def test_one_path_is_read_cohort(sites):
    one, other = (
        read_cohorts(sites[:1], label="diagnosis"),
        read_cohort(sites[0], label="diagnosis"),
    )
    pd.testing.assert_frame_equal(one.samples, other.samples)
    assert one.notices == other.notices
    np.testing.assert_array_equal(one.layers["mg"].values, other.layers["mg"].values)


@st.composite
def wholes(draw):
    count, width = draw(st.integers(2, 8)), draw(st.integers(2, 5))
    numbers = st.sampled_from([0.0, 0.5, 3.0, -1.0, np.nan])
    flat = draw(st.lists(numbers, min_size=count * width, max_size=count * width))
    ids = [f"s{number}" for number in range(count)]
    frame = pd.DataFrame(np.reshape(flat, (count, width)), ids, [f"f{n}" for n in range(width)])
    return frame, draw(st.integers(1, count - 1)), draw(st.booleans())


@settings(max_examples=20)
@given(wholes())
def test_parts_of_a_table_are_the_table(tmp_path_factory, drawn):
    frame, cut, has_samples = drawn
    folder = tmp_path_factory.mktemp("whole")
    samples = pd.DataFrame({"site": "x"}, index=frame.index)
    places = {"whole": slice(None), "one": slice(0, cut), "two": slice(cut, None)}
    for name, rows in places.items():
        (folder / name).mkdir()
        (folder / name / "cohort.yaml").write_text("unmeasured: drop")
        frame.iloc[rows].rename_axis("sample_id").to_csv(folder / name / "mg.csv")
        if has_samples:
            samples.iloc[rows].rename_axis("sample_id").to_csv(folder / name / "samples.csv")
    outcomes = []
    for scratch in (None, folder / "scratch"):
        for paths in ([folder / "whole"], [folder / "one", folder / "two"]):
            try:
                outcomes.append(read_cohorts(paths, scratch=scratch))
            except CohortError:
                outcomes.append(None)
    if None in outcomes:  # A part, or the whole, without any value.
        assert frame.iloc[:cut].isna().all(axis=None) or frame.iloc[cut:].isna().all(axis=None)
        return
    first = outcomes[0]
    for other in outcomes[1:]:
        pd.testing.assert_frame_equal(first.samples, other.samples)
        assert first.layers["mg"].kind == other.layers["mg"].kind
        assert first.layers["mg"].features == other.layers["mg"].features
        np.testing.assert_array_equal(first.layers["mg"].values, other.layers["mg"].values)
        np.testing.assert_array_equal(first.layers["mg"].rows, other.layers["mg"].rows)


def test_a_sample_in_two_parts_names_both_files(tmp_path, sites):
    (sites[1] / "samples.csv").write_text(SITE_B["samples.csv"] + "s2,no,f\n")
    with pytest.raises(CohortError, match=r"a/samples.tsv and .*b/samples.csv.*'s2' in both"):
        read_cohorts(sites)


def test_rows_of_another_part_are_strangers(sites):
    text = SITE_A["mg.tsv"] + "t1\t0.5\t0.5\n"
    (sites[0] / "mg.tsv").write_text(text)
    cohort = read_cohorts(sites)
    assert len(cohort.layers["mg"].rows) == 4
    assert any("'t1'" in notice and "a/samples.tsv" in notice for notice in cohort.notices)


def test_what_one_part_says_counts_for_all(sites):
    yaml = "layers: {mg: {kind: continuous, columns: [b, c]}}\nlabel: diagnosis\n"
    (sites[1] / "cohort.yaml").write_text(yaml)
    cohort = read_cohorts(sites)
    assert list(cohort.layers) == ["mg"]
    assert (cohort.layers["mg"].kind, cohort.layers["mg"].features) == ("continuous", ("b", "c"))
    assert cohort.roles.label == "diagnosis"


@pytest.mark.parametrize(
    ("one", "other", "says"),
    [
        ("label: diagnosis", "label: sex", "label.*'diagnosis'.*'sex'"),
        ("layers: {mg: {kind: counts}}", "layers: {mg: {kind: binary}}", "kind of layer 'mg'"),
        ("covariates: [age]", "covariates: [sex]", "covariates"),
        ("time: day", "time: week", "time"),
        ("time_unit: days", "time_unit: weeks", "time_unit"),
    ],
)
def test_parts_that_contradict_each_other(sites, one, other, says):
    (sites[0] / "cohort.yaml").write_text(one)
    (sites[1] / "cohort.yaml").write_text(other)
    with pytest.raises(CohortError, match=f"b: expected the same {says}.*must agree"):
        read_cohorts(sites)


def test_a_layer_in_no_part(sites):
    with pytest.raises(CohortError, match=r"layer 'mx', found none; did you mean 'mg'"):
        read_cohorts(sites, layers=["mx"])


def test_a_part_without_the_layers_named(sites):
    with pytest.raises(CohortError, match=r"/a: expected at least one of the layers mb, found mg"):
        read_cohorts(sites, layers=["mb"])


def test_a_part_named_twice(sites):
    with pytest.raises(CohortError, match="each path once"):
        read_cohorts([*sites, sites[0]])


def test_no_path():
    with pytest.raises(UsageError, match="at least one"):
        read_cohorts([])


def test_labels_written_as_1_and_as_1_0_are_one_class(tmp_path):
    whole = {"mg.tsv": SITE_A["mg.tsv"], "samples.tsv": "sample_id\tibd\ns1\t1.0\ns2\t0.0\n"}
    other = {"mg.csv": SITE_B["mg.csv"], "samples.csv": "sample_id,ibd\nt1,0\nt2,1\n"}
    paths = [site(tmp_path / "a", whole), site(tmp_path / "b", other)]
    assert read_cohorts(paths, label="ibd").labels.tolist() == ["1", "0", "0", "1"]


def test_h5mu_and_folder_are_one_cohort(tmp_path, sites):
    mudata = pytest.importorskip("mudata")
    from immo_hpc.data.mudata_io import cohort_to_mudata

    with mudata.set_options(pull_on_update=False), warnings.catch_warnings(action="ignore"):
        cohort_to_mudata(read_cohort(sites[1])).write_h5mu(tmp_path / "b.h5mu")
    paths = [sites[0], tmp_path / "b.h5mu"]
    for scratch in (None, tmp_path / "scratch"):
        cohort = read_cohorts(paths, layers=["mg"], scratch=scratch)
        assert cohort.sample_ids == ["s1", "s2", "t1", "t2"]
        assert cohort.layers["mg"].features == ("a", "b", "c")
