"""From the parts of a job to its result."""

from __future__ import annotations

from typing import Any, get_args

from immo_hpc.analysis.reproduce.auc_tables import auc_tables
from immo_hpc.analysis.reproduce.masks import By, Kind
from immo_hpc.analysis.reproduce.part_tables import feature_table, mask_tables, search_tables
from immo_hpc.analysis.reproduce.results import Reproduction
from immo_hpc.analysis.reproduce.samples import subset_table
from immo_hpc.analysis.reproduce.verdicts import all_verdicts
from immo_hpc.data.cohort import Cohort
from immo_hpc.workflow.reproducing.job import SEARCH, ReproduceJob


def put_together(job: ReproduceJob, cohort: Cohort) -> Reproduction:
    """All parts of a job as one result; they must be there."""
    parts, facts = job.parts(), job.facts
    sides: tuple[By, ...] = get_args(By)
    kinds: tuple[Kind, ...] = get_args(Kind)
    splits = {by: [parts[f"split-{by}-{n}.json"] for n in range(job.splits(by))] for by in sides}
    masks = {
        (by, kind): [parts[f"masks-{by}-{kind}-{n}.json"] for n in range(job.mask_splits(by))]
        for by in sides
        for kind in kinds
        if facts.masks is not None
    }
    tables: dict[str, Any] = {"subsets": subset_table(cohort, facts)}
    tables["search"], tables["search_about"] = search_tables(parts.get(SEARCH), facts)
    tables["masks"], tables["curves"] = mask_tables(masks, facts)
    tables["auc"], tables["gains"], tables["layers"] = auc_tables(splits, facts, job.config.seed)
    tables["features"] = feature_table(splits["subject"], facts)
    return Reproduction(
        which=job.which,
        cohort=job.cohort.name,
        num_samples=len(cohort.samples),
        num_subjects=int(cohort.subjects.nunique()),
        **tables,
        verdicts=all_verdicts(tables, facts),
        notices=(*_try_out(job), *facts.notices, *_own(job, cohort), *_failures(splits)),
    )


def _try_out(job: ReproduceJob) -> tuple[str, ...]:
    if not job.is_quick:
        return ()
    return (
        "A try-out (--quick): a small network, five epochs, two classifiers, one split. No figure "
        "here is worth quoting.",
    )


def _own(job: ReproduceJob, cohort: Cohort) -> list[str]:
    """Notices of reading, with places below the cohort: the page may be given away."""
    above = f"{job.cohort.parent}/"
    return [notice.replace(above, "") for notice in cohort.notices]


def _failures(splits: dict[By, list[dict[str, Any]]]) -> tuple[str, ...]:
    """Subsets that could not be tested on some splits."""
    counts: dict[str, int] = {}
    for by, parts in splits.items():
        for part in parts:
            for name, answer in part["subsets"].items():
                if "failed" in answer:
                    told = f"{name}, {by} held out"
                    counts[told] = counts.get(told, 0) + 1
    return tuple(
        f"{told}: on {count} splits a side had samples of one group only; they are left out."
        for told, count in counts.items()
    )
