"""The page's parts in order: words, panels and tables, all still plain data."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from immo_hpc.analysis.report.believing import (
    exclusion_table,
    feature_table,
    trust_notes,
    trust_table,
)
from immo_hpc.analysis.report.content import ReportContent
from immo_hpc.analysis.report.coverage import coverage_notes, coverage_table
from immo_hpc.analysis.report.figures.classification import classification_panels
from immo_hpc.analysis.report.figures.features import direction_words, feature_panels
from immo_hpc.analysis.report.figures.imputation import imputation_panels
from immo_hpc.analysis.report.figures.latent import latent_panel, main_plane
from immo_hpc.analysis.report.figures.patterns import pattern_panel
from immo_hpc.analysis.report.figures.svg import Panel
from immo_hpc.analysis.report.figures.training import training_panels
from immo_hpc.analysis.report.patterns import find_patterns
from immo_hpc.analysis.report.tables import (
    Table,
    classification_table,
    count_table,
    imputation_table,
    layer_table,
    pattern_table,
    split_table,
)

# More rows than this are not legible as dots and bars.
_MOST_PATTERNS = 16


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        name: Anchor in the page.
        title: Heading.
        lead: Paragraphs before the panels; the first says what is to be seen.
        panels: Figures.
        tables: Tables that stand open.
        details: Tables that are folded away.
        notes: Sentences after them.
    """

    name: str
    title: str
    lead: tuple[str, ...] = ()
    panels: tuple[Panel, ...] = ()
    tables: tuple[Table, ...] = ()
    details: tuple[Table, ...] = ()
    notes: tuple[str, ...] = ()


def sections(content: ReportContent) -> list[Section]:
    """Every part of the page in its order."""
    return [
        _measured(content),
        _training(content),
        _latent(content),
        _classification(content),
        _imputation(content),
        _attribution(content),
    ]


def _measured(content: ReportContent) -> Section:
    patterns = find_patterns(content)
    lead = [
        f"{len(content.layers)} layers in {len(patterns)} combinations; "
        f"{int(content.measured.all(axis=1).sum()):,} of {content.num_samples:,} samples have them "
        "all. No sample was dropped because it lacks a layer.",
    ]
    if len(patterns) > _MOST_PATTERNS:
        lead.append(
            f"Figure and table show the {_MOST_PATTERNS} most frequent combinations; all of them "
            "stand below."
        )
    frequent = patterns.first(_MOST_PATTERNS)
    tables = [layer_table(content), split_table(content), pattern_table(content, frequent)]
    return Section(
        "measured",
        "What was measured",
        tuple(lead),
        (pattern_panel(frequent, content.layers),),
        tuple(table for table in tables if table is not None),
        (pattern_table(content, patterns, "All combinations"),)
        if len(patterns) > len(frequent)
        else (),
    )


def _training(content: ReportContent) -> Section:
    panels = training_panels(content.metrics, content.kept_epoch)
    if not panels:
        return _absent(
            content, "training", "How training went", "No record of the training was found."
        )
    kept = content.kept_epoch
    lead = f"{len(content.metrics)} epochs were run"
    lead += "." if kept is None else f"; the weights of epoch {kept} were kept."
    seconds = [float(record["seconds"]) for record in content.metrics if record.get("seconds")]
    if seconds:
        lead += f" An epoch took {sum(seconds) / len(seconds):.2g} s on average."
    return Section("training", "How training went", (lead,), tuple(panels))


def _latent(content: ReportContent) -> Section:
    title = "Map of the latent space"
    if content.latent is None or len(content.latent) == 0:
        return _absent(content, "latent", title, "No latent space was computed.")
    plane = main_plane(content.latent)
    panels, notes = [], []
    for name, what, column, noun, why in (
        ("label", "Label", content.labels, "labels", "No label is known, so none is shown."),
        ("subject", "Person", content.subjects, "people", "The cohort names no people."),
        ("batch", "Site or batch", content.batches, "sites", "The cohort names no site or batch."),
    ):
        if column is None:
            notes.append(why)
        elif name == "subject" and not content.has_repeats:
            notes.append("Every person gave one sample, so a map by person would show nothing.")
        else:
            panels.append(latent_panel(f"latent-{name}", what, plane, column, noun=noun))
    if not panels:
        nobody = pd.Series([None] * len(content.latent), dtype=object)
        panels.append(latent_panel("latent-all", "All samples", plane, nobody, noun="groups"))
    lead = (
        f"Each point is one sample; the two directions along which the {content.latent.shape[1]} "
        "latent dimensions vary most. Points of one person lying together, or one site apart from "
        "the others, mean that the latent space holds more than the label."
    )
    return Section("latent", title, (lead,), tuple(panels), notes=tuple(notes))


def _classification(content: ReportContent) -> Section:
    result, title = content.classification, "Honest classification"
    if result is None:
        why = "No label is known, so nothing was classified."
        return _absent(content, "classification", title, why)
    lead = [result.verdict]
    if content.has_repeats:
        lead.append(
            "The same person often gave several samples. Only scores with whole people held out "
            "say how the classifier would do on somebody new."
        )
    return Section(
        "classification",
        title,
        tuple(lead),
        tuple(classification_panels(result, content.unit, has_repeats=content.has_repeats)),
        (classification_table(result, content.unit, has_repeats=content.has_repeats),),
        (count_table(result),),
        tuple(result.notices),
    )


def _imputation(content: ReportContent) -> Section:
    result, title = content.imputation, "Filling in what is missing"
    if result is None or result.scores.empty:
        why = "No samples were held out, so filled-in values could not be checked."
        return _absent(content, "imputation", title, why)
    tables, notes = [imputation_table(result)], [*result.notices]
    if content.coverage is not None:
        tables.append(coverage_table(content.coverage, content.unit))
        notes += coverage_notes(content.coverage, content.unit)
    elif "coverage" in content.absent:
        notes.append(f"Intervals: {content.absent['coverage']}")
    return Section(
        "imputation",
        title,
        (result.verdict,),
        tuple(imputation_panels(result, content.unit)),
        tuple(tables),
        notes=tuple(notes),
    )


def _attribution(content: ReportContent) -> Section:
    result, title = content.attribution, "Top features of each layer"
    if result is None:
        why = "There is no classifier to explain."
        return _absent(content, "attribution", title, why)
    words = direction_words(result)
    lead = (
        f"Integrated gradients of the classifier of {result.label}, relative to {result.baseline}. "
        f"▲ {words[1]}; ▼ {words[-1]}. These are associations, not causes."
    )
    every = [result] if result.product is None else [result, result.product]
    tables = [table for own in every for table in (trust_table(own), exclusion_table(own))]
    details = [feature_table(result)]
    if result.product is not None:
        title_of_other = f"Top features in full: {result.product.explained}"
        details.append(feature_table(result.product, title_of_other))
    notes = [note for own in every for note in (*trust_notes(own), *own.notices)]
    return Section(
        "attribution",
        title,
        (lead,),
        tuple(feature_panels(result)),
        tuple(table for table in tables if table is not None),
        tuple(details),
        tuple(dict.fromkeys(notes)),
    )


def _absent(content: ReportContent, name: str, title: str, why: str) -> Section:
    return Section(name, title, (content.absent.get(name, why),))
