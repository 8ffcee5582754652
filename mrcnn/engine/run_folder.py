"""What a run folder says about how the run came about: command, settings, code, machine, data."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import shlex
import subprocess
import sys
import typing
from typing import Any

import keras
import numpy as np

from mrcnn.backend import runtime
from mrcnn.data.dataset import Dataset
from mrcnn.engine.checkpoints import State
from mrcnn.files import written_whole

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN
import re

from mrcnn.errors import InputError

PACKAGES = ("keras", "numpy", "opencv-python", "pycocotools", "h5py")


def describe(model: "MaskRCNN", state: State, train_dataset: Dataset, val_dataset: Dataset | None) -> None:
    """Write config.json, environment.json and data.json into model.log_dir, and add a line to command.txt.

    The files are those of the newest call of `train`; command.txt has a line for each.

    Raises:
        InputError: the disk refuses.
    """
    folder = pathlib.Path(model.log_dir)
    _write_json(folder / "config.json", model.config.to_dict())
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
    """Versions of Python, packages and the backend, the devices, and the state of the source tree."""
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
    """The commit of the checkout that a source file belongs to, and whether files in it have changed since; None where
    git is missing or does not know the file."""
    try:
        _git(file, "ls-files", "--error-unmatch", os.path.basename(file))
        commit = _git(file, "rev-parse", "HEAD")
        return {"commit": commit, "changed": bool(_git(file, "status", "--porcelain", "--untracked-files=no"))}
    except (OSError, subprocess.SubprocessError):
        return None


def _git(file: str | os.PathLike, *arguments: str) -> str:
    folder = os.path.dirname(os.path.abspath(file))
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True, timeout=10)
    return done.stdout.strip()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # tensorflow-cpu, for example, goes by another name
        return getattr(sys.modules.get(package), "__version__", None)


def _write_json(path: pathlib.Path, value: object) -> None:
    with written_whole(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, default=_plain) + "\n", encoding="utf-8")


def _plain(value: object) -> object:
    """Numpy's numbers and arrays inside settings."""
    return value.tolist() if isinstance(value, (np.generic, np.ndarray)) else str(value)


def find_last(model_dir: str | os.PathLike, name: str | None) -> str:
    """Path of the last epoch's checkpoint in the newest run folder that has one (NAME + date, see set_log_dir).

    Args:
        model_dir: the folder that holds the run folders.
        name: Config.NAME.

    Raises:
        InputError: there is no run of that name, or none has a checkpoint.
    """
    folder = pathlib.Path(model_dir)
    name = (name or "model").lower()
    pattern = re.compile(re.escape(name) + r"\d{8}T\d{4}.*")
    runs = sorted(d for d in folder.iterdir() if d.is_dir() and pattern.fullmatch(d.name)) if folder.is_dir() else []
    for run in reversed(runs):  # one that broke off in its first epoch has none: the one before it counts
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
