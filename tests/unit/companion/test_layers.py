"""Hidden layers against the process written out, sample by sample."""

import numpy as np

from immo_hpc.companion.layers import LayerProcess, LayerSetting
from immo_hpc.data.visits import with_visits

SETTING = LayerSetting(noise=0.7, visits=0.8)


def weights_of(reference, source, name, sharpness):
    """Squared correlation with each feature of the target, averaged, to half the sharpness."""
    both = np.intersect1d(reference.layers[name].rows, reference.layers[source].rows)
    y = reference.wide([name])[both].astype(np.float64)
    y = np.nan_to_num(y - np.nanmean(reference.wide([name]).astype(np.float64), axis=0))
    x = np.nan_to_num(reference.wide([source])[both]).astype(np.float64)
    r = np.array([[np.corrcoef(a, b)[0, 1] for b in y.T] for a in x.T])
    return (r**2).mean(axis=1) ** (sharpness / 2)


def written_out(reference, cohort, name, setting):
    """Every sample on its own, from its own sources, in float64."""
    places = reference.layers[name].rows
    y = reference.wide([name])[places].astype(np.float64)
    mean = np.nanmean(y, axis=0)
    y = np.nan_to_num(y - mean)
    said = np.tile(mean, (len(cohort.samples), 1))
    for row in range(len(cohort.samples)):
        sources = [
            other
            for other, layer in cohort.layers.items()
            if row in layer.rows and other.partition("@")[0] != name
        ]
        if not sources:
            continue
        used = np.array([any(at in reference.layers[o].rows for o in sources) for at in places])
        inner, outer = 0.0, 0.0
        for power, sharpness in ((1, 1), (1, 3), (2, 0), (2, 2)):

            def part(source, at, sources=sources, sharpness=sharpness):
                blocks = [
                    (setting.visits if "@" in other else 1)
                    * weights_of(reference, other, name, sharpness)
                    * np.nan_to_num(source.wide([other])[at]).astype(np.float64)
                    for other in sources
                ]
                return np.concatenate(blocks, axis=-1)

            def norm(x, power=power):
                return (np.abs(x) ** power).sum(axis=-1) ** (1 / power)

            x, new = part(reference, places[used]), part(cohort, row)
            length = (norm(x) ** power).mean() ** (1 / power)
            inner = inner + np.exp(-norm(x[:, None] - x[None]) / (2 * length)) / 4
            outer = outer + np.exp(-norm(x - new) / (2 * length)) / 4
        said[row] += outer @ np.linalg.solve(inner + setting.noise * np.eye(len(x)), y[used])
    return said


def test_equals_the_process_written_out(prepared):
    for cohort in (prepared(), with_visits(prepared())):
        reference = cohort.take(cohort.indices("train"))
        new = cohort.take(cohort.indices("test")).without("b", "b@visits")
        process = LayerProcess(reference, "b", SETTING)
        said = process.foretell(new, np.arange(len(new.samples)))
        np.testing.assert_allclose(said, written_out(reference, new, "b", SETTING), atol=1e-4)


def test_several_noises_at_once_are_each_alone(prepared):
    cohort = prepared()
    new = cohort.take(cohort.indices("test")).without("b")
    everyone = np.arange(len(new.samples))
    process = LayerProcess(cohort.take(cohort.indices("train")), "b", SETTING)
    for noise, said in zip(
        (0.3, 2.0), process.foretell_each(new, everyone, (0.3, 2.0)), strict=True
    ):
        alone = process.under(LayerSetting(noise, SETTING.visits)).foretell(new, everyone)
        np.testing.assert_array_equal(said, alone)


def test_its_own_layer_and_its_visits_are_not_looked_at(prepared):
    cohort = with_visits(prepared())
    reference = cohort.take(cohort.indices("train"))
    new = cohort.take(cohort.indices("test"))
    everyone = np.arange(len(new.samples))
    process = LayerProcess(reference, "b", SETTING)
    hidden = process.foretell(new.without("b", "b@visits"), everyone)
    np.testing.assert_array_equal(process.foretell(new, everyone), hidden)


def test_a_sample_is_told_the_same_beside_others(prepared):
    cohort = prepared()
    new = cohort.take(cohort.indices("test")).without("b")
    process = LayerProcess(cohort.take(cohort.indices("train")), "b", SETTING)
    everyone = np.arange(len(new.samples))
    together = process.foretell(new, everyone)
    alone = np.concatenate([process.foretell(new, everyone[row : row + 1]) for row in everyone])
    np.testing.assert_allclose(alone, together, atol=1e-5)


def test_one_visit_gets_the_plain_answer(prepared):
    cohort = prepared(visits=1)
    reference, new = (cohort.take(cohort.indices(side)) for side in ("train", "test"))
    new, everyone = new.without("b"), np.arange(len(new.samples))
    plain = LayerProcess(reference, "b", SETTING).foretell(new, everyone)
    process = LayerProcess(with_visits(reference), "b", SETTING)
    np.testing.assert_array_equal(process.foretell(with_visits(new), everyone), plain)
