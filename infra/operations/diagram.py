"""The platform's picture: a pure function from a plain description to a self-contained SVG."""

from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_CARD_WIDTH, _GAP, _MARGIN, _TOP = 276, 200, 30, 96
_ROW, _HEAD = 46, 66


@dataclass(frozen=True)
class ServicePicture:
    """A service and the address that people use."""

    name: str
    address: str


@dataclass(frozen=True)
class SitePicture:
    """A site with what runs there."""

    name: str
    label: str  # what it is or stands for
    services: tuple[ServicePicture, ...]


@dataclass(frozen=True)
class LinkPicture:
    """A link between two sites, with what was measured on it."""

    between: tuple[str, str]
    rate_mbps: float
    rtt_ms: float


@dataclass(frozen=True)
class PlatformPicture:
    """Everything that the picture shows."""

    title: str
    subtitle: str
    sites: tuple[SitePicture, ...]
    links: tuple[LinkPicture, ...]
    shared: tuple[ServicePicture, ...]


@dataclass(frozen=True)
class _Card:
    x: int
    y: int
    height: int
    site: SitePicture

    @property
    def middle(self) -> float:
        return self.y + self.height / 2


def draw(picture: PlatformPicture) -> str:
    """SVG text. Colours follow the reader's light or dark setting; nothing is loaded from elsewhere."""
    rows = max(len(site.services) for site in picture.sites)
    height = _HEAD + rows * _ROW + 14
    cards = {
        site.name: _Card(_MARGIN + index * (_CARD_WIDTH + _GAP), _TOP, height, site)
        for index, site in enumerate(picture.sites)
    }
    width = 2 * _MARGIN + len(cards) * _CARD_WIDTH + (len(cards) - 1) * _GAP
    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    ).get_template("diagram.svg.j2")
    return template.render(
        picture=picture,
        cards=cards,
        card_width=_CARD_WIDTH,
        row=_ROW,
        head=_HEAD,
        width=max(width, 560),
        shared_y=_TOP + height + 34,
        height=_TOP + height + (34 + 58 if picture.shared else 0) + _MARGIN,
        links=[_curve(cards, link, index) for index, link in enumerate(picture.links)],
        margin=_MARGIN,
    )


def _curve(cards: dict[str, _Card], link: LinkPicture, index: int) -> dict[str, object]:
    """A straight line between neighbours, an arc above the cards between others."""
    left, right = sorted((cards[name] for name in link.between), key=lambda card: card.x)
    start, end = left.x + _CARD_WIDTH, right.x
    y = left.middle
    if end - start <= _GAP:
        return {"path": f"M{start},{y} L{end},{y}", "x": (start + end) / 2, "y": y, "facts": link}
    peak = _TOP - 26 - 6 * index
    x1, x2 = left.x + _CARD_WIDTH / 2, right.x + _CARD_WIDTH / 2
    return {
        "path": f"M{x1},{_TOP} C{x1},{peak} {x2},{peak} {x2},{_TOP}",
        "x": (x1 + x2) / 2,
        "y": peak + 16,
        "facts": link,
    }
