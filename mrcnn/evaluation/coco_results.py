"""Predictions as COCO results: written from detections, read and checked from files."""

import json
import math
import numbers
import os
import pathlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from pycocotools import mask as coco_mask

from mrcnn.errors import InputError
from mrcnn.structures.masks import paste_mask
from mrcnn.structures.rle import crop_to_rle

if TYPE_CHECKING:
    from mrcnn.data.dataset import Dataset


Entry = dict[str, Any]
Progress = Callable[[Sequence[Any]], Iterable[Any]]


class Predictor(Protocol):
    """What evaluation needs of a model."""

    def detect_instances(self, images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Finds objects.

        Args:
            images: uint8 [H, W, 3] each.

        Returns:
            For each image: rois int [n, 4] px, class_ids int [n], scores float [n], mask_probs float [n, 28, 28].
        """
        ...


def image_key(dataset: "Dataset", image_id: int) -> int | str:
    """The `image_id` that predictions of this image carry: its `coco_id` if it has one, else the id of its source."""
    info = dataset.image_info[image_id]
    key = info.get("coco_id", info["id"])
    return int(key) if isinstance(key, numbers.Integral) else str(key)


def image_shape(dataset: "Dataset", image_id: int) -> tuple[int, int]:
    """(height, width) of an image in pixels, from the labels if they state it, else from the image."""
    info = dataset.image_info[image_id]
    if info.get("height") and info.get("width"):
        return int(info["height"]), int(info["width"])
    height, width = dataset.load_image(image_id).shape[:2]
    return height, width


def category_ids(dataset: "Dataset") -> list[int]:
    """[C] category id of each class of the dataset; entry 0 is the background.

    The ids of the source where they are distinct whole numbers (COCO's 1..90, BDD100K's 1..8), else the class ids.
    """
    ids = [info["id"] for info in dataset.class_info]
    whole = all(isinstance(i, numbers.Integral) for i in ids)
    return [int(i) for i in ids] if whole and len(set(ids)) == len(ids) else list(range(len(ids)))


def predict(
    predictor: Predictor,
    dataset: "Dataset",
    image_ids: Sequence[int],
    batch_size: int = 1,
    progress: Progress | None = None,
) -> list[Entry]:
    """Runs a model over images.

    Args:
        predictor: A model; it gets `batch_size` images at a time.
        dataset: Prepared dataset.
        image_ids: Which of its images.
        batch_size: Images per call.
        progress: Wraps the list of batches, for example `rich.progress.track`.

    Returns:
        COCO results, image by image in the model's order.
    """
    found = predict_images(predictor, dataset, image_ids, batch_size, progress)
    return [entry for _, entries in found for entry in entries]


def predict_images(
    predictor: Predictor,
    dataset: "Dataset",
    image_ids: Sequence[int],
    batch_size: int = 1,
    progress: Progress | None = None,
) -> Iterator[tuple[int, list[Entry]]]:
    """As `predict`, one image after the other: yields the image's id and its entries."""
    batches = [image_ids[start : start + batch_size] for start in range(0, len(image_ids), batch_size)]
    categories = category_ids(dataset)
    for batch in progress(batches) if progress else batches:
        images = [dataset.load_image(image_id) for image_id in batch]
        for image_id, image, found in zip(batch, images, predictor.detect_instances(images), strict=True):
            yield image_id, detections_to_coco(found, image.shape[:2], image_key(dataset, image_id), categories)


def detections_to_coco(
    detections: dict[str, np.ndarray], shape: tuple[int, int], key: int | str, categories: Sequence[int]
) -> list[Entry]:
    """COCO results of one image.

    Args:
        detections: rois int [n, 4] px, class_ids int [n], scores [n], mask_probs [n, 28, 28].
        shape: (height, width) of the image in pixels.
        key: `image_id` to write.
        categories: [C] category id of each class id.

    Returns:
        One entry per detection, in order. Boxes without area and exact repetitions are left out: neither can match.
    """
    entries, seen = [], set()
    columns = [np.asarray(detections[name]) for name in ("rois", "class_ids", "scores")]
    rows = zip(
        columns[0].astype(int).tolist(),
        columns[1].astype(int).tolist(),
        columns[2].astype(float).tolist(),
        detections["mask_probs"],
        strict=True,
    )
    for (y1, x1, y2, x2), class_id, score, probs in rows:
        same = (y1, x1, y2, x2, class_id, score)
        if y2 <= y1 or x2 <= x1 or same in seen:
            continue
        seen.add(same)
        box_px, crop = paste_mask(probs, [y1, x1, y2, x2], shape)
        entries.append(
            {
                "image_id": key,
                "category_id": categories[class_id],
                "score": min(score, 1.0),  # a float32 softmax may end at 1.0000001
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "segmentation": _text_counts(crop_to_rle(box_px.tolist(), crop, shape)),
            }
        )
    return entries


class Checked(list[Entry]):
    """Entries that `check_predictions` has passed for the dataset at hand."""


def load_predictions(path: str | os.PathLike[str], dataset: "Dataset") -> Checked:
    """Reads a COCO results file and checks every entry against the dataset.

    Args:
        path: JSON list of entries. `segmentation` may be RLE (compressed or not) or polygons; without `bbox` the box
            of the mask is used; `image_id` may be the COCO id, the id of the source, the file name or its stem.
        dataset: Prepared dataset that the predictions are for.

    Returns:
        The entries in order, with compressed RLE, `bbox` and the `image_id` of `image_key`.

    Raises:
        InputError: The file cannot be read or an entry cannot be used; says the file and the index of the entry.
    """
    path = pathlib.Path(path)
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the predictions {path}: {error.strerror}") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is not valid JSON: {error}. Expected a list of COCO results.") from error
    return check_predictions(entries, dataset, str(path))


def check_predictions(
    entries: Any, dataset: "Dataset", source: str = "predictions", places: Sequence[str] | None = None
) -> Checked:
    """As `load_predictions`, for entries in memory; `source`, and `places` one by one, name them in errors.

    Raises:
        InputError: An entry cannot be used.
    """
    if not isinstance(entries, list):
        raise InputError(
            f"{source}: expected a list of COCO results {{image_id, category_id, score, segmentation}}, "
            f"got {type(entries).__name__}"
        )
    images = _images_by_key(dataset)
    known = dict(zip(category_ids(dataset)[1:], dataset.class_names[1:], strict=True))
    shapes: dict[int, tuple[int, int]] = {}
    first: dict[tuple, int] = {}
    checked = Checked()
    for index, entry in enumerate(entries):
        try:
            image_id = _find_image(entry, images)
            if image_id not in shapes:
                shapes[image_id] = image_shape(dataset, image_id)
            good = _check_entry(entry, known, shapes[image_id])
        except _Fault as fault:
            raise InputError(f"{source}, {places[index] if places else f'entry {index}'}: {fault}") from None
        good["image_id"] = image_key(dataset, image_id)
        same = (image_id, good["category_id"], good["score"], *good["bbox"], good["segmentation"]["counts"])
        if first.setdefault(same, index) != index:
            place, earlier = (places[i] if places else f"entry {i}" for i in (index, first[same]))
            raise InputError(
                f"{source}, {place} (image {good['image_id']!r}) repeats {earlier}; each detection may stand there once"
            )
        checked.append(good)
    return checked


class _Fault(Exception):
    """What is wrong with an entry; the caller adds where."""


def _images_by_key(dataset: "Dataset") -> dict[Any, set[int]]:
    """Every name an image may be called by -> the images of that name."""
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
        raise _Fault(f"expected an object with image_id, category_id, score, segmentation, got {entry!r:.80}")
    missing = [name for name in ("image_id", "category_id", "score", "segmentation") if name not in entry]
    if missing:
        raise _Fault(f"{', '.join(missing)} missing; it has {', '.join(map(str, entry)) or 'nothing'}")
    key = entry["image_id"]
    if isinstance(key, bool) or not isinstance(key, (numbers.Integral, str)) or key not in images:
        some = ", ".join(repr(k) for k in list(images)[:3])
        raise _Fault(f"image_id {key!r:.80} is no image of this dataset; its images are called {some} ...")
    if len(images[key]) > 1:
        raise _Fault(f"image_id {key!r} means {len(images[key])} images of this dataset; give their COCO ids")
    return next(iter(images[key]))


def _check_entry(entry: Entry, known: dict[int, str], shape: tuple[int, int]) -> Entry:
    """The entry with compressed RLE and a box; raises _Fault."""
    category, score = entry["category_id"], entry["score"]
    if not _is_number(category) or category not in known:
        listed = ", ".join(f"{i} {name}" for i, name in known.items())
        raise _Fault(f"category_id {category!r:.40} is unknown; the dataset has {listed}")
    if not _is_number(score) or not 0 <= score <= 1:
        raise _Fault(f"score {score!r:.40} is not a number from 0 to 1")
    rle = _as_rle(entry["segmentation"], shape)
    box = entry["bbox"] if entry.get("bbox") is not None else coco_mask.toBbox(rle).tolist()
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_number, box)) or min(box[2:]) < 0:
        raise _Fault(f"bbox {box!r:.80} is not [x, y, width, height] in pixels with finite numbers")
    return {
        "image_id": entry["image_id"],
        "category_id": int(category),
        "score": float(score),
        "bbox": [float(v) for v in box],
        "segmentation": rle,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _as_rle(segmentation: Any, shape: tuple[int, int]) -> dict[str, Any]:
    """Compressed RLE with text counts, from RLE or polygons."""
    if isinstance(segmentation, list):
        return _text_counts(_polygons_to_rle(segmentation, shape))
    if not isinstance(segmentation, dict) or not {"size", "counts"} <= segmentation.keys():
        raise _Fault(f"segmentation {segmentation!r:.60} is neither RLE (size, counts) nor a list of polygons")
    if not isinstance(segmentation["size"], (list, tuple)) or tuple(segmentation["size"]) != shape:
        raise _Fault(f"the RLE has size {segmentation['size']!r:.40}, the image is {list(shape)} (height, width)")
    counts = segmentation["counts"]
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if not isinstance(counts, (str, list)):
        raise _Fault(f"RLE counts are {type(counts).__name__}; expected text or a list of run lengths")
    runs = _runs_of_text(counts) if isinstance(counts, str) else counts
    whole = isinstance(counts, str) or all(isinstance(run, numbers.Integral) for run in runs)
    if not whole or min(runs, default=0) < 0:
        raise _Fault("the RLE is broken: it has run lengths that are negative or no whole numbers")
    if sum(runs) != shape[0] * shape[1]:
        raise _Fault(f"the RLE is broken: its runs cover {sum(runs)} pixels, the image has {shape[0] * shape[1]}")
    size = list(shape)
    if isinstance(counts, str):
        return {"size": size, "counts": counts}
    return _text_counts(coco_mask.frPyObjects({"size": size, "counts": [int(run) for run in counts]}, *shape))


def _runs_of_text(text: str) -> list[int]:
    """Run lengths of compressed RLE counts (pycocotools would read past the end of broken ones).

    Each number is written in groups of 5 bits, low first, as characters from '0' on; bit 32 says that another group
    follows and bit 16 of the last group is the sign. From the fourth number on it is the difference to the one two
    before.
    """
    codes = np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).astype(np.int64) - 48
    if len(codes) == 0:
        return []
    if codes.min() < 0 or codes.max() > 63 or codes[-1] & 32:
        raise _Fault("the RLE is broken: its counts are no compressed RLE text")
    starts = np.flatnonzero(np.concatenate([[True], (codes[:-1] & 32) == 0]))
    lengths = np.diff(np.append(starts, len(codes)))
    if lengths.max() > 8:
        raise _Fault("the RLE is broken: it has a run length above 2^40")
    place = 5 * (np.arange(len(codes)) - np.repeat(starts, lengths))
    numbers = np.add.reduceat((codes & 31) << place, starts)
    negative = (codes[starts + lengths - 1] & 16) > 0
    numbers = np.where(negative, numbers - (np.int64(1) << (5 * lengths)), numbers)
    # The first three are absolute: number 3 is the first difference, to number 1.
    numbers[1::2] = np.cumsum(numbers[1::2])
    numbers[2::2] = np.cumsum(numbers[2::2])
    return numbers.tolist()


def _polygons_to_rle(polygons: list, shape: tuple[int, int]) -> dict[str, Any]:
    usable = polygons and all(
        isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 and all(map(_is_number, p)) for p in polygons
    )
    if not usable:
        raise _Fault(
            "segmentation polygons must be a list of lists [x1, y1, x2, y2, x3, y3 ...] of finite numbers, "
            "each with three points or more"
        )
    return coco_mask.merge(coco_mask.frPyObjects([[float(v) for v in p] for p in polygons], *shape))


def _text_counts(rle: dict[str, Any]) -> dict[str, Any]:
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(v) for v in rle["size"]], "counts": text}
