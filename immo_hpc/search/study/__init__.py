"""One study folder that any number of workers share, join and leave."""

from immo_hpc.search.study.folder import Goal, StudyFolder, change_goal, make_or_join
from immo_hpc.search.study.plan import STALE_AFTER_S, Plan
from immo_hpc.search.study.records import Ledger, Result, Trial
from immo_hpc.search.study.work import Evaluate, Measured, Report, TrialFailed, Worker

__all__ = [
    "STALE_AFTER_S",
    "Evaluate",
    "Goal",
    "Ledger",
    "Measured",
    "Plan",
    "Report",
    "Result",
    "StudyFolder",
    "Trial",
    "TrialFailed",
    "Worker",
    "change_goal",
    "make_or_join",
]
