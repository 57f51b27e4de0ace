"""A study in the forms that other programs read: table, configuration, Optuna's journal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from immo_hpc.files import atomic_path, write_text
from immo_hpc.search.simplex import weights_of
from immo_hpc.search.space import Params, Space, share_keys
from immo_hpc.search.study import Ledger, Plan, StudyFolder
from immo_hpc.search.study.records import Result, Trial
from immo_hpc.search.suggest import Seen, frozen, quiet_optuna


def write_table(folder: StudyFolder, plan: Plan, ledger: Ledger) -> None:
    """Write all trials as a tab-separated table, one row each, by number.

    Raises:
        OutputError: If it cannot be written.
    """
    keys = [dimension.key for dimension in plan.space.dimensions]
    weights = [f"loss.weights.{name}" for name in plan.space.layers] if _has_shares(plan) else []
    head = ["number", "state", *plan.objectives, *keys, *weights]
    head += ["origin", "seconds", "attempts", "worker", "retry_of", "reason"]
    text = io.StringIO()
    writer = csv.writer(text, delimiter="\t", lineterminator="\n")
    writer.writerow(head)
    for name in sorted(ledger.trials):
        trial, result = ledger.trials[name], ledger.results.get(name)
        writer.writerow(_row(plan, trial, result, keys))
    write_text(folder.table, text.getvalue())


def write_best(folder: StudyFolder, plan: Plan, params: Params, about: Sequence[str]) -> None:
    """Write the whole configuration of a point, ready for ``immo train --config``.

    Args:
        folder: The study.
        plan: Its plan.
        params: The point.
        about: Lines of comment above it.

    Raises:
        OutputError: If it cannot be written.
    """
    config = plan.space.config(plan.config, params, plan.config.seed)
    comment = "".join(f"# {line}\n" for line in about)
    write_text(folder.best, comment + config.to_yaml())


def write_journal(folder: StudyFolder, plan: Plan, ledger: Ledger) -> None:
    """Write the study as a journal file, which Optuna and its dashboard open.

    A copy: nothing that is added to it comes back. Open trials stand as waiting.

    Raises:
        OutputError: If it cannot be written.
    """
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

    with atomic_path(folder.journal) as temporary, quiet_optuna():
        place = str(temporary.absolute())
        # A lock that needs no link; nobody else knows this file.
        backend = JournalFileBackend(place, lock_obj=JournalFileOpenLock(place))
        study = optuna.create_study(
            study_name=folder.path.resolve().name,
            directions=list(plan.directions),
            storage=JournalStorage(backend),
        )
        study.set_metric_names(list(plan.objectives))
        study.add_trials(optuna_trials(plan, ledger))


def optuna_trials(plan: Plan, ledger: Ledger) -> list[Any]:
    """All trials as Optuna has them, by number."""
    from optuna.trial import TrialState

    states = {
        "complete": TrialState.COMPLETE,
        "pruned": TrialState.PRUNED,
        "failed": TrialState.FAIL,
    }
    made = []
    for name in sorted(ledger.trials):
        trial, result = ledger.trials[name], ledger.results.get(name)
        attributes: dict[str, Any] = {"origin": trial.origin, "retry_of": trial.retry_of}
        seen = Seen(trial.params, None if result is None else result.values)
        if result is None:
            made.append(frozen(plan.space, seen, state=TrialState.WAITING, user_attrs=attributes))
            continue
        attributes |= {"reason": result.reason, "worker": result.worker, **_weights(plan, trial)}
        finished = datetime.fromtimestamp(result.finished)  # Optuna's times are local and naive.
        item = frozen(
            plan.space,
            seen,
            state=states[result.state],
            intermediate_values=dict(result.intermediate),
            user_attrs=attributes,
        )
        item.datetime_start = datetime.fromtimestamp(min(trial.created, result.finished))
        item.datetime_complete = finished
        made.append(item)
    return made


def journal_command(path: Path) -> str:
    """How the dashboard is started on a journal file."""
    return f"optuna-dashboard {path}"


def _row(plan: Plan, trial: Trial, result: Result | None, keys: Sequence[str]) -> list[str]:
    values = [None] * len(plan.objectives) if result is None or not result.values else result.values
    cells: list[Any] = [trial.number, "open" if result is None else result.state, *values]
    cells += [trial.params.get(key) for key in keys]
    cells += _weights(plan, trial).values()
    cells += [trial.origin]
    if result is None:
        cells += [None, None, None, trial.retry_of, None]
    else:
        seconds = round(result.seconds, 3)
        cells += [seconds, result.attempts, result.worker, trial.retry_of, result.reason]
    return [_cell(value) for value in cells]


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return " ".join(str(value if isinstance(value, str) else json.dumps(value)).split())


def _has_shares(plan: Plan) -> bool:
    return bool(_shares(plan.space))


def _shares(space: Space) -> list[str]:
    keys = {dimension.key for dimension in space.dimensions}
    return [key for key in share_keys(space.layers) if key in keys]


def _weights(plan: Plan, trial: Trial) -> dict[str, float | None]:
    """Loss weights that the shares of a trial stand for, by layer."""
    keys = _shares(plan.space)
    if not keys:
        return {}
    names = [f"loss.weights.{name}" for name in plan.space.layers]
    if any(key not in trial.params for key in keys):
        return dict.fromkeys(names)
    return dict(zip(names, weights_of([trial.params[key] for key in keys]), strict=True))
