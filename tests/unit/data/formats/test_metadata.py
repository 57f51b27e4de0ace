"""HMP2 metadata: one row an assay becomes one row a collection."""

import pytest

from immo_hpc.data.formats.head import read_head
from immo_hpc.data.formats.metadata import read_metadata, sample_rows
from immo_hpc.errors import CohortError

HEADER = "External ID,Participant ID,site_sub_coll,data_type,diagnosis,week_num,BMI\n"


def read(path, further=(), names=None):
    notices = []
    assays = read_metadata(read_head(path), further, notices)
    if names is None:
        names = set(assays.frame["site_sub_coll"])
    return sample_rows(assays, names, notices), " ".join(notices)


def test_one_row_a_collection(official):
    samples, said = read(official / "hmp2_metadata_2018-08-20.csv")
    assert list(samples.index) == [
        "M2001C1",
        "C3002C1",
        "H4003C1",
        "M2005C1",
        "E5006C1",
        "P6004C1",
        "200002",
    ]
    assert list(samples.columns) == [
        "subject_id",
        "label_ibd",
        "diagnosis",
        "site",
        "week_num",
        "visit_num",
        "sex",
        "age",
        "antibiotics",
    ]
    assert list(samples["label_ibd"]) == ["1", "1", "0", "0", "1", "0", "1"]
    # The first assay of C3002C1 says nothing of the age, another does.
    assert samples.loc["C3002C1", "age"] == "41"
    assert said == ""


def test_further_columns_are_read_by_their_names(official):
    samples, _ = read(official / "hmp2_metadata_2018-08-20.csv", further=["BMI", "absent"])
    assert samples["BMI"].tolist()[:2] == ["21", None]


def test_only_named_collections(official):
    samples, _ = read(official / "hmp2_metadata_2018-08-20.csv", names={"P6004C1", "else"})
    assert list(samples.index) == ["P6004C1"]


def test_a_contradiction_in_other_columns_is_told_and_the_first_kept(write):
    rows = "A,S1,S1C1,metagenomics,CD,0,20\nB,S1,S1C1,metabolomics,CD,2,\n"
    samples, said = read(write("m.csv", HEADER + rows))
    assert samples.loc["S1C1", "week_num"] == "0"
    assert "contradict each other in 'week_num' ('S1C1')" in said


def test_another_diagnosis_gives_no_label(write):
    rows = "A,S1,S1C1,metagenomics,IBS,0,20\nB,S2,S2C1,metabolomics,,2,\n"
    samples, said = read(write("m.csv", HEADER + rows))
    assert samples["label_ibd"].tolist() == [None, None]
    assert "diagnosis 'IBS' is none of nonIBD, CD, UC" in said


def test_assays_without_external_id_are_told(write):
    rows = ",S1,S1C1,metagenomics,CD,0,20\nB,S2,S2C1,metabolomics,UC,2,\n"
    samples, said = read(write("m.csv", HEADER + rows))
    assert list(samples.index) == ["S2C1"]
    assert "1 assays have no External ID" in said


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "External_ID,Participant ID,site_sub_coll,data_type\nA,S1,S1C1,serology\n",
            ["column 'External ID'", "did you mean 'External_ID'", "'samples:'"],
        ),
        (
            HEADER + "A,S1,S1C1,metagenomics,CD,0,1\nB,S9,S1C1,metabolomics,CD,0,1\n",
            ["one Participant ID", "'S1C1'", "'S1', 'S9'"],
        ),
        (
            HEADER + "A,S1,S1C1,metagenomics,CD,0,1\nB,S1,S1C1,metabolomics,UC,0,1\n",
            ["one diagnosis", "'S1C1'", "'CD', 'UC'"],
        ),
        (
            HEADER + "A,S1,S1C1,metagenomics,CD,0,1\nA,S1,S1C2,metagenomics,CD,0,1\n",
            ["one collection", "metagenomics assay 'A'", "'S1C1', 'S1C2'"],
        ),
        (HEADER + "A,S1,S1C1,serology,CD,0,1,2\n", ["line 2", "expected 7 cells", "found 8"]),
        (HEADER + "A,S1,S1C1,serology,CD,0\n", ["line 2", "expected 7 cells", "found 6"]),
    ],
)
def test_messages(write, text, expected):
    path = write("m.csv", text)
    with pytest.raises(CohortError) as caught:
        read(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)
