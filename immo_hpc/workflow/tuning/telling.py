"""What is told of a study: how it stands, and its results as files."""

from __future__ import annotations

import statistics
import time
from collections import Counter
from typing import Any

from immo_hpc.search.measures import MEASURES
from immo_hpc.search.study import Goal, Ledger, Plan, StudyFolder
from immo_hpc.search.study.slots import is_held
from immo_hpc.search.study.standing import Confirmed, confirmed, is_met, ranked, to_confirm
from immo_hpc.workflow.outcome import Outcome

_NUM_SHOWN = 5


def told(folder: StudyFolder, *, write: bool) -> Outcome:
    """How a study stands; with ``write`` its results are written as well.

    Raises:
        RunError: If there is no study.
        OutputError: If the results cannot be written.
    """
    plan, goal = folder.read_plan(), folder.read_goal()
    trials, seeds = Ledger(folder.trials), Ledger(folder.confirm)
    trials.sync()
    seeds.sync()
    judged = confirmed(trials, seeds, plan, goal)
    values = _values(folder, plan, goal, trials, seeds, judged)
    if write and trials.trials:
        values["written"] = _write(folder, plan, trials, judged)
    return Outcome(values, "\n".join(_lines(values, plan, goal)))


def _values(
    folder: StudyFolder,
    plan: Plan,
    goal: Goal,
    trials: Ledger,
    seeds: Ledger,
    judged: list[Confirmed],
) -> dict[str, Any]:
    states = Counter(result.state for result in trials.results.values())
    wanted = to_confirm(trials, plan, goal) if is_met(trials, plan, goal) else []
    left = [name for name, _ in wanted if name not in seeds.results]
    running = [name for name in trials.open if is_held(trials, name)]
    best = ranked(trials, plan.directions)
    return {
        "study": str(folder.path),
        "objectives": list(plan.objectives),
        "goal": vars(goal),
        "complete": states["complete"],
        "pruned": states["pruned"],
        "failed": states["failed"],
        "running": len(running),
        "open": len(trials.open) - len(running),
        "is_finished": is_met(trials, plan, goal) and not trials.open and not left,
        "seeds_left": len(left),
        "left_s": _left_s(trials, plan, goal, len(left)),
        "best": [
            {"number": trial.number, "values": list(result.values or ()), "params": trial.params}
            for trial, result in best[:_NUM_SHOWN]
        ],
        "winner": _winner(judged),
        "over_seeds": [
            {
                "number": item.trial.number,
                "values": list(item.values),
                "mean": item.mean,
                "sd": item.sd,
                "seeds": item.wanted,
            }
            for item in judged
        ],
    }


def _left_s(trials: Ledger, plan: Plan, goal: Goal, num_seeds: int) -> float | None:
    """Seconds until the goal is met at the pace so far; None if there is none yet."""
    ended = [result for _, result in trials.finished("complete", "pruned")]
    if not ended:
        return None
    made = sum(trial.retry_of is None for trial in trials.trials.values())
    to_make = 0 if is_met(trials, plan, goal) else goal.trials - made
    to_come = max(num_seeds, 0 if to_make == 0 and not trials.open else goal.top * (goal.seeds - 1))
    at_once = max(1, sum(is_held(trials, name) for name in trials.open))
    mean_s = statistics.fmean(result.seconds for result in ended)
    return (to_make + len(trials.open) + to_come) * mean_s / at_once


def _winner(judged: list[Confirmed]) -> int | None:
    return judged[0].trial.number if judged else None


def _write(folder: StudyFolder, plan: Plan, trials: Ledger, judged: list[Confirmed]) -> list[str]:
    from immo_hpc.search.export import write_best, write_journal, write_table
    from immo_hpc.search.page import write_page

    write_table(folder, plan, trials)
    written = [folder.table]
    if judged:
        best = judged[0]
        write_best(folder, plan, best.trial.params, _about(folder, plan, best))
        written.append(folder.best)
    write_page(folder, plan, trials, judged)
    write_journal(folder, plan, trials)
    return [str(path) for path in (*written, folder.page, folder.journal)]


def _about(folder: StudyFolder, plan: Plan, best: Confirmed) -> list[str]:
    name = plan.objectives[0]
    seeds = f", mean over {len(best.values)} seeds" if len(best.values) > 1 else ""
    sd = "" if best.sd is None else f", sd {best.sd:.4g}"
    return [
        f"Trial {best.trial.number} of {folder.path.name}: {name} {best.mean:.6g}{seeds}{sd}.",
        f"{name}: {MEASURES[name].meaning}.",
        f"Train with: immo train {plan.shards} RUN --config {folder.best.name}",
    ]


def _lines(values: dict[str, Any], plan: Plan, goal: Goal) -> list[str]:
    counts = ", ".join(
        f"{values[state]} {state}" for state in ("complete", "running", "open", "pruned", "failed")
    )
    lines = [f"{values['study']}: {counts}; goal {goal.trials} trials"]
    if values["is_finished"]:
        lines[0] += ", finished"
    elif values["left_s"] is not None:
        lines[0] += f", about {_duration(values['left_s'])} left"
    head = "Pareto front" if len(plan.directions) > 1 else "best so far"
    for item in values["best"][: 1 if len(plan.directions) == 1 else _NUM_SHOWN]:
        told = ", ".join(
            f"{name} {value:.5g}"
            for name, value in zip(plan.objectives, item["values"], strict=True)
        )
        lines.append(f"{head}: trial {item['number']}, {told}")
    for item in values["over_seeds"]:
        if len(item["values"]) > 1:
            lines.append(
                f"trial {item['number']} over {len(item['values'])} of {item['seeds']} seeds: "
                f"{item['mean']:.5g} ± {item['sd']:.2g}"
            )
    if values["is_finished"] and values["winner"] is not None:
        lines.append(f"winner: trial {values['winner']}")
    if "written" in values:
        lines.append("written: " + ", ".join(values["written"]))
    return lines


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return (
        time.strftime("%H:%M h", time.gmtime(seconds))
        if seconds < 86400
        else (f"{seconds / 86400:.1f} days")
    )
