"""Hidden layers against the process written out, sample by sample."""

import numpy as np

from immo_hpc.companion.layers import LayerProcess, LayerSetting
from immo_hpc.data.visits import with_visits

SETTING = LayerSetting(noise=0.7, visits=0.8)


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

        def part(source, at, sources=sources):
            blocks = [
                (setting.visits if "@" in other else 1) * np.nan_to_num(source.wide([other])[at])
                for other in sources
            ]
            return np.concatenate(blocks, axis=-1).astype(np.float64)

        used = np.array([any(at in reference.layers[o].rows for o in sources) for at in places])
        x, new = part(reference, places[used]), part(cohort, row)
        length = (x**2).sum(axis=1).mean()
        square = ((x[:, None] - x[None]) ** 2).sum(axis=-1)
        noise = setting.noise * np.eye(len(x))
        solved = np.linalg.solve(np.exp(-square / (2 * length)) + noise, y[used])
        said[row] += np.exp(-((x - new) ** 2).sum(axis=1) / (2 * length)) @ solved
    return said


def test_equals_the_process_written_out(prepared):
    for cohort in (prepared(), with_visits(prepared())):
        reference = cohort.take(cohort.indices("train"))
        new = cohort.take(cohort.indices("test")).without("b", "b@visits")
        process = LayerProcess(reference, "b", SETTING)
        said = process.foretell(new, np.arange(len(new.samples)))
        np.testing.assert_allclose(said, written_out(reference, new, "b", SETTING), atol=1e-4)


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
