"""Data sets of every format with a hostile label file, label or image; used as the scripts use them."""

import json
import os
import pathlib
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np

from bdd100k import checks, open_data
from bdd100k.dataset import BDD100KDataset
from bdd100k.labels.convert import FORMATS, MASKS, convert
from bdd100k.statistics import attributes, flags
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.annotations.findings import report_lines
from mrcnn.annotations.folder import open_folder
from mrcnn.annotations.label_checks import check_annotated, check_annotated_folder
from tests import annotated
from tests.annotated import HEIGHT, LEAF, NAMES, STEM, WIDTH
from tests.hostile.cases import Case
from tests.hostile.documents import damage, mutate, written

OWN = annotated.KINDS
BDD = ("scalabel", "scalabel rle", "bdd coco", "bitmasks")
BOXES = {"leaf": (1, 2, 4, 6), "stem": (5, 10, 9, 18)}
# A class or an image may have any name: a part of a file that names them changes just that.
NAMING = {
    "label",
    "category",
    "categories",
    "category_id",
    "region_attributes",
    "attribute",
    "av",
    "classTitle",
    "name",
}
NAMING |= {"class", "image_id", "id", "file_name", "filename", "imagePath", "fname", "src", "fid_list", "vid", "file"}
NAMING |= {"view", "fid", "aname", "options", "metadata"}
Object = tuple[str, str, tuple[int, ...]]  # image, class, box


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Write a data set in one of the formats and spoil one thing in it, or two."""
    root = folder / "data"
    kind = str(rng.choice([*OWN, *BDD]))
    source = bdd_folder(root, kind, rng) if kind in BDD else annotated.folder(root, kind)
    if kind == "coco" and rng.random() < 0.5:
        write_coco(source, rng)
    what, named = [kind], False
    for _ in range(int(rng.integers(1, 3))):
        done, naming = spoil(root, source, kind, rng)
        what.append(done)
        named |= naming
    rectangles = bool(rng.random() < 0.5)
    target = (str(rng.choice(FORMATS)), str(rng.choice(MASKS)), folder / "out") if kind in BDD else None

    def use() -> list[Object]:
        return objects(root, kind, rectangles, target, source)

    return Case(
        "; ".join(what),
        use,
        right(kind, named or "; ".join(what).count("repeat") > 0, folder, "cut after" in "".join(what)),
    )


def right(kind: str, named: bool, folder: pathlib.Path, truncated: bool) -> Callable[[list[Object]], bool]:
    """Return what tells whether each object is one that was put there; those that cannot be used may be left out."""
    names = {"leaf": "car", "stem": "bus"} if kind in BDD else {}
    truth = {(names.get(name, name), box) for name, box in BOXES.items()}
    if kind in ("masks", "mask folders"):
        truth = {("object", box) for box in BOXES.values()}

    def check(found: list[Object]) -> bool:
        if {path.name for path in folder.iterdir()} - {"data", "out"}:
            return False
        for image, name, box in found:
            alike = [own for own, known in truth if np.abs(np.subtract(known, box)).max() <= 1]
            if kind == "yolo" and truncated:  # a line that was cut is a smaller polygon
                alike = [own for own, (y1, x1, y2, x2) in truth if y1 <= box[0] + 1 and x1 <= box[1] + 1]
            if not alike or not (named or name in alike) or pathlib.PurePath(image).stem not in NAMES:
                return False
        return named or len(found) <= 2 * len(NAMES)

    return check


def objects(root: pathlib.Path, kind: str, rectangles: bool, target: Any, source: pathlib.Path) -> list[Object]:
    """Open the data set as the scripts do, check it, load everything, and return all objects."""
    open_data.is_custom.cache_clear()
    open_data.is_custom(str(root))
    dataset: AnnotatedDataset
    if kind in BDD:
        dataset = BDD100KDataset()
        dataset.load_bdd100k(root, "train", rectangles_as_masks=rectangles)
        dataset.prepare()
        json.dumps([attributes(dataset), flags(dataset)]).encode()
        reports = list(checks.check_folder(root, images=True).values())
    else:
        dataset = open_folder(root, rectangles_as_masks=rectangles)
        reports = [check_annotated_folder(root, images=True)]
    for report in [*reports, check_annotated(dataset, full=False)]:
        json.dumps(report.to_json()).encode()
        "\n".join(report_lines(report)).encode("utf-8", "surrogateescape")
    found = []
    for image_id, info in enumerate(dataset.image_info):
        image = dataset.load_image(image_id)
        assert image.shape == (HEIGHT, WIDTH, 3)
        instances = dataset.load_instances(image_id)
        for class_id, box in zip(instances.class_ids, instances.boxes_px.tolist(), strict=True):
            found.append((info["name"], dataset.class_names[class_id], tuple(box)))
    if target is not None:
        to, masks, out = target
        convert(source if source.is_file() and kind != "bitmasks" else source.parent, out, to, masks, images=root)
    return found


def bdd_folder(root: pathlib.Path, kind: str, rng: np.random.Generator) -> pathlib.Path:
    """Write leaf and stem as car and bus in one of BDD100K's formats; return a label file."""
    for name in NAMES:
        annotated.picture(root / "images" / f"{name}.jpg")
    if kind == "bitmasks":
        path = root / "labels" / "ins_seg" / "bitmasks" / "train"
        path.mkdir(parents=True)
        pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
        # OpenCV writes BGRA: category 3 (car) with instance 259, category 5 (bus), occluded, with instance 1285
        pixels[annotated.masks()[..., 0]] = 1, 0, 3, 3
        pixels[annotated.masks()[..., 1]] = 5, 4, 5, 5
        for name in NAMES:
            cv2.imwrite(str(path / f"{name}.png"), pixels)
        return path / "a.png"
    if kind == "bdd coco":
        document = annotated.coco_document()
        names = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
        document["categories"] = [{"id": i, "name": name} for i, name in enumerate(names, 1)]
        for annotation in document["annotations"]:
            annotation["category_id"] = {5: 3, 9: 5}[annotation["category_id"]]
        return annotated.write(root / "labels.json", document)
    frames = [
        {
            "name": f"{name}.jpg",
            "attributes": {"weather": "clear", "scene": "highway", "timeofday": "night"},
            "size": {"width": WIDTH, "height": HEIGHT},
            "labels": [scalabel_label(i, *own, kind) for i, own in enumerate((("car", LEAF), ("bus", STEM)))],
        }
        for name in NAMES
    ]
    return annotated.write(root / "labels.json", frames if rng.random() < 0.5 else {"frames": frames, "config": {}})


def scalabel_label(number: int, name: str, points: list[list[int]], kind: str) -> dict[str, Any]:
    """Return a label of Scalabel with its outline, run lengths or both."""
    (x1, y1), (x2, y2) = np.min(points, axis=0).tolist(), np.max(points, axis=0).tolist()
    label: dict[str, Any] = {
        "id": str(number),
        "category": name,
        "attributes": {"occluded": False, "truncated": False, "crowd": False},
        "box2d": {"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1},
    }
    if kind == "scalabel rle":
        label["rle"] = runs(number)
    else:
        label["poly2d"] = [{"vertices": points, "types": "LLLL", "closed": True}]
    return label


def runs(number: int) -> dict[str, Any]:
    """Return the mask of leaf (0) or stem (1) as plain run lengths."""
    flat = annotated.masks()[..., number].T.reshape(-1)
    edges = np.flatnonzero(np.diff(flat)) + 1
    return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, flat.size]).tolist()}


def write_coco(path: pathlib.Path, rng: np.random.Generator) -> None:
    """Give a COCO file run lengths, boxes and areas."""
    document = json.loads(path.read_text())
    for annotation in document["annotations"]:
        number = {5: 0, 9: 1}[annotation["category_id"]]
        y1, x1, y2, x2 = list(BOXES.values())[number]
        annotation |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "score": 0.5}
        if rng.random() < 0.5:
            annotation["segmentation"] = runs(number)
    annotated.write(path, document)


def spoil(root: pathlib.Path, source: pathlib.Path, kind: str, rng: np.random.Generator) -> tuple[str, bool]:
    """Spoil a label file or an image; return what was done, and whether names of classes or images may change by it."""
    chance = rng.random()
    if chance < 0.1:
        return spoil_image(root, rng), False
    if chance < 0.3 and source.is_file():
        data, what = damage(source.read_bytes(), rng)
        source.write_bytes(data)
        return what, True
    if source.suffix == ".txt":
        return spoil_text(root, source, rng), True
    if source.suffix != ".json" or not source.is_file():
        return replace_file(source, rng), False
    try:
        document = json.loads(source.read_bytes())
        if not isinstance(document, dict | list) or not document:
            return "", False
        document, path, what = mutate(document, rng)
    except (ValueError, RecursionError):  # it is spoilt enough
        return "", False
    source.write_bytes(written(document, rng))
    return what, bool(NAMING & set(path)) or len(path) < 2


def spoil_text(root: pathlib.Path, source: pathlib.Path, rng: np.random.Generator) -> str:
    """Give a line of YOLO a hostile word, or data.yaml hostile names."""
    words = [
        "nan",
        "inf",
        "1e999",
        "x",
        "-1",
        "7",
        "9" * 5000,
        "1_0",
        "0x10",
        "\0",
        "٣",
        "-0.5",
        "1e-400e",
        "--1",
        "\x1b",
    ]
    if rng.random() < 0.3:
        text = ["names: &a [*a]", "names: {0: leaf, 1: leaf}", "names: [[leaf], {a: b}]", "names: 7", "a: " * 2000]
        text += [
            "names: !!python/object/apply:os.system ['true']",
            "nc: 2",
            "{" * 500,
            "names: [leaf, stem]\nkpt_shape: 9",
        ]
        chosen = text[rng.integers(len(text))]
        (root / "data.yaml").write_text(chosen)
        return f"data.yaml: {chosen[:40]}"
    lines = [line.split(" ") for line in source.read_text(errors="replace").split("\n")]
    line = lines[rng.integers(len(lines))]
    place, word = int(rng.integers(len(line))), words[rng.integers(len(words))]
    line[place] = word
    source.write_text("\n".join(" ".join(line) for line in lines))
    return f"word {place} = {word[:20]!r}"


def replace_file(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Put something else in the place of a file."""
    kind = str(rng.choice(["folder", "pipe", "device", "missing", "empty", "self"]))
    if path.is_dir():
        return "kept"
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "self":
        path.symlink_to(path.name)
    return f"{path.name} is {kind}"


def spoil_image(root: pathlib.Path, rng: np.random.Generator) -> str:
    """Spoil an image that labels name."""
    images = sorted(path for path in root.rglob("*.jpg") if "masks" not in path.parts)
    if not images:
        return ""
    path = images[rng.integers(len(images))]
    if rng.random() < 0.5 or not path.is_file():
        return replace_file(path, rng)
    data, what = damage(path.read_bytes(), rng, digits=True)
    path.write_bytes(data)
    return f"{path.name}: {what}"
