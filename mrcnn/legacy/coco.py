"""`import coco` of Matterport's demo notebook, where the sample itself is not on the path: its settings."""

from typing import Any

from mrcnn.config import Config
from mrcnn.errors import InputError


class CocoConfig(Config):
    """Settings of the published COCO weights."""

    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 80


def __getattr__(name: str) -> Any:
    if name.startswith("__"):
        raise AttributeError(name)
    raise InputError(
        f"coco.{name} is in Matterport's samples/coco/coco.py, which is not on the path: copy that file beside the "
        "script. This project's own COCO reader is scripts/train.py --data FOLDER"
    )
