"""A real cohort laid out as its official files: identities and sizes of the real study."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc.data.read import read_cohort

pytestmark = pytest.mark.cohorts

DATA_TYPES = {"mg": "metagenomics", "mt": "metatranscriptomics", "mb": "metabolomics"}


def laid_out(cohort, folder):
    """The cohort in MetaPhlAn's, HUMAnN's and the study's own layout, with some replicates."""
    folder.mkdir()
    samples = cohort.samples
    assays = []
    tables = {}
    for name, layer in cohort.layers.items():
        here = samples.iloc[layer.rows]
        external = here[f"ext_id_{name}"].tolist()
        # A pilot of the same stool, told apart from the plain name by its suffix alone.
        doubles = [
            place
            for place, assay in enumerate(external)
            if place % 10 == 0 and "_" not in assay and name != "mb"
        ]
        columns = [*external, *(f"{external[place]}_P" for place in doubles)]
        values = np.concatenate([layer.values, 2 * layer.values[doubles]])
        tables[name] = pd.DataFrame(values.T, index=layer.features, columns=columns)
        for place, assay in [*enumerate(external), *((n, f"{external[n]}_P") for n in doubles)]:
            row = here.iloc[place]
            keys = (assay, row["subject_id"], here.index[place], DATA_TYPES[name])
            assays.append((*keys, row["diagnosis"], row["site"], row["age"]))
    mg = tables["mg"].rename("k__Any|s__{}".format).add_suffix("_profile")
    mg.rename_axis("Feature\\Sample").to_csv(folder / "taxonomic_profiles_3.tsv.gz", sep="\t")
    mt = tables["mt"].add_suffix("_pathabundance_cpm") * 1e6
    mt.rename_axis("# Pathway").to_csv(folder / "pathabundances_3.tsv.gz", sep="\t")
    mb = tables["mb"].reset_index(names="Metabolite")
    mb.insert(1, "Compound", [f"C{n}" for n in range(len(mb))])
    mb.insert(0, "Method", "C8-pos")
    mb.to_csv(folder / "HMP2_metabolomics.csv.gz", index=False)
    keys = ["External ID", "Participant ID", "site_sub_coll", "data_type"]
    columns = [*keys, "diagnosis", "site_name", "consent_age"]
    pd.DataFrame(assays, columns=columns).to_csv(folder / "hmp2_metadata.csv", index=False)
    return folder


def test_ibdmdb_in_the_official_layout_is_the_same_cohort(cohorts_dir, tmp_path):
    expected = read_cohort(cohorts_dir / "ibdmdb")
    cohort = read_cohort(laid_out(expected, tmp_path / "hmp2"))
    assert list(cohort.layers) == ["mg", "mt", "mb"]
    assert sorted(cohort.sample_ids) == sorted(expected.sample_ids)
    cohort = cohort.take(pd.Index(cohort.sample_ids).get_indexer(expected.sample_ids))
    np.testing.assert_array_equal(cohort.measured(), expected.measured())
    assert int(cohort.measured().all(axis=1).sum()) == 326
    assert list(cohort.labels) == list(expected.labels)
    assert list(cohort.subjects) == list(expected.subjects)
    for name in ("mg", "mb"):
        values = expected.layers[name].values
        np.testing.assert_allclose(cohort.layers[name].values, values, rtol=1e-5)
    mt = expected.layers["mt"].values
    closed = mt / mt.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(cohort.layers["mt"].values, closed, rtol=1e-4)
