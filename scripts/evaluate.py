#!/usr/bin/env python3
"""Evaluate weights, or the predictions of any program, on a labelled dataset.

  python scripts/evaluate.py --data DIR --weights last                 # the newest checkpoint in --logs
  python scripts/evaluate.py --data DIR --predictions FILE             # COCO results or Scalabel JSON with scores
  python scripts/evaluate.py --data DIR --predictions FOLDER           # BDD100K bitmasks with their score file
  python scripts/evaluate.py --weights streets                         # the shipped weights on drawn street scenes

Prints COCO's figures for masks and boxes with 95 % intervals, figures per class and for slices of the data (weather,
size, ...), and the kinds of errors. Writes to --out:

  result.json        every figure and curve, explained in mrcnn/evaluation/result.py (class Result)
  predictions.json   COCO results; evaluating them with --predictions gives the same figures
  submission/        bitmasks/ with bitmask_scores.json for BDD100K's server, and rle.json for its toolkit (only for
                     data with BDD100K's classes)
  pr_curve.png       precision over recall at IoU 0.5
  samples.png        truth and predictions for the worst, median and best images
  report.html        all of this in one readable file, with curves, tables, pictures of errors and settings
  matches.npz        overlaps of detections with objects, for --compare

  python scripts/evaluate.py --compare runs/A runs/B --out DIR         # two such folders, of the same images

prints the differences with their intervals and writes compare.json and compare.html.

COCO's protocol and BDD100K's two give different figures, so state which one you quote. To resume an evaluation of
weights that was interrupted, run the same command again.
"""

import argparse
import contextlib
import logging
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("MPLBACKEND", "Agg")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from rich.console import Console
from rich.progress import track

from bdd100k import cli, open_data, splits
from mrcnn.errors import InputError
from mrcnn.files import make_folder, write_json
from mrcnn.setting_rules import number_type, whole
from mrcnn.text import printable

log = logging.getLogger("bdd100k")


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_common_arguments(parser)
    parser.add_argument(
        "--split", default="val", help="train, val, or test for the images of --hold-out (default: %(default)s)"
    )
    parser.add_argument(
        "--weights",
        default="last",
        metavar="NAME",
        help="last (newest checkpoint in --logs), streets (shipped), a published name such as coco-r50-v2 "
        "(scripts/weights.py list), or a file; classes of other projects are matched by name (default: %(default)s)",
    )
    parser.add_argument("--predictions", metavar="PATH", help="evaluate these predictions instead of running a model")
    parser.add_argument(
        "--compare",
        nargs=2,
        metavar=("RUN_A", "RUN_B"),
        help="compare the results in two folders instead of evaluating",
    )
    parser.add_argument(
        "--out", metavar="DIR", help="output folder (default: runs/evaluation, or runs/comparison with --compare)"
    )
    parser.add_argument(
        "--bootstrap",
        type=number_type(whole(0, 100_000)),
        default=500,
        metavar="N",
        help="number of samples for the intervals; 0 leaves them out (default: %(default)s)",
    )
    parser.add_argument("--seed", type=cli.seed_number, default=0, help="seed of these samples (default: %(default)s)")
    parser.add_argument(
        "--samples",
        type=cli.positive_int,
        default=6,
        metavar="N",
        help="number of images in samples.png (default: %(default)s)",
    )
    parser.add_argument("--no-report", action="store_true", help="do not write report.html")
    splits.add_arguments(parser)
    args = parser.parse_args()
    refuse_unused(args, parser.parse_args([]))
    return args


def refuse_unused(args: argparse.Namespace, defaults: argparse.Namespace) -> None:
    """Raise InputError for options that would have no effect beside --compare or --predictions."""
    given = set(cli.given_options(args, defaults))
    for option, unused in (
        ("compare", given - {"compare", "out", "bootstrap", "seed"}),
        ("predictions", given & {"weights", "logs", "overrides", "preset"}),
    ):
        if option in given and unused:
            names = ", ".join(map(cli.option, sorted(unused)))
            raise InputError(f"{names}: without effect beside --{option}; leave out one of them")


def build_model(args: argparse.Namespace, class_names: list[str]) -> tuple[Any, str]:
    """Return the model with its weights, and their path. Weights of this project must have been trained on these
    classes; the classes of others are matched by name.
    """
    from mrcnn.foreign.tensor_files import is_tensor_file

    checkpoint = cli.find_weights(args.weights, args.logs, cli.config_class(args.config, args.data, args.classes).NAME)
    if checkpoint is None:
        raise InputError(
            f"--weights {args.weights} means an untrained model; give last, streets or the path of an .h5 file"
        )
    ids = None
    if is_tensor_file(checkpoint):
        ids = cli.matched_classes(checkpoint, class_names)
    else:
        cli.refuse_other_classes(checkpoint, class_names)
    config = cli.build_config(args.config, args.data, checkpoint, args.overrides, args.classes, args.preset)
    if ids is None:
        cli.follow_classes(config, class_names)
    else:
        config.DETECTION_CLASSES = sorted(ids)
    if (config.DETECTION_MIN_CONFIDENCE or 0) > 0.05:
        log.warning(
            "only detections with a score of at least %g are evaluated, which lowers AP; the usual setting is --set "
            "DETECTION_MIN_CONFIDENCE=0.05",
            config.DETECTION_MIN_CONFIDENCE,
        )

    from mrcnn.inference.chosen_classes import ChosenClasses
    from mrcnn.model import MaskRCNN

    model = MaskRCNN("inference", config, args.logs)
    model.load_weights(checkpoint, by_name=True)
    return model if ids is None else ChosenClasses(model, ids), checkpoint


def main() -> None:
    args = parse_arguments()
    cli.refuse_settings(args.overrides)
    out = pathlib.Path(args.out or ("runs/comparison" if args.compare else "runs/evaluation"))
    make_folder(out)
    if args.compare:
        compare(out, args.compare[0], args.compare[1], args.bootstrap, args.seed)
    else:
        evaluate(out, args)


def evaluate(out: pathlib.Path, args: argparse.Namespace) -> None:
    """Evaluate the given model or predictions, write the files and print the tables."""
    open_data.hold_out(args.data, args.hold_out, args.split_file, args.rectangles, args.classes, args.max_pixels)
    # --limit selects images to evaluate, but a file of predictions is checked against all images.
    limit = None if args.predictions else args.limit
    read = args.split_file, args.rectangles, args.classes, args.max_pixels
    dataset = open_data.open_dataset(args.data, args.split, limit, *read)
    image_ids = [int(i) for i in dataset.image_ids[: args.limit]]
    evaluated: dict[str, Any] = {"data": args.data or "embedded street scenes", "split": args.split}
    settings: dict[str, Any] = {"samples": args.bootstrap, "seed": args.seed}
    store = None
    if args.predictions:
        from bdd100k.evaluation.predictions import load_any

        source: Any = load_any(args.predictions, dataset)
        evaluated["predictions"] = str(args.predictions)
    else:
        from mrcnn.evaluation.results_file import Store

        source, path = build_model(args, dataset.class_names)
        evaluated.update(weights=path, settings=source.config.to_dict())
        changed = pathlib.Path(path).stat().st_mtime if pathlib.Path(path).exists() else None
        store = Store(out / ".detections.jsonl", {**evaluated, "changed": changed, "limit": args.limit})
        settings.update(
            store=store,
            batch_size=source.config.BATCH_SIZE,
            progress=lambda batches: track(batches, "detecting", console=Console(stderr=True)),
        )
    result = compute(out, source, dataset, image_ids, settings)
    held_out = splits.find_list(args.data or open_data.STREETS_DIR, args.split_file)
    if args.split == "test" and held_out:
        evaluated["test_list"] = {"images": len(held_out.names), "sha256": held_out.sha256}
    write(out, result, dataset, image_ids, evaluated, args.samples)
    if not args.no_report:
        from bdd100k.report.page import write_report

        write_report(out / "report.html", result, dataset, image_ids, evaluated)
    if store is not None:
        store.remove()
    from bdd100k.report.tables import show

    console = Console()
    show(result, console if console.is_terminal else Console(width=120))
    files = sorted(p.name + "/" * p.is_dir() for p in out.iterdir() if not p.name.startswith("."))
    print(printable(f"written to {out}: {', '.join(files)}"))


def compute(out: pathlib.Path, source: Any, dataset: Any, image_ids: list[int], settings: dict[str, Any]) -> Any:
    """Evaluate. With BDD100K's classes, also evaluate by its protocols and write their submissions."""
    from bdd100k.evaluation.protocols import OfficialEvaluator, has_official_classes
    from bdd100k.evaluation.slices import SLICING
    from bdd100k.evaluation.submissions import Writer
    from mrcnn.evaluation.evaluator import evaluate

    with contextlib.ExitStack() as stack:
        benchmark = None
        if has_official_classes(dataset):
            writer = stack.enter_context(Writer(out / "submission"))
            benchmark = OfficialEvaluator(dataset, writer.add, settings["samples"] > 0, settings["seed"])
        return evaluate(source, dataset, image_ids, slicing=SLICING, benchmark=benchmark, **settings)


def write(
    out: pathlib.Path, result: Any, dataset: Any, image_ids: list[int], evaluated: dict[str, Any], samples: int
) -> None:
    """Write the files."""
    from bdd100k.evaluation.protocols import frame_name
    from mrcnn.evaluation.results_file import write_entries
    from mrcnn.evaluation.table_file import TABLE_FILE, save_tables
    from mrcnn.visualization.drawing import write_png
    from mrcnn.visualization.plots import plot_pr_curves
    from mrcnn.visualization.sheets import samples_sheet

    write_entries(out / "predictions.json", result.predictions)
    write_json(out / "result.json", {"evaluated": evaluated, **result.to_json()}, indent=1)
    file_names = [frame_name(dataset, image_id) for image_id in image_ids]
    save_tables(out / TABLE_FILE, result.tables, file_names, dataset.class_names[1:])
    plot_pr_curves(result, dataset.class_names, save=out / "pr_curve.png")
    if result.image_ap50:
        write_png(out / "samples.png", samples_sheet(result, dataset, samples))


def compare(out: pathlib.Path, first: str, second: str, samples: int, seed: int) -> None:
    """Write the comparison of two results and print it."""
    from bdd100k.report.comparison import show, write_comparison
    from mrcnn.evaluation import comparison

    a, b = comparison.read_evaluation(first), comparison.read_evaluation(second)
    compared = comparison.compare(a, b, samples, seed)
    write_json(out / "compare.json", {"a": str(a.folder), "b": str(b.folder), **compared.to_json()}, indent=1)
    write_comparison(out / "compare.html", a, b, compared)
    console = Console()
    show(a, b, compared, console if console.is_terminal else Console(width=120))
    print(printable(f"written to {out}: compare.html, compare.json"))


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
