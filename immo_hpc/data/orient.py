"""Tables that hold features as rows and samples as columns: found by their names, and turned."""

from __future__ import annotations

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace

from immo_hpc.data.check import examples
from immo_hpc.data.tables import Table
from immo_hpc.data.turning import turned
from immo_hpc.errors import CohortError


def oriented(
    tables: Sequence[Table], known: AbstractSet[str] | None, notices: list[str]
) -> list[Table]:
    """All tables with samples as rows.

    Args:
        tables: Tables as they were read.
        known: Samples of the sample table; None lets the rows of the other tables tell.
        notices: Gets a sentence for each table that was turned.

    Raises:
        CohortError: If without a sample table every table seems to be turned against the
            others, so that nobody can say which way is right.
    """
    turned = [_is_turned(place, tables, known) for place in range(len(tables))]
    if known is None and len(tables) > 1 and all(turned):
        message = (
            f"{tables[0].where}: its columns are named as the rows of {tables[1].where}, and the "
            "other way round, so it cannot be told which of them are samples. Add a samples.tsv "
            "with one row a sample_id."
        )
        raise CohortError(message)
    return [
        _turn(table, notices) if is_turned else table
        for table, is_turned in zip(tables, turned, strict=True)
    ]


def _is_turned(place: int, tables: Sequence[Table], known: AbstractSet[str] | None) -> bool:
    table = tables[place]
    names = known
    if names is None:
        others = [other for number, other in enumerate(tables) if number != place]
        names = {name for other in others for name in other.sample_ids}
    in_rows = len(names & set(table.sample_ids))
    in_columns = len(names & set(table.features))
    # By share too: a table whose rows are all samples stands as it should, however many of its
    # features happen to be named like samples.
    by_share = in_columns * len(table.sample_ids) > in_rows * len(table.features)
    return in_columns > in_rows and by_share


def _turn(table: Table, notices: list[str]) -> Table:
    notices.append(
        f"{table.name}: the table holds features as rows and samples as columns "
        f"({examples(table.features, 2)}); it was turned round."
    )
    return replace(
        table,
        sample_ids=table.features,
        features=table.sample_ids,
        values=turned(table.values),
    )
