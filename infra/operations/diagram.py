"""The platform's picture: a pure function from a plain description to a self-contained SVG."""

import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

_MARGIN, _HEADER, _LINE = 32, 58, 20
_CARD_WIDTHS = (230, 380)
_GAP = 196  # between two cards: room for the figures of their link
_CARD_HEAD, _ROW, _CARD_FOOT = 74, 52, 8
_ARC = 44  # height that each link between cards that are no neighbours takes
_BUS, _SHARED_GAP, _SHARED_HEIGHT = 30, 28, 60
_PADDING = 26
# Mean widths of a character in px, on the safe side of the usual system fonts; there is no font here to ask.
_BOLD, _PLAIN, _MONO = 8.2, 6.7, 7.3


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
class _Box:
    x: float
    y: float
    width: float
    height: float

    @property
    def right(self) -> float:
        return self.x + self.width

    @property
    def bottom(self) -> float:
        return self.y + self.height

    @property
    def centre(self) -> float:
        return self.x + self.width / 2


def draw(picture: PlatformPicture) -> str:
    """SVG text. Colours follow the reader's light or dark setting; nothing is loaded from elsewhere.

    Raises:
        ValueError: there is no site, or a link joins a site that is not there.
    """
    names = [site.name for site in picture.sites]
    strangers = sorted({name for link in picture.links for name in link.between} - set(names))
    if strangers or not names:
        raise ValueError(f"links to {strangers} in a picture of sites {names}; give each link two of the sites")
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["fit"] = _fit
    return environment.get_template("diagram.svg.j2").render(picture=picture, **_layout(picture))


def _layout(picture: PlatformPicture) -> dict[str, Any]:
    """Where everything goes, in px from the upper left corner."""
    card_width = _card_width(picture)
    count = len(picture.sites)
    inner = max(count * card_width + (count - 1) * _GAP, len(picture.shared) * (card_width + _SHARED_GAP) - _SHARED_GAP)
    subtitle = textwrap.wrap(picture.subtitle, int(inner / _PLAIN)) or [""]
    far = [link for link in picture.links if _distance(picture, link) > 1]
    top = _HEADER + _LINE * len(subtitle) + 18 + _ARC * len(far)
    height = _CARD_HEAD + _ROW * max(len(site.services) for site in picture.sites) + _CARD_FOOT
    start = _MARGIN + (inner - count * card_width - (count - 1) * _GAP) / 2
    cards = [_Box(start + n * (card_width + _GAP), top, card_width, height) for n in range(count)]
    shared = _shared_boxes(picture, card_width, inner, top + height + 2 * _BUS)
    return {
        "subtitle": subtitle,
        "width": inner + 2 * _MARGIN,
        "height": (shared[0].bottom if shared else top + height) + _MARGIN,
        "cards": cards,
        "shared": shared,
        "bus": top + height + _BUS,
        "lines": [_line(picture, link, cards) for link in picture.links if link not in far],
        "arcs": [_arc(picture, link, cards, level) for level, link in enumerate(far)],
        "card_head": _CARD_HEAD,
        "row": _ROW,
        "margin": _MARGIN,
        "padding": _PADDING,
    }


def _shared_boxes(picture: PlatformPicture, width: float, inner: float, y: float) -> list[_Box]:
    count = len(picture.shared)
    start = _MARGIN + (inner - count * width - (count - 1) * _SHARED_GAP) / 2
    return [_Box(start + n * (width + _SHARED_GAP), y, width, _SHARED_HEIGHT) for n in range(count)]


def _card_width(picture: PlatformPicture) -> float:
    services = [*picture.shared, *(service for site in picture.sites for service in site.services)]
    texts = [len(site.name) * _BOLD * 1.3 for site in picture.sites]
    texts += [len(site.label) * _PLAIN for site in picture.sites]
    texts += [max(len(service.name) * _BOLD, len(service.address) * _MONO) for service in services]
    low, high = _CARD_WIDTHS
    return min(max(max(texts) + 2 * _PADDING, low), high)


def _distance(picture: PlatformPicture, link: LinkPicture) -> int:
    names = [site.name for site in picture.sites]
    a, b = (names.index(name) for name in link.between)
    return abs(a - b)


def _ends(picture: PlatformPicture, link: LinkPicture, cards: list[_Box]) -> list[_Box]:
    return [card for site, card in zip(picture.sites, cards, strict=True) if site.name in link.between]


def _line(picture: PlatformPicture, link: LinkPicture, cards: list[_Box]) -> dict[str, Any]:
    """Straight, between neighbours."""
    left, right = _ends(picture, link, cards)
    return {"from": left.right, "to": right.x, "middle": (left.right + right.x) / 2, "y": left.y + 58, "facts": link}


def _arc(picture: PlatformPicture, link: LinkPicture, cards: list[_Box], level: int) -> dict[str, Any]:
    """Over the cards between, each on a level of its own."""
    left, right = _ends(picture, link, cards)
    shift = 12 * level
    peak = left.y - _ARC * (level + 1) + 14
    return {
        "from": left.centre + shift,
        "to": right.centre - shift,
        "foot": left.y,
        "peak": peak,
        "middle": (left.centre + right.centre) / 2,
        "facts": link,
    }


def _fit(text: str, width: float, style: str = "plain") -> str:
    """`text`, cut short where it would not fit in `width` px."""
    limit = int(width / {"bold": _BOLD, "plain": _PLAIN, "mono": _MONO}[style])
    return text if len(text) <= limit else f"{text[: max(limit - 1, 1)]}\N{HORIZONTAL ELLIPSIS}"
