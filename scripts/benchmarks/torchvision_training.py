"""Trains torchvision's Mask R-CNN on the batches of our loader and detects with it, for the benchmark of accuracy.

It runs in a process of its own: TensorFlow and PyTorch do not share one, so Keras, which the loader needs, runs on
PyTorch here.
"""

import dataclasses
import logging
import multiprocessing
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from mrcnn.errors import InputError, exit_code
from mrcnn.files import written_whole

from .torchvision_model import as_tensors, target, to_tensor

if TYPE_CHECKING:
    from mrcnn.config import Config
    from mrcnn.data.dataset import Dataset
    from mrcnn.data.loader import Loader
    from mrcnn.evaluation.coco_results import Entry

log = logging.getLogger("bdd100k")

TRAINED = r"layer[234]\..*"  # of torchvision's ResNet; our stage "3+"
SHARED = ("BACKBONE", "NUM_CLASSES", "IMAGE_MIN_DIM", "IMAGE_MAX_DIM")
MODEL, DETECTIONS = "model.pth", "detections.json"
SAID_EVERY = 50  # steps


@dataclasses.dataclass(frozen=True)
class Job:
    """What torchvision's model is trained with.

    Attributes:
        data: folder of the data.
        config: the settings to start from, as scripts/train.py's --config.
        preset: of our model, whose settings say what the batches and the schedule are.
        size: settings of both models.
        overrides: settings of ours, after `size`; torchvision's takes SHARED from them, the batches and the schedule.
        learning_rate: its maximum.
        start: file with the weights of the backbone.
        folder: where to write the model and its detections.
        val_images: number of validation images, or None for all.
    """

    data: str
    config: str
    preset: str
    size: tuple[str, ...]
    overrides: tuple[str, ...]
    learning_rate: float
    start: str
    folder: pathlib.Path
    val_images: int | None

    def in_own_process(self) -> None:
        """Train, unless the model is in the folder, and write its detections.

        Raises:
            InputError: it failed.
        """
        process = multiprocessing.get_context("spawn").Process(target=_serve, args=(self,))
        process.start()
        process.join()
        if process.exitcode:
            raise InputError("--against torchvision failed; see its error above")


def _serve(job: Job) -> None:
    assert "keras" not in sys.modules, "its backend is still to be chosen"
    os.environ["KERAS_BACKEND"] = "torch"
    sys.exit(exit_code(lambda: run(job)))


def run(job: Job) -> None:
    """Train torchvision's model, unless it is in the folder, and write its detections in the validation images.

    Raises:
        InputError: the data, the settings or the weights cannot be used, or the training diverges.
    """
    import torch

    from bdd100k.open_data import open_dataset
    from mrcnn.evaluation.results_file import write_entries

    train_set = open_dataset(job.data, "train")
    config, network = configs(job, train_set.class_names)
    torch.manual_seed(int(config.SEED))
    model = build(network, job.start).to("cuda" if torch.cuda.is_available() else "cpu")
    path = job.folder / MODEL
    if path.exists():
        model.load_state_dict(torch.load(path, weights_only=True))
    else:
        train(model, batches(train_set, config), config, job.learning_rate)
        with written_whole(path) as temporary:
            torch.save(model.state_dict(), temporary)
    val_set = open_dataset(job.data, "val", job.val_images)
    write_entries(job.folder / DETECTIONS, detections(model, val_set))


def configs(job: Job, class_names: list[str]) -> tuple["Config", "Config"]:
    """Return the settings of our model, with which batches are made, and those of torchvision's."""
    from bdd100k import cli

    ours = cli.build_config(job.config, job.data, None, [*job.size, *job.overrides], None, job.preset)
    cli.follow_classes(ours, class_names)
    theirs = cli.build_config(job.config, job.data, None, list(job.size), None, "torchvision")
    theirs.take_over({name: getattr(ours, name) for name in SHARED})
    return ours, theirs


def batches(dataset: "Dataset", config: "Config") -> "Loader":
    """Return the loader of the very batches that scripts/train.py trains on."""
    from mrcnn.augment_settings import Augmentation
    from mrcnn.data.class_balance import image_weights
    from mrcnn.data.loader import Loader
    from mrcnn.engine.trainer import canvas_of

    return Loader(
        dataset,
        config,
        augment=Augmentation.from_config(config),
        seed=config.SEED,
        steps=config.STEPS_PER_EPOCH,
        canvas=canvas_of(config, [dataset]),
        image_weights=image_weights(dataset, config),
    )


# ------------------------------------------------------------------------------------------------------------- model


def build(config: "Config", start: str) -> Any:
    """Return torchvision's `MaskRCNN` with the sizes of our settings, frozen BatchNorm and the weights of the backbone.

    Args:
        config: settings of the preset "torchvision".
        start: file with the weights of the backbone.

    Raises:
        InputError: see `load_backbone`.
    """
    from torchvision.models import detection
    from torchvision.models.detection import faster_rcnn, mask_rcnn

    channels, classes = config.TOP_DOWN_PYRAMID_SIZE, int(config.NUM_CLASSES)
    hidden, masks = config.FPN_CLASSIF_FC_LAYERS_SIZE, config.MASK_HEAD_CHANNELS
    scales = tuple((scale,) for scale in config.RPN_ANCHOR_SCALES)
    ratios = (tuple(sorted(config.RPN_ANCHOR_RATIOS)),) * len(scales)
    return detection.MaskRCNN(
        _pyramid(load_backbone(str(config.BACKBONE), start), channels),
        min_size=config.IMAGE_MIN_DIM,
        max_size=config.IMAGE_MAX_DIM,
        rpn_anchor_generator=detection.anchor_utils.AnchorGenerator(scales, ratios),
        rpn_pre_nms_top_n_train=config.PRE_NMS_LIMIT_TRAINING or config.PRE_NMS_LIMIT,
        rpn_pre_nms_top_n_test=config.PRE_NMS_LIMIT,
        rpn_post_nms_top_n_train=config.POST_NMS_ROIS_TRAINING,
        rpn_post_nms_top_n_test=config.POST_NMS_ROIS_INFERENCE,
        rpn_nms_thresh=config.RPN_NMS_THRESHOLD,
        rpn_batch_size_per_image=config.RPN_TRAIN_ANCHORS_PER_IMAGE,
        box_batch_size_per_image=config.TRAIN_ROIS_PER_IMAGE,
        box_positive_fraction=config.ROI_POSITIVE_RATIO,
        box_score_thresh=config.DETECTION_MIN_CONFIDENCE,
        box_nms_thresh=config.DETECTION_NMS_THRESHOLD,
        box_detections_per_img=config.DETECTION_MAX_INSTANCES,
        box_head=faster_rcnn.TwoMLPHead(channels * config.POOL_SIZE**2, hidden),
        box_predictor=faster_rcnn.FastRCNNPredictor(hidden, classes),
        mask_head=mask_rcnn.MaskRCNNHeads(channels, (masks,) * 4, 1),
        mask_predictor=mask_rcnn.MaskRCNNPredictor(masks, masks, classes),
        _skip_resize=True,  # in training: the loader has resized the images
    )


def load_backbone(name: str, start: str) -> Any:
    """Return torchvision's ResNet with frozen BatchNorm and the weights of a file.

    Raises:
        InputError: the file is not of this backbone, or torchvision has none of this name.
    """
    import torch
    from torchvision.models import get_model
    from torchvision.ops.misc import FrozenBatchNorm2d

    from mrcnn.foreign.tensor_files import read_tensor_file

    try:
        body = get_model(name, weights=None, norm_layer=FrozenBatchNorm2d)
    except (TypeError, ValueError):
        raise InputError(f"BACKBONE is {name!r}, which is no ResNet of torchvision") from None
    tensors = {key: torch.from_numpy(np.array(values)) for key, values in read_tensor_file(start).tensors.items()}
    try:
        differing = body.load_state_dict(tensors, strict=False)
    except RuntimeError as error:
        raise InputError(f"{start} is not of torchvision's {name}: {error}") from None
    others = [key for key in (*differing.missing_keys, *differing.unexpected_keys) if not key.startswith("fc.")]
    if others:
        raise InputError(f"{start} is not of torchvision's {name}, for example {others[0]}")
    return body


def _pyramid(body: Any, channels: int) -> Any:
    """Return the feature pyramid on a ResNet whose stem and first stage are frozen, as torchvision's own."""
    from torchvision.models.detection.backbone_utils import BackboneWithFPN

    for name, parameter in body.named_parameters():
        parameter.requires_grad_(re.fullmatch(TRAINED, name) is not None)
    first = body.inplanes // 8
    stages = {f"layer{number + 1}": str(number) for number in range(4)}
    return BackboneWithFPN(body, stages, [first * 2**number for number in range(4)], channels)


# ---------------------------------------------------------------------------------------------------------- training


def image_and_target(inputs: dict[str, np.ndarray], row: int) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Return an image of our batch without its padding, and its objects.

    torchvision pads by itself, with the mean, as our settings of its preset do.

    Args:
        inputs: of a batch of `mrcnn.data.loader.Loader`, with mini-masks.
        row: the image in it.

    Returns:
        uint8 [H, W, 3], and the target of `torchvision_model.target` in its pixels; objects without area are left out,
        which torchvision refuses.
    """
    from mrcnn.data.images import parse_image_meta

    y1, x1, y2, x2 = parse_image_meta(inputs["input_image_meta"])["window"][row].tolist()
    objects = target(inputs, row)
    boxes = objects["boxes"]
    inside = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
    return inputs["input_image"][row, y1:y2, x1:x2], {
        "boxes": boxes[inside] - np.array([x1, y1, x1, y1], np.float32),
        "labels": objects["labels"][inside],
        "masks": objects["masks"][inside, y1:y2, x1:x2],
    }


def train(model: Any, loader: "Loader", config: "Config", learning_rate: float) -> None:
    """Train one epoch with the schedule and the clipping of our settings.

    Raises:
        InputError: the loss is not finite; or an image or label cannot be read.
    """
    import torch

    from mrcnn.data.loader import errors_of
    from mrcnn.engine.optimizers import learning_rate_schedule

    model.train()
    device = next(model.parameters()).device
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = build_optimizer(trained, config)
    schedule = learning_rate_schedule(config, learning_rate, 0, 1)
    began = time.monotonic()
    with errors_of(loader):
        for step, (inputs,) in enumerate(loader):
            pairs = [image_and_target(inputs, row) for row in range(len(inputs["input_image"]))]
            targets = [{k: v.to(device) for k, v in as_tensors(objects).items()} for _, objects in pairs]
            loss = sum(model([to_tensor(image).to(device) for image, _ in pairs], targets).values())
            if not torch.isfinite(loss):
                raise InputError(f"the loss of torchvision's model is {loss} at step {step}; lower --learning-rate")
            for group in optimizer.param_groups:
                group["lr"] = float(schedule(step)) if callable(schedule) else schedule
            optimizer.zero_grad()
            loss.backward()
            if config.GRADIENT_CLIP_NORM:
                torch.nn.utils.clip_grad_norm_(trained, config.GRADIENT_CLIP_NORM)
            optimizer.step()
            if step % SAID_EVERY == 0:
                log.info("torchvision: step %d of %d, loss %.3f", step, len(loader), loss.item())
    log.info("torchvision: trained in %.0f s", time.monotonic() - began)


def build_optimizer(parameters: list[Any], config: "Config") -> Any:
    """Return the optimizer of OPTIMIZER, with the momentum and weight decay of our settings and Keras' epsilon."""
    import torch

    momentum, epsilon = config.LEARNING_MOMENTUM, 1e-7
    if config.OPTIMIZER == "adam":
        return torch.optim.Adam(parameters, betas=(momentum, 0.999), eps=epsilon)
    if config.OPTIMIZER == "adamw":
        return torch.optim.AdamW(parameters, betas=(momentum, 0.999), eps=epsilon, weight_decay=config.WEIGHT_DECAY)
    return torch.optim.SGD(parameters, config.LEARNING_RATE, momentum, weight_decay=config.WEIGHT_DECAY)


# --------------------------------------------------------------------------------------------------------- detection


def detections(model: Any, dataset: "Dataset") -> Iterator["Entry"]:
    """Yield the COCO results of torchvision's model in all images of a dataset, in their own size."""
    import torch

    from mrcnn.evaluation.coco_results import category_ids, image_key

    model.eval()
    device, categories = next(model.parameters()).device, category_ids(dataset)
    for image_id in dataset.image_ids:
        with torch.inference_mode():
            (found,) = model([to_tensor(dataset.load_image(image_id)).to(device)])
        arrays = {name: values.cpu().numpy() for name, values in found.items()}
        yield from as_entries(arrays, image_key(dataset, image_id), categories)


def as_entries(found: dict[str, np.ndarray], key: int | str, categories: list[int | str]) -> list["Entry"]:
    """Return torchvision's detections in one image as COCO results.

    Args:
        found: boxes float [n, (x1, y1, x2, y2)] px, labels int [n], scores float [n], masks float [n, 1, H, W].
        key: `image_id` to write.
        categories: [C] category id of each class id.
    """
    from pycocotools import mask as coco

    from mrcnn.evaluation.coco_results import with_text_counts

    columns = [found[name].tolist() for name in ("boxes", "labels", "scores")]
    return [
        {
            "image_id": key,
            "category_id": categories[label],
            "score": min(score, 1.0),
            "bbox": [x1, y1, x2 - x1, y2 - y1],
            "segmentation": with_text_counts(coco.encode(np.asfortranarray(probs[0] >= 0.5, np.uint8))),
        }
        for (x1, y1, x2, y2), label, score, probs in zip(*columns, found["masks"], strict=True)
    ]
