"""The HMP2 metabolomics table: compounds, their names and what was not detected."""

import numpy as np
import pytest

from immo_hpc.data.formats.head import read_head
from immo_hpc.data.formats.metabolomics import read_annotation, read_metabolomics
from immo_hpc.errors import CohortError

HEADER = "Method,RT,Metabolite,Compound,A,B\n"


def read(path, **options):
    notices = []
    return read_metabolomics(read_head(path), "mb", notices, **options), " ".join(notices)


def test_named_compounds_are_read(official):
    table, said = read(official / "HMP2_metabolomics.csv")
    assert table.sample_ids == ("CSM2", "HSM3", "MSM1", "PSM4")
    assert table.features == (
        "C18-neg:C18n_QI08:caproate",
        'HILIC-pos:HILp_QI3:glycine, "free" form',
        "HILIC-neg:HILn_TF9:caproate",
        "C8-pos:C8p_QI7:C18:1 LPC",
    )
    nan = np.nan
    np.testing.assert_array_equal(
        table.values,
        np.float32(
            [
                [6478, 5000, nan, 1e9],
                [1747, nan, nan, 2e9],
                [nan, 7000, 55, 3e9],
                [19, 8000.5, nan, nan],
            ]
        ),
    )
    for text in ("4 of 5 compounds", "1 without a metabolite's name", "m/z", "1 intensities of 0"):
        assert text in said


def test_all_compounds_if_asked(official):
    table, said = read(official / "HMP2_metabolomics.csv", named_only=False)
    assert table.features[1] == "C18-neg:C18n_QI900"
    assert len(table.features) == 5
    assert "named_only" not in said


def test_the_annotation_is_kept_for_every_feature(official):
    path = official / "HMP2_metabolomics.csv"
    annotation = read_annotation(path)
    assert tuple(annotation.index) == read(path, named_only=False)[0].features
    assert annotation.loc["C18-neg:C18n_QI08:caproate"].to_dict() == {
        "Method": "C18-neg",
        "Pooled QC sample CV": "0.04",
        "m/z": "115.0764",
        "RT": "9.21",
        "HMDB (*Representative ID)": "HMDB00535",
        "Metabolite": "caproate",
        "Compound": "C18n_QI08",
    }


def test_a_sample_without_any_intensity_is_left_out(write):
    table, said = read(write("m.csv", HEADER + "C8-pos,1,x,C8p_1,5,\nC8-pos,2,y,C8p_2,6,0\n"))
    assert table.sample_ids == ("A",)
    assert "1 samples hold no intensity" in said
    assert "'B'" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (HEADER + "C8-pos,1,,C8p_1,5,6\n", ["under 'Metabolite'", "named_only: false"]),
        (HEADER + "C8-pos,1,x,C8p_1,5,high\n", ["line 2", "row 'C8-pos'", "column 'B'", "'high'"]),
        (HEADER + "C8-pos,1,x,C8p_1,5\n", ["line 2", "expected 6 cells", "found 5"]),
        ("Method,Compound,A\nC8-pos,C8p_1,5\n", ["column 'Metabolite'", "'format:'"]),
        ("Method,Metabolite,Compound\nC8-pos,x,C8p_1\n", ["one column a sample", "found none"]),
    ],
)
def test_messages(write, text, expected):
    path = write("m.csv", text)
    with pytest.raises(CohortError) as caught:
        read(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)
