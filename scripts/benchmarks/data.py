"""Measure the way from image files and labels to the network's inputs: images per second of one core, and memory.

Draws street scenes of 720 x 1280 as JPEGs of about 130 KB with 18 labelled objects each, and makes batches of them as
training does: 1024 x 1024, mini-masks of 56 x 56. The data path of the original matterport/Mask_RCNN (full masks, RPN
targets in numpy), reimplemented in benchmarks/original.py, runs alternately in the same process on the same images.

Everything runs in one process on one core, with OpenCV limited to one thread. A rate is images per second OF CPU TIME
of that core, so that other programs on the machine hardly affect it; rates by the clock are shown beside it. Each rate
is the median of the repetitions, with the minimum and the maximum.
"""

import argparse
import functools
import json
import logging
import multiprocessing
import os
import pathlib
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import cv2
import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k import cli
from bdd100k.config import BDD100KConfig
from bdd100k.dataset import BDD100KDataset
from bdd100k.streets.scenes import write_streets
from benchmarks.original import OriginalLoader
from mrcnn.augment_settings import Augmentation, preset_settings
from mrcnn.data.geometry import draw_placement, place_image, warp_instances
from mrcnn.data.images import read_image, resize_geometry
from mrcnn.data.mini_masks import instances_to_mini
from mrcnn.data.photometry import relight
from mrcnn.data.prefetch import Prefetcher
from mrcnn.data.sample_maker import WORKER_KINDS, SampleMaker

from .common import square

SUMMARY = "images per second and memory of loading and augmentation, compared with the original"
OBJECTS, FILE_BYTES = 18, 130_000  # per image, as in BDD100K on average
SQUARE = square(1024)  # the only shape that the original has
PASSES = 3  # passes of our data path per repetition, which take a fraction of the time of the original's one pass
KEYS = """\
keys of the JSON file:
  images_per_second_per_core            polygon labels, no augmentation (per second of CPU time, median)
  images_per_second_per_core_augmented  the same with the augmentation preset "default"
  ratio_to_original                     CPU time of the original / ours, no augmentation; median of repetitions
  ratio_to_original_augmented           the same, with only ours augmented
  rates            for original, polygons, polygons_augmented, rles, rles_augmented: images per second as {median,
                   least, most} of cpu and of wall
  milliseconds     CPU time per image by stage: decode, labels (polygons or run lengths to crops), warp (of the image),
                   masks (boxes and mini-masks), colours, batch (the rest), total
  jpeg_decode      milliseconds that OpenCV's libjpeg-turbo takes for these files alone, and the rate that this allows
  memory_mib       peak resident memory of a separate process: before the first batch, its growth, and the peak
  loaders          images per second by the clock for each number and kind of workers (--loaders)
  input, machine   description of the images and the machine; repetitions
"""


class Case(NamedTuple):
    """One way to make batches: `step(epoch, number)` makes a batch of one image."""

    step: Callable[[int, int], Any]
    passes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = KEYS
    add = parser.add_argument
    add("--images", type=cli.positive_int, default=16, metavar="N", help="number of scenes (default: %(default)s)")
    add("--repeat", type=cli.positive_int, default=5, metavar="N", help="number of repetitions (default: %(default)s)")
    add(
        "--loaders",
        type=cli.positive_int,
        nargs="+",
        default=[],
        metavar="N",
        help="also measure these numbers of loader threads and processes, on all cores, by the clock",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Measure, print the tables and return the figures."""
    logging.getLogger().setLevel(logging.WARNING)  # hides the summaries of the datasets
    with tempfile.TemporaryDirectory(prefix="benchmark") as name:
        folder = pathlib.Path(name)
        size = draw_images(folder, args.images)
        memory = {kind: _in_process(kind, folder) for kind in ("original", "polygons", "polygons_augmented", "rles")}
        loaders = [measure_loaders(folder, kind, count) for count in args.loaders for kind in WORKER_KINDS]
        cores = _pin()
        try:
            cases = {"original": Case(original_way(folder), 1)}
            for kind in ("polygons", "polygons_augmented", "rles", "rles_augmented"):
                cases[kind] = Case(make_maker(folder, kind).batch, PASSES)
            times = interleaved(cases, args.images, args.repeat)
            stages = {kind: split_time(folder, kind, times[kind]) for kind in cases if kind != "original"}
            decode = decode_alone(folder, args.repeat)
        finally:
            if cores:
                os.sched_setaffinity(0, cores)
    report = make_report(times, args)
    report |= {"milliseconds": stages, "jpeg_decode": decode, "memory_mib": memory, "loaders": loaders}
    report["input"] = {"images": args.images, "shape": [720, 1280], "objects": OBJECTS, "file_bytes": size}
    report["machine"] = {"processor": platform.machine(), "cores": os.cpu_count(), "pinned": bool(cores)}
    show(report)
    return report


# Input ---------------------------------------------------------------------------------------------------------------


def draw_images(folder: pathlib.Path, count: int) -> int:
    """Write scenes with exactly OBJECTS objects and files of about FILE_BYTES; return their mean size in bytes."""
    sizes: list[int] = []
    kept: dict[str, list] = {"polygons": [], "rles": []}
    for seed in range(100):
        drawn = folder / f"drawn{seed}"
        write_streets(drawn, train=2 * count, val=0, seed=seed)
        labels = {kind: json.loads((drawn / label_file(kind)).read_text()) for kind in kept}
        for frames in zip(*labels.values(), strict=True):
            if len(frames[0]["labels"]) < OBJECTS or len(sizes) == count:
                continue
            chosen = np.linspace(0, len(frames[0]["labels"]) - 1, OBJECTS).round().astype(int)
            for kind, frame in zip(kept, frames, strict=True):
                kept[kind].append({**frame, "labels": [frame["labels"][i] for i in chosen]})
            name = pathlib.Path("images/10k/train", frames[0]["name"])
            sizes.append(_write_jpeg(read_image(drawn / name), folder / name))
        if len(sizes) == count:
            break
    for kind, content in kept.items():
        (folder / label_file(kind)).parent.mkdir(parents=True)
        (folder / label_file(kind)).write_text(json.dumps(content))
    return round(statistics.mean(sizes))


def label_file(kind: str) -> str:
    return f"labels/ins_seg/{kind.removesuffix('_augmented')}/ins_seg_train.json"


def _write_jpeg(image: np.ndarray, path: pathlib.Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    encoded = [cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])[1] for quality in range(60, 99, 2)]
    data = min(encoded, key=lambda data: abs(len(data) - FILE_BYTES)).tobytes()
    path.write_bytes(data)
    return len(data)


def open_dataset(folder: pathlib.Path, kind: str) -> BDD100KDataset:
    dataset = BDD100KDataset()
    dataset.load_bdd100k(folder, "train", folder / label_file(kind))
    dataset.prepare()
    return dataset


# Ways to make a batch ------------------------------------------------------------------------------------------------


def make_maker(folder: pathlib.Path, kind: str) -> SampleMaker:
    """Return the maker of the batches of `mrcnn.data.loader.Loader`, with one image per batch."""
    dataset = open_dataset(folder, kind)
    config = BDD100KConfig().override([*SQUARE, *preset_settings("default" if kind.endswith("_augmented") else "none")])
    return SampleMaker(dataset, config, 1, len(dataset.image_ids), augmentation=Augmentation.from_config(config))


def original_way(folder: pathlib.Path) -> Callable[[int, int], Any]:
    dataset, loader = open_dataset(folder, "polygons"), OriginalLoader(BDD100KConfig().override(SQUARE))
    objects = [info["annotated"].objects for info in dataset.image_info]
    polygons = [[label.polygons for label in labels] for labels in objects]
    class_ids = [np.abs(dataset.load_class_ids(i)) for i in range(len(objects))]
    return lambda epoch, number: loader.batch(dataset.image_info[number]["path"], polygons[number], class_ids[number])


# Measurement ---------------------------------------------------------------------------------------------------------


def interleaved(cases: dict[str, Case], images: int, repeat: int) -> dict[str, np.ndarray]:
    """Return (CPU, wall) seconds per image of each case, float64 [repeat, 2]; every repetition runs all cases."""
    times: dict[str, list] = {name: [] for name in cases}
    for case in cases.values():
        case.step(repeat * PASSES, 0)  # loads modules and fills caches
    for number in range(repeat):
        for name, case in cases.items():
            cpu, wall = time.process_time(), time.perf_counter()
            for epoch in range(number * case.passes, (number + 1) * case.passes):
                for step in range(images):
                    case.step(epoch, step)
            done = case.passes * images
            times[name].append(((time.process_time() - cpu) / done, (time.perf_counter() - wall) / done))
    return {name: np.array(pairs) for name, pairs in times.items()}


def split_time(folder: pathlib.Path, kind: str, total: np.ndarray) -> dict[str, float]:
    """Return milliseconds of CPU time per image by stage; "batch" is the rest of the median."""
    maker = make_maker(folder, kind)
    spent: dict[str, list[float]] = {}
    for i in range(PASSES * len(maker.dataset.image_ids)):
        for stage, seconds in _stages(maker, i):
            spent.setdefault(stage, []).append(1000 * seconds)
    stages = {stage: statistics.mean(values) for stage, values in spent.items()}
    whole = 1000 * float(np.median(total[:, 0]))
    return {**stages, "batch": max(0.0, whole - sum(stages.values())), "total": whole}


def _stages(maker: SampleMaker, number: int) -> list[tuple[str, float]]:
    """Process one image step by step as `SampleMaker.sample` does, and return (stage, seconds) of each."""
    dataset, config, augmentation = maker.dataset, maker.config, maker.augmentation
    image_id, rng = number % len(dataset.image_ids), np.random.default_rng(number)
    clock = [time.process_time()]
    image = dataset.load_image(image_id)
    clock.append(time.process_time())
    instances = dataset.load_instances(image_id)
    clock.append(time.process_time())
    plan = resize_geometry(image.shape, config.IMAGE_MIN_DIM, config.IMAGE_MAX_DIM, None, config.IMAGE_RESIZE_MODE)
    placement = draw_placement(plan, image.shape, augmentation, rng)
    moulded = place_image(image, placement)
    clock.append(time.process_time())
    factors: tuple[float, float] = placement.factors
    offset: tuple[float, float] = placement.offset
    if placement.size != plan.size:
        instances, _, _ = warp_instances(instances, placement.matrix, placement.shape, augmentation.min_area)
        factors, offset = (1.0, 1.0), (0.0, 0.0)
    instances_to_mini(instances, config.MINI_MASK_SHAPE, factors, offset, placement.shape)
    clock.append(time.process_time())
    y1, x1, y2, x2 = placement.window
    relight(moulded[y1:y2, x1:x2], augmentation, rng)
    clock.append(time.process_time())
    return list(zip(("decode", "labels", "warp", "masks", "colours"), np.diff(clock).tolist(), strict=True))


def decode_alone(folder: pathlib.Path, repeat: int) -> dict[str, float]:
    """Return the CPU time of OpenCV's decoder for files in memory, a lower limit for loaders that decode each file."""
    files = [np.frombuffer(path.read_bytes(), np.uint8) for path in sorted(folder.glob("images/10k/train/*.jpg"))]
    rounds = []
    for _ in range(repeat):
        start = time.process_time()
        for data in files:
            cv2.imdecode(data, cv2.IMREAD_COLOR_RGB)
        rounds.append((time.process_time() - start) / len(files))
    seconds = statistics.median(rounds)
    return {"milliseconds": 1000 * seconds, "images_per_second": 1 / seconds}


def measure_loaders(folder: pathlib.Path, kind: str, count: int) -> dict[str, Any]:
    """Return images per second by the clock, augmented, with `count` workers."""
    maker = make_maker(folder, "polygons_augmented")
    prefetcher = Prefetcher(maker, count, kind)
    ahead = count + 2
    steps = [(epoch, step) for epoch in range(max(2, 96 // maker.steps)) for step in range(maker.steps)]
    try:
        for i in range(ahead):
            prefetcher.get(steps[i], steps[i + 1 : i + 1 + ahead])
        start = time.perf_counter()
        for i in range(ahead, len(steps)):
            prefetcher.get(steps[i], steps[i + 1 : i + 1 + ahead])
        seconds = time.perf_counter() - start
    finally:
        prefetcher.close()
    return {"loaders": count, "kind": kind, "images_per_second": (len(steps) - ahead) / seconds}


def _in_process(kind: str, folder: pathlib.Path) -> dict[str, float] | None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure_memory, (kind, folder))


def measure_memory(kind: str, folder: pathlib.Path) -> dict[str, float] | None:
    """Return the MiB of this process before its first batch, its growth and its peak; None if they are unknown."""
    cv2.setNumThreads(1)
    step = original_way(folder) if kind == "original" else make_maker(folder, kind).batch
    count = len(list(folder.glob("images/10k/train/*.jpg")))
    before = _peak_mib()
    for number in range(count):
        step(0, number)
    after = _peak_mib()
    return None if before is None or after is None else {"before": before, "growth": after - before, "peak": after}


def _peak_mib() -> float | None:
    """Return the peak of resident memory. On Linux, child processes inherit getrusage's value, so it is not used."""
    try:
        lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def _pin() -> set[int]:
    """Bind this process to one core and OpenCV to one thread; return the previous cores, or none if impossible."""
    cv2.setNumThreads(1)
    if not hasattr(os, "sched_setaffinity"):
        return set()
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    return cores


# Report --------------------------------------------------------------------------------------------------------------


def make_report(times: dict[str, np.ndarray], args: argparse.Namespace) -> dict[str, Any]:
    rates = {
        name: {clock: _spread(1 / pairs[:, column]) for column, clock in enumerate(("cpu", "wall"))}
        for name, pairs in times.items()
    }
    ratio = functools.partial(_ratio, times)
    return {
        "images_per_second_per_core": rates["polygons"]["cpu"]["median"],
        "images_per_second_per_core_augmented": rates["polygons_augmented"]["cpu"]["median"],
        "ratio_to_original": ratio("polygons"),
        "ratio_to_original_augmented": ratio("polygons_augmented"),
        "rates": rates,
        "repetitions": args.repeat,
    }


def _ratio(times: dict[str, np.ndarray], kind: str) -> float:
    return float(np.median(times["original"][:, 0] / times[kind][:, 0]))


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"median": float(np.median(values)), "least": float(values.min()), "most": float(values.max())}


def show(report: dict[str, Any]) -> None:
    """Print the figures as tables."""
    console, size = Console(soft_wrap=True), report["input"]["file_bytes"]
    console.print(
        f"{report['input']['images']} JPEGs of 720 x 1280, {size / 1000:.0f} KB and {OBJECTS} objects each "
        "-> 1024 x 1024, mini-masks 56 x 56; one process on one core"
    )
    table = _table("images per second", "of CPU time", "range", "by the clock", "range")
    for name, rate in report["rates"].items():
        cells = [f(rate[clock]) for clock in ("cpu", "wall") for f in (_median, _range)]
        table.add_row(name, *cells)
    console.print(table)
    console.print(
        f"CPU time of the original / ours: {report['ratio_to_original']:.1f}, augmented "
        f"{report['ratio_to_original_augmented']:.1f}"
    )
    stages = list(next(iter(report["milliseconds"].values())))
    table = _table("milliseconds (CPU)", *stages)
    for name, spent in report["milliseconds"].items():
        table.add_row(name, *(f"{spent[stage]:.2f}" for stage in stages))
    console.print(table)
    decode = report["jpeg_decode"]
    console.print(
        f"decoding these JPEGs alone takes {decode['milliseconds']:.2f} ms, which allows at most "
        f"{decode['images_per_second']:.0f} images per second"
    )
    for name, memory in report["memory_mib"].items():
        if memory:
            console.print(
                f"memory of a process, {name}: {memory['peak']:.0f} MiB, of which {memory['growth']:.0f} "
                "since the first batch"
            )
    for row in report["loaders"]:
        console.print(
            f"{row['loaders']} loaders ({row['kind']}), augmented: {row['images_per_second']:.0f} images "
            "per second by the clock"
        )


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for n, column in enumerate(columns):
        table.add_column(column, justify="right" if n else "left", no_wrap=n == 0)
    return table


def _median(spread: dict[str, float]) -> str:
    return f"{spread['median']:.1f}"


def _range(spread: dict[str, float]) -> str:
    return f"{spread['least']:.1f} - {spread['most']:.1f}"
