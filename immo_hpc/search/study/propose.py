"""The next trial: suggested and written down under the lease of the study."""

from __future__ import annotations

import json
import time

from immo_hpc.lease import hold
from immo_hpc.search.space import Params
from immo_hpc.search.study.folder import WAIT_S, StudyFolder
from immo_hpc.search.study.plan import STALE_AFTER_S, Plan
from immo_hpc.search.study.records import Ledger, Trial, add_trial, trial_name
from immo_hpc.search.study.standing import is_met, to_confirm, waiting_retries
from immo_hpc.search.suggest import Seen, is_start, suggest

# Draws of a point that was not tried yet before a space counts as used up.
_MOST_DRAWS = 64


def propose(folder: StudyFolder, plan: Plan, ledger: Ledger) -> str | None:
    """Add the next trial, if the goal asks for one.

    Under the lease a worker sees every trial that was ever begun, so no number and no point
    is given twice, and the sampler knows of all points under way. Should the lease be
    lost meanwhile (this process stood still), the name of the trial's folder is the second
    guard: it can be taken once.

    Returns:
        Name of the new trial; None if no further one is to be begun.

    Raises:
        BusyError: If another worker suggests for longer than half an hour.
        OutputError: If the folder cannot be written.
    """
    ledger.sync()
    if not waiting_retries(ledger) and is_met(ledger, plan, folder.read_goal()):
        return None
    with hold(folder.lease, wait_s=WAIT_S, stale_after_s=STALE_AFTER_S):
        goal = folder.read_goal()
        while True:
            ledger.sync()
            lost = waiting_retries(ledger)
            if not lost and is_met(ledger, plan, goal):
                return None
            number = ledger.next_number
            if lost:
                trial = Trial(number, lost[0].params, plan.config.seed, "again", lost[0].number)
            else:
                found = _next_point(plan, ledger, number)
                if found is None:
                    return None
                trial = Trial(number, found[1], plan.config.seed, found[0])
            name = trial_name(number)
            written = Trial(**{**vars(trial), "created": time.time()})
            if add_trial(folder.trials, name, written):
                ledger.sync()
                return name


def propose_confirmation(
    folder: StudyFolder, plan: Plan, ledger: Ledger, seeds: Ledger
) -> list[str]:
    """Add the trainings on other seeds that are not there yet; names of all that are asked for."""
    goal = folder.read_goal()
    wanted = to_confirm(ledger, plan, goal)
    seeds.sync()
    for name, trial in wanted:
        if name not in seeds.trials:
            add_trial(folder.confirm, name, trial)
    seeds.sync()
    return [name for name, _ in wanted]


def _next_point(plan: Plan, ledger: Ledger, number: int) -> tuple[str, Params] | None:
    """Origin and point; None if every point of the space was tried."""
    tried = {_key(trial.params) for trial in ledger.trials.values()}
    for origin, params in plan.queue:
        if _key(params) not in tried:
            return origin, params
    seen = [*plan.known, *_seen(ledger)]
    for attempt in range(_MOST_DRAWS):
        params = suggest(plan.question, seen, number, attempt)
        if _key(params) not in tried:
            return _origin(plan, seen, attempt), params
    return None


def _seen(ledger: Ledger) -> list[Seen]:
    """What the sampler learns of: complete trials, and open ones as under way.

    Failed and pruned trials have no value that compares. An open trial whose worker died
    is under way none the less: the next free worker takes it up, before it asks for more.
    """
    known = []
    for name in sorted(ledger.trials):
        trial, result = ledger.trials[name], ledger.results.get(name)
        if trial.params and (result is None or result.state == "complete"):
            known.append(Seen(trial.params, None if result is None else result.values))
    return known


def _origin(plan: Plan, seen: list[Seen], attempt: int) -> str:
    if attempt or plan.sampler == "random":
        return "random"
    return "start" if is_start(seen) else plan.sampler


def _key(params: Params) -> str:
    return json.dumps(params, sort_keys=True)
