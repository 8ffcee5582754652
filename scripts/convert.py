#!/usr/bin/env python3
"""Convert BDD100K labels between Scalabel JSON, RGBA bitmask PNGs and COCO JSON. The source format is detected."""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from bdd100k import cli
from bdd100k.labels import convert

_EXAMPLES = """
examples:
  python scripts/convert.py labels/ins_seg/polygons/ins_seg_val.json val_coco.json --to coco
  python scripts/convert.py labels/ins_seg/bitmasks/val val.json --to scalabel --masks polygons
  python scripts/convert.py val_coco.json bitmasks --to bitmask
"""


def parse_arguments() -> argparse.Namespace:
    assert convert.__doc__
    what = convert.__doc__.split("\n\n", 1)[1].replace("`bdd100k.labels.load`", "this program")
    parser = errors.ArgumentParser(
        description=__doc__, epilog=f"{what}{_EXAMPLES}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("source", metavar="SRC", help="label file, or folder of bitmask PNGs or with one JSON per image")
    add("target", metavar="DST", help="JSON file to write, or folder for bitmasks")
    add("--to", required=True, choices=convert.FORMATS, help="format to write")
    add("--masks", choices=convert.MASKS, default="rle", help="form of the masks in JSON (default: %(default)s)")
    add(
        "--images",
        metavar="DIR",
        help="folder of the images, for labels without image sizes; by default all images are taken to be 1280 x 720, "
        "as in BDD100K",
    )
    cli.add_max_pixels_argument(parser)
    add("--force", action="store_true", help="overwrite DST")
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    convert.convert(args.source, args.target, args.to, args.masks, args.images, args.force, args.max_pixels)


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
