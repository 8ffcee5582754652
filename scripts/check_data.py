#!/usr/bin/env python3
"""Check a dataset for faults before training on it."""

import argparse
import contextlib
import logging
import pathlib
import sys
from collections.abc import Iterable, Iterator

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from rich.console import Console
from rich.progress import track

from bdd100k import checks, cli, open_data
from mrcnn.annotations.findings import Findings, report_lines
from mrcnn.annotations.label_checks import check_annotated_folder
from mrcnn.files import write_json
from mrcnn.text import printable

_TEACH = """\
Problems (to be fixed):
  images    missing image, unreadable image (not an image file), broken image (truncated; found with --images),
            size differs (from the size in the labels), duplicate image (the same name twice), image in two splits
  labels    unusable frame, unusable label (broken coordinates, codes or boxes), unusable masks (broken mask
            files, or values that are no ids), unknown name, no area (no pixel of the image lies inside), outside the
            image (by more than a pixel), self-crossing outline,
            duplicate object (same image, same class, IoU above 0.95), soft mask (a mask image that was smoothed or
            is a JPEG), no masks (boxes only: no masks to train on), only crowds (iscrowd is set for every object:
            nothing to train on)
Notes (may be intended):
  image without labels, image without objects, box without mask, hidden object (nearer labels cover all of it),
  void pixels (255 in a mask image, which is no object there), crowd or ignored object (neither an object nor
  background), one name, several categories (they are one class)

Each finding names the label file, the image and the label id. Each kind of finding is listed with what training does
about it: unusable data is left out, and the rest is kept. Training runs the same check itself, from boxes alone, in
about a second.

exit code: 0 no findings or only notes, 1 problems were found, 2 wrong usage, or a folder or label file that cannot be
read

examples:
  python scripts/check_data.py --data DIR                             # all splits, labels only
  python scripts/check_data.py --data DIR --images --json faults.json # decode images too; write all findings
"""


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(
        description=__doc__, epilog=_TEACH, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", required=True, metavar="DIR", help="folder with images and labels, as for train.py")
    cli.add_classes_argument(parser)
    cli.add_max_pixels_argument(parser)
    add("--split", default="all", help="train, val, test, or all (default: %(default)s)")
    add("--labels", metavar="FILE", help="label file or folder to use instead of the one found in DIR")
    add("--images", action="store_true", help="decode every image to find truncated files; takes about 10 ms per image")
    add(
        "--json",
        metavar="FILE",
        help="write every finding to this file; the terminal shows only the first of each kind",
    )
    add(
        "--most",
        type=cli.positive_int,
        default=3,
        metavar="N",
        help="maximum number of findings of each kind to show (default: %(default)s)",
    )
    return parser.parse_args()


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the readers, because the findings contain what they would log."""
    loggers = [logging.getLogger(package) for package in ("bdd100k", "mrcnn")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def check(args: argparse.Namespace) -> dict[str, Findings]:
    """Return the findings of each split."""
    console = Console(stderr=True)

    def progress(images: Iterable) -> Iterable:
        return track(images, "checking", console=console, transient=True)

    custom = args.labels is None and open_data.is_custom(args.data, args.classes)
    with quiet():
        if custom:
            split = None if args.split == "all" else args.split
            return {args.split: check_annotated_folder(args.data, split, args.images, progress, args.max_pixels)}
        return checks.check_folder(args.data, args.split, args.labels, args.images, progress, args.max_pixels)


def main() -> int:
    args = parse_arguments()
    splits = check(args)
    problems = sum(findings.problems for findings in splits.values())
    notes = sum(len(findings.entries) for findings in splits.values()) - problems
    if args.json:
        content = {"data": args.data, "splits": {split: found.to_json() for split, found in splits.items()}}
        write_json(args.json, content, indent=1)
    for split, findings in splits.items():
        print(printable("\n".join([f"\n{split}", *report_lines(findings, args.most)])))
    print(
        f"\n{problems} problems, {notes} notes" + (f"; all are listed in {printable(args.json)}" if args.json else "")
    )
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
