"""Records what Detectron2 and MMDetection compute with seeded weights: `python -m tests.foreign.record_detectron2`.

These projects cannot be installed beside a current torch, so tests/foreign/restated.py says again what they compute. It
needs torch and torchvision, which the project does not; the tests compare with the files that this writes.
"""

import sys

import numpy as np
import torch

from tests.foreign import restated
from tests.foreign.variants import GOLDEN, IMAGES, ROWS, VALUES, VARIANTS, Variant, image_of

REGIONS, MASKS = 12, 6  # so many are kept
NEAREST = 1e-5  # a choice nearer than this may fall differently with other rounding


def main(names: list[str]) -> None:
    """Write golden/detectron2_{variant}.npz of the variants."""
    for name in names or VARIANTS:
        variant, arrays = VARIANTS[name], {}
        network = restated.Network(variant.tensors(), variant)
        for image in IMAGES:
            for key, value in record(network, image_of(image), variant).items():
                arrays[f"{image}/{key}"] = value
        path = GOLDEN / f"detectron2_{name}.npz"
        np.savez_compressed(path, **arrays)
        print(name, f"{path.stat().st_size:,} bytes", torch.__version__)


@torch.no_grad()
def record(network: restated.Network, image: np.ndarray, variant: Variant) -> dict[str, np.ndarray]:
    """Return the outputs of every stage for one image, samples of the large ones."""
    resized = restated.resized(image, variant)
    size = resized.shape[:2]
    tensor = restated.normalised(resized, variant)
    maps, levels = network.features(tensor)
    logits, deltas = network.rpn(levels)
    anchors = restated.anchors_of(levels)
    proposals, near = restated.proposals_of(logits, deltas, anchors, size, variant)
    pooled = network.pool(levels, proposals, 14 if variant.end == "c4" else 7)
    class_logits, box_deltas = network.box_head(pooled)
    boxes, labels, scores, also_near = restated.detections_of(class_logits, box_deltas, proposals, size, variant)
    masks = network.mask_head(network.pool(levels, boxes, 14), labels)
    ratio = torch.tensor([image.shape[1] / size[1], image.shape[0] / size[0]]).repeat(2)
    final = restated.clipped(boxes * ratio, image.shape[:2])
    in_image = restated.pasted(masks[:MASKS], final[:MASKS], image.shape[:2])
    counts = labels.bincount().tolist()
    print(
        f"{len(proposals)} proposals, {counts} of the classes, {scores.min():.3f}-{scores.max():.3f}", near, also_near
    )
    assert min(near, also_near) > NEAREST and len(boxes) >= 20 and sum(count > 0 for count in counts) >= 3
    assert in_image.any((1, 2)).all() and (logits[0].std() > 0.01)
    result = {
        "input": sample(tensor[0].permute(1, 2, 0).flatten(), VALUES),
        "shape": np.array(tensor.shape[2:]),
        "rpn_logits": sample(torch.cat(logits), VALUES),
        "rpn_deltas": sample(torch.cat(deltas), ROWS),
        "anchors": sample(torch.cat(anchors), ROWS),
        "proposals": proposals.numpy(),
        "pooled": pooled[:REGIONS, :: max(1, pooled.shape[1] // 4)].numpy(),
        "class_logits": class_logits[:REGIONS].numpy(),
        "box_deltas": box_deltas[:REGIONS].numpy(),
        "boxes": boxes.numpy(),
        "labels": labels.numpy() + 1,
        "scores": scores.numpy(),
        "masks": masks[:MASKS].numpy(),
        "final_boxes": final.numpy(),
        "final_masks": np.packbits(in_image.numpy()),
    }
    for name, values in maps.items():
        result[name] = sample(values[0].permute(1, 2, 0).flatten(), VALUES)
        result[f"{name}_shape"] = np.array([*values.shape[2:], values.shape[1]])
    return result


def sample(values: torch.Tensor, count: int) -> np.ndarray:
    """Return every n-th value or row."""
    return values[:: max(1, len(values) // count)].numpy()


if __name__ == "__main__":
    main(sys.argv[1:])
