"""Open a folder of data, whatever it holds, as a prepared dataset."""

import functools
import logging
import pathlib

from bdd100k.dataset import SPLITS, BDD100KDataset, find_labels, has_official_images, has_official_labels
from bdd100k.labels.categories import has_all_classes
from bdd100k.splits import HeldOut, find_list, list_path, stem, write_list
from bdd100k.streets.scenes import write_streets
from mrcnn.annotations import json_kind
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.annotations.folder import Folder, open_folder
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.errors import InputError

STREETS_DIR = pathlib.Path("runs/streets")  # the embedded street scenes are drawn here once
STREETS = {"train": 240, "val": 40, "seed": 7}
OWN, BDD100K = "own", "bdd100k"  # whose classes a folder has

log = logging.getLogger("bdd100k")


@functools.lru_cache
def is_custom(data: str | None, classes: str | None = None) -> bool:
    """Return whether a folder is read with classes of its own, rather than as BDD100K; log why.

    Args:
        data: the folder; None is for the embedded street scenes, which are BDD100K.
        classes: OWN or BDD100K, if the user decides. None: only BDD100K's official folders, its label formats (Scalabel
            and RGBA bitmasks) and COCO files of all its classes count as BDD100K.

    Raises:
        InputError: there is no such folder, or a JSON file cannot be read.
    """
    if data is None:
        return False
    if classes is not None:
        return classes == OWN
    root = pathlib.Path(data)
    kinds = {} if has_official_labels(root) else Folder(root).kinds()
    kind = next(iter(kinds), None)
    if kind == json_kind.COCO:
        categories = [name for path in kinds[kind] for _, name in json_kind.json_kind(path).categories]
        custom = not has_all_classes(categories)
    elif kind in (None, "yolo", "masks"):  # label files of BDD100K beside them say more
        custom = not has_official_images(root) and not any(find_labels(root, split) for split in SPLITS)
    else:
        custom = True
    if custom:
        log.info("%s: data with classes of its own (--classes bdd100k reads it as BDD100K)", root)
    else:
        log.info("%s: BDD100K, by its %s (--classes own keeps the classes of other labels)", root, kind or "labels")
    return custom


def open_dataset(
    data: str | None,
    split: str,
    limit: int | None = None,
    split_file: str | None = None,
    rectangles: bool = False,
    classes: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> AnnotatedDataset:
    """Open the prepared dataset of a split: the user's folder, or the embedded street scenes if `data` is None.

    Where a list of held-out images exists (see `bdd100k.splits`), "test" means these, and other splits leave them out.

    Args:
        data: a folder of BDD100K or, see `is_custom`, of data with other classes.
        split: "train", "val" or "test".
        limit: at most this many images.
        split_file: the list of held-out images.
        rectangles: fill the boxes of objects that have no mask.
        classes: OWN, BDD100K or None, see `is_custom`.
        max_pixels: the maximum number of pixels of an image; larger ones are left out by name.

    Raises:
        InputError: see `bdd100k.dataset`, `mrcnn.annotations.folder`, `bdd100k.splits`; or a held-out image is missing.
    """
    if data is None:
        log.info("no --data: using the embedded street scenes in %s (%s)", STREETS_DIR, split)
        write_streets(STREETS_DIR, **STREETS)
        data = str(STREETS_DIR)
    held_out = find_list(data, split_file)
    if is_custom(data, classes):
        return _open_custom(data, split, limit, held_out, rectangles, max_pixels)
    dataset = BDD100KDataset()
    dataset.max_pixels = max_pixels
    if held_out is None:
        dataset.load_bdd100k(data, split, limit=limit, rectangles_as_masks=rectangles)
    elif split == "test":
        log.info("split test: the %d images listed in %s", len(held_out.names), _short(held_out))
        dataset.load_bdd100k(data, "train", limit=limit, only=held_out.stems, rectangles_as_masks=rectangles)
        _refuse_incomplete(dataset, held_out, limit)
    else:
        log.info("split %s: without the %d images held out in %s", split, len(held_out.names), _short(held_out))
        dataset.load_bdd100k(data, split, limit=limit, without=held_out.stems, rectangles_as_masks=rectangles)
    dataset.prepare()
    return dataset


def _open_custom(
    data: str, split: str, limit: int | None, held_out: HeldOut | None, rectangles: bool, max_pixels: int
) -> AnnotatedDataset:
    if held_out is None:
        return open_folder(data, split, limit, rectangles, max_pixels)
    dataset = open_folder(data, "train" if split == "test" else split, None, rectangles, max_pixels)
    dataset.image_info = [
        info for info in dataset.image_info if (stem(info["name"]) in held_out.stems) == (split == "test")
    ]
    log.info("split %s: %d images, by the list %s", split, len(dataset.image_info), _short(held_out))
    if split == "test":
        _refuse_incomplete(dataset, held_out, limit)
    del dataset.image_info[limit or len(dataset.image_info) :]
    dataset.prepare()
    return dataset


def _short(held_out: HeldOut) -> str:
    return f"{held_out.path} (sha256 {held_out.sha256[:12]})"


def _refuse_incomplete(dataset: AnnotatedDataset, held_out: HeldOut, limit: int | None) -> None:
    missing = sorted(held_out.stems - {stem(info["name"]) for info in dataset.image_info})
    if missing and limit is None:
        raise InputError(
            f"{held_out.path}: {len(missing)} of its {len(held_out.names)} images are not among the labelled images of "
            f"train, such as {missing[0]}; figures on the rest cannot be compared with others"
        )


def hold_out(
    data: str | None,
    count: int | None,
    split_file: str | None = None,
    rectangles: bool = False,
    classes: str | None = None,
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Do what --hold-out asks for: draw a test split and write its list, unless the same one is there already.

    Args:
        data: as for `open_dataset`.
        count: images to hold out; None does nothing.
        split_file: the list to write.
        rectangles, classes, max_pixels: as for `open_dataset`.

    Raises:
        InputError: another list is there, or it cannot be written.
    """
    if count is None:
        return
    path = list_path(data or STREETS_DIR, split_file)
    if not path.exists():
        dataset = open_dataset(data, "train", rectangles=rectangles, classes=classes, max_pixels=max_pixels)
        write_list(path, [info["name"] for info in dataset.image_info], count)
        return
    known = find_list(data or STREETS_DIR, split_file)
    if known is not None and len(known.names) != count:
        raise InputError(
            f"--hold-out {count}: {path} already lists {len(known.names)} images; omit the option to use them, or "
            "delete the file to draw others"
        )
