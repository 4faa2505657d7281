"""Labelled tables: held-out rows and stratified subsets, each dealt to exactly one site."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.spec.errors import UserError
from workloads.spec.recipe import TableData


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


def deal_table(data: TableData, labels: NDArray[np.int64], sites: int) -> list[TableShare]:
    """Deal every row to exactly one of `sites`: as held-out or as a member of one of its subsets.

    Raises:
        UserError: some site would have no held-out row, or too few subsets to train on one and validate on another.
    """
    if data.subsets < 2 * sites:
        raise UserError(
            f"data.subsets {data.subsets} leave a site of {sites} without one to train on and one to validate on; "
            f"give at least {2 * sites}, or fewer sites"
        )
    rest, held_out = _hold_out(data, labels)
    held_out_parts = _stratified_parts(held_out, labels, sites, data.seed, "held-out parts")
    subsets = _stratified_parts(rest, labels, data.subsets, data.seed, "data.subsets")
    return [
        TableShare(
            train=np.concatenate(subsets[site::sites]),
            subset=np.repeat(np.arange(data.subsets)[site::sites], [len(rows) for rows in subsets[site::sites]]),
            held_out=held_out_parts[site],
        )
        for site in range(sites)
    ]


def _hold_out(data: TableData, labels: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    from sklearn.model_selection import train_test_split  # noqa: PLC0415

    try:
        rest, held_out = train_test_split(
            np.arange(len(labels)), test_size=data.held_out, random_state=data.seed, stratify=labels
        )
    except ValueError:
        classes = len(np.unique(labels))
        raise UserError(
            f"data.held_out {data.held_out} of {len(labels)} rows leaves one side without a row of each of {classes} "
            "classes; choose a fraction nearer to 0.2"
        ) from None
    return rest, held_out


def _stratified_parts(
    rows: NDArray[np.int64], labels: NDArray[np.int64], parts: int, seed: int, name: str
) -> list[NDArray[np.int64]]:
    from sklearn.model_selection import StratifiedKFold  # noqa: PLC0415

    if parts == 1:
        return [np.sort(rows)]
    scarcest = int(np.unique(labels[rows], return_counts=True)[1].min())
    if parts > scarcest:
        raise UserError(f"{name}: {parts} parts cannot all have one of {scarcest} rows of a class; use fewer")
    folds = StratifiedKFold(n_splits=parts, shuffle=True, random_state=seed)
    return [np.sort(rows[fold]) for _, fold in folds.split(rows, labels[rows])]
