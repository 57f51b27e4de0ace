"""MetaPhlAn profiles: one rank, named by clade."""

import numpy as np
import pytest

from immo_hpc.data.formats.head import read_head
from immo_hpc.data.formats.metaphlan import read_metaphlan
from immo_hpc.errors import CohortError


def read(path, **options):
    notices = []
    return read_metaphlan(read_head(path), "mg", notices, **options), " ".join(notices)


def test_species_of_the_official_profile(official):
    table, said = read(official / "taxonomic_profiles_3.tsv")
    assert table.features == (
        "s__Methanobrevibacter_smithii",
        "s__Blautia_obeum",
        "s__Blautia_unclassified",
        "s__Bacteroides_ovatus",
    )
    assert table.sample_ids == ("MSM1_P", "MSM1", "MSM1_TR", "CSM2", "HSM3_P", "XSM9")
    assert table.values.dtype == np.float32
    assert table.values.flags.c_contiguous
    np.testing.assert_array_equal(table.values[1], np.float32([1.5, 28.5, 10, 60]))
    np.testing.assert_allclose(table.values.sum(axis=1), 100)
    for text in ("4 of 9 rows", "'UNKNOWN' is no taxon", "1 profiles hold no species", "'MSM5'"):
        assert text in said


@pytest.mark.parametrize(
    ("rank", "features"),
    [
        ("kingdom", ("k__Archaea", "k__Bacteria")),
        ("phylum", ("p__Euryarchaeota",)),
        ("genus", ("g__Blautia",)),
    ],
)
def test_another_rank(official, rank, features):
    table, _ = read(official / "taxonomic_profiles_3.tsv", rank=rank)
    assert table.features == features


def test_comments_tax_ids_and_second_header_are_passed_over(write):
    table, said = read(
        write(
            "p.tsv",
            "#mpa_v30\nclade_name\tNCBI_tax_id\tA\tB_metaphlan_bugs_list\n"
            "#SampleID\tx\ty\tz\n"
            "UNCLASSIFIED\t-1\t20\t0\n"
            "k__A|s__x\t2|3\t80\t\nk__A|s__y\t2|\t0\t100\n",
        )
    )
    assert table.sample_ids == ("A", "B")
    assert table.features == ("s__x", "s__y")
    np.testing.assert_array_equal(table.values, np.float32([[80, 0], [np.nan, 100]]))
    assert "UNCLASSIFIED" in said


def test_a_clade_name_that_comes_twice_is_named_by_lineage(write):
    text = "ID\tA\nk__A|s__x\t1\nk__B|s__x\t2\nk__B|s__y\t3\n"
    table, _ = read(write("p.tsv", text))
    assert table.features == ("k__A|s__x", "k__B|s__x", "s__y")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "ID\tA\nk__A\t1\nk__A|p__B\t1\n",
            ["rank species", "there are kingdom, phylum", "'rank:'"],
        ),
        ("ID\tA\nPWY-1\t1\n", ["expected MetaPhlAn clades", "'PWY-1'", "'format:'"]),
        ("ID\tA\nk__A|s__x\tmuch\n", ["line 2", "row 'k__A|s__x'", "column 'A'", "'much'"]),
        ("#v\nID\tA\nk__A|s__x\t1\nk__A|s__y\t1\t2\n", ["line 4", "expected 2 cells", "found 3"]),
        (
            "#clade_name\tNCBI_tax_id\trelative_abundance\tadditional_species\nk__A\t2\t100\t\n",
            ["one sample", "merge_metaphlan_tables.py"],
        ),
    ],
)
def test_messages(write, text, expected):
    path = write("p.tsv", text)
    with pytest.raises(CohortError) as caught:
        read(path)
    for part in (str(path), *expected):
        assert part in str(caught.value)
