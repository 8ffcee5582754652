"""A training of three steps in a process of its own: python -m tests.hosts_worker DEVICES IMAGES [HOSTS INDEX].

Prints one line of JSON: the losses, and what the weights have become. DEVICES are pretended, on the CPU, each for
IMAGES images (JAX wants XLA_FLAGS=--xla_force_host_platform_device_count=DEVICES). With HOSTS ("host:port,host:port")
it is process INDEX of several; when all is printed, the second one fails while the first one goes on.
"""

import json
import os
import sys
import tempfile

import keras
import numpy as np

from mrcnn import distribution
from tests.shapes import ShapesConfig, ShapesDataset

DEVICES, IMAGES = int(sys.argv[1]), int(sys.argv[2])
VALIDATION = int(keras.config.backend() == "tensorflow")  # where it has a way of its own; compiling it takes time
SETTINGS = ["STEPS_PER_EPOCH=3", f"VALIDATION_STEPS={VALIDATION}", "TRUE_WEIGHT_DECAY=True", "WEIGHT_DECAY=0.01",
            "GRADIENT_CLIP_NORM=1.0", "CLASS_LOSS_WEIGHTS=[1.0, 0.5, 2.0, 1.0]"]  # fmt: skip


def split_tensorflow() -> None:
    """One CPU becomes DEVICES devices."""
    import tensorflow as tf

    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * DEVICES)


def main() -> None:
    """Train, and print what came of it."""
    if DEVICES > 1 and keras.config.backend() == "tensorflow":
        split_tensorflow()
    if len(sys.argv) > 3:
        distribution.join(sys.argv[3].split(","), int(sys.argv[4]))
    from mrcnn.model import MaskRCNN

    keras.utils.set_random_seed(5)
    config = ShapesConfig().override([f"GPU_COUNT={DEVICES}", f"IMAGES_PER_GPU={IMAGES}", *SETTINGS])
    with tempfile.TemporaryDirectory() as logs:
        model = MaskRCNN("training", config, logs)
        for name in ("rpn_class_raw", "rpn_bbox_pred"):  # so proposals are anchors at first, and some meet an object
            kernel = model.keras_model.get_layer("rpn_model").get_layer(name).kernel
            kernel.assign(np.zeros(kernel.shape))
        dataset = ShapesDataset().load_shapes(12)
        history = model.train(dataset, dataset, 0.002, 1, "all", workers=1).history
        files = sorted(name for _, _, names in os.walk(logs) for name in names)
        report(model, history, files)
        if len(sys.argv) > 3:  # one host fails, the other must not wait for it
            if distribution.is_first_host():
                model.train(dataset, None, 0.002, 2, "all", workers=1)
            raise RuntimeError("on purpose")


def report(model, history: dict[str, list[float]], files: list[str]) -> None:
    """The line of JSON."""
    weights = [keras.ops.convert_to_numpy(v).astype(np.float64) for v in model.keras_model.trainable_variables]
    print(json.dumps({
        "history": {name: float(np.ravel(values)[-1]) for name, values in history.items()},
        "weights": [float(np.abs(w).sum()) for w in weights],
        "files": files,
    }), flush=True)  # fmt: skip


if __name__ == "__main__":
    sys.exit(distribution.run_together(lambda: main() or 0))
