"""Measure evaluation without inference: 1,000 images with 18 objects and 100 detections each, on two cores.

Objects are ellipses of BDD100K's sizes in images of 720 x 1280. Detections are boxes with 28 x 28 masks, as the model
returns them: in each image 40 lie on its objects, slightly moved, and 60 anywhere. The stages, timed by the clock:

  paste     masks pasted into their boxes and encoded, detections written to a file
  evaluate  COCO's figures for masks and boxes, per class, slices, errors, curves, intervals from 500 samples
  official  BDD100K's two protocols, on flattened masks
  write     result.json and predictions.json

For comparison, the only figure of Matterport's code, mAP at IoU 0.5, is computed in Matterport's way: every mask is
pasted at full size, and overlaps are dot products of full masks, one image at a time. This takes too long for 1,000
images, so it is timed on a sample of them in the same process, for which both ways must give the same figure.
"""

import argparse
import contextlib
import json
import os
import pathlib
import tempfile
import time
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.cli import positive_int, seed_number
from bdd100k.config import CLASS_NAMES
from bdd100k.evaluation.protocols import OfficialEvaluator, OfficialFigures
from bdd100k.evaluation.slices import SLICING
from mrcnn.evaluation.coco_evaluator import image_ap50
from mrcnn.evaluation.coco_results import detections_to_coco, image_key
from mrcnn.evaluation.evaluator import evaluate, run_evaluators
from mrcnn.evaluation.image import EvaluatedImage
from mrcnn.evaluation.result import Result, to_json
from mrcnn.evaluation.results_file import Store, write_entries
from mrcnn.files import write_json
from mrcnn.structures.instances import Instances

SUMMARY = "time of a whole evaluation without inference, compared with the original"
SHAPE = (720, 1280)
OBJECTS, DETECTIONS, NEAR = 18, 100, 40
CLASS_FRACTIONS = (0.18, 0.02, 0.62, 0.06, 0.03, 0.01, 0.03, 0.05)  # roughly the fractions of the objects in BDD100K
KEYS = """\
keys of the JSON file:
  seconds          clock time of each stage and "total", for all images
  cpu_seconds      processor time of all threads of this process
  cpu_milliseconds the same per image, and that of "original"
  ratio            processor time per image, original's way / ours: its single figure against all our stages
  ratio_clock      the same by the clock
  ratio_same       original's way / ours for this figure alone (overlaps and mAP50 from encoded masks)
  mAP50            mAP at IoU 0.5 of the sample, both ways
  AP               AP of all images: mask, box, bitmask, rle, to check that two runs evaluated the same
  memory_mib       resident memory: "scenes" (objects and detections, before the first stage), "after" all stages,
                   "peak" of the stages, "original_peak" of the original's way
  images, sample, cores
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.epilog = KEYS
    parser.add_argument(
        "--images", type=positive_int, default=1000, metavar="N", help="number of images (default: %(default)s)"
    )
    parser.add_argument(
        "--sample",
        type=positive_int,
        default=12,
        metavar="N",
        help="number of images for the original's way (default: %(default)s)",
    )
    parser.add_argument("--seed", type=seed_number, default=0, help="random seed of the scenes (default: %(default)s)")


class Scenes:
    """A dataset of ellipses, with detections as a model would make them."""

    def __init__(self, images: int, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.class_names = ["BG", *CLASS_NAMES]
        self.class_info = [{"source": "", "id": 0, "name": "BG"}]
        self.class_info += [{"source": "bdd100k", "id": n, "name": name} for n, name in enumerate(CLASS_NAMES, 1)]
        weather = ("clear", "rainy", "overcast", "snowy")
        self.image_info = [
            {
                "id": f"{n:05d}.jpg",
                "path": f"{n:05d}.jpg",
                "height": SHAPE[0],
                "width": SHAPE[1],
                "attributes": {"weather": weather[n % 4]},
            }
            for n in range(images)
        ]
        self.image_ids = np.arange(images)
        self.instances = [self._objects() for _ in range(images)]
        self.found = [self._detections(objects) for objects in self.instances]

    def load_instances(self, image_id: int) -> Instances:
        """Return the objects of an image."""
        return self.instances[image_id]

    def image_size(self, image_id: int) -> tuple[int, int]:
        """Return (height, width) px."""
        return SHAPE

    def _boxes(self, count: int) -> np.ndarray:
        """Draw boxes, int [n, (y1, x1, y2, x2)] px; half of the objects are smaller than 40 pixels."""
        size = np.exp(self.rng.normal(3.6, 0.9, (count, 2))).clip(6, 500).astype(int)
        corner = (self.rng.random((count, 2)) * (np.array(SHAPE) - size)).astype(int)
        return np.concatenate([corner, corner + size], axis=1)

    def _classes(self, count: int) -> np.ndarray:
        return self.rng.choice(len(CLASS_FRACTIONS), count, p=CLASS_FRACTIONS) + 1

    def _objects(self) -> Instances:
        boxes = self._boxes(OBJECTS)
        crops = [ellipse(y2 - y1, x2 - x1) for y1, x1, y2, x2 in boxes.tolist()]
        return Instances(self._classes(OBJECTS), boxes, crops, crowd=self.rng.random(OBJECTS) < 0.02)

    def _detections(self, objects: Instances) -> dict[str, np.ndarray]:
        chosen = self.rng.integers(0, OBJECTS, NEAR)
        boxes, classes = self._boxes(DETECTIONS), self._classes(DETECTIONS)
        near = objects.boxes_px[chosen]
        sides = np.tile(near[:, 2:] - near[:, :2], 2)
        moved = near + np.rint(self.rng.normal(0, 0.08, (NEAR, 4)) * sides).astype(int)
        boxes[:NEAR] = np.clip(moved, 0, np.tile(SHAPE, 2))
        classes[:NEAR] = np.where(self.rng.random(NEAR) < 0.9, objects.class_ids[chosen], classes[:NEAR])
        scores = self.rng.random(DETECTIONS) * np.where(np.arange(DETECTIONS) < NEAR, 1, 0.6)
        y, x = np.mgrid[:28, :28] / 13.5 - 1
        probs = np.clip(1.5 - y**2 - x**2 + self.rng.normal(0, 0.05, (DETECTIONS, 1, 1)), 0, 1).astype(np.float32)
        return {"rois": boxes, "class_ids": classes, "scores": scores.astype(np.float32), "mask_probs": probs}


def ellipse(height: int, width: int) -> np.ndarray:
    """Return a filled ellipse, bool [height, width]."""
    y, x = (np.arange(height) + 0.5) / height * 2 - 1, (np.arange(width) + 0.5) / width * 2 - 1
    return y[:, None] ** 2 + x[None] ** 2 < 1


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the benchmark, print its figures and return them."""
    cores = _use_two_cores()
    dataset: Any = Scenes(args.images, args.seed)
    _forget_peak()
    sample = list(range(min(args.sample, args.images)))
    scenes = _memory()["VmRSS"]
    stages: dict[str, _Time] = {}
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder)
        store, result, official = _ours(dataset, out, stages)
        memory = _memory()
        same_ap, same = _timed(lambda: evaluate_map50(dataset, store, sample))
    _forget_peak()
    original, alone = _timed(lambda: [original_ap50(dataset.instances[i], dataset.found[i]) for i in sample])
    theirs, ours = np.mean(original), np.mean(same_ap)
    assert abs(theirs - ours) < 0.02, f"the two ways disagree: {theirs} and {ours}"
    stages["total"] = _Time(*(sum(times) for times in zip(*stages.values(), strict=True)))
    per_image = {name: 1000 * spent.cpu / args.images for name, spent in stages.items()}
    per_image["original"] = 1000 * alone.cpu / len(sample)
    report = {
        "seconds": {name: spent.clock for name, spent in stages.items()},
        "cpu_seconds": {name: spent.cpu for name, spent in stages.items()},
        "cpu_milliseconds": per_image,
        "ratio": per_image["original"] / per_image["total"],
        "ratio_same": alone.cpu / same.cpu,
        "ratio_clock": alone.clock / len(sample) / (stages["total"].clock / args.images),
        "mAP50": {"ours": float(ours), "original": float(theirs)},
        "AP": {
            "mask": result.mask.AP,
            "box": result.box.AP,
            "bitmask": official.bitmask.mask.AP,
            "rle": official.rle.mask.AP,
        },
        "memory_mib": {
            "scenes": scenes,
            "after": memory["VmRSS"],
            "peak": memory["VmHWM"],
            "original_peak": _memory()["VmHWM"],
        },
        "images": args.images,
        "sample": len(sample),
        "cores": cores,
    }
    _show(report)
    return report


def _use_two_cores() -> int:
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class _Time(NamedTuple):
    """Seconds by the clock, and processor time of all threads."""

    clock: float
    cpu: float


def _timed(function: Any) -> tuple[Any, _Time]:
    clock, cpu = time.perf_counter(), time.process_time()
    value = function()
    return value, _Time(time.perf_counter() - clock, time.process_time() - cpu)


def _ours(dataset: Any, out: pathlib.Path, stages: dict[str, _Time]) -> tuple[Store, Result, OfficialFigures]:
    """Run all stages and record their times in `stages`."""
    store = Store(out / "detections.jsonl", {})
    categories = list(range(len(CLASS_NAMES) + 1))

    def paste() -> None:
        for image_id, found in enumerate(dataset.found):
            key = image_key(dataset, image_id)
            store.add(key, detections_to_coco(found, SHAPE, key, categories))

    def protocols() -> OfficialFigures:
        evaluator = OfficialEvaluator(dataset)
        run_evaluators([evaluator], _Finished(), dataset, range(len(dataset.found)), store=store)
        return evaluator.evaluate()

    def files() -> None:
        write_entries(out / "predictions.json", store)
        write_json(out / "result.json", {**result.to_json(), "official": to_json(official)}, indent=1)

    _, stages["paste"] = _timed(paste)
    result, stages["evaluate"] = _timed(lambda: evaluate(_Finished(), dataset, store=store, slicing=SLICING))
    official, stages["official"] = _timed(protocols)
    _, stages["write"] = _timed(files)
    return store, result, official


class _Finished:
    """A model that is never called, because the store has the detections of all images."""

    def detect_instances(self, images: list[np.ndarray]) -> list[dict[str, np.ndarray]]:
        raise AssertionError("an image is missing from the store")


def evaluate_map50(dataset: Any, store: Store, sample: list[int]) -> list[float]:
    """Compute Matterport's AP of each image of a sample with our code."""
    aps = []
    for image_id in sample:
        entries = store.of_image(image_key(dataset, image_id))
        classes = np.array([e["category_id"] - 1 for e in entries])
        scores = np.array([e["score"] for e in entries])
        aps.append(image_ap50(EvaluatedImage.read(dataset, image_id, entries), classes, scores))
    return aps


def original_ap50(objects: Instances, found: dict[str, np.ndarray]) -> float:
    """Compute AP of one image at IoU 0.5 in the original's way, by dot products of full masks.

    Crowds are left out, as in our figure.
    """
    real = np.flatnonzero(~objects.crowd)
    gt_masks = objects.select(real).to_masks(SHAPE)
    pred_masks = np.zeros((*SHAPE, len(found["rois"])), bool)
    for n, ((y1, x1, y2, x2), probs) in enumerate(zip(found["rois"].tolist(), found["mask_probs"], strict=True)):
        if y2 > y1 and x2 > x1:
            pred_masks[y1:y2, x1:x2, n] = cv2.resize(probs, (x2 - x1, y2 - y1)) >= 0.5
    flat_pred = pred_masks.reshape(-1, pred_masks.shape[2]).astype(np.float32)
    flat_gt = gt_masks.reshape(-1, gt_masks.shape[2]).astype(np.float32)
    shared = flat_pred.T @ flat_gt
    overlaps = shared / (flat_pred.sum(axis=0)[:, None] + flat_gt.sum(axis=0)[None] - shared)
    order = np.argsort(-found["scores"])
    taken, hits = set(), []
    for n in order:
        hit = False
        for m in np.argsort(-overlaps[n]):
            if overlaps[n, m] < 0.5:
                break
            if m not in taken and objects.class_ids[real[m]] == found["class_ids"][n]:
                taken.add(m)
                hit = True
                break
        hits.append(hit)
    right = np.cumsum(hits)
    precision = np.concatenate([[0], right / np.arange(1, len(hits) + 1), [0]])
    recall = np.concatenate([[0], right / len(real), [1]])
    for n in range(len(precision) - 2, -1, -1):
        precision[n] = max(precision[n], precision[n + 1])
    steps = np.flatnonzero(recall[1:] != recall[:-1]) + 1
    return float(np.sum((recall[steps] - recall[steps - 1]) * precision[steps]))


def _memory() -> dict[str, float]:
    """Return current (VmRSS) and peak (VmHWM) resident memory in MiB; 0 if they are unknown."""
    try:
        lines = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
        return {name: int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")}
    except (OSError, KeyError):
        return {"VmRSS": 0.0, "VmHWM": 0.0}


def _forget_peak() -> None:
    """Reset the memory peak, if the system allows it."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/clear_refs").write_text("5")


def _show(report: dict[str, Any]) -> None:
    table = Table("", "seconds", "CPU seconds", "CPU ms per image", box=box.SIMPLE)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, value in report["seconds"].items():
        table.add_row(
            name, f"{value:.2f}", f"{report['cpu_seconds'][name]:.2f}", f"{report['cpu_milliseconds'][name]:.1f}"
        )
    table.add_row(
        f"original's mAP50 ({report['sample']} images)", "", "", f"{report['cpu_milliseconds']['original']:.1f}"
    )
    console = Console()
    console.print(f"{report['images']} images x {OBJECTS} objects x {DETECTIONS} detections on {report['cores']} cores")
    console.print(table)
    memory = report["memory_mib"]
    console.print(
        f"original / ours: {report['ratio']:.1f} (all figures against its mAP50), {report['ratio_same']:.0f} "
        f"(mAP50 alone); memory: {memory['scenes']:.0f} MiB with the scenes, {memory['peak']:.0f} MiB at the "
        f"peak, {memory['after']:.0f} MiB after (original's way: {memory['original_peak']:.0f} MiB)"
    )
    console.print(json.dumps(report["AP"]))
