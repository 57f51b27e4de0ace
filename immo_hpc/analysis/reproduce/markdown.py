"""Reproductions as a page of the docs, from their JSON.

Run as ``python -m immo_hpc.analysis.reproduce.markdown PAGE JSON...``.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from immo_hpc.analysis.report.tables import Table
from immo_hpc.analysis.reproduce.page import made_table, sections
from immo_hpc.analysis.reproduce.published import published
from immo_hpc.analysis.reproduce.results import Reproduction
from immo_hpc.files import write_text

# Everything above this line of the page is written by hand and stays.
MARK = "<!-- from here on rendered from the JSON -->"


def rendered(found: Sequence[Reproduction]) -> str:
    """The tables and sentences of reproductions as Markdown."""
    lines: list[str] = []
    for one in found:
        lines += [f"## {published(one.which).title}", ""]
        lines += [f"- {notice}" for notice in one.notices] + [""] * bool(one.notices)
        for section in sections(one, with_panels=False):
            lines += [f"### {section.title}", ""]
            for paragraph in section.lead:
                lines += [paragraph, ""]
            for table in section.tables:
                lines += _table(table)
        lines += ["### How it was made", "", *_table(made_table(one))]
    return "\n".join(lines).rstrip() + "\n"


def write_page(page: Path, files: Sequence[Path]) -> None:
    """Replace what stands below `MARK` in ``page``.

    Raises:
        RunError: If a file is no reproduction.
    """
    found = [Reproduction.from_dict(json.loads(file.read_bytes()), str(file)) for file in files]
    head, _, _ = page.read_text(encoding="utf-8").partition(MARK)
    write_text(page, f"{head}{MARK}\n\n{rendered(found)}")


def _table(table: Table) -> list[str]:
    marks = ["---" if place < table.num_text else "---:" for place in range(len(table.head))]
    lines = [f"**{table.title}**", "", _row(table.head), _row(marks)]
    lines += [_row(cells) for cells in table.rows] + [""]
    return [*lines, table.note, ""] if table.note else lines


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


if __name__ == "__main__":
    write_page(Path(sys.argv[1]), [Path(word) for word in sys.argv[2:]])
