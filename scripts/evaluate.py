#!/usr/bin/env python3
"""Evaluate weights, or predictions made earlier, on a labelled data set.

  python scripts/evaluate.py --data DIR --weights last                 # the newest checkpoint in --logs
  python scripts/evaluate.py --data DIR --predictions FILE             # COCO results of any program
  python scripts/evaluate.py                                           # the embedded street scenes

Writes to --out: results.json (all figures), predictions.json (COCO results; --predictions reads them again and gives
the same figures), pr_curve.png, samples.png (the worst, the median and the best images).
"""

import argparse
import logging
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from rich import box
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bdd100k import cli, splits
from mrcnn.errors import InputError

log = logging.getLogger("bdd100k")

FIGURES = ("AP", "AP50", "AP75", "AP_S", "AP_M", "AP_L", "AR100")
PER_CLASS = ("AP", "AP50", "AP75")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_common_arguments(parser)
    parser.add_argument("--split", default="val", help="train, val or test, the images that --hold-out listed "
                        "(default: %(default)s)")
    parser.add_argument("--weights", default="last", metavar="NAME", help="last (newest checkpoint in --logs), streets "
                        "(shipped), or a path (default: %(default)s)")
    parser.add_argument("--predictions", metavar="FILE", help="evaluate this COCO results file; no model is run")
    parser.add_argument("--out", metavar="DIR", default="runs/evaluation", help="default: %(default)s")
    parser.add_argument("--samples", type=cli.positive_int, default=6, metavar="N", help="images in samples.png "
                        "(default: %(default)s)")
    splits.add_arguments(parser)
    return parser.parse_args()


def build_model(args: argparse.Namespace, class_names: list[str]) -> tuple[Any, str]:
    """The model with its weights, and their path; it must have been trained on these classes."""
    checkpoint = cli.find_weights(args.weights, args.logs, cli.config_class(args.config, args.data).NAME)
    if checkpoint is None:
        raise InputError(f"--weights {args.weights} is an untrained model; give last, streets or a path of an .h5 file")
    cli.refuse_other_classes(checkpoint, class_names)
    config = cli.build_config(args.config, args.data, checkpoint, args.overrides)
    cli.follow_classes(config, class_names)
    if config.DETECTION_MIN_CONFIDENCE > 0.05:
        log.warning("only detections with a score >= %g are evaluated, which lowers AP; usual is --set "
                    "DETECTION_MIN_CONFIDENCE=0.05", config.DETECTION_MIN_CONFIDENCE)

    from mrcnn.model import MaskRCNN

    model = MaskRCNN("inference", config, args.logs)
    model.load_weights(checkpoint, by_name=True)
    return model, checkpoint


def figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def show(result: Any, console: Console) -> None:
    """Prints the summary and the classes."""
    console.print(f"{result.images} images, {result.objects} objects (and {result.ignored} crowd or ignored), "
                  f"{result.detections} detections")
    summary, classes = _table("", *FIGURES), _table("class", "truth", "found", *(
        f"{kind} {key}" for kind in ("mask", "box") for key in PER_CLASS))
    for kind in ("mask", "box"):
        summary.add_row(kind, *(figure(getattr(result, kind)[key]) for key in FIGURES))
    for name, c in result.per_class.items():
        figures = [figure(c[kind][key]) for kind in ("mask", "box") for key in PER_CLASS]
        classes.add_row(name, str(c["objects"]), str(c["detections"]), *figures)
    console.print(summary, classes)
    console.print(f"Matterport mAP50 (per image, classes pooled): {figure(result.matterport['mAP50'])}")


def _table(*columns: str) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    for n, column in enumerate(columns):
        table.add_column(column, justify="right" if n else "left", no_wrap=n == 0)
    return table


def main() -> None:
    args = parse_arguments()
    out = pathlib.Path(args.out)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out {out}: cannot make this folder: {error.strerror}") from error
    cli.hold_out(args.data, args.hold_out, args.split_file, args.rectangles)
    if args.predictions:
        # All images are known to the check of the file, and --limit chooses among them.
        dataset = cli.open_dataset(args.data, args.split, None, args.split_file, args.rectangles)
        source, origin, batch_size = args.predictions, {"predictions": args.predictions}, 1
    else:
        dataset = cli.open_dataset(args.data, args.split, args.limit, args.split_file, args.rectangles)
        source, path = build_model(args, dataset.class_names)
        origin, batch_size = {"weights": path, "settings": source.config.to_dict()}, source.config.BATCH_SIZE

    from mrcnn.drawing import samples_sheet, write_png
    from mrcnn.evaluation import evaluate
    from mrcnn.plots import plot_pr_curves
    from mrcnn.predictions import write_json

    errors = Console(stderr=True)
    result = evaluate(source, dataset, dataset.image_ids[:args.limit], batch_size,
                      lambda batches: track(batches, "detecting", console=errors))
    write_json(out / "predictions.json", result.predictions)
    evaluated = {"data": args.data or "embedded street scenes", "split": args.split, **origin}
    held_out = splits.find_list(args.data or cli.STREETS_DIR, args.split_file)
    if args.split == "test" and held_out:
        evaluated["test_list"] = {"images": len(held_out.names), "sha256": held_out.sha256}
    write_json(out / "results.json", {"evaluated": evaluated, **result.to_json()}, indent=1)
    plot_pr_curves(result, dataset.class_names, save=out / "pr_curve.png")
    if result.image_ap50:
        write_png(out / "samples.png", samples_sheet(result, dataset, args.samples))
    show(result, Console())
    print(f"written to {out}: {', '.join(sorted(p.name for p in out.iterdir() if not p.name.startswith('.')))}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
