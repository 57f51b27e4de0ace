"""The published figures agree with each other, and with the settings that we call the paper's."""

import pytest

from immo_hpc.analysis.reproduce.published import CLASSIFIER_NAMES, COHORTS, IBDMDB, published
from immo_hpc.analysis.reproduce.published_parts import NamedFeature
from immo_hpc.config import load_config
from immo_hpc.errors import UsageError
from immo_hpc.search.build import PAPER_SPECS
from immo_hpc.search.keys import look_up


@pytest.mark.parametrize("facts", COHORTS.values(), ids=list(COHORTS))
def test_groups_add_up_to_samples(facts):
    names = [subset.name for subset in facts.subsets]
    assert len(set(names)) == len(names)
    for subset in facts.subsets:
        assert set(subset.layers) <= set(facts.layers)
        if facts is IBDMDB:
            assert subset.negative + subset.positive == subset.samples
        elif subset.negative is not None:
            assert subset.negative + subset.positive <= subset.samples


def test_ibdmdb_counts_are_those_of_three_overlapping_layers():
    """The sizes of unions and intersections fix each other; swapped names would not fit."""
    sizes = {(frozenset(item.layers), item.mode): item.samples for item in IBDMDB.subsets}
    pairs = [frozenset(pair) for pair in (("mg", "mt"), ("mt", "mb"), ("mg", "mb"))]
    sums = {pair: sizes[pair, "any"] + sizes[pair, "all"] for pair in pairs}
    total = sum(sums.values()) // 2
    single = {name: total - sums[frozenset({"mg", "mt", "mb"} - {name})] for name in IBDMDB.layers}
    assert single == {"mg": 1585, "mt": 798, "mb": 546}
    whole = frozenset(IBDMDB.layers)
    union = sum(single.values()) - sum(sizes[pair, "all"] for pair in pairs) + sizes[whole, "all"]
    assert union == sizes[whole, "any"] == 1664


def test_table_5_is_whole_and_speaks_of_one_model():
    assert set(IBDMDB.auc) == {subset.name for subset in IBDMDB.subsets}
    assert all(len(row) == len(CLASSIFIER_NAMES) == 6 for row in IBDMDB.auc.values())
    assert all(0.8 < value < 1 for row in IBDMDB.auc.values() for value in row)
    # What draws nothing at random agrees on the same 324 samples, what draws does not.
    for name in CLASSIFIER_NAMES:
        pair = [IBDMDB.paper_auc(subset, name) for subset in ("IBD_common", "tra_bio_common")]
        assert (pair[0] == pair[1]) == (name in ("svm", "lda", "ridge"))


def test_the_settings_used_are_those_of_the_recipe():
    values = load_config(recipe="paper").model_dump()
    for item in IBDMDB.search:
        if item.key != "loss.weights":
            assert look_up(values, item.key) == float(item.used)
        assert item.key in PAPER_SPECS
    assert {item.key for item in IBDMDB.search} == set(PAPER_SPECS)


def test_features_are_known_by_words():
    copri = NamedFeature("mg", "Prevotella copri", ("prevotella", "copri"))
    assert copri.is_meant("k__Bacteria|s__Prevotella_copri")
    assert not copri.is_meant("s__Prevotella_stercorea")


def test_an_unknown_cohort_is_refused():
    with pytest.raises(UsageError, match="'hmp': the paper's cohorts are ibdmdb, ipop"):
        published("hmp")
