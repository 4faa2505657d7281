"""Text: Python's standard library or files at an address, dealt to sites and held-out parts by whole packages or files."""

import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workloads.spec.data import TextData
from workloads.spec.errors import UserError
from workloads.trainer.sources import belongs_to_site, fetch, is_address, read_files, read_rows, site_address

PYTHON_STDLIB = "python-stdlib"

# Not code that a person wrote to be read: tests, other distributions, generated tables, facts about the build machine.
_LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "idlelib", "encodings", "pydoc_data", "__pycache__"}
_GENERATED_PREFIX = "_sysconfigdata"


_TEXTS, _ROWS = (".txt", ".md", ".py"), (".jsonl",)
_TEXT_COLUMN = "text"


@dataclass
class TextShare:
    """Documents of one site: their names, sorted."""

    train: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Texts:
    """What documents there are, and how to read one."""

    packages: Mapping[str, Mapping[str, int]]  # sizes in bytes of documents by name, by what is dealt as a whole
    read: Callable[[str], bytes]


def open_texts(data: TextData, site: str, scratch: Path) -> Texts:
    """The documents of `data.source`, as `site` sees it. Copies and caches go below `scratch`.

    A line of a JSON-lines file is a document, its column `text`.

    Raises:
        UserError: the source is unknown, not there, or cannot be read.
    """
    if data.source == PYTHON_STDLIB:
        library = standard_library()
        return Texts(find_packages(library), lambda name: (library / name).read_bytes())
    if not is_address(data.source):
        raise UserError(f"data.source {data.source!r} is unknown; choose {PYTHON_STDLIB}, or give an address")
    files = fetch(site_address(data.source, site), (*_TEXTS, *_ROWS), scratch / "files")
    plain = [(name, path) for name, path in files if not name.endswith(_ROWS)]
    contents = dict(zip([name for name, _ in plain], read_files(plain), strict=True))
    for name, path in files:
        if name.endswith(_ROWS):
            rows = read_rows([(name, path)], scratch / "cache")
            if _TEXT_COLUMN not in rows.column_names:
                raise UserError(f"{path}: no column {_TEXT_COLUMN!r}, but {', '.join(rows.column_names[:12])}; add it")
            contents |= {f"{name}#{line:09d}": str(text).encode() for line, text in enumerate(rows[_TEXT_COLUMN], 1)}
    return Texts({name: {name: len(text)} for name, text in contents.items() if text}, contents.__getitem__)


def site_texts(data: TextData, texts: Texts, site: str, sites: Sequence[str]) -> TextShare:
    """The documents of `site`: its part of a deal, or of an address of its own as much as the recipe allows.

    Raises:
        UserError: as `deal_text`.
    """
    return deal_text(data, texts.packages, (site,) if belongs_to_site(data.source) else sites)[site]


def standard_library() -> Path:
    """Folder of the running Python's standard library."""
    return Path(sysconfig.get_paths()["stdlib"])


def find_packages(library: Path) -> dict[str, dict[str, int]]:
    """Documents with their sizes in bytes, by top-level package or module, in order of name."""
    packages = {}
    for entry in sorted(library.iterdir()):
        if entry.name not in _LEFT_OUT:
            documents = {str(path.relative_to(library)): path.stat().st_size for path in _sources(library, entry)}
            if documents:
                packages[entry.stem] = documents
    return packages


def _sources(library: Path, entry: Path) -> Iterator[Path]:
    """Python files at or below `entry` of `library` that are worth reading, in order."""
    for path in sorted(entry.rglob("*.py")) if entry.is_dir() else [entry]:
        is_code = path.suffix == ".py" and not path.name.startswith(_GENERATED_PREFIX)
        if is_code and _LEFT_OUT.isdisjoint(path.relative_to(library).parts) and path.stat().st_size:
            yield path


def deal_text(data: TextData, packages: Mapping[str, Mapping[str, int]], sites: Sequence[str]) -> dict[str, TextShare]:
    """Deal whole packages, shuffled by the seed, each to the part that is emptiest for its size.

    A part aims at an equal share of the text but never holds more than `max_bytes_per_site` allows; documents that
    would not fit are left out.

    Raises:
        UserError: a part of some site would be empty.
    """
    total = sum(sum(documents.values()) for documents in packages.values())
    site_bytes = min(total / len(sites), data.max_bytes_per_site)
    aims = {"train": site_bytes * (1 - data.held_out), "held_out": site_bytes * data.held_out}
    room = {(site, part): aim for site in sites for part, aim in aims.items()}
    shares = {site: TextShare() for site in sites}
    names = sorted(packages)
    for index in np.random.default_rng(data.seed).permutation(len(names)):
        site, part = max(room, key=lambda place: room[place] / aims[place[1]])
        documents = getattr(shares[site], part)
        for path, size in packages[names[index]].items():
            if size <= room[site, part]:
                documents.append(path)
                room[site, part] -= size
    for site, share in shares.items():
        for part, aim in aims.items():
            if not getattr(share, part):
                raise UserError(
                    f"site {site!r} would get no {part} text: {int(aim)} bytes hold none of its documents; "
                    "raise data.max_bytes_per_site, change data.held_out, or use fewer sites"
                )
        share.train.sort()
        share.held_out.sort()
    return shares
