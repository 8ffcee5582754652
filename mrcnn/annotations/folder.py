"""Folders of images with annotations of any kind, recognised by what is in them.

    dataset = open_folder("leaves", "train")

VIA 1 and 2, labelme and COCO JSON, YOLO segmentation text files, mask PNGs. Splits are folders or files that are called
train, val and test (also train2017, stage1_train, valid); where there are none, a fifth of the images is drawn for val.
"""

import hashlib
import json
import logging
import os
import pathlib
import re
from collections.abc import Iterable

from mrcnn.annotations.coco import read_coco
from mrcnn.annotations.dataset import AnnotatedDataset, log_summary
from mrcnn.annotations.findings import Report
from mrcnn.annotations.json_fields import read_json
from mrcnn.annotations.labelme import read_labelme
from mrcnn.annotations.mask_png import mask_folder_of, mask_of, read_masks
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.annotations.via import read_via
from mrcnn.annotations.yolo import NAME_FILES, read_yolo, yolo_label_path
from mrcnn.data.images import image_size
from mrcnn.errors import InputError

log = logging.getLogger(__name__)

FORMATS = {
    "coco": "COCO JSON",
    "via": "VGG Image Annotator JSON",
    "labelme": "labelme JSON",
    "yolo": "YOLO text files",
    "masks": "mask PNGs",
}
SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
VAL_SHARE = 0.2  # of the images, where no folder says which are for validation
_IMAGES = {".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp"}
_DEPTH = 5  # folders below the root that are looked into
_SNIFFED = 20  # JSON files of each folder, to see what they are


class Folder:
    """The files of a folder, found once.

    Attributes:
        root: the folder.
        images, documents: paths of image and JSON files, sorted.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        """Looks through the folder.

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
        for path in self.images:
            self._by_name.setdefault(path.name, []).append(path)

    def find(self, name: str, source: pathlib.Path) -> pathlib.Path | None:
        """The image that an annotation file names: by its path from there, by its name alone, or by the file's name."""
        parts = pathlib.PurePosixPath(name.replace("\\", "/").lstrip("/")).parts
        beside = self._known.get(os.path.normpath(source.parent.joinpath(*parts)))
        if beside is not None:
            return beside
        found = self._by_name.get(parts[-1], []) if parts else []
        if len(found) > 1:  # the one that agrees with most folders of the name, or in a folder of the file's split
            split = split_of(source.relative_to(self.root).parts)
            found = (
                [path for path in found if path.parts[-len(parts) :] == parts]
                if len(parts) > 1
                else [path for path in found if split_of(path.relative_to(self.root).parts[:-1]) == split]
            )
        if len(found) == 1:
            return found[0]
        own = [path for path in self.images if path.parent == source.parent and path.stem == source.stem]
        return own[0] if len(own) == 1 and not found else None

    def kinds(self) -> dict[str, list[pathlib.Path]]:
        """The formats that are there, the surest first, with their files (none for text files and masks).

        Raises:
            InputError: a JSON file cannot be read.
        """
        found: dict[str, list[pathlib.Path]] = {"coco": [], "via": [], "labelme": []}
        seen: dict[pathlib.Path, list[str | None]] = {}
        for path in self.documents:
            before = seen.setdefault(path.parent, [])
            # one JSON per image: what the first ones are, all are
            kind = before[0] if len(before) >= _SNIFFED and len(set(before)) == 1 else json_kind(path)
            before.append(kind)
            if kind:
                found[kind].append(path)
        kinds = {kind: paths for kind, paths in found.items() if paths}
        named = any((folder / name).is_file() for name in NAME_FILES for folder in (self.root, self.root / "labels"))
        if any(yolo_label_path(path) for path in (self.images if named else self.images[:_SNIFFED])):
            kinds["yolo"] = []
        if any(mask_of(path) or mask_folder_of(path) for path in self.images[:200]):
            kinds["masks"] = []
        return kinds

    def refuse_broken(self, documents: Iterable[pathlib.Path]) -> None:
        """Raises InputError for the first JSON file that is broken: it is of no kind because it is cut off, perhaps."""
        for path in documents:
            read_json(path)
            log.info("%s: is of none of the known formats and is not read", path)


def json_kind(path: pathlib.Path) -> str | None:
    """Which of the formats a JSON file is, by its keys; None for any other. Raises InputError if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error

    def has(*keys: str) -> bool:
        return all(re.search(rb'"%s"\s*:' % key.encode(), data) for key in keys)

    if has("images", "annotations", "categories"):
        return "coco"
    if has("_via_img_metadata") or has("regions", "filename"):
        return "via"
    return "labelme" if has("shapes") and (has("imagePath") or has("shape_type")) else None


def recognise(root: str | os.PathLike) -> str | None:
    """The format that `open_folder` reads a folder in: a key of FORMATS, or None if it reads none of it.

    Raises:
        InputError: there is no such folder.
    """
    return next(iter(Folder(root).kinds()), None)


def coco_categories(root: str | os.PathLike) -> list[str]:
    """The category names of the COCO files in a folder, read without parsing the rest of a file.

    Raises:
        InputError: there is no such folder, or a JSON file cannot be read.
    """
    names: list[str] = []
    for path in Folder(root).kinds().get("coco", []):
        text = path.read_text(encoding="utf-8", errors="replace")
        start = re.search(r'"categories"\s*:\s*', text)
        try:
            entries, _ = json.JSONDecoder().raw_decode(text, start.end() if start else 0)
        except json.JSONDecodeError:
            continue  # open_folder says what is wrong with it
        names += [str(entry.get("name")) for entry in entries if isinstance(entry, dict)]
    return list(dict.fromkeys(names))


def open_folder(
    path: str | os.PathLike,
    split: str | None = None,
    limit: int | None = None,
    rectangles_as_masks: bool = False,
) -> AnnotatedDataset:
    """Opens a folder of images with annotations; the format is recognised, the classes are those in the data.

    Args:
        path: the folder.
        split: "train", "val", "test", or None for all images. Where no folder or file is called so, a fifth of the
            images (chosen by their names, always the same ones) is "val" and the rest "train".
        limit: at most this many images.
        rectangles_as_masks: use the filled box of objects that have no mask.

    Returns:
        The prepared dataset.

    Raises:
        InputError: no such folder, nothing in it that can be read, broken files, or no image for the split.
    """
    folder = Folder(path)
    kinds = folder.kinds()
    if not kinds:
        folder.refuse_broken(folder.documents[:_SNIFFED])
        raise InputError(
            f"{folder.root}: no annotations that are known. Read are {', '.join(FORMATS.values())}; there are "
            f"{len(folder.images)} images and {len(folder.documents)} JSON files"
        )
    kind = next(iter(kinds))
    if len(kinds) > 1:
        log.info("%s: also has %s, which is not read", folder.root, " and ".join(FORMATS[k] for k in list(kinds)[1:]))
    found = _read(folder, kind, kinds[kind], split)
    found.images = _once(found, folder.root)
    for image in found.images:
        image.split = _split_of(image, folder.root, kind)
    images = _sized(_choose(found.images, split, folder.root), found.report)[:limit]
    boxes = sum(not label.has_mask for image in images for label in image.objects)
    total = sum(len(image.objects) for image in images)
    if boxes and boxes == total and not rectangles_as_masks:
        raise InputError(f"{folder.root}: all {boxes} objects are boxes without masks; --rectangles fills the boxes")
    if boxes and not rectangles_as_masks:
        log.warning("%s: left out %d of %d objects that are boxes without masks", folder.root, boxes, total)
    if not images or not found.classes:
        why = "; ".join(str(finding) for finding in found.report.findings[:3]) or "it has no annotated image"
        raise InputError(f"{folder.root}: nothing in it can be used as {FORMATS[kind]}: {why}")
    dataset = AnnotatedDataset()
    dataset.add_annotations(found, images, rectangles_as_masks)
    dataset.prepare()
    log_summary(found, images, f"{folder.root} ({FORMATS[kind]}, {split or 'all'})")
    return dataset


def _read(folder: Folder, kind: str, paths: list[pathlib.Path], split: str | None) -> Annotations:
    report = Report(str(folder.root))
    if kind == "yolo":
        labelled = {path.parent for path in folder.images if yolo_label_path(path)}
        return read_yolo(folder.root, [path for path in folder.images if path.parent in labelled], report)
    if kind == "masks":
        parts = {mask for path in folder.images if (mask := mask_of(path))}
        files = [path for path in folder.images if path not in parts and not _in_masks(path, folder.root)]
        return read_masks(folder.root, files, report)
    beside = {path.parent for path in paths}
    folder.refuse_broken([path for path in folder.documents if path.parent in beside and path not in set(paths)])
    if kind == "coco":
        paths = _coco_files(paths, split, folder.root)
    return {"coco": read_coco, "via": read_via, "labelme": read_labelme}[kind](paths, folder.find, report)


def _once(found: Annotations, root: pathlib.Path) -> list[AnnotatedImage]:
    """The images under their paths in the folder, each once."""
    images: dict[pathlib.Path, AnnotatedImage] = {}
    for image in found.images:
        image.name = image.path.relative_to(root).as_posix()
        if image.path in images:
            report = found.report
            report.add("duplicate image", "the image was annotated before", image.source, image=image.name)
        images.setdefault(image.path, image)
    return list(images.values())


def _in_masks(path: pathlib.Path, root: pathlib.Path) -> bool:
    return any(part.lower() in ("masks", "mask") for part in path.relative_to(root).parts[:-1])


def _coco_files(paths: list[pathlib.Path], split: str | None, root: pathlib.Path) -> list[pathlib.Path]:
    """Those that may hold the split: its own, or those of no split. Of several beside each other, "instances" ones."""
    splits = {path: split_of(path.relative_to(root).with_suffix("").parts) for path in paths}
    own = [path for path in paths if split is None or splits[path] in (split, None)]
    if not own and split == "val":
        own = [path for path in paths if splits[path] == "train"]  # val is drawn from it
    named = [path for path in own if "instances" in path.stem.lower()]
    return named or own or paths


def split_of(parts: Iterable[str]) -> str | None:
    """The split that a path's folders name: ("images", "train2017") is "train"."""
    for part in parts:
        words = re.split(r"[^a-z]+", part.lower())
        for split, names in SPLITS.items():
            if any(word in names for word in words):
                return split
    return None


def _split_of(image: AnnotatedImage, root: pathlib.Path, kind: str) -> str | None:
    if kind in ("coco", "via"):  # the file for a split may be called so
        own = split_of(image.source.relative_to(root).with_suffix("").parts)
        if own:
            return own
    return split_of(image.path.relative_to(root).parts[:-1])


def _choose(images: list[AnnotatedImage], split: str | None, root: pathlib.Path) -> list[AnnotatedImage]:
    """The images of a split."""
    if split is None or not images:
        return images
    there = {image.split for image in images}
    if split in there:
        own = [image for image in images if image.split == split]
        if not (split == "train" and "val" not in there):
            if None in there:
                log.warning("%s: images outside of the folders of splits are left out", root)
            return own
    elif split != "val" and there != {None}:
        raise InputError(f"{root}: no images for split {split!r}; there are {', '.join(sorted(filter(None, there)))}")
    pool = [image for image in images if image.split == ("train" if "train" in there else None)]
    if split not in ("train", "val"):
        raise InputError(f"{root}: no images for split {split!r}: it has no folder called so; use train or val")
    # by a hash of the name: always the same, and new images do not move old ones from one side to the other
    drawn = sorted(pool, key=lambda image: hashlib.sha256(image.name.encode()).digest())
    count = max(1, round(VAL_SHARE * len(drawn))) if len(drawn) > 1 else 0
    log.info("%s: no folder is called val; %d of %d images are drawn for it by their names", root, count, len(drawn))
    chosen = {id(image) for image in (drawn[:count] if split == "val" else drawn[count:])}
    if not chosen:
        raise InputError(f"{root}: {len(images)} image is too few to draw one for {split!r}")
    return [image for image in pool if id(image) in chosen]


def _sized(images: list[AnnotatedImage], report: Report) -> list[AnnotatedImage]:
    """The images whose files can be read and have the size that their annotations say; `size` is filled in."""
    kept = []
    for image in images:
        try:
            size = image_size(image.path)
        except InputError as error:
            report.add("unreadable image", str(error).removeprefix(f"{image.path}: "), image.path, image=image.name)
            continue
        if image.size is not None and image.size != size:
            detail = f"image is {size[1]} x {size[0]}, its labels are made for {image.size[1]} x {image.size[0]}"
            report.add("size differs", detail, image.source, image=image.name)
            continue
        image.size = size
        image.objects = [label for label in image.objects if _fits(label, image, report)]
        kept.append(image)
    return kept


def _fits(label: Annotation, image: AnnotatedImage, report: Report) -> bool:
    """Whether a label's run-length code has the size of its image; a finding if not."""
    if label.rle is None or tuple(label.rle["size"]) == image.size:
        return True
    detail = f"its mask is made for {label.rle['size']} (height, width), the image is {image.size}"
    report.add("unusable label", detail, image.source, image=image.name, label=label.id)
    return False
