"""One image of an evaluation as it is passed to evaluators: its labelled objects and its predictions."""

import dataclasses
import functools
from typing import Any

from pycocotools import mask as coco_mask

from mrcnn.data.dataset import Dataset, checked_instances
from mrcnn.evaluation.coco_results import Entry, image_key
from mrcnn.structures.instances import Instances
from mrcnn.structures.rle import crop_to_rle


@dataclasses.dataclass
class EvaluatedImage:
    """An image with its labelled objects and its predictions. Values that several evaluators need are computed once.

    Attributes:
        image_id: Id in the dataset.
        key: The `image_id` that its predictions carry.
        shape: (height, width) px.
        instances: The labelled objects.
        entries: COCO results with compressed RLEs.
    """

    image_id: int
    key: int | str
    shape: tuple[int, int]
    instances: Instances
    entries: list[Entry]

    @classmethod
    def read(cls, dataset: Dataset, image_id: int, entries: list[Entry]) -> "EvaluatedImage":
        """Read the size and the labelled objects of an image.

        Args:
            dataset: Prepared dataset.
            image_id: Id of one of its images.
            entries: The COCO results of the image.

        Raises:
            InputError: The labels cannot be read, or an object has a class that the dataset does not know.
        """
        shape = dataset.image_size(image_id)
        return cls(image_id, image_key(dataset, image_id), shape, checked_instances(dataset, image_id), entries)

    @functools.cached_property
    def truth_rles(self) -> list[dict[str, Any]]:
        """COCO's RLEs of the objects' masks.

        Raises:
            InputError: A mask is not inside the image.
        """
        crops = zip(self.instances.boxes_px.tolist(), self.instances.crops, strict=True)
        return [crop_to_rle(box, crop, self.shape) for box, crop in crops]

    @functools.cached_property
    def detection_rles(self) -> list[dict[str, Any]]:
        """COCO's RLEs of the predicted masks."""
        return [entry["segmentation"] for entry in self.entries]

    @functools.cached_property
    def detection_areas(self) -> list[float]:
        """Areas of the predicted masks in px^2."""
        return [float(coco_mask.area(rle)) for rle in self.detection_rles]  # one by one: a list fails from 256 masks
