"""`AnnotatedDataset`: the Dataset through which training reads labels of any format."""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from mrcnn.annotations.checks import size_difference
from mrcnn.annotations.findings import MISSING_IMAGE, NO_LABELS, Findings, listing
from mrcnn.annotations.mask_png import read_mask, split_ids
from mrcnn.annotations.object_masks import to_instances, visible_masks
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.data.dataset import Dataset
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.data.images import image_size
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import tighten

log = logging.getLogger(__name__)


class AnnotatedDataset(Dataset):
    """Images with labels of any format; `mrcnn.annotations.folder.open_folder` makes one.

    `image_info[i]` has `id` and `name` (as the labels or the folder name it), `path`, `width`, `height`, `annotated`
    (an AnnotatedImage) and, for COCO, `coco_id`. `class_info[i]` has `other_ids`, further ids of a COCO file for the
    same class. `findings` holds what could not be used.

    Attributes:
        IMAGE_ATTRIBUTES: attribute of images -> its title in figures, where a data set has such attributes.
        OBJECT_FLAGS: flags of objects that a data set labels: "occluded", "truncated".
    """

    IMAGE_ATTRIBUTES: ClassVar[dict[str, str]] = {}
    OBJECT_FLAGS: ClassVar[tuple[str, ...]] = ()

    def __init__(self, class_map: dict | None = None) -> None:
        super().__init__(class_map)
        self.findings = Findings("")

    def add_annotations(
        self, found: Annotations, images: Sequence[AnnotatedImage], rectangles_as_masks: bool, source: str
    ) -> None:
        """Add classes and images; call `prepare` afterwards.

        Args:
            found: what a reader returned.
            images: those of its images to add, with sizes.
            rectangles_as_masks: use the filled box of objects that have no mask; otherwise they are left out.
            source: name of the data set in `image_info` and `class_info`.

        Raises:
            InputError: all objects are boxes without masks.
        """
        total = sum(len(image.objects) for image in images)
        boxes = sum(not label.has_mask for image in images for label in image.objects)
        where = found.findings.source
        if boxes and not rectangles_as_masks:
            if boxes == total:
                raise InputError(
                    f"{where}: all {total} objects are boxes without masks (detection labels). Use labels with "
                    "masks, or --rectangles (in Python rectangles_as_masks=True) to fill the boxes"
                )
            log.warning("%s: left out %d of %d objects, which have a box and no mask", where, boxes, total)
            found.findings.boxes_left_out += boxes
        self.findings.include(found.findings)
        for number, name in found.classes:
            self.add_class(source, number, name)
            self.class_info[-1]["other_ids"] = found.other_ids.get(name, [])
        _forget_shared_ids(images)
        for image in images:
            assert image.size is not None
            if not rectangles_as_masks:
                image.objects = [label for label in image.objects if label.has_mask]
            height, width = image.size
            fields = {"name": image.name, "height": height, "width": width, "annotated": image}
            self.add_image(source, image.name, str(image.path), **fields, **self.image_fields(image))

    def image_fields(self, image: AnnotatedImage) -> dict[str, Any]:
        """Return further fields for the `image_info` of an image."""
        return {"coco_id": image.coco_id} if image.coco_id is not None else {}

    def load_instances(self, image_id: int) -> Instances:
        """Return the objects of an image as boxes and crops, straight from polygons, run-length codes or mask files.

        Args:
            image_id: index into `image_info`.

        Returns:
            Instances whose class ids are positions in `class_info`; crowds and ignored objects are marked, not left
            out. `origin` holds positions in the image's `annotated.objects`.

        Raises:
            InputError: a mask file is missing, broken, or does not fit the image.
        """
        info = self.image_info[image_id]
        if "annotated" not in info:
            return super().load_instances(image_id)
        image, shape = info["annotated"], (info["height"], info["width"])
        if not image.has_mask_files:
            return to_instances(image.objects, visible_masks(image, boxes=True), self.ids_of(info["source"]))
        if image.id_mask is not None:
            masks = split_ids(read_mask(image.id_mask, shape))
        else:
            masks = [tighten(read_mask(path, shape, one_object=True) > 0, 0, 0) for path in image.mask_files]
        labels = [Annotation(str(i), self.class_info[1]["name"]) for i in range(len(masks))]
        return to_instances(labels, masks, self.ids_of(info["source"]))

    def load_class_ids(self, image_id: int) -> np.ndarray:
        """Return int32 [n] class ids, negative for crowds and ignored objects; only mask files have to be decoded."""
        info = self.image_info[image_id]
        if "annotated" not in info or info["annotated"].has_mask_files:
            return super().load_class_ids(image_id)
        ids, labels = self.ids_of(info["source"]), info["annotated"].objects
        return np.array([-ids[a.name] if a.crowd or a.ignore else ids[a.name] for a in labels], np.int32)

    def ids_of(self, source: str) -> dict[str, int]:
        """Return class name -> class id for the classes of a source."""
        return {known["name"]: i for i, known in enumerate(self.class_info) if known["source"] == source}

    def object_flags(self, image_id: int, instances: Instances) -> dict[str, np.ndarray]:
        """Return what the labels say of each object: bool [n] for each of OBJECT_FLAGS.

        Args:
            image_id: index into `image_info`.
            instances: what `load_instances` returned for it.
        """
        image = self.image_info[image_id].get("annotated")
        if image is None or image.has_mask_files or instances.origin is None:
            return {name: np.zeros(len(instances), bool) for name in self.OBJECT_FLAGS}
        labels = [image.objects[i] for i in instances.origin]
        return {name: np.array([getattr(label, name) for label in labels], bool) for name in self.OBJECT_FLAGS}

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Return full masks: bool [H, W, n] and int32 [n] class ids, negative for crowds and ignored objects.

        Raises:
            InputError: see `load_instances`.
        """
        info = self.image_info[image_id]
        if "annotated" not in info:
            return super().load_mask(image_id)
        instances = self.load_instances(image_id)
        return instances.to_masks((info["height"], info["width"])), instances.training_class_ids

    def image_reference(self, image_id: int) -> str:
        """Return the path of the image."""
        return str(self.image_info[image_id]["path"])


def _forget_shared_ids(images: Sequence[AnnotatedImage]) -> None:
    """Forget the COCO ids if two images have the same one, as those of two splits often do: names tell them apart."""
    counts = Counter(image.coco_id for image in images if image.coco_id is not None)
    if counts and max(counts.values()) > 1:
        log.info("image ids of several COCO files are the same: predictions name the images instead")
        for image in images:
            image.coco_id = None


def sized(images: Sequence[AnnotatedImage], findings: Findings, max_pixels: int = MAX_PIXELS) -> list[AnnotatedImage]:
    """Return the images whose files can be read and have the size that the labels state, with `size` filled in.

    Args:
        images: with their paths.
        findings: takes what is wrong with the others.
        max_pixels: the maximum number of pixels of an image.
    """
    kept = []
    for image in images:
        try:
            size = image_size(image.path, max_pixels)
        except InputError as error:
            detail = str(error).removeprefix(f"{image.path}: ")
            findings.add("unreadable image", detail, image.path, image=image.name)
            continue
        if image.size is not None and image.size != size:
            findings.add("size differs", size_difference(size, image.size), image.source, image=image.name)
            continue
        image.size = size
        image.objects = [label for label in image.objects if _fits(label, image, findings)]
        kept.append(image)
    return kept


def _fits(label: Annotation, image: AnnotatedImage, findings: Findings) -> bool:
    """Whether a label's run-length code has the size of its image; a finding if not."""
    if label.rle is None or tuple(label.rle["size"]) == image.size:
        return True
    detail = f"its mask is made for {label.rle['size']} (height, width), the image is {image.size}"
    findings.add("unusable label", detail, image.source, image=image.name, label=label.id)
    return False


def log_summary(what: str, images: Sequence[AnnotatedImage], findings: Findings, limit: int = 10) -> None:
    """Log what was read and what was left out.

    Args:
        what: names the data.
        images: the images that were read.
        findings: what could not be used.
        limit: findings to log in full.
    """
    counts = Counter(label.name for image in images for label in image.objects)
    objects = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    log.info("%s: %d images%s", what, len(images), f", objects: {objects}" if objects else "")
    if findings.stuff:
        log.info("%s: skipped categories without instances: %s", what, listing(findings.stuff))
    if findings.unknown:
        log.warning("%s: skipped unknown categories: %s", what, listing(findings.unknown))
    for kind, problem in ((MISSING_IMAGE, "labelled images have no image file"), (NO_LABELS, "images have no labels")):
        if names := findings.images_of(kind):
            more = ", ..." if len(names) > 3 else ""
            log.warning("%s: %d %s and are left out: %s%s", what, len(names), problem, ", ".join(names[:3]), more)
    left_out = findings.unusable()
    for finding in left_out[:limit]:
        log.warning("left out: %s", finding)
    if len(left_out) > limit:
        log.warning("%s: left out %d more labels or images", what, len(left_out) - limit)
