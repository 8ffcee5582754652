"""Check a data set before training: files, names, sizes, boxes, outlines, duplicates.

`check_dataset` checks any Dataset; `mrcnn.annotations.label_checks` checks labels, with the parts here.

Legend: n objects, k points. Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive.
"""

import dataclasses
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from mrcnn.annotations.findings import CROWD, UNKNOWN_NAME, Findings
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import image_size, read_image
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances

DUPLICATE_IOU = 0.95
# Outlines are often drawn along the border; up to this far beyond it is rounding, not a fault.
OUTSIDE_TOLERANCE_PX = 1.0
# Images whose files the fast check opens. If one image in thirty is faulty, it meets one with a probability of 99.9 %.
SAMPLE = 200
_PAIRS_AT_ONCE = 1 << 20


@dataclasses.dataclass
class ObjectTable:
    """All objects of a data set as columns.

    Attributes:
        image_ids: int [n], positions in the dataset, ascending.
        class_ids: int [n].
        boxes: float64 [n, 4], the extents of the outlines as labelled, which may reach beyond the image.
        labels: n label ids.
    """

    image_ids: np.ndarray
    class_ids: np.ndarray
    boxes: np.ndarray
    labels: Sequence[str]


def check_files(
    dataset: Dataset, findings: Findings, full: bool, progress: Callable[[Iterable], Iterable] = iter
) -> None:
    """Find missing, unreadable and truncated image files, sizes that differ from the labels', and duplicate names.

    Args:
        dataset: `image_info` and `max_pixels` are read; it need not be prepared.
        findings: takes what is found.
        full: decode every image. Otherwise the headers of a sample are read, SAMPLE images that are evenly spread.
        progress: wraps the loop over the images, for a progress bar.
    """
    seen: set[tuple[str, str]] = set()
    count = len(dataset.image_info)
    spread = set(np.linspace(0, count - 1, min(SAMPLE, count)).astype(int).tolist())
    for image_id, info in progress(list(enumerate(dataset.image_info))):
        name, path = image_name(info), info["path"]
        key = (info["source"], str(info["id"]))
        if key in seen:
            findings.add("duplicate image", "an image of this name came before", path or info["source"], image=name)
        seen.add(key)
        if path is None:  # load_image makes the image
            continue
        if not os.path.isfile(path):
            findings.add("missing image", "no such file", path, image=name)
        elif full or image_id in spread:
            _check_file(path, info, name, findings, full, dataset.max_pixels)


def _check_file(path: Any, info: dict, name: str, findings: Findings, decode: bool, most: int) -> None:
    kind = "unreadable image"
    try:
        size = image_size(path, most)
        kind = "broken image"
        if decode:
            size = read_image(path, most).shape[:2]
    except InputError as error:
        findings.add(kind, str(error).removeprefix(f"{path}: "), path, image=name)
        return
    height, width = info.get("height"), info.get("width")
    if height and width and size != (height, width):
        findings.add("size differs", size_difference(size, (height, width)), path, image=name)


def size_difference(size: tuple[int, int], labelled: tuple[int, int]) -> str:
    """Return in words how the (height, width) px of an image and the size that its labels are made for differ."""
    text = f"image is {size[1]} x {size[0]}, its labels are made for {labelled[1]} x {labelled[0]}"
    if size != labelled[::-1]:
        return text
    return text + " (if it was labelled without its EXIF orientation, save it without, as the labels are)"


def image_name(info: dict) -> str:
    """Return the name that findings use for an image of `image_info`."""
    return str(info.get("name") or info["id"])


def outside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return by how many pixels boxes reach beyond their images.

    Args:
        boxes: [n, 4] px.
        sizes: [n, (height, width)] of each box's image.

    Returns:
        float [n] px, 0 where it is OUTSIDE_TOLERANCE_PX or less.
    """
    beyond = np.concatenate([-boxes[:, :2], boxes[:, 2:] - sizes], axis=1).max(axis=1, initial=0)
    return np.where(beyond > OUTSIDE_TOLERANCE_PX, beyond, 0.0)


def empty(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """Return bool [n], the boxes without area inside their image; the arguments are those of `outside`."""
    return (np.minimum(boxes[:, 2:], sizes) <= np.maximum(boxes[:, :2], 0)).any(axis=1)


def duplicates(table: ObjectTable, threshold: float = DUPLICATE_IOU) -> list[tuple[int, int]]:
    """Return pairs of objects of one image and one class whose boxes have an IoU above the threshold.

    Returns:
        (earlier, later) positions in the table, ascending; each object is at most once the later one.
    """
    if not len(table.image_ids):
        return []
    # Of objects with the same box only the first one is compared with others: what is like it, is like all of them.
    keys = np.column_stack([table.image_ids, table.class_ids, table.boxes])
    _, distinct, same = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.sort(distinct)
    few = ObjectTable(table.image_ids[order], table.class_ids[order], table.boxes[order], [])
    first = np.arange(len(keys))
    for earlier, later in _close_pairs(few, threshold):
        alike = _iou(few.boxes[earlier], few.boxes[later]) > threshold
        np.minimum.at(first, order[later[alike]], order[earlier[alike]])
    leader = distinct[same.ravel()]  # the first object with the same box
    area = np.prod(np.maximum(table.boxes[:, 2:] - table.boxes[:, :2], 0), axis=1)
    first = np.where((leader < np.arange(len(keys))) & (area > 0), first[leader], first)
    return sorted((int(first[later]), int(later)) for later in np.flatnonzero(first < np.arange(len(first))))


def _close_pairs(table: ObjectTable, threshold: float) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs (earlier, later) of one image and class that may have such an IoU, as int arrays of limited length.

    An intersection above `threshold` of the union is above `threshold` of either box's width and height, so their left
    sides are less than (1 - threshold) of the left box's width apart, and the same holds for tops and heights. Sorted
    along the axis that tells more boxes apart, few are compared.
    """
    _, group = np.unique(np.stack([table.image_ids, table.class_ids], axis=1), axis=0, return_inverse=True)
    order, counts = min((_followers(table.boxes, group.ravel(), axis, threshold) for axis in (0, 1)), key=_total)
    starts = np.concatenate([[0], np.cumsum(counts)])
    for low in range(0, int(starts[-1]), _PAIRS_AT_ONCE):
        pair = np.arange(low, min(low + _PAIRS_AT_ONCE, int(starts[-1])))
        one = np.searchsorted(starts, pair, side="right") - 1
        other = one + 1 + pair - starts[one]
        pairs = np.sort(np.stack([order[one], order[other]]), axis=0)
        yield pairs[0], pairs[1]


def _followers(boxes: np.ndarray, group: np.ndarray, axis: int, threshold: float) -> tuple[np.ndarray, np.ndarray]:
    """The objects in order of group and side, and for each how many after it start close enough to be compared."""
    start, size = boxes[:, axis], boxes[:, axis + 2] - boxes[:, axis]
    place = group * (2 * np.ptp(start) + np.abs(size).max() + 1) + start - start.min()  # groups do not meet
    order = np.argsort(place, kind="stable")
    ends = np.searchsorted(place[order], (place + (1 - threshold) * size)[order], side="right")
    return order, np.maximum(ends - np.arange(len(order)) - 1, 0)


def _total(followers: tuple[np.ndarray, np.ndarray]) -> int:
    return int(followers[1].sum())


def _iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU of each box with the other at its place, [n, 4] and [n, 4] -> [n]."""
    shared = np.minimum(boxes[:, 2:], others[:, 2:]) - np.maximum(boxes[:, :2], others[:, :2])
    shared = np.prod(np.maximum(shared, 0), axis=1)
    areas = [np.prod(np.maximum(b[:, 2:] - b[:, :2], 0), axis=1) for b in (boxes, others)]
    return shared / np.maximum(areas[0] + areas[1] - shared, np.finfo(float).tiny)


def masks_alike(first: Any, second: Any, threshold: float = DUPLICATE_IOU) -> bool:
    """Return whether two masks, each (box int [4], crop bool), have an IoU above the threshold."""
    (box1, crop1), (box2, crop2) = first, second
    (y1, x1), (y2, x2) = np.maximum(box1[:2], box2[:2]), np.minimum(box1[2:], box2[2:])
    if y1 >= y2 or x1 >= x2:
        return False
    part1, part2 = (
        crop[y1 - box[0] : y2 - box[0], x1 - box[1] : x2 - box[1]] for box, crop in ((box1, crop1), (box2, crop2))
    )
    shared = np.count_nonzero(part1 & part2)
    return bool(shared > threshold * (np.count_nonzero(crop1) + np.count_nonzero(crop2) - shared))


def check_instances(dataset: Dataset, findings: Findings, progress: Callable[[Iterable], Iterable] = iter) -> None:
    """Load the objects of every image of any Dataset; find masks that do not fit, empty images and duplicates.

    Args:
        dataset: prepared.
        findings: takes what is found and the counts.
        progress: wraps the loop over the image ids, for a progress bar.
    """
    findings.classes = Counter({name: 0 for name in dataset.class_names[1:]})
    for image_id in progress(dataset.image_ids):
        info = dataset.image_info[image_id]
        name, file = image_name(info), info["path"] or info["source"]
        try:
            instances = dataset.load_instances(image_id)
        except InputError as error:
            findings.add("unusable masks", str(error), file, image=name)
            continue
        findings.images += 1
        findings.objects += int(np.count_nonzero(instances.training_class_ids > 0))
        if not len(instances):
            findings.add("image without objects", "no mask has a pixel", file, image=name)
        _check_objects(dataset, instances, image_id, findings)


def _check_objects(dataset: Dataset, instances: Instances, image_id: int, findings: Findings) -> None:
    info = dataset.image_info[image_id]
    where = {"file": info["path"] or info["source"], "image": image_name(info)}
    for i, class_id in enumerate(instances.class_ids):
        if 0 < class_id < dataset.num_classes and (instances.crowd[i] or instances.ignore[i]):
            findings.add(CROWD, "a crowd" if instances.crowd[i] else "ignored", label=str(i), **where)
        elif 0 < class_id < dataset.num_classes:
            findings.classes[dataset.class_names[class_id]] += 1
        else:
            detail = f"class id {class_id}; the classes are 1 to {dataset.num_classes - 1}"
            findings.add(UNKNOWN_NAME, detail, label=str(i), **where)
    boxes = instances.boxes_px.astype(np.float64)
    table = ObjectTable(np.full(len(boxes), image_id), instances.class_ids, boxes, [str(i) for i in range(len(boxes))])
    masks = list(zip(instances.boxes_px, instances.crops, strict=True))
    for earlier, later in duplicates(table):
        if masks_alike(masks[earlier], masks[later]):
            findings.add("duplicate object", f"the same as object {earlier}", label=str(later), **where)
    if info.get("height") and info.get("width"):
        sizes = np.tile([info["height"], info["width"]], (len(boxes), 1))
        for place in np.flatnonzero(outside(boxes, sizes)):
            findings.add("outside the image", f"box {instances.boxes_px[place].tolist()}", label=str(place), **where)


def check_dataset(dataset: Dataset, full: bool = True, progress: Callable[[Iterable], Iterable] = iter) -> Findings:
    """Check any Dataset.

    Args:
        dataset: prepared.
        full: decode every image and load every mask. Otherwise only test that files exist and read a sample of headers.
        progress: as in `check_instances`.
    """
    findings = Findings(", ".join(dataset.sources), images=0 if full else len(dataset.image_info))
    check_files(dataset, findings, full)
    if full:
        check_instances(dataset, findings, progress)
    return findings
