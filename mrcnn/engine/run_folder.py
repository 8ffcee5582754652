"""The folder of a run: how it and its checkpoints are named, and its record of command, settings, code and data."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import shlex
import subprocess
import sys
from typing import Any

import keras
import numpy as np

from mrcnn.backend import runtime
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.engine.checkpoints import State
from mrcnn.errors import InputError
from mrcnn.files import written_whole

PACKAGES = ("keras", "numpy", "opencv-python", "pycocotools", "h5py")
# Run folders are NAME + date, checkpoints mask_rcnn_NAME_EPOCH.h5: .../shapes20171029T2315/mask_rcnn_shapes_0001.h5
RUN_AND_EPOCH = re.compile(r".*[/\\][\w-]+(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})[/\\]mask\_rcnn\_[\w-]+(\d{4})\.h5")


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
    pattern = re.compile(re.escape(name) + r"\d{8}T\d{4}.*")
    runs = sorted(d for d in folder.iterdir() if d.is_dir() and pattern.fullmatch(d.name)) if folder.is_dir() else []
    for run in reversed(runs):  # a run that stopped in its first epoch has no checkpoint: the one before it counts
        epochs = {
            int(match[1]): file
            for file in run.glob("mask_rcnn_*.h5")
            if (match := re.search(r"_(\d+)\.h5$", file.name))
        }
        if epochs:
            return str(epochs[max(epochs)])
    found = "no run" if not runs else f"no checkpoint in any of the {len(runs)} runs"
    raise InputError(
        f"there is {found} of {name!r} in {folder}: expected something like "
        f"{name}20260131T1200/mask_rcnn_{name}_0001.h5; train first, or give the path of a weight file"
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
    _write_json(folder / "environment.json", environment())
    datasets = {"train": train_dataset} | ({"val": val_dataset} if val_dataset is not None else {})
    counts = {name: {"images": len(dataset.image_ids)} for name, dataset in datasets.items()}
    classes = list(train_dataset.class_names)
    _write_json(folder / "data.json", {"fingerprint": state.data, "classes": classes, **counts})
    now = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    step = f" step {state.step}" if state.step else ""
    stage = f"{state.stage['layers']} from epoch {state.epoch}{step} to {state.stage['epochs']}"
    with (folder / "command.txt").open("a", encoding="utf-8") as file:
        file.write(f"{now}\t{os.getcwd()}\t{shlex.join(sys.argv)}\t{stage}\n")


def environment() -> dict[str, Any]:
    """Return the versions of Python, packages and backend, the devices, and the git revision of this source tree."""
    backend = runtime.backend_name()
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "backend": backend,
        "backend_version": _version(backend),
        "precision": keras.config.dtype_policy().name,
        "devices": runtime.devices(),
        "packages": {name: version for name in PACKAGES if (version := _version(name))},
        "git": git_revision(__file__),
    }


def git_revision(file: str | os.PathLike) -> dict[str, Any] | None:
    """Return the commit of the checkout that a source file belongs to, and whether tracked files have changed since.

    None where git is missing or does not track the file.
    """
    try:
        _git(file, "ls-files", "--error-unmatch", os.path.basename(file))
        commit = _git(file, "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git(file, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _lower(name: str | None) -> str:
    return (name or "model").lower()


def _git(file: str | os.PathLike, *arguments: str) -> str:
    folder = os.path.dirname(os.path.abspath(file))
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # tensorflow-cpu, for example, has another distribution name
        return getattr(sys.modules.get(package), "__version__", None)


def _write_json(path: pathlib.Path, value: object) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    """Return numpy numbers and arrays inside settings as Python's."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else str(value)
