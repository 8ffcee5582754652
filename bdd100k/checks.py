"""What can be wrong with a BDD100K folder: the findings of reading its labels, and a look at every object.

`check_folder` is for people (scripts/check_data.py), `before_training` is the same in about a second.
"""

import logging
import pathlib
from typing import Any

from bdd100k.dataset import SPLITS, BDD100KDataset, find_images, find_labels
from bdd100k.labels.frames import Frame, LabelObject
from bdd100k.labels.masks import object_mask, visible_masks
from mrcnn.annotations import checks
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.annotations.findings import KINDS, Report
from mrcnn.annotations.label_checks import (
    NO_OBJECTS,
    BoxAndCrop,
    LabelView,
    Progress,
    check_annotated,
    check_labels,
    has_mask_files,
)
from mrcnn.errors import InputError

log = logging.getLogger(__name__)


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
    check_labels(dataset, BDD100KLabels(dataset, report.source), report, full, progress)
    if any(known.format != "no labels" for known in dataset.reports):  # the official test split has none
        for info in dataset.image_info:
            if not info["frame"].objects:
                report.add("image without objects", NO_OBJECTS, report.source, image=info["name"])
    return report


class BDD100KLabels(LabelView):
    """The labels of a dataset of BDD100K images alone."""

    def __init__(self, dataset: BDD100KDataset, source: str) -> None:
        self.frames: list[Frame] = [info["frame"] for info in dataset.image_info]
        self.source = source

    def labels(self, image_id: int) -> list[LabelObject]:
        """The objects of a frame."""
        return self.frames[image_id].objects

    def file(self, image_id: int) -> str:
        """The label file or folder."""
        return self.source

    def class_id(self, label: LabelObject) -> int:
        """As in the official files."""
        return label.category_id

    def box(self, label: LabelObject) -> tuple[float, float, float, float]:
        """Its `box2d` in our order."""
        assert label.box2d is not None
        x1, y1, x2, y2 = label.box2d
        return y1, x1, y2 + 1, x2 + 1  # Scalabel: the last row and column belong to it

    def fill(self, label: LabelObject, shape: tuple[int, int]) -> BoxAndCrop | None:
        """As loading fills it; a box where there is no outline."""
        return object_mask(label, *shape, rectangles_as_masks=True)

    def visible(self, image_id: int, shape: tuple[int, int]) -> list[BoxAndCrop | None]:
        """What training sees of each."""
        return visible_masks(self.frames[image_id], rectangles_as_masks=True)


def before_training(dataset: BDD100KDataset | AnnotatedDataset, split: str) -> Report:
    """Says in one line what training leaves out and what it keeps although it looks wrong.

    Raises:
        InputError: nothing is left to train on.
    """
    if isinstance(dataset, BDD100KDataset):
        report = check_split(dataset, full=False)
        for known in dataset.reports:
            if known.boxes_only:
                report.add("box without mask", f"{known.boxes_only} objects", known.source)
        unread = False  # whether objects are in files that this check does not open
    else:
        report = check_annotated(dataset, full=False)
        unread = has_mask_files(dataset)
    if not report.objects and not unread:
        raise InputError(f"{report.source}: not one object of split {split!r} can be used: {summary(report)}")
    if report.problems:
        log.warning("check of %s: %s. scripts/check_data.py names all of them", split, summary(report))
    else:
        objects = "mask files (not opened)" if unread else f"{report.objects} objects"
        log.info("check of %s: %d images, %s, nothing wrong", split, report.images, objects)
    return report


def summary(report: Report) -> str:
    """'3 unusable label (left out), 4 duplicate object (kept)'."""
    return ", ".join(f"{count} {kind} ({KINDS[kind].training})" for kind, count in report.counts().items())
