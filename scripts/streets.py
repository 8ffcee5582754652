#!/usr/bin/env python3
"""Draw street scenes with pixel-exact labels, in BDD100K's own folder layout and label formats."""

import argparse
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from bdd100k import cli
from bdd100k.streets.scenes import write_streets
from mrcnn.setting_rules import number_type, whole

_TEACH = """\
The scenes are drawn, so they need no download and no licence. They have BDD100K's eight classes, class imbalance (cars
dominate), object sizes, occlusion, weather and times of day. Everything that works on the real data can be tried on
them within minutes. Objects that are less than 15 % visible, less than 12 px high or smaller than 80 square pixels are
not labelled. The output is a data folder with the layout of the download:

  images/10k/{train,val,test}/*.jpg                 720 x 1280
  labels/ins_seg/polygons/ins_seg_{split}.json      Scalabel JSON with poly2d
  labels/ins_seg/rles/ins_seg_{split}.json          the same objects as COCO RLEs

The same seed gives the same scenes. A folder that already contains them is not changed.

example: 400 training and 100 validation images, about a minute on one core
  python scripts/streets.py --out streets --train 400 --val 100 --seed 0
"""


def parse_arguments() -> argparse.Namespace:
    parser = errors.ArgumentParser(
        description=__doc__, epilog=_TEACH, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--out", required=True, metavar="DIR", help="output folder: new, empty, or with the same scenes")
    add(
        "--train",
        type=cli.whole_number,
        default=400,
        metavar="N",
        help="number of training images (default: %(default)s)",
    )
    add(
        "--val",
        type=cli.whole_number,
        default=100,
        metavar="N",
        help="number of validation images (default: %(default)s)",
    )
    add(
        "--test",
        type=cli.whole_number,
        default=0,
        metavar="N",
        help="number of test images, also labelled (default: %(default)s)",
    )
    add("--seed", type=cli.seed_number, default=0, metavar="S", help="seed of the scenes (default: %(default)s)")
    add(
        "--workers",
        type=number_type(whole(1, 1024)),
        default=1,
        metavar="N",
        help="number of processes (default: %(default)s)",
    )
    return parser.parse_args()


def main() -> None:
    args = parse_arguments()
    write_streets(args.out, args.train, args.val, args.test, args.seed, args.workers)


if __name__ == "__main__":
    sys.exit(errors.exit_code(main))
