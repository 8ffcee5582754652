"""Check the labels of a whole data set: outlines outside the image, without area, self-crossing, duplicate or hidden.

Boxes are (y1, x1, y2, x2) in pixels, y2 and x2 exclusive.
"""

import functools
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mrcnn.annotations import checks
from mrcnn.annotations.checks import ObjectTable
from mrcnn.annotations.crossings import crossing
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.annotations.findings import CROWD, NO_LABELS, Findings
from mrcnn.annotations.folder import Folder, open_folder, recognise
from mrcnn.annotations.mask_png import check_values
from mrcnn.annotations.object_masks import BoxAndCrop, object_mask, visible_masks
from mrcnn.annotations.schema import AnnotatedImage, Annotation
from mrcnn.data.image_files import MAX_PIXELS

Progress = Callable[[Iterable], Iterable]
Add = Callable[[str, int, str], None]  # (kind, position in the table, detail)
ONLY_CROWDS = (
    "all {} objects are crowds or ignored, which training treats neither as objects nor as background. If each is one "
    'object, set "iscrowd" to 0 in the file (CVAT sets it for masks painted with its brush)'
)


def check_annotated(dataset: AnnotatedDataset, full: bool, progress: Progress = iter) -> Findings:
    """Return what reading the labels found, and what the labels themselves show; no image is opened.

    Mask files are not decoded in the fast check: their objects are not counted then.

    Args:
        dataset: prepared; its images come from label files alone.
        full: fill every outline, which finds hidden and very thin objects, look for outlines that cross themselves and
            compare masks. Otherwise boxes decide: about a second for 7,000 images of 18 objects.
        progress: wraps the loop over the images, for a progress bar.
    """
    findings = Findings("")
    findings.include(dataset.findings)
    mask_files = has_mask_files(dataset)
    if mask_files and full:
        checks.check_instances(dataset, findings, progress)
        check_values(_images(dataset), findings)
        return findings
    _check_labels(dataset, findings, full, progress)
    if dataset.findings.boxes_left_out:
        detail = f"{dataset.findings.boxes_left_out} objects have a box and no outline"
        findings.add("box without mask", detail, findings.source)
    for image in _images(dataset):
        if not image.objects and image.labelled and not mask_files:
            findings.add("image without objects", "no labels, or none that can be used", image.source, image=image.name)
    return findings


def has_mask_files(dataset: AnnotatedDataset) -> bool:
    """Return whether objects are in mask images, which only `load_instances` opens."""
    return any(image.has_mask_files for image in _images(dataset))


def _images(dataset: AnnotatedDataset) -> list[AnnotatedImage]:
    return [info["annotated"] for info in dataset.image_info]


def _check_labels(dataset: AnnotatedDataset, findings: Findings, full: bool, progress: Progress) -> None:
    """Add what is wrong with the labels, and the numbers of images and objects that training can use."""
    images = _images(dataset)
    rows = [(image_id, label) for image_id, image in enumerate(images) for label in image.objects]
    table, objects = _object_table(dataset, rows), [label for _, label in rows]
    shapes = np.array([image.size for image in images], int).reshape(-1, 2)

    def add(kind: str, i: int, detail: str) -> None:
        image = images[table.image_ids[i]]
        findings.add(kind, detail, image.source, image=image.name, label=table.labels[i])

    sizes = shapes[table.image_ids]
    beyond, nothing = checks.outside(table.boxes, sizes), checks.empty(table.boxes, sizes)
    for i in np.flatnonzero((beyond > 0) & ~nothing).tolist():
        add("outside the image", i, f"by {beyond[i]:.0f} px")
    masked = np.array([label.has_mask for label in objects], bool)
    for i in np.flatnonzero(~masked).tolist():
        add("box without mask", i, "has a box and no outline")
    crowds = np.array([label.crowd or label.ignore for label in objects], bool)
    for i in np.flatnonzero(crowds).tolist():
        add(CROWD, i, "a crowd" if objects[i].crowd else "ignored")
    if len(objects) and crowds.all():
        findings.add("only crowds", ONLY_CROWDS.format(len(objects)), findings.source)
    if len(objects) and not masked.any():
        findings.add("no masks", f"all {len(objects)} objects are boxes (detection labels)", findings.source)
    if full:
        nothing = nothing | _check_masks(images, add, progress)
    else:
        for i in np.flatnonzero(nothing).tolist():
            add("no area", i, "no pixel of the image lies inside its outline")
    mask_of = functools.lru_cache(256)(lambda i: object_mask(objects[i], tuple(shapes[table.image_ids[i]].tolist())))
    for earlier, later in checks.duplicates(table):
        if not full or _alike(mask_of(earlier), mask_of(later)):
            add("duplicate object", later, f"the same as label {table.labels[earlier]!r}")
    used = ~nothing & ~crowds
    findings.images, findings.objects = len(images), int(used.sum())
    counts = np.bincount(table.class_ids[used], minlength=dataset.num_classes)
    findings.classes = Counter(dict(zip(dataset.class_names[1:], counts[1:].tolist(), strict=True)))


def _object_table(dataset: AnnotatedDataset, rows: list[tuple[int, Annotation]]) -> ObjectTable:
    """All labels, each with its image id, as arrays with the extents of their outlines; no mask is filled."""
    boxes = np.zeros((len(rows), 4))
    outlined = [i for i, (_, label) in enumerate(rows) if label.polygons is not None]
    if outlined:
        boxes[outlined] = _extents([rows[i][1].polygons or [] for i in outlined])
    coded = [i for i, (_, label) in enumerate(rows) if label.rle is not None]
    if coded:
        boxes[coded] = _coded_extents([rows[i][1].rle or {} for i in coded])
    for i, (_, label) in enumerate(rows):
        if not label.has_mask:
            assert label.box_px is not None
            x1, y1, x2, y2 = label.box_px
            boxes[i] = y1, x1, y2, x2
    ids = {source: dataset.ids_of(source) for source in dataset.sources}
    class_ids = [ids[dataset.image_info[image_id]["source"]][label.name] for image_id, label in rows]
    image_ids = np.array([image_id for image_id, _ in rows], int)
    return ObjectTable(image_ids, np.array(class_ids, int), boxes, [label.id for _, label in rows])


def _extents(outlines: list[list[np.ndarray]]) -> np.ndarray:
    """[n, (y1, x1, y2, x2)] around the polygons of n objects."""
    points = np.concatenate([polygon for polygons in outlines for polygon in polygons])[:, ::-1]
    lengths = [sum(len(polygon) for polygon in polygons) for polygons in outlines]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.concatenate([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)], axis=1)


def _coded_extents(rles: list[dict[str, Any]]) -> np.ndarray:
    """[n, (y1, x1, y2, x2)] around n run-length codes."""
    from pycocotools import mask as coco

    plain = []
    for rle in rles:
        counts = rle["counts"]
        coded = coco.frPyObjects(rle, *rle["size"]) if isinstance(counts, list) else rle
        plain.append({**coded, "counts": counts.encode()} if isinstance(counts, str) else coded)
    x, y, width, height = coco.toBbox(plain).T
    return np.stack([y, x, y + height, x + width], axis=1)


def _check_masks(images: list[AnnotatedImage], add: Add, progress: Progress) -> np.ndarray:
    """Fill every outline; bool [n], the objects without a pixel."""
    nothing: list[bool] = []
    for image in progress(images):
        for label, mask in zip(image.objects, visible_masks(image, boxes=True), strict=True):
            i = len(nothing)
            nothing.append(mask is None)
            if mask is None and object_mask(label, image.size) is None:
                add("no area", i, "no pixel of the image lies inside its outline")
            elif mask is None:
                add("hidden object", i, "later labels cover it")
            crossings = (crossing(polygon) for polygon in label.polygons or [])
            place = next((point for point in crossings if point is not None), None)
            if place is not None:
                add("self-crossing outline", i, f"near x {place[0]:.1f}, y {place[1]:.1f}")
    return np.array(nothing, bool)


def _alike(first: BoxAndCrop | None, second: BoxAndCrop | None) -> bool:
    return first is not None and second is not None and checks.masks_alike(first, second)


def check_annotated_folder(
    folder: str | pathlib.Path,
    split: str | None = None,
    images: bool = False,
    progress: Progress = iter,
    max_pixels: int = MAX_PIXELS,
) -> Findings:
    """Return everything that can be found in a folder that `mrcnn.annotations.folder.open_folder` reads.

    Args:
        folder: its path.
        split: "train", "val" or "test"; None for all.
        images: decode every image too.
        progress: wraps the loops over the images, for a progress bar.
        max_pixels: the maximum number of pixels of an image; larger ones are left out by name.

    Raises:
        InputError: there is no such folder, or nothing in it can be read.
    """
    # Objects with only a box are checked too.
    dataset = open_folder(folder, split, rectangles_as_masks=True, max_pixels=max_pixels)
    findings = check_annotated(dataset, full=True, progress=progress)
    if split is None and recognise(folder) != "masks":  # whose files are images too
        known = {info["path"] for info in dataset.image_info} | {f.file for f in findings.entries}
        for path in Folder(folder).images:
            if str(path) not in known:
                findings.add(NO_LABELS, "no label file names it", path, image=path.name)
    if images:
        checks.check_files(dataset, findings, full=True, progress=progress)
    return findings
