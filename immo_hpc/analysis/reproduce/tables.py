"""Tables of the page and of the docs: the paper's figure and ours side by side, as text."""

from __future__ import annotations

from immo_hpc.analysis.report.tables import Table
from immo_hpc.analysis.reproduce.cells import cell, count, pair, records, share
from immo_hpc.analysis.reproduce.results import Reproduction

_KINDS = {"dynamic": "new every epoch", "static": "one for good"}
_UNITS = {"sample": "samples (as the paper)", "subject": "people"}
_SIGNS = {1: "▲", -1: "▼", 0: ""}


def subset_table(found: Reproduction) -> Table:
    """Table 1 or 2."""
    head = (
        "subset",
        "samples that have",
        "paper: samples",
        "without / with disease",
        "here: samples",
        "without / with disease",
        "people",
        "without / with disease",
    )
    rows = tuple(
        (
            row["subset"],
            row["meaning"],
            count(row["paper_samples"]),
            pair(row["paper_negative"], row["paper_positive"]),
            count(row["samples"]),
            pair(row["negative"], row["positive"]),
            count(row["subjects"]),
            pair(row["negative_subjects"], row["positive_subjects"]),
        )
        for row in records(found.subsets)
    )
    return Table("Subsets", head, rows, num_text=2)


def search_table(found: Reproduction) -> Table:
    """Table 4."""
    head = (
        "hyperparameter",
        "searched",
        "paper: best found",
        "paper: used",
        "here: best on the fixed objective",
        "here: best by the paper's objective",
    )
    keys = ("name", "searched", "paper_best", "paper_used", "ours", "by_own")
    rows = tuple(tuple(str(row[key]) for key in keys) for row in records(found.search))
    return Table("Hyperparameters", head, rows, num_text=len(head))


def mask_table(found: Reproduction) -> Table:
    """Fig. 2."""
    head = (
        "held out",
        "mask",
        "paper: loss falls by",
        "here",
        "paper: stops at epoch",
        "here",
        "fixed held-out error falls by",
        "its lowest",
    )
    rows = tuple(
        (
            _UNITS[row["by"]],
            _KINDS[row["kind"]],
            share(row["paper_fall"]),
            f"{share(row['fall'])} ± {share(row['fall_sd'])}",
            f"{row['paper_epochs']:.0f}",
            f"{row['epochs']:.0f} ± {cell(row['epochs_sd'], 0)}",
            share(row["held_out_fall"]),
            cell(row["held_out"], 3),
        )
        for row in records(found.masks)
    )
    note = "Mean ± standard deviation over splits. Falls are over the first 10 epochs."
    return Table("Dynamic against static mask", head, rows, num_text=2, note=note)


def feature_tables(found: Reproduction) -> tuple[Table, ...]:
    """Fig. 6, a table a layer."""
    tables = []
    for layer, own in found.features.groupby("layer", sort=False):
        rows = tuple(
            (
                f"{_SIGNS[int(row['direction'])]} {row['feature']}".strip(),
                row["paper"] or "",
                f"{row['rank_in_layer']:.0f}",
                f"{row['share']:.2%}",
                f"{row['in_top']:.0f} of {row['splits']:.0f}",
            )
            for row in records(own)
        )
        head = ("feature", "named in the paper", "place", "share", "in the top ten")
        note = "A share counts as 0 in splits in which the feature is not among the top ten."
        tables.append(Table(f"{layer}: top features", head, rows, num_text=2, note=note))
    return tuple(tables)
