"""Records what torchvision computes with seeded weights: `python -m tests.foreign.record_torchvision`.

Needs torch and torchvision, which the project does not; the tests compare with the files that this writes.
"""

import json
import pathlib

import numpy as np
import torch
import torchvision
from torchvision.models import detection
from torchvision.models.detection import backbone_utils
from torchvision.ops import misc

from tests.foreign.torchvision_weights import seeded_image, seeded_tensor

GOLDEN = pathlib.Path(__file__).parent / "golden"
# name -> (height, width of the image, min_size, max_size): the second is BDD100K's size, padded to 736 x 1280
SIZES = {"small": (200, 333, 256, 448), "bdd100k": (720, 1280, 720, 1280)}
LOGITS, CELLS, REGIONS, MASKS = 2000, 1000, 20, 6  # of each output, so many values are kept


def first_version(**sizes: int) -> torch.nn.Module:
    """Return the model of the published file of version 1: frozen BatchNorm whose epsilon is 0."""
    body = torchvision.models.resnet50(norm_layer=misc.FrozenBatchNorm2d)
    model = detection.MaskRCNN(backbone_utils._resnet_fpn_extractor(body, 3), num_classes=91, **sizes)
    detection._utils.overwrite_eps(model, 0.0)
    return model


def second_version(**sizes: int) -> torch.nn.Module:
    """Return the model of the published file of version 2."""
    return detection.maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **sizes)


BUILDERS = {"v1": first_version, "v2": second_version}


def main() -> None:
    """Write golden/torchvision_{v1,v2}.npz, and the names and shapes of the weights, torchvision_{v1,v2}.json."""
    GOLDEN.mkdir(exist_ok=True)
    for version, build in BUILDERS.items():
        arrays = {}
        for name, (height, width, low, high) in SIZES.items():
            model = build(min_size=low, max_size=high).eval()
            state = {key: torch.from_numpy(seeded_tensor(key, tuple(t.shape))) for key, t in model.state_dict().items()}
            model.load_state_dict(state)
            for key, value in record(model, seeded_image(height, width)).items():
                arrays[f"{name}/{key}"] = value
        np.savez_compressed(GOLDEN / f"torchvision_{version}.npz", **arrays)
        lines = (f"{json.dumps(key)}: {json.dumps(list(tensor.shape))}" for key, tensor in state.items())
        (GOLDEN / f"torchvision_{version}.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")
        print(
            version,
            len(state),
            sum(t.numel() for k, t in state.items() if "num_batches" not in k),
            torchvision.__version__,
        )


def rows(tensors: list[torch.Tensor], width: int) -> np.ndarray:
    """Return [1, A * width, h, w] of each level as [anchors of all levels, width], row by row."""
    parts = [t[0].reshape(-1, width, *t.shape[2:]).permute(2, 3, 0, 1).reshape(-1, width) for t in tensors]
    return torch.cat(parts).numpy()


@torch.no_grad()
def record(model: torch.nn.Module, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of every stage for one image, a sample of the large ones."""
    tensor = torch.from_numpy(image).permute(2, 0, 1).float() / 255
    images, _ = model.transform([tensor])
    stages = {}
    x = images.tensors
    for layer, module in model.backbone.body.items():
        x = module(x)
        if layer.startswith("layer"):
            stages[f"C{int(layer[-1]) + 1}"] = x
    pyramid = model.backbone(images.tensors)
    levels = list(pyramid.values())
    stages |= {f"P{k + 2}": level for k, level in enumerate(levels)}
    logits, deltas = model.rpn.head(levels)
    anchors = model.rpn.anchor_generator(images, levels)[0]
    proposals, _ = model.rpn(images, pyramid)
    pooled = model.roi_heads.box_roi_pool(pyramid, proposals, images.image_sizes)
    class_logits, box_deltas = model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))
    detections, _ = model.roi_heads(pyramid, proposals, images.image_sizes)
    final = model([tensor])[0]
    result = {
        "input": images.tensors[0].permute(1, 2, 0).numpy().reshape(-1)[:: images.tensors.numel() // CELLS],
        "shape": np.array(images.tensors.shape[2:]),
        "rpn_logits": rows(logits, 1)[:, 0][:: max(1, sum(t.numel() for t in logits) // LOGITS)],
        "rpn_deltas": rows(deltas, 4)[:: max(1, sum(t.numel() for t in logits) // 500)],
        "anchors": anchors.numpy()[:: max(1, len(anchors) // 500)],
        "proposals": proposals[0].numpy(),
        "pooled": pooled[:REGIONS, ::32].numpy(),
        "class_logits": class_logits[:REGIONS].numpy(),
        "box_deltas": box_deltas[:REGIONS].numpy(),
        "boxes": detections[0]["boxes"].numpy(),
        "labels": detections[0]["labels"].numpy(),
        "scores": detections[0]["scores"].numpy(),
        "masks": detections[0]["masks"][:MASKS, 0].numpy(),
        "final_boxes": final["boxes"].numpy(),
        "final_masks": np.packbits((final["masks"][:MASKS, 0] >= 0.5).numpy()),
    }
    for name, stage in stages.items():
        values = stage[0].permute(1, 2, 0).numpy()
        result[name] = values.reshape(-1)[:: max(1, values.size // CELLS)]
        result[f"{name}_shape"] = np.array(values.shape)
    return result


if __name__ == "__main__":
    main()
