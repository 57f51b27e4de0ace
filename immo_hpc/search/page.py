"""The search as one HTML file that needs nothing else, in the dress of the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from immo_hpc._version import __version__
from immo_hpc.analysis.report.figures.svg import Panel
from immo_hpc.analysis.report.tables import Table
from immo_hpc.files import write_text
from immo_hpc.search.figures import (
    contour_panel,
    front_panel,
    history_panel,
    importance_panel,
    parallel_panel,
    seeds_panel,
)
from immo_hpc.search.importance import NUM_NEEDED, importances
from immo_hpc.search.measures import MEASURES
from immo_hpc.search.study import Ledger, Plan, StudyFolder
from immo_hpc.search.study.standing import Confirmed, ranked

_NUM_ROWS = 10


def write_page(
    folder: StudyFolder, plan: Plan, ledger: Ledger, judged: Sequence[Confirmed]
) -> None:
    """Write the page; it tells what is known, be it a single trial.

    Raises:
        OutputError: If it cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("immo_hpc.search", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files("immo_hpc.analysis.report").joinpath("style.css")
    page = environment.get_template("page.html.j2").render(
        name=folder.path.resolve().name,
        cards=_cards(plan, ledger, judged),
        lead=_lead(plan, ledger),
        panels=_panels(plan, ledger, judged),
        table=_table(plan, ledger),
        # Ours: the only markup that is not escaped besides the drawings.
        style=Markup(style.read_text(encoding="utf-8")),
        version=__version__,
    )
    write_text(folder.page, page)


def _cards(plan: Plan, ledger: Ledger, judged: Sequence[Confirmed]) -> list[tuple[str, str, str]]:
    states = Counter(result.state for result in ledger.results.values())
    others = ", ".join(f"{states[name]} {name}" for name in ("pruned", "failed") if states[name])
    cards = [("Trials", f"{states['complete']} complete", others)]
    if judged:
        best = judged[0]
        spread = "" if best.sd is None else f"± {best.sd:.2g} over {len(best.values)} seeds"
        cards.append((f"Best {plan.objectives[0]}", f"{best.mean:.4g}", spread))
        cards.append(("Winner", f"trial {best.trial.number}", "in best.yaml"))
    return [*cards, ("Sampler", plan.sampler, f"seed {plan.seed}")]


def _lead(plan: Plan, ledger: Ledger) -> list[str]:
    lead = [
        f"{name}: {MEASURES[name].meaning} ({MEASURES[name].direction})."
        for name in plan.objectives
    ]
    lead += [MEASURES[name].warning for name in plan.objectives if MEASURES[name].warning]
    if plan.folds > 1:
        lead.append(f"Each trial is measured on the same {plan.folds} folds of people.")
    if len(list(ledger.finished("complete"))) < NUM_NEEDED:
        lead.append(f"Importances need {NUM_NEEDED} complete trials.")
    lead.append("The test side of the shards was not looked at.")
    return lead


def _panels(plan: Plan, ledger: Ledger, judged: Sequence[Confirmed]) -> list[Panel]:
    if next(ledger.finished("complete"), None) is None:
        return []
    shares = importances(plan, ledger)
    panels = [
        front_panel(plan, ledger),
        history_panel(plan, ledger),
        importance_panel(shares) if shares else None,
        contour_panel(plan, ledger, list(shares)) if shares else None,
        parallel_panel(plan, ledger),
        seeds_panel(plan, judged),
    ]
    return [panel for panel in panels if panel is not None]


def _table(plan: Plan, ledger: Ledger) -> Table:
    keys = [dimension.key for dimension in plan.space.dimensions]
    rows = tuple(
        (
            str(trial.number),
            *(f"{value:.4g}" for value in result.values or ()),
            *(_cell(trial.params.get(key)) for key in keys),
        )
        for trial, result in ranked(ledger, plan.directions)[:_NUM_ROWS]
    )
    title = "Best trials" if len(plan.directions) == 1 else "Pareto front"
    return Table(title, ("trial", *plan.objectives, *keys), rows)


def _cell(value: object) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
