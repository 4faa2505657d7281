"""How plots become part of a page: matplotlib's SVG, reduced to what HTML needs and coloured by the page's theme."""

import io
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import contextmanager

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure

INK = "#4b5765"  # stands for the page's text colour
# Okabe and Ito's colours that have a contrast of 3:1 or more on white and on the page's dark card alike.
_PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1)))

_STYLE = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.grid": True,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "figure.constrained_layout.use": True,
    "font.size": 8.5,
    "grid.alpha": 0.18,
    "grid.color": INK,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "legend.handlelength": 1.6,
    "legend.labelcolor": INK,
    "lines.linewidth": 1.5,
    "savefig.transparent": True,
    "svg.fonttype": "none",
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
}


def site_style(index: int) -> dict[str, object]:
    """Line colour and dashes of the site number `index`: told apart by more than colour."""
    return {"color": site_colour(index), "linestyle": _DASHES[index % len(_DASHES)]}


def site_colour(index: int) -> str:
    """The colour of the site number `index`, on both themes."""
    return _PALETTE[index % len(_PALETTE)]


@contextmanager
def style(name: str) -> Iterator[None]:
    """Plots made within look like the page's and are equal for equal figures. `name` keeps their ids apart."""
    with mpl.rc_context({**_STYLE, "svg.hashsalt": name}):
        yield


def inline_svg(figure: Figure, name: str, title: str) -> Markup:
    """An `<svg>` element for the middle of an HTML page.

    It has no size of its own, no style sheet that would reach the rest of the page, no namespaces, and no ids but those
    that it refers to and those that begin with `name`.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    root = ET.fromstring(buffer.getvalue())  # noqa: S314 - drawn by the line above
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in {"metadata", "style"}:
                parent.remove(child)
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.attrib = {key.rpartition("}")[2]: value for key, value in element.attrib.items()}
        if element.tag == "g" and not element.get("id", "").startswith(name):
            element.attrib.pop("id", None)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "class": "plot"}
    heading = ET.Element("title")
    heading.text = title
    root.insert(0, heading)
    markup = ET.tostring(root, encoding="unicode").replace(INK, "currentColor")
    return Markup(markup)  # noqa: S704 - ElementTree has escaped every text and attribute
