"""Hide-and-score imputation: what a model says about values it was not shown.

Two tasks on the test subjects, each beside the training mean and ridge regression on the
very same hidden values:

- ``values``: a random share of the measured values is hidden, all layers at once;
- ``layers``: one layer at a time is hidden whole, in the samples that have another one.
"""

from __future__ import annotations

import pandas as pd

from immo_hpc.analysis.accuracy import feature_table, layer_row, pooled_r2
from immo_hpc.analysis.bootstrap import interval
from immo_hpc.analysis.hiding import Imputer, all_hidden
from immo_hpc.analysis.results import ImputationResult, Task
from immo_hpc.analysis.verdicts import imputation_verdict
from immo_hpc.data.prepared import PreparedCohort
from immo_hpc.errors import CohortError, UsageError


def score_imputation(
    model: Imputer, cohort: PreparedCohort, *, seed: int, hidden_share: float = 0.2
) -> ImputationResult:
    """Hide measured values of the test subjects, impute them, and compare.

    The mean is 0 in z-score units. Ridge is fitted to the train subjects, its penalty chosen
    on the validation subjects, as the model was: for a hidden layer from the features of the
    other layers, for hidden values from all other features of the sample; missing inputs are
    0. It is fitted to the samples that have the layer.

    Args:
        model: The imputer.
        cohort: The prepared samples with their split.
        seed: Seed of what is hidden and of the resamples.
        hidden_share: Share of the measured values to hide in task 'values', in (0, 1).

    Raises:
        UsageError: If ``hidden_share`` is not between 0 and 1.
        CohortError: If there is no split, or no test sample from which anything could be
            hidden.
    """
    if not 0 < hidden_share < 1:
        message = f"hidden_share: expected a share between 0 and 1, found {hidden_share}."
        raise UsageError(message)
    if cohort.split is None or not len(cohort.indices("test")):
        message = (
            "imputation scores: expected samples on the test side of the split, found none. "
            "Give the cohort that the model was trained on, with split.test_fraction above 0."
        )
        raise CohortError(message)
    rows, tables, differences = [], [], []
    for hidden in all_hidden(model, cohort, hidden_share, seed):
        at = {"task": hidden.task, "layer": hidden.layer}
        r2 = {
            method: pooled_r2(hidden.truth, said, hidden.subjects, seed)
            for method, said in hidden.said.items()
        }
        for method, said in hidden.said.items():
            table = feature_table(hidden.truth, said, hidden.features)
            row = layer_row(hidden.truth, table, interval(*r2[method]))
            rows.append({**at, "method": method, **row})
            tables.append(pd.DataFrame({**at, "method": method}, index=table.index).join(table))
        gain = interval(r2["immo"][0] - r2["ridge"][0], r2["immo"][1] - r2["ridge"][1])
        differences.append({**at, "r2": gain.value, "lower": gain.lower, "upper": gain.upper})
    if not rows:
        message = (
            "imputation scores: nothing could be hidden and scored, since no test sample has a "
            "layer that training samples have too."
        )
        raise CohortError(message)
    scores, compared = pd.DataFrame(rows), pd.DataFrame(differences)
    return ImputationResult(
        scores=scores,
        features=pd.concat(tables, ignore_index=True),
        differences=compared,
        hidden_share=hidden_share,
        ridge_wins=_ridge_wins(compared),
        verdict=imputation_verdict(scores, compared),
        notices=_notices(scores, cohort),
    )


def _ridge_wins(differences: pd.DataFrame) -> tuple[tuple[Task, str], ...]:
    behind = differences[differences["r2"] < 0]
    return tuple(zip(behind["task"], behind["layer"], strict=True))


def _notices(scores: pd.DataFrame, cohort: PreparedCohort) -> tuple[str, ...]:
    return tuple(
        f"Layer '{name}' could not be scored {how}."
        for task, how in (
            ("layers", "as a hidden layer: no test or no train sample has it beside another one"),
            ("values", "on hidden values: no test or no train sample has it"),
        )
        for name in cohort.layers
        if not ((scores["task"] == task) & (scores["layer"] == name)).any()
    )
