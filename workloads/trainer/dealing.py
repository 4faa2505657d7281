"""Who gets which sample: every site computes the same deal from the recipe alone, and keeps its own part."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.spec.errors import UserError
from workloads.trainer.sources import SITE, belongs_to_site


@dataclass(frozen=True)
class Deal:
    """What the parts of a deal are made for."""

    site: str
    sites: tuple[str, ...]
    seed: int
    held_out: float

    @property
    def place(self) -> int:
        """The site's number."""
        return self.sites.index(self.site)


@dataclass(frozen=True)
class Share:
    """Samples of one site, by their number in the source, ascending."""

    train: NDArray[np.int64]
    held_out: NDArray[np.int64]


def deal_samples(deal: Deal, source: str, labels: NDArray[np.int64]) -> Share:
    """The site's part of samples with `labels`, stratified by them. Of an address of its own a site keeps all.

    Raises:
        UserError: a class has too few samples for every part to have one.
    """
    rest, held_out = hold_out(labels, deal.held_out, deal.seed)
    if belongs_to_site(source):
        return Share(np.sort(rest), np.sort(held_out))
    sites = len(deal.sites)
    return Share(
        stratified_parts(rest, labels, sites, deal.seed, "sites")[deal.place],
        stratified_parts(held_out, labels, sites, deal.seed, "held-out parts")[deal.place],
    )


def hold_out(labels: NDArray[np.int64], share: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """All rows in two parts, the second of about `share` of each class. Raises `UserError` if one lacks a class."""
    from sklearn.model_selection import train_test_split  # noqa: PLC0415 - slow, and only sharding needs it

    try:
        rest, held_out = train_test_split(np.arange(len(labels)), test_size=share, random_state=seed, stratify=labels)
    except ValueError:
        classes = len(np.unique(labels))
        raise UserError(
            f"data.held_out {share} of {len(labels)} rows leaves one side without a row of each of {classes} "
            "classes; choose a fraction nearer to 0.2"
        ) from None
    return rest, held_out


def stratified_parts(
    rows: NDArray[np.int64], labels: NDArray[np.int64], parts: int, seed: int, name: str
) -> list[NDArray[np.int64]]:
    """`rows`, shuffled by `seed`, in `parts` with the same share of each class. Raises `UserError` if one lacks a class."""
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415

    if parts == 1:
        return [np.sort(rows)]
    scarcest = int(np.unique(labels[rows], return_counts=True)[1].min())
    if parts > scarcest:
        raise UserError(f"{name}: {parts} parts cannot all have one of {scarcest} rows of a class; use fewer")
    folds = StratifiedKFold(n_splits=parts, shuffle=True, random_state=seed)
    return [np.sort(rows[fold]) for _, fold in folds.split(rows, labels[rows])]


def number_classes(
    names: Sequence[str], classes: Sequence[str] | None, source: str
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """The class of each sample as a number, and the classes' names in order: `classes`, else those found, sorted.

    Names that are all whole numbers are sorted as numbers.

    Raises:
        UserError: a site has an address of its own and the recipe does not name the classes, or a class is unknown.
    """
    found = set(names)
    if classes is None:
        if belongs_to_site(source):
            raise UserError(
                f"{source}: each site reads an address of its own ({SITE}), so a site cannot see the others' classes; "
                f"name all of them in data.classes, in one order (here there are {_listed(sorted(found))})"
            )
        whole = all(name.lstrip("-").isdecimal() for name in found)
        classes = sorted(found, key=int) if whole else sorted(found)
    unknown = sorted(found - set(classes))
    if unknown:
        raise UserError(f"{source}: class {unknown[0]!r} is not one of data.classes ({_listed(classes)}); add it there")
    numbers = {name: number for number, name in enumerate(classes)}
    return np.array([numbers[name] for name in names], dtype=np.int64), tuple(classes)


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more
