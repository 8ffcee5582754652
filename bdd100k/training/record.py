"""Writes and reads run.json, the options, settings and stages of a run, with which --resume continues it."""

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
from typing import Any

from bdd100k import cli
from bdd100k.open_data import BDD100K, OWN
from mrcnn.config import Config
from mrcnn.engine.stages import Stage
from mrcnn.errors import InputError
from mrcnn.files import write_json
from mrcnn.user_files import read_json

RECORD = "run.json"
CHECKSUM = "sha256"  # of all other entries
HOST_ARGUMENTS = {"hosts", "host_index", "engine", "workers"}
# Options that may be given with --resume; all others are taken from the run.
FREE_ARGUMENTS = HOST_ARGUMENTS | {"resume", "logs", "loaders", "loader_kind", "save", "save_every", "keep"}
# Options that a resumed run reads -> what they can be, besides None
TEXTS, COUNTS, FLAGS = (
    ("data", "split_file"),
    ("limit", "val_images", "patience", "max_pixels"),
    ("rectangles", "deterministic"),
)
CHOICES = {"config": tuple(cli.CONFIGS), "classes": (OWN, BDD100K)}


@dataclasses.dataclass
class Record:
    """What a run was started with.

    Attributes:
        arguments: Options of the command line, without those that --resume takes anew.
        config: All settings, as `Config.to_dict` returns them.
        stages: All stages.
    """

    arguments: dict[str, Any]
    config: dict[str, Any]
    stages: list[Stage]


def write(folder: str | os.PathLike[str], arguments: argparse.Namespace, config: Config, stages: list[Stage]) -> None:
    """Write run.json into a run folder.

    Args:
        folder: The run folder.
        arguments: Parsed command line.
        config: Settings.
        stages: All stages.

    Raises:
        InputError: The file cannot be written.
    """
    record = {
        "arguments": {key: value for key, value in vars(arguments).items() if key not in FREE_ARGUMENTS},
        "config": config.to_dict(),
        "stages": [dataclasses.asdict(stage) for stage in stages],
    }
    write_json(pathlib.Path(folder) / RECORD, {**record, CHECKSUM: _checksum(record)}, indent=1)


def read(folder: str | os.PathLike[str]) -> Record:
    """Read run.json of a run folder.

    Raises:
        InputError: It is missing or damaged; or it was edited and still has the checksum of before.
    """
    path = pathlib.Path(folder) / RECORD
    try:
        entries = read_json(path)
        stated = entries.pop(CHECKSUM, None)  # runs of earlier versions have none
        edited = stated is not None and stated != _checksum(entries)
        record = Record(entries["arguments"], entries["config"], [Stage(**stage) for stage in entries["stages"]])
        _check(record)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"--resume {folder}: {path} is missing or damaged ({error}); give the folder of a run that "
            "scripts/train.py started"
        ) from error
    if edited:
        raise InputError(
            f"--resume {folder}: {path} has changed since it was written. If you have edited it, delete its entry "
            f"{CHECKSUM!r}; if not, it is damaged"
        )
    return record


def _check(record: Record) -> None:
    """Raise ValueError or TypeError if an entry is of another type."""
    if not record.stages:
        raise ValueError("it has no stages")
    if not isinstance(record.config, dict):
        raise TypeError("its config is no dictionary")
    missing = [name for name in ("data", "config", "limit") if name not in record.arguments]
    if missing:
        raise ValueError(f"its arguments lack {', '.join(missing)}")
    for name, value in record.arguments.items():
        good = value is None
        if name in TEXTS:
            good |= isinstance(value, str) and "\0" not in value
        elif name in COUNTS:
            good |= type(value) is int and value >= 0
        elif name in FLAGS:
            good = isinstance(value, bool)
        elif name in CHOICES:
            good |= value in CHOICES[name]
        else:
            continue
        if not good:
            raise ValueError(f"{name} is {value!r}")


def _checksum(record: dict[str, Any]) -> str:
    """Return the SHA-256 of a record as it reads back from JSON."""
    plain = json.loads(json.dumps(record))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()
