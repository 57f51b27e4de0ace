"""Which of the searched keys mattered, and how two of them did together."""

from __future__ import annotations

import warnings

from immo_hpc.search.export import optuna_trials
from immo_hpc.search.study import Ledger, Plan
from immo_hpc.search.suggest import quiet_optuna

# Fewer complete trials say nothing about any key.
NUM_NEEDED = 8


def importances(plan: Plan, ledger: Ledger) -> dict[str, float]:
    """Share of each key in what separates the better trials from the rest, largest first.

    PED-ANOVA on the first objective, which asks where good trials lie: for a search that
    gathers around the optimum it misleads less than shares of the variance over all trials.

    Returns:
        Importance by key, summing to 1; empty with fewer than `NUM_NEEDED` complete trials.
    """
    import optuna

    with quiet_optuna(), warnings.catch_warnings():
        # That it takes low values for good ones is said even where they are turned around.
        warnings.simplefilter("ignore", UserWarning)
        study = optuna.create_study(directions=list(plan.directions))
        done = [item for item in optuna_trials(plan, ledger) if item.state.name == "COMPLETE"]
        if len(done) < NUM_NEEDED:
            return {}
        study.add_trials(done)
        sign = 1.0 if plan.directions[0] == "minimize" else -1.0
        found = optuna.importance.get_param_importances(
            study,
            evaluator=optuna.importance.PedAnovaImportanceEvaluator(),
            target=lambda trial: sign * trial.values[0],
        )
    return dict(sorted(found.items(), key=lambda item: -item[1]))
