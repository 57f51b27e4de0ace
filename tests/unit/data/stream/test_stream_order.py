"""Sorting by group gives what `numpy.lexsort` gives, for any number of groups."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from immo_hpc.data.balance import by_group


@given(
    keys=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.sampled_from([0, 1, 70_000]))),
)
def test_grouped_is_sorted_by_all_keys(keys):
    key, lane, window = np.array(keys, dtype=np.int64).reshape(-1, 3).T
    found = by_group(np.argsort(key, kind="stable"), 8 * window + lane)
    np.testing.assert_array_equal(found, np.lexsort((key, lane, window)))
    share = key / 3
    merged = by_group(found[np.argsort(share[found], kind="stable")], window)
    ties = np.lexsort((np.argsort(found), share, window))
    np.testing.assert_array_equal(merged, ties)
