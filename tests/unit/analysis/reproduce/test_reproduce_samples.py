"""The paper's samples and groups in cohorts that are, or are not, the paper's."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.analysis.reproduce.published import IBDMDB, IPOP
from immo_hpc.analysis.reproduce.published_parts import Subset
from immo_hpc.analysis.reproduce.samples import GROUP, paper_cohort, places_of, subset_table
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.errors import CohortError

# Places of the samples that have each layer.
ROWS = {"mg": [0, 1, 2, 3], "mt": [1, 2, 5], "mb": [2, 3, 4]}


def make_cohort(rows=ROWS, **columns):
    columns = columns or {"diagnosis": ["CD", "UC", "nonIBD", "CD", "nonIBD", "other", "CD"]}
    ids = pd.Index([f"s{n}" for n in range(7)], name="sample_id")
    samples = pd.DataFrame({"person": list("aabbccd"), **columns}, index=ids)
    layers = {
        name: Layer(
            name, "continuous", ("x",), np.ones((len(own), 1), np.float32), np.array(own, np.int64)
        )
        for name, own in rows.items()
    }
    return Cohort(samples, layers, Roles(subject="person"))


def labelled(cohort, positive=None):
    return replace(cohort, roles=replace(cohort.roles, label="state", positive=positive))


def test_groups_and_counts():
    cohort = paper_cohort(make_cohort(), IBDMDB, "here")
    # The last sample has no layer, and 'other' is in neither group.
    assert cohort.samples[GROUP].tolist() == ["IBD", "IBD", "nonIBD", "IBD", "nonIBD", None]
    assert (cohort.roles.label, cohort.roles.positive) == (GROUP, "IBD")
    table = subset_table(cohort, IBDMDB).set_index("subset")
    counted = table[["samples", "negative", "positive", "subjects"]]
    assert counted.loc["IBD_common"].tolist() == [1, 1, 0, 1]
    assert counted.loc["bol_tra_common"].tolist() == [2, 1, 1, 2]
    assert counted.loc["IBD_all"].tolist() == [6, 2, 3, 3]
    assert table.loc["IBD_all", ["negative_subjects", "positive_subjects"]].tolist() == [2, 2]


def test_other_layers_are_left_out():
    rows = {"extra": [6], **ROWS}
    cohort = paper_cohort(make_cohort(rows), IBDMDB, "here")
    assert list(cohort.layers) == ["mg", "mt", "mb"]
    assert len(cohort.samples) == 6


def test_the_label_of_another_cohort_serves_if_it_has_two_classes():
    cohort = labelled(make_cohort(state=list("xyxyxyx")), "x")
    groups = paper_cohort(cohort, IBDMDB, "here").samples[GROUP]
    assert groups.tolist() == ["IBD", "nonIBD"] * 3


def test_a_label_that_the_user_names_goes_before_the_papers():
    cohort = make_cohort(state=list("xyxyxyx"), diagnosis=["CD"] * 6 + ["nonIBD"])
    cohort = labelled(cohort, "y")
    # None of the samples with a layer is of the paper's second group.
    groups = paper_cohort(cohort, IBDMDB, "here", is_chosen=True).samples[GROUP]
    assert groups.tolist() == ["nonIBD", "IBD"] * 3
    assert set(paper_cohort(cohort, IBDMDB, "here").samples[GROUP]) == {"IBD"}


@pytest.mark.parametrize(
    ("cohort", "facts", "told"),
    [
        (make_cohort(), IPOP, "prot, gut16s are not there, found mg, mt, mb"),
        (make_cohort({"mg": [0], "mb": [0]}), IBDMDB, "mt is not there, found mg, mb"),
        (replace(make_cohort(), roles=Roles()), IBDMDB, "no column names the person"),
        (make_cohort(diagnosis=["CD"] * 7), IBDMDB, "the label None has none"),
        (labelled(make_cohort(state=list("xyzxyzx"))), IBDMDB, "the label state has x, y, z"),
    ],
)
def test_what_is_not_the_papers_cohort_is_refused(cohort, facts, told):
    with pytest.raises(CohortError, match=told):
        paper_cohort(cohort, facts, "here")


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
@settings(max_examples=30)
def test_all_and_any_are_sets(has):
    table = np.array(has)
    measured = {"a": table[:, 0], "b": table[:, 1]}
    both, either = (
        set(places_of(Subset("x", ("a", "b"), mode), measured).tolist()) for mode in ("all", "any")
    )
    a, b = (set(np.flatnonzero(column).tolist()) for column in measured.values())
    assert (both, either) == (a & b, a | b)
