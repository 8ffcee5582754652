"""`Instances`: the objects of one image as class ids, boxes and small crops of their masks.

Legend: H W image, n instances.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mrcnn.errors import InputError
from mrcnn.structures.masks import extract_bboxes


@dataclass
class Instances:
    """The labelled objects of one image.

    Attributes:
        class_ids: int32 [n], 1..C-1, where C counts the classes with background. Always positive; `crowd` and `ignore`
            say which objects training leaves out.
        boxes_px: int32 [n, (y1, x1, y2, x2)] pixels of the image as loaded; never empty.
        crops: n bool arrays [y2 - y1, x2 - x1], the mask inside each box.
        crowd: bool [n], a group of objects labelled as one.
        ignore: bool [n], regions that count neither as objects to find nor as false positives.
        origin: int [n], index of each object in the labels of its image if the dataset knows it, else None.
        shape: (H, W) of the full masks from which the objects were cut, None if there were none.
    """

    class_ids: np.ndarray
    boxes_px: np.ndarray
    crops: list[np.ndarray]
    crowd: np.ndarray = None  # type: ignore[assignment]  # None: all False
    ignore: np.ndarray = None  # type: ignore[assignment]
    origin: np.ndarray | None = None
    shape: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        self.class_ids = np.asarray(self.class_ids, np.int32).reshape(-1)
        self.boxes_px = np.asarray(self.boxes_px, np.int32).reshape(-1, 4)
        n = len(self.class_ids)
        self.crowd = np.zeros(n, bool) if self.crowd is None else np.asarray(self.crowd, bool).reshape(-1)
        self.ignore = np.zeros(n, bool) if self.ignore is None else np.asarray(self.ignore, bool).reshape(-1)
        lengths = {n, len(self.boxes_px), len(self.crops), len(self.crowd), len(self.ignore)}
        assert len(lengths) == 1, f"class_ids, boxes_px, crops, crowd and ignore differ in length: {sorted(lengths)}"

    def __len__(self) -> int:
        return len(self.class_ids)

    @property
    def training_class_ids(self) -> np.ndarray:
        """int32 [n]; negative for crowds and ignored objects, which become neither positives nor negatives."""
        return np.where(self.crowd | self.ignore, -self.class_ids, self.class_ids).astype(np.int32)

    @classmethod
    def from_masks(cls, masks: np.ndarray, class_ids: np.ndarray) -> "Instances":
        """Cut full masks into boxes and crops.

        Args:
            masks: bool or numbers [H, W, n]; what is not 0 belongs to the object.
            class_ids: whole numbers [n] of any type; a negative id marks a crowd, as in Matterport's COCO sample.

        Returns:
            The instances whose mask is not empty.

        Raises:
            InputError: the shapes do not match, a mask is not made of numbers, or a class id is not a whole number.
        """
        masks, class_ids = np.asarray(masks), whole_class_ids(class_ids)
        if masks.ndim != 3 or masks.shape[2] != len(class_ids):
            raise InputError(
                f"masks have shape {masks.shape}, but there are {len(class_ids)} class ids; return masks of shape "
                f"[height, width, {len(class_ids)}]"
            )
        if masks.dtype.kind not in "buif" or (masks.dtype.kind == "f" and not np.isfinite(masks).all()):
            raise InputError(f"masks of type {masks.dtype} have values that are not finite numbers; return bool masks")
        boxes = extract_bboxes(masks)
        kept = np.flatnonzero(boxes[:, 2] > boxes[:, 0])
        crops = [masks[y1:y2, x1:x2, i].astype(bool) for i, (y1, x1, y2, x2) in zip(kept, boxes[kept], strict=True)]
        found = cls(np.abs(class_ids[kept]), boxes[kept], crops, crowd=class_ids[kept] < 0)
        found.shape = masks.shape[:2]
        return found

    def to_masks(self, shape: Sequence[int]) -> np.ndarray:
        """Paste the crops into full masks.

        Args:
            shape: (H, W, ...) of the image.

        Returns:
            bool [H, W, n].
        """
        masks = np.zeros((shape[0], shape[1], len(self)), bool)
        for i, ((y1, x1, y2, x2), crop) in enumerate(zip(self.boxes_px, self.crops, strict=True)):
            masks[y1:y2, x1:x2, i] = crop
        return masks

    def select(self, indices: np.ndarray) -> "Instances":
        """Return the instances at `indices` (int [m]), in that order."""
        crops = [self.crops[i] for i in indices]
        return Instances(
            self.class_ids[indices], self.boxes_px[indices], crops, self.crowd[indices], self.ignore[indices]
        )

    def join(self, other: "Instances") -> "Instances":
        """Return these instances followed by those of `other`."""
        return Instances(
            np.concatenate([self.class_ids, other.class_ids]),
            np.concatenate([self.boxes_px, other.boxes_px]),
            self.crops + other.crops,
            np.concatenate([self.crowd, other.crowd]),
            np.concatenate([self.ignore, other.ignore]),
        )


def whole_class_ids(class_ids: Sequence[int] | np.ndarray) -> np.ndarray:
    """Return class ids of any number type as int32 [n]. Raises InputError if one is not a whole number."""
    class_ids = np.asarray(class_ids).reshape(-1)
    if class_ids.size and (class_ids.dtype.kind not in "buif" or (class_ids % 1 != 0).any()):
        raise InputError(f"the class ids {class_ids.tolist()} are not all whole numbers; return int32 ids")
    return class_ids.astype(np.int32)
