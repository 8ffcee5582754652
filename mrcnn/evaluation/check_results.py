"""Reads COCO results and checks every entry against a dataset; an error names the invalid entry."""

import logging
import numbers
import os
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pycocotools import mask as coco_mask

from mrcnn.annotations.json_fields import as_id
from mrcnn.errors import InputError, LabelError
from mrcnn.evaluation.coco_results import Entry, category_ids, class_of_category, image_key, with_text_counts
from mrcnn.structures.polygons import FARTHEST_PX, as_points
from mrcnn.structures.rle import rle_lengths
from mrcnn.user_files import read_json

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset


log = logging.getLogger(__name__)


class CheckedEntries(list[Entry]):
    """Entries that `check_predictions` has accepted for a dataset."""


def load_predictions(path: str | os.PathLike[str], dataset: "Dataset") -> CheckedEntries:
    """Read a COCO results file and check every entry against the dataset.

    Args:
        path: JSON list of entries; a pipe is read too. `segmentation` may be RLE (compressed or not) or polygons;
            without `bbox` the box of the mask is used; `image_id` may be the COCO id, the source id, the file name or
            its stem. Where there is a `category_name`, it decides the class: `category_id` may count the classes in
            another way.
        dataset: Prepared dataset that the predictions are for.

    Returns:
        The entries in order, with compressed RLE, `bbox`, the `image_id` of `image_key` and the `category_id` of
        `category_ids`. Entries whose polygons enclose no area are left out, and named in a warning.

    Raises:
        InputError: The file cannot be read or an entry is invalid; the message names the file and the entry.
    """
    return check_predictions(read_json(path, pipe=True), dataset, str(path))


def check_predictions(
    entries: Any, dataset: "Dataset", source: str = "predictions", places: Sequence[str] | None = None
) -> CheckedEntries:
    """Check entries in memory as `load_predictions` does.

    Args:
        entries: The COCO results.
        dataset: Prepared dataset that they belong to.
        source: Name of the list in error messages.
        places: Name of each entry in error messages; None means its index.

    Raises:
        InputError: An entry is invalid.
    """

    def place_of(index: int) -> str:
        return places[index] if places else f"entry {index}"

    if not isinstance(entries, list):
        raise InputError(
            f"{source}: expected a list of COCO results {{image_id, category_id, score, segmentation}}, "
            f"got {type(entries).__name__}"
        )
    images = _images_by_key(dataset)
    categories = _Categories(dataset)
    left_out: list[str] = []
    shapes: dict[int, tuple[int, int]] = {}
    first: dict[tuple, int] = {}
    checked = CheckedEntries()
    for index, entry in enumerate(entries):
        try:
            image_id = _find_image(entry, images)
            if image_id not in shapes:
                shapes[image_id] = dataset.image_size(image_id)
            good = _check_entry(entry, categories, shapes[image_id])
        except _NoAreaError:
            left_out.append(f"{place_of(index)} (image {image_key(dataset, image_id)!r})")
            continue
        except _EntryError as error:
            raise InputError(f"{source}, {place_of(index)}: {error}") from None
        good["image_id"] = image_key(dataset, image_id)
        same = (image_id, good["category_id"], good["score"], *good["bbox"], good["segmentation"]["counts"])
        if first.setdefault(same, index) != index:
            raise InputError(
                f"{source}, {place_of(index)} (image {good['image_id']!r}) repeats {place_of(first[same])}; each "
                "detection may occur only once"
            )
        checked.append(good)
    if left_out:
        some = ", ".join(left_out[:5]) + (" ..." if len(left_out) > 5 else "")
        log.warning("%s: left out %d predictions whose polygons enclose no area: %s", source, len(left_out), some)
    return checked


class _EntryError(Exception):
    """The reason why an entry is invalid; the caller adds the name of the entry."""


class _NoAreaError(_EntryError):
    """No polygon of an entry has three points."""


class _Categories:
    """The categories of a dataset, as predictions name them: by an id of the label file, or by name."""

    def __init__(self, dataset: "Dataset") -> None:
        self._written = category_ids(dataset)
        self._class_of = class_of_category(dataset)
        self._names = dataset.class_names

    def of(self, entry: Entry) -> int | str:
        """Return the category id of an entry as `category_ids` has it. Raises _EntryError if the class is unknown."""
        name, category = entry.get("category_name"), as_id(entry["category_id"])
        if name in self._names[1:]:
            return self._written[self._names.index(name, 1)]
        if name is None and category is not None and category in self._class_of:
            return self._written[self._class_of[category]]
        given = f"category_name {name!r:.40}" if name is not None else f"category_id {entry['category_id']!r:.40}"
        listed = ", ".join(f"{i} {known}" for i, known in zip(self._written[1:], self._names[1:], strict=True))
        raise _EntryError(f"{given} is unknown; the dataset has {listed}")


def _images_by_key(dataset: "Dataset") -> dict[Any, set[int]]:
    """Return every name that an image may have in predictions -> the ids of the images with that name."""
    images: dict[Any, set[int]] = {}
    for image_id in dataset.image_ids:
        info = dataset.image_info[image_id]
        keys = {image_key(dataset, image_id), info["id"], str(info["id"])}
        if info.get("path"):
            keys |= {pathlib.Path(info["path"]).name, pathlib.Path(info["path"]).stem}
        for key in keys:
            images.setdefault(key, set()).add(int(image_id))
    return images


def _find_image(entry: Any, images: dict[Any, set[int]]) -> int:
    if not isinstance(entry, dict):
        raise _EntryError(f"expected an object with image_id, category_id, score, segmentation, got {entry!r:.80}")
    missing = [name for name in ("image_id", "category_id", "score", "segmentation") if name not in entry]
    if missing:
        raise _EntryError(f"{', '.join(missing)} missing; it has {', '.join(map(str, entry)) or 'nothing'}")
    key = as_id(entry["image_id"])
    if key is None or key not in images:
        some = ", ".join(repr(k) for k in list(images)[:3])
        raise _EntryError(
            f"image_id {entry['image_id']!r:.80} is no image of this dataset; its images are called {some} ..."
        )
    if len(images[key]) > 1:
        raise _EntryError(f"image_id {key!r} means {len(images[key])} images of this dataset; use their COCO ids")
    return next(iter(images[key]))


def _check_entry(entry: Entry, categories: _Categories, shape: tuple[int, int]) -> Entry:
    """Return the entry with compressed RLE and a box; raise _EntryError if it is invalid."""
    category, score = categories.of(entry), entry["score"]
    if not _is_number(score) or not 0 <= score <= 1 + 1e-6:  # a float32 softmax may end at 1.0000001
        raise _EntryError(f"score {score!r:.40} is not a number from 0 to 1")
    rle = _as_rle(entry["segmentation"], shape)
    box = entry["bbox"] if entry.get("bbox") is not None else coco_mask.toBbox(rle).tolist()
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) < 0:
        raise _EntryError(f"bbox {box!r:.80} is not [x, y, width, height] in pixels with finite numbers")
    if max(map(abs, box)) > FARTHEST_PX:
        raise _EntryError(f"bbox {box!r:.80} is more than {FARTHEST_PX} px from the image")
    return {
        "image_id": entry["image_id"],
        "category_id": category,
        "score": min(float(score), 1.0),
        "bbox": [float(v) for v in box],
        "segmentation": rle,
    }


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        return False
    return bool(-1e300 < value < 1e300)  # type: ignore[operator]  # integers may be larger than any float


def _as_rle(segmentation: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Return compressed RLE with text counts, from RLE or polygons."""
    if isinstance(segmentation, list):
        return with_text_counts(_polygons_to_rle(segmentation, shape))
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise _EntryError(f"segmentation {segmentation!r:.60} is neither RLE (size, counts) nor a list of polygons")
    if not isinstance(segmentation["size"], (list, tuple)) or tuple(segmentation["size"]) != shape:
        raise _EntryError(f"the RLE has size {segmentation['size']!r:.40}, the image is {list(shape)} (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    elif isinstance(counts, list):
        counts = [int(run) if isinstance(run, numbers.Integral) else run for run in counts]
    try:
        runs = rle_lengths(counts).tolist()
    except LabelError as error:
        raise _EntryError(f"the RLE is broken: {error}") from None
    if min(runs, default=0) < 0:
        raise _EntryError("the RLE is broken: it has negative run lengths")
    if sum(runs) != shape[0] * shape[1]:
        raise _EntryError(f"the RLE is broken: its runs cover {sum(runs)} pixels, the image has {shape[0] * shape[1]}")
    size = list(shape)
    if isinstance(counts, str):
        return {"size": size, "counts": counts}
    return with_text_counts(coco_mask.frPyObjects({"size": size, "counts": runs}, *shape))


def _polygons_to_rle(polygons: list, shape: tuple[int, int]) -> dict[str, Any]:
    if not all(isinstance(p, list) and len(p) % 2 == 0 and all(map(_is_number, p)) for p in polygons):
        raise _EntryError(
            "segmentation polygons must be a list of lists [x1, y1, x2, y2, x3, y3 ...] of finite numbers"
        )
    parts = [[p[i : i + 2] for i in range(0, len(p), 2)] for p in polygons if len(p) >= 6]  # fewer points have no area
    if not parts:
        raise _NoAreaError
    try:
        flat = [as_points(points).ravel().tolist() for points in parts]
    except LabelError as error:
        raise _EntryError(f"segmentation: {error}") from None
    return coco_mask.merge(coco_mask.frPyObjects(flat, *shape))
