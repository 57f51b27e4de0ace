"""Drawing one panel as an inline SVG that several can share a page.

A panel is drawn 360 units wide with text of 11 to 13 units, so it stays legible on a phone
where it fills the width, and panels stand side by side on a desktop. Text stays text,
takes the page's font, and neutral colours become CSS variables so that panels follow
a dark page.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

WIDTH = 360.0
TEXT = 12.0
SMALL = 11.0
# Height of one row of a legend in SMALL text.
LEGEND_ROW = 17.0

# Neutral colours are drawn as these and replaced by CSS variables afterwards.
INK = "#010203"
MUTED = "#010204"
GRID = "#010205"
PAPER = "#010206"
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    GRID: "var(--line)",
    PAPER: "var(--paper)",
}

# Okabe and Ito's colours without yellow and black, which vanish on light or dark paper, and
# with a lighter blue, for the same reason.
# https://jfly.uni-koeln.de/color/
PALETTE = ("#1a7fc1", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
OTHER = "#8b919a"
# Second channel beside colour.
MARKERS = ("o", "s", "^", "D", "v", "P")
DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (3, 1.5)), (0, (8, 2)))

_SVG = "http://www.w3.org/2000/svg"
_XLINK = "http://www.w3.org/1999/xlink"
_DROPPED = (f"{{{_SVG}}}metadata", f"{{{_SVG}}}style")
_RASTER_DPI = 200
_LONGEST_ALT = 1000
_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": MUTED,
    "axes.grid": False,
    "axes.labelcolor": INK,
    "axes.labelsize": TEXT,
    "axes.linewidth": 0.8,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": TEXT + 1,
    "axes.titleweight": "bold",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "font.family": "DejaVu Sans",
    "font.size": TEXT,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "legend.fontsize": SMALL,
    "legend.frameon": False,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.8,
    "svg.fonttype": "none",
    "text.color": INK,
    # Names from data may hold dollar signs.
    "text.parse_math": False,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "xtick.labelsize": SMALL,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "ytick.labelsize": SMALL,
}


@dataclass(frozen=True)
class Panel:
    """One figure of the report.

    Attributes:
        name: Unique in the page; prefix of every id inside the SVG.
        title: Short heading above the drawing.
        svg: The drawing, an ``<svg>`` element that carries its description in words.
        caption: What is to be seen, one or two sentences of plain text.
    """

    name: str
    title: str
    svg: str
    caption: str


def draw(name: str, alt: str, height: float, paint: Callable[[Figure], None]) -> str:
    """Let ``paint`` fill a figure and give it back as inline SVG.

    Args:
        name: Unique in the page; letters, digits and hyphens.
        alt: The drawing in words.
        height: Units (CSS pixels at full size) for a width of `WIDTH`.
        paint: Draws into the figure.

    Returns:
        An ``<svg>`` element: same input, same text.
    """
    with _style(name):
        # Hardly any padding beside the drawing: the page has its own.
        layout = ConstrainedLayoutEngine(w_pad=2 / 72, h_pad=2 / 72, wspace=0.06)
        figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=_RASTER_DPI, layout=layout)
        buffer = io.BytesIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        with warnings.catch_warnings():
            # The page's font draws the text; matplotlib's only measures it.
            warnings.filterwarnings("ignore", "Glyph .* missing from font")
            paint(figure)
            figure.savefig(buffer, format="svg", dpi=_RASTER_DPI, metadata=nothing)
    return _inline(buffer.getvalue(), name, alt)


def shortened(text: str, longest: int) -> str:
    """``text`` on one line, or its two ends with an ellipsis between where it is too long.

    Example:
        >>> shortened("s__Faecalibacterium_prausnitzii", 20)
        's__Faecaliba…snitzii'
    """
    # A control character would not be XML.
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if len(text) <= longest:
        return text
    tail = (longest - 1) * 2 // 5
    return text[: longest - 1 - tail] + "…" + text[len(text) - tail :]


def legend_columns(labels: Sequence[str]) -> int:
    """How many columns of entries of this length a legend can have."""
    return max(1, min(len(labels), int((WIDTH - 20) // (44 + 6.2 * max(map(len, labels))))))


@contextmanager
def _style(name: str) -> Iterator[None]:
    with mpl.rc_context():
        # Nothing of the user's own matplotlibrc reaches the report.
        mpl.rcdefaults()
        mpl.rcParams.update(_STYLE, **{"svg.hashsalt": name})
        yield


def _inline(document: bytes, name: str, alt: str) -> str:
    """Make a stand-alone SVG fit for a page: ids of its own, page font, page colours, a name."""
    root = ElementTree.fromstring(document)
    for parent in list(root.iter()):
        # Metadata, and style rules which would reach the whole page.
        for child in [item for item in parent if item.tag in _DROPPED]:
            parent.remove(child)
    referenced = set(re.findall(rb"""(?:href="|url\()#([^")]+)""", document))
    for element in root.iter():
        if element.get("id", "").encode() not in referenced:
            element.attrib.pop("id", None)
        for key, value in list(element.attrib.items()):
            element.set(key, _attribute(key, value, name))
        element.text, element.tail = _unindented(element.text), _unindented(element.tail)
    for key in ("height", "width", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", shortened(alt, _LONGEST_ALT))
    ElementTree.register_namespace("", _SVG)
    ElementTree.register_namespace("xlink", _XLINK)
    return ElementTree.tostring(root, encoding="unicode")


def _attribute(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key.endswith("href"):
        return re.sub(r"^#", f"#{name}-", value)
    if key in ("clip-path", "fill", "stroke", "style"):
        value = value.replace("url(#", f"url(#{name}-")
        for colour, variable in _VARIABLES.items():
            value = value.replace(colour, variable)
        # The shorthand and the family are matplotlib's; size and weight stay.
        value = re.sub(r"font: (?:(bold|\d+) )?([\d.]+px) [^;]*", _longhand, value)
        return re.sub(r"font-family: [^;]*(; |$)", "", value)
    return value


def _longhand(font: re.Match[str]) -> str:
    return f"font-size: {font[2]}" + (f"; font-weight: {font[1]}" if font[1] else "")


def _unindented(text: str | None) -> str | None:
    return text if text and text.strip() else None
