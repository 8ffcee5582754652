"""Draw street scenes with pixel-exact labels, in BDD100K's own folder layout and label formats."""

import argparse
import logging
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bdd100k.streets import write_streets
from mrcnn.errors import InputError

_TEACH = """\
No download, no licence: the scenes are drawn. They have BDD100K's eight classes, its imbalance (cars dominate), its sizes,
occlusion, weather and times of day, so that everything that works on the real data can be tried on them within minutes.
The folder that comes out is a data folder like the downloaded one:

  images/10k/{train,val,test}/*.jpg                 720 x 1280
  labels/ins_seg/polygons/ins_seg_{split}.json      Scalabel JSON with poly2d
  labels/ins_seg/rles/ins_seg_{split}.json          the same objects with COCO's run lengths

The same seed gives the same scenes; a folder that already holds them is left as it is.

example: 400 training and 100 validation images, about a minute on one core
  python scripts/streets.py --out streets --train 400 --val 100 --seed 0
"""


def main(argv: list[str] | None = None) -> int:
    """Parse the arguments, draw, return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=_TEACH, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", required=True, metavar="DIR", help="folder to write; new, empty, or of the same request"
    )
    parser.add_argument("--train", type=int, default=400, metavar="N", help="training images (default %(default)s)")
    parser.add_argument("--val", type=int, default=100, metavar="N", help="validation images (default %(default)s)")
    parser.add_argument(
        "--test", type=int, default=0, metavar="N", help="test images, with labels (default %(default)s)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="S", help="another seed, other scenes (default %(default)s)"
    )
    parser.add_argument("--workers", type=int, default=1, metavar="N", help="processes that draw (default %(default)s)")
    given = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        write_streets(given.out, given.train, given.val, given.test, given.seed, given.workers)
    except InputError as error:
        logging.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
