"""Read what a YOLO data set says about its labels: the class names and keypoints in data.yaml, or classes.txt."""

import dataclasses
import pathlib
import re
import reprlib
from typing import Any

from mrcnn.annotations.reading import read_lines
from mrcnn.errors import InputError

NAME_FILES = ("data.yaml", "data.yml", "dataset.yaml", "classes.txt", "obj.names", "names.txt")
_YAML = (".yaml", ".yml")
_NAMES = re.compile(rb"(^|[\r\n{,])\W{0,3}n\0?a\0?m\0?e\0?s\W{0,3}:")  # the entry 'names', in UTF-8 or UTF-16


@dataclasses.dataclass(frozen=True)
class YoloSettings:
    """What data.yaml or classes.txt says about the labels.

    Attributes:
        path: the file.
        names: class names in order.
        keypoints: (number of keypoints, numbers of each: 2 for x y, 3 for x y visibility) of pose labels.
        polygons: whether the file says `task: segment`.
    """

    path: pathlib.Path
    names: list[str]
    keypoints: tuple[int, int] | None = None
    polygons: bool = False


def name_files(root: pathlib.Path) -> list[pathlib.Path]:
    """Return the files that may hold the class names: the first one of NAME_FILES, else any YAML file with `names`."""
    folders = [folder for folder in (root, root / "labels") if folder.is_dir()]
    usual = [folder / name for name in NAME_FILES for folder in folders if (folder / name).is_file()]
    if usual:
        return usual[:1]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    return [path for path in files if path.suffix.lower() in _YAML and _NAMES.search(path.read_bytes())]


def read_settings(root: pathlib.Path) -> YoloSettings:
    """Return what the YAML file or classes.txt in the folder, or in its labels folder, says.

    Raises:
        InputError: there is no such file, it cannot be understood, or several YAML files differ.
    """
    paths = name_files(root)
    if not paths:
        raise InputError(f"{root}: YOLO labels need class names: data.yaml with 'names', or classes.txt, one per line")
    found = [_read_yaml(path) if path.suffix.lower() in _YAML else _read_names(path) for path in paths]
    first = found[0]
    for other in found[1:]:
        if dataclasses.replace(other, path=first.path) != first:
            raise InputError(f"{root}: {first.path.name} and {other.path.name} differ; call the right one data.yaml")
    if not first.names:
        raise InputError(f"{first.path}: has no class names")
    if len(set(first.names)) != len(first.names):
        raise InputError(f"{first.path}: a name comes twice: {first.names}")
    return first


def _read_names(path: pathlib.Path) -> YoloSettings:
    return YoloSettings(path, [name.strip() for name in read_lines(path) if name.strip()])


def _read_yaml(path: pathlib.Path) -> YoloSettings:
    import yaml  # late: only YOLO folders need it

    try:
        # every scalar stays text as it is written: a class may be called "no", "on" or "1.0"
        document = yaml.load("\n".join(read_lines(path)), Loader=yaml.BaseLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = getattr(error, "problem", None) or str(error)
        raise InputError(f"{path}: broken YAML{place}: {what}") from error
    except RecursionError as error:
        raise InputError(f"{path}: its YAML is nested more deeply than that of any data set") from error
    names = document.get("names") if isinstance(document, dict) else None
    if names is None:
        raise InputError(f"{path}: has no 'names'; write names: [cat, dog]")
    return YoloSettings(
        path, _names(names, path), _keypoint_shape(document.get("kpt_shape"), path), document.get("task") == "segment"
    )


def _names(names: Any, path: pathlib.Path) -> list[str]:
    """The entry `names`: a list, or a map from 0, 1, 2, ..."""
    if isinstance(names, dict):
        numbers = [str(i) for i in range(len(names))]
        if set(names) != set(numbers):
            raise InputError(f"{path}: the numbers of 'names' are not 0, 1, 2, ...: {', '.join(map(str, names))}")
        names = [names[i] for i in numbers]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: 'names' is neither a list of names nor a map from numbers to names")
    return [name.strip() for name in names]


def _keypoint_shape(value: Any, path: pathlib.Path) -> tuple[int, int] | None:
    """The entry `kpt_shape` of pose labels."""
    if value in (None, "", "null", "~"):
        return None
    if not (isinstance(value, list) and len(value) == 2 and str(value[0]).isdecimal() and value[1] in ("2", "3")):
        raise InputError(f"{path}: kpt_shape is {reprlib.repr(value)}; write [number of keypoints, 2 or 3]")
    return int(value[0]), int(value[1])
