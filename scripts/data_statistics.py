#!/usr/bin/env python3
"""Compute and plot statistics of a dataset: classes, sizes, attributes, class balancing, and the fit of the anchors."""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bdd100k import cli, open_data
from bdd100k.report.tables import plain
from mrcnn.files import make_folder, write_json
from mrcnn.inspection.statistics import SIZES
from mrcnn.text import printable

FEW = 1000  # anchors fitted to fewer objects may not suit other data

_TEACH = """\
Writes to --out:
  statistics.json   every figure
  classes.png       objects of each class by size, and the share of each class in training for each BALANCE
  objects.png       objects per image; sizes of objects with COCO's limits (mask areas of 32 x 32 and 96 x 96 pixels)
  attributes.png    BDD100K only: weather, scene, time of day; occluded and truncated objects of each class
  anchors.png       objects at the training size with the anchors, and the IoU of the objects with their best anchors

Anchors: an object is learned well if some anchor has an IoU of at least 0.7 with it; otherwise only its single best
anchor counts as positive. The table shows the mean of the best IoU and the fractions of objects above 0.5 and 0.7, for
the current settings and for the proposed scales and ratios, followed by the --set options that use the proposal. Give
them in training and in evaluation. The number of anchors stays the same, so published weights still load, but the RPN
must learn the new anchors. Use --set to try another image size or other anchors.

examples:
  python scripts/data_statistics.py --data DIR --split train --out runs/statistics
  python scripts/data_statistics.py --data DIR --set IMAGE_MAX_DIM=1280 --set IMAGE_MIN_DIM=768
  python scripts/data_statistics.py                                   # the embedded street scenes
"""


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(
        description=__doc__, epilog=_TEACH, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "--data",
        metavar="DIR",
        help="folder with images and labels, as for train.py; by default the embedded street scenes are used",
    )
    cli.add_classes_argument(parser)
    cli.add_max_pixels_argument(parser)
    add("--split", default="train", help="train, val or test (default: %(default)s)")
    add("--out", metavar="FOLDER", default="runs/statistics", help="output folder (default: %(default)s)")
    add("--config", choices=sorted(cli.CONFIGS), help="settings to start from (default: as for train.py)")
    add(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        dest="overrides",
        help="change one setting; may be repeated",
    )
    cli.add_settings_help(parser)
    add("--rectangles", action="store_true", help="fill the boxes of objects that have no mask")
    add("--limit", type=cli.positive_int, metavar="N", help="use only the first N images")
    return parser.parse_args()


def show(figures: dict[str, Any], console: Console) -> None:
    """Print the main figures as tables."""
    per_image, sizes = figures["objects_per_image"], figures["sizes"]
    total = max(1, figures["objects"])
    console.print(
        f"{figures['images']} images, {figures['objects']} objects (plus {figures['left_out']} crowd or ignored); "
        f"per image: mean {per_image['mean']:.2f}, median {per_image['median']:g}, maximum {per_image['most']}; "
        + ", ".join(f"{size} {sizes[size] / total:.0%}" for size in SIZES)
    )
    classes = Table("class", box=None, pad_edge=False)
    for title in ("objects", "images", "share", *(f"share, {name}" for name in figures["balancing"] if name != "none")):
        classes.add_column(title, justify="right")
    for name, entry in figures["classes"].items():
        shares = [f"{setting['shares'][name]:.1%}" for setting in figures["balancing"].values()]
        classes.add_row(plain(name), str(entry["objects"]), str(entry["images"]), *shares)
    console.print(classes)
    anchors, proposal = figures["anchors"], figures["anchors"]["proposal"]
    fits = Table("best anchor IoU", box=None, pad_edge=False)
    for title in ("objects", "mean", "0.5 or more", "0.7 or more"):
        fits.add_column(title, justify="right")
    for name, now in anchors["fit"].items():
        if now is not None:
            better = proposal["fit"][name] if proposal else None
            fits.add_row(
                plain(name), str(now["objects"]), *(_change(now, better, key) for key in now if key != "objects")
            )
    console.print(fits)
    if proposal:
        console.print(
            f"better anchors (-> above): {proposal['options']}", highlight=False, markup=False, soft_wrap=True
        )
        if total < FEW:
            console.print(f"these were fitted to only {total} objects; use a few hundred images for a reliable result")
    else:
        console.print("found no better anchors; keep RPN_ANCHOR_SCALES and RPN_ANCHOR_RATIOS")


def _change(now: dict, better: dict | None, key: str) -> str:
    return f"{now[key]:.3f}" + (f" -> {better[key]:.3f}" if better else "")


def main() -> None:
    args = parse_arguments()
    cli.refuse_settings(args.overrides)
    config = cli.build_config(args.config, args.data, None, args.overrides, args.classes)
    dataset = open_data.open_dataset(
        args.data, args.split, args.limit, rectangles=args.rectangles, classes=args.classes, max_pixels=args.max_pixels
    )
    out = make_folder(args.out)

    from bdd100k.statistics import write_statistics

    progress = Console(stderr=True)
    figures = write_statistics(
        dataset, config, out, lambda ids: track(ids, "reading labels", console=progress, transient=True)
    )
    content = {"data": args.data or "embedded street scenes", "split": args.split, **figures}
    write_json(out / "statistics.json", content, indent=1)
    show(figures, Console())
    files = sorted(p.name for p in out.iterdir() if not p.name.startswith("."))
    print(printable(f"written to {out}: {', '.join(files)}"))


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
