"""Writes and reads matches.npz, the match tables of an evaluation, for comparisons with other evaluations.

Legend: I images, K classes (without the background).
"""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.evaluation.match_table import COLUMNS, Table
from mrcnn.files import written_whole

TABLE_FILE = "matches.npz"
_FORMAT = 1


@dataclasses.dataclass
class StoredTables:
    """The content of matches.npz.

    Attributes:
        tables: "mask", "box" and the protocols of a benchmark -> table.
        images: [I] file names.
        names: Class names without the background.
    """

    tables: dict[str, Table]
    images: list[str]
    names: list[str]


def save_tables(
    path: str | os.PathLike[str], tables: Mapping[str, Table], images: Sequence[str], names: Sequence[str]
) -> None:
    """Write the tables of an evaluation: about 2 kB per image of 20 objects, or 4 kB with BDD100K's protocols.

    Args:
        path: The .npz file.
        tables: `Result.tables`.
        images: [I] file names, by which a comparison checks that both evaluations are of the same images.
        names: [K] class names without the background.

    Raises:
        InputError: The file cannot be written.
    """
    arrays = {
        "format": np.array(_FORMAT),
        "images": np.array(list(images)),
        "names": np.array(list(names)),
        "kinds": np.array(list(tables)),
    }
    for kind, table in tables.items():
        for name, dtype in COLUMNS.items():
            values = getattr(table, name)
            arrays[f"{kind}_{name}"] = values.astype(np.int32) if dtype is np.int64 else values  # all below 2^31
        arrays[f"{kind}_plain"] = np.array(table.bitmask_rules)
        if table.gt_ignored is not None:
            arrays[f"{kind}_gt_ignored"] = table.gt_ignored
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load_tables(path: str | os.PathLike[str]) -> StoredTables:
    """Read the tables that `save_tables` wrote. Figures computed from them are the same to the last bit.

    Raises:
        InputError: The file is missing, damaged, or not a file of match tables.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if int(arrays["format"]) != _FORMAT:
            raise InputError(
                f"{path} has format {arrays['format']}, but this version reads format {_FORMAT}; evaluate again"
            )
        images, names = arrays["images"].tolist(), arrays["names"].tolist()
        kinds = (
            arrays["kinds"].tolist() if "kinds" in arrays else ["mask", "box"]
        )  # earlier versions did not store the kinds
        tables = {kind: _table(arrays, kind, len(images), len(names)) for kind in kinds}
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; evaluate again to write it") from error
    except InputError:
        raise
    except Exception as error:  # damaged archives lead to errors of many kinds
        raise InputError(f"{path} is not a file of match tables ({error}); evaluate again") from error
    return StoredTables(tables, images, names)


def _table(arrays: Mapping[str, np.ndarray], kind: str, images: int, classes: int) -> Table:
    columns: dict[str, Any] = {
        name: arrays[f"{kind}_{name}"].astype(dtype, copy=False) for name, dtype in COLUMNS.items()
    }
    ignored = arrays.get(f"{kind}_gt_ignored")
    _check(columns | ({} if ignored is None else {"gt_ignored": ignored}), images, classes)
    return Table(images, classes, gt_ignored=ignored, bitmask_rules=bool(arrays.get(f"{kind}_plain", False)), **columns)


def _check(columns: Mapping[str, np.ndarray], images: int, classes: int) -> None:
    """Raise ValueError if columns differ in length, point to nothing, or have values that are not finite."""
    ends = {"image": images, "class": classes, "dt": len(columns["dt_image"]), "gt": len(columns["gt_image"])}
    for name, column in columns.items():
        group, _, kind = name.partition("_")
        if column.shape != columns[{"gt": "gt_image", "dt": "dt_image", "pair": "pair_dt"}[group]].shape:
            raise ValueError(f"{name} has another length than the columns beside it")
        end = ends.get(kind, np.inf)
        if column.ndim != 1 or not np.isfinite(column).all() or (column < 0).any() or (column >= end).any():
            raise ValueError(f"{name} has values that no evaluation gives")
