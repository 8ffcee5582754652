#!/usr/bin/env python3
"""Train Mask R-CNN, either one stage or a whole recipe.

  python scripts/train.py --data DIR --recipe seed --weights coco        # the heads, then all layers
  python scripts/train.py --data DIR --stage heads --weights coco        # the same in two commands ...
  python scripts/train.py --data DIR --stage all --weights last          # ... in the same run folder
  python scripts/train.py --data DIR --recipe zoo-1x --weights imagenet  # as the BDD100K model zoo
  python scripts/train.py --resume                                       # resume the newest stopped run

Recipes:
%s

A run has a folder in --logs with a checkpoint for each epoch, mask_rcnn_NAME_EPOCH.h5, and the state from which
--resume continues exactly, whatever stopped the run. Ctrl-C stops after the current step. The figures are in
results.csv and curves.png, pictures in batches/ and validation/, and the best weights in mask_rcnn_NAME_best.h5.

Every setting of mrcnn/config.py can be changed with --set KEY=VALUE, such as the batch size (IMAGES_PER_GPU), the image
size (IMAGE_MIN_DIM, IMAGE_MAX_DIM), the optimizer (OPTIMIZER=sgd, adam or adamw), the schedule (LEARNING_RATE_SCHEDULE=
constant, step or cosine; WARMUP_STEPS), averaged weights (EMA_MOMENTUM=0.999) or learning rates by layer (LAYER_RATES).
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from mrcnn import errors, process

if __name__ == "__main__":
    process.begin()

from bdd100k import cli, splits
from bdd100k.training import launch
from bdd100k.training.recipes import RECIPES
from bdd100k.training.run import INTERRUPTED
from mrcnn.augment_settings import PRESETS
from mrcnn.config import BALANCES
from mrcnn.data.class_balance import CLASS_WEIGHTINGS
from mrcnn.data.sample_maker import WORKER_KINDS
from mrcnn.setting_rules import number_type, whole


def make_parser() -> argparse.ArgumentParser:
    recipes = "\n".join(f"  {name:8} {recipe.about}" for name, recipe in RECIPES.items())
    parser = errors.ArgumentParser(
        description=(__doc__ or "") % recipes, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    cli.add_common_arguments(parser.add_argument_group("data and settings"))
    add_stage_arguments(parser.add_argument_group("training"))
    add_data_arguments(parser.add_argument_group("augmentation, rare classes, loading"))
    splits.add_arguments(parser)
    add_output_arguments(parser.add_argument_group("validation and files"))
    add_host_arguments(parser.add_argument_group("several hosts"))
    return parser


def add_stage_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--recipe", choices=list(RECIPES), help="a complete schedule, see above; replaces --stage")
    group.add_argument(
        "--stage",
        type=cli.layers_type,
        help="layers to train: heads, 3+, 4+, 5+, all, or a regular expression over layer names (default: heads)",
    )
    group.add_argument(
        "--weights",
        default="none",
        metavar="NAME",
        help="start from imagenet, streets (shipped), last (newest checkpoint in --logs), a published name such as "
        "coco-r50-v2 (scripts/weights.py list), a file, of other projects too, or none (default: %(default)s)",
    )
    group.add_argument(
        "--resume",
        nargs="?",
        const="last",
        metavar="FOLDER",
        help="resume a stopped run exactly where it stopped: that of FOLDER, or the newest in --logs",
    )
    group.add_argument(
        "--epochs",
        type=cli.positive_int,
        nargs="+",
        metavar="N",
        help="number of epochs to train; with a recipe, of each stage (default: 10, or those of the recipe)",
    )
    group.add_argument(
        "--learning-rate",
        type=cli.learning_rate,
        metavar="R",
        help="learning rate (default: that of the recipe; without one, LEARNING_RATE of the settings for heads and a "
        "tenth of it for other stages)",
    )
    group.add_argument(
        "--seed",
        type=cli.seed_number,
        metavar="N",
        help="random seed of initial weights, image order, augmentation and sampling",
    )
    group.add_argument(
        "--deterministic",
        action="store_true",
        help="make the same command give the same weights, bit for bit, on the same machine (see docs/training.md); "
        "slower on a GPU",
    )


def add_data_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--augment",
        choices=list(PRESETS),
        help="changes to training images: none; flip; default (flip, scale and crop, colours); strong (also rotation, "
        "blur, weather, copy-paste); lsj (large-scale jitter and copy-paste, for long training). For single settings "
        "use --set AUGMENT_...=. By default those of --config or the checkpoint apply (flip, unless changed)",
    )
    group.add_argument(
        "--balance",
        choices=BALANCES,
        help="show rare classes more often: repeat their images (repeat-factor, with --set REPEAT_THRESHOLD=), or show "
        "all classes equally often (class-aware)",
    )
    group.add_argument(
        "--class-weights",
        choices=CLASS_WEIGHTINGS,
        help="give rare classes more weight in the class loss, by their effective or inverse number of objects",
    )
    group.add_argument(
        "--loaders",
        type=number_type(whole(1, 1024)),
        default=2,
        metavar="N",
        help="number of threads or processes that prepare batches (default: %(default)s)",
    )
    group.add_argument(
        "--loader-kind",
        choices=WORKER_KINDS,
        default="thread",
        help="threads share the GIL and prepare 100 to 150 images/s in total; processes scale with the cores and help "
        "if slow Python code reads the labels (default: %(default)s)",
    )


def add_output_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--val-images",
        type=cli.whole_number,
        metavar="N",
        help="number of validation images on which mask AP is measured after each epoch; 0 means none (default: as "
        "many as take a tenth of the training time)",
    )
    group.add_argument(
        "--patience",
        type=cli.positive_int,
        metavar="N",
        help="end a stage after N epochs without a better mask AP (default: never)",
    )
    group.add_argument(
        "--save", metavar="FILE", help="also write the final weights to this .h5 file in half precision, for sharing"
    )
    group.add_argument(
        "--save-every",
        type=cli.positive_int,
        metavar="N",
        help="save the state after every N steps, in addition to after each epoch",
    )
    group.add_argument(
        "--keep", type=cli.positive_int, metavar="N", help="keep only the N newest checkpoints (default: all)"
    )


def add_host_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--hosts",
        metavar="HOST:PORT,...",
        help="train on several hosts together: the list of all hosts, the same on each. GPU_COUNT and IMAGES_PER_GPU "
        "apply to one host. Data, --logs and --weights must be readable on all hosts; the first one writes the run",
    )
    group.add_argument(
        "--host-index", type=cli.whole_number, metavar="N", help="position of this host in --hosts, from 0"
    )
    group.add_argument(
        "--engine",
        choices=("local", "ray"),
        default="local",
        help="what starts the processes: you (local), or a Ray cluster with --workers (ray; pip install '.[ray]') "
        "(default: %(default)s)",
    )
    group.add_argument(
        "--workers",
        type=cli.positive_int,
        metavar="N",
        help="with --engine ray: number of processes that train together and share the GPUs of the cluster",
    )


def main() -> int:
    parser = make_parser()
    args = parser.parse_args()
    defaults = parser.parse_args([])
    return launch.start(args, defaults)


if __name__ == "__main__":
    sys.exit(errors.exit_code(main, interrupted=INTERRUPTED))
