"""Hostile predictions: COCO results, Scalabel frames and bitmasks with scores; their AP is compared with COCOeval's."""

import contextlib
import io
import itertools
import os
import pathlib
import threading
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from bdd100k.dataset import BDD100KDataset
from bdd100k.evaluation.predictions import load_any
from mrcnn.annotations.dataset import AnnotatedDataset
from mrcnn.annotations.folder import open_folder
from mrcnn.evaluation.evaluator import evaluate
from tests import annotated
from tests.annotated import HEIGHT, NAMES, WIDTH
from tests.hostile.cases import Case
from tests.hostile.documents import Path, damage, mutate, written
from tests.hostile.labels import BOXES, bdd_folder

CLASSES = {"leaf": "car", "stem": "bus"}
IDS = {"leaf": 5, "stem": 9, "car": 3, "bus": 5}


class Found:
    """One prediction: image and class, a rectangle that is the object or moved by a pixel, its score, its place."""

    def __init__(self, image: str, name: str, box: tuple[int, int, int, int], score: float, place: Path) -> None:
        self.image, self.name, self.box, self.score, self.place = image, name, box, score, place

    @property
    def mask(self) -> np.ndarray:
        """bool [12, 20]."""
        y1, x1, y2, x2 = self.box
        mask = np.zeros((HEIGHT, WIDTH), bool)
        mask[y1:y2, x1:x2] = True
        return mask

    @property
    def points(self) -> list[list[int]]:
        """The corners (x, y)."""
        y1, x1, y2, x2 = self.box
        return [[x1, y1], [x2, y1], [x2, y2], [x1, y2]]

    @property
    def runs(self) -> dict[str, Any]:
        """Plain run lengths."""
        flat = self.mask.T.reshape(-1)
        edges = np.flatnonzero(np.diff(flat)) + 1
        return {"size": [HEIGHT, WIDTH], "counts": np.diff([0, *edges, flat.size]).tolist()}


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Write a data set and predictions for it, and spoil the predictions."""
    form = str(rng.choice(["coco", "coco", "scalabel", "bitmasks"]))
    root, path = folder / "data", folder / "found.json"
    found = predictions(rng, form)
    if form == "coco":
        annotated.folder(root, "coco")
        document = [coco_entry(own, rng) for own in found]
    else:
        bdd_folder(root, "scalabel", rng)
        document = frames(found, form)
    what, touched = spoil(form, document, found, folder, rng)
    if form == "bitmasks":
        path = folder / "found"
    elif rng.random() < 0.05:
        path = through_pipe(path)
        what += ", through a pipe"

    def use() -> float | None:
        dataset = opened(root, form)
        return evaluate(load_any(path, dataset), dataset, samples=0).mask.AP

    def right(ap: float | None) -> bool:
        kept = [own for own in found if own not in touched]
        subsets = (chosen for n in range(len(touched) + 1) for chosen in itertools.combinations(touched, n))
        return any(abs((ap or 0) - reference([*kept, *chosen], form)) < 1e-9 for chosen in subsets)

    return Case(f"{form}: {what}", use, right)


def opened(root: pathlib.Path, form: str) -> AnnotatedDataset:
    """Open the labels, of which nothing is hostile."""
    if form == "coco":
        return open_folder(root)
    dataset = BDD100KDataset()
    dataset.load_bdd100k(root, "train")
    dataset.prepare()
    return dataset


def predictions(rng: np.random.Generator, form: str) -> list[Found]:
    """Return a prediction for each object."""
    made = []
    for image, (number, (name, box)) in itertools.product(range(len(NAMES)), enumerate(BOXES.items())):
        y1, x1, y2, x2 = box
        moved = (y1, x1 - int(rng.integers(2)), y2, x2 - int(rng.integers(2)))
        place: Path = (2 * image + number,) if form == "coco" else (image, "labels", number)
        name = name if form == "coco" else CLASSES[name]
        made.append(Found(NAMES[image], name, moved, round(0.3 + 0.1 * len(made), 1), place))
    return made


def coco_entry(own: Found, rng: np.random.Generator) -> dict[str, Any]:
    """Return a COCO result in one of the forms that there are."""
    y1, x1, y2, x2 = own.box
    forms: list[Any] = [[[v for point in own.points for v in point]], own.runs]
    packed = coco_mask.encode(np.asfortranarray(own.mask.astype(np.uint8)))
    forms.append({"size": packed["size"], "counts": packed["counts"].decode()})
    entry = {"image_id": NAMES.index(own.image), "category_id": IDS[own.name], "score": own.score}
    entry |= {"bbox": [x1, y1, x2 - x1, y2 - y1], "segmentation": forms[rng.integers(3)]}
    return entry | ({"category_name": own.name} if rng.random() < 0.3 else {})


def frames(found: list[Found], form: str) -> list[dict[str, Any]]:
    """Return the predictions as Scalabel frames, or the score file of bitmasks."""
    labels: dict[str, list[dict[str, Any]]] = {name: [] for name in NAMES}
    for own in found:
        number = len(labels[own.image]) + 1
        label: dict[str, Any] = {"id": str(number), "index": number, "score": own.score}
        if form == "scalabel":
            label = {"id": str(number), "category": own.name, "score": own.score}
            label |= {"rle": own.runs} if number == 1 else {"poly2d": [{"vertices": own.points, "types": "LLLL"}]}
        labels[own.image].append(label)
    return [{"name": name + (".jpg" if form == "scalabel" else ".png"), "labels": labels[name]} for name in NAMES]


def spoil(
    form: str, document: Any, found: list[Found], folder: pathlib.Path, rng: np.random.Generator
) -> tuple[str, list[Found]]:
    """Write the predictions with one fault; return it in words, and the predictions that it may cost."""
    what, touched = "", list[Found]()
    if rng.random() < 0.8:
        document, path, what = mutate(document, rng)
        touched = [own for own in found if all(a == b for a, b in zip(own.place, path, strict=False))]
        if "delete" in what or "repeat" in what:
            touched = found  # the others moved to other places
    data = written(document, rng)
    if not what and rng.random() < 0.7:
        data, what = damage(data, rng)
        touched = found
    (folder / "found.json").write_bytes(data)
    if form == "bitmasks":
        (folder / "found").mkdir()
        for name in NAMES:
            pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
            for number, own in enumerate((own for own in found if own.image == name), 1):
                pixels[own.mask] = 0, 0, IDS[own.name], number  # BGRA
            png = cv2.imencode(".png", pixels)[1].tobytes()
            if not what:
                png, what = damage(png, rng, digits=True)
            (folder / "found" / f"{name}.png").write_bytes(png)
    return what, touched


def through_pipe(path: pathlib.Path) -> pathlib.Path:
    """Return a pipe with the content of a file, as a shell makes it for <(command)."""
    data, pipe = path.read_bytes(), path.with_name("pipe")
    os.mkfifo(pipe)

    def write() -> None:
        with contextlib.suppress(OSError):
            pipe.write_bytes(data)

    threading.Thread(target=write, daemon=True).start()
    return pipe


def reference(found: list[Found], form: str) -> float:
    """Return the AP of predictions by pycocotools alone; 0 where there are none."""
    names = list(BOXES) if form == "coco" else list(CLASSES.values())

    def entry(number: int, own: Found) -> dict[str, Any]:
        rle = coco_mask.encode(np.asfortranarray(own.mask.astype(np.uint8)))
        numbers = {"id": number, "image_id": NAMES.index(own.image), "category_id": names.index(own.name) + 1}
        return numbers | {"segmentation": rle, "area": int(own.mask.sum()), "iscrowd": 0, "score": own.score}

    truth = [Found(image, name, box, 1, ()) for image in NAMES for name, box in zip(names, BOXES.values(), strict=True)]
    sides = []
    with contextlib.redirect_stdout(io.StringIO()):
        for own in (truth, found):
            coco = COCO()
            coco.dataset = {
                "images": [{"id": i, "height": HEIGHT, "width": WIDTH} for i in range(len(NAMES))],
                "categories": [{"id": i, "name": name} for i, name in enumerate(names, 1)],
                "annotations": [entry(number, one) for number, one in enumerate(own, 1)],
            }
            coco.createIndex()
            sides.append(coco)
        evaluator = COCOeval(*sides, "segm")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return max(float(evaluator.stats[0]), 0.0)
