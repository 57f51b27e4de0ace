import numpy as np
import pandas as pd
import pytest

from immo_hpc.config import PreparationConfig
from immo_hpc.data.cohort import Cohort, Layer
from immo_hpc.data.exclude import excluded, parse_exclusions, read_exclusions, require_matches
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.errors import CohortError, UsageError

FEATURES = {
    "mb": ("C10:2 carnitine", "Sulfapyridine", "urate", "a[b]*", "a[b]c"),
    "mg": ("UNMAPPED", "s__urate"),
}


def test_patterns_exclude_exactly_what_they_match():
    def names(*patterns):
        return [name for layer, own in FEATURES.items() for name in excluded(patterns, layer, own)]

    assert names("urate") == ["urate"]
    assert names("*urate") == ["urate", "s__urate"]
    assert names("mg:*urate") == ["s__urate"]
    assert names("mg: UNMAPPED") == ["UNMAPPED"]
    assert names("sulfapyridine") == []
    # A colon in a name is part of it; a name to the letter is no pattern.
    assert names("C10:2 carnitine") == ["C10:2 carnitine"]
    assert names("mb:C10:2 carnitine", "urate") == ["C10:2 carnitine", "urate"]
    assert names("a[b]*") == ["a[b]*"]
    assert names("*") == [*FEATURES["mb"], *FEATURES["mg"]]


def test_a_file_has_comments_and_empty_lines(tmp_path):
    file = tmp_path / "exclude.txt"
    file.write_text("# drugs\nmb:Sulfapyridine  # of sulfasalazine\n\n  urate \nurate\nlot#5\n")
    assert read_exclusions(file) == ("mb:Sulfapyridine", "urate", "lot#5")
    assert parse_exclusions(["#x"]) == ()


def test_files_without_patterns_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"exclude\.txt: expected a text file"):
        read_exclusions(tmp_path / "exclude.txt")
    (tmp_path / "exclude.txt").write_text("# nothing\n")
    with pytest.raises(UsageError, match="found none besides comments"):
        read_exclusions(tmp_path / "exclude.txt")


def test_unknown_names_are_refused_with_the_nearest():
    require_matches(["urate", "mb:C10*"], FEATURES, "file")
    with pytest.raises(CohortError, match=r"file: .*found 1 of 2.*'sulfapyridin'.*'Sulfapyridine'"):
        require_matches(["urate", "sulfapyridin"], FEATURES, "file")
    with pytest.raises(CohortError, match="nearest to 'mb:unmaped': 'UNMAPPED'"):
        require_matches(["mb:unmaped"], FEATURES, "file")
    with pytest.raises(CohortError, match="No name is near it"):
        require_matches(["xyzzy*"], FEATURES, "file")


@pytest.fixture
def cohort():
    generator = np.random.default_rng(0)
    samples = pd.DataFrame(index=pd.Index([f"s{n}" for n in range(12)], name="sample_id"))
    names = ("a", "b", "drug", "c")
    values = generator.uniform(1, 2, size=(12, 4)).astype(np.float32)
    values[:, 1] = np.nan
    layer = Layer("mb", "intensity", names, values, np.arange(12))
    return Cohort(samples, {"mb": layer})


def test_preparation_leaves_excluded_features_out(cohort):
    config = PreparationConfig(exclude=("mb:drug", "b"))
    prepared = fit_preparation(cohort, np.arange(12), config)
    layer = prepared.layers["mb"]
    assert layer.features == ("a", "c")
    assert layer.dropped["exclude"] == ("b", "drug")
    assert layer.dropped["min_measured"] == ()
    assert prepared.match_features(cohort) == ()
    without = fit_preparation(cohort, np.arange(12), PreparationConfig())
    assert "exclude" not in without.layers["mb"].dropped
    np.testing.assert_array_equal(
        prepared.apply(cohort).layers["mb"].values,
        without.apply(cohort).layers["mb"].values[:, [0, 2]],
    )


def test_excluding_everything_is_refused(cohort):
    with pytest.raises(CohortError, match=r"preparation.exclude \(1 patterns\) removed 4"):
        fit_preparation(cohort, np.arange(12), PreparationConfig(exclude=("*",)))
