"""Published weight files: download and verify them, and convert ImageNet's ResNet-101 to Matterport's layer names."""

import dataclasses
import difflib
import hashlib
import http.client
import logging
import math
import os
import pathlib
import re
import urllib.error
import urllib.request
from typing import BinaryIO

import h5py
import numpy as np

from mrcnn.backbones import ALIASES, block_name, resnet_name
from mrcnn.errors import InputError
from mrcnn.modeling import hdf5, weights
from mrcnn.modeling.registry import REGISTRY, Published

logger = logging.getLogger(__name__)

SHIPPED = pathlib.Path(__file__).resolve().parents[2] / "weights"  # the folder of the source tree, and the default


COCO_MODEL_URL = REGISTRY["coco"].url


def fetch(name: str, folder: str | os.PathLike = SHIPPED) -> pathlib.Path:
    """Return the path of a published weight file, after downloading it if the folder does not have it.

    The download goes to FILE.part and gets its final name only after its size and hash were verified. The next call
    resumes an interrupted transfer.

    Args:
        name: of REGISTRY: "coco", "streets", "coco-r50" and so on.
        folder: where the file is or should be; created if missing.

    Raises:
        InputError: the name is unknown, there is no connection (the message says where to put the file by hand), the
            transfer was interrupted, or the file is not the published one.
    """
    if name not in REGISTRY:
        close = difflib.get_close_matches(name, REGISTRY, 3, 0.5) or ["coco", "coco-r50", "imagenet", "streets"]
        raise InputError(
            f"no published weights are called {name!r}; `python scripts/weights.py list` shows all names, such as "
            f"{', '.join(close)}"
        )
    return fetch_entry(REGISTRY[name], folder)


def imagenet_path(backbone: str, folder: str | os.PathLike = SHIPPED, stride_in_1x1: bool = True) -> str:
    """Return the path of ImageNet weights for a backbone, after downloading and converting them if necessary.

    Args:
        backbone: BACKBONE: a ResNet, or convnext_tiny by either name.
        folder: where the files are or should be.
        stride_in_1x1: STRIDE_IN_1X1. ResNet-50 and 101 are published with either: Keras' files if True, else
            torchvision's.

    Raises:
        InputError: nothing is published for the backbone; or see `fetch`.
    """
    backbone = resnet_name(backbone) or backbone  # without -c4, -dc5
    backbone = next((alias for alias, name in ALIASES.items() if name == backbone), backbone)
    if stride_in_1x1 and backbone == "resnet50":
        return str(fetch("imagenet", folder))
    if stride_in_1x1 and backbone == "resnet101":
        target = pathlib.Path(folder) / CONVERTED
        if not target.exists():
            convert(fetch("imagenet-resnet101", folder), target)
        return str(target)
    plain = "imagenet-" + backbone.replace("_", "-")
    for name in (f"{plain}-v1", plain):
        if name in REGISTRY:
            return str(fetch(name, folder))
    known = sorted(name.removeprefix("imagenet-") for name in REGISTRY if name.startswith("imagenet-"))
    raise InputError(
        f"there are no published ImageNet weights for the backbone {backbone!r}; they are known for "
        f"{', '.join(known)}. Start from a file of your own"
    )


def download_trained_weights(coco_model_path: str | os.PathLike, verbose: int = 1) -> None:
    """Download Matterport's COCO weights to this path, unless they are there. `verbose` is ignored: see the log.

    Raises:
        InputError: there is no connection, or the transfer was interrupted; no file is left at the path then.
    """
    folder, file_name = os.path.split(os.path.abspath(coco_model_path))
    fetch_entry(dataclasses.replace(REGISTRY["coco"], file_name=file_name), folder)


# ----------------------------------------------------------------------------------------------------------- download


def fetch_entry(entry: Published, folder: str | os.PathLike) -> pathlib.Path:
    """Run `fetch` for any entry, listed in REGISTRY or not. Raises what `fetch` raises."""
    target = pathlib.Path(folder) / entry.file_name
    if target.exists():
        differs = mismatch(entry, target)
        if differs:
            raise InputError(f"{target} is not the published file: {differs}; move or delete it and run again")
        return target
    if entry.url is None:
        raise InputError(f"{target} is missing; it comes with the source tree, so restore it with git checkout")
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(target.name + ".part")
    logger.info("downloading %s to %s", entry.url, target)
    try:
        _download(entry.url, entry.size, part)
    except (OSError, http.client.HTTPException) as error:  # URLError, timeouts and a full disk are OSError
        done = part.stat().st_size if part.exists() else 0
        raise InputError(
            f"cannot download {entry.url}: {error}. "
            + (f"{done} bytes are kept in {part}; run again to resume, or download" if done else "Download")
            + f" the file by hand and put it at {target}"
        ) from error
    differs = mismatch(entry, part)
    if differs:
        part.unlink()
        raise InputError(
            f"{entry.url} is not the published file: {differs}; the download was deleted. Run again, or download the "
            f"file by hand and put it at {target}"
        )
    part.replace(target)
    return target


def _download(url: str, size: int | None, part: pathlib.Path) -> None:
    """Append to `part` what it lacks. Raises OSError if the connection ends before the announced length."""
    have = part.stat().st_size if part.exists() else 0
    if have and have == size:
        return
    headers = {"User-Agent": "mask-rcnn-bdd100k"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # longer than the file itself, so it is part of another file
        return _download(url, size, part)
    with response:
        if have and response.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server cannot resume, so start again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else size
        with part.open("ab" if have else "wb") as file:
            done = _copy(response, file, have, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _copy(response: http.client.HTTPResponse, file: BinaryIO, done: int, total: int | None) -> int:
    """Copy to the end and log every tenth. Returns the number of bytes that the file then has."""
    tenth = math.inf if total is None else done * 10 // total
    while chunk := response.read(1 << 18):
        file.write(chunk)
        done += len(chunk)
        if total is not None and done * 10 // total > tenth:
            tenth = done * 10 // total
            logger.info("%d %% of %.1f MB", tenth * 10, total / 1e6)
    return done


def mismatch(entry: Published, path: str | os.PathLike) -> str | None:
    """Return how a file differs from the published one: "it has 4 bytes instead of 5"; None if it does not.

    Args:
        entry: with the size and the hashes, as far as they were published; `Published.checks` tells which.
        path: of the file, which must be there.
    """
    path = pathlib.Path(path)
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"it has {size} bytes instead of {entry.size}"
    published = (
        ("sha256", entry.sha256 or entry.sha256_prefix),
        ("md5", entry.md5 or entry.md5_prefix),
    )
    for algorithm, expected in published:
        if expected is not None:
            with path.open("rb") as file:
                actual = hashlib.file_digest(file, algorithm).hexdigest()
            if not actual.startswith(expected):
                return f"its {algorithm} {'is' if len(expected) == len(actual) else 'starts with'} " + (
                    f"{actual[: len(expected)]} instead of {expected}"
                )
    if entry.file_name.endswith(".h5") and not h5py.is_hdf5(path):
        return "it is not an HDF5 file"
    with path.open("rb") as file:
        if file.read(100).lstrip().startswith(b"<"):
            return "it is a web page"
    return None


# -------------------------------------------------------------------------------- keras.applications -> Matterport

CONVERTED = "resnet101_imagenet.h5"
KERAS_EPSILON, OUR_EPSILON = 1.001e-5, 1e-3  # of BatchNorm in keras.applications and, by default, in our layers
BRANCHES = {"0": "branch1", "1": "branch2a", "2": "branch2b", "3": "branch2c"}


def convert(source: pathlib.Path, target: pathlib.Path) -> None:
    """Write a ResNet of keras.applications (version 1, without its top) under Matterport's layer names.

    The converted network computes the same: conv1 gets its input channels in the order red, green, blue instead of
    blue, green, red, and gamma absorbs the difference between the two epsilons.

    Raises:
        InputError: the file is damaged, or has none of these layers.
    """
    layers: dict[str, dict[str, np.ndarray]] = {}
    with hdf5.opened(source, f"cannot convert {source}", "download it again") as file:
        for keras_name in file:
            name = matterport_name(keras_name)
            if name is None:
                continue
            arrays = {key: hdf5.values(array, "float32") for key, array in _arrays(file, keras_name).items()}
            if "moving_variance" in arrays:
                variance = arrays["moving_variance"].astype(np.float64)
                factor = np.sqrt((variance + OUR_EPSILON) / (variance + KERAS_EPSILON))
                arrays["gamma"] = (arrays["gamma"] * factor).astype(np.float32)
            elif name == "conv1":
                arrays["kernel"] = arrays["kernel"][:, :, ::-1]
            order = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
            layers[name] = {f"{name}/{key}:0": arrays[key] for key in order if key in arrays}
    if "conv1" not in layers:
        raise InputError(
            f"{source} is not a ResNet of keras.applications: it has no layer conv1_conv; download it again"
        )
    weights.write_layers(target, layers)


def matterport_name(name: str) -> str | None:
    """Translate a layer name: "conv4_block2_1_bn" -> "bn4b_branch2a"; None for a layer without weights.

    Blocks are lettered a, b, c ...: the 23 blocks of stage 4 of ResNet-101 end with w.
    """
    if name in ("conv1_conv", "conv1_bn"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}[name]
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", name)
    if match is None:
        return None
    stage, block, branch, kind = match.groups()
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{block_name(int(block) - 1)}_{BRANCHES[branch]}"


def _arrays(file: h5py.File, layer: str) -> dict[str, h5py.Dataset]:
    """Return the datasets anywhere below a layer's group by their short name: "kernel", "gamma"."""
    group = hdf5.find(file, layer)
    paths: list[str] = []
    if isinstance(group, h5py.Group):
        group.visit(paths.append)  # along hard links alone
    found = {path.rpartition("/")[2].partition(":")[0]: hdf5.find(group, path) for path in paths}
    return {name: item for name, item in found.items() if isinstance(item, h5py.Dataset)}
