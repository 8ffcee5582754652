"""The folder of a run: how it and its checkpoints are named, and its record of command, settings, code and data."""

import dataclasses
import datetime
import json
import os
import pathlib
import re
import shlex
import shutil
import sys

from mrcnn.backend.environment import environment
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.engine.checkpoints import State
from mrcnn.errors import InputError
from mrcnn.files import written_whole

# Run folders are NAME + date, with -2 and so on for more runs of that minute, checkpoints mask_rcnn_NAME_EPOCH.h5:
# .../shapes20171029T2315/mask_rcnn_shapes_0001.h5
RUN_AND_EPOCH = re.compile(
    r".*[/\\][^/\\]+(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})(?:-\d+)?[/\\]mask_rcnn_[^/\\]+?(\d{4,})\.h5"
)


def folder_and_epoch(
    model_dir: str | os.PathLike, name: str | None, checkpoint: str | os.PathLike | None = None
) -> tuple[str, int]:
    """Return the run folder and the number of epochs done.

    Args:
        model_dir: the folder that holds the run folders.
        name: Config.NAME.
        checkpoint: its run is taken up again if its path is that of a checkpoint. None, or any other file: a new folder
            NAME + the present minute, 0 epochs.
    """
    given = os.fspath(checkpoint) if checkpoint else ""
    match = RUN_AND_EPOCH.match(given)
    if match:
        return os.path.dirname(given), int(match[6])
    return os.path.join(model_dir, f"{_lower(name)}{datetime.datetime.now():%Y%m%dT%H%M}"), 0


def checkpoint_name(name: str | None) -> str:
    """Return the file name of the checkpoints of Config.NAME, with Matterport's placeholder {epoch:04d}."""
    return f"mask_rcnn_{_lower(name)}_{{epoch:04d}}.h5"


def find_last(model_dir: str | os.PathLike, name: str | None) -> str:
    """Return the path of the last epoch's checkpoint in the newest run folder that has one.

    Args:
        model_dir: the folder that holds the run folders.
        name: Config.NAME.

    Raises:
        InputError: there is no run of that name, or none has a checkpoint.
    """
    folder, name = pathlib.Path(model_dir), _lower(name)
    pattern = re.compile(re.escape(name) + r"(\d{8}T\d{4})(?:-(\d+))?.*")
    matches = [pattern.fullmatch(d.name) for d in folder.iterdir() if d.is_dir()] if folder.is_dir() else []
    runs = sorted((match[1], int(match[2] or 1), match[0]) for match in matches if match)
    for *_, run in reversed(runs):  # a run that stopped in its first epoch has no checkpoint: the one before it counts
        newest = newest_checkpoint(folder / run)
        if newest is not None:
            return str(newest)
    found = "no run" if not runs else f"no checkpoint in any of the {len(runs)} runs"
    raise InputError(
        f"there is {found} of {name!r} in {folder}: expected something like "
        f"{name}20260131T1200/mask_rcnn_{name}_0001.h5; train first, or give the path of a weight file"
    )


def newest_checkpoint(folder: str | os.PathLike) -> pathlib.Path | None:
    """Return the checkpoint of the last epoch in a run folder, or None."""
    matches = ((re.search(r"_(\d{1,9})\.h5$", file.name), file) for file in pathlib.Path(folder).glob("mask_rcnn_*.h5"))
    epochs = {int(match[1]): file for match, file in matches if match}
    return epochs[max(epochs)] if epochs else None


def refuse_full_disk(folder: str | os.PathLike, needed: int, what: str) -> None:
    """Raise InputError if a disk has less room than is needed.

    Args:
        folder: on that disk; it exists.
        needed: bytes.
        what: what takes them, for the message.
    """
    try:
        disk = shutil.disk_usage(folder)
    except OSError:  # a file system that does not say
        return
    if disk.total and disk.free < needed:
        raise InputError(
            f"the disk of {folder} has {disk.free / 1e6:.1f} MB left, and {what} needs {needed / 1e6:.1f} MB: free "
            "some, or choose another folder"
        )


def describe(
    folder: str | os.PathLike, config: Config, state: State, train_dataset: Dataset, val_dataset: Dataset | None
) -> None:
    """Write config.json, environment.json and data.json into a run folder, and add a line to command.txt.

    The JSON files describe the newest call of `train`; command.txt has a line for each call.

    Args:
        folder: of the run; it exists.
        config: the settings.
        state: at the beginning of the call.
        train_dataset: prepared.
        val_dataset: prepared, or None.

    Raises:
        InputError: a file cannot be written.
    """
    folder = pathlib.Path(folder)
    _write_json(folder / "config.json", config.to_dict())
    _write_json(folder / "environment.json", dataclasses.asdict(environment()))
    datasets = {"train": train_dataset} | ({"val": val_dataset} if val_dataset is not None else {})
    counts = {name: {"images": len(dataset.image_ids)} for name, dataset in datasets.items()}
    classes = list(train_dataset.class_names)
    _write_json(folder / "data.json", {"fingerprint": state.data, "classes": classes, **counts})
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    step = f" step {state.step}" if state.step else ""
    stage = f"{state.stage['layers']} from epoch {state.epoch}{step} to {state.stage['epochs']}"
    line = f"{now}\t{os.getcwd()}\t{shlex.join(sys.argv)}\t{stage}\n"
    try:
        with (folder / "command.txt").open("ab") as file:
            file.write(os.fsencode(line))
    except OSError as error:
        raise InputError(f"cannot write {folder / 'command.txt'}: {error.strerror}") from error


def _lower(name: str | None) -> str:
    return str(name or "model").lower()


def _write_json(path: pathlib.Path, value: object) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
