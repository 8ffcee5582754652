"""Read YOLO segmentation and box labels: one text file per image."""

import pathlib
import re
from collections.abc import Sequence

import numpy as np

from mrcnn.annotations.findings import Report
from mrcnn.annotations.schema import AnnotatedImage, Annotation, Annotations, read_lines, swapped
from mrcnn.data.images import image_size
from mrcnn.errors import InputError, LabelError
from mrcnn.structures.polygons import as_points

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "names.txt")
# Rounded coordinates may lie a little outside the image; more than this is no normalised coordinate.
_BEYOND = 0.05


# YOLO ----------------------------------------------------------------------------------------------------------------


def yolo_label_path(image: pathlib.Path) -> pathlib.Path | None:
    """The .txt file of an image: in labels/ where the image is in images/, or beside it. None if neither is there."""
    beside = image.with_suffix(".txt")
    return next((path for path in (swapped(image, "labels", ".txt"), beside) if path and path.is_file()), None)


def read_yolo(root: pathlib.Path, files: Sequence[pathlib.Path], report: Report) -> Annotations:
    """Reads YOLO segmentation labels: lines "class x1 y1 x2 y2 ...", polygons in parts of the image's width and height.

    Class names come from data.yaml (`names`) or classes.txt (one a line). A line with four numbers after the class is a
    box (centre, size). An image without a text file has no objects, as in YOLO's own training.

    Args:
        root: the folder.
        files: the image files.
        report: takes the findings.

    Raises:
        InputError: no class names, or a text file that cannot be read.
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
                report.add("unreadable image", str(error).removeprefix(f"{file}: "), file, image=image.name)
                continue
            for place, line in enumerate(read_lines(labels), 1):
                try:
                    if line.strip():
                        image.objects.append(_yolo_object(line, f"line {place}", names, image.size))
                except LabelError as error:
                    report.add(error.kind, str(error), labels, image=image.name, label=f"line {place}")
        images.append(image)
    return Annotations("yolo", images, list(enumerate(names, 1)), report)


def _yolo_object(line: str, label_id: str, names: Sequence[str], size: tuple[int, int]) -> Annotation:
    words = line.split()
    try:
        values = np.array([float(word) for word in words])
    except ValueError:
        raise LabelError(f"has something other than numbers: {line.strip()!r:.60}") from None
    if not np.isfinite(values).all():
        raise LabelError("has a number that is not finite")
    if values[0] not in range(len(names)):
        raise LabelError(f"class {words[0]}; the classes are 0 to {len(names) - 1}", "unknown name")
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
    """Class names in their order, from data.yaml or classes.txt in the folder (or in its labels folder).

    Raises:
        InputError: there is none, or it cannot be understood.
    """
    places = [folder / name for name in NAME_FILES for folder in (root, root / "labels")]
    path = next((place for place in places if place.is_file()), None)
    if path is None:
        raise InputError(f"{root}: YOLO labels need class names: data.yaml with 'names', or classes.txt, one a line")
    names = (
        _yaml_names(path) if path.suffix in (".yaml", ".yml") else [n.strip() for n in read_lines(path) if n.strip()]
    )
    if not names or len(set(names)) != len(names):
        raise InputError(f"{path}: {'has no class names' if not names else f'a name comes twice: {names}'}")
    return names


def _yaml_names(path: pathlib.Path) -> list[str]:
    """The entry `names` of a YAML file: a list or a map, in brackets or line by line. No other YAML is read."""
    text = "\n".join(re.sub(r"(^|\s)#.*", "", line) for line in read_lines(path))
    start = re.search(r"^names:[ \t]*", text, re.MULTILINE)
    if start is None:
        raise InputError(f"{path}: has no 'names'; write names: [cat, dog]")
    rest = text[start.end() :]
    if rest[:1] in ("[", "{"):
        end = rest.find("]" if rest[0] == "[" else "}")
        if end < 0:
            raise InputError(f"{path}: the brackets of 'names' are not closed")
        quoted = re.findall(r"""(?:(\d+)\s*:\s*)?(?:"([^"]*)"|'([^']*)'|([^,\s][^,]*))""", rest[1:end])
        items = [(key, (double or single or plain).strip()) for key, double, single, plain in quoted]
    else:
        block = re.split(r"^[^\s-]", rest, maxsplit=1, flags=re.MULTILINE)[0]  # up to the next key
        found = [re.fullmatch(r"\s*(?:-|(\d+)\s*:)\s*(.*?)\s*", line) for line in block.splitlines() if line.strip()]
        if None in found:
            raise InputError(f"{path}: 'names' has a line that is neither '- name' nor 'number: name'")
        items = [(match[1] or "", match[2].strip("\"'")) for match in found if match]
    keys = [key for key, _ in items]
    if any(keys) and sorted(keys, key=lambda key: int(key or -1)) != [str(i) for i in range(len(keys))]:
        raise InputError(f"{path}: the numbers of 'names' are not 0, 1, 2, ...: {', '.join(keys)}")
    return [name for _, name in (sorted(items, key=lambda item: int(item[0])) if any(keys) else items)]
