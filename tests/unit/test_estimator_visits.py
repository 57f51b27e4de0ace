"""The estimator with other visits: what a person had before helps to complete a visit."""

import numpy as np
import pandas as pd
import pytest

from immo_hpc import IMMO
from immo_hpc.data.cohort import Cohort, Layer, Roles


@pytest.fixture
def stable():
    """Thirty people of four visits each, whose values are mostly the person's own."""
    rng = np.random.default_rng(0)
    person = np.repeat(np.arange(30), 4)
    values = rng.normal(size=(30, 8))[person] + 0.3 * rng.normal(size=(120, 8))
    names = tuple(f"x{number}" for number in range(8))
    layer = Layer("x", "continuous", names, values.astype(np.float32), np.arange(120))
    ids = pd.Index([f"s{place:03d}" for place in range(120)], name="sample_id")
    samples = pd.DataFrame({"who": [f"p{code:02d}" for code in person]}, index=ids)
    return Cohort(samples, {"x": layer}, Roles(subject="who"))


def test_other_visits_complete_what_features_cannot(stable):
    small = {"latent_dim": 3, "encoder_dims": (8,), "decoder_dims": (8,), "epochs": 2}
    immo = IMMO(**small, random_state=0, num_threads=1).fit(stable.take(np.arange(80)))
    new = stable.take(np.arange(80, 120))
    truth = new.layers["x"].values.copy()
    is_hidden = np.random.default_rng(1).random(truth.shape) < 0.2
    new.layers["x"].values[is_hidden] = np.nan
    errors = {
        visits: np.square(immo.impute(new, visits=visits)["x"].to_numpy() - truth)[is_hidden].mean()
        for visits in (False, True)
    }
    assert errors[True] < 0.4 * errors[False]
    pd.testing.assert_frame_equal(immo.impute(new)["x"], immo.impute(new, visits=True)["x"])
    alone = IMMO(**small, companion=False, random_state=0, num_threads=1)
    assert alone.fit(stable.take(np.arange(80))).model_.companion is None
