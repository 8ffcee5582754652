"""Check a BDD100K folder: the findings of reading its labels, and of looking at every object.

`check_folder` is for people (scripts/check_data.py); `before_training` does the same for any dataset in about a second.
"""

import logging
import pathlib
from typing import Any

from bdd100k.dataset import SPLITS, BDD100KDataset, find_images, find_labels
from mrcnn.annotations import checks
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.annotations.findings import KINDS, NO_LABELS, Findings
from mrcnn.annotations.label_checks import Progress, check_annotated, has_mask_files
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.errors import InputError

log = logging.getLogger(__name__)


def check_folder(
    data_dir: str | pathlib.Path,
    split: str = "all",
    labels: str | pathlib.Path | None = None,
    images: bool = False,
    progress: Progress = iter,
    max_pixels: int = MAX_PIXELS,
) -> dict[str, Findings]:
    """Return everything that can be found in a folder of BDD100K.

    Args:
        data_dir: as for `BDD100KDataset.load_bdd100k`.
        split: "train", "val", "test", another sub-folder of images, or "all" for those that are there.
        labels: label file or folder to use instead of the one that is found.
        images: decode every image too.
        progress: wraps the loops over the images, for a progress bar.
        max_pixels: the maximum number of pixels of an image; larger ones are left out by name.

    Returns:
        The findings of each split. Splits that share images and labels (a flat folder) are one, called "all".

    Raises:
        InputError: there is no such folder, or nothing in it can be loaded.
    """
    root = pathlib.Path(data_dir)
    reports: dict[str, Findings] = {}
    names: dict[str, set[str]] = {}
    for name, loaded in (_splits(root) if split == "all" else {split: split}).items():
        dataset = BDD100KDataset()
        dataset.max_pixels = max_pixels
        dataset.load_bdd100k(root, loaded, labels, rectangles_as_masks=True)  # or boxes would be left out
        dataset.prepare()
        reports[name] = check_annotated(dataset, full=True, progress=progress)
        if images:
            checks.check_files(dataset, reports[name], full=True, progress=progress)
        names[name] = {info["name"] for info in dataset.image_info}
    _compare_splits(reports, names)
    return reports


def _splits(root: pathlib.Path) -> dict[str, str]:
    """Name in the report -> split to load; a folder without splits is "all"."""
    found: dict[Any, list[str]] = {}
    for split in SPLITS:
        try:
            folders = find_images(root, split)
        except InputError:
            continue
        found.setdefault((str(folders), find_labels(root, split)), []).append(split)
    names = {"all" if len(splits) == len(SPLITS) else splits[0]: splits[0] for splits in found.values()}
    return names or {"train": "train"}  # loading it raises, and says what is missing


def _compare_splits(reports: dict[str, Findings], names: dict[str, set[str]]) -> None:
    """Report images that two splits share; forget images without labels that the labels of another split name."""
    labelled = set().union(*names.values())
    for split, report in reports.items():
        report.entries = [f for f in report.entries if f.kind != NO_LABELS or f.image not in labelled]
        for other in list(reports)[: list(reports).index(split)]:
            for name in sorted(names[split] & names[other]):
                report.add("image in two splits", f"it is in {split} and in {other}", report.source, image=name)


def before_training(dataset: AnnotatedDataset, split: str) -> Findings:
    """Log in one line what training leaves out, and what it keeps although it looks wrong.

    Args:
        dataset: prepared.
        split: its name, for messages.

    Raises:
        InputError: nothing is left to train on.
    """
    findings = check_annotated(dataset, full=False)
    unread = has_mask_files(dataset)  # objects are in files that this check does not open
    if not findings.objects and not unread:
        why = [f.detail for f in findings.entries if KINDS[f.kind].training == "impossible"] or [summary(findings)]
        raise InputError(f"{findings.source}: not one object of split {split!r} can be used: {'; '.join(why)}")
    if findings.problems:
        log.warning("check of %s: %s. scripts/check_data.py lists them all", split, summary(findings))
    else:
        objects = "mask files (not opened)" if unread else f"{findings.objects} objects"
        log.info("check of %s: %d images, %s, nothing wrong", split, findings.images, objects)
    return findings


def summary(findings: Findings) -> str:
    """Return '3 unusable label (left out), 4 duplicate object (kept)'."""
    return ", ".join(f"{count} {kind} ({KINDS[kind].training})" for kind, count in findings.counts().items())
