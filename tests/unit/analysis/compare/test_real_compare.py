"""What a comparison says of the real cohorts, on three splits."""

import numpy as np
import pytest

from immo_hpc.analysis.compare.measure import measure
from immo_hpc.analysis.compare.missing import Missing
from immo_hpc.analysis.compare.registry import CONTENDERS
from immo_hpc.analysis.compare.resampled import auc_of, subject_draws
from immo_hpc.analysis.compare.trial import make_trial
from immo_hpc.config import ImmoConfig
from immo_hpc.data.read import read_cohort

pytestmark = pytest.mark.cohorts


def _auc(answers):
    return auc_of(answers, subject_draws(list(answers.values()), 2, 0)).mean


@pytest.mark.parametrize(("name", "least"), [("ibdmdb", 0.6), ("ipop", 0.75)])
def test_added_evidence_is_no_worse_than_its_mean(cohorts_dir, name, least):
    cohort = read_cohort(cohorts_dir / name)
    answers = {"product": {}, "weighted_fusion": {}, "layers_only": {}}
    for seed in range(3):
        trial = make_trial(cohort, ImmoConfig(seed=seed), Missing())
        for method, known in answers.items():
            done = measure(CONTENDERS[method], trial, ["label"])
            known[seed] = done["label"]["parts"]["all"]
    auc = {method: _auc(known) for method, known in answers.items()}
    assert auc["product"] > least
    assert auc["product"] > auc["weighted_fusion"] - 0.02
    assert auc["layers_only"] < 0.6


def test_ridge_foretells_layers_of_ibdmdb_and_degrades_with_what_is_hidden(cohorts_dir):
    cohort = read_cohort(cohorts_dir / "ibdmdb")
    r2 = {}
    for text in ("none", "mnar:0.5:test"):
        trial = make_trial(cohort, ImmoConfig(), Missing.parse(text))
        done = measure(CONTENDERS["ridge"], trial, ["layers"])["layers"]
        r2[text] = [1 - sum(own["residual"]) / sum(own["total"]) for own in done.values()]
    assert min(r2["none"]) > 0.07
    assert np.mean(r2["mnar:0.5:test"]) < np.mean(r2["none"])
