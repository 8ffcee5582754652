"""Annotations of any source in memory, and the Dataset that training reads them through.

Objects stay polygons or run-length codes until an image is loaded; then they become boxes and crops.
"""

import dataclasses
import logging
import pathlib
from collections import Counter
from typing import Any

import numpy as np

from mrcnn.checks import Report
from mrcnn.data import Dataset
from mrcnn.errors import InputError
from mrcnn.masks import Instances
from mrcnn.outlines import LabelError
from mrcnn.rle import polygons_to_crop, rle_to_crop, tighten

log = logging.getLogger(__name__)

BoxAndCrop = tuple[np.ndarray, np.ndarray]  # int32 [4] (y1, x1, y2, x2) px, exclusive; bool [y2 - y1, x2 - x1]


@dataclasses.dataclass
class Annotation:
    """One annotated object; with neither polygons nor rle only its box is known.

    Attributes:
        id: how messages name it.
        name: its class.
        polygons: float64 [k, 2] arrays of (x, y) px; the object is their union.
        rle: COCO run-length code {"size": [height, width], "counts": ...}.
        box_px: (x1, y1, x2, y2) px, x2 and y2 exclusive.
        crowd, ignore: neither a positive nor a negative.
    """

    id: str
    name: str
    polygons: list[np.ndarray] | None = None
    rle: dict[str, Any] | None = None
    box_px: tuple[float, float, float, float] | None = None
    crowd: bool = False
    ignore: bool = False

    @property
    def has_mask(self) -> bool:
        """Whether the annotation says which pixels belong to the object."""
        return self.polygons is not None or self.rle is not None


@dataclasses.dataclass
class AnnotatedImage:
    """One image with its objects.

    Attributes:
        name: unique in its folder, with "/" between the parts.
        path: the image file.
        source: the file that annotates it.
        size: (height, width) that the annotations say, px.
        objects: its annotations.
        id_mask: in place of `objects`, a PNG whose values are instance ids, 0 for the background.
        mask_files: in place of `objects`, one PNG per object; what is not 0 belongs to it.
        coco_id: its id in a COCO file.
        split: "train", "val" or "test", where folders or files say it.
    """

    name: str
    path: pathlib.Path
    source: pathlib.Path
    size: tuple[int, int] | None = None
    objects: list[Annotation] = dataclasses.field(default_factory=list)
    id_mask: pathlib.Path | None = None
    mask_files: list[pathlib.Path] | None = None
    coco_id: int | None = None
    split: str | None = None


@dataclasses.dataclass
class Annotations:
    """What a reader found in a folder.

    Attributes:
        format: its name, which is the source of classes and images in the dataset.
        images: all of them, of every split.
        classes: (id, name) in their order; ids from 1.
        report: what could not be used.
    """

    format: str
    images: list[AnnotatedImage]
    classes: list[tuple[int, str]]
    report: Report


class AnnotatedDataset(Dataset):
    """Images with annotations of any format; see `mrcnn.folders.open_folder`.

    `image_info[i]` has `id` and `name` (the file's path in the folder), `path`, `width`, `height`, `annotated` (an
    AnnotatedImage) and, for COCO, `coco_id`. `report` holds what could not be used.
    """

    report: Report

    def add_annotations(self, found: Annotations, images: list[AnnotatedImage], rectangles_as_masks: bool) -> None:
        """Adds classes and images; sizes must be known. Call `prepare` afterwards."""
        self.report = found.report
        for number, name in found.classes:
            self.add_class(found.format, number, name)
        for image in images:
            assert image.size is not None
            known = {"coco_id": image.coco_id} if image.coco_id is not None else {}
            if not rectangles_as_masks:
                image.objects = [label for label in image.objects if label.has_mask]
            self.add_image(
                found.format,
                image.name,
                str(image.path),
                name=image.name,
                height=image.size[0],
                width=image.size[1],
                annotated=image,
                **known,
            )

    def load_instances(self, image_id: int) -> Instances:
        """The objects of an image as boxes and crops.

        Args:
            image_id: index into `image_info`.

        Raises:
            InputError: a mask file is missing, broken, or does not fit the image.
        """
        info = self.image_info[image_id]
        if "annotated" not in info:
            return super().load_instances(image_id)
        image, shape = info["annotated"], (info["height"], info["width"])
        if image.id_mask is not None:
            masks = _split_ids(read_mask(image.id_mask, shape))
        elif image.mask_files is not None:
            masks = [tighten(read_mask(path, shape) > 0, 0, 0) for path in image.mask_files]
        else:
            masks = [object_mask(label, shape) for label in image.objects]
        labels = image.objects or [Annotation(str(i), self.class_info[1]["name"]) for i in range(len(masks))]
        kept = [(label, *mask) for label, mask in zip(labels, masks, strict=True) if mask is not None]
        ids = self._class_ids_of(info["source"])
        return Instances(
            np.array([ids[label.name] for label, _, _ in kept], np.int32),
            np.array([box for _, box, _ in kept], np.int32).reshape(-1, 4),
            [crop for _, _, crop in kept],
            np.array([label.crowd for label, _, _ in kept], bool),
            np.array([label.ignore for label, _, _ in kept], bool),
        )

    def load_class_ids(self, image_id: int) -> np.ndarray:
        """int32 [n] class ids, negative for crowds and ignored objects; decoded only where there are no annotations."""
        info = self.image_info[image_id]
        if "annotated" not in info or not info["annotated"].objects:
            return super().load_class_ids(image_id)
        ids = self._class_ids_of(info["source"])
        labels = info["annotated"].objects
        return np.array([-ids[a.name] if a.crowd or a.ignore else ids[a.name] for a in labels], np.int32)

    def _class_ids_of(self, source: str) -> dict[str, int]:
        return {known["name"]: i for i, known in enumerate(self.class_info) if known["source"] == source}

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Full masks: bool [H, W, n] and int32 [n] class ids, negative for crowds and ignored objects.

        Raises:
            InputError: see `load_instances`.
        """
        info = self.image_info[image_id]
        if "annotated" not in info:
            return super().load_mask(image_id)
        instances = self.load_instances(image_id)
        return instances.to_masks((info["height"], info["width"])), instances.training_class_ids

    def image_reference(self, image_id: int) -> str:
        """The path of the image."""
        return str(self.image_info[image_id]["path"])


def object_mask(label: Annotation, shape: tuple[int, int]) -> BoxAndCrop | None:
    """Box and mask of an object in an image of `shape` (height, width); None if no pixel belongs to it.

    Raises:
        InputError: a run-length code whose runs do not fit its size; readers check that before.
    """
    if label.rle is not None:
        return rle_to_crop(label.rle)
    if label.polygons is not None:
        return polygons_to_crop(label.polygons, shape)
    assert label.box_px is not None
    x1, y1, x2, y2 = np.rint(label.box_px).astype(int)
    y1, x1, y2, x2 = max(y1, 0), max(x1, 0), min(y2, shape[0]), min(x2, shape[1])
    if y2 <= y1 or x2 <= x1:
        return None
    return np.array([y1, x1, y2, x2], np.int32), np.ones((y2 - y1, x2 - x1), bool)


def _split_ids(ids: np.ndarray) -> list[BoxAndCrop | None]:
    """One mask per value other than 0, ascending."""
    values, ranks = np.unique(ids, return_inverse=True)
    ranks = ranks.reshape(ids.shape) + (values[0] != 0)  # 0 is the background, also where nothing is
    from scipy.ndimage import find_objects  # late: only folders of masks need it

    masks: list[BoxAndCrop | None] = []
    for rank, place in enumerate(find_objects(ranks), 1):
        rows, columns = place
        box = np.array([rows.start, columns.start, rows.stop, columns.stop], np.int32)
        masks.append((box, ranks[place] == rank))
    return masks


def read_mask(path: pathlib.Path, shape: tuple[int, int]) -> np.ndarray:
    """A mask PNG of one channel: grey of 8 or 16 bits, black and white, or with a palette (then its indices).

    Args:
        path: the file.
        shape: (height, width) of its image.

    Returns:
        int32 [height, width].

    Raises:
        InputError: missing, broken, of several channels, or of another size.
    """
    from PIL import Image

    try:
        with Image.open(path) as image:
            if image.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
                raise InputError(f"{path}: is {image.mode}; a mask needs one channel, grey of 8 or 16 bits")
            pixels = np.asarray(image).astype(np.int32)
    except (OSError, SyntaxError) as error:  # Pillow reports broken PNG chunks as SyntaxError
        raise InputError(f"{path}: is no mask that can be read ({error})") from error
    if pixels.shape != shape:
        raise InputError(
            f"{path}: is {pixels.shape[1]} x {pixels.shape[0]}, its image is {shape[1]} x {shape[0]} (width x height)"
        )
    return pixels


def keep(image: AnnotatedImage, label: Annotation) -> None:
    """Adds a label whose box or polygons were checked. Raises LabelError where it has no class name."""
    if not label.name:
        raise LabelError("has no class")
    image.objects.append(label)


def log_summary(found: Annotations, images: list[AnnotatedImage], what: str, most: int = 10) -> None:
    """Writes counts to the log, and at most `most` of the findings in full."""
    counts = Counter(label.name for image in images for label in image.objects)
    objects = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    log.info("%s: %d images%s", what, len(images), f", objects: {objects}" if objects else "")
    for finding in found.report.findings[:most]:
        log.warning("left out: %s", finding)
    if len(found.report.findings) > most:
        log.warning("left out: %d more labels or images", len(found.report.findings) - most)
