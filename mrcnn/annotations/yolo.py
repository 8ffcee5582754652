"""Read YOLO segmentation, box and pose labels: one text file per image."""

import dataclasses
import logging
import pathlib
from collections import Counter
from collections.abc import Sequence

import numpy as np

from mrcnn.annotations.findings import UNKNOWN_NAME, Findings
from mrcnn.annotations.reading import read_lines, sibling
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.annotations.yolo_settings import YoloSettings, read_settings
from mrcnn.data.image_files import MAX_PIXELS
from mrcnn.data.images import image_size
from mrcnn.errors import InputError, LabelError
from mrcnn.structures.polygons import as_points

log = logging.getLogger(__name__)

# Rounded coordinates may lie a little outside the image; a number further out is not a normalised coordinate.
_BEYOND = 0.05
_NEARLY_ALL = 0.9  # fraction of the labels: a few may be faulty


@dataclasses.dataclass(frozen=True)
class _Line:
    """One label: its image, its place in the text file, and its numbers (the class first)."""

    image: AnnotatedImage
    place: str
    numbers: np.ndarray


def yolo_label_path(image: pathlib.Path) -> pathlib.Path | None:
    """Return the .txt file of an image: in labels/ if the image is in images/, or beside it; None if there is none."""
    beside = image.with_suffix(".txt")
    return next((path for path in (sibling(image, "labels", ".txt"), beside) if path and path.is_file()), None)


def read_yolo(
    root: pathlib.Path, files: Sequence[pathlib.Path], findings: Findings, max_pixels: int = MAX_PIXELS
) -> Annotations:
    """Read YOLO segmentation labels: lines "class x1 y1 x2 y2 ...", polygons in fractions of the image's sides.

    Class names come from `names` in a YAML file, or from classes.txt, one per line. A line with four numbers after the
    class is a box (centre, size). With `kpt_shape` in data.yaml the lines are poses: boxes, whose keypoints are not
    used. An image without a text file has no objects, as in YOLO's own training.

    Args:
        root: the folder.
        files: the image files.
        findings: takes what cannot be used.
        max_pixels: the maximum number of pixels of an image; larger ones are left out by name.

    Raises:
        InputError: there are no class names, a text file cannot be read, or the lines may be polygons as well as poses.
    """
    settings = read_settings(root)
    images, lines = [], []
    for file in files:
        labels = yolo_label_path(file)
        image = AnnotatedImage(file.relative_to(root).as_posix(), file, labels or file)
        if labels is not None:
            try:
                image.size = image_size(file, max_pixels)
            except InputError as error:
                findings.add("unreadable image", str(error).removeprefix(f"{file}: "), file, image=image.name)
                continue
            lines += _lines(image, findings)
        images.append(image)
    keypoints = _keypoints(
        settings, [line.numbers[1:] for line in lines if len(line.numbers) > 5 and np.isfinite(line.numbers).all()]
    )
    for line in lines:
        try:
            line.image.objects.append(_object(line, settings.names, keypoints))
        except LabelError as error:
            findings.add(error.kind, str(error), line.image.source, image=line.image.name, label=line.place)
    return Annotations("yolo", images, list(enumerate(settings.names, 1)), findings)


def _lines(image: AnnotatedImage, findings: Findings) -> list[_Line]:
    """Parse the text file of an image."""
    lines = []
    for number, text in enumerate(read_lines(image.source), 1):
        words, place = text.split(), f"line {number}"
        try:
            numbers = np.array([float(word) for word in words])
        except ValueError:
            detail = f"has something other than numbers: {text.strip()!r:.60}"
            findings.add("unusable label", detail, image.source, image=image.name, label=place)
            continue
        if words:
            lines.append(_Line(image, place, numbers))
    return lines


def _object(line: _Line, names: Sequence[str], keypoints: tuple[int, int] | None) -> Annotation:
    if not np.isfinite(line.numbers).all():
        raise LabelError("has a number that is not finite")
    number, points = line.numbers[0], line.numbers[1:]
    if number not in range(len(names)):
        raise LabelError(f"class {number:g}; the classes are 0 to {len(names) - 1}", UNKNOWN_NAME)
    if keypoints is not None:
        pose = 4 + keypoints[0] * keypoints[1]
        if len(points) not in (4, pose):
            raise LabelError(f"has {len(points)} numbers after the class; kpt_shape {list(keypoints)} needs {pose}")
        points = points[:4]
    if len(points) < 4 or len(points) % 2:
        raise LabelError(f"has {len(points)} numbers after the class; a polygon has pairs x y, three or more")
    if points.min() < -_BEYOND or points.max() > 1 + _BEYOND:
        raise LabelError(f"has the coordinate {points[np.abs(points - 0.5).argmax()]:g}; they go from 0 to 1")
    assert line.image.size is not None
    name, (height, width) = names[int(number)], line.image.size
    if len(points) == 4:
        x, y, w, h = points * (width, height, width, height)
        return Annotation(line.place, name, box_px=(x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return Annotation(line.place, name, polygons=[as_points(points.reshape(-1, 2) * (width, height))])


def _keypoints(settings: YoloSettings, lines: Sequence[np.ndarray]) -> tuple[int, int] | None:
    """Return the `kpt_shape` of pose labels, None for polygons: as data.yaml says, or as only one reading fits.

    Args:
        settings: from data.yaml or classes.txt.
        lines: the numbers after the class, of all labels with more than a box.

    Raises:
        InputError: both readings fit.
    """
    if settings.keypoints or settings.polygons or not lines:
        return settings.keypoints
    usual, count = Counter(map(len, lines)).most_common(1)[0]
    if count < _NEARLY_ALL * len(lines):  # all poses of a data set have the same keypoints
        return None
    numbers = np.array([line for line in lines if len(line) == usual])
    length = usual - 4
    shapes = [(length // size, size) for size in (2, 3) if length % size == 0 and _may_be_poses(numbers, size)]
    if not shapes:
        return None
    if length % 2 or numbers.max() > 1 + _BEYOND:
        log.info("%s: no 'kpt_shape'; the labels are read as boxes with %d keypoints of %d", settings.path, *shapes[0])
        return shapes[0]
    question = (
        f"{settings.path}: the labels may be polygons, or boxes with keypoints (poses), which have no masks. Write "
        f"'task: segment' into data.yaml for polygons, 'kpt_shape: {list(shapes[0])}' for poses"
    )
    if len(lines) > 1:
        raise InputError(question)
    log.warning("%s; read as a polygon", question)  # one label is not enough to refuse it
    return None


def _may_be_poses(numbers: np.ndarray, size: int) -> bool:
    """Return whether nearly all lines can be a box, inside the image, around keypoints that fill much of it.

    Polygons hardly do so by chance: their first corner would be the centre and their second one the size of that box.
    Lines of a parallelogram are the rotated boxes of YOLO (OBB).

    Args:
        numbers: float64 [n, k], after the class; fractions of the image's sides.
        size: numbers of a keypoint, 2 or 3.
    """
    if numbers.shape[1] == 8:
        first, second, third, fourth = numbers.reshape(-1, 4, 2).swapaxes(0, 1)
        if np.mean(np.abs(first + third - second - fourth).max(axis=1) < 0.01) > _NEARLY_ALL:
            return False
    centre, sides = numbers[:, None, :2], numbers[:, None, 2:4]
    points = numbers[:, 4:].reshape(len(numbers), -1, size)
    seen = (points[..., 2] if size == 3 else points.max(axis=-1)) > 0  # what is not labelled is at 0 0
    if size == 3 and not np.isin(points[..., 2], (0, 1, 2)).all():
        return False
    away = np.abs(points[..., :2] - centre)
    inside = ((away <= sides / 2 + 0.02).all(-1) | ~seen).all(-1)
    inside &= ((np.abs(centre - 0.5) + sides / 2 < 0.52) & (sides > 0)).all(axis=(1, 2))
    filled = (np.where(seen[..., None], away, 0) / np.maximum(sides, 1e-9)).max(axis=(1, 2)) > 0.2
    return bool(np.mean(inside & filled) > _NEARLY_ALL)
