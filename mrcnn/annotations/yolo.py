"""Read YOLO segmentation and box labels: one text file per image."""

import pathlib
from collections.abc import Sequence

import numpy as np

from mrcnn.annotations.findings import UNKNOWN_NAME, Findings
from mrcnn.annotations.reading import read_lines, sibling
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations
from mrcnn.data.images import image_size
from mrcnn.errors import InputError, LabelError
from mrcnn.structures.polygons import as_points

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "names.txt")
# Rounded coordinates may lie a little outside the image; a number further out is not a normalised coordinate.
_BEYOND = 0.05


def yolo_label_path(image: pathlib.Path) -> pathlib.Path | None:
    """Return the .txt file of an image: in labels/ if the image is in images/, or beside it; None if there is none."""
    beside = image.with_suffix(".txt")
    return next((path for path in (sibling(image, "labels", ".txt"), beside) if path and path.is_file()), None)


def read_yolo(root: pathlib.Path, files: Sequence[pathlib.Path], findings: Findings) -> Annotations:
    """Read YOLO segmentation labels: lines "class x1 y1 x2 y2 ...", polygons in fractions of the image's sides.

    Class names come from data.yaml (`names`) or classes.txt (one per line). A line with four numbers after the class is
    a box (centre, size). An image without a text file has no objects, as in YOLO's own training.

    Args:
        root: the folder.
        files: the image files.
        findings: takes what cannot be used.

    Raises:
        InputError: there are no class names, or a text file cannot be read.
    """
    names = read_names(root)
    images = []
    for file in files:
        labels = yolo_label_path(file)
        image = AnnotatedImage(file.relative_to(root).as_posix(), file, labels or file)
        if labels is not None:
            try:
                image.size = image_size(file)
            except InputError as error:
                findings.add("unreadable image", str(error).removeprefix(f"{file}: "), file, image=image.name)
                continue
            for place, line in enumerate(read_lines(labels), 1):
                try:
                    if line.strip():
                        image.objects.append(_object(line, f"line {place}", names, image.size))
                except LabelError as error:
                    findings.add(error.kind, str(error), labels, image=image.name, label=f"line {place}")
        images.append(image)
    return Annotations("yolo", images, list(enumerate(names, 1)), findings)


def _object(line: str, label_id: str, names: Sequence[str], size: tuple[int, int]) -> Annotation:
    words = line.split()
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        raise LabelError(f"has something other than numbers: {line.strip()!r:.60}") from None
    if not np.isfinite(values).all():
        raise LabelError("has a number that is not finite")
    if values[0] not in range(len(names)):
        raise LabelError(f"class {words[0]}; the classes are 0 to {len(names) - 1}", UNKNOWN_NAME)
    points = values[1:]
    if len(points) < 4 or len(points) % 2:
        raise LabelError(f"has {len(points)} numbers after the class; a polygon has pairs x y, three or more")
    if points.min() < -_BEYOND or points.max() > 1 + _BEYOND:
        raise LabelError(f"has the coordinate {points[np.abs(points - 0.5).argmax()]:g}; they go from 0 to 1")
    name, (height, width) = names[int(values[0])], size
    if len(points) == 4:
        x, y, w, h = points * (width, height, width, height)
        return Annotation(label_id, name, box_px=(x - w / 2, y - h / 2, x + w / 2, y + h / 2))
    return Annotation(label_id, name, polygons=[as_points(points.reshape(-1, 2) * (width, height))])


def read_names(root: pathlib.Path) -> list[str]:
    """Return the class names in order, from data.yaml or classes.txt in the folder or in its labels folder.

    Raises:
        InputError: there is no such file, or it cannot be understood.
    """
    places = [folder / name for name in NAME_FILES for folder in (root, root / "labels")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"{root}: YOLO labels need class names: data.yaml with 'names', or classes.txt, one per line")
    names = (
        _yaml_names(path) if path.suffix in (".yaml", ".yml") else [n.strip() for n in read_lines(path) if n.strip()]
    )
    if not names or len(set(names)) != len(names):
        raise InputError(f"{path}: {'has no class names' if not names else f'a name comes twice: {names}'}")
    return names


def _yaml_names(path: pathlib.Path) -> list[str]:
    """The entry `names` of a YAML file, a list or a map from 0, 1, 2, ..."""
    import yaml  # late: only YOLO folders need it

    try:
        # every scalar stays text as it is written: a class may be called "no", "on" or "1.0"
        document = yaml.load("\n".join(read_lines(path)), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise InputError(f"{path}: broken YAML{place}: {what}") from error
    names = document.get("names") if isinstance(document, dict) else None
    if names is None:
        raise InputError(f"{path}: has no 'names'; write names: [cat, dog]")
    if isinstance(names, dict):
        numbers = [str(i) for i in range(len(names))]
        if set(names) != set(numbers):
            raise InputError(f"{path}: the numbers of 'names' are not 0, 1, 2, ...: {', '.join(map(str, names))}")
        names = [names[i] for i in numbers]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: 'names' is neither a list of names nor a map from numbers to names")
    return [name.strip() for name in names]
