#!/usr/bin/env python3
"""Train Mask R-CNN in two stages: the heads first, on a frozen backbone, then all layers at a tenth of the rate.

  python scripts/train.py --data DIR --stage heads --weights coco      # or imagenet, none, a file
  python scripts/train.py --data DIR --stage all --weights last        # goes on in the same run folder

Each epoch ends with a checkpoint in LOGS/NAME+DATE/mask_rcnn_NAME_EPOCH.h5 and a line with all five losses.
"""

import argparse
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

from bdd100k import cli, splits
from bdd100k.checks import before_training
from mrcnn.augment_settings import PRESETS, preset_settings
from mrcnn.config import BALANCES
from mrcnn.errors import InputError
from mrcnn.samples import WORKER_KINDS
from mrcnn.sampling import CLASS_WEIGHTINGS, class_weights

# layers that depend on the class list: COCO's cannot serve BDD100K's
CLASS_LAYERS = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_common_arguments(parser)
    parser.add_argument("--stage", default="heads", help="which layers train: heads, 3+, 4+, 5+, all, or a regular "
                        "expression over layer names (default: %(default)s)")
    parser.add_argument("--weights", default="none", metavar="NAME", help="start from coco, imagenet, streets "
                        "(shipped), last (newest checkpoint in --logs), a path, or none (default: %(default)s)")
    parser.add_argument("--epochs", type=cli.positive_int, default=10, metavar="N",
                        help="epochs to add (default: %(default)s)")
    parser.add_argument("--learning-rate", type=float, metavar="R", help="default: LEARNING_RATE of the settings for "
                        "the stage heads, a tenth of it for the others")
    parser.add_argument("--augment", choices=list(PRESETS), help="how training images are changed: flip; "
                        "default (flip, scale and crop, colours); strong (also rotation, blur, weather, copy-paste); "
                        "lsj (large-scale jitter and copy-paste, for long training). Single settings: --set "
                        "AUGMENT_...=. Without it: as in --config or the checkpoint (flip, unless changed)")
    parser.add_argument("--balance", choices=BALANCES, help="show rare classes more often: repeat their images "
                        "(--set REPEAT_THRESHOLD=), or all classes alike")
    parser.add_argument("--class-weights", choices=CLASS_WEIGHTINGS, help="weight rare classes more in the class loss: "
                        "by the effective number of objects, or by the inverse number")
    parser.add_argument("--save", metavar="FILE", help="also write the final weights to this .h5 file, in half "
                        "precision, for sharing")
    parser.add_argument("--workers", type=cli.positive_int, default=2, metavar="N",
                        help="loaders that make batches ahead (default: %(default)s)")
    parser.add_argument("--worker-kind", choices=WORKER_KINDS, default="thread", help="threads share Python's lock "
                        "and make 100 to 150 images/s in all; processes grow with the cores, and help where labels are "
                        "read by slow Python code (default: %(default)s)")
    splits.add_arguments(parser)
    return parser.parse_args()


def settings_of(args: argparse.Namespace) -> list[str]:
    """The settings that the flags stand for, for `Config.override`; --set comes after them."""
    settings = preset_settings(args.augment) if args.augment else []
    return settings + ([f"BALANCE={args.balance}"] if args.balance else [])


def main() -> None:
    args = parse_arguments()
    checkpoint = cli.find_weights(args.weights, args.logs, cli.config_class(args.config, args.data).NAME)
    config = cli.build_config(args.config, args.data, checkpoint, settings_of(args) + args.overrides)
    cli.hold_out(args.data, args.hold_out, args.split_file, args.rectangles)
    train_set = cli.open_dataset(args.data, "train", args.limit, args.split_file, args.rectangles)
    cli.follow_classes(config, train_set.class_names)
    val_set = None
    if config.VALIDATION_STEPS:
        val_set = cli.open_dataset(args.data, "val", args.limit, args.split_file, args.rectangles)
        if val_set.class_names != train_set.class_names:
            raise InputError(f"--data {args.data}: train has the classes {', '.join(train_set.class_names[1:])}, val "
                             f"has {', '.join(val_set.class_names[1:])}; give both the same list")
    for split, dataset in (("train", train_set), ("val", val_set)):
        if dataset is not None:
            before_training(dataset, split)

    if args.class_weights:
        config.CLASS_LOSS_WEIGHTS = class_weights(train_set, args.class_weights).round(4).tolist()
        named = zip(train_set.class_names, config.CLASS_LOSS_WEIGHTS, strict=True)
        cli.log.info("class weights: %s", ", ".join(f"{name} {weight:g}" for name, weight in named))

    from mrcnn.model import MaskRCNN
    from mrcnn.checkpoints import save_checkpoint

    model = MaskRCNN("training", config, args.logs)
    if args.weights == "imagenet":
        model.load_weights(model.get_imagenet_weights())
    elif checkpoint:
        other = args.weights == "coco" or cli.trained_classes(checkpoint) not in (None, train_set.class_names)
        if other and args.weights != "coco":
            cli.log.info("%s was trained on other classes: the layers that depend on them start anew", checkpoint)
        report = model.load_weights(checkpoint, exclude=CLASS_LAYERS if other else None)
        unused = [name for name in report.skipped if name not in CLASS_LAYERS]
        if unused:
            cli.log.warning("%d layers of %s have no place in a %s: is BACKBONE right?", len(unused), checkpoint,
                            config.BACKBONE)
    rate = args.learning_rate or config.LEARNING_RATE * (1.0 if args.stage == "heads" else 0.1)
    if rate <= 0:
        raise InputError(f"--learning-rate {rate} is not above 0")
    model.train(
        train_set, val_set, rate, model.epoch + args.epochs, args.stage, workers=args.workers,
        worker_kind=args.worker_kind,
    )  # fmt: skip
    if args.save:
        save_checkpoint(model, args.save, model.epoch, dtype="float16")
    print(f"trained {args.stage}: {model.checkpoint_path.format(epoch=model.epoch)}")


if __name__ == "__main__":
    sys.exit(cli.run(main))
