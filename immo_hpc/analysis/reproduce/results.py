"""What a reproduction is: tables of the paper's figure and ours, and what they say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import pandas as pd

from immo_hpc.analysis.jsonable import fields
from immo_hpc.errors import RunError

FORMAT = "immo-reproduction"
FORMAT_VERSION = 1
_TABLES = ("subsets", "search", "masks", "curves", "auc", "gains", "layers", "features")


@dataclass(frozen=True)
class Reproduction:
    """The paper's tables and figures on one cohort, beside ours.

    Intervals are 95 % bootstrap intervals over people, of the mean over the splits. 'By sample'
    is the paper's way: visits of one person stand on both sides, and each sample is scored.
    'By person' holds whole people out and averages scores within a person.

    Attributes:
        which: Name of the paper's cohort.
        cohort: Name of the cohort that was used.
        num_samples: Its samples with one of the paper's layers.
        num_subjects: Its people.
        subsets: Table 1 or 2 (`immo_hpc.analysis.reproduce.samples.subset_table`).
        search: Table 4. One row a hyperparameter: ``name``, ``searched``, ``paper_best``,
            ``paper_used``, ``ours`` (best on the fixed objective), ``by_own`` (best by the
            paper's objective).
        search_about: ``trials``, ``start`` and ``suggested`` (trials before and by the
            surrogate), ``objective``, ``best_fixed``, ``paper_fixed``, ``own_fixed`` (fixed
            error of the trial that the paper's objective takes), ``seed``; empty without a search.
        masks: Fig. 2. One row a unit held out and kind of mask: ``by``, ``kind``, ``splits``,
            ``paper_fall``, ``fall`` (of the training loss in 10 epochs) with ``fall_sd``,
            ``paper_epochs``, ``epochs`` (trained before stopping) with ``epochs_sd``,
            ``held_out_fall`` (of the fixed held-out error in 10 epochs) and ``held_out``
            (its lowest).
        curves: One row an epoch that every split has: ``by``, ``kind``, ``epoch``, ``loss`` and
            ``held_out``, both relative to the first epoch, means over the splits.
        auc: Table 5. One row a subset and classifier: ``subset``, ``classifier``, ``title``,
            ``paper``, and for ``sample`` and ``subject``: mean, ``_sd``, ``_lower``, ``_upper``
            on the latent, ``_raw`` on raw features, ``_splits``.
        gains: Figs. 3 and 4. One row a subset: ``subset`` and for ``sample`` and ``subject`` the
            mean over classifiers, ``_latent``, ``_raw``, and their difference ``_gain`` with
            ``_lower`` and ``_upper``.
        layers: Fig. 5. One row a set of layers, ``shown``: ``num_layers``, ``paper``, and for
            ``sample`` and ``subject``: mean, ``_sd``, ``_lower``, ``_upper``.
        features: Fig. 6. One row a feature: ``layer``, ``feature``, ``rank_in_layer`` (by the
            mean share over splits), ``share`` (0 in splits in which it is not among the top
            ten), ``direction``, ``in_top`` (in how many splits
            among the top ten), ``median_rank``, ``splits``, ``paper`` (the paper's name for it).
        verdicts: By part, sentences.
        notices: What a reader must know, as sentences.
        made: Command, date, versions, commit, seeds, time.
    """

    which: str
    cohort: str
    num_samples: int
    num_subjects: int
    subsets: pd.DataFrame
    search: pd.DataFrame
    search_about: Mapping[str, Any]
    masks: pd.DataFrame
    curves: pd.DataFrame
    auc: pd.DataFrame
    gains: pd.DataFrame
    layers: pd.DataFrame
    features: pd.DataFrame
    verdicts: Mapping[str, tuple[str, ...]]
    notices: tuple[str, ...] = ()
    made: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Everything, as JSON-able values."""
        return {"format": FORMAT, "format_version": FORMAT_VERSION, **fields(self)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str) -> Self:
        """The reproduction that `to_dict` gave.

        Raises:
            RunError: If the values are not those of a reproduction of this version.
        """
        found = values.get("format"), values.get("format_version")
        if found != (FORMAT, FORMAT_VERSION):
            message = (
                f"{where}: expected {FORMAT} version {FORMAT_VERSION}, found {found[0]} version "
                f"{found[1]}. Name the reproduction.json of immo reproduce."
            )
            raise RunError(message)
        given = {key: value for key, value in values.items() if not key.startswith("format")}
        given |= {name: _table(given[name]) for name in _TABLES}
        given["verdicts"] = {part: tuple(lines) for part, lines in given["verdicts"].items()}
        given["notices"] = tuple(given["notices"])
        return cls(**given)


def _table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table whose undefined figures are NaN, not None."""
    table = pd.DataFrame(rows)
    for name in table.columns:
        kinds = {type(row.get(name)) for row in rows}
        if float in kinds and kinds <= {int, float, type(None)}:
            table[name] = table[name].astype(float)
    return table
