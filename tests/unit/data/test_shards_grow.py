"""A set that grows holds what was in it and what came, and nothing that was stored changes."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from immo_hpc.config import ImmoConfig
from immo_hpc.data.cohort import Cohort, Layer, Roles
from immo_hpc.data.manifest import read_manifest
from immo_hpc.data.preparation import fit_preparation
from immo_hpc.data.shards import (
    append_cohort,
    layout,
    merge_shards,
    read_shards,
    verify_shards,
    write_shards,
)
from immo_hpc.data.shards.history import prune_shards
from immo_hpc.data.split import assign_new, split_samples
from immo_hpc.data.stream import open_shards, read_samples
from immo_hpc.errors import BusyError, CohortError, ShardError
from immo_hpc.lease import hold

CONFIG = ImmoConfig.model_validate({"seed": 5, "preparation": {"min_measured": 0.05}})
KINDS = {"mg": "composition", "mb": "intensity", "ph": "continuous"}
WIDTHS = {"mg": 5, "mb": 4, "ph": 2}


def make_cohort(first, count, seed=0, layers=("mg", "mb"), *, widths=WIDTHS, share=0.7):
    """Samples ``first`` to ``first + count``, three visits a person; the same by their number."""
    ids = [f"s{number}" for number in range(first, first + count)]
    samples = pd.DataFrame(
        {
            "disease": [["case", "control", None][number % 3] for number in range(count)],
            "person": [f"P{(first + number) // 3}" for number in range(count)],
            "age": [None if number % 4 == 0 else 30.5 for number in range(count)],
        },
        index=pd.Index(ids, dtype=object, name="sample_id"),
    ).astype({"age": "float64"})
    rng = np.random.default_rng([seed, first])
    made = {}
    held = rng.random((len(layers), count)) < share
    held[0] |= ~held.any(axis=0)
    for name, has in zip(layers, held, strict=True):
        rows = np.flatnonzero(has)
        values = rng.lognormal(size=(len(rows), widths[name])).astype(np.float32)
        values[rng.random(values.shape) < 0.1] = np.nan
        values[:, 0] = 1 + rng.random(len(rows))
        names = tuple(f"{name}{column}" for column in range(widths[name]))
        made[name] = Layer(name, KINDS[name], names, values, rows)
    roles = Roles(label="disease", subject="person", covariates=("age",))
    return Cohort(samples, made, roles)


def prepare(cohort, folder, rows_per_shard=7, dtype="float32", *, split=True):
    sides = split_samples(cohort.samples, cohort.roles, CONFIG.split, CONFIG.seed)
    preparation = fit_preparation(cohort, np.flatnonzero(sides == "train"), CONFIG.preparation)
    write_shards(
        preparation.apply(cohort, split=sides if split else None),
        preparation,
        folder,
        rows_per_shard=rows_per_shard,
        dtype=dtype,
        config=CONFIG.model_dump(mode="json", include={"seed", "split", "preparation"}),
        source="first",
    )
    return folder


def append(folder, cohort, **options):
    return append_cohort(folder, lambda scratch: cohort, source="more", rows_per_shard=5, **options)


def rows_of(prepared):
    """Content by sample and layer, in a form that can be compared to the last bit."""
    found = {}
    for layer in prepared.layers.values():
        for row, values, scale in zip(layer.rows, layer.values, layer.scale, strict=True):
            found[prepared.sample_ids[row], layer.name] = (values.tobytes(), float(scale))
    return found


@pytest.fixture
def shards(tmp_path):
    return prepare(make_cohort(0, 40), tmp_path / "shards")


def test_new_samples_use_the_fitted_preparation(shards):
    before = read_shards(shards)
    new = make_cohort(40, 23)
    done = append(shards, new)
    after = read_shards(shards)
    assert verify_shards(shards) == ()
    assert after.manifest == done.manifest
    assert after.preparation.to_dict() == before.preparation.to_dict()
    assert after.cohort.sample_ids == before.cohort.sample_ids + new.sample_ids
    assert rows_of(after.cohort) == rows_of(before.cohort) | rows_of(before.preparation.apply(new))
    expected = pd.concat([before.cohort.samples, new.samples[before.cohort.samples.columns]])
    pd.testing.assert_frame_equal(after.cohort.samples, expected)
    assert (done.growth.samples, done.growth.layers, done.growth.source) == (23, (), "more")
    names = [entry.name for entry in after.manifest.shards]
    assert names[: len(before.manifest.shards)] == [x.name for x in before.manifest.shards]
    sizes = {shard.rows for shard in after.manifest.shards[len(before.manifest.shards) :]}
    assert sizes == {5, 3}


def test_subjects_never_change_sides(shards):
    before = read_shards(shards).cohort
    side = dict(zip(before.subjects, before.split, strict=True))
    new = make_cohort(36, 30).take(np.arange(4, 30))  # P13 is there already, with one visit
    append(shards, new)
    after = read_shards(shards).cohort
    np.testing.assert_array_equal(after.split[: len(before.split)], before.split)
    assert {person for person in new.subjects if person in side} == {"P13"}
    for person, found in zip(after.subjects, after.split, strict=True):
        assert found == side.setdefault(person, found)
    late = after.samples.iloc[len(before.split) :]
    sides = assign_new(late, after.roles, CONFIG.split, CONFIG.seed, {"P13": side["P13"]})
    np.testing.assert_array_equal(after.split[len(before.split) :], sides)


def test_a_set_without_split_stays_without(tmp_path):
    folder = prepare(make_cohort(0, 20), tmp_path / "shards", split=False)
    append(folder, make_cohort(20, 9))
    assert read_shards(folder).cohort.split is None
    assert read_shards(folder).manifest.splits == {}


def test_earlier_generations_can_be_read_until_they_are_pruned(shards):
    first = read_shards(shards)
    append(shards, make_cohort(40, 9))
    second = read_shards(shards)
    append(shards, make_cohort(60, 9, layers=("mg", "mb", "ph")))  # rewrites every shard
    third = read_shards(shards)
    assert [one.manifest.generation for one in (first, second, third)] == [1, 2, 3]
    for generation, expected in enumerate((first, second, third), 1):
        found = read_shards(shards, generation)
        assert found.manifest == expected.manifest
        assert rows_of(found.cohort) == rows_of(expected.cohort)
    with pytest.raises(ShardError, match=r"generation 7 .*no manifest-7\.json.*at generation 3"):
        read_shards(shards, 7)
    pruned = prune_shards(shards)
    assert pruned.generations == (1, 2)
    assert verify_shards(shards) == ()
    assert rows_of(read_shards(shards).cohort) == rows_of(third.cohort)
    listed = {entry.name for entry in third.manifest.shards}
    assert {path.name for path in shards.iterdir()} == listed | {"manifest.json"}
    with pytest.raises(ShardError, match=r"generation 1"):
        read_shards(shards, 1)


def test_known_samples_are_refused_by_name_or_left_out(shards):
    cohort = make_cohort(38, 12)
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    with pytest.raises(CohortError, match=r"samples are in the set already.*'s38'.*--skip-known"):
        append(shards, cohort)
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == files
    before = rows_of(read_shards(shards).cohort)
    done = append(shards, cohort, skip_known=True)
    assert any("left out: 's38'" in notice for notice in done.notices)
    after = rows_of(read_shards(shards).cohort)
    assert before.items() <= after.items()
    assert verify_shards(shards) == ()


def test_nothing_new_changes_nothing(shards):
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    cohort = make_cohort(0, 40)
    done = append(shards, cohort, skip_known=True)
    assert done.growth is None
    assert done.notices[-1].startswith("nothing to add")
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == files


def test_a_repeated_command_knows_its_work(shards):
    append(shards, make_cohort(40, 9))
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    again = append(shards, make_cohort(40, 9))
    assert again.is_repeated
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == files
    with pytest.raises(CohortError, match="already"):
        append(shards, make_cohort(40, 9, seed=1))


def test_a_new_layer_is_fitted_on_its_training_samples(shards):
    before = read_shards(shards)
    full = make_cohort(0, 40, layers=("ph",), share=0.5)
    late = make_cohort(40, 20, layers=("mg", "ph"))
    append(shards, full)
    middle = read_shards(shards)
    append(shards, late)
    after = read_shards(shards)
    assert verify_shards(shards) == ()
    assert list(after.manifest.features) == ["mg", "mb", "ph"]
    train = [
        place
        for place, name in enumerate(full.sample_ids)
        if dict(zip(before.cohort.sample_ids, before.cohort.split, strict=True))[name] == "train"
    ]
    expected = fit_preparation(full, np.array(train), CONFIG.preparation)
    assert middle.preparation.layers["ph"].to_dict() == expected.layers["ph"].to_dict()
    for name in before.preparation.layers:
        kept, old = after.preparation.layers[name], before.preparation.layers[name]
        assert kept.to_dict() == old.to_dict()
    content = rows_of(before.cohort) | rows_of(expected.apply(full))
    assert rows_of(middle.cohort) == content
    assert rows_of(after.cohort) == content | rows_of(middle.preparation.apply(late))
    assert middle.cohort.sample_ids == before.cohort.sample_ids


def test_a_layer_that_is_there_is_completed_for_known_samples(shards):
    before = read_shards(shards)
    lacking = np.flatnonzero(~before.cohort.measured()[:, 1])
    rest = make_cohort(0, 40, seed=9, layers=("mb",), share=1.0)
    place = {name: number for number, name in enumerate(rest.sample_ids)}
    rest = rest.take([place[before.cohort.sample_ids[number]] for number in lacking[:4]])
    rest = replace(rest, samples=rest.samples[[]], roles=Roles())
    done = append(shards, rest)
    after = read_shards(shards)
    assert (done.growth.samples, done.growth.completed) == (0, 4)
    assert rows_of(after.cohort) == rows_of(before.cohort) | rows_of(before.preparation.apply(rest))
    pd.testing.assert_frame_equal(after.cohort.samples, before.cohort.samples)
    assert verify_shards(shards) == ()
    unchanged = {x.sha256 for x in before.manifest.shards} & {
        x.sha256 for x in after.manifest.shards
    }
    assert unchanged, "only shards with such samples are written again"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_features_join_a_layer(tmp_path, dtype):
    shards = prepare(make_cohort(0, 40), tmp_path / "shards", dtype=dtype)
    before = read_shards(shards)
    wide = make_cohort(40, 30, widths=WIDTHS | {"mg": 8, "mb": 6})
    with_notice = append(shards, wide.take(np.arange(10)))
    assert any("3 features are unknown to the set and left out" in x for x in with_notice.notices)
    middle = read_shards(shards)
    assert middle.manifest.features == before.manifest.features
    done = append(shards, wide.take(np.arange(10, 30)), add_features=True)
    after = read_shards(shards)
    assert verify_shards(shards) == ()
    assert done.growth.features == {"mg": 3, "mb": 2}
    assert after.manifest.features["mg"] == (*before.manifest.features["mg"], "mg5", "mg6", "mg7")
    for name, layer in middle.cohort.layers.items():
        grown, width = after.cohort.layers[name], len(layer.features)
        count = len(layer.rows)
        np.testing.assert_array_equal(grown.values[:count, :width], layer.values)
        assert np.isnan(grown.values[:count, width:]).all()
        assert not np.isnan(grown.values[count:, width:]).all()
        np.testing.assert_array_equal(grown.scale[:count], layer.scale)
    assert after.manifest.preparation["version"] == 2
    new = after.preparation.apply(wide.take(np.arange(10, 30)))
    for name, layer in new.layers.items():
        stored = after.cohort.layers[name].values[-len(layer.rows) :]
        np.testing.assert_array_equal(stored, layer.values.astype(dtype).astype(np.float32))


def test_a_row_group_is_cut_where_it_would_become_too_large(tmp_path, monkeypatch):
    shards = prepare(make_cohort(0, 40), tmp_path / "shards", rows_per_shard=40)
    before = rows_of(read_shards(shards).cohort)
    monkeypatch.setattr(layout, "GROUP_BYTES", 8 * (9 + 2) * 4)
    cohort = make_cohort(0, 40, layers=("ph",), share=1.0)
    append(shards, cohort)
    after = read_shards(shards)
    assert rows_of(after.cohort) == before | rows_of(after.preparation.apply(cohort))
    assert verify_shards(shards) == ()


def test_the_sample_table_takes_the_columns_of_the_set(shards):
    new = make_cohort(40, 6)
    samples = new.samples.rename(columns={"person": "patient", "disease": "state"})
    samples = samples.drop(columns="age").assign(site="x")
    roles = Roles(label="state", subject="patient")
    done = append(shards, replace(new, samples=samples, roles=roles))
    found = read_shards(shards).cohort.samples
    assert list(found.columns) == ["disease", "person", "age"]
    assert found["person"].tolist()[-6:] == new.samples["person"].tolist()
    assert found["age"].isna().tolist()[-6:] == [True] * 6
    assert any("'age' is absent" in notice for notice in done.notices)
    assert any("does not have: 'site'" in notice for notice in done.notices)


def dated(cohort, column="day", **roles):
    """The cohort with a column of times."""
    samples = cohort.samples.assign(**{column: np.arange(len(cohort.samples)) * 7.0})
    return replace(cohort, samples=samples, roles=replace(cohort.roles, time=column, **roles))


def test_times_join_those_of_the_set_in_its_unit(tmp_path):
    shards = prepare(dated(make_cohort(0, 40)), tmp_path / "shards")
    append(shards, dated(make_cohort(40, 6), column="when"))
    found = read_shards(shards).cohort
    assert (found.roles.time, found.roles.time_unit) == ("day", "days")
    assert found.samples["day"].tolist()[-6:] == [0, 7, 14, 21, 28, 35]
    weeks = dated(make_cohort(46, 6), time_unit="weeks")
    with pytest.raises(CohortError, match=r"column 'day' \(time\): expected days.*found weeks"):
        append(shards, weeks)


def drop_subject(cohort):
    return replace(cohort, samples=cohort.samples.drop(columns="person"), roles=Roles())


def other_subject(cohort):
    cohort = replace(cohort, layers={"ph": make_cohort(0, 40, layers=("ph",)).layers["ph"]})
    return replace(cohort, samples=cohort.samples.assign(person="P99"))


@pytest.mark.parametrize(
    ("cohort", "message"),
    [
        (drop_subject(make_cohort(40, 6)), r"expected a column 'person'.*--subject"),
        (
            replace(make_cohort(40, 6), samples=make_cohort(40, 6).samples.assign(age="old")),
            r"column 'age': expected values of type double",
        ),
        (other_subject(make_cohort(0, 40)), r"sample 's0': it is of subject 'P0' in the set, of "),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(shards, cohort, message):
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    with pytest.raises(CohortError, match=message):
        append(shards, cohort)
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == files


def test_a_bad_value_met_while_writing_changes_nothing(shards):
    cohort = make_cohort(40, 20)
    cohort.layers["mg"].values[-1, 0] = -1
    files = {path.name: path.read_bytes() for path in shards.iterdir()}
    with pytest.raises(CohortError, match=r"-1"):
        append(shards, cohort)
    assert {path.name: path.read_bytes() for path in shards.iterdir()} == files


def test_a_set_without_preparation_cannot_grow(tmp_path):
    cohort = make_cohort(0, 20)
    folder = prepare(cohort, tmp_path / "shards")
    prepared = read_shards(folder)
    empty = type(prepared.preparation)({})
    write_shards(prepared.cohort, empty, tmp_path / "bare")
    with pytest.raises(ShardError, match=r"expected a fitted preparation of the layers"):
        append(tmp_path / "bare", make_cohort(20, 9))


def test_a_second_writer_is_refused(shards):
    with hold(shards / "growing.lease"), pytest.raises(BusyError, match=r"growing\.lease"):
        append(shards, make_cohort(40, 6))
    append(shards, make_cohort(40, 6))
    assert verify_shards(shards) == ()


STEPS = st.lists(
    st.sampled_from(["append", "append wider", "new layer", "merge", "prune"]),
    min_size=1,
    max_size=4,
)


@settings(max_examples=12)
@given(steps=STEPS, seed=st.integers(0, 1000), rows_per_shard=st.integers(3, 50))
def test_any_order_of_growth_gives_the_expected_content(
    tmp_path_factory, steps, seed, rows_per_shard
):
    home = tmp_path_factory.mktemp("grown")
    folder = prepare(make_cohort(0, 30, seed), home / "0", rows_per_shard)
    found = read_shards(folder)
    expected, order = rows_of(found.cohort), found.cohort.sample_ids
    layers, first = ["mg", "mb"], 30
    for number, step in enumerate(steps, 1):
        first += 30
        preparation = read_shards(folder).preparation
        old_widths = {name: len(layer.features) for name, layer in preparation.layers.items()}
        new = make_cohort(first, 15, seed, layers)
        if step == "append wider":
            new = make_cohort(
                first, 15, seed, layers, widths={n: w + number for n, w in WIDTHS.items()}
            )
        if step == "new layer" and "ph" not in layers:
            layers.append("ph")
            new = make_cohort(first, 15, seed, layers, share=0.9)
        if step == "merge":
            other = home / f"other {number}"
            write_shards(
                preparation.apply(new, split=np.full(len(new.samples), "train")),
                preparation,
                other,
                config=dict(read_manifest(folder).config),
            )
            merge_shards([folder, other], home / str(number))
            folder = home / str(number)
        elif step == "prune":
            prune_shards(folder)
            continue
        else:
            append(folder, new, add_features=step == "append wider")
        grown = read_shards(folder)
        order = order + new.sample_ids
        expected = {
            (name, layer): (padded(values, old_widths[layer], grown, layer), scale)
            for (name, layer), (values, scale) in expected.items()
        }
        expected |= rows_of(grown.preparation.apply(new))
        assert grown.cohort.sample_ids == order
        assert rows_of(grown.cohort) == expected
        assert verify_shards(folder) == ()
    assert sum(pattern.samples for pattern in read_manifest(folder).patterns) == len(order)


def padded(values, width, grown, layer):
    """An old row with the NaN that it has in features that joined."""
    row = np.full(len(grown.manifest.features[layer]), np.nan, np.float32)
    row[:width] = np.frombuffer(values, np.float32)
    return row.tobytes()


def test_a_grown_set_is_streamed_like_any_other(shards):
    append(
        shards,
        make_cohort(40, 23, layers=("mg", "ph"), widths=WIDTHS | {"mg": 7}),
        add_features=True,
    )
    held = read_shards(shards).cohort
    index = open_shards(shards)
    np.testing.assert_array_equal(index.sample_uid, held.sample_uid)
    assert rows_of(read_samples(index, np.arange(63))) == rows_of(held)
