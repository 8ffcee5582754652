"""Converts the detections of a model to COCO results, with their image and category ids.

Legend: C classes of a dataset, with the background.
"""

import numbers
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mrcnn.structures.masks import paste_mask
from mrcnn.structures.rle import crop_to_rle
from mrcnn.text import without_surrogates

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset

Entry = dict[str, Any]  # image_id, category_id, score, bbox, segmentation
Progress = Callable[[Sequence[Any]], Iterable[Any]]


class Predictor(Protocol):
    """The interface that evaluation needs from a model."""

    def detect_instances(self, images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Detect the instances in images.

        Args:
            images: uint8 [H, W, 3] each.

        Returns:
            For each image: rois int [n, 4] px, class_ids int [n], scores float [n], mask_probs float [n, 28, 28].
        """
        ...


def image_key(dataset: "Dataset", image_id: int) -> int | str:
    """Return the `image_id` that predictions of an image carry: its `coco_id` if it has one, else its source id."""
    info = dataset.image_info[image_id]
    key = info.get("coco_id", info["id"])
    return int(key) if isinstance(key, numbers.Integral) else without_surrogates(str(key))


def category_ids(dataset: "Dataset") -> list[int | str]:
    """Return the [C] category ids of the classes of a dataset; entry 0 stands for the background and is in no file.

    These are the ids of the source where they are distinct whole numbers or texts (COCO's 1..90, BDD100K's 1..8,
    Roboflow's from 0), else the class ids.
    """
    ids = [info["id"] for info in dataset.class_info[1:]]
    if len(set(ids)) < len(ids) or not all(isinstance(i, numbers.Integral | str) for i in ids):
        return list(range(len(ids) + 1))
    return [0, *(i if isinstance(i, str) else int(i) for i in ids)]


def class_of_category(dataset: "Dataset") -> dict[int | str, int]:
    """Return category id -> class id, which is 1 or more; several ids may mean one class (`AnnotatedDataset`)."""
    own = {category: class_id for class_id, category in enumerate(category_ids(dataset)) if class_id}
    others = {i: class_id for class_id, info in enumerate(dataset.class_info) for i in info.get("other_ids", ())}
    return {**others, **own}


def predict_images(
    predictor: Predictor,
    dataset: "Dataset",
    image_ids: Sequence[int],
    batch_size: int = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[int, list[Entry]]]:
    """Run a model over images, batch by batch.

    Args:
        predictor: A model; it gets `batch_size` images at a time.
        dataset: Prepared dataset.
        image_ids: Ids of the images to predict.
        batch_size: Images per call.
        progress: Wraps the list of batches, for example `rich.progress.track`.

    Yields:
        The id of each image and its COCO results, in the model's order.

    Raises:
        InputError: An image cannot be read.
    """
    batches = [image_ids[start : start + batch_size] for start in range(0, len(image_ids), batch_size)]
    categories = category_ids(dataset)
    for batch in progress(batches) if progress else batches:
        images = [dataset.load_image(image_id) for image_id in batch]
        for image_id, image, detections in zip(batch, images, predictor.detect_instances(images), strict=True):
            yield image_id, detections_to_coco(detections, image.shape[:2], image_key(dataset, image_id), categories)


def detections_to_coco(
    detections: dict[str, Any], shape: tuple[int, int], key: int | str, categories: Sequence[int | str]
) -> list[Entry]:
    """Return the COCO results of one image.

    Args:
        detections: rois [n, 4] px, class_ids int [n], scores [n], mask_probs [n, 28, 28]; mask_paste, the rule by which
            masks are pasted, if it is not Matterport's.
        shape: (height, width) of the image in pixels.
        key: `image_id` to write.
        categories: [C] category id of each class id.

    Returns:
        One entry per detection, in order. Boxes without area and exact duplicates are left out, since neither can
        match.

    Raises:
        InputError: No image can have this shape.
    """
    entries, known = [], set()
    columns = [np.asarray(detections[name]) for name in ("rois", "class_ids", "scores")]
    rows = zip(
        columns[0].tolist(),
        columns[1].astype(int).tolist(),
        columns[2].astype(float).tolist(),
        detections["mask_probs"],
        strict=True,
    )
    for (y1, x1, y2, x2), class_id, score, probs in rows:
        same = (y1, x1, y2, x2, class_id, score)
        if y2 <= y1 or x2 <= x1 or same in known:
            continue
        known.add(same)
        box_px, crop = paste_mask(probs, [y1, x1, y2, x2], shape, rule=detections.get("mask_paste", "matterport"))
        entries.append(
            {
                "image_id": key,
                "category_id": categories[class_id],
                "score": min(score, 1.0),  # a float32 softmax may return 1.0000001
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": with_text_counts(crop_to_rle(box_px.tolist(), crop, shape)),
            }
        )
    return entries


def with_text_counts(rle: dict[str, Any]) -> dict[str, Any]:
    """Return a compressed RLE whose counts are text, as JSON needs them, instead of bytes."""
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(v) for v in rle["size"]], "counts": text}
