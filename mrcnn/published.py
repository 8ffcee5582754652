"""Weight files that can be had by name: where they are published, and a download that never leaves half a file."""

import dataclasses
import hashlib
import http.client
import logging
import math
import os
import pathlib
import urllib.error
import urllib.request
from typing import BinaryIO

import h5py

from mrcnn.errors import InputError

logger = logging.getLogger(__name__)

# Folder of the weights that come with the source tree.
SHIPPED = pathlib.Path(__file__).resolve().parent.parent / "weights"


@dataclasses.dataclass(frozen=True)
class Published:
    """A weight file that can be had by name. A size or hash of None was never published, and is not checked."""

    name: str
    file_name: str
    url: str | None
    size: int | None = None
    sha256: str | None = None
    md5: str | None = None
    note: str = ""


REGISTRY = {
    entry.name: entry
    for entry in (
        Published(
            name="coco",
            file_name="mask_rcnn_coco.h5",
            url="https://github.com/matterport/Mask_RCNN/releases/download/v2.0/mask_rcnn_coco.h5",
            size=257_557_808,  # Matterport published no hash; only the length and the HDF5 signature are checked
            note="Mask R-CNN, ResNet-101 FPN, 81 COCO classes, by Matterport",
        ),
        Published(
            name="imagenet",
            file_name="resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            url="https://github.com/fchollet/deep-learning-models/releases/download/v0.2/"
            "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
            size=94_653_016,
            md5="a268eb855778b3df3c7506639542a6af",  # as keras.applications gave it to get_file
            note="ResNet-50 without its classifier, ImageNet, by Keras",
        ),
        Published(
            name="imagenet-resnet101",
            file_name="resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
            url="https://storage.googleapis.com/tensorflow/keras-applications/resnet/"
            "resnet101_weights_tf_dim_ordering_tf_kernels_notop.h5",
            md5="88cf7a10940856eca736dc7b7e228a21",  # as keras.applications gives it to get_file
            note="ResNet-101 without its classifier, ImageNet, by Keras; imagenet.py gives it Matterport's layer names",
        ),
        Published(
            name="streets",
            file_name="streets_resnet18.h5",
            url=None,  # comes with the source tree
            size=8_437_368,
            sha256="80f53e25a04546dc1ba27abba79461175a71923b2dc214ccdd015d32ea85011a",
            note="Mask R-CNN, ResNet-18 FPN, trained on the drawn street scenes of bdd100k.streets",
        ),
    )
}


def fetch(name: str, folder: str | os.PathLike = SHIPPED) -> pathlib.Path:
    """Returns the path of a published weight file, downloading it if the folder does not have it.

    The download goes to NAME.part and takes the final name only after its size and hash were checked. A transfer that
    broke is resumed by the next call.

    Args:
        name: "coco", "imagenet", "imagenet-resnet101" or "streets".
        folder: where the file is or shall be; created if missing.

    Raises:
        InputError: unknown name, no connection (the message says where to put the file by hand), a broken transfer, or
            a file that is not the published one.
    """
    if name not in REGISTRY:
        raise InputError(f"no published weights are called {name!r}; there are {', '.join(REGISTRY)}")
    return fetch_entry(REGISTRY[name], folder)


def fetch_entry(entry: Published, folder: str | os.PathLike) -> pathlib.Path:
    """`fetch` for any entry, listed in REGISTRY or not. Raises as `fetch` does."""
    target = pathlib.Path(folder) / entry.file_name
    if target.exists():
        fault = _fault(entry, target)
        if fault:
            raise InputError(f"{target} is not the published file: {fault}; move or delete it and run again")
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
            f"cannot download {entry.url}: {error}. {done} bytes are kept in {part}; run again to go on from there, "
            f"or fetch the file by hand and put it at {target}"
        ) from error
    fault = _fault(entry, part)
    if fault:
        part.unlink()
        raise InputError(
            f"{entry.url} gave something else than the published file: {fault}; it was deleted. "
            f"Run again, or fetch the file by hand and put it at {target}"
        )
    part.replace(target)
    return target


def _download(url: str, size: int | None, part: pathlib.Path) -> None:
    """Appends to `part` what it lacks. Raises OSError if the connection ends before the announced length."""
    have = part.stat().st_size if part.exists() else 0
    if have and have == size:
        return
    headers = {"User-Agent": "mask-rcnn-bdd100k"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=60)
    except urllib.error.HTTPError as error:
        if error.code != http.client.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise
        part.unlink()  # longer than the file itself: some other file's rest
        return _download(url, size, part)
    with response:
        if have and response.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server cannot resume: start again
        length = response.headers.get("Content-Length")
        total = have + int(length) if length else size
        with part.open("ab" if have else "wb") as file:
            done = _copy(response, file, have, total)
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done != total:
        raise ConnectionError(f"the connection ended after {done} of {total} bytes")


def _copy(response: http.client.HTTPResponse, file: BinaryIO, done: int, total: int | None) -> int:
    """Copies to the end and logs every tenth. Returns the number of bytes that the file then has."""
    tenth = math.inf if total is None else done * 10 // total
    while chunk := response.read(1 << 18):
        file.write(chunk)
        done += len(chunk)
        if total is not None and done * 10 // total > tenth:
            tenth = done * 10 // total
            logger.info("%d %% of %.1f MB", tenth * 10, total / 1e6)
    return done


def _fault(entry: Published, path: pathlib.Path) -> str | None:
    """Why a file is not the published one, or None."""
    size = path.stat().st_size
    if entry.size is not None and size != entry.size:
        return f"it has {size} bytes instead of {entry.size}"
    for algorithm, expected in (("sha256", entry.sha256), ("md5", entry.md5)):
        if expected is not None:
            with path.open("rb") as file:
                found = hashlib.file_digest(file, algorithm).hexdigest()
            if found != expected:
                return f"its {algorithm} is {found} instead of {expected}"
    if entry.file_name.endswith(".h5") and not h5py.is_hdf5(path):
        return "it is no HDF5 file"
    return None
