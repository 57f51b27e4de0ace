"""The official IBDMDB files through the commands, laid out as published and filled by a seed."""

import csv
import gzip
import json

import numpy as np
import pytest

from immo_hpc.data.manifest import read_manifest

NUM_SUBJECTS = 16
SPECIES = [f"k__Bacteria|p__P{n % 3}|s__S{n}" for n in range(8)]
PATHWAYS = [f"PWY-{n}: made up {n}" for n in range(7)]
COMPOUNDS = [("C8-pos", f"C8p_QI{n}", f"lipid {n}" if n < 6 else "") for n in range(9)]


def write_official(folder, seed=0):
    """16 people with 2 visits each; RNA of every second, metabolites of most; replicates."""
    rng = np.random.default_rng(seed)
    folder.mkdir()
    visits = [(f"M{2000 + person}", visit) for person in range(NUM_SUBJECTS) for visit in (1, 2)]
    stools = [f"{person}C{visit}" for person, visit in visits]
    tubes = [f"MSM{number:03d}" for number in range(len(stools))]
    dna = [*tubes, f"{tubes[0]}_TR", f"{tubes[1]}_P"]
    rna, polar = tubes[::2], tubes[3:]
    sick = {stool: int(person[1:]) % 2 for (person, _), stool in zip(visits, stools, strict=True)}
    stool_of = dict(zip(tubes, stools, strict=True))

    def row(name, assays, scale):
        lift = np.array([sick[stool_of[assay.partition("_")[0]]] for assay in assays])
        return [name, *np.round(scale * np.exp(rng.normal(size=len(assays)) + lift), 4)]

    profile = [row(name, dna, 5.0) for name in SPECIES]
    totals = np.array([cells[1:] for cells in profile]).sum(axis=0)
    profile = [[name, *(100 * np.array(cells) / totals)] for name, *cells in profile]
    tables = {
        "taxonomic_profiles_3.tsv.gz": [
            ["Feature\\Sample", *(f"{assay}_profile" for assay in dna)],
            ["UNKNOWN", *[0] * len(dna)],
            ["k__Bacteria", *[100] * len(dna)],
            *profile,
        ],
        "pathabundances_3.tsv.gz": [
            ["# Pathway", *(f"{assay}_pathabundance_cpm" for assay in rna)],
            ["UNMAPPED", *[5e5] * len(rna)],
            *(row(name, rna, 1e3) for name in PATHWAYS),
            *(row(f"{name}|unclassified", rna, 1e2) for name in PATHWAYS),
        ],
        "HMP2_metabolomics.csv": [
            ["Method", "m/z", "RT", "Metabolite", "Compound", *polar],
            *(
                [method, 100.5, 1, known, *row(compound, polar, 1e5)]
                for method, compound, known in COMPOUNDS
            ),
        ],
        "hmp2_metadata.csv": [
            ["External ID", "Participant ID", "site_sub_coll", "data_type", "diagnosis"],
            *(
                [
                    assay,
                    stool_of[assay.partition("_")[0]].partition("C")[0],
                    stool_of[assay.partition("_")[0]],
                    data_type,
                    ("nonIBD", "CD")[sick[stool_of[assay.partition("_")[0]]]],
                ]
                for data_type, assays in (
                    ("metagenomics", dna),
                    ("metatranscriptomics", rna),
                    ("metabolomics", polar),
                )
                for assay in assays
            ),
        ],
    }
    for name, rows in tables.items():
        opened = gzip.open if name.endswith(".gz") else open
        with opened(folder / name, "wt", newline="") as stream:
            csv.writer(stream, delimiter="\t" if ".tsv" in name else ",").writerows(rows)
    return folder


@pytest.fixture
def hmp2(tmp_path):
    return write_official(tmp_path / "hmp2")


def test_validate_tells_what_each_file_is(immo, hmp2):
    code, out, err = immo("validate", hmp2)
    assert code == 0, err
    said = " ".join((out + err).split())
    assert "should sum to 1 or 100" not in said
    for text in (
        "recognised by its content as a merged MetaPhlAn profile",
        "recognised by its content as a HUMAnN table",
        "3 without a metabolite's name were left out",
        "mg: 2 replicates were left out",
        "'label_ibd' is taken as the label",
    ):
        assert text in said


def test_prepare_makes_shards(immo, hmp2, tmp_path):
    code, out, err = immo("prepare", hmp2, tmp_path / "shards", "--json")
    assert code == 0, err
    layers = json.loads(out)["layers"]
    assert {name: layer["samples"] for name, layer in layers.items()} == {
        "mg": 32,
        "mt": 16,
        "mb": 29,
    }
    manifest = read_manifest(tmp_path / "shards")
    assert {name: len(features) for name, features in manifest.features.items()} == {
        "mg": len(SPECIES),
        "mt": len(PATHWAYS),
        "mb": 6,
    }
    assert manifest.roles.label == "label_ibd"
    assert any("2 replicates were left out" in notice for notice in manifest.notices)


def test_a_wrong_format_is_said_without_traceback(immo, hmp2, tmp_path):
    (hmp2 / "cohort.yaml").write_text("layers: {mg: {file: 'taxon*', format: humann}}\n")
    code, out, err = immo("prepare", hmp2, tmp_path / "shards")
    assert code == 1
    assert "Traceback" not in out + err
    assert "found a merged MetaPhlAn profile" in " ".join(err.split())
    assert not (tmp_path / "shards").exists()
