"""Runs torchvision's Mask R-CNN R50-FPN on the same images, for `--against torchvision`.

It runs in its own process, so that the threads and libraries of the two frameworks do not interfere.
"""

import importlib.util
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from mrcnn.errors import InputError
from mrcnn.structures.masks import expand_mask


def refuse_without() -> None:
    """Raise InputError if torchvision is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        raise InputError("--against torchvision needs torchvision: pip install '.[benchmark]'")


class Other:
    """A call that runs in another process; calling this object returns its duration there in seconds."""

    def __init__(self, make: Callable[..., Callable[..., Any]], *args: Any) -> None:
        """Start the process.

        Args:
            make: `detector` or `trainer`.
            args: Arguments of `make`.
        """
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        context.Process(target=_serve, args=(theirs, make, args), daemon=True).start()
        theirs.close()

    def __call__(self, *args: Any) -> float:
        """Run the call once and wait for it."""
        try:
            self.pipe.send(args)
            return self.pipe.recv()
        except (EOFError, ConnectionError):
            raise InputError("--against torchvision failed; see its error above") from None


def _serve(pipe: Connection, make: Callable[..., Callable[..., Any]], args: tuple) -> None:
    call = make(*args)
    while True:
        try:
            given = pipe.recv()
        except EOFError:  # the benchmark has ended
            return
        began = time.perf_counter()
        call(*given)
        pipe.send(time.perf_counter() - began)


def detector(image: np.ndarray, classes: int) -> Callable[[], Any]:
    """Return a call that detects in one image, uint8 [H, W, 3], at its original size.

    The weights are random and there is no score threshold, so the mask head gets 100 boxes and all masks are pasted, as
    in our model.
    """
    import torch

    size = max(image.shape[:2])
    model = _model(classes, size, box_score_thresh=0.0).eval()
    batch = [to_tensor(image)]

    def detect() -> Any:
        with torch.inference_mode():
            (found,) = model(batch)
        assert len(found["masks"]) == 100, "as many masks as ours"
        return found

    return detect


def trainer(classes: int, size: int) -> Callable[[dict[str, np.ndarray]], Any]:
    """Return a call that trains one SGD step on a batch of our loader: all layers but stem and res2, as by default."""
    import torch

    model = _model(classes, size).train()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=1e-4, momentum=0.9)

    def step(inputs: dict[str, np.ndarray]) -> None:
        images = [to_tensor(image) for image in inputs["input_image"]]
        targets = [as_tensors(target(inputs, row)) for row in range(len(images))]
        loss = sum(model(images, targets).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def _model(classes: int, size: int, **options: Any) -> Any:
    """Build `maskrcnn_resnet50_fpn` as for COCO weights (BatchNorm, stem and res2 frozen), but with random weights."""
    from torchvision.models.detection import MaskRCNN
    from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None, trainable_layers=3)
    return MaskRCNN(backbone, classes, min_size=size, max_size=size, **options)


def to_tensor(image: np.ndarray) -> Any:
    """Convert an image, uint8 [H, W, 3], to a tensor, float [3, H, W] from 0 to 1."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))).float() / 255


def target(inputs: dict[str, np.ndarray], row: int) -> dict[str, np.ndarray]:
    """Return the objects of an image of our batch as torchvision takes them; crowds and unused slots are left out.

    Args:
        inputs: of a batch of `mrcnn.data.loader.Loader`, with mini-masks.
        row: the image in it.

    Returns:
        boxes float32 [n, (x1, y1, x2, y2)] px of the batch's image, labels int64 [n], masks uint8 [n, H, W].
    """
    real = np.flatnonzero(inputs["input_gt_class_ids"][row] > 0)
    boxes = inputs["input_gt_boxes"][row][real].astype(int)
    masks = expand_mask(boxes, inputs["input_gt_masks"][row][..., real], inputs["input_image"].shape[1:3])
    return {
        "boxes": boxes[:, [1, 0, 3, 2]].astype(np.float32),
        "labels": inputs["input_gt_class_ids"][row][real].astype(np.int64),
        "masks": masks.transpose(2, 0, 1).astype(np.uint8),
    }


def as_tensors(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Convert the arrays of a target to tensors."""
    import torch

    return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
