"""Text: the source of Python's standard library, dealt to sites and held-out parts by whole packages."""

import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from workloads.spec.errors import UserError
from workloads.spec.recipe import TextData

# Not code that a person wrote to be read: tests, other distributions, generated tables, facts about the build machine.
_LEFT_OUT = {"site-packages", "test", "tests", "idle_test", "idlelib", "encodings", "pydoc_data", "__pycache__"}
_GENERATED_PREFIX = "_sysconfigdata"


@dataclass
class TextShare:
    """Documents of one site: paths below the library's folder, sorted."""

    train: list[str] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)


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
