"""ImageNet weights for the backbones, under Matterport's layer names.

ResNet-50's file has them already, and is used as it is, as the published COCO weights were. ResNet-101's comes from
keras.applications and is converted once.
"""

import os
import pathlib
import re

import h5py
import numpy as np

from mrcnn import weights
from mrcnn.errors import InputError
from mrcnn.published import SHIPPED, fetch

CONVERTED = "resnet101_imagenet.h5"
# of BatchNorm: keras.applications has 1.001e-5, Matterport's networks Keras' default
THEIR_EPSILON, OUR_EPSILON = 1.001e-5, 1e-3
BRANCHES = {"0": "branch1", "1": "branch2a", "2": "branch2b", "3": "branch2c"}


def imagenet_path(backbone: str, folder: str | os.PathLike = SHIPPED) -> str:
    """Path of ImageNet weights for a backbone, downloaded if need be.

    Args:
        backbone: "resnet50" or "resnet101".
        folder: where the files are or shall be.

    Raises:
        InputError: nothing is published for the backbone; or as `mrcnn.published.fetch`.
    """
    if backbone == "resnet50":
        return str(fetch("imagenet", folder))
    if backbone != "resnet101":
        raise InputError(
            f"there are no published ImageNet weights for the backbone {backbone!r}; use resnet50 or resnet101, or "
            "start from a .h5 file of your own"
        )
    target = pathlib.Path(folder) / CONVERTED
    if not target.exists():
        convert(fetch("imagenet-resnet101", folder), target)
    return str(target)


def convert(source: pathlib.Path, target: pathlib.Path) -> None:
    """Write a ResNet of keras.applications (version 1, without its top) under Matterport's names.

    Two things are brought over exactly: the filters of conv1 get their input channels in the order red, green, blue,
    where theirs read blue first, and gamma takes up the difference of the two epsilons.

    Raises:
        InputError: the file lacks an array, or has none of these layers.
    """
    layers: dict[str, dict[str, np.ndarray]] = {}
    with h5py.File(source, "r") as file:
        for theirs, group in file.items():
            ours = matterport_name(theirs)
            if ours is None:
                continue
            arrays = {name: np.asarray(value) for name, value in _arrays(group).items()}
            if "moving_variance" in arrays:
                variance = arrays["moving_variance"].astype(np.float64)
                factor = np.sqrt((variance + OUR_EPSILON) / (variance + THEIR_EPSILON))
                arrays["gamma"] = (arrays["gamma"] * factor).astype(np.float32)
            elif ours == "conv1":
                arrays["kernel"] = arrays["kernel"][:, :, ::-1]
            order = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
            layers[ours] = {f"{ours}/{name}:0": arrays[name] for name in order if name in arrays}
    if "conv1" not in layers:
        raise InputError(f"{source} is no ResNet of keras.applications: it has no layer conv1_conv; download it again")
    weights.write_layers(target, layers)


def matterport_name(name: str) -> str | None:
    """ "conv4_block2_1_bn" -> "bn4b_branch2a"; None for a layer without weights.

    Blocks are counted a, b, c ...: the 23 blocks of stage 4 of ResNet-101 end with w.
    """
    if name in ("conv1_conv", "conv1_bn"):
        return {"conv1_conv": "conv1", "conv1_bn": "bn_conv1"}[name]
    match = re.fullmatch(r"conv(\d)_block(\d+)_(\d)_(conv|bn)", name)
    if match is None:
        return None
    stage, block, branch, kind = match.groups()
    return f"{'res' if kind == 'conv' else 'bn'}{stage}{chr(ord('a') + int(block) - 1)}_{BRANCHES[branch]}"


def _arrays(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The data sets anywhere below a group by their short name: "kernel", "gamma"."""
    found: dict[str, h5py.Dataset] = {}

    def note(path: str, item: object) -> None:
        if isinstance(item, h5py.Dataset):
            found[path.rpartition("/")[2].partition(":")[0]] = item

    group.visititems(note)
    return found
