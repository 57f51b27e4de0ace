"""Methods that are given other visits: all of them alike, and never what is hidden."""

import numpy as np
import pytest

from immo_hpc.analysis.compare.contender import VISITS_TASKS, Contender, Learnt
from immo_hpc.analysis.compare.measure import measure
from immo_hpc.analysis.compare.missing import Missing
from immo_hpc.analysis.compare.registry import CONTENDERS
from immo_hpc.analysis.compare.trial import make_trial

NONE = Missing.parse("none")


@pytest.fixture
def trial(make_raw, tiny_config):
    return make_trial(make_raw(), tiny_config, NONE, visits=True)


def test_a_hidden_layer_is_hidden_in_all_visits(trial):
    shown = {}

    def learn(training, config):
        shown["training"] = set(training.layers)

        def layer(cohort, name):
            shown[name] = {at for at, own in cohort.layers.items() if len(own.rows)}
            return np.zeros((len(cohort.samples), len(cohort.layers[name].features)))

        def values(cohort):
            shown["values"] = cohort
            return {name: own.values * 0 for name, own in cohort.layers.items()}

        return Learnt(layer=layer, values=lambda cohort: padded(values(cohort), cohort))

    def padded(said, cohort):
        return {
            name: np.zeros((len(cohort.samples), table.shape[1])) for name, table in said.items()
        }

    probe = Contender("probe", "Probe", "simple", ("layers", "values"), learn)
    done = measure(probe, trial, ["layers", "values"])
    assert shown["training"] == {"a", "b", "a@visits", "b@visits"}
    assert shown["a"] == {"b", "b@visits"}
    assert shown["b"] == {"a", "a@visits"}
    assert set(done["values"]) == set(done["layers"]) == {"a", "b"}
    # What is hidden of a value does not come back in the mean of other samples' visits.
    given = trial.seen(trial.shown_test).layers["a@visits"].values
    np.testing.assert_array_equal(shown["values"].layers["a@visits"].values, given)
    assert not trial.shown_test.layers.keys() & {"a@visits"}


@pytest.mark.parametrize("name", ["mean", "visits", "ridge", "svd", "immo_companion", "immo"])
def test_methods_answer_for_measured_layers_alone(trial, name):
    contender = CONTENDERS[name]
    done = measure(contender, trial, VISITS_TASKS)
    for task in VISITS_TASKS:
        assert (task in done) == contender.can(task)
        assert set(done.get(task, "ab")) == {"a", "b"}


def test_a_layer_hidden_at_one_visit_stays_at_the_others(trial):
    shown = {}

    def learn(training, config):
        def layer(cohort, name):
            shown[name] = cohort
            return np.zeros((len(cohort.samples), len(cohort.layers[name].features)))

        return Learnt(layer=layer)

    probe = Contender("probe", "Probe", "simple", ("layers",), learn)
    done = measure(probe, trial, ["revisited"])["revisited"]
    test = trial.seen(trial.shown.take(trial.shown.indices("test")))
    for name, cohort in shown.items():
        assert not len(cohort.layers[name].rows)
        place = test.samples.index.get_indexer(cohort.samples.index)
        assert np.isin(place, test.layers[name].rows).all()
        assert len(cohort.layers[name + "@visits"].rows) == len(cohort.samples)
        np.testing.assert_array_equal(
            cohort.wide([name + "@visits"]), test.wide([name + "@visits"])[place]
        )
        np.testing.assert_allclose(
            sum(done[name]["total"]), np.nansum(test.wide([name])[place].astype(float) ** 2)
        )


def test_without_visits_the_visits_say_the_mean(make_raw, tiny_config):
    plain = make_trial(make_raw(), tiny_config, NONE)
    done = measure(CONTENDERS["visits"], plain, ["values"])
    for table in done["values"].values():
        np.testing.assert_allclose(table["residual"], table["total"])
