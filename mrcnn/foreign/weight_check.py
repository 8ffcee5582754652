"""Tell what a weight file is: which published file, as far as it can be verified, and how many numbers it has."""

import dataclasses
import hashlib
import math
import os
import pathlib

import h5py

from mrcnn.foreign.tensor_files import read_tensor_file
from mrcnn.modeling import pretrained, weights
from mrcnn.modeling.registry import REGISTRY, Published
from mrcnn.user_files import open_file

BLOCK = 1 << 20  # bytes read at once


@dataclasses.dataclass(frozen=True)
class Checked:
    """What is known of a weight file.

    Attributes:
        path: the file.
        entry: the published file that it is, or whose name it has; None for any other file.
        differs: how it differs from the published file, or None.
        sha256: of the file, in hexadecimal digits.
        kind: "torch", "pickle", "safetensors" or "Matterport's HDF5".
        tensors: how many arrays it has.
        numbers: how many numbers are in them, statistics of BatchNorm included.
    """

    path: pathlib.Path
    entry: Published | None
    differs: str | None
    sha256: str
    kind: str
    tensors: int
    numbers: int

    @property
    def verdict(self) -> str:
        """Return in words whether it is a published file, and what that was concluded from."""
        if self.entry is None:
            return "no published file that is known here"
        if self.differs:
            return f"not the published {self.entry.name}: {self.differs}"
        if not self.entry.checks:
            return f"may be the published {self.entry.name}: nothing was published to compare it with"
        return f"the published {self.entry.name}, by its {self.entry.checks}"


def check_file(path: str | os.PathLike[str]) -> Checked:
    """Return what a weight file is. A published file is recognised by its hash, or else by its name.

    Raises:
        InputError: it is missing, or is not a weight file that can be read.
    """
    path = pathlib.Path(path)
    with open_file(path) as file:
        digests = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        while block := file.read(BLOCK):
            for digest in digests:
                digest.update(block)
    sha256, md5 = (digest.hexdigest() for digest in digests)
    entries = REGISTRY.values()
    entry = next((entry for entry in entries if _has_hash(entry, sha256, md5)), None)
    entry = entry or next((entry for entry in entries if entry.file_name == path.name), None)
    if h5py.is_hdf5(path):
        kind = "Matterport's HDF5"
        shapes = [shape for layer in weights.layer_shapes(path).values() for shape in layer]
    else:
        found = read_tensor_file(path)
        kind, shapes = found.kind, [tensor.shape for tensor in found.tensors.values()]
    differs = None if entry is None else pretrained.mismatch(entry, path)
    return Checked(path, entry, differs, sha256, kind, len(shapes), sum(map(math.prod, shapes)))


def _has_hash(entry: Published, sha256: str, md5: str) -> bool:
    """Return whether a file with these hashes is a published one, as far as digits of its hash are known."""
    known = [(entry.sha256 or entry.sha256_prefix, sha256), (entry.md5 or entry.md5_prefix, md5)]
    compared = [actual.startswith(digits) for digits, actual in known if digits]
    return bool(compared) and all(compared)
