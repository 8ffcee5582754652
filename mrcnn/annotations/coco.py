"""Read COCO instance files: any categories, or those that a data set knows by name."""

import itertools
import pathlib
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from mrcnn.annotations.findings import UNKNOWN_NAME, Findings
from mrcnn.annotations.json_fields import Id, as_id, as_score, category_names, check_rle, flag, number
from mrcnn.annotations.reading import Finder, known_size, locate
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points, rectangle
from mrcnn.user_files import read_json

# Category name -> (class name, whether its objects are ignored), or None for a category that has no instances.
# Raises LabelError for a name that the data set does not know.
ClassOf = Callable[[str], tuple[str, bool] | None]


def read_coco(
    paths: Sequence[pathlib.Path], class_names: Sequence[str], find: Finder, findings: Findings
) -> Annotations:
    """Read COCO instance files; the categories are the classes, and categories of one name are one class.

    Args:
        paths: the files.
        class_names: the names of all classes in order, also of those that only the files of other splits have: whatever
            the split, a class has the same place in the list.
        find: finds the images.
        findings: takes what cannot be used.

    Returns:
        The images, and the classes with the ids that the files give them. Where the files differ, the first one counts.

    Raises:
        InputError: a file is not a COCO file, or one of its category ids has two names.
    """
    images: list[AnnotatedImage] = []
    ids: dict[str, list[Id]] = {name: [] for name in class_names}
    for path in paths:
        document = read_json(path)
        images += read_document(document, path, find, findings)
        for name, own in category_ids(document).items():
            if len(own) > 1:
                detail = f"category ids {', '.join(map(repr, own))} are all called {name!r}"
                findings.add("one name, several categories", detail, path)
            ids.setdefault(name, []).extend(own)
    classes, other_ids = distinct_classes(ids)
    return Annotations("coco", images, classes, findings, other_ids)


def category_ids(document: dict[str, Any]) -> dict[str, list[Id]]:
    """Return category name -> its ids; the one with the most objects, which is written, comes first."""
    names = category_names(document["categories"])
    uses = Counter(as_id(entry.get("category_id")) for entry in document["annotations"] if isinstance(entry, dict))
    ids: dict[str, list[Id]] = {}
    for category in sorted(names, key=lambda category: -uses[category]):
        ids.setdefault(names[category], []).append(category)
    return ids


def distinct_classes(ids: dict[str, list[Id]]) -> tuple[list[tuple[Id, str]], dict[str, list[Id]]]:
    """Give every class its ids so that none means two classes: the class that lists an id first has it.

    Args:
        ids: class name -> ids that files give it, perhaps none.

    Returns:
        (id, name) of the classes in order, and `Annotations.other_ids`. A class that is left without an id gets the
        lowest free number.
    """
    taken: set[Id] = set()
    own: dict[str, list[Id]] = {name: [] for name in ids}
    for turn in range(max(map(len, ids.values()), default=0)):
        for name, wanted in ids.items():
            if turn < len(wanted) and wanted[turn] not in taken:
                own[name].append(wanted[turn])
                taken.add(wanted[turn])
    free = (number for number in itertools.count(1) if number not in taken)
    classes = [(own[name][0] if own[name] else next(free), name) for name in ids]
    return classes, {name: numbers[1:] for name, numbers in own.items() if len(numbers) > 1}


def read_document(
    document: Any,
    path: pathlib.Path,
    find: Finder,
    findings: Findings,
    class_of: ClassOf = lambda name: (name, False),
    limit: int | None = None,
    keep_raw: bool = False,
) -> list[AnnotatedImage]:
    """Read the images and objects of a parsed COCO file: polygons, run-length codes, boxes, iscrowd and ignore.

    Args:
        document: the parsed file.
        path: the file, for messages.
        find: finds the images.
        findings: takes what cannot be used.
        class_of: the class of a category; by default each category is one.
        limit: read at most this many images.
        keep_raw: fill `raw` of images and objects, for a converter.

    Returns:
        The images that were found, in the order of the file.

    Raises:
        InputError: it is not a COCO file.
    """
    names = _category_names(document, path)
    images = _images(document["images"], path, find, findings, limit, keep_raw)
    for place, annotation in enumerate(document["annotations"]):
        fields = annotation if isinstance(annotation, dict) else {}
        image_id = as_id(fields.get("image_id"))
        image = images.get(image_id) if image_id is not None else None
        label_id = str(fields.get("scalabel_id", fields.get("id", place)))
        try:
            if not isinstance(annotation, dict):
                raise LabelError(f"annotation is {json_type(annotation)}, not an object")
            if image is None and image_id in images:
                continue  # its image is beyond the limit, or a finding already
            if image is None:
                raise LabelError(f"image_id {annotation.get('image_id')!r:.60} is not among the images")
            label = _object(annotation, label_id, names, class_of, image)
            if label is not None:
                label.raw = annotation if keep_raw else None
                image.keep(label)
        except LabelError as error:
            where = {"place": f"annotation {place}", "image": image.name if image else None, "label": label_id}
            findings.add(error.kind, str(error), path, **where)
    return [image for image in images.values() if image is not None]


def _category_names(document: Any, path: pathlib.Path) -> dict[Id, str]:
    """Category id -> name."""
    for part in ("images", "annotations", "categories"):
        if not isinstance(document, dict) or not isinstance(document.get(part), list):
            raise InputError(f"{path}: a COCO file needs a list {part!r}")
    names = category_names(document["categories"])
    if not names:
        raise InputError(f"{path}: none of its categories has an 'id' and a 'name', so category ids have no meaning")
    for entry in document["categories"]:
        for category, name in category_names([entry]).items():
            if names[category] != name:
                raise InputError(f"{path}: category id {category!r} has two names, {name!r} and {names[category]!r}")
    return names


def _images(
    entries: list[Any], path: pathlib.Path, find: Finder, findings: Findings, limit: int | None, keep_raw: bool
) -> dict[Any, AnnotatedImage | None]:
    """Images by id; None for those that are missing or beyond the limit."""
    images: dict[Any, AnnotatedImage | None] = {}
    found = 0
    for index, entry in enumerate(entries):
        place = f"image {index}"
        name, image_id = (entry.get("file_name"), as_id(entry.get("id"))) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or image_id is None:
            findings.add("unusable frame", "needs 'id' (number or text) and 'file_name'", path, place=place)
            continue
        if image_id in images:
            findings.add("duplicate image", f"id {image_id!r} came before", path, place=place, image=name)
            continue
        image = locate(name, path, find, findings) if limit is None or found < limit else None
        images[image_id] = image
        if image is None:
            continue
        found += 1
        image.size = known_size(entry.get("height"), entry.get("width"))
        image.coco_id = image_id
        image.attributes = entry["attributes"] if isinstance(entry.get("attributes"), dict) else {}
        image.raw = entry if keep_raw else None
    return images


def _object(
    annotation: dict[str, Any], label_id: str, names: dict[Id, str], class_of: ClassOf, image: AnnotatedImage
) -> Annotation | None:
    """The object of an annotation; None if its category has no instances."""
    category = as_id(annotation.get("category_id"))
    if category is None or category not in names:
        raise LabelError(f"category_id {annotation.get('category_id')!r:.60} is not among the categories", UNKNOWN_NAME)
    known = class_of(names[category])
    if known is None:
        return None
    name, ignored = known
    rle, polygons = _mask(annotation.get("segmentation"), image.size)
    box = annotation.get("bbox")
    if rle is None and polygons is None and not (isinstance(box, list) and len(box) == 4):
        raise LabelError("annotation has neither segmentation nor bbox")
    score, attributes = annotation.get("score"), annotation.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    return Annotation(
        label_id,
        name,
        polygons=polygons,
        rle=rle,
        box_px=_box(box, needed=rle is None and polygons is None),
        crowd=flag(annotation, "iscrowd"),
        ignore=ignored or flag(annotation, "ignore", "ignored"),
        occluded=flag(attributes, "occluded"),
        truncated=flag(attributes, "truncated"),
        score=as_score(score),
    )


def _mask(segmentation: Any, size: tuple[int, int] | None) -> tuple[dict[str, Any] | None, list[Any] | None]:
    """(run-length code, polygons), at most one of them."""
    if isinstance(segmentation, dict):
        return check_rle(segmentation, size), None
    if not isinstance(segmentation, list) or not segmentation:
        return None, None
    if any(not isinstance(flat, list) or len(flat) % 2 for flat in segmentation):
        raise LabelError("segmentation is not a list of flat polygons [x, y, x, y, ...]")
    if not any(segmentation):
        return None, None
    # Parts of one or two points, which annotation tools leave behind, have no area: the others are the object.
    parts = [flat for flat in segmentation if len(flat) >= 6] or segmentation
    return None, [as_points([flat[i : i + 2] for i in range(0, len(flat), 2)]) for flat in parts]


def _box(box: Any, needed: bool) -> tuple[float, float, float, float] | None:
    """(x1, y1, x2, y2) of COCO's [x, y, width, height]. A broken box beside a mask does not matter."""
    try:
        x, y, width, height = (number(value, "bbox") for value in box)
        rectangle(x, y, x + width, y + height)  # raises where it has no area
    except (LabelError, TypeError, ValueError):
        if needed:
            raise
        return None
    return x, y, x + width, y + height
