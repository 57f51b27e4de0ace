"""A reproduction as one HTML file that needs nothing else, in the dress of the report."""

from __future__ import annotations

from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from immo_hpc.analysis.report.cards import Card
from immo_hpc.analysis.report.sections import Section
from immo_hpc.analysis.report.tables import Table
from immo_hpc.analysis.report.text import number
from immo_hpc.analysis.reproduce.figures import auc_panel, curve_panels, gain_panel, layer_panel
from immo_hpc.analysis.reproduce.published import published
from immo_hpc.analysis.reproduce.results import Reproduction
from immo_hpc.analysis.reproduce.score_tables import (
    auc_table,
    gain_table,
    layer_table,
    person_table,
)
from immo_hpc.analysis.reproduce.tables import (
    feature_tables,
    mask_table,
    search_table,
    subset_table,
)
from immo_hpc.analysis.reproduce.verdicts import headline

_REPORT = "immo_hpc.analysis.report"


def render_reproduction(found: Reproduction) -> str:
    """The page as HTML text; the same reproduction gives the same text."""
    environment = Environment(
        loader=ChoiceLoader(
            [PackageLoader("immo_hpc.analysis.reproduce", "."), PackageLoader(_REPORT, ".")]
        ),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = resources.files(_REPORT).joinpath("style.css").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        title=published(found.which).title,
        cohort=found.cohort,
        cards=_cards(found),
        headline=headline(found.verdicts),
        sections=sections(found, with_panels=True),
        notices=found.notices,
        made=made_table(found),
        # Ours: the only markup that is not escaped besides the drawings.
        style=Markup(style),
    )


def sections(found: Reproduction, *, with_panels: bool) -> list[Section]:
    """The parts of the page, those that were reproduced."""
    number_of = "2" if found.which == "ipop" else "1"
    parts = [
        Section(
            "subsets", f"Table {number_of}: subsets", found.verdicts["subsets"],
            tables=(subset_table(found),),
        )
    ]  # fmt: skip
    if len(found.search):
        parts.append(
            Section(
                "search", "Table 4: hyperparameters", found.verdicts["search"],
                tables=(search_table(found),),
            )
        )  # fmt: skip
    if len(found.masks):
        panels = curve_panels(found.curves) if with_panels else ()
        title = "Fig. 2: dynamic against static mask"
        parts.append(Section("masks", title, found.verdicts["masks"], panels, (mask_table(found),)))
    return [*parts, *_scores(found, with_panels=with_panels)]


def made_table(found: Reproduction) -> Table:
    """How it was made: command, date, commit, seeds, time, versions."""
    values = dict(found.made)
    versions = values.pop("versions", {})
    rows = [(str(key).replace("_", " "), str(value)) for key, value in values.items()]
    rows.append(("versions", ", ".join(f"{name} {text}" for name, text in versions.items())))
    return Table("How it was made", ("what", "value"), tuple(rows), num_text=2)


def _scores(found: Reproduction, *, with_panels: bool) -> list[Section]:
    number_of = "AUCs" if found.which == "ipop" else "Table 5"
    parts = [
        Section(
            "auc",
            f"{number_of}: classifiers on the latent",
            found.verdicts["auc"],
            (auc_panel(found.auc),) if with_panels else (),
            (auc_table(found), person_table(found)),
        ),
        Section(
            "gains",
            "Fig. 3 and 4: latent against raw features",
            found.verdicts["gains"],
            (gain_panel(found.auc),) if with_panels else (),
            (gain_table(found),),
        ),
    ]
    if len(found.layers):
        parts.append(
            Section(
                "layers",
                "Fig. 5: layers taken away",
                found.verdicts["layers"],
                (layer_panel(found.layers),) if with_panels else (),
                (layer_table(found),),
            )
        )
    title = "Fig. 6: features by attribution"
    lead = (
        "Integrated gradients of a logistic regression on the latent, on people held out; share of "
        "all |attribution|, mean over splits. ▲ higher values point to the disease, ▼ away from "
        "it. These are associations, not causes.",
        *found.verdicts["features"],
    )
    parts.append(Section("features", title, lead, tables=feature_tables(found)))
    return parts


def _cards(found: Reproduction) -> list[Card]:
    auc = found.auc
    cards = [
        Card("samples", f"{found.num_samples:,}"),
        Card("people", f"{found.num_subjects:,}"),
    ]
    for column, name, note in (
        ("paper", "published AUC", "mean of the table"),
        ("sample", "AUC, split by sample", "mean of the same, here"),
        ("subject", "AUC, people held out", "mean of the same, here"),
    ):
        if column in auc and auc[column].notna().any():
            cards.append(Card(name, number(float(auc[column].astype(float).mean())), note))
    return cards
