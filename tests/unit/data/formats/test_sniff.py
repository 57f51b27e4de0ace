"""Formats are told apart by content, whatever the file is called."""

import gzip

import pytest

from immo_hpc.data.formats.head import read_head
from immo_hpc.data.formats.sniff import sniff
from immo_hpc.errors import CohortError

CLADE = "k__Bacteria|p__Firmicutes"
CASES = {
    "version 2, merged": (
        f"#SampleID\tA\tB\n{CLADE}\t1\t2\n",
        "metaphlan",
        ("#SampleID", "A", "B"),
    ),
    "version 2, second header": (
        f"ID\tA\tB\n#SampleID\tMetaphlan2_Analysis\tMetaphlan2_Analysis\n{CLADE}\t1\t2\n",
        "metaphlan",
        ("ID", "A", "B"),
    ),
    "version 3, tax id": (
        f"#mpa_v30_CHOCOPhlAn_201901\nclade_name\tNCBI_tax_id\tA\nUNKNOWN\t-1\t3\n{CLADE}\t2|1\t97\n",
        "metaphlan",
        ("clade_name", "NCBI_tax_id", "A"),
    ),
    "version 4": (
        f"#mpa_vJun23_CHOCOPhlAnSGB_202307\n#/usr/bin/metaphlan in.fq\nclade_name\tA\n{CLADE}\t9\n",
        "metaphlan",
        ("clade_name", "A"),
    ),
    "GTDB": ("clade_name\tA\nd__Bacteria;p__Firmicutes\t9\n", "metaphlan", ("clade_name", "A")),
    "pathways": ("# Pathway\tA_Abundance\nPWY-1: x\t1\n", "humann", ("# Pathway", "A_Abundance")),
    "gene families, version 4": (
        "# Gene Family HUMAnN v4.0.0\tA_Abundance-RPKs\nUniRef90_A\t1\n",
        "humann",
        ("# Gene Family HUMAnN v4.0.0", "A_Abundance-RPKs"),
    ),
    "joined pathways without a corner": (
        "Feature\\Sample\tA_pathabundance_cpm\nUNMAPPED\t5\nPWY-1: x\t1\n",
        "humann",
        ("Feature\\Sample", "A_pathabundance_cpm"),
    ),
    "metabolomics": (
        "Method,RT,Metabolite,Compound,A\nC8-pos,1,x,C8p_QI1,5\n",
        "hmp2_metabolomics",
        ("Method", "RT", "Metabolite", "Compound", "A"),
    ),
    "metadata": (
        '"Project","External ID","Participant ID","data_type"\nP,A,B,serology\n',
        "hmp2_metadata",
        ("Project", "External ID", "Participant ID", "data_type"),
    ),
    "plain": ("sample_id\ta\tb\ns1\t1\t2\n", "table", ("sample_id", "a", "b")),
    "plain with one clade": ("taxon,s1\nk__Bacteria,1\nother,2\n", "table", ("taxon", "s1")),
    "one column": ("a\nb\n", "table", ("a",)),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize(("text", "expected", "columns"), CASES.values(), ids=list(CASES))
def test_formats_are_told_by_content(tmp_path, text, expected, columns, packed):
    path = tmp_path / ("any.txt.gz" if packed else "any.txt")
    path.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    head = read_head(path)
    assert sniff(head) == expected
    assert head.columns == columns


def test_official_files_are_told_apart(official):
    found = {path.name: sniff(read_head(path)) for path in official.iterdir()}
    assert found == {
        "taxonomic_profiles_3.tsv": "metaphlan",
        "pathabundances_3.tsv": "humann",
        "HMP2_metabolomics.csv": "hmp2_metabolomics",
        "hmp2_metadata_2018-08-20.csv": "hmp2_metadata",
    }


@pytest.mark.parametrize("text", ["", "#only\n#comments\n", "a\tb\n", "\n\n"])
def test_a_file_without_rows_is_refused(write, text):
    with pytest.raises(CohortError, match="expected a"):
        read_head(write("empty.tsv", text))
