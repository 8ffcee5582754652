"""BDD100K as a dataset: find images and labels in the official layouts and in flat folders.

BDD100K: Yu et al., arXiv:1805.04687. The import name `bdd100k` is also that of the official toolkit; the two cannot be
installed together.
"""

import logging
import pathlib
from collections.abc import Collection
from typing import Any, ClassVar

from bdd100k.config import CLASS_NAMES
from bdd100k.labels.load import CLASSES, label_rank, read_labels
from mrcnn.annotations.dataset import AnnotatedDataset, log_summary, sized
from mrcnn.annotations.findings import MISSING_IMAGE, NO_LABELS, Findings, listing
from mrcnn.annotations.schema import AnnotatedImage, Annotations
from mrcnn.errors import InputError

log = logging.getLogger(__name__)

SOURCE = "bdd100k"
SPLITS = ("train", "val", "test")
_IMAGE_FOLDERS = ("images/10k", "images/100k", "images", ".")  # the 10K package carries the instance masks
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
_LABEL_PLACES = (  # the official ones, best masks first
    "labels/ins_seg/rles/ins_seg_{split}.json",
    "labels/ins_seg/polygons/ins_seg_{split}.json",
    "labels/ins_seg/bitmasks/{split}",
    "labels/det_20/det_{split}.json",
    "labels/bdd100k_labels_images_{split}.json",
    "labels/100k/{split}",
)


class BDD100KDataset(AnnotatedDataset):
    """Images of BDD100K with their instance labels.

    `image_info[i]` also has `attributes` (weather, scene, timeofday), and a `coco_id` in any case.
    """

    IMAGE_ATTRIBUTES: ClassVar[dict[str, str]] = {"weather": "Weather", "scene": "Scene", "timeofday": "Time of day"}
    OBJECT_FLAGS: ClassVar[tuple[str, ...]] = ("occluded", "truncated")

    def load_bdd100k(
        self,
        data_dir: str | pathlib.Path,
        split: str = "train",
        labels: str | pathlib.Path | None = None,
        rectangles_as_masks: bool = False,
        limit: int | None = None,
        only: Collection[str] | None = None,
        without: Collection[str] = (),
    ) -> None:
        """Add the images of one split. Call `prepare()` afterwards.

        Accepts the official folders as downloaded (images/10k or images/100k with labels/ins_seg, labels/det_20 or the
        2018 files), and a flat folder with images beside label files: run-length codes are preferred to polygons, and
        these to COCO files and bitmasks. In a folder without sub-folders for splits, every split means all images.

        Args:
            data_dir: the folder.
            split: "train", "val", "test", or the name of another sub-folder of images.
            labels: label file or folder to use instead of the one that is found.
            rectangles_as_masks: use the filled box2d of objects that have no mask.
            limit: at most this many images, in the order of the label file.
            only: names of image files without their endings, to which the split is narrowed; None takes all.
            without: such names that are left out.

        Raises:
            InputError: there is no such folder, no images, no labels, the labels cannot be used, or not one image has
                labels.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}: give the number of images to load, 1 or more")
        root = pathlib.Path(data_dir)
        folders = find_images(root, split)
        source = pathlib.Path(labels) if labels is not None else find_labels(root, split)
        if source is None:
            images = folders[0]
            found = _without_labels(root, split, images)
        else:
            log.info("labels of split %r: %s", split, source)
            # An image that is in both packages has the same name in both, so the labels may find it in either.
            images = {stem: path for folder in reversed(folders) for stem, path in folder.items()}

            def find(name: str, _: pathlib.Path) -> pathlib.Path | None:
                return images.get(pathlib.PurePath(name).stem)

            reading_limit = limit if only is None and not without else None
            found = read_labels(source, find, reading_limit, max_pixels=self.max_pixels)
            _refuse_without_objects(found, limit)
        wanted = (set(images) if only is None else set(only)) - set(without)
        found.images = [image for image in found.images if image.path.stem in wanted]
        if limit is None:
            for stem in sorted((wanted & set(images)) - {image.path.stem for image in found.images}):
                found.findings.add(NO_LABELS, "the labels do not name it", source, image=images[stem].name)
        kept = sized(found.images, found.findings, self.max_pixels)[:limit]
        log_summary(f"{found.findings.source} ({found.format})", kept, found.findings)
        if not kept:
            raise InputError(f"{found.findings.source}: not one labelled image can be used: {_why(found.findings)}")
        self.add_annotations(found, kept, rectangles_as_masks, SOURCE)

    def image_fields(self, image: AnnotatedImage) -> dict[str, Any]:
        """Return `attributes` and `coco_id`, which is a running number where the labels have none."""
        coco_id = image.coco_id if image.coco_id is not None else len(self.image_info) + 1
        return {"attributes": image.attributes, "coco_id": coco_id}


def _without_labels(root: pathlib.Path, split: str, images: dict[str, pathlib.Path]) -> Annotations:
    """The images of the official test split, which comes without labels. Raises InputError for any other split."""
    if split != "test":
        raise InputError(
            f"{root}: no BDD100K labels for split {split!r} in {root / 'labels'} or beside the images; read are "
            "Scalabel JSON, COCO JSON, the 2018 JSON and folders of RGBA bitmasks"
        )
    log.info("%s: no labels for split %r; its images have no objects", root, split)
    unlabelled = [AnnotatedImage(path.name, path, root, labelled=False) for path in images.values()]
    return Annotations("no labels", unlabelled, CLASSES, Findings(str(root)))


def _refuse_without_objects(found: Annotations, limit: int | None) -> None:
    """Raise InputError if the labels of a whole split have no object of a known class."""
    findings = found.findings
    if limit is not None or findings.images_of(MISSING_IMAGE) or any(image.objects for image in found.images):
        return
    others = listing(findings.unknown + findings.stuff) or "none"
    raise InputError(
        f"{findings.source}: no object of the classes {', '.join(CLASS_NAMES)}; other categories: {others}; "
        f"labels that could not be used: {len(findings.unusable())}"
    )


def _why(findings: Findings) -> str:
    """Why no image is left."""
    missing = findings.images_of(MISSING_IMAGE)
    absent = f"{len(missing)} labelled images have no image file, such as {', '.join(missing[:3])}"
    return "; ".join(map(str, findings.unusable()[-3:])) or absent


def find_images(root: pathlib.Path, split: str) -> list[dict[str, pathlib.Path]]:
    """Find the image files of a split: for each folder that has any, a dictionary from the file's stem to its path.

    Raises:
        InputError: the folder does not exist, or has no images for this split.
    """
    root = _unpacked(root)
    if not root.is_dir():
        raise InputError(f"{root}: {'is a file, not a folder with images' if root.exists() else 'no such folder'}")
    containers = [root / folder for folder in _IMAGE_FOLDERS]
    found = [images for container in containers if (images := _images_in(container / split))]
    if found:
        return found
    others = [str(c / name) for c in containers for name in SPLITS if name != split and _images_in(c / name)]
    if others:
        raise InputError(f"{root}: no images for split {split!r}; there are {', '.join(others)}")
    found = [images for container in containers if (images := _images_in(container))]
    if not found and (root / "images").is_dir():  # COCO names its sub-folders train2017
        found = [images for folder in sorted((root / "images").iterdir()) if (images := _images_in(folder))]
    if not found:
        raise InputError(
            f"{root}: no images. Expected {root / 'images/10k' / split}/*.jpg as BDD100K is downloaded, or .jpg files "
            f"in {root} or {root / 'images'}"
        )
    return found


def _unpacked(root: pathlib.Path) -> pathlib.Path:
    """The folder that unpacking BDD100K's archives creates: DIR/bdd100k, if DIR itself has no images."""
    inner = root / "bdd100k"
    return inner if (inner / "images").is_dir() and not (root / "images").exists() else root


def _images_in(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES}


def has_official_images(root: pathlib.Path) -> bool:
    """Return whether a folder has images where BDD100K's packages put them: images/10k or images/100k."""
    return any((_unpacked(root) / folder).is_dir() for folder in _IMAGE_FOLDERS[:2])


def has_official_labels(root: pathlib.Path) -> bool:
    """Return whether a folder has labels of any split at one of the official places."""
    root = _unpacked(root)
    return any((root / place.format(split=split)).exists() for place in _LABEL_PLACES for split in SPLITS)


def find_labels(root: pathlib.Path, split: str) -> pathlib.Path | None:
    """Find the label file or folder with the best masks for a split: at an official place, else by content.

    Among several files, one named after the split comes before one without a split in its name, and that before one
    named after another split.

    Raises:
        InputError: a JSON file cannot be read.
    """
    root = _unpacked(root)
    for place in _LABEL_PLACES:
        path = root / place.format(split=split)
        if path.exists():
            return path
    places = [folder for folder in (root, root / "labels", root / "annotations") if folder.is_dir()]
    files = [path for folder in places for path in sorted(folder.glob("*.json")) if path.is_file()]
    files += [path for folder in places for path in sorted(folder.iterdir()) if path.is_dir()]
    files += [path / split for path in files if (path / split).is_dir()]
    beside = [root, *(root / folder / split for folder in _IMAGE_FOLDERS)]  # one JSON beside each image
    files += [folder for folder in beside if folder.is_dir() and folder not in files]
    ranked = [
        (1 if path == root else _split_rank(path, split), rank, str(path))
        for path in files
        if (rank := label_rank(path)) is not None
    ]
    return pathlib.Path(min(ranked)[2]) if ranked else None


def _split_rank(path: pathlib.Path, split: str) -> int:
    if split in path.stem:
        return 0
    return 2 if any(name in path.stem for name in SPLITS) else 1
