"""Whole folders of published tables: which file is what, and which assay belongs to whom."""

import errno
import gzip
import itertools
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.data import assemble, blocks
from immo_hpc.data.formats import grid, replicates
from immo_hpc.data.formats.metadata import Assays
from immo_hpc.data.formats.replicates import data_type_of, joined
from immo_hpc.data.read import read_cohort
from immo_hpc.data.tables import Table
from immo_hpc.errors import CohortError, OutputError

DOCS = Path(__file__).parents[4] / "docs" / "cohorts.md"
METADATA = "hmp2_metadata_2018-08-20.csv"


def said(cohort):
    return " ".join(cohort.notices)


def same(one, other):
    pd.testing.assert_frame_equal(one.samples, other.samples)
    assert one.roles == other.roles
    assert list(one.layers) == list(other.layers)
    for name, layer in one.layers.items():
        assert layer.features == other.layers[name].features
        assert layer.kind == other.layers[name].kind
        np.testing.assert_array_equal(layer.values, other.layers[name].values)
        np.testing.assert_array_equal(layer.rows, other.layers[name].rows)


def test_the_official_files_are_a_cohort(official):
    cohort = read_cohort(official)
    assert {name: layer.kind for name, layer in cohort.layers.items()} == {
        "mg": "composition",
        "mt": "composition",
        "mb": "intensity",
    }
    assert cohort.sample_ids == ["M2001C1", "C3002C1", "H4003C1", "P6004C1"]
    np.testing.assert_array_equal(cohort.measured(), [[1, 1, 1], [1, 1, 1], [1, 0, 1], [0, 0, 1]])
    assert cohort.roles.label == "label_ibd"
    assert (cohort.roles.subject, cohort.roles.batch) == ("subject_id", "site")
    assert (cohort.roles.time, cohort.roles.time_unit) == ("week_num", "weeks")
    assert list(cohort.labels) == ["1", "1", "0", "0"]
    # The plain assay of M2001C1 stands for it, not the replicate or the pilot.
    np.testing.assert_array_equal(cohort.layers["mg"].values[0], np.float32([1.5, 28.5, 10, 60]))
    assert list(cohort.samples["ext_id_mg"]) == ["MSM1", "CSM2", "HSM3_P", None]
    assert cohort.samples["age"].tolist() == [30, 41, 12, 15]
    for text in (
        "mg: taxonomic_profiles_3.tsv was recognised by its content as a merged MetaPhlAn profile",
        "mg: 2 replicates were left out ('MSM1_P', 'MSM1_TR')",
        "mt: 1 replicates were left out ('MSM1_TR')",
        "2 collections with an assay of metabolomics or metagenomics or metatranscriptomics",
        "mg: 1 rows have no sample",
        "'XSM9'",
        "'label_ibd' is taken as the label",
    ):
        assert text in said(cohort)


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
def test_a_packed_folder_gives_the_same(official, tmp_path, suffix):
    expected = read_cohort(official)
    packed = tmp_path / "packed"
    packed.mkdir()
    for path in official.iterdir():
        with pa.output_stream(packed / f"{path.name}{suffix}", compression="detect") as stream:
            stream.write(path.read_bytes())
    same(read_cohort(packed), expected)


def test_the_order_of_columns_and_rows_changes_nothing(official):
    expected = read_cohort(official)
    for name, sep in (("taxonomic_profiles_3.tsv", "\t"), ("pathabundances_3.tsv", "\t")):
        lines = (official / name).read_text().splitlines()
        turned = [sep.join([cells[0], *cells[:0:-1]]) for cells in (x.split(sep) for x in lines)]
        (official / name).write_text("\n".join(turned) + "\n")
    same(read_cohort(official), expected)


@pytest.mark.parametrize("block_bytes", [40, 64 << 20])
def test_a_folder_on_disk_gives_the_same(official, tmp_path, monkeypatch, block_bytes):
    monkeypatch.setitem(blocks.row_blocks.__kwdefaults__, "block_bytes", block_bytes)
    (official / "clin.csv").write_text("sample_id,crp\nM2001C1,3.5\nP6004C1,1\n")
    expected = read_cohort(official)
    for _ in range(2):  # the second time from the files that are there
        cohort = read_cohort(official, scratch=tmp_path / "scratch")
        same(cohort, expected)
        assert cohort.notices == expected.notices
        assert all(isinstance(layer.values, np.memmap) for layer in cohort.layers.values())
    (official / "cohort.yaml").write_text("layers: {mg: {rank: kingdom}, mb: {}}\n")
    again = read_cohort(official, scratch=tmp_path / "scratch")
    assert again.layers["mg"].features == ("k__Archaea", "k__Bacteria")


def test_a_published_table_is_on_disk_at_every_step(official, tmp_path, monkeypatch):
    steps = []
    for module in (grid, replicates, assemble):
        gather = module.gather

        def watched(values, *arguments, gather=gather, **options):
            outcome = gather(values, *arguments, **options)
            steps.append((values, outcome))
            return outcome

        monkeypatch.setattr(module, "gather", watched)
    read_cohort(official, scratch=tmp_path / "scratch")
    assert len(steps) > 3
    assert all(isinstance(matrix, np.memmap) for step in steps for matrix in step)


def test_a_disk_that_is_full_under_a_published_table_is_told(official, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(grid, "write_rows", full)
    with pytest.raises(OutputError, match="disk is full"):
        read_cohort(official, scratch=tmp_path / "scratch")
    assert list((tmp_path / "scratch").iterdir()) == []


def test_options_and_files_are_named_in_cohort_yaml(official):
    (official / "MTX").mkdir()
    (official / "pathabundances_3.tsv").rename(official / "MTX" / "pathabundances_3.tsv")
    (official / "cohort.yaml").write_text(
        """
layers:
  genera: {file: "taxonomic_*", format: metaphlan, rank: genus}
  rna: {file: MTX/pathabundances_3.tsv, stratified: true, kind: counts}
  mb: {named_only: false, columns: "C18-neg:*"}
samples: {file: "hmp2_metadata*", format: hmp2_metadata}
label: diagnosis
covariates: [BMI]
"""
    )
    cohort = read_cohort(official)
    assert list(cohort.layers) == ["genera", "rna", "mb"]
    assert cohort.layers["genera"].features == ("g__Blautia",)
    assert cohort.layers["rna"].kind == "counts"
    assert cohort.layers["mb"].features == (
        "C18-neg:C18n_QI08:caproate",
        "C18-neg:C18n_QI900",
    )
    assert list(cohort.labels) == ["CD", "UC", "nonIBD", "nonIBD"]
    assert cohort.samples["BMI"].tolist()[0] == 21
    assert "genera: taxonomic_profiles_3.tsv was recognised" not in said(cohort)
    assert "label_ibd' is taken" not in said(cohort)


def test_another_time_goes_before_the_weeks(official):
    cohort = read_cohort(official, time="visit_num", time_unit="months")
    assert (cohort.roles.time, cohort.roles.time_unit) == ("visit_num", "months")
    assert "taken as the time" not in said(cohort)


def test_layers_are_chosen_by_name_or_by_file(official):
    cohort = read_cohort(official, layers=["mb", "taxonomic_profiles_3"])
    assert list(cohort.layers) == ["mb", "taxonomic_profiles_3"]
    assert "ext_id_mt" not in cohort.samples.columns


def test_without_metadata_names_stay_and_pathways_have_their_file_name(official):
    (official / METADATA).unlink()
    cohort = read_cohort(official, layers=["mg", "pathabundances_3"])
    assert cohort.sample_ids == ["MSM1_P", "MSM1", "MSM1_TR", "CSM2", "HSM3_P", "XSM9"]
    assert cohort.roles.label is None


def test_an_own_sample_table_goes_before_the_metadata(official):
    (official / "samples.tsv").write_text("sample_id\tgroup\nCSM2\ta\nMSM1\tb\nPSM4\tb\n")
    cohort = read_cohort(official, layers=["mg"], label="group")
    assert cohort.sample_ids == ["CSM2", "MSM1"]
    assert "stand only in tables that are not used (mb" in said(cohort)


def test_plain_tables_stand_beside_official_ones(official):
    (official / "clin.csv").write_text("sample_id,crp\nM2001C1,3.5\nP6004C1,1\n")
    cohort = read_cohort(official)
    assert list(cohort.layers) == ["mg", "mt", "mb", "clin"]
    np.testing.assert_array_equal(cohort.layers["clin"].rows, [0, 3])


def test_pathways_of_dna_are_no_transcripts(official):
    text = (official / "pathabundances_3.tsv").read_text()
    text = text.replace("MSM1_TR_", "HSM3_P_").replace("CSM2_", "MSM5_")
    (official / "pathabundances_3.tsv").write_text(text)
    assert list(read_cohort(official).layers) == ["mg", "mg_pathways", "mb"]


def test_two_files_of_one_sort_are_named_by_file(official):
    text = (official / "taxonomic_profiles_3.tsv").read_text()
    (official / "viral.txt").write_text(text)
    assert list(read_cohort(official).layers) == [
        "mt",
        "mb",
        "taxonomic_profiles_3",
        "viral",
    ]


MESSAGES = {
    "wrong format": (
        "layers: {mg: {file: taxonomic_profiles_3.tsv, format: humann}}",
        ["'format: humann' of layer 'mg'", "found a merged MetaPhlAn profile"],
    ),
    "format that the content does not have": (
        "layers: {mg: {file: clin.csv, format: metaphlan}}",
        ["clin.csv", "expected MetaPhlAn clades", "'M2001C1'"],
    ),
    "option of another format": (
        "layers: {mb: {rank: genus}}",
        ["HMP2_metabolomics.csv", "'rank:' of layer 'mb'", "format metaphlan"],
    ),
    "unknown rank": (
        "layers: {mg: {rank: tribe}}",
        ["'layers.mg.rank'", "'genus'", "'tribe' (it means: metaphlan: rank to read"],
    ),
    "unknown format": (
        "layers: {mg: {format: metaphlan3}}",
        ["'layers.mg.format'", "'humann'", "found 'metaphlan3'"],
    ),
    "layers as a list": (
        "layers: [mg, mb]",
        ["'layers'", "it means: Tables to use, in this order"],
    ),
    "truth value that is none": (
        "layers: {mt: {stratified: perhaps}}",
        ["'layers.mt.stratified'", "'perhaps'", "humann: whether to read the rows by taxon"],
    ),
    "no such file": (
        "layers: {mg: {file: 'profiles*.tsv'}}",
        ["'profiles*.tsv' for layer 'mg'", "found none", "'file:'"],
    ),
    "several files": (
        "layers: {mg: {file: '*.tsv'}}",
        ["one file that fits '*.tsv'", "pathabundances_3.tsv, taxonomic_profiles_3.tsv"],
    ),
    "file outside": ("layers: {mg: {file: ../a.tsv}}", ["inside the folder", "'../a.tsv'"]),
    "no such layer": (
        "layers: {mgx: {}}",
        ["layer 'mgx'", "did you mean 'mg'", "'file:'"],
    ),
    "no such data type": (
        "layers: {mg: {data_type: metagenomic}}",
        ["data_type 'metagenomic'", "did you mean 'metagenomics'"],
    ),
    "samples of another format": (
        "samples: {file: clin.csv, format: hmp2_metadata}",
        ["clin.csv", "column 'External ID'", "'samples:'"],
    ),
    "unknown key of samples": (
        "samples: {files: a.csv}",
        ["'samples.files'", "did you mean 'file'", "file, format"],
    ),
    "plain table of an unknown suffix": (
        "layers: {notes: {file: notes.txt}}",
        ["notes.txt", ".parquet, .tsv, .csv", "Rename"],
    ),
}


@pytest.mark.parametrize(("yaml", "expected"), MESSAGES.values(), ids=list(MESSAGES))
def test_messages(official, yaml, expected):
    (official / "clin.csv").write_text("sample_id,crp\nM2001C1,3.5\nP6004C1,1\n")
    (official / "notes.txt").write_text("some words\nand more\n")
    (official / "cohort.yaml").write_text(yaml)
    with pytest.raises(CohortError) as caught:
        read_cohort(official)
    for part in expected:
        assert part in str(caught.value)


def test_two_metadata_files_are_refused(official):
    (official / "copy.csv").write_text((official / METADATA).read_text())
    with pytest.raises(CohortError, match=r"one table of samples, found copy\.csv, hmp2_meta"):
        read_cohort(official)


def test_two_columns_of_one_name_are_refused(official):
    path = official / "pathabundances_3.tsv"
    path.write_text(path.read_text().replace("CSM2_pathabundance_cpm", "MSM1_Abundance"))
    with pytest.raises(CohortError, match=r"each External ID once, found 'MSM1' at 1, 3"):
        read_cohort(official, layers=["mt"])


KEYS = ["External ID", "Participant ID", "site_sub_coll", "data_type"]
ORDER = {"": 0, "_TR": 1, "_P": 2, "_X": 3}


@settings(max_examples=40)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.sampled_from(list(ORDER))), min_size=1, unique=True)
)
def test_one_assay_of_each_collection_is_kept_by_the_rule(pairs):
    names = [f"S{number}{suffix}" for number, suffix in pairs]
    rows = [
        (name, "p", f"C{pair[0]}", "metagenomics") for name, pair in zip(names, pairs, strict=True)
    ]
    assays = Assays(Path("m.csv"), pd.DataFrame(rows, columns=KEYS, dtype=object))
    values = np.arange(len(names), dtype=np.float32)[:, None]
    notices = []
    result = joined(Table("mg", tuple(names), ("f",), values), assays, None, "m.csv", notices)
    expected = {}
    for (number, suffix), value in zip(pairs, itertools.count()):
        best = expected.get(f"C{number}")
        if best is None or ORDER[suffix] < ORDER[pairs[best][1]]:
            expected[f"C{number}"] = value
    kept = dict(zip(result.table.sample_ids, result.table.values[:, 0].astype(int), strict=True))
    assert kept == expected
    assert result.external_ids == {name: names[place] for name, place in expected.items()}
    assert bool(notices) == (len(expected) < len(names))


def test_the_data_type_is_the_one_that_fits_best():
    rows = [(f"S{n}", "p", f"C{n}", "metagenomics") for n in range(10)]
    rows += [(f"S{n}", "p", f"C{n}", "metatranscriptomics") for n in range(4)]
    assays = Assays(Path("m.csv"), pd.DataFrame(rows, columns=KEYS, dtype=object))
    assert data_type_of([f"S{n}" for n in range(4)], assays) == "metatranscriptomics"
    assert data_type_of([f"S{n}" for n in range(9)], assays) == "metagenomics"
    assert data_type_of(["other"], assays) is None


def test_the_example_of_the_docs_reads(official):
    text = DOCS.read_text(encoding="utf-8")
    section = text[text.index("## The official IBDMDB files") :]
    block = re.search(r"^```yaml\n(.*?)^```", section, re.M | re.S)
    (official / "cohort.yaml").write_text(block[1])
    (official / "HMP2_metabolomics.csv").rename(official / "HMP2_metabolomics.csv.gz.csv")
    data = (official / "HMP2_metabolomics.csv.gz.csv").read_bytes()
    (official / "HMP2_metabolomics.csv.gz").write_bytes(gzip.compress(data))
    (official / "HMP2_metabolomics.csv.gz.csv").unlink()
    (official / "MTX").mkdir()
    for name in ("taxonomic_profiles_3.tsv", "pathabundances_3.tsv"):
        folder = official / ("MTX" if name.startswith("path") else ".")
        packed = gzip.compress((official / name).read_bytes())
        (official / name).unlink()
        (folder / f"{name}.gz").write_bytes(packed)
    cohort = read_cohort(official)
    assert list(cohort.layers) == ["mg", "mt", "mb"]
    assert cohort.sample_ids == ["M2001C1", "C3002C1", "H4003C1", "P6004C1"]
