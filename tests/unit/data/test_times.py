"""When samples were taken: read, checked, carried on, and taken over from a training."""

from typing import get_args

import numpy as np
import pandas as pd
import pytest

from immo_hpc.cli import _options as options
from immo_hpc.data.cohort import Roles, days_of
from immo_hpc.data.frames import cohort_from_frames
from immo_hpc.data.read import read_cohort
from immo_hpc.data.sample_table import with_known_roles
from immo_hpc.data.times import TimeUnit, as_days
from immo_hpc.errors import CohortError

SAMPLES = (
    "sample_id\twho\tweek\tday\ns1\tann\t0\t2015-03-02\ns2\tann\t4\t2015-03-30T12:00\ns3\tbob\t\t\n"
)
TABLE = "sample_id\ta\tb\ns1\t20\t80\ns2\t50\t50\ns3\t10\t90\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "samples.tsv").write_text(SAMPLES)
    (tmp_path / "mg.tsv").write_text(TABLE)
    return tmp_path


@pytest.mark.parametrize(
    ("unit", "days"),
    [("hours", 0.5), ("days", 12), ("weeks", 84), ("months", 365.25), ("years", 12 * 365.25)],
)
def test_numbers_count_what_the_unit_says(unit, days):
    found = as_days(pd.Series([0.0, 12.0, np.inf]), unit)
    np.testing.assert_allclose(found, [0, days, np.nan])


def test_dates_may_have_a_time_and_a_zone():
    dates = ["2020-02-29", "2020-03-01T06:00", "2020-03-01T06:00+06:00", None, "soon", "01.03.2020"]
    found = as_days(pd.Series(dates, dtype=object), "years")
    np.testing.assert_allclose(found - found[0], [0, 1.25, 1, np.nan, np.nan, np.nan])


def test_a_cohort_says_when_in_weeks_or_dates(folder):
    (folder / "cohort.yaml").write_text("subject: who\ntime: week\ntime_unit: weeks\n")
    cohort = read_cohort(folder)
    assert (cohort.roles.time, cohort.roles.time_unit) == ("week", "weeks")
    np.testing.assert_array_equal(days_of(cohort.samples, cohort.roles), [0, 28, np.nan])
    dated = read_cohort(folder, time="day")
    assert dated.roles.time_unit == "days", "the unit belonged to the other column"
    np.testing.assert_array_equal(np.diff(days_of(dated.samples, dated.roles)), [28.5, np.nan])
    assert read_cohort(folder, time="week", time_unit="months").roles.time_unit == "months"


def test_without_the_role_no_time_is_known(folder):
    cohort = read_cohort(folder)
    assert np.isnan(days_of(cohort.samples, cohort.roles)).all()
    assert cohort.roles.columns == ()


@pytest.mark.parametrize(
    ("yaml", "parts"),
    [
        ("time: wek\n", ["samples.tsv", "'wek' (time)", "did you mean 'week'"]),
        ("time: who\n", ["samples.tsv", "'who' (time)", "2015-03-02", "found 'ann'", "s1"]),
        ("time: week\ntime_unit: fortnights\n", ["cohort.yaml", "time_unit", "'weeks'"]),
    ],
)
def test_what_is_no_time_is_told(folder, yaml, parts):
    (folder / "cohort.yaml").write_text(yaml)
    with pytest.raises(CohortError) as caught:
        read_cohort(folder)
    for part in parts:
        assert part in str(caught.value)


def test_a_new_cohort_means_what_the_training_meant(folder):
    known = Roles(subject="who", time="week", time_unit="weeks")
    cohort = with_known_roles(read_cohort(folder), known)
    assert cohort.roles == known
    assert [notice.partition(" is taken")[0] for notice in cohort.notices[-2:]] == [
        "sample table: column 'who'",
        "sample table: column 'week'",
    ]


def test_what_a_new_cohort_says_itself_stands(folder):
    own = read_cohort(folder, subject="day", time="week", time_unit="days")
    assert with_known_roles(own, Roles(subject="who", time="day")).roles == own.roles
    other = Roles(subject="person", time="month")
    assert with_known_roles(read_cohort(folder), other).roles == Roles()


def test_a_new_cohort_whose_times_are_none_is_told(folder):
    with pytest.raises(CohortError, match=r"column 'who' \(time\).*found 'ann'"):
        with_known_roles(read_cohort(folder), Roles(time="who"))


def test_frames_say_when_too():
    table = pd.DataFrame([[1.0, 2.0], [3.0, 4.0]], index=["s1", "s2"], columns=["a", "b"])
    samples = pd.DataFrame({"who": ["p", "p"], "week": [1, 3]}, index=table.index)
    roles = Roles(subject="who", time="week", time_unit="weeks")
    cohort = cohort_from_frames({"mg": table}, samples, kinds={"mg": "continuous"}, roles=roles)
    assert cohort.roles == roles
    assert days_of(cohort.samples, cohort.roles).tolist() == [7, 21]


def test_the_command_line_names_the_units_that_there_are():
    """Itself, so that its help needs none of the libraries behind them."""
    assert get_args(options.TimeUnit)[0] == TimeUnit | None
