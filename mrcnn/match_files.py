"""The table of matches of an evaluation as a file, so that two evaluations can be compared image by image later.

Legend: that of `mrcnn.match_table`.
"""

import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Sequence

import numpy as np

from mrcnn.errors import InputError
from mrcnn.files import written_whole
from mrcnn.match_table import ARRAYS, Table

FILE = "matches.npz"
_FORMAT = 1
_SMALL = ("image", "class", "key", "dt", "gt")  # whole numbers below 2^31


@dataclasses.dataclass
class Stored:
    """What the file says.

    Attributes:
        tables: "mask" and "box", and those of the protocols of a benchmark.
        images: [I] file names.
        names: Class names without the background.
    """

    tables: dict[str, Table]
    images: list[str]
    names: list[str]


def save(path: str | os.PathLike[str], tables: dict[str, Table], images: Sequence[str], names: Sequence[str]) -> None:
    """Writes the tables of an evaluation; about 2 kB per image of 20 objects, 4 with BDD100K's protocols.

    Args:
        path: Of the .npz file.
        tables: `Result.tables`.
        images: [I] file names: by them another run is known to be of the same images.
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
        for name in ARRAYS:
            values = getattr(table, name)
            arrays[f"{kind}_{name}"] = values.astype(np.int32) if name.split("_")[1] in _SMALL else values
        arrays[f"{kind}_plain"] = np.array(table.plain)
        if table.gt_ignored is not None:
            arrays[f"{kind}_gt_ignored"] = table.gt_ignored
    with written_whole(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def load(path: str | os.PathLike[str]) -> Stored:
    """Reads what `save` wrote; every figure computed from it is the same to the last bit.

    Raises:
        InputError: There is no such file, or it is another one.
    """
    path = pathlib.Path(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = dict(file)
        if int(arrays["format"]) != _FORMAT:
            raise InputError(f"{path} has format {arrays['format']}, this version reads {_FORMAT}: evaluate again")
        images, names = arrays["images"].tolist(), arrays["names"].tolist()
        kinds = arrays["kinds"].tolist() if "kinds" in arrays else ["mask", "box"]  # as earlier versions wrote it
        tables = {kind: _table(arrays, kind, len(images), len(names)) for kind in kinds}
    except FileNotFoundError as error:
        raise InputError(f"{path} is missing; evaluate that run again, which writes it") from error
    except (OSError, KeyError, ValueError, TypeError, AttributeError, zipfile.BadZipFile) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is no table of matches ({error}); evaluate that run again") from error
    return Stored(tables, images, names)


def _table(arrays: dict[str, np.ndarray], kind: str, images: int, classes: int) -> Table:
    values = {name: arrays[f"{kind}_{name}"] for name in ARRAYS}
    return Table(
        images,
        classes,
        gt_ignored=arrays.get(f"{kind}_gt_ignored"),
        plain=bool(arrays.get(f"{kind}_plain", False)),
        **{name: a.astype(np.int64) if a.dtype == np.int32 else a for name, a in values.items()},
    )
