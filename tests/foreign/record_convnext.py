"""Records what torchvision's ConvNeXt computes with seeded weights: `python -m tests.foreign.record_convnext`.

Needs torch and torchvision, which the project does not; the tests compare with the file that this writes.
"""

import json
import pathlib

import numpy as np
import torch
import torchvision

from tests.foreign.torchvision_weights import seeded_image, seeded_tensor

GOLDEN = pathlib.Path(__file__).parent / "golden"
HEIGHT, WIDTH, KEPT = 64, 96, 800  # px, and how many values of each stage are kept
MEAN, STD = np.array([123.675, 116.28, 103.53]), np.array([58.395, 57.12, 57.375])


@torch.no_grad()
def main() -> None:
    """Write golden/convnext_tiny.npz: samples of C2 to C5, and the names and shapes of the weights as JSON."""
    model = torchvision.models.convnext_tiny().eval()
    shapes = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(seeded_tensor(name, shape)) for name, shape in shapes.items()})
    x = torch.from_numpy(((seeded_image(HEIGHT, WIDTH) - MEAN) / STD).astype(np.float32)).permute(2, 0, 1)[None]
    arrays = {"shapes": np.array(json.dumps(shapes))}
    for number, step in enumerate(model.features):
        x = step(x)
        if number % 2:
            stage = model.classifier[0](x) if number == 7 else x  # Keras' model ends with the classifier's norm
            values = stage[0].permute(1, 2, 0).numpy()
            arrays[f"C{number // 2 + 2}"] = values.reshape(-1)[:: max(1, values.size // KEPT)]
            print(values.shape, values.std())
    np.savez_compressed(GOLDEN / "convnext_tiny.npz", **arrays)
    print(len(shapes), torchvision.__version__)


if __name__ == "__main__":
    main()
