"""Read COCO instance files with any categories."""

import pathlib
from collections.abc import Sequence
from typing import Any

from mrcnn.annotations.findings import Report
from mrcnn.annotations.json_fields import check_rle, number, read_json
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations, Finder, keep, known_size, locate
from mrcnn.errors import InputError, LabelError, json_type
from mrcnn.structures.polygons import as_points, rectangle

# COCO ----------------------------------------------------------------------------------------------------------------


def read_coco(paths: Sequence[pathlib.Path], find: Finder, report: Report) -> Annotations:
    """Reads COCO instance files with any categories: polygons, run-length codes, boxes, iscrowd and ignore.

    Raises:
        InputError: a file that is no COCO file, or files whose categories differ.
    """
    images: list[AnnotatedImage] = []
    classes: dict[int, str] = {}
    for path in paths:
        document = read_json(path)
        for part in ("images", "annotations", "categories"):
            if not isinstance(document, dict) or not isinstance(document.get(part), list):
                raise InputError(f"{path}: a COCO file needs a list {part!r}")
        names = {
            entry["id"]: entry["name"].strip()
            for entry in document["categories"]
            if isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("name"), str)
        }
        if not names or (classes and names != classes):
            raise InputError(
                f"{path}: its categories {names} are not those of {paths[0]}: {classes}"
                if names
                else f"{path}: none of its categories has an 'id' and a 'name'"
            )
        classes = names
        by_id = _coco_images(document["images"], path, find, report)
        for place, annotation in enumerate(document["annotations"]):
            image_id = annotation.get("image_id") if isinstance(annotation, dict) else None
            image = by_id.get(image_id) if isinstance(image_id, int | str) else None
            label_id = str(annotation.get("id", place)) if isinstance(annotation, dict) else str(place)
            try:
                if not isinstance(annotation, dict):
                    raise LabelError(f"annotation is {json_type(annotation)}, not an object")
                if image is None and isinstance(image_id, int | str) and image_id in by_id:
                    continue  # its image is a finding already
                if image is None:
                    raise LabelError(f"image_id {image_id!r:.60} is not among the images")
                keep(image, _coco_object(annotation, label_id, names, image))
            except LabelError as error:
                report.add(error.kind, str(error), path, image=image.name if image else None, label=label_id)
        images += [image for image in by_id.values() if image is not None]
    return Annotations("coco", images, sorted(classes.items()), report)


def _coco_images(
    entries: list[Any], path: pathlib.Path, find: Finder, report: Report
) -> dict[int | str, AnnotatedImage | None]:
    """Images by id; None for those that were found to be missing."""
    images: dict[int | str, AnnotatedImage | None] = {}
    for place, entry in enumerate(entries):
        known = isinstance(entry, dict) and isinstance(entry.get("file_name"), str)
        if not known or not isinstance(entry.get("id"), int | str):
            report.add("unusable frame", "needs 'id' and 'file_name'", path, place=f"image {place}")
        elif entry["id"] in images:
            report.add("duplicate image", f"id {entry['id']!r} came before", path, image=entry["file_name"])
        else:
            image = images[entry["id"]] = locate(entry["file_name"], path, find, report)
            if image is not None:
                image.size = known_size(entry.get("height"), entry.get("width"))
                image.coco_id = entry["id"] if isinstance(entry["id"], int) else None
    return images


def _coco_object(annotation: dict[str, Any], label_id: str, names: dict[int, str], image: AnnotatedImage) -> Annotation:
    category = annotation.get("category_id")
    if not isinstance(category, int) or category not in names:
        raise LabelError(f"category_id {category!r:.60} is not among the categories", "unknown name")
    label = Annotation(
        label_id, names[category], crowd=bool(annotation.get("iscrowd")), ignore=bool(annotation.get("ignore"))
    )
    segmentation, box = annotation.get("segmentation"), annotation.get("bbox")
    if isinstance(segmentation, dict):
        label.rle = check_rle(segmentation, image.size)
    elif isinstance(segmentation, list) and segmentation:
        if any(not isinstance(flat, list) or len(flat) % 2 for flat in segmentation):
            raise LabelError("segmentation is not a list of flat polygons [x, y, x, y, ...]")
        label.polygons = [as_points([flat[i : i + 2] for i in range(0, len(flat), 2)]) for flat in segmentation]
    elif isinstance(box, list) and len(box) == 4:
        x, y, width, height = (number(value, "bbox") for value in box)
        rectangle(x, y, x + width, y + height)  # raises where it has no area
        label.box_px = (x, y, x + width, y + height)
    else:
        raise LabelError("annotation has neither segmentation nor bbox")
    return label
