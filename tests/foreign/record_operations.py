"""Records single operations of torch and torchvision: `python -m tests.foreign.record_operations`.

Needs torch and torchvision, which the project does not; the tests compare with the file that this writes.
"""

import math
import pathlib

import numpy as np
import torch
from torch.nn import functional
from torchvision import ops
from torchvision.models.detection import roi_heads, transform

from tests.foreign.operations import IMAGES, MAP, MASK_BOXES, PASTED, POOLS, RATIOS, ROIS, seeded

GOLDEN = pathlib.Path(__file__).parent / "golden"


def main() -> None:
    """Write golden/torch_operations.npz."""
    arrays = {**pooled(), **resized(), **pasted(), **sizes()}
    np.savez_compressed(GOLDEN / "torch_operations.npz", **arrays)
    print(len(arrays), torch.__version__)


def pooled() -> dict[str, np.ndarray]:
    """Return ROIAlign of each pool, ratio and alignment, and its gradient with respect to the map."""
    rois = [torch.from_numpy(boxes[:, [1, 0, 3, 2]]) for boxes in ROIS]
    found = {}
    for pool in POOLS:
        for ratio in RATIOS:
            for aligned in (False, True):
                maps = torch.from_numpy(seeded("map", MAP)).permute(0, 3, 1, 2).requires_grad_()
                out = ops.roi_align(maps, rois, pool, 1.0, ratio, aligned).permute(0, 2, 3, 1)
                out = out.reshape(*ROIS.shape[:2], *out.shape[1:])
                upstream = torch.from_numpy(seeded("upstream", tuple(out.shape)))
                (out * upstream).sum().backward()
                key = f"roi/{pool[0]}x{pool[1]}/{ratio}/{aligned}"
                found[key] = out.detach().numpy()
                if pool != (3, 2):
                    found[f"{key}/gradient"] = maps.grad.permute(0, 2, 3, 1).numpy()
    return found


def resized() -> dict[str, np.ndarray]:
    """Return bilinear interpolation of images of 0 to 255."""
    found = {}
    for name, (old, new) in IMAGES.items():
        image = torch.from_numpy(np.round(seeded(name, (*old, 3)) * 255)).permute(2, 0, 1)[None]
        out = functional.interpolate(image, size=new, mode="bilinear", align_corners=False)
        found[f"resize/{name}"] = out[0].permute(1, 2, 0).numpy()
    return found


def pasted() -> dict[str, np.ndarray]:
    """Return masks of 28 x 28 in an image, by torchvision's rule and sampled on a grid of pixel centres."""
    masks, boxes = torch.from_numpy(seeded("masks", (len(MASK_BOXES), 1, 28, 28))), torch.from_numpy(MASK_BOXES)
    whole = roi_heads.paste_masks_in_image(masks, boxes, PASTED)[:, 0]
    y, x = (torch.arange(side, dtype=torch.float32) + 0.5 for side in PASTED)
    grid = torch.stack(
        [
            ((x[None] - boxes[:, 0:1]) / (boxes[:, 2:3] - boxes[:, 0:1]) * 2 - 1)[:, None].expand(-1, len(y), -1),
            ((y[None] - boxes[:, 1:2]) / (boxes[:, 3:4] - boxes[:, 1:2]) * 2 - 1)[:, :, None].expand(-1, -1, len(x)),
        ],
        dim=-1,
    )
    sampled = functional.grid_sample(masks, grid, align_corners=False)[:, 0]
    return {"paste/torchvision": whole.numpy(), "paste/grid": sampled.numpy()}


def sizes() -> dict[str, np.ndarray]:
    """Return the sizes that torchvision resizes images to: rows (height, width, new height, new width)."""
    draw = np.random.default_rng(0)
    resize = transform.GeneralizedRCNNTransform(800, 1333, [0.0] * 3, [1.0] * 3)
    shapes = [(720, 1280), (480, 640), (427, 640), (1080, 1920), (640, 480), (1024, 2048)]
    shapes += [tuple(int(side) for side in draw.integers(60, 700, 2)) for _ in range(60)]
    rows = [(h, w, *resize.resize(torch.zeros(3, h, w), None)[0].shape[1:]) for h, w in shapes]
    assert all(math.prod(row) for row in rows)
    return {"sizes": np.array(rows)}


if __name__ == "__main__":
    main()
