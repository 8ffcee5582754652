"""What the choices of a training are worth: the same training with one more of them in each line of a table.

  seed recipe        heads, then all layers at a tenth of the rate; flips; a square input
  + augmentation     --augment default: scale and crop, colours
  + class balance    --balance repeat-factor
  + larger backbone
  + rectangular      an input of the images' shape: nearly the pixels of the square, none of them padding

Each line is one call of scripts/train.py and one of scripts/evaluate.py, in a folder of its own in --out, with the
same data, seed and steps. A line that is done is not done again: the same command goes on after a stop. --size small is
for drawn street scenes on processors, from random weights with GroupNorm; large is for BDD100K on a GPU, from ImageNet
weights.
"""

import argparse
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from rich import box
from rich.console import Console
from rich.table import Table

from bdd100k.cli import open_dataset, positive_int
from mrcnn import comparison
from mrcnn.errors import InputError
from mrcnn.sampling import image_class_counts

SUMMARY = "the worth of augmentation, class balance, backbone and a rectangular input"
SCRIPTS = pathlib.Path(__file__).resolve().parent.parent
SCENES = {"train": 300, "val": 100, "seed": 11}
RARE = 3  # classes
KEYS = """\
keys of the JSON file:
  lines     for each line: "options" of scripts/train.py; "AP", "AP50" of masks with "interval" (95 %, over the images);
            "rare_AP", the mean over the rarest classes; "per_class"; "minutes" of training by the clock and
            "cpu_minutes" of all its threads; "difference" in AP to the line before it, with its "interval" and which of
            the two is "better" ("b": this one; null: the interval has 0 in it)
  rare      the rarest classes, with the number of their objects in the training images
  command   options of all lines
"""


class Size(NamedTuple):
    """Settings of all lines, and what the last two change."""

    options: tuple[str, ...]
    settings: tuple[str, ...]
    epochs: tuple[str, str]  # heads, all layers
    backbone: tuple[str, ...]
    rectangle: tuple[str, ...]


SIZES = {
    # Adam learns from random weights within the hour; its rate of 0.002 is for the heads, 0.0002 for all layers
    "small": Size(
        ("--config", "streets", "--weights", "none"),
        ("IMAGE_RESIZE_MODE=square", "IMAGE_MIN_DIM=448", "IMAGE_MAX_DIM=448", "TRAIN_BN=group", "STEPS_PER_EPOCH=100",
         "LEARNING_RATE=0.002", "VALIDATION_STEPS=0"),
        ("2", "12"),
        ("BACKBONE=resnet50",),
        ("IMAGE_RESIZE_MODE=rect", "IMAGE_MIN_DIM=320", "IMAGE_MAX_DIM=576"),
    ),
    "large": Size(
        ("--config", "bdd100k", "--weights", "imagenet"),
        ("IMAGES_PER_GPU=4", "STEPS_PER_EPOCH=500", "VALIDATION_STEPS=0"),
        ("4", "20"),
        ("BACKBONE=resnet101",),
        ("IMAGE_RESIZE_MODE=rect", "IMAGE_MIN_DIM=768", "IMAGE_MAX_DIM=1280"),
    ),
}  # fmt: skip


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of this benchmark."""
    parser.epilog = KEYS
    parser.add_argument("--data", metavar="DIR", help=f"BDD100K folder; without it {SCENES['train']} scenes are drawn "
                        f"to train on and {SCENES['val']} to evaluate")
    parser.add_argument("--size", choices=sorted(SIZES), default="small", help="default: %(default)s")
    parser.add_argument("--epochs", type=positive_int, nargs=2, metavar=("HEADS", "ALL"), help="default: small "
                        f"{' '.join(SIZES['small'].epochs)}, large {' '.join(SIZES['large'].epochs)}")
    parser.add_argument("--set", metavar="KEY=VALUE", action="append", default=[], dest="overrides",
                        help="another setting of all lines")
    parser.add_argument("--out", metavar="DIR", default="runs/ablation", help="default: %(default)s")


def lines(size: Size) -> dict[str, list[str]]:
    """Options of scripts/train.py by name of the line; each line has those of the lines before it."""
    steps = {
        "seed recipe": [],
        "+ augmentation": ["--augment", "default"],
        "+ class balance": ["--balance", "repeat-factor"],
        "+ larger backbone": _set(size.backbone),
        "+ rectangular": _set(size.rectangle),
    }
    found, options = {}, list[str]()
    for name, added in steps.items():
        options = options + added
        found[name] = options
    return found


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Trains, evaluates and prints; returns the figures."""
    size, out = SIZES[args.size], pathlib.Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    data = args.data or str(out / "streets")
    if not args.data:
        _call("streets.py", ["--out", data, *(f"--{name}={value}" for name, value in SCENES.items())], out)
    epochs = [str(count) for count in args.epochs or size.epochs]
    common = [*size.options, "--recipe", "seed", "--epochs", *epochs, "--val-images", "0", *_set(size.settings)]
    folders = []
    report: dict[str, Any] = {"command": [*common, *_set(args.overrides)], "rare": _rare(data), "lines": {}}
    for name, options in lines(size).items():
        folders.append(out / name.replace("+ ", "").replace(" ", "_"))
        # the user's settings come last, so that they hold in all lines
        spent = _train_and_evaluate(folders[-1], data, [*common, *options, *_set(args.overrides)])
        report["lines"][name] = line = {"options": options, **_figures(folders[-1], report["rare"]), **spent}
        if len(folders) > 1:
            before, now = map(comparison.read_run, folders[-2:])
            line["difference"] = comparison.compare(before, now)["mask"]["AP"]
        Console(stderr=True).print(f"{name}: mask AP {line['AP']:.4f}", highlight=False)
    show(report)
    return report


def _set(settings: Iterable[str]) -> list[str]:
    return [part for setting in settings for part in ("--set", setting)]


def _call(script: str, options: list[str], folder: pathlib.Path) -> None:
    """Run a script of this project; what it says goes into a file."""
    said = folder / f"{script}.log"
    with said.open("w") as file:
        done = subprocess.run([sys.executable, str(SCRIPTS / script), *options], stdout=file, stderr=file, check=False)
    if done.returncode:
        last = said.read_text().strip().splitlines()[-1:]
        raise InputError(f"{script} {' '.join(options)} ended with {done.returncode}, see {said}: {' '.join(last)}")


def _rare(data: str) -> dict[str, int]:
    """The classes with the fewest objects to train on, of those that have any: name -> objects."""
    dataset = open_dataset(data, "train")
    counts = dict(zip(dataset.class_names[1:], image_class_counts(dataset).sum(axis=0)[1:].tolist(), strict=True))
    return dict(sorted(((name, n) for name, n in counts.items() if n), key=lambda item: item[1])[:RARE])


def _train_and_evaluate(folder: pathlib.Path, data: str, options: list[str]) -> dict[str, float]:
    """Minutes of the training, which is done unless the folder has its evaluation."""
    done = folder / "ablation.json"
    if done.exists() and (record := json.loads(done.read_text()))["options"] == options:
        return record["spent"]
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    began, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    _call("train.py", ["--data", data, "--logs", str(folder / "logs"), *options], folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    spent = {"minutes": (time.monotonic() - began) / 60, "cpu_minutes": cpu / 60}
    checkpoint = max(folder.glob("logs/*/mask_rcnn_*_[0-9]*.h5"))
    _call("evaluate.py", ["--data", data, "--weights", str(checkpoint), "--out", str(folder)], folder)
    done.write_text(json.dumps({"options": options, "spent": spent}))
    return spent


def _figures(folder: pathlib.Path, rare: Iterable[str]) -> dict[str, Any]:
    """What evaluate.py wrote."""
    result = json.loads((folder / comparison.RESULT_FILE).read_text())
    per_class = {name: own["mask"]["AP"] for name, own in result["per_class"].items()}
    known = [per_class[name] for name in rare if per_class.get(name) is not None]  # None: no object to be found
    return {
        "AP": result["mask"]["AP"], "AP50": result["mask"]["AP50"], "interval": result["intervals"]["mask"]["AP"],
        "rare_AP": sum(known) / len(known) if known else None, "per_class": per_class,
    }  # fmt: skip


def show(report: dict[str, Any]) -> None:
    """Print the table."""
    rare = ", ".join(f"{name} {count}" for name, count in report["rare"].items())
    table = Table(title=f"mask AP in %; rare: {rare} objects", box=box.SIMPLE)
    for column in ("", "AP", "AP50", "against the line above", "AP rare", "minutes", "CPU minutes"):
        table.add_column(column, justify="right" if column else "left")
    for name, line in report["lines"].items():
        low, high = line["interval"]
        table.add_row(
            name, f"{100 * line['AP']:.1f} ({100 * low:.1f} to {100 * high:.1f})", f"{100 * line['AP50']:.1f}",
            _against(line.get("difference")), "" if line["rare_AP"] is None else f"{100 * line['rare_AP']:.1f}",
            f"{line['minutes']:.1f}", f"{line['cpu_minutes']:.1f}",
        )  # fmt: skip
    Console(width=max(Console().width, 100)).print(table)


def _against(difference: dict[str, Any] | None) -> str:
    if difference is None:
        return ""
    low, high = difference["interval"]
    return f"{100 * difference['difference']:+.1f} ({100 * low:+.1f} to {100 * high:+.1f})"
