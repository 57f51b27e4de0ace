import pyarrow.parquet as pq
import pytest

from immo_hpc.data.exclude import excluded, parse_exclusions
from immo_hpc.data.suspects import exclusion_text, suspects

DRUGS = ["5-ASA", "N-acetyl-5-ASA", "mesalamine", "5-Aminosalicylic acid", "Sulfapyridine"]
DRUGS += ["N-acetyl-5-aminosalicylate", "6-MP", "6-mercaptopurine", "prednisone", "Metronidazole"]
DRUGS += ["4-aminophenol", "ciprofloxacin", "azathioprine", "hydroxycotinine"]
ARTEFACTS = ["UNMAPPED", "UNINTEGRATED", "unclassified", "PWY-1|unclassified", "UNKNOWN"]
ARTEFACTS += ["Internal_Standard_3", "phenylalanine-d8", "QC_pool", "Blank 2"]
# Names that a careless list would catch.
OTHERS = ["C10:2 carnitine", "C24:1 Ceramide (d18:1)", "5-acetylamino-6-amino-3-methyluracil"]
OTHERS += ["salicylate", "cortisol", "Ruminococcus_unclassified", "12.13-diHOME", "theophylline"]
OTHERS += ["erythromycin biosynthesis", "NH4_C18:0 MAG", "PWY_penicillin_biosynthesis", "IS"]


def test_drugs_and_artefacts_are_suggested_and_others_are_not():
    found = suspects({"mb": [*DRUGS, *ARTEFACTS, *OTHERS]})
    assert [one.feature for one in found] == [*DRUGS, *ARTEFACTS]
    assert all(one.reason for one in found)


def test_the_suggestion_is_a_file_to_exclude():
    features = {"mb": [*OTHERS, *DRUGS], "mg": ARTEFACTS}
    patterns = parse_exclusions(exclusion_text(suspects(features)).splitlines())
    assert excluded(patterns, "mb", features["mb"]) == tuple(DRUGS)
    assert excluded(patterns, "mg", features["mg"]) == tuple(ARTEFACTS)


@pytest.mark.cohorts
def test_suggestions_on_published_names(cohorts_dir):
    folder = cohorts_dir / "ibdmdb"
    features = {
        name: pq.read_schema(folder / f"{name}.parquet").names[1:] for name in ("mg", "mt", "mb")
    }
    found = suspects(features)
    assert {one.layer for one in found} == {"mb"}
    names = {one.feature for one in found}
    assert {"sulfapyridine", "metronidazole", "acetaminophen", "cotinine"} <= names
    assert len(names) == 22
