"""Draws street scenes with pixel-exact labels, and writes them in BDD100K's own folder layout and formats.

A scene is painted far to near into an image and a map of instance ids, so a label covers the visible part of an object,
as in BDD100K. Scene `index` of a seed does not depend on which other scenes are drawn.

The drawing code is frozen, because the shipped weights were trained on its scenes and figures were published for them.
"""

import json
import logging
import multiprocessing
import os
import random
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from bdd100k.streets.canvas import HEIGHT, WIDTH, Canvas
from bdd100k.streets.ground import shadow, sky
from bdd100k.streets.layout import Layout, painting_order
from bdd100k.streets.pose import Thing
from bdd100k.streets.weather import choose_look, weather_and_camera
from mrcnn.errors import InputError
from mrcnn.files import make_folder, write_bytes
from mrcnn.structures.rle import crop_to_rle
from mrcnn.user_files import read_json
from mrcnn.visualization.drawing import encoded

logger = logging.getLogger(__name__)

VERSION = 2  # increase it if a seed gives different images; the shipped weights were trained on these
SPLITS = ("train", "val", "test")
_SPLIT_STRIDE = 10_000_000  # keeps the scene indices of the splits apart
# Objects below one of these limits are not labelled.
MIN_HEIGHT_PX = 12  # of the visible box
MIN_AREA_PX = 80  # of the visible mask
MIN_VISIBLE = 0.15  # visible fraction of the part inside the image
_OCCLUDED_BELOW = 0.95  # visible fraction below which an object counts as occluded


@dataclass
class SceneObject:
    """One labelled object: `box_px` (y1, x1, y2, x2) around the visible `mask`, bool [y2 - y1, x2 - x1]."""

    category: str
    mask: np.ndarray
    box_px: tuple[int, int, int, int]
    occluded: bool
    truncated: bool


@dataclass
class Scene:
    """A drawn scene: `image` uint8 RGB [720, 1280, 3], its objects, and BDD100K's frame attributes."""

    image: np.ndarray
    objects: list[SceneObject]
    attributes: dict[str, str]
    jpeg_quality: int


def draw_scene(seed: int, index: int) -> Scene:
    """Draw scene `index` of a seed. The result depends only on these two numbers and the version of OpenCV.

    Args:
        seed: Integer >= 0.
        index: Integer >= 0.

    Returns:
        The image, the visible instance masks, and weather, kind of scene and time of day.

    Raises:
        InputError: `seed` or `index` is negative.
    """
    if seed < 0 or index < 0:
        raise InputError(f"draw_scene got seed {seed} and index {index}; both must be 0 or more.")
    rng = random.Random(f"street {VERSION}/{seed}/{index}")
    canvas = Canvas(rng, choose_look(rng))
    sky(canvas, rng)
    layout = Layout(canvas, rng)
    sunny = canvas.look.weather in ("clear", "partly cloudy") and canvas.look.timeofday != "night"
    drift = rng.uniform(-1.8, 1.8) if sunny else 0.0
    for thing in layout.things:
        if thing.footprint is not None:
            shadow(canvas, thing.footprint, drift, 0.75 if sunny else 0.6)
    drawn = _paint_things(canvas, painting_order(layout.things))
    canvas.add_halos()
    weather_and_camera(canvas, rng)
    look = canvas.look
    attributes = {"weather": look.weather, "scene": look.scene, "timeofday": look.timeofday}
    return Scene(canvas.image, _visible(canvas.ids, drawn), attributes, rng.randint(72, 95))


@dataclass
class _Drawn:
    """An object right after it was painted: a window [y1:y2, x1:x2] around it and its area in pixels."""

    category: str
    window: tuple[slice, slice]
    area: int
    truncated: bool


def _paint_things(canvas: Canvas, things: list[Thing]) -> list[_Drawn]:
    """Paint things, given far to near; entry i of the result is instance i + 1 of the id map."""
    drawn: list[_Drawn] = []
    for thing in things:
        depth = max(1.5, (thing.z1 + thing.z2) / 2)
        for category, parts in thing.layers:
            if category is None or len(drawn) == 254:  # ids are uint8; scenes have far fewer objects
                canvas.paint(parts, depth, 0)
                continue
            instance = len(drawn) + 1
            low, high = canvas.paint(parts, depth, instance)
            cut = bool(low[0] < -1 or low[1] < -1 or high[0] > WIDTH or high[1] > HEIGHT)
            reach = 6 + int(0.3 * canvas.focal / max(1.2, thing.z1))  # limbs and lines reach beyond their points
            rows = slice(max(0, int(low[1]) - reach), max(0, int(high[1]) + reach))
            columns = slice(max(0, int(low[0]) - reach), max(0, int(high[0]) + reach))
            area = int(np.count_nonzero(canvas.ids[rows, columns] == instance))
            drawn.append(_Drawn(category, (rows, columns), area, cut))
    return drawn


def _visible(ids: np.ndarray, drawn: list[_Drawn]) -> list[SceneObject]:
    """Return the objects above the limits, with their visible masks cut out of the id map."""
    objects = []
    for instance, item in enumerate(drawn, start=1):
        mask = ids[item.window] == instance
        area = int(np.count_nonzero(mask))
        if area < MIN_AREA_PX or area < MIN_VISIBLE * item.area:
            continue
        x1, y1, wide, tall = cv2.boundingRect(mask.view(np.uint8))
        if tall < MIN_HEIGHT_PX:
            continue
        top, left = item.window[0].start + y1, item.window[1].start + x1
        crop = mask[y1 : y1 + tall, x1 : x1 + wide].copy()
        occluded = area < _OCCLUDED_BELOW * item.area
        objects.append(SceneObject(item.category, crop, (top, left, top + tall, left + wide), occluded, item.truncated))
    return objects


# Labels --------------------------------------------------------------------------------------------------------------


def mask_to_paths(mask: np.ndarray, offset: tuple[int, int] = (0, 0)) -> list[np.ndarray]:
    """Trace a mask as closed paths whose filled union is the mask.

    The paths run through the midpoints of pixel edges, so a rasteriser that tests pixel centres returns the mask.
    A part with a hole is cut in two at the hole, because overlapping Scalabel paths form a union.

    Args:
        mask: bool [h, w].
        offset: (x, y) of the mask's top-left corner in pixels, added to all vertices.

    Returns:
        float arrays [k, (x, y)], k >= 3; the top-left corner of the top-left pixel is (0, 0).
    """
    doubled = cv2.resize(mask.astype(np.uint8), None, fx=2, fy=2, interpolation=cv2.INTER_NEAREST)
    contours, tree = cv2.findContours(doubled, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not contours:
        return []
    tree = tree.reshape(-1, 4)
    holes = np.flatnonzero(tree[:, 3] >= 0).tolist()
    if holes:
        middle = contours[max(holes, key=lambda i: len(contours[i]))].reshape(-1, 2).mean(axis=0)
        column = min(mask.shape[1] - 1, max(1, round(float(middle[0]) / 2)))
        x, y = offset
        return mask_to_paths(mask[:, :column], (x, y)) + mask_to_paths(mask[:, column:], (x + column, y))
    paths = []
    for contour in contours:
        steps = (contour.reshape(-1, 2) + 1) // 2  # pixel edges: both samples of a pixel's side map to it
        steps = steps[np.any(steps != np.roll(steps, 1, axis=0), axis=1)]
        middles = (steps + np.roll(steps, -1, axis=0)) / 2
        smooth = cv2.approxPolyDP(middles.astype(np.float32), 0.3, True).reshape(-1, 2)
        path = smooth if len(smooth) >= 3 else middles
        paths.append(path.astype(float) + offset)
    return paths


def _frame(name: str, scene: Scene) -> tuple[dict, dict]:
    """Return the Scalabel frames of one scene, with poly2d and with rle."""
    polygons, rles = [], []
    for i, item in enumerate(scene.objects, start=1):
        y1, x1, y2, x2 = item.box_px
        label = {
            "id": f"{i}",
            "category": item.category,
            "attributes": {"occluded": item.occluded, "truncated": item.truncated, "crowd": False},
            "box2d": {"x1": x1, "y1": y1, "x2": x2 - 1, "y2": y2 - 1},  # in Scalabel the last column and row are inside
        }
        paths = mask_to_paths(item.mask, (x1, y1))
        poly2d = [{"vertices": path.tolist(), "types": "L" * len(path), "closed": True} for path in paths]
        polygons.append({**label, "poly2d": poly2d})
        rle = crop_to_rle(item.box_px, item.mask, (HEIGHT, WIDTH))
        rles.append({**label, "rle": {"counts": rle["counts"].decode(), "size": rle["size"]}})
    head = {"name": name, "attributes": scene.attributes, "timestamp": 10000}
    return {**head, "labels": polygons}, {**head, "labels": rles}


# Files ---------------------------------------------------------------------------------------------------------------


def write_streets(
    out_dir: str | os.PathLike, train: int, val: int, test: int = 0, seed: int = 0, workers: int = 1
) -> Path:
    """Write drawn scenes in BDD100K's official folder layout; a folder that already contains them is not changed.

    Args:
        out_dir: Folder for `images/10k/{split}/*.jpg` and `labels/ins_seg/{polygons,rles}/ins_seg_{split}.json`.
        train: Number of training images, 0 or more.
        val: Number of validation images.
        test: Number of test images; their labels are written too.
        seed: Seed of the scenes; the splits of one seed have no scene in common.
        workers: Number of processes; more than one needs a main module that can be imported again.

    Returns:
        `out_dir` as a Path, which can be used as a data folder.

    Raises:
        InputError: A number is out of range, or the folder contains something else.
    """
    counts = {"train": train, "val": val, "test": test}
    if (
        min(*counts.values(), seed) < 0
        or not sum(counts.values())
        or max(counts.values()) > _SPLIT_STRIDE
        or workers < 1
    ):
        raise InputError(
            f"Cannot draw {counts} images with seed {seed} and {workers} workers: give counts >= 0 "
            f"(at least one image, at most {_SPLIT_STRIDE} a split), a seed >= 0, workers >= 1."
        )
    out, request = Path(out_dir), {"version": VERSION, "seed": seed, **counts}
    if _already_there(out, request):
        logger.info("%s already contains these scenes", out)
        return out
    for split in SPLITS:
        if counts[split]:
            _write_split(out, split, counts[split], seed, workers)
    _write_json(out / "streets.json", request)  # marks the folder as complete
    (out / "streets.partial.json").unlink(missing_ok=True)
    return out


def _already_there(out: Path, request: dict) -> bool:
    """Return whether the folder contains the finished scenes; prepare an empty or unfinished one, refuse any other."""
    for note, finished in ((out / "streets.json", True), (out / "streets.partial.json", False)):
        if note.exists():
            try:
                found = read_json(note)
            except InputError as error:
                raise InputError(f"{error}; delete {out} or choose another folder.") from error
            if found != request:
                raise InputError(
                    f"{out} contains other drawn scenes ({found}) than requested ({request}); "
                    "choose another folder or delete this one."
                )
            return finished
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists and is not a folder of drawn scenes; choose a new or empty folder.")
    make_folder(out)
    _write_json(out / "streets.partial.json", request)
    return False


def _write_split(out: Path, split: str, count: int, seed: int, workers: int) -> None:
    folder = out / "images" / "10k" / split
    make_folder(folder)
    first = SPLITS.index(split) * _SPLIT_STRIDE
    jobs = [(str(folder), seed, first + i) for i in range(count)]
    if workers == 1:
        frames = [_write_scene(job) for job in jobs]
    else:
        fresh = multiprocessing.get_context("spawn")  # a forked process may hang if TensorFlow runs in this process
        with ProcessPoolExecutor(workers, fresh, cv2.setNumThreads, (1,)) as pool:
            frames = list(pool.map(_write_scene, jobs, chunksize=8))
    for kind, which in (("polygons", 0), ("rles", 1)):
        path = out / "labels" / "ins_seg" / kind / f"ins_seg_{split}.json"
        make_folder(path.parent)
        _write_json(path, [frame[which] for frame in frames])


def _write_scene(job: tuple[str, int, int]) -> tuple[dict, dict]:
    """Draw one scene, write its JPEG and return its two label frames. May run in a worker process."""
    folder, seed, index = job
    scene = draw_scene(seed, index)
    name = f"{seed:08x}-{index:08x}.jpg"
    write_bytes(Path(folder) / name, encoded(scene.image, ".jpg", [cv2.IMWRITE_JPEG_QUALITY, scene.jpeg_quality]))
    return _frame(name, scene)


def _write_json(path: Path, content: object) -> None:
    """Write JSON without spaces: labels with polygons are long."""
    write_bytes(path, json.dumps(content, separators=(",", ":")).encode())
