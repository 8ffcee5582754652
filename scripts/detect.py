#!/usr/bin/env python3
"""Detect instances in images, folders of images and videos.

  python scripts/detect.py photo.jpg                                  # shipped weights, for drawn streets
  python scripts/detect.py photos/ clip.mp4 --weights coco            # Matterport's COCO weights
  python scripts/detect.py DIR/images/10k/val --weights last --json coco --no-pictures --min-score 0.05

Writes every image and video to --out under its own name, with outlines, boxes, classes and scores drawn in. With --json
it also writes

  coco       detections.json: COCO results with the file name as image_id, for scripts/evaluate.py --predictions and
             pycocotools; and images.json: the names and sizes of all images, and the categories
  scalabel   detections.json: Scalabel frames with sizes, scores, boxes and RLEs

where frame 1 of clip.mp4 is called clip-0000001.jpg. A file that cannot be read is reported and left out. The exit code
is 0 if all files were read, 1 if some were not, and 2 for wrong arguments.
"""

import argparse
import contextlib
import os
import pathlib
import sys
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # unreadable files are reported here
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bdd100k import cli
from mrcnn.errors import InputError
from mrcnn.setting_rules import FRACTION, number_type
from mrcnn.text import printable


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sources", nargs="+", metavar="IMAGE|FOLDER|VIDEO", help="folders are searched recursively")
    parser.add_argument(
        "--weights",
        default="streets",
        metavar="NAME",
        help="streets (shipped), last (newest checkpoint in --logs), a published name such as coco-r50-v2 "
        "(scripts/weights.py list), or a file, of torchvision, Detectron2 or MMDetection too (default: %(default)s)",
    )
    parser.add_argument("--out", metavar="DIR", default="runs/detect", help="output folder (default: %(default)s)")
    parser.add_argument("--json", choices=("coco", "scalabel"), help="write detections.json in this format")
    parser.add_argument(
        "--min-score",
        type=number_type(FRACTION),
        default=0.5,
        metavar="S",
        help="minimum score of a detection, in pictures and JSON (default: %(default)s)",
    )
    cli.add_max_pixels_argument(parser)
    parser.add_argument("--no-pictures", action="store_true", help="write JSON only")
    parser.add_argument(
        "--batch",
        type=cli.positive_int,
        metavar="N",
        help="number of images per batch (default: IMAGES_PER_GPU of the settings)",
    )
    parser.add_argument(
        "--config", choices=sorted(cli.CONFIGS), help="settings to use instead of those of the checkpoint"
    )
    cli.add_set_argument(parser, "change one setting, e.g. --set IMAGE_MAX_DIM=2048; may be repeated")
    cli.add_preset_argument(parser)
    cli.add_settings_help(parser)
    parser.add_argument("--logs", metavar="DIR", default="logs", help="folder of the runs (default: %(default)s)")
    return parser.parse_args()


def main() -> int:
    args = parse_arguments()
    cli.refuse_settings(args.overrides)
    if args.no_pictures and not args.json:
        raise InputError("--no-pictures leaves nothing to write; give --json as well")
    from mrcnn.inference.media import count_frames, find_sources

    sources = find_sources(args.sources, args.out)
    from bdd100k.detector import load_model
    from bdd100k.labels.results import ScalabelFrames
    from mrcnn.inference.detect_files import detect_files
    from mrcnn.inference.writers import CocoResults, Pictures

    batch = [f"IMAGES_PER_GPU={args.batch}"] if args.batch else []
    model, categories = load_model(
        args.weights, args.logs, args.config, [*args.overrides, *batch], args.min_score, args.preset
    )
    names = [name for _, name in categories]
    console = Console(stderr=True)
    with contextlib.ExitStack() as stack:
        sinks: list[Any] = [] if args.no_pictures else [stack.enter_context(Pictures(args.out, names))]
        if args.json == "coco":
            sinks.append(stack.enter_context(CocoResults(args.out, categories)))
        elif args.json == "scalabel":
            sinks.append(stack.enter_context(ScalabelFrames(args.out, names)))
        columns = TextColumn("detecting"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
        bar = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        task = bar.add_task("detecting", total=count_frames(sources))
        batch_size, advance = model.config.BATCH_SIZE, lambda _: bar.advance(task)
        summary = detect_files(model, sources, names, sinks, batch_size, advance, args.max_pixels)
    objects = ", ".join(f"{count} {name}" for name, count in summary.objects.most_common())
    lines = [
        f"{summary.frames} images or frames, {summary.objects.total()} instances{': ' if objects else ''}{objects}"
    ]
    if summary.failed:
        lines.append(f"{len(summary.failed)} of {len(sources)} files could not be read completely:")
        lines += [f"  {path}" for path, _ in summary.failed]
    print(printable("\n".join([*lines, f"written to {args.out}"])))
    return 1 if summary.failed else 0


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
