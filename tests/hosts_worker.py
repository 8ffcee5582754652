"""Trains three steps in a separate process: python -m tests.hosts_worker DEVICESxIMAGES,... [HOSTS INDEX].

Each training prints one line of JSON: the losses and the final weights. DEVICES are simulated on the CPU, each for
IMAGES images (JAX needs XLA_FLAGS=--xla_force_host_platform_device_count=DEVICES). With HOSTS ("host:port,host:port")
this is process INDEX of several; after printing, the second one fails while the first one continues.
"""

import json
import os
import sys
import tempfile

import keras
import numpy as np

from mrcnn.backend import hosts
from tests.shapes import ShapesConfig, ShapesDataset

TENSORFLOW = keras.config.backend() == "tensorflow"  # it validates in a separate way, which takes time to compile
SETTINGS = [
    "STEPS_PER_EPOCH=3",
    "VALIDATION_STEPS=1",
    "TRUE_WEIGHT_DECAY=True",
    "WEIGHT_DECAY=0.01",
    "GRADIENT_CLIP_NORM=1.0",
    "CLASS_LOSS_WEIGHTS=[1.0, 0.5, 2.0, 1.0]",
]


class SmallConfig(ShapesConfig):
    """Settings with a backbone of five convolutions, because most of the time is tracing and compiling."""

    @staticmethod
    def BACKBONE(image, stage5, train_bn):
        stages = []
        for number in range(1, 6):
            image = keras.layers.Conv2D(16, 3, 2, "same", activation="relu", name=f"conv{number}")(image)
            stages.append(image)
        return stages

    @staticmethod
    def COMPUTE_BACKBONE_SHAPE(image_shape):
        return np.array([[image_shape[0] // stride, image_shape[1] // stride] for stride in (4, 8, 16, 32, 64)])


class NoTensorFlow:
    """Blocks imports of TensorFlow, which Keras would import for seconds only to set its seed."""

    def find_spec(self, name, path=None, target=None) -> None:
        if name == "tensorflow":
            raise ModuleNotFoundError(name)


def prepare_tensorflow(devices: int) -> None:
    """Split one CPU into several devices, and turn off the slow optimization of graphs."""
    import tensorflow as tf

    tf.config.optimizer.set_experimental_options({"disable_meta_optimizer": True})
    cpu = tf.config.list_physical_devices("CPU")[0]
    if devices > 1:
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * devices)


def main() -> None:
    """Train and print the results."""
    batches = [tuple(map(int, batch.split("x"))) for batch in sys.argv[1].split(",")]
    if TENSORFLOW:
        prepare_tensorflow(max(devices for devices, _ in batches))
    else:
        sys.meta_path.insert(0, NoTensorFlow())
    if len(sys.argv) > 2:
        hosts.join(sys.argv[2].split(","), int(sys.argv[3]))
    for number, (devices, images) in enumerate(batches):
        train(devices, images, validate=TENSORFLOW and number == 0)


def train(devices: int, images: int, validate: bool) -> None:
    """Train once and print the result."""
    from mrcnn.engine import run_pictures
    from mrcnn.model import MaskRCNN

    run_pictures.plot_curves = lambda *args: None  # it would take a tenth of the time
    keras.utils.set_random_seed(5)
    batch = [f"GPU_COUNT={devices}", f"IMAGES_PER_GPU={images}"]
    config = SmallConfig().override([*batch, *SETTINGS])
    with tempfile.TemporaryDirectory() as logs:
        model = MaskRCNN("training", config, logs)
        for name in (
            "rpn_class_raw",
            "rpn_bbox_pred",
        ):  # so that proposals are anchors at first and some overlap an object
            kernel = model.keras_model.get_layer("rpn_model").get_layer(name).kernel
            kernel.assign(np.zeros(kernel.shape))
        dataset = ShapesDataset().load_shapes(12)
        history = model.train(dataset, dataset if validate else None, 0.002, 1, "all", workers=1).history
        files = sorted(name for _, _, names in os.walk(logs) for name in names)
        report(model, history, files)
        if hosts.host()[1] > 1:  # one host fails, and the other must not wait for it
            if hosts.is_first_host():
                model.train(dataset, None, 0.002, 2, "all", workers=1)
            raise RuntimeError("on purpose")


def report(model, history: dict[str, list[float]], files: list[str]) -> None:
    """Print the line of JSON."""
    weights = [keras.ops.convert_to_numpy(v).astype(np.float64) for v in model.keras_model.trainable_variables]
    print(
        json.dumps(
            {
                "history": {name: float(np.ravel(values)[-1]) for name, values in history.items()},
                "weights": [float(np.abs(w).sum()) for w in weights],
                "files": files,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(hosts.run_together(lambda: main() or 0))
