"""Tables of the page and of the docs: the paper's figure and ours side by side, as text."""

from __future__ import annotations

import math
from typing import Any

import pandas as pd

from immo_hpc.analysis.report.tables import Table
from immo_hpc.analysis.report.text import UNDEFINED
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
    )
    rows = tuple(
        (
            row["subset"],
            row["meaning"],
            _count(row["paper_samples"]),
            _pair(row["paper_negative"], row["paper_positive"]),
            _count(row["samples"]),
            _pair(row["negative"], row["positive"]),
            _count(row["subjects"]),
        )
        for row in _records(found.subsets)
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
    rows = tuple(tuple(str(row[key]) for key in keys) for row in _records(found.search))
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
            _share(row["paper_fall"]),
            f"{_share(row['fall'])} ± {_share(row['fall_sd'])}",
            f"{row['paper_epochs']:.0f}",
            f"{row['epochs']:.0f} ± {_cell(row['epochs_sd'], 0)}",
            _share(row["held_out_fall"]),
            _cell(row["held_out"], 3),
        )
        for row in _records(found.masks)
    )
    note = "Mean ± standard deviation over splits. Falls are over the first 10 epochs."
    return Table("Dynamic against static mask", head, rows, num_text=2, note=note)


def auc_table(found: Reproduction) -> Table:
    """Table 5, by sample: the paper's figure, then ours."""
    classifiers = list(dict.fromkeys(found.auc["classifier"]))
    titles = dict(zip(found.auc["classifier"], found.auc["title"], strict=True))
    rows = []
    for subset, own in found.auc.groupby("subset", sort=False):
        by_name = {row["classifier"]: row for row in _records(own)}
        cells = [f"{_cell(by_name[n]['paper'])} / {_cell(by_name[n].get('sample'))}"
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
        by_name = {row["classifier"]: row for row in _records(own)}
        cells = [_interval(by_name.get(name, {}), "subject") for name in classifiers]
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
                cell
                for by in ("sample", "subject")
                for cell in (
                    _cell(row.get(f"{by}_latent")),
                    _cell(row.get(f"{by}_raw")),
                    _gap(row, by),
                )
            ),
        )
        for row in _records(found.gains)
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
            _cell(row["paper"], 3),
            _interval(row, "sample"),
            _interval(row, "subject"),
        )
        for row in _records(found.layers)
    )
    head = ("layers shown", "paper", "here, by sample [95 %]", "here, by person [95 %]")
    return Table("AUC of the neural net as layers are taken away", head, rows)


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
            for row in _records(own)
        )
        head = ("feature", "named in the paper", "place", "share", "in the top ten")
        tables.append(Table(f"{layer}: top features", head, rows, num_text=2))
    return tuple(tables)


def _records(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as plain values, None where nothing is known."""
    return [
        {str(key): None if _is_nothing(value) else value for key, value in row.items()}
        for row in table.to_dict(orient="records")
    ]


def _is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and not math.isfinite(value))


def _count(value: Any) -> str:
    return UNDEFINED if value is None else f"{value:,.0f}"


def _pair(negative: Any, positive: Any) -> str:
    return f"{_count(negative)} / {_count(positive)}"


def _share(value: Any) -> str:
    return UNDEFINED if value is None else f"{value:.1%}".replace("-", "\N{MINUS SIGN}")


def _cell(value: Any, digits: int = 2, *, sign: bool = False) -> str:
    if value is None:
        return UNDEFINED
    return f"{value:{'+' if sign else ''}.{digits}f}".replace("-", "\N{MINUS SIGN}")


def _interval(row: dict[str, Any], by: str) -> str:
    if row.get(by) is None:
        return UNDEFINED
    return f"{_cell(row[by])} [{_cell(row[f'{by}_lower'])}, {_cell(row[f'{by}_upper'])}]"


def _gap(row: dict[str, Any], by: str) -> str:
    if row.get(f"{by}_gain") is None:
        return UNDEFINED
    ends = [_cell(row[f"{by}_{name}"], sign=True) for name in ("gain", "lower", "upper")]
    return f"{ends[0]} [{ends[1]}, {ends[2]}]"


def _most(table: pd.DataFrame, column: str) -> int:
    return int(table[column].max()) if column in table else 0
