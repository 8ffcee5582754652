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

GOLDEN = pathlib.Path(__file__).parent / "golden"
MAP = (2, 22, 70, 3)  # images, height, width, channels of the pooled map
# y1, x1, y2, x2 in pixels of the map: whole, partly and wholly outside, tiny, empty, narrow, of all the map
ROIS = np.array(
    [
        [[2, 3, 16, 17], [1.3, 2.7, 9.1, 30.2], [-4, -3, 6, 5], [17, 60, 26, 75], [5.2, 6.1, 5.4, 6.3]],
        [[8, 8, 8, 12], [10, 2, 11, 62], [0, 0, 22, 70], [30, 80, 40, 90], [0.5, 30.25, 21.5, 31.5]],
    ],
    np.float32,
)
POOLS = ((7, 7), (1, 1), (3, 2))
RATIOS = (1, 2, -1)
IMAGES = {"up": ((13, 17), (29, 40)), "down": ((31, 45), (14, 19)), "both": ((21, 18), (33, 11))}
PASTED = (40, 53)  # height and width of the image that masks are pasted into
MASK_BOXES = np.array(  # x1, y1, x2, y2
    [
        *([5, 4, 33, 32], [3.2, 5.7, 20.9, 18.1], [-8.5, -3.5, 12.5, 14.5], [40, 30, 70, 60], [10.2, 10.3, 10.6, 10.9]),
        *([-100, -80, 150, 120], [7, 3, 49, 17], [0, 0, 53, 40], [20.5, 1.5, 21.5, 39.5]),
    ],
    np.float32,
)


def seeded(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """Return values in 0..1 that the tests can draw again: float32."""
    return np.random.default_rng(sum(map(ord, name))).uniform(size=shape).astype(np.float32)


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
