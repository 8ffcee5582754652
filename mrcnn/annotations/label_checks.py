"""Labels of a whole data set: outlines beyond the image, without area, crossing themselves, labelled twice or hidden.

The same for every kind of labels; a `LabelView` says where a kind keeps what. Boxes are (y1, x1, y2, x2) in pixels, y2
and x2 exclusive.
"""

import abc
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from mrcnn.annotations import checks
from mrcnn.annotations.checks import ObjectTable
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.annotations.findings import Report
from mrcnn.annotations.folder import Folder, open_folder, recognise
from mrcnn.annotations.schema import Annotation, object_mask
from mrcnn.data.dataset import Dataset

BoxAndCrop = tuple[np.ndarray, np.ndarray]  # int32 [4], exclusive; bool [y2 - y1, x2 - x1]
Progress = Callable[[Iterable], Iterable]

NO_OBJECTS = "no labels, or none that can be used"


class LabelView(abc.ABC):
    """How the checks see the labels of a dataset. A label has id, polygons, rle and has_mask."""

    @abc.abstractmethod
    def labels(self, image_id: int) -> list[Any]:
        """The labels of an image."""

    @abc.abstractmethod
    def file(self, image_id: int) -> str:
        """The file that has them."""

    @abc.abstractmethod
    def class_id(self, label: Any) -> int:
        """Position of its class in the dataset."""

    @abc.abstractmethod
    def box(self, label: Any) -> tuple[float, float, float, float]:
        """The box of a label that has no mask."""

    @abc.abstractmethod
    def fill(self, label: Any, shape: tuple[int, int]) -> BoxAndCrop | None:
        """The mask of one label by itself, in an image of `shape` (height, width); None where it has none."""

    def visible(self, image_id: int, shape: tuple[int, int]) -> list[BoxAndCrop | None]:
        """The masks of all labels of an image of `shape` (height, width), where nearer ones hide others too."""
        return [self.fill(label, shape) for label in self.labels(image_id)]


def check_labels(dataset: Dataset, view: LabelView, report: Report, full: bool, progress: Progress = iter) -> None:
    """Adds what is wrong with the labels, and the numbers of images and objects that training can use.

    Args:
        dataset: prepared; `image_info` has name, height and width.
        view: of its labels.
        report: takes the findings.
        full: fill every outline, which finds hidden and very thin objects, look for outlines that cross themselves and
            compare masks. Otherwise boxes decide: about a second for 7,000 images of 18 objects.
        progress: wraps the loop over the images.
    """
    rows = [(image_id, label) for image_id in range(len(dataset.image_info)) for label in view.labels(image_id)]
    table, objects = object_table(view, rows), [label for _, label in rows]
    names = [checks.image_name(info) for info in dataset.image_info]
    shapes = [(info["height"], info["width"]) for info in dataset.image_info]

    def add(kind: str, i: int, detail: str) -> None:
        image_id = table.image_ids[i]
        report.add(kind, detail, view.file(image_id), image=names[image_id], label=table.labels[i])

    sizes = np.array(shapes, float).reshape(-1, 2)[table.image_ids]
    beyond, nothing = checks.outside(table.boxes, sizes), checks.empty(table.boxes, sizes)
    for i in np.flatnonzero((beyond > 0) & ~nothing).tolist():
        add("outside the image", i, f"by {beyond[i]:.0f} px")
    masked = np.array([label.has_mask for label in objects], bool)
    for i in np.flatnonzero(~masked).tolist():
        add("box without mask", i, "has a box and no outline")
    if len(objects) and not masked.any():
        report.add("no masks", f"all {len(objects)} objects are boxes (detection labels)", report.source)
    if full:
        nothing = nothing | _check_masks(view, shapes, add, progress)
    else:
        for i in np.flatnonzero(nothing).tolist():
            add("no area", i, "no pixel of the image lies inside its outline")
    for earlier, later in checks.duplicates(table):
        if not full or _same(view, objects[earlier], objects[later], shapes[table.image_ids[later]]):
            add("duplicate object", later, f"the same as label {table.labels[earlier]!r}")
    report.images, report.objects = len(names), int((~nothing).sum())
    counts = np.bincount(table.class_ids[~nothing], minlength=dataset.num_classes)
    report.classes = Counter(dict(zip(dataset.class_names[1:], counts[1:].tolist(), strict=True)))


def object_table(view: LabelView, rows: list[tuple[int, Any]]) -> ObjectTable:
    """All labels, each with its image id, as arrays with the extents of their outlines; no mask is filled."""
    boxes = np.zeros((len(rows), 4))
    outlined = [i for i, (_, label) in enumerate(rows) if label.polygons is not None]
    if outlined:
        boxes[outlined] = _extents([rows[i][1].polygons for i in outlined])
    coded = [i for i, (_, label) in enumerate(rows) if label.rle is not None]
    if coded:
        boxes[coded] = _coded_extents([rows[i][1].rle for i in coded])
    for i, (_, label) in enumerate(rows):
        if not label.has_mask:
            boxes[i] = view.box(label)
    image_ids, class_ids = [image_id for image_id, _ in rows], [view.class_id(label) for _, label in rows]
    return ObjectTable(np.array(image_ids, int), np.array(class_ids, int), boxes, [label.id for _, label in rows])


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


def _check_masks(
    view: LabelView, shapes: list[tuple[int, int]], add: Callable[[str, int, str], None], progress: Progress
) -> np.ndarray:
    """Fills every outline; bool [n], the objects without a pixel."""
    nothing: list[bool] = []
    for image_id, shape in progress(list(enumerate(shapes))):
        for label, mask in zip(view.labels(image_id), view.visible(image_id, shape), strict=True):
            i = len(nothing)
            nothing.append(mask is None)
            if mask is None and view.fill(label, shape) is None:
                add("no area", i, "no pixel of the image lies inside its outline")
            elif mask is None:
                add("hidden object", i, "later labels cover it")
            crossings = (checks.crossing(polygon) for polygon in label.polygons or [])
            place = next((point for point in crossings if point is not None), None)
            if place is not None:
                add("self-crossing outline", i, f"near x {place[0]:.1f}, y {place[1]:.1f}")
    return np.array(nothing, bool)


def _same(view: LabelView, first: Any, second: Any, shape: tuple[int, int]) -> bool:
    mask1, mask2 = view.fill(first, shape), view.fill(second, shape)
    return mask1 is not None and mask2 is not None and checks.masks_alike(mask1, mask2)


class AnnotatedLabels(LabelView):
    """The labels of an AnnotatedDataset whose annotations are outlines, codes or boxes."""

    def __init__(self, dataset: AnnotatedDataset) -> None:
        self.dataset = dataset
        self.ids = {name: i for i, name in enumerate(dataset.class_names) if i}

    def labels(self, image_id: int) -> list[Annotation]:
        """The annotations of an image."""
        return self.dataset.image_info[image_id]["annotated"].objects

    def file(self, image_id: int) -> str:
        """The annotation file."""
        return str(self.dataset.image_info[image_id]["annotated"].source)

    def class_id(self, label: Annotation) -> int:
        """By the name of the class."""
        return self.ids[label.name]

    def box(self, label: Annotation) -> tuple[float, float, float, float]:
        """Its `box_px` in our order."""
        assert label.box_px is not None
        x1, y1, x2, y2 = label.box_px
        return y1, x1, y2, x2

    def fill(self, label: Annotation, shape: tuple[int, int]) -> BoxAndCrop | None:
        """As loading fills it; a box where there is no outline. Raises as `object_mask` does."""
        return object_mask(label, shape)


def check_annotated(dataset: AnnotatedDataset, full: bool, progress: Progress = iter) -> Report:
    """What reading the annotations found, and what they show; the arguments are those of `check_labels`.

    Mask files are not decoded for the fast check: their objects are not counted then.
    """
    report = Report(dataset.report.source, findings=list(dataset.report.findings))
    pictures = has_mask_files(dataset)
    if pictures and full:
        checks.check_instances(dataset, report, progress)
        return report
    check_labels(dataset, AnnotatedLabels(dataset), report, full, progress)
    for info in dataset.image_info:
        if not info["annotated"].objects and not pictures:
            report.add("image without objects", NO_OBJECTS, info["annotated"].source, image=info["name"])
    return report


def has_mask_files(dataset: AnnotatedDataset) -> bool:
    """Whether objects are in mask PNGs, which only `load_instances` opens."""
    annotated = (info["annotated"] for info in dataset.image_info)
    return any(image.id_mask is not None or image.mask_files is not None for image in annotated)


def check_annotated_folder(
    folder: str | pathlib.Path, split: str | None = None, images: bool = False, progress: Progress = iter
) -> Report:
    """Everything that can be found in a folder that `mrcnn.annotations.folder.open_folder` reads.

    Args:
        folder: its path.
        split: "train", "val" or "test"; None for all.
        images: decode every image too.
        progress: wraps the loops over the images.

    Raises:
        InputError: no such folder, or nothing in it can be read.
    """
    dataset = open_folder(folder, split, rectangles_as_masks=True)  # so that boxes alone are looked at too
    report = check_annotated(dataset, full=True, progress=progress)
    if split is None and recognise(folder) != "masks":  # whose files are images too
        known = {info["path"] for info in dataset.image_info} | {f.file for f in report.findings}
        for path in Folder(folder).images:
            if str(path) not in known:
                report.add("image without labels", "no annotation names it", path, image=path.name)
    if images:
        checks.check_files(dataset, report, full=True, progress=progress)
    return report
