"""Measure the accuracy that our Mask R-CNN and torchvision's reach from the same training.

Both start from the same backbone (heads are random, each as its project initialises them, from one seed), see the very
same batches of our loader, and train the same layers (all but stem and res2, BatchNorm frozen) with the same schedule:
optimizer, rate, warm-up, momentum and clipping. Weight decay is 0.0001 in both; torchvision's also decays biases. Our
evaluator measures both on the same validation images; intervals are 95 % over the images, and those of the differences
are paired. By default ours has the settings of the preset "torchvision", so that both are the same model; --preset and
--set give ours another. Settings of images, batches and the schedule apply to both.

--size small trains ResNet-18 with narrow heads at 320 x 576 on drawn street scenes on CPUs, from the backbone of the
shipped weights at twice the width (see ablation). --size large trains ResNet-50 at 768 x 1280 on BDD100K on a GPU, from
ImageNet weights.

Without --against torchvision, ours is trained and evaluated alone. To resume, run the same command again; what is
finished in --out is not repeated.
"""

import argparse
import json
import pathlib
import resource
import shutil
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k import cli
from mrcnn.errors import InputError
from mrcnn.evaluation import comparison
from mrcnn.files import write_json
from mrcnn.variants import PRESET_NAMES

from . import torchvision_model
from .ablation import SCENES, widen
from .common import as_options, call_script
from .torchvision_training import DETECTIONS, Job

SUMMARY = "accuracy of our model and torchvision's, trained on the same batches from the same backbone"
KEYS = """\
keys of the JSON file:
  ours, torchvision  "mask", "box": "AP", "AP50" with their "interval" (95 %, over the images); "minutes" of training by
                     the clock and "cpu_minutes" of all its threads; torchvision's
                     include detection in the validation images
  difference         "mask", "box": "AP", "AP50": ours - torchvision's, with its "interval" (paired) and which is
                     "better" (null: the interval contains 0)
  images             number of validation images
  command            options of our training
"""
FIGURES = ("AP", "AP50")


class Size(NamedTuple):
    """The scale of a comparison: settings of both models and of their training."""

    config: str
    settings: tuple[str, ...]
    steps: int
    batch: int
    learning_rate: float


COMMON = ("OPTIMIZER=sgd", "TRUE_WEIGHT_DECAY=True", "TRAIN_BN=False", "VALIDATION_STEPS=0", "IMAGE_RESIZE_MODE=rect")
SIZES = {
    "small": Size(
        "streets",
        (
            *COMMON,
            *("BACKBONE_WIDTH=64", "RPN_CHANNELS=64", "RPN_ANCHOR_SCALES=(12, 24, 48, 96, 192)"),
            *("IMAGE_MIN_DIM=320", "IMAGE_MAX_DIM=576", "TRAIN_ROIS_PER_IMAGE=128", "WARMUP_STEPS=50"),
            *("POST_NMS_ROIS_TRAINING=500", "POST_NMS_ROIS_INFERENCE=400"),
        ),
        1000,
        2,
        0.01,
    ),
    "large": Size(
        "bdd100k",
        (
            *COMMON,
            *("BACKBONE=resnet50", "RPN_ANCHOR_SCALES=(16, 32, 64, 128, 256)"),
            *("IMAGE_MIN_DIM=768", "IMAGE_MAX_DIM=1280", "WARMUP_STEPS=500"),
        ),
        20_000,
        4,
        0.005,
    ),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.epilog = KEYS
    parser.add_argument(
        "--against", choices=["torchvision"], help="also train this library's model (needs pip install '.[benchmark]')"
    )
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help="scale (default: %(default)s)")
    parser.add_argument(
        "--data",
        metavar="DIR",
        help=f"BDD100K folder, needed for large; for small, {SCENES['train']} scenes are drawn for training and "
        f"{SCENES['val']} for evaluation",
    )
    parser.add_argument(
        "--backbone-weights",
        metavar="FILE",
        help="start from this ResNet of torchvision, a file or a name that scripts/weights.py lists",
    )
    _add_training_arguments(parser)
    parser.add_argument("--out", metavar="DIR", default="runs/accuracy", help="output folder (default: %(default)s)")


def _add_training_arguments(parser: argparse.ArgumentParser) -> None:
    for option, field, kind in (
        ("--steps", "steps", cli.positive_int),
        ("--batch", "batch", cli.positive_int),
        ("--learning-rate", "learning_rate", cli.learning_rate),
    ):
        defaults = ", ".join(f"{name} {getattr(size, field)}" for name, size in SIZES.items())
        parser.add_argument(option, type=kind, metavar="N", help=f"{option[2:]} of the training (default: {defaults})")
    parser.add_argument(
        "--val-images", type=cli.positive_int, metavar="N", help="number of validation images (default: all)"
    )
    parser.add_argument("--seed", type=cli.seed_number, default=0, help="seed of weights, order and augmentation")
    parser.add_argument(
        "--preset", choices=PRESET_NAMES, default="torchvision", help="preset of our model (default: %(default)s)"
    )
    cli.add_set_argument(parser, "override a setting of our model")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate, print the table and return the figures."""
    if args.against:
        torchvision_model.refuse_without()
    if args.size == "large" and not args.data:
        raise InputError("--size large trains on BDD100K: give its folder with --data")
    cli.refuse_settings(args.overrides)
    out = pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    data = args.data or str(out / "streets")
    if not args.data:
        call_script("streets.py", ["--out", data, *(f"--{name}={value}" for name, value in SCENES.items())], out)
    job = _job(args, data, str(starting_backbone(args, out)))
    options = _options(job)
    minutes = {"ours": _ours(out / "ours", options, job)}
    if args.against:
        minutes["torchvision"] = _theirs(job, options)
    runs = {name: comparison.read_evaluation(out / name / "evaluation") for name in minutes}
    report = {**figures(runs), "command": options}
    for name, spent in minutes.items():
        report[name] |= spent
    show(report)
    return report


def starting_backbone(args: argparse.Namespace, out: pathlib.Path) -> pathlib.Path:
    """Return the file of torchvision's ResNet that both models start from.

    Raises:
        InputError: it is missing, or cannot be fetched.
    """
    # imported here because Keras takes 800 MiB and other benchmarks measure memory
    from mrcnn.foreign.torch_writer import write_torch
    from mrcnn.modeling.pretrained import fetch

    given = args.backbone_weights or ("imagenet-resnet50-v1" if args.size == "large" else None)
    if given:
        return pathlib.Path(cli.find_weights(given, "logs", None) or given)
    path = out / "backbone.pth"
    if not path.exists():
        write_torch(path, streets_backbone(widen(fetch("streets"), out / "streets_wide.h5")))
    return path


def streets_backbone(path: pathlib.Path) -> dict[str, Any]:
    """Return the backbone of weights for the drawn streets, under the names of torchvision's ResNet-18."""
    from bdd100k.config import StreetsConfig
    from mrcnn.foreign.export import backbone_to_torchvision
    from mrcnn.modeling.weights import read_layers

    kinds = {1: ("kernel",), 2: ("kernel", "bias"), 4: ("gamma", "beta", "moving_mean", "moving_variance")}
    layers = {
        name: dict(zip(kinds[len(arrays)], arrays, strict=True)) for name, arrays in read_layers(path).items() if arrays
    }
    return backbone_to_torchvision(layers, StreetsConfig())


def _job(args: argparse.Namespace, data: str, start: str) -> Job:
    size = SIZES[args.size]
    own = (
        f"STEPS_PER_EPOCH={args.steps or size.steps}",
        f"IMAGES_PER_GPU={args.batch or size.batch}",
        f"SEED={args.seed}",
        *args.overrides,
    )
    rate = args.learning_rate or size.learning_rate
    folder = pathlib.Path(args.out) / "torchvision"
    return Job(data, size.config, args.preset, size.settings, own, rate, start, folder, args.val_images)


def _options(job: Job) -> list[str]:
    """Return the options of scripts/train.py for our model."""
    return [
        *("--data", job.data, "--config", job.config, "--preset", job.preset, "--weights", job.start),
        *("--stage", "3+", "--epochs", "1", "--learning-rate", str(job.learning_rate), "--val-images", "0"),
        *as_options([*job.size, *job.overrides]),
    ]


def _ours(folder: pathlib.Path, options: list[str], job: Job) -> dict[str, float]:
    """Train and evaluate our model in `folder`; return the minutes of the training."""
    spent = _once(folder, options, lambda: call_script("train.py", ["--logs", str(folder / "logs"), *options], folder))
    checkpoint = max(folder.glob("logs/*/mask_rcnn_*_[0-9]*.h5"))
    _evaluate(folder, job, ["--weights", str(checkpoint)])
    return spent


def _theirs(job: Job, options: list[str]) -> dict[str, float]:
    """Train torchvision's model and evaluate it; return the minutes of the training."""
    spent = _once(job.folder, options, job.in_own_process)
    _evaluate(job.folder, job, ["--predictions", str(job.folder / DETECTIONS)])
    return spent


def _once(folder: pathlib.Path, options: list[str], train: Callable[[], None]) -> dict[str, float]:
    """Train in a new folder, unless it holds the same training; return its minutes."""
    done = folder / "training.json"
    if done.exists() and (record := json.loads(done.read_text()))["options"] == options:
        return record["spent"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    train()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    spent = {"minutes": (time.monotonic() - began) / 60, "cpu_minutes": cpu / 60}
    write_json(done, {"options": options, "spent": spent})
    return spent


def _evaluate(folder: pathlib.Path, job: Job, source: list[str]) -> None:
    limit = ["--limit", str(job.val_images)] if job.val_images else []
    out = str(folder / "evaluation")
    call_script("evaluate.py", ["--data", job.data, *source, *limit, "--no-report", "--out", out], folder)


def figures(runs: dict[str, comparison.StoredEvaluation]) -> dict[str, Any]:
    """Return the figures of "ours" and, if it was trained, "torchvision", with their difference."""
    report: dict[str, Any] = {"images": len(runs["ours"].stored.images)}
    for name, evaluated in runs.items():
        result = evaluated.result
        report[name] = {
            kind: {f: {"value": result[kind][f], "interval": result["intervals"][kind][f]} for f in FIGURES}
            for kind in ("mask", "box")
        }
    if "torchvision" in runs:
        compared = comparison.compare(runs["torchvision"], runs["ours"]).to_json()
        names = {"a": "torchvision", "b": "ours", None: None}
        report["difference"] = {
            kind: {
                f: {
                    "value": compared[kind][f]["difference"],
                    "interval": compared[kind][f]["interval"],
                    "better": names[compared[kind][f]["better"]],
                }
                for f in FIGURES
            }
            for kind in ("mask", "box")
        }
    return report


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    title = f"AP in % of {report['images']} images, 95 % intervals; the difference is paired"
    table = Table(title=title, box=box.SIMPLE)
    for column in ("", *(f"{kind} {figure}" for kind in ("mask", "box") for figure in FIGURES), "minutes", "CPU"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name in ("ours", "torchvision", "difference"):
        if row := report.get(name):
            sign = "+" if name == "difference" else ""
            cells = [_in_words(row[kind][figure], sign) for kind in ("mask", "box") for figure in FIGURES]
            spent = [f"{row[key]:.1f}" if key in row else "" for key in ("minutes", "cpu_minutes")]
            table.add_row(name, *cells, *spent)
    Console(width=max(Console().width, 130)).print(table)


def _in_words(figure: dict[str, Any], sign: str) -> str:
    """Format a figure in per cent with its interval; empty where it is undefined."""
    if figure["value"] is None:
        return ""
    value = f"{100 * figure['value']:{sign}.1f}"
    if figure["interval"] is None:
        return value
    low, high = figure["interval"]
    return f"{value} ({100 * low:{sign}.1f} to {100 * high:{sign}.1f})"
