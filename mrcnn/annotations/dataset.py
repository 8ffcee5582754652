"""`AnnotatedDataset`: the Dataset that training reads annotations through."""

import logging
from collections import Counter

import numpy as np

from mrcnn.annotations.findings import Report
from mrcnn.annotations.mask_png import read_mask, split_ids
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations, object_mask
from mrcnn.data.dataset import Dataset
from mrcnn.structures.instances import Instances
from mrcnn.structures.masks import tighten

log = logging.getLogger(__name__)

BoxAndCrop = tuple[np.ndarray, np.ndarray]  # int32 [4] (y1, x1, y2, x2) px, exclusive; bool [y2 - y1, x2 - x1]


class AnnotatedDataset(Dataset):
    """Images with annotations of any format; see `mrcnn.annotations.folder.open_folder`.

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
            masks = split_ids(read_mask(image.id_mask, shape))
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


def log_summary(found: Annotations, images: list[AnnotatedImage], what: str, most: int = 10) -> None:
    """Writes counts to the log, and at most `most` of the findings in full."""
    counts = Counter(label.name for image in images for label in image.objects)
    objects = ", ".join(f"{count} {name}" for name, count in counts.most_common())
    log.info("%s: %d images%s", what, len(images), f", objects: {objects}" if objects else "")
    for finding in found.report.findings[:most]:
        log.warning("left out: %s", finding)
    if len(found.report.findings) > most:
        log.warning("left out: %d more labels or images", len(found.report.findings) - most)
