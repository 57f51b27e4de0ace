"""Tables of AUCs: the paper's figure and ours side by side, as text."""

from __future__ import annotations

import pandas as pd

from immo_hpc.analysis.report.tables import Table
from immo_hpc.analysis.report.text import UNDEFINED
from immo_hpc.analysis.reproduce.cells import cell, gap, interval, records
from immo_hpc.analysis.reproduce.results import Reproduction


def auc_table(found: Reproduction) -> Table:
    """Table 5, by sample: the paper's figure, then ours."""
    classifiers = list(dict.fromkeys(found.auc["classifier"]))
    titles = dict(zip(found.auc["classifier"], found.auc["title"], strict=True))
    rows = []
    for subset, own in found.auc.groupby("subset", sort=False):
        by_name = {row["classifier"]: row for row in records(own)}
        cells = [f"{cell(by_name[n]['paper'], 3)} / {cell(by_name[n].get('sample'))}"
                 if n in by_name else UNDEFINED for n in classifiers]  # fmt: skip
        rows.append((str(subset), *cells))
    splits = _most(found.auc, "sample_splits")
    return Table(
        "AUC of the latent, split by sample: published / here",
        ("subset", *(titles[name] for name in classifiers)),
        tuple(rows),
        note=f"Ours: mean over {splits} splits, 25 % of the samples of each group held out.",
    )


def person_table(found: Reproduction) -> Table:
    """Table 5 with whole people held out, with intervals."""
    classifiers = list(dict.fromkeys(found.auc["classifier"]))
    titles = dict(zip(found.auc["classifier"], found.auc["title"], strict=True))
    rows = []
    for subset, own in found.auc.groupby("subset", sort=False):
        by_name = {row["classifier"]: row for row in records(own)}
        cells = [interval(by_name.get(name, {}), "subject") for name in classifiers]
        rows.append((str(subset), *cells))
    splits = _most(found.auc, "subject_splits")
    return Table(
        "AUC of the latent with whole people held out",
        ("subset", *(titles[name] for name in classifiers)),
        tuple(rows),
        note=f"By person: scores are averaged within a person. Mean over {splits} splits with the "
        "95 % interval of the bootstrap over people.",
    )


def gain_table(found: Reproduction) -> Table:
    """Figs. 3 and 4."""
    head = (
        "subset",
        "latent, by sample",
        "raw",
        "difference [95 %]",
        "latent, by person",
        "raw",
        "difference [95 %]",
    )
    rows = tuple(
        (
            row["subset"],
            *(
                text
                for by in ("sample", "subject")
                for text in (
                    cell(row.get(f"{by}_latent")),
                    cell(row.get(f"{by}_raw")),
                    gap(row, by),
                )
            ),
        )
        for row in records(found.gains)
    )
    note = (
        "Means over the classifiers; raw features are prepared z-scores of all layers, missing "
        "values filled with the training mean. Intervals by paired bootstrap over people."
    )
    return Table("Latent against raw features, AUC", head, rows, note=note)


def layer_table(found: Reproduction) -> Table:
    """Fig. 5."""
    rows = tuple(
        (
            row["shown"].replace("+", " + "),
            cell(row["paper"], 3),
            interval(row, "sample"),
            interval(row, "subject"),
        )
        for row in records(found.layers)
    )
    head = ("layers shown", "paper", "here, by sample [95 %]", "here, by person [95 %]")
    return Table("AUC of the neural net as layers are taken away", head, rows)


def _most(table: pd.DataFrame, column: str) -> int:
    return int(table[column].max()) if column in table else 0
