"""`Dataset`: a list of images with their classes, as in Matterport's code, and the fingerprint of one.

Legend: H W image, n instances, C classes including the background. Boxes are (y1, x1, y2, x2).
"""

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.data.images import image_size, read_image
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances

log = logging.getLogger(__name__)


class Dataset:
    """A list of images with their classes; subclasses override `load_image`, `load_mask` or `load_instances`.

    Call `add_class` and `add_image` for every class and image, then `prepare`. After that, image and class ids are
    positions in `image_info` and `class_info`; class 0 is the background.

    Attributes:
        max_pixels: the maximum number of pixels of an image file; larger ones are errors, as unreadable ones are.
    """

    max_pixels: int = MAX_PIXELS

    def __init__(self, class_map: dict | None = None) -> None:
        self._image_ids: np.ndarray | list = []
        self.image_info: list[dict[str, Any]] = []
        self.class_info: list[dict[str, Any]] = [{"source": "", "id": 0, "name": "BG"}]
        self.source_class_ids: dict[str, list[int]] = {}

    def add_class(self, source: str, class_id: int | str, class_name: str) -> None:
        """Add a class, unless this source already has one with this id.

        Args:
            source: short name of the data set, without a dot.
            class_id: the id within that source.
            class_name: shown in figures.

        Raises:
            InputError: the source contains a dot.
        """
        if "." in source:
            raise InputError(f"the source name {source!r} contains a dot; leave it out: keys are 'source.id'")
        if not any(info["source"] == source and info["id"] == class_id for info in self.class_info):
            self.class_info.append({"source": source, "id": class_id, "name": class_name})

    def add_image(self, source: str, image_id: Any, path: str | os.PathLike | None, **kwargs: Any) -> None:
        """Add an image.

        Args:
            source: as in `add_class`. Classes of other sources do not enter the class loss of this image.
            image_id: any id that is unique within its source.
            path: the image file, or None if `load_image` makes the image.
            **kwargs: kept in `image_info`, for `load_mask`.
        """
        self.image_info.append({"id": image_id, "source": source, "path": path, **kwargs})

    def image_reference(self, image_id: int) -> str:
        """Return a link or name for the image; the base class has none."""
        return ""

    def prepare(self, class_map: dict | None = None) -> None:
        """Compute the ids. Call this after the last `add_image`."""
        self.num_classes = len(self.class_info)
        self.class_ids = np.arange(self.num_classes)
        self.class_names = [info["name"].split(",")[0] for info in self.class_info]
        self.num_images = len(self.image_info)
        self._image_ids = np.arange(self.num_images)
        self.class_from_source_map = {f"{c['source']}.{c['id']}": i for i, c in enumerate(self.class_info)}
        self.image_from_source_map = {f"{m['source']}.{m['id']}": i for i, m in enumerate(self.image_info)}
        self.sources = list(dict.fromkeys(info["source"] for info in self.class_info))
        self.source_class_ids = {
            source: [i for i, info in enumerate(self.class_info) if i == 0 or info["source"] == source]
            for source in self.sources
        }

    def map_source_class_id(self, source_class_id: str) -> int:
        """Return the class id of "source.id", such as "coco.12"."""
        return self.class_from_source_map[source_class_id]

    def get_source_class_id(self, class_id: int, source: str) -> int:
        """Return the id that `source` uses for a class id; the class must come from that source."""
        info = self.class_info[class_id]
        assert info["source"] == source, f"class {class_id} comes from {info['source']!r}, not from {source!r}"
        return info["id"]

    @property
    def image_ids(self) -> np.ndarray | list:
        """int [number of images]: 0, 1, 2, ..."""
        return self._image_ids

    def source_image_link(self, image_id: int) -> Any:
        """Return the path (or URL) of the image."""
        return self.image_info[image_id]["path"]

    def load_image(self, image_id: int) -> np.ndarray:
        """Read the image file.

        Returns:
            uint8 [H, W, 3] RGB, whatever the file holds (see `read_image`). A subclass may return other numbers, of one
            type for all images: training and detection take them as they are and subtract MEAN_PIXEL.

        Raises:
            InputError: the file is missing or broken.
        """
        return read_image(self.image_info[image_id]["path"], self.max_pixels)

    def image_size(self, image_id: int) -> tuple[int, int]:
        """Return (height, width) of an image, from add_image(height=, width=) or the header of its file if possible.

        Raises:
            InputError: the file is missing or broken.
        """
        info = self.image_info[image_id]
        if info.get("height") and info.get("width"):
            return int(info["height"]), int(info["width"])
        if type(self).load_image is not Dataset.load_image:  # the image need not be what the file holds
            height, width = self.load_image(image_id).shape[:2]
            return height, width
        return image_size(info["path"], self.max_pixels)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the full masks of an image; subclasses override it.

        Returns:
            masks bool [H, W, n] and class ids int32 [n], 1 to C - 1 (negative: a crowd).
        """
        if type(self).load_mask is Dataset.load_mask:  # a subclass that calls this method means "no objects"
            log.warning("%s has no load_mask() of its own: image %s has no objects", type(self).__name__, image_id)
        return np.empty((0, 0, 0), bool), np.empty(0, np.int32)

    def load_instances(self, image_id: int) -> Instances:
        """Return the objects as boxes and crops, which is what training reads.

        By default they are cut from `load_mask`. A subclass that has polygons or run-length codes should override it:
        then no object needs an array of the size of the image.
        """
        return Instances.from_masks(*self.load_mask(image_id))

    def load_class_ids(self, image_id: int) -> np.ndarray:
        """Return int32 [n] class ids, negative for crowds and ignored objects, as class balancing reads them.

        By default from `load_instances`, which decodes every mask. A subclass that knows its labels should override it.
        """
        return self.load_instances(image_id).training_class_ids


def active_classes(dataset: Dataset, image_id: int) -> np.ndarray:
    """Return int32 [C], 1 for the background and the classes of the image's source, which its class loss considers."""
    active = np.zeros(dataset.num_classes, np.int32)
    active[dataset.source_class_ids[dataset.image_info[image_id]["source"]]] = 1
    return active


def checked_instances(dataset: Dataset, image_id: int) -> Instances:
    """Return the objects of an image, as `Dataset.load_instances`, if they have classes of the dataset.

    Raises:
        InputError: the labels cannot be read, or a class id is not among the classes; the message names the image.
    """
    with naming_image(dataset, image_id):
        instances = dataset.load_instances(image_id)
        check_class_ids(dataset, image_id, instances.class_ids)
    return instances


def check_class_ids(dataset: Dataset, image_id: int, class_ids: np.ndarray) -> None:
    """Check that all class ids, int [n], are those of objects: 1 to C - 1, or negative for a crowd.

    Raises:
        InputError: one is not; the message says which classes there are.
    """
    highest = len(dataset.class_info) - 1
    wrong = [i for i in np.abs(class_ids).tolist() if not 1 <= i <= highest]
    if wrong:
        source = dataset.image_info[image_id]["source"]
        advice = "leave out what is background" if wrong[0] == 0 else "call add_class for each"
        raise InputError(f"class id {wrong[0]}; classes are 1 to {highest} (data set {source!r}): {advice}")


@contextlib.contextmanager
def naming_image(dataset: Dataset, image_id: int) -> Iterator[None]:
    """Name the image in every error that leaves the block, such as one of a user's `load_mask`.

    Raises:
        InputError: in place of the error.
    """
    try:
        yield
    except Exception as error:
        info = dataset.image_info[image_id]
        named = f"image {info['id']!r} (number {image_id}, {info['path']}): "
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(reason if reason.startswith(named) else named + reason) from error


def fingerprint(dataset: Dataset) -> str:
    """Return a hash of what a run is trained on: class names, and for each image its id, file size and object classes.

    Neither images nor masks are read: the classes of the objects count where the dataset lists them. The same data in
    another folder has the same fingerprint.
    """
    listed = type(dataset).load_class_ids is not Dataset.load_class_ids
    digest = hashlib.sha256(json.dumps(list(dataset.class_names)).encode())
    for image_id, info in enumerate(dataset.image_info):
        path = info.get("path")
        size = os.stat(path).st_size if path is not None and os.path.exists(path) else -1
        class_ids = np.asarray(dataset.load_class_ids(image_id)).tolist() if listed else []
        digest.update(json.dumps([repr(info["id"]), size, class_ids]).encode())
    return digest.hexdigest()
