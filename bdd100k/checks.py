"""What can be wrong with a BDD100K folder: the findings of reading its labels, and a look at every object.

`check_folder` is for people (scripts/check_data.py), `before_training` is the same in about a second.
"""

import logging
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.dataset import SPLITS, BDD100KDataset, find_images, find_labels
from bdd100k.frames import Frame, LabelObject
from bdd100k.labels import object_mask, visible_masks
from mrcnn import checks
from mrcnn.checks import ObjectTable
from mrcnn.errors import InputError
from mrcnn.findings import KINDS, Report

log = logging.getLogger(__name__)

Progress = Callable[[Iterable], Iterable]


def check_folder(
    data_dir: str | pathlib.Path,
    split: str = "all",
    labels: str | pathlib.Path | None = None,
    images: bool = False,
    progress: Progress = iter,
) -> dict[str, Report]:
    """Everything that can be found in a folder.

    Args:
        data_dir: as for `BDD100KDataset.load_bdd100k`.
        split: "train", "val", "test", another sub-folder of images, or "all" for those that are there.
        labels: label file or folder to take instead of the one found.
        images: decode every image too.
        progress: wraps the loops over the images, for a progress bar.

    Returns:
        A report for each split. Splits that share images and labels (a flat folder) are one, called "all".

    Raises:
        InputError: no such folder, or nothing in it can be loaded.
    """
    root = pathlib.Path(data_dir)
    reports: dict[str, Report] = {}
    names: dict[str, set[str]] = {}
    for name, loaded in (_splits(root) if split == "all" else {split: split}).items():
        dataset = BDD100KDataset()
        dataset.load_bdd100k(root, loaded, labels, rectangles_as_masks=True)  # so that boxes alone are looked at too
        dataset.prepare()
        reports[name] = check_split(dataset, full=True, progress=progress)
        if images:
            checks.check_files(dataset, reports[name], full=True, progress=progress)
        names[name] = {info["name"] for info in dataset.image_info}
    _compare_splits(reports, names)
    return reports


def _splits(root: pathlib.Path) -> dict[str, str]:
    """Which splits to load, under which name; a folder without splits is "all"."""
    found: dict[Any, list[str]] = {}
    for split in SPLITS:
        try:
            folders = find_images(root, split)
        except InputError:
            continue
        found.setdefault((str(folders), find_labels(root, split)), []).append(split)
    names = {"all" if len(splits) == len(SPLITS) else splits[0]: splits[0] for splits in found.values()}
    return names or {"train": "train"}  # loading it says what is missing


def _compare_splits(reports: dict[str, Report], names: dict[str, set[str]]) -> None:
    """Images that two splits share; and in a folder of several label files, an image that only some of them name."""
    labelled = set().union(*names.values())
    for split, report in reports.items():
        report.findings = [f for f in report.findings if f.kind != "image without labels" or f.image not in labelled]
        for other in list(reports)[: list(reports).index(split)]:
            for name in sorted(names[split] & names[other]):
                report.add("image in two splits", f"{split} has it, and {other} too", report.source, image=name)


def check_split(dataset: BDD100KDataset, full: bool, progress: Progress = iter) -> Report:
    """What reading the labels found, and what their outlines show; no image is opened.

    Args:
        dataset: prepared, of BDD100K images alone.
        full: fill every outline, which finds hidden and very thin objects, look for outlines that cross themselves and
            compare masks. Otherwise boxes decide: about a second for 7,000 images of 18 objects.
        progress: wraps the loop over the images.
    """
    report = Report(", ".join(known.source for known in dataset.reports))
    for known in dataset.reports:
        report.findings += known.findings
        report.unknown += known.unknown
        for name in known.missing:
            report.add("missing image", "labelled, but there is no such image file", known.source, image=name)
        for name in known.unlabelled:
            report.add("image without labels", "no frame in the labels", known.source, image=name)
    table = object_table(dataset)
    usable = _check_objects(dataset, table, report, full, progress)
    report.images, report.objects = len(dataset.image_info), int(usable.sum())
    counts = np.bincount(table.class_ids[usable], minlength=len(CLASS_NAMES) + 1)[1:]
    report.classes = Counter(dict(zip(CLASS_NAMES, counts.tolist(), strict=True)))
    return report


def object_table(dataset: BDD100KDataset) -> ObjectTable:
    """All labels that a dataset kept, with the extent of their outlines; no mask is filled."""
    rows = [(i, label) for i, info in enumerate(dataset.image_info) for label in info["frame"].objects]
    boxes = np.zeros((len(rows), 4))
    outlined = [i for i, (_, label) in enumerate(rows) if label.polygons is not None]
    if outlined:
        boxes[outlined] = _extents([rows[i][1].polygons for i in outlined])  # type: ignore[misc]
    coded = [i for i, (_, label) in enumerate(rows) if label.rle is not None]
    if coded:
        boxes[coded] = _coded_extents([rows[i][1].rle for i in coded])  # type: ignore[misc]
    for i, (_, label) in enumerate(rows):
        if not label.has_mask and label.box2d is not None:
            x1, y1, x2, y2 = label.box2d
            boxes[i] = y1, x1, y2 + 1, x2 + 1  # Scalabel: the last row and column belong to it
    return ObjectTable(
        np.array([image_id for image_id, _ in rows], int), np.array([label.category_id for _, label in rows], int),
        boxes, [label.id for _, label in rows],
    )  # fmt: skip


def _extents(outlines: list[list[np.ndarray]]) -> np.ndarray:
    """[n, (y1, x1, y2, x2)] around the polygons of n objects."""
    points = np.concatenate([polygon for polygons in outlines for polygon in polygons])[:, ::-1]
    lengths = [sum(len(polygon) for polygon in polygons) for polygons in outlines]
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    return np.concatenate([np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)], axis=1)


def _coded_extents(rles: list[dict]) -> np.ndarray:
    """[n, (y1, x1, y2, x2)] around n run-length codes."""
    from pycocotools import mask as coco

    plain = []
    for rle in rles:
        counts = rle["counts"]
        coded = coco.frPyObjects(rle, *rle["size"]) if isinstance(counts, list) else rle
        plain.append({**coded, "counts": counts.encode()} if isinstance(counts, str) else coded)
    x, y, width, height = coco.toBbox(plain).T
    return np.stack([y, x, y + height, x + width], axis=1)


def _check_objects(
    dataset: BDD100KDataset, table: ObjectTable, report: Report, full: bool, progress: Progress
) -> np.ndarray:
    """Adds what is wrong with the objects; bool [n], those that training can use."""
    frames: list[Frame] = [info["frame"] for info in dataset.image_info]
    objects: list[LabelObject] = [label for frame in frames for label in frame.objects]

    def add(kind: str, i: int, detail: str) -> None:
        report.add(kind, detail, report.source, image=frames[table.image_ids[i]].name, label=table.labels[i])

    sizes = np.array([[frame.height, frame.width] for frame in frames], float)[table.image_ids].reshape(-1, 2)
    beyond, nothing = checks.outside(table.boxes, sizes), checks.empty(table.boxes, sizes)
    for i in np.flatnonzero((beyond > 0) & ~nothing).tolist():
        add("outside the image", i, f"by {beyond[i]:.0f} px")
    masked = np.array([label.has_mask for label in objects], bool)
    for i in np.flatnonzero(~masked).tolist():
        add("box without mask", i, "has a box2d and neither poly2d nor rle")
    if len(objects) and not masked.any():
        report.add("no masks", f"all {len(objects)} objects are boxes (detection labels)", report.source)
    if full:
        nothing |= _check_masks(frames, add, progress)
    else:
        for i in np.flatnonzero(nothing).tolist():
            add("no area", i, "no pixel of the image lies inside its outline")
    for earlier, later in checks.duplicates(table):
        if not full or _same(objects[earlier], objects[later], frames[table.image_ids[later]]):
            add("duplicate object", later, f"the same as label {table.labels[earlier]!r}")
    labelled = any(known.format != "no labels" for known in dataset.reports)  # the official test split has none
    for frame in frames if labelled else []:
        if not frame.objects:
            report.add("image without objects", "no label of it can be used", report.source, image=frame.name)
    return ~nothing


def _check_masks(frames: list[Frame], add: Callable[[str, int, str], None], progress: Progress) -> np.ndarray:
    """Fills every outline; bool [n], the objects without a pixel."""
    nothing: list[bool] = []
    for frame in progress(frames):
        assert frame.height and frame.width, "loading gave the frame its size"
        for label, mask in zip(frame.objects, visible_masks(frame, rectangles_as_masks=True), strict=True):
            i = len(nothing)
            nothing.append(mask is None)
            if mask is None and object_mask(label, frame.height, frame.width, True) is None:
                add("no area", i, "no pixel of the image lies inside its outline")
            elif mask is None:
                add("hidden object", i, "later labels cover it")
            crossings = (checks.crossing(polygon) for polygon in label.polygons or [])
            place = next((point for point in crossings if point is not None), None)
            if place is not None:
                add("self-crossing outline", i, f"near x {place[0]:.1f}, y {place[1]:.1f}")
    return np.array(nothing, bool)


def _same(first: LabelObject, second: LabelObject, frame: Frame) -> bool:
    assert frame.height and frame.width, "loading gave the frame its size"
    mask1, mask2 = (object_mask(label, frame.height, frame.width, True) for label in (first, second))
    return mask1 is not None and mask2 is not None and checks.masks_alike(mask1, mask2)


def before_training(dataset: BDD100KDataset, split: str) -> Report:
    """Says in one line what training leaves out and what it keeps although it looks wrong.

    Raises:
        InputError: nothing is left to train on.
    """
    report = check_split(dataset, full=False)
    for known in dataset.reports:
        if known.boxes_only:
            report.add("box without mask", f"{known.boxes_only} objects", known.source)
    if not report.objects:
        raise InputError(f"{report.source}: not one object of split {split!r} can be used: {summary(report)}")
    if report.problems:
        log.warning("check of %s: %s. scripts/check_data.py names all of them", split, summary(report))
    else:
        log.info("check of %s: %d images, %d objects, nothing wrong", split, report.images, report.objects)
    return report


def summary(report: Report) -> str:
    """'3 unusable label (left out), 4 duplicate object (kept)'."""
    return ", ".join(f"{count} {kind} ({KINDS[kind].training})" for kind, count in report.counts().items())
