"""BDD100K as a Dataset: finds images and labels in the official layouts and in flat folders, and gives instances.

BDD100K: Yu et al., arXiv:1805.04687. The import name `bdd100k` is also that of the official toolkit; the two cannot be
installed together.
"""

import logging
import pathlib
from collections import Counter
from collections.abc import Collection

import numpy as np

from bdd100k.config import CLASS_NAMES
from bdd100k.labels.frames import Frame, LabelReport, Labels, listing
from bdd100k.labels.load import label_rank, load_labels
from bdd100k.labels.masks import frame_instances
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import image_size
from mrcnn.errors import InputError
from mrcnn.structures.instances import Instances

logger = logging.getLogger(__name__)

SOURCE = "bdd100k"
SPLITS = ("train", "val", "test")
_IMAGE_FOLDERS = ("images/10k", "images/100k", "images", ".")  # the 10K package carries the instance masks
_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png"}
_LABEL_PLACES = (  # official ones, best masks first
    "labels/ins_seg/rles/ins_seg_{split}.json",
    "labels/ins_seg/polygons/ins_seg_{split}.json",
    "labels/ins_seg/bitmasks/{split}",
    "labels/det_20/det_{split}.json",
    "labels/bdd100k_labels_images_{split}.json",
    "labels/100k/{split}",
)


class BDD100KDataset(Dataset):
    """Images of BDD100K with their instance labels; masks stay polygons or run-length codes until they are asked for.

    `image_info[i]` has `id` and `name` (file name), `path`, `width`, `height`, `attributes` (weather, scene,
    timeofday), `coco_id` and `frame` (the labels). `reports` holds what the label files had and what was left out.
    """

    def __init__(self, class_map: dict | None = None) -> None:
        super().__init__(class_map)
        self.reports: list[LabelReport] = []

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
        """Adds the images of one split. Call `prepare()` afterwards.

        Accepts the official folders as downloaded (images/10k or images/100k with labels/ins_seg, labels/det_20 or the
        2018 files), and a flat folder with images beside label files: run-length codes are taken before polygons,
        COCO files and bitmasks. In a folder without sub-folders for splits every split means all images.

        Args:
            data_dir: the folder.
            split: "train", "val", "test", or the name of another sub-folder of images.
            labels: label file or folder to take instead of the one found.
            rectangles_as_masks: use the filled box2d of objects that have no mask.
            limit: at most this many images, in the label file's order.
            only: names of image files without their endings, to which the split is narrowed; None takes all.
            without: such names that are left out.

        Raises:
            InputError: no such folder, no images, no labels, labels that cannot be used, or not one image with labels.
        """
        if limit is not None and limit < 1:
            raise InputError(f"limit is {limit}: give the number of images to load, 1 or more")
        root = pathlib.Path(data_dir)
        folders = find_images(root, split)
        source = pathlib.Path(labels) if labels is not None else find_labels(root, split)
        if source is None:
            if split != "test":  # the official test split comes without labels
                raise InputError(
                    f"{root}: no labels for split {split!r} found under {root / 'labels'} or beside the images. Pass "
                    "labels=FILE; read are Scalabel JSON, COCO JSON, the 2018 JSON and folders of RGBA bitmasks"
                )
            logger.info("%s: no labels for split %r; its images have no objects", root, split)
            images = folders[0]
            loaded = Labels([Frame(path.name) for path in images.values()], LabelReport(str(root), "no labels"))
        else:
            logger.info("labels of split %r: %s", split, source)
            # A photograph of both packages has the same name in both, so the labels may find it in either.
            images = {stem: path for folder in reversed(folders) for stem, path in folder.items()}
            loaded = load_labels(source, frozenset(images), limit if only is None and not without else None)
        if only is not None or without:
            wanted = (set(images) if only is None else set(only)) - set(without)
            images = {stem: path for stem, path in images.items() if stem in wanted}
            loaded.frames = [frame for frame in loaded if pathlib.PurePath(frame.name).stem in wanted]
        _refuse_without_masks(loaded.report, rectangles_as_masks, limit)
        self._add_frames(images, loaded, rectangles_as_masks, limit)

    def _add_frames(self, images: dict[str, pathlib.Path], loaded: Labels, rectangles: bool, limit: int | None) -> None:
        report = loaded.report
        labelled = {pathlib.PurePath(frame.name).stem for frame in loaded}
        if limit is None and len(images) > len(labelled):
            unlabelled = sorted(set(images) - labelled)
            report.unlabelled = [images[stem].name for stem in unlabelled]
            logger.info("%d images have no labels and are left out: %s, ...", len(unlabelled), unlabelled[0])
        kept = [frame for frame in loaded if self._locate(frame, images, report)][:limit]
        if not kept:
            absent = f"{len(report.missing)} labelled frames have no image file, such as {report.missing[:3]}"
            why = "; ".join(report.dropped[-3:]) or absent
            raise InputError(f"{report.source}: not one labelled image can be used: {why}")
        for number, name in enumerate(CLASS_NAMES, 1):
            self.add_class(SOURCE, number, name)
        for frame in kept:
            if not rectangles:
                frame.objects = [label for label in frame.objects if label.has_mask]
            self.add_image(
                SOURCE,
                frame.name,
                str(frame.image_path),
                name=frame.name,
                width=frame.width,
                height=frame.height,
                attributes=frame.attributes,
                frame=frame,
                coco_id=frame.coco_id if frame.coco_id is not None else len(self.image_info) + 1,
            )
        self.reports.append(report)
        objects = Counter(label.category for frame in kept for label in frame.objects)
        logger.info("%d images, %d objects: %s", len(kept), objects.total(), dict(objects.most_common()))

    def _locate(self, frame: Frame, images: dict[str, pathlib.Path], report: LabelReport) -> bool:
        """Gives the frame its image and size. False where the image cannot be read or does not fit the labels."""
        frame.image_path = images[pathlib.PurePath(frame.name).stem]
        try:
            size = image_size(frame.image_path)
        except InputError:
            fault, why = "unreadable image", f"image {frame.image_path} cannot be read"
        else:
            if not (frame.height and frame.width) or size == (frame.height, frame.width):
                frame.height, frame.width = size
                return True
            labelled = f"{frame.width} x {frame.height}"
            fault, why = "size differs", f"image is {size[1]} x {size[0]}, its labels are made for {labelled}"
        report.drop(fault, why, image=frame.name)
        logger.warning("dropped %s", report.findings[-1])
        return False

    def load_instances(self, image_id: int) -> Instances:
        """The objects of an image as boxes and crops, straight from polygons or run-length codes.

        Args:
            image_id: index into `image_info`.

        Returns:
            Instances with positions in `class_info` as class ids (1..8 in a plain BDD100K dataset); crowd and ignored
            objects are marked, not left out.
        """
        info = self.image_info[image_id]
        if info["source"] != SOURCE:
            return super().load_instances(image_id)
        instances = frame_instances(info["frame"], rectangles_as_masks=True)  # boxes that may not serve are gone
        instances.class_ids += np.int32(self._first_class_id() - 1)
        return instances

    def load_class_ids(self, image_id: int) -> np.ndarray:
        """int32 [n] class ids as in `load_instances`, negative for crowd and ignored objects; no mask is decoded."""
        info = self.image_info[image_id]
        if info["source"] != SOURCE:
            return super().load_class_ids(image_id)
        shift = self._first_class_id() - 1
        signed = [
            (label.category_id + shift) * (-1 if label.crowd or label.ignored else 1) for label in info["frame"].objects
        ]
        return np.array(signed, np.int32)

    def object_flags(self, image_id: int, instances: Instances) -> dict[str, np.ndarray]:
        """What the labels say of each object: "occluded" and "truncated", bool [n].

        Args:
            image_id: index into `image_info`.
            instances: what `load_instances` returned for it.
        """
        info = self.image_info[image_id]
        names = ("occluded", "truncated")
        if info["source"] != SOURCE or instances.origin is None:
            return {name: np.zeros(len(instances), bool) for name in names}
        labels = [info["frame"].objects[i] for i in instances.origin]
        return {name: np.array([getattr(label, name) for label in labels], bool) for name in names}

    def _first_class_id(self) -> int:
        """1, unless classes of another source stand before ours."""
        return next(i for i, known in enumerate(self.class_info) if known["source"] == SOURCE)

    def load_mask(self, image_id: int) -> tuple[np.ndarray, np.ndarray]:
        """Matterport's form of `load_instances`.

        Returns:
            (bool [H, W, n], int32 [n] class ids; negative for crowd and ignored objects, as Matterport marks crowds).
        """
        info = self.image_info[image_id]
        if info["source"] != SOURCE:
            return super().load_mask(image_id)
        instances = self.load_instances(image_id)
        return instances.to_masks((info["height"], info["width"])), instances.training_class_ids

    def image_reference(self, image_id: int) -> str:
        """The path of the image."""
        return self.image_info[image_id]["path"]


def find_images(root: pathlib.Path, split: str) -> list[dict[str, pathlib.Path]]:
    """Image files of a split: for each folder that has any, a dictionary from the file name's stem to the path.

    Raises:
        InputError: the folder does not exist, or has no image for this split.
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
    """The folder that BDD100K's archives make where they are unpacked: DIR/bdd100k, if DIR itself has no images."""
    inner = root / "bdd100k"
    return inner if (inner / "images").is_dir() and not (root / "images").exists() else root


def _images_in(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    if not folder.is_dir():
        return {}
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in _IMAGE_SUFFIXES}


def has_official_labels(root: pathlib.Path) -> bool:
    """Whether a folder has labels of any split where BDD100K has them as downloaded."""
    root = _unpacked(root)
    return any((root / place.format(split=split)).exists() for place in _LABEL_PLACES for split in SPLITS)


def find_labels(root: pathlib.Path, split: str) -> pathlib.Path | None:
    """The label file or folder for a split with the best masks: an official place first, else by content.

    Where several files lie side by side, one named after the split comes before one without a split in its name, and
    that before one named after another split.
    """
    root = _unpacked(root)
    for place in _LABEL_PLACES:
        path = root / place.format(split=split)
        if path.exists():
            return path
    places = [folder for folder in (root, root / "labels", root / "annotations") if folder.is_dir()]
    files = [path for folder in places for path in sorted(folder.glob("*.json"))]
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


def _refuse_without_masks(report: LabelReport, rectangles: bool, limit: int | None) -> None:
    """Raises where the labels have nothing to learn from; says so in the log where only some objects have no mask."""
    total = report.categories.total()
    if report.format == "no labels":
        return
    if total and report.boxes_only == total and not rectangles:
        raise InputError(
            f"{report.source}: all {total} objects have a box2d and no mask (detection labels). Use "
            "instance-segmentation labels, or --rectangles (in Python rectangles_as_masks=True) to fill the boxes"
        )
    if not total and limit is None and not report.missing:
        others = listing(report.unknown + report.stuff) or "none"
        raise InputError(
            f"{report.source}: no object of the classes {', '.join(CLASS_NAMES)}; other categories: {others}; "
            f"labels that could not be used: {len(report.dropped)}"
        )
    if report.boxes_only and not rectangles:
        logger.warning("%s: skipped %d of %d objects that have no mask", report.source, report.boxes_only, total)
