"""HUMAnN tables: community rows or rows by taxon, never both."""

import numpy as np
import pytest

from immo_hpc.data.formats.head import read_head
from immo_hpc.data.formats.humann import read_humann, sample_name
from immo_hpc.errors import CohortError

ROWS = "UNMAPPED\t9\t9\nPWY-1: a\t1\t2\nPWY-1: a|g__X.s__X_y\t1\t0\nPWY-1: a|unclassified\t0\t2\n"


def read(path, **options):
    notices = []
    return read_humann(read_head(path), "mt", notices, **options), " ".join(notices)


def test_community_rows_are_read(official):
    table, said = read(official / "pathabundances_3.tsv")
    assert table.sample_ids == ("MSM1", "MSM1_TR", "CSM2")
    assert table.features == (
        '1CMET2-PWY: formyl "tetrahydrofolate"',
        "PWY-5100: pyruvate fermentation",
    )
    np.testing.assert_array_equal(table.values, np.float32([[0.6, 0.4], [0.5, 0.5], [0.4, 0.6]]))
    for text in ("2 of 7 rows", "2 rows by taxon were left out", "'UNMAPPED', 'UNINTEGRATED'"):
        assert text in said


@pytest.mark.parametrize(("unit", "factor"), [("cpm", 1.0), ("relab", 1e-6), ("rpks", 0.37)])
def test_the_unit_makes_no_difference(official, unit, factor):
    path = official / "pathabundances_3.tsv"
    expected, _ = read(path)
    header, *lines = path.read_text().replace("_cpm", f"_{unit}").splitlines()
    rows = [line.split("\t") for line in lines]
    scaled = ["\t".join([row[0], *(str(factor * float(v)) for v in row[1:])]) for row in rows]
    path.write_text("\n".join([header, *scaled]) + "\n")
    table, _ = read(path)
    assert table.sample_ids == expected.sample_ids
    np.testing.assert_allclose(table.values, expected.values, rtol=1e-6)
    np.testing.assert_allclose(table.values.sum(axis=1), 1, rtol=1e-6)


def test_rows_by_taxon_are_read(official):
    table, said = read(official / "pathabundances_3.tsv", stratified=True)
    assert [feature.partition("|")[2] for feature in table.features] == [
        "g__Blautia.s__Blautia_obeum",
        "unclassified",
    ]
    assert "2 rows for whole samples were left out" in said


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("S1", "S1"),
        ("S1_Abundance", "S1"),
        ("S1_Abundance-RPKs", "S1"),
        ("S1_Abundance-CPM", "S1"),
        ("S1_genefamilies_relab", "S1"),
        ("S1_pathabundance", "S1"),
        ("CSM5FZ3N_P_pathabundance_cpm", "CSM5FZ3N_P"),
        ("MSM1_TR_level4ec", "MSM1_TR"),
        ("Abundant_S1", "Abundant_S1"),
    ],
)
def test_names_lose_what_the_scripts_add(column, name):
    assert sample_name(column) == name


def test_a_sample_with_nothing_but_unmapped_is_left_out(write):
    table, said = read(write("h.tsv", f"# Pathway\tA\tB\n{ROWS}".replace("\t2\n", "\t0\n")))
    assert table.sample_ids == ("A",)
    assert "1 samples hold nothing above 0" in said


@pytest.mark.parametrize(
    ("text", "stratified", "expected"),
    [
        ("# Pathway\tA\nPWY-1|unclassified\t1\n", False, ["by taxon", "stratified: true"]),
        ("# Pathway\tA\nPWY-1\t1\n", True, ["whole samples only", "Leave out 'stratified:'"]),
        ("# Pathway\tA\nUNMAPPED\t1\n", False, ["none besides", "UNINTEGRATED"]),
        ("# Pathway\tA_Coverage\nPWY-1\t1\n", False, ["coverage", "'A_Coverage'", "--layers"]),
        ("# Pathway\tA\nPWY-1\tx\n", False, ["line 2", "row 'PWY-1'", "'x'"]),
    ],
)
def test_messages(write, text, stratified, expected):
    path = write("h.tsv", text)
    with pytest.raises(CohortError) as caught:
        read(path, stratified=stratified)
    for part in (str(path), *expected):
        assert part in str(caught.value)
