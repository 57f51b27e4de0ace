"""Splits that last: by hash, for samples that come later, and by site."""

import hashlib
from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from immo_hpc.config import SplitConfig, load_config
from immo_hpc.data.cohort import Roles
from immo_hpc.data.split import assign_new, leave_one_batch_out, split_notices, split_samples
from immo_hpc.errors import CohortError

ROLES = Roles(label="label", subject="person", batch="site")
HASH = SplitConfig(method="hash")


def _cohort(seed, num_subjects, *, num_sites=3, crossing=0.2):
    """Subjects with one to four visits, most at one site, some without a name."""
    rng = np.random.default_rng(seed)
    rows = []
    for person in range(num_subjects):
        home = f"site{rng.integers(num_sites)}"
        for _ in range(rng.integers(1, 5)):
            away = rng.random() < crossing
            site = f"site{rng.integers(num_sites)}" if away else home
            label = "case" if person % 3 else "control"
            rows.append((f"p{person}" if rng.random() > 0.05 else None, label, site))
    index = pd.Index([f"s{number}" for number in range(len(rows))], name="sample_id")
    table = pd.DataFrame(rows, columns=["person", "label", "site"], index=index, dtype=object)
    return table.where(table.notna(), None)


def _sides(samples, config, seed):
    return pd.Series(split_samples(samples, ROLES, config, seed), index=samples.index)


def _by_hand(seed, unit, test_fraction, validation_fraction):
    """The rule of docs/adr/0009-hash-splits.md in exact arithmetic."""
    digest = hashlib.blake2b(f"{seed} {unit}".encode(), digest_size=16, person=b"immo split 1")
    first, second = np.frombuffer(digest.digest(), dtype="<u8").tolist()
    if Fraction(first, 2**64) < Fraction(test_fraction):
        return "test"
    return "validation" if Fraction(second, 2**64) < Fraction(validation_fraction) else "train"


@given(st.integers(0, 2**63 - 1), st.floats(0.05, 0.6), st.floats(0.05, 0.6))
@settings(max_examples=20, deadline=None)
def test_a_hash_side_is_the_documented_function_of_seed_and_name(seed, test, validation):
    samples = _cohort(3, 80)
    config = SplitConfig(method="hash", test_fraction=test, validation_fraction=validation)
    sides = _sides(samples, config, seed)
    for sample, person, side in zip(samples.index, samples["person"], sides, strict=True):
        unit = f"sample {sample}" if person is None else f"subject {person}"
        assert side == _by_hand(seed, unit, test, validation)


def test_hash_sides_of_today_are_those_of_tomorrow():
    table = pd.DataFrame({"person": [f"P{n}" for n in range(12)]}, dtype=object)
    sides = assign_new(table, Roles(subject="person"), HASH, 7, {})
    tested = {f"P{n}" for n in np.flatnonzero(sides == "test")}
    assert tested == {"P1", "P2", "P10", "P11"}
    assert list(np.flatnonzero(sides == "validation")) == [3, 5]


@given(st.integers(0, 10**6), st.integers(40, 80), st.floats(0.1, 0.9))
@settings(max_examples=20, deadline=None)
def test_growth_moves_nobody(seed, num_subjects, part):
    samples = _cohort(seed, num_subjects)
    order = np.random.default_rng(seed).permutation(len(samples))
    first = samples.iloc[np.sort(order[: max(30, int(part * len(order)))])]
    grown = assign_new(samples, ROLES, HASH, seed, {})
    before = assign_new(first, ROLES, HASH, seed, {})
    after = pd.Series(grown, index=samples.index)
    assert after.loc[first.index].tolist() == before.tolist()
    named = samples.assign(side=grown).dropna(subset="person")
    assert (named.groupby("person")["side"].nunique() == 1).all()
    # The order of the samples does not matter either.
    shuffled = samples.iloc[order]
    assert (assign_new(shuffled, ROLES, HASH, seed, {}) == grown[order]).all()


@given(st.integers(0, 10**6), st.sampled_from(["dealt", "hash"]), st.booleans())
@settings(max_examples=20, deadline=None)
def test_old_subjects_keep_their_sides(seed, method, has_test_batch):
    config = SplitConfig(method=method, test_batches=("site0",) if has_test_batch else ())
    samples = _cohort(seed, 60)
    first = samples[samples["person"].isin([f"p{number}" for number in range(40)])]
    try:
        old = first.assign(side=split_samples(first, ROLES, config, seed))
    except CohortError:
        assume(method == "dealt")  # A hash may leave a side of a small cohort empty.
        raise
    known = dict(zip(old["person"], old["side"], strict=True))
    new = samples.drop(first.index)
    both = pd.concat([samples.sample(frac=0.5, random_state=seed), new])
    both = both[~both.index.duplicated()]
    sides = assign_new(both, ROLES, config, seed, known)
    for person, site, side in zip(both["person"], both["site"], sides, strict=True):
        if person in known:
            assert side == known[person]
        elif has_test_batch and site == "site0":
            assert side == "test"
    named = both.assign(side=sides).dropna(subset="person")
    assert (named.groupby("person")["side"].nunique() == 1).all()
    # In portions or at once: the same.
    half = len(new) // 2
    parts = [assign_new(new.iloc[:half], ROLES, HASH, seed, known)]
    known |= dict(zip(new["person"].iloc[:half], parts[0], strict=True))
    parts.append(assign_new(new.iloc[half:], ROLES, HASH, seed, known))
    assert (np.concatenate(parts) == assign_new(new, ROLES, HASH, seed, {})).all()


def test_shares_hold_in_expectation():
    table = pd.DataFrame({"person": [f"person {number}" for number in range(20_000)]})
    config = SplitConfig(method="hash", test_fraction=0.3, validation_fraction=0.2)
    sides = split_samples(table, Roles(subject="person"), config, 1)
    # Five standard deviations of a binomial share of 20,000.
    assert (sides == "test").mean() == pytest.approx(0.3, abs=0.017)
    assert (sides == "validation").mean() == pytest.approx(0.14, abs=0.013)
    other = split_samples(table, Roles(subject="person"), config, 2)
    # Another seed is another split, as far from this one as chance has it.
    assert (other == sides).mean() == pytest.approx(0.3**2 + 0.14**2 + 0.56**2, abs=0.02)


def test_a_wider_test_side_takes_from_the_others_only():
    table = pd.DataFrame({"person": [f"p{number}" for number in range(300)]})
    few, many = (
        split_samples(
            table, Roles(subject="person"), SplitConfig(method="hash", test_fraction=t), 0
        )
        for t in (0.2, 0.4)
    )
    assert (many[few == "test"] == "test").all()
    assert (many[many != "test"] == few[many != "test"]).all()


def test_an_empty_side_is_refused_in_a_first_split_and_not_in_a_portion():
    table = pd.DataFrame({"person": list("abcd")}, dtype=object)
    config = SplitConfig(method="hash", test_fraction=1e-6)
    with pytest.raises(CohortError, match="none of 4 .* 'test': .*expectation.*another seed"):
        split_samples(table, Roles(subject="person"), config, 0)
    assert len(assign_new(table, Roles(subject="person"), config, 0, {})) == 4
    nobody = assign_new(table.iloc[:0], Roles(subject="person"), config, 0, {})
    assert nobody.tolist() == []
    assert nobody.dtype.kind == "U"


def test_without_subjects_the_known_are_samples_and_by_sample_all_are_new():
    table = pd.DataFrame({"person": list("aab")}, index=["s0", "s1", "s2"], dtype=object)
    sides = assign_new(table, Roles(), SplitConfig(), 0, {"s0": "test", "s1": "validation"})
    assert sides[:2].tolist() == ["test", "validation"]
    config = SplitConfig(by="sample")
    by_sample = assign_new(table, Roles(subject="person"), config, 0, {"a": "test", "s0": "test"})
    assert by_sample.tolist() == [_by_hand(0, f"sample s{n}", 0.25, 0.15) for n in range(3)]


@given(st.integers(0, 10**6), st.sampled_from(["dealt", "hash"]))
@settings(max_examples=20, deadline=None)
def test_the_test_side_is_who_was_seen_at_the_test_sites(seed, method):
    samples = _cohort(seed, 90, num_sites=5, crossing=0.1)
    config = SplitConfig(method=method, test_batches=("site1", "site4"))
    sides = _sides(samples, config, seed)
    there = samples["site"].isin(["site1", "site4"])
    visitors = set(samples["person"][there].dropna())
    expected = there | samples["person"].isin(visitors)
    assert ((sides == "test") == expected).all()
    assert set(sides) == {"train", "validation", "test"}
    shuffled = samples.sample(frac=1, random_state=seed)
    assert (_sides(shuffled, config, seed).loc[samples.index] == sides).all()
    moved = (expected & ~there).sum()
    notices = split_notices(samples, ROLES, config)
    assert bool(notices) == bool(moved)
    if moved:
        elsewhere = samples["person"][expected & ~there].nunique()
        assert f": {elsewhere} of " in notices[0]
        assert f"their {moved} samples" in notices[0]


def test_test_sites_are_said_when_nobody_crosses():
    samples = _cohort(0, 40, crossing=0)
    assert split_notices(samples, ROLES, SplitConfig()) == ()
    assert split_notices(samples, ROLES, SplitConfig(test_batches=("site1",))) == ()


@pytest.mark.parametrize(
    ("roles", "batches", "match"),
    [
        (Roles(subject="person"), ["site1"], "no batch column.*cohort.yaml"),
        (ROLES, ["site1", "sita2"], r"'sita2' \(did you mean 'site2'\?\).*found there: site0, "),
        (ROLES, ["site0", "site1", "site2"], "leaves no sample to learn from"),
    ],
)
def test_impossible_test_sites(roles, batches, match):
    config = SplitConfig(test_batches=batches)
    with pytest.raises(CohortError, match=match):
        split_samples(_cohort(0, 30), roles, config, 0)


def test_a_later_portion_need_not_come_from_every_test_site():
    samples = _cohort(0, 30).query("site != 'site2'")
    config = SplitConfig(test_batches=("site2", "site0"))
    sides = assign_new(samples, ROLES, config, 0, {})
    assert (sides[samples["site"] == "site0"] == "test").all()
    assert (sides != "test").any()
    with pytest.raises(CohortError, match="no batch column"):
        assign_new(samples, Roles(subject="person"), config, 0, {})


def test_sites_may_be_written_as_numbers():
    config = load_config(assignments=["split.test_batches=[7, CHOP]"])
    assert config.split.test_batches == ("7", "CHOP")


@given(st.integers(0, 10**6), st.integers(2, 6))
@settings(max_examples=20, deadline=None)
def test_every_site_is_left_out_once(seed, num_sites):
    samples = _cohort(seed, 80, num_sites=num_sites, crossing=0.05)
    samples.loc[samples.index[::17], "site"] = None
    folds = list(leave_one_batch_out(samples, ROLES))
    assert [site for site, _, _ in folds] == sorted(samples["site"].dropna().unique())
    for site, train, test in folds:
        there = samples["site"] == site
        people = samples["person"].isin(samples["person"][there].dropna())
        np.testing.assert_array_equal(test, np.flatnonzero(there | people))
        np.testing.assert_array_equal(train, np.flatnonzero(~(there | people)))


def test_sites_that_cannot_be_left_out():
    samples = _cohort(0, 20)
    with pytest.raises(CohortError, match="no batch column"):
        list(leave_one_batch_out(samples, Roles(subject="person")))
    with pytest.raises(CohortError, match=r"at least two sites, found \['a'\]"):
        list(leave_one_batch_out(samples.assign(site="a"), ROLES))
    both = pd.DataFrame({"person": list("aabb"), "site": list("xyxy")}, dtype=object)
    with pytest.raises(CohortError, match="every subject was seen at 'x'"):
        list(leave_one_batch_out(both, Roles(subject="person", batch="site")))
