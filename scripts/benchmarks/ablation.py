"""Measure the gain of each choice in a training recipe: repeat a training run, adding one choice per line of a table.

  seed recipe        heads, then all layers at a tenth of the rate; flips; a square input
  + augmentation     --augment default: scale and crop, colours
  + class balance    --balance repeat-factor
  + larger backbone
  + rectangular      an input of the images' shape: nearly as many pixels as the square, without padding

With --lines variants the choices are what other projects do otherwise than Matterport (mrcnn/variants.py):

  + aligned ROIAlign          2 x 2 samples in each cell, where the pixels are
  + proposals per level       1,000 anchors of each level, suppression within it
  + labelled boxes            among the proposals that the heads are trained on
  + every class a candidate   in detection, instead of the best one
  + box head of convolutions  four and a dense layer, instead of two dense layers
  + hard examples             OHEM of the ROIs

Each line is one call of scripts/train.py and one of scripts/evaluate.py in a folder of its own in --out, with the same
data, seed and steps. A choice that lowers mask AP is left out of the lines after it. To resume, run the same command
again; finished lines are not repeated.

--size small trains on drawn street scenes on CPUs, starting from the shipped weights. Its larger backbone is the
shipped one at twice the width with the same outputs (Net2Net, Chen et al. 2016, arXiv:1511.05641). --size large trains
on BDD100K on a GPU, starting from ImageNet weights.
"""

import argparse
import json
import logging
import pathlib
import re
import resource
import shutil
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.cli import add_set_argument, positive_int
from bdd100k.open_data import open_dataset
from mrcnn.data.class_balance import image_class_counts
from mrcnn.evaluation import comparison

from .common import as_options, call_script, square

SUMMARY = "gain in AP from the choices of a training recipe, or from what other projects do"
SCENES = {"train": 300, "val": 100, "seed": 11}
RARE = 3  # number of classes counted as rare
KEYS = """\
keys of the JSON file:
  lines     for each line: "options" of scripts/train.py; "AP", "AP50" of masks with "interval" (95 %, over the images);
            "rare_AP", the mean over the rarest classes; "per_class"; "minutes" of training by the clock and
            "cpu_minutes" of all its threads; "difference" in AP from the last line that was kept, with its "interval"
            and which of the two is "better" ("b": this one; null: the interval contains 0); "kept"
  rare      the rarest classes, with the number of their objects in the training images
  command   options common to all lines
"""


class Size(NamedTuple):
    """The options of all lines, and the settings that the last two lines add."""

    options: tuple[str, ...]
    settings: tuple[str, ...]
    epochs: tuple[str, str]  # heads, all layers
    backbone: tuple[str, ...]
    rectangle: tuple[str, ...]


SIZES = {
    "small": Size(
        ("--config", "streets", "--weights", "streets"),
        (*square(448), "VALIDATION_STEPS=0"),
        ("1", "4"),
        ("BACKBONE_WIDTH=64",),
        ("IMAGE_RESIZE_MODE=rect", "IMAGE_MIN_DIM=320", "IMAGE_MAX_DIM=576"),
    ),
    "large": Size(
        ("--config", "bdd100k", "--weights", "imagenet"),
        (*square(1024), "IMAGES_PER_GPU=4", "STEPS_PER_EPOCH=500", "VALIDATION_STEPS=0"),
        ("4", "20"),
        ("BACKBONE=resnet101",),
        ("IMAGE_RESIZE_MODE=rect", "IMAGE_MIN_DIM=768", "IMAGE_MAX_DIM=1280"),
    ),
}


VARIANTS = {
    "+ aligned ROIAlign": ("ROI_SAMPLING_RATIO=2", "ROI_ALIGNED=True"),
    "+ proposals per level": ("RPN_PER_LEVEL=True", "PRE_NMS_LIMIT=1000"),
    "+ labelled boxes": ("PROPOSAL_APPEND_GT=True",),
    "+ every class a candidate": ("DETECTION_EVERY_CLASS=True",),
    "+ box head of convolutions": ("BOX_HEAD_CONVS=4", "BOX_HEAD_FCS=1"),
    "+ hard examples": ("ROI_OHEM=True",),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.epilog = KEYS
    parser.add_argument(
        "--data",
        metavar="DIR",
        help=f"BDD100K folder; by default {SCENES['train']} scenes are drawn for training "
        f"and {SCENES['val']} for evaluation",
    )
    parser.add_argument(
        "--size", choices=sorted(SIZES), default="small", help="scale of the runs (default: %(default)s)"
    )
    parser.add_argument(
        "--lines",
        choices=("recipe", "variants"),
        default="recipe",
        help="choices to measure: of the training recipe, or what other projects do (default: %(default)s)",
    )
    parser.add_argument(
        "--epochs",
        type=positive_int,
        nargs=2,
        metavar=("HEADS", "ALL"),
        help="epochs of the two stages (default: "
        f"small {' '.join(SIZES['small'].epochs)}, large {' '.join(SIZES['large'].epochs)})",
    )
    add_set_argument(parser, "override a setting of all lines")
    parser.add_argument("--out", metavar="DIR", default="runs/ablation", help="output folder (default: %(default)s)")


def choices(size: Size, out: pathlib.Path, lines: str) -> dict[str, list[str]]:
    """Return the options of scripts/train.py that each line adds; `lines` is that of the command line."""
    if lines == "variants":
        return {"seed recipe": [], **{name: as_options(settings) for name, settings in VARIANTS.items()}}
    from mrcnn.modeling.pretrained import (
        fetch,
    )  # imported here because Keras takes 800 MiB and other benchmarks measure memory

    backbone = as_options(size.backbone)
    if size is SIZES["small"]:
        backbone += ["--weights", str(widen(fetch("streets"), out / "streets_wide.h5"))]
    return {
        "seed recipe": [],
        "+ augmentation": ["--augment", "default"],
        "+ class balance": ["--balance", "repeat-factor"],
        "+ larger backbone": backbone,
        "+ rectangular": as_options(size.rectangle),
    }


def widen(source: pathlib.Path, target: pathlib.Path, noise: float = 0.01) -> pathlib.Path:
    """Write weights with every channel of the backbone duplicated, so that the network computes the same (Net2Net).

    The weights of a layer that reads duplicated channels are halved. Factors of 1 +- `noise` let the copies diverge
    during training.

    Returns:
        `target`.
    """
    from mrcnn.modeling.weights import read_layers, write_layers

    rng = np.random.default_rng(0)
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name, arrays in read_layers(source).items():
        backbone, reads = re.match(r"(conv1|bn_conv1|res\d|bn\d)", name), re.match(r"(res\d|fpn_c\d)", name)
        layers[name] = {}
        for number, array in enumerate(arrays):
            if array.ndim == 4 and reads:
                array = np.concatenate([array, array], axis=2) / 2
            if backbone:
                array = np.concatenate([array, array], axis=-1)
            if array.ndim == 4 and backbone:
                array = array * rng.normal(1, noise, array.shape)
            layers[name][f"{name}/{number}:0"] = array.astype(np.float32)
    write_layers(target, layers)
    return target


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and evaluate all lines, print the table and return the figures."""
    size, out = SIZES[args.size], pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    data = args.data or str(out / "streets")
    if not args.data:
        call_script("streets.py", ["--out", data, *(f"--{name}={value}" for name, value in SCENES.items())], out)
    epochs = [str(count) for count in args.epochs or size.epochs]
    common = [*size.options, "--recipe", "seed", "--epochs", *epochs, "--val-images", "0", *as_options(size.settings)]
    own = as_options(args.overrides)  # the user's settings come last and take precedence
    report: dict[str, Any] = {"command": [*common, *own], "rare": _rare(data), "lines": {}}
    kept: list[str] = []
    best: comparison.StoredEvaluation | None = None
    for name, added in choices(size, out, args.lines).items():
        folder = out / name.replace("+ ", "").replace(" ", "_")
        spent = _train_and_evaluate(folder, data, [*common, *kept, *added, *own])
        this = comparison.read_evaluation(folder)
        report["lines"][name] = line = {"options": [*kept, *added], **_figures(this, report["rare"]), **spent}
        if best is not None:
            line["difference"] = comparison.compare(best, this).to_json()["mask"]["AP"]
        line["kept"] = best is None or line["difference"]["difference"] >= 0
        if line["kept"]:
            kept, best = line["options"], this
        logging.getLogger("bdd100k").info("%s: mask AP %.4f", name, line["AP"])
    show(report)
    return report


def _rare(data: str) -> dict[str, int]:
    """Return the classes with the fewest training objects, but at least one: name -> number of objects."""
    dataset = open_dataset(data, "train")
    counts = dict(zip(dataset.class_names[1:], image_class_counts(dataset).sum(axis=0)[1:].tolist(), strict=True))
    return dict(sorted(((name, n) for name, n in counts.items() if n), key=lambda item: item[1])[:RARE])


def _train_and_evaluate(folder: pathlib.Path, data: str, options: list[str]) -> dict[str, float]:
    """Train and evaluate, unless the folder already holds the result; return the minutes of the training."""
    done = folder / "ablation.json"
    if done.exists() and (record := json.loads(done.read_text()))["options"] == options:
        return record["spent"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    call_script("train.py", ["--data", data, "--logs", str(folder / "logs"), *options], folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    spent = {"minutes": (time.monotonic() - began) / 60, "cpu_minutes": cpu / 60}
    checkpoint = max(folder.glob("logs/*/mask_rcnn_*_[0-9]*.h5"))
    call_script("evaluate.py", ["--data", data, "--weights", str(checkpoint), "--out", str(folder)], folder)
    done.write_text(json.dumps({"options": options, "spent": spent}))
    return spent


def _figures(run: comparison.StoredEvaluation, rare: Iterable[str]) -> dict[str, Any]:
    """Return the figures that evaluate.py computed."""
    result = run.result
    per_class = {name: own["mask"]["AP"] for name, own in result["per_class"].items()}
    known = [per_class[name] for name in rare if per_class.get(name) is not None]  # None: no labelled object
    return {
        "AP": result["mask"]["AP"],
        "AP50": result["mask"]["AP50"],
        "interval": result["intervals"]["mask"]["AP"],
        "rare_AP": sum(known) / len(known) if known else None,
        "per_class": per_class,
    }


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    rare = ", ".join(f"{name} {count}" for name, count in report["rare"].items())
    title = f"mask AP in %, gain over the last line that was kept, 95 % intervals; rare classes (objects): {rare}"
    table = Table(title=title, box=box.SIMPLE)
    for column in ("", "AP", "AP50", "gain", "AP rare", "minutes", "CPU minutes"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name, line in report["lines"].items():
        low, high = line["interval"]
        table.add_row(
            name if line["kept"] else f"{name} (not kept)",
            f"{100 * line['AP']:.1f} ({100 * low:.1f} to {100 * high:.1f})",
            f"{100 * line['AP50']:.1f}",
            _gain(line.get("difference")),
            "" if line["rare_AP"] is None else f"{100 * line['rare_AP']:.1f}",
            f"{line['minutes']:.1f}",
            f"{line['cpu_minutes']:.1f}",
        )
    Console(width=max(Console().width, 120)).print(table)


def _gain(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return ""
    low, high = difference["interval"]
    return f"{100 * difference['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
