"""Open folders of images with labels of any kind, recognised by what is in them.

    dataset = open_folder("leaves", "train")

COCO, VIA 1 to 3, labelme, ISAT and Supervisely JSON, YOLO segmentation text files, mask images. Splits are folders or
files called train, val and test (also train2017, stage1_train, valid); where there are none, a fifth of the images is
drawn for val.
"""

import hashlib
import logging
import os
import pathlib
import re
from collections.abc import Iterable

from mrcnn.annotations import json_kind
from mrcnn.annotations.coco import read_coco
from mrcnn.annotations.dataset import AnnotatedDataset, log_summary, sized
from mrcnn.annotations.findings import Findings
from mrcnn.annotations.isat import read_isat
from mrcnn.annotations.json_fields import Id
from mrcnn.annotations.labelme import read_labelme
from mrcnn.annotations.mask_png import log_values, mask_folder_of, mask_of, read_masks
from mrcnn.annotations.schema import AnnotatedImage, Annotations
from mrcnn.annotations.supervisely import read_supervisely
from mrcnn.annotations.via import read_via
from mrcnn.annotations.via3 import read_via3
from mrcnn.annotations.yolo import read_yolo, yolo_label_path
from mrcnn.annotations.yolo_settings import name_files
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.errors import InputError, LabelError
from mrcnn.user_files import read_json

log = logging.getLogger(__name__)

FORMATS = {
    json_kind.COCO: "COCO JSON",
    json_kind.VIA: "VGG Image Annotator JSON",
    json_kind.LABELME: "labelme JSON",
    json_kind.VIA3: "VGG Image Annotator 3 JSON",
    json_kind.ISAT: "ISAT JSON",
    json_kind.SUPERVISELY: "Supervisely JSON",
    "yolo": "YOLO text files",
    "masks": "mask images",
}
READERS = {  # of JSON files that need nothing but their images
    json_kind.VIA: read_via,
    json_kind.LABELME: read_labelme,
    json_kind.VIA3: read_via3,
    json_kind.ISAT: read_isat,
    json_kind.SUPERVISELY: read_supervisely,
}
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
VAL_FRACTION = 0.2  # of the images, where no folder says which are for validation
_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
_DEPTH = 5  # levels of folders below the root to search
_SNIFFED = 20  # JSON files of each folder that are looked into to tell what they are


class Folder:
    """The files of a folder, listed once.

    Attributes:
        root: the folder.
        images, documents: paths of image and JSON files, sorted.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        """List the files.

        Raises:
            InputError: there is no such folder.
        """
        self.root = pathlib.Path(root)
        if not self.root.is_dir():
            raise InputError(f"{self.root}: {'is a file, not a folder' if self.root.exists() else 'no such folder'}")
        files: list[pathlib.Path] = []
        for where, folders, names in os.walk(self.root):
            inside = pathlib.Path(where)
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            if len(inside.relative_to(self.root).parts) >= _DEPTH:
                folders.clear()
            files += [inside / name for name in sorted(names) if not name.startswith(".")]
        self.images = [path for path in files if path.suffix.lower() in _IMAGES]
        self.documents = [path for path in files if path.suffix.lower() == ".json"]
        self._known = {os.path.normpath(path): path for path in self.images}
        self._by_name: dict[str, list[pathlib.Path]] = {}
        self._by_lower_name: dict[str, list[pathlib.Path]] = {}
        for path in self.images:
            self._by_name.setdefault(path.name, []).append(path)
            self._by_lower_name.setdefault(path.name.lower(), []).append(path)

    def find(self, name: str, source: pathlib.Path) -> pathlib.Path | None:
        """Return the image that a label file names: by its path, its name, or the stem of the label file.

        If no name is the same, upper and lower case do not matter: labels may come from a system where they do not.

        Raises:
            LabelError: several images may be meant.
        """
        parts = pathlib.PurePosixPath(name.replace("\\", "/").lstrip("/")).parts
        beside = self._known.get(os.path.normpath(source.parent.joinpath(*parts)))
        if beside is not None:
            return beside
        named = (self._by_name.get(parts[-1]) or self._by_lower_name.get(parts[-1].lower(), [])) if parts else []
        found = named
        if len(found) > 1:  # take the one whose folders agree with the name, or with the split of the label file
            split = split_of(source.relative_to(self.root).parts)
            found = (
                [path for path in found if path.parts[-len(parts) :] == parts]
                if len(parts) > 1
                else [path for path in found if split_of(path.relative_to(self.root).parts[:-1]) == split]
            )
        if len(found) == 1:
            return found[0]
        if named:
            places = ", ".join(path.relative_to(self.root).as_posix() for path in named[:3])
            raise LabelError(f"{len(named)} images have this name ({places}); give the label file the folder too")
        own = [path for path in self.images if path.parent == source.parent and path.stem == source.stem]
        return own[0] if len(own) == 1 else None

    def kinds(self) -> dict[str, list[pathlib.Path]]:
        """Return the formats that are there, the most certain first, with their files (none for text and masks).

        Raises:
            InputError: a JSON file cannot be read.
        """
        found: dict[str, list[pathlib.Path]] = {json_kind.COCO: [], **{kind: [] for kind in READERS}}
        seen: dict[pathlib.Path, list[str | None]] = {}
        for path in self.documents:
            before = seen.setdefault(path.parent, [])
            # one JSON per image: if the first ones are all alike, so are the rest
            alike = len(before) >= _SNIFFED and len(set(before)) == 1
            kind = before[0] if alike else json_kind.json_kind(path).format
            before.append(kind)
            if kind in found:
                found[kind].append(path)
        kinds = {kind: paths for kind, paths in found.items() if paths}
        if any(yolo_label_path(path) for path in (self.images if name_files(self.root) else self.images[:_SNIFFED])):
            kinds["yolo"] = []
        if any(mask_of(path) or mask_folder_of(path) for path in self.images[:200]):
            kinds["masks"] = []
        return kinds

    def refuse_broken(self, documents: Iterable[pathlib.Path]) -> None:
        """Raise InputError for the first JSON file that is broken: it may be of no format because it is cut off."""
        for path in documents:
            read_json(path)
            log.info("%s: is in none of the known formats and is not read", path)


def recognise(root: str | os.PathLike) -> str | None:
    """Return the format in which `open_folder` reads a folder: a key of FORMATS, or None if it reads nothing in it.

    Raises:
        InputError: there is no such folder.
    """
    return next(iter(Folder(root).kinds()), None)


def open_folder(
    path: str | os.PathLike,
    split: str | None = None,
    limit: int | None = None,
    rectangles_as_masks: bool = False,
    max_pixels: int = MAX_PIXELS,
) -> AnnotatedDataset:
    """Open a folder of images with labels; the format is recognised, the classes are those in the data.

    Args:
        path: the folder.
        split: "train", "val", "test", or None for all images. Where no folder or file is called so, a fifth of the
            images (chosen by their names, always the same ones) is "val" and the rest "train".
        limit: at most this many images.
        rectangles_as_masks: use the filled box of objects that have no mask.
        max_pixels: the maximum number of pixels of an image; larger ones are left out by name.

    Returns:
        The prepared dataset.

    Raises:
        InputError: there is no such folder, nothing in it can be read, a file is broken, or the split has no image.
    """
    folder = Folder(path)
    kinds = folder.kinds()
    if not kinds:
        folder.refuse_broken(folder.documents[:_SNIFFED])
        raise InputError(
            f"{folder.root}: no labels in a known format. The formats are {', '.join(FORMATS.values())}; there are "
            f"{len(folder.images)} images and {len(folder.documents)} JSON files"
        )
    kind = next(iter(kinds))
    if len(kinds) > 1:
        others = " and ".join(FORMATS[k] for k in list(kinds)[1:])
        log.info("%s: reading the %s, not the %s that are there too", folder.root, FORMATS[kind], others)
    found = _read(folder, kind, kinds[kind], split, max_pixels)
    found.images = _once(found, folder.root)
    for image in found.images:
        image.split = _split_of(image, folder.root, kind)
    there = {image.split for image in found.images}
    if kind == json_kind.COCO:  # only the files of the split were read
        there |= {own for own in _coco_splits(kinds[kind], folder.root).values() if own}
    images = sized(_choose(found.images, split, there, folder.root), found.findings, max_pixels)[:limit]
    if not images or not found.classes:
        why = "; ".join(str(finding) for finding in found.findings.entries[:3]) or "it has no labelled image"
        raise InputError(f"{folder.root}: nothing in it can be used as {FORMATS[kind]}: {why}")
    dataset = AnnotatedDataset()
    dataset.max_pixels = max_pixels
    dataset.add_annotations(found, images, rectangles_as_masks, source=found.format)
    dataset.prepare()
    if kind == "masks":
        log_values(images)
    log_summary(f"{folder.root} ({FORMATS[kind]}, {split or 'all'})", images, found.findings)
    return dataset


def _read(folder: Folder, kind: str, paths: list[pathlib.Path], split: str | None, max_pixels: int) -> Annotations:
    findings = Findings(str(folder.root))
    if kind == "yolo":
        labelled = {path.parent for path in folder.images if yolo_label_path(path)}
        files = [path for path in folder.images if path.parent in labelled]
        return read_yolo(folder.root, files, findings, max_pixels)
    if kind == "masks":
        parts = {mask for path in folder.images if (mask := mask_of(path))}
        files = [path for path in folder.images if path not in parts and not _in_masks(path, folder.root)]
        return read_masks(folder.root, files, findings)
    beside = {path.parent for path in paths}
    folder.refuse_broken([path for path in folder.documents if path.parent in beside and path not in set(paths)])
    if kind == json_kind.COCO:
        splits = _coco_splits(paths, folder.root)
        return read_coco(_coco_files(splits, split), _coco_classes(list(splits), folder.root), folder.find, findings)
    return READERS[kind](paths, folder.find, findings)


def _once(found: Annotations, root: pathlib.Path) -> list[AnnotatedImage]:
    """Name the images by their paths in the folder, and keep each once."""
    images: dict[pathlib.Path, AnnotatedImage] = {}
    for image in found.images:
        image.name = image.path.relative_to(root).as_posix()
        if image.path in images:
            found.findings.add("duplicate image", "the image is labelled twice", image.source, image=image.name)
        images.setdefault(image.path, image)
    return list(images.values())


def _in_masks(path: pathlib.Path, root: pathlib.Path) -> bool:
    return any(part.lower() in ("masks", "mask") for part in path.relative_to(root).parts[:-1])


def _coco_splits(paths: list[pathlib.Path], root: pathlib.Path) -> dict[pathlib.Path, str | None]:
    """COCO files and the splits that their names or folders state, train first; of a split's only "instances" files."""
    found: dict[str | None, list[pathlib.Path]] = {"train": [], None: [], "val": [], "test": []}
    for path in paths:
        found[split_of(path.relative_to(root).with_suffix("").parts)].append(path)
    chosen = {split: [path for path in own if "instances" in path.stem.lower()] or own for split, own in found.items()}
    return {path: split for split, own in chosen.items() for path in own}


def _coco_files(splits: dict[pathlib.Path, str | None], split: str | None) -> list[pathlib.Path]:
    """The files that may hold the split: its own or those of no split."""
    own = [path for path, known in splits.items() if split is None or known in (split, None)]
    if not own and split == "val":
        own = [path for path, known in splits.items() if known == "train"]  # val is drawn from it
    return own or list(splits)


def _coco_classes(paths: list[pathlib.Path], root: pathlib.Path) -> list[str]:
    """The category names of all files: by id in the first file, then those that only later files have."""
    listed = [json_kind.json_kind(path).categories for path in paths]
    names = list(dict.fromkeys(name for entries in listed for _, name in sorted(entries, key=_by_number)))
    if len({frozenset(entries) for entries in listed}) > 1:
        log.info("%s: the COCO files list different categories, which are matched by name: %s", root, ", ".join(names))
    return names


def _by_number(category: tuple[Id, str]) -> tuple[bool, Id]:
    return isinstance(category[0], str), category[0]


def split_of(parts: Iterable[str]) -> str | None:
    """Return the split that the parts of a path name: ("images", "train2017") gives "train"."""
    for part in parts:
        words = re.split(r"[^a-z]+", part.lower())
        for split, names in SPLITS.items():
            if any(word in names for word in words):
                return split
    return None


def _split_of(image: AnnotatedImage, root: pathlib.Path, kind: str) -> str | None:
    if kind in (json_kind.COCO, json_kind.VIA, json_kind.VIA3):  # the file of a split may be named after it
        own = split_of(image.source.relative_to(root).with_suffix("").parts)
        if own:
            return own
    return split_of(image.path.relative_to(root).parts[:-1])


def _choose(
    images: list[AnnotatedImage], split: str | None, there: set[str | None], root: pathlib.Path
) -> list[AnnotatedImage]:
    """The images of a split; `there` are the splits of the folder, None for images in none."""
    if split is None or not images:
        return images
    if split in there:
        own = [image for image in images if image.split == split]
        if not (split == "train" and "val" not in there):
            if None in there:
                log.warning("%s: images outside the folders of splits are left out", root)
            return own
    elif split != "val" and there != {None}:
        raise InputError(f"{root}: no images for split {split!r}; there are {', '.join(sorted(filter(None, there)))}")
    pool = [image for image in images if image.split == ("train" if "train" in there else None)]
    if split not in ("train", "val"):
        raise InputError(f"{root}: no images for split {split!r}: there is no folder of that name; use train or val")
    # by a hash of the name: the choice is always the same, and new images do not move old ones to the other side
    drawn = sorted(pool, key=lambda image: hashlib.sha256(os.fsencode(image.name)).digest())
    count = max(1, round(VAL_FRACTION * len(drawn))) if len(drawn) > 1 else 0
    log.info("%s: no folder is called val; %d of %d images are drawn for it by name", root, count, len(drawn))
    chosen = {id(image) for image in (drawn[:count] if split == "val" else drawn[count:])}
    if not chosen:
        raise InputError(f"{root}: {len(images)} image is not enough to draw one for {split!r}")
    return [image for image in pool if id(image) in chosen]
