"""The report as one HTML file that needs nothing else: no network, no script."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from immo_hpc._version import __version__
from immo_hpc.analysis.report.cards import cards
from immo_hpc.analysis.report.conclusions import conclude
from immo_hpc.analysis.report.content import ReportContent
from immo_hpc.analysis.report.sections import sections
from immo_hpc.analysis.report.tables import Table
from immo_hpc.files import write_text

_PACKAGE = "immo_hpc.analysis.report"


def write_report(content: ReportContent, path: Path) -> Path:
    """Write the report in one step: a reader never meets half of one.

    Args:
        content: What it tells.
        path: HTML file, replaced if it exists; its folder must exist.

    Returns:
        ``path``.

    Raises:
        OutputError: If the disk is full or the place cannot be written.
    """
    write_text(path, render_report(content))
    return path


def render_report(content: ReportContent) -> str:
    """The report as HTML text; the same content gives the same text.

    Names that come from data are escaped, in the page by the template and in the
    drawings by the SVG writer; the page's policy forbids scripts and anything from outside.
    """
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    versions = tuple((name, str(version)) for name, version in content.versions.items())
    return environment.get_template("template.html.j2").render(
        content=content,
        cards=cards(content),
        conclusions=conclude(content),
        sections=sections(content),
        # Ours, not the data's: the only markup that is not escaped besides the drawings.
        style=Markup(_style()),
        versions=Table("Versions", ("what", "version"), versions, num_text=2),
        version=__version__,
    )


def _style() -> str:
    return resources.files(_PACKAGE).joinpath("style.css").read_text(encoding="utf-8")
