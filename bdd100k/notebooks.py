"""Prepares data, settings and models for the notebooks, one call for each, with smaller runs for the tests.

Paths are relative to the folder of the repository, to which the first cell of a notebook changes.
"""

import contextlib
import importlib
import logging
import os
import pathlib
import random
import shutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bdd100k import cli
from bdd100k.open_data import open_dataset
from bdd100k.streets.scenes import write_streets
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


QUICK = "NOTEBOOK_QUICK"  # environment variable that the tests set, for few images and steps
RUNS = pathlib.Path("runs")
DPI = 72  # low, because outputs are stored in the notebooks
JPEG_QUALITY = 66


def start(seed: int = 0) -> None:
    """Prepare a notebook: seed random numbers, store figures as small JPEGs, and silence the libraries.

    Args:
        seed: Seed of `random` and `np.random`, which choose the notebook's examples.
    """
    random.seed(seed)
    np.random.seed(seed)
    logging.getLogger().setLevel(logging.WARNING)
    with _without_stderr():  # TensorFlow reports the CPU before its log level can be set
        importlib.import_module("mrcnn.model")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"figure.dpi": DPI, "font.size": 10})
    if "ipykernel" in sys.modules:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": JPEG_QUALITY, "optimize": True, "progressive": True})


def few(full: int, quick: int) -> int:
    """Return `full`, or `quick` if a test runs the notebook, as a number of images or steps."""
    return quick if os.environ.get(QUICK) else full


def open_data(
    data: str | None, split: str = "train", images: int = 40, weights: str | None = None
) -> tuple[Dataset, Config]:
    """Open the dataset of a notebook and build settings for it.

    Args:
        data: Folder, as for --data of the scripts, or None for drawn street scenes.
        split: "train" or "val".
        images: Maximum number of images; 8 in the tests.
        weights: As in `open_model`; the settings of a checkpoint are used.

    Returns:
        The prepared dataset, and the settings that the scripts would use, for batches of one image.

    Raises:
        InputError: The data or the weights do not exist, or the weights were trained on other classes.
    """
    images = few(images, 8)
    if data is None:
        count = few(80, 8)
        folder = write_streets(RUNS / f"notebook_streets_{count}", train=count, val=count, seed=3)
        dataset: Dataset = open_dataset(str(folder), split, images)
    else:
        dataset = open_dataset(data, split, images)
    checkpoint = None if weights is None else cli.find_weights(weights, str(RUNS / "notebook_logs"), None)
    if checkpoint is not None and data is not None:
        cli.refuse_other_classes(checkpoint, dataset.class_names)
    config = cli.build_config(None, data, checkpoint, ["IMAGES_PER_GPU=1"])
    cli.follow_classes(config, dataset.class_names)
    return dataset, config


def open_model(weights: str, config: Config) -> "MaskRCNN":
    """Build a model for inference.

    Args:
        weights: "streets", the path of an .h5 file that fits the settings, or "none" for random weights.
        config: Settings from `open_data`.

    Raises:
        InputError: The weights do not exist or do not fit the settings.
    """
    from mrcnn.model import MaskRCNN

    model = MaskRCNN("inference", config, RUNS / "notebook_logs")
    path = cli.find_weights(weights, str(RUNS / "notebook_logs"), config.NAME)
    if path is not None:
        model.load_weights(path)
    return model


def training_model(weights: str, config: Config, epochs: int, steps: int) -> "MaskRCNN":
    """Build a model for training on other classes, without loading the layers that depend on the classes.

    Args:
        weights: As in `open_model`.
        config: Settings; STEPS_PER_EPOCH is set.
        epochs: Epochs per stage.
        steps: Steps per stage.

    Raises:
        InputError: See `open_model`.
    """
    from mrcnn.model import MaskRCNN
    from mrcnn.modeling.weights import CLASS_LAYERS

    logs = RUNS / "notebook_logs"
    shutil.rmtree(logs, ignore_errors=True)  # from an earlier run
    config.STEPS_PER_EPOCH = max(1, steps // epochs)
    model = MaskRCNN("training", config, logs)
    path = cli.find_weights(weights, str(logs), config.NAME)
    if path is not None:
        model.load_weights(path, exclude=[*CLASS_LAYERS, "mrcnn_bbox"])
    return model


def weights_of_two_stages(weights: str, train: Dataset, config: Config, steps: int) -> list[pathlib.Path]:
    """Train a `training_model` briefly: first the heads, then all layers at a tenth of the learning rate.

    Args:
        weights: As in `open_model`.
        train: Training images.
        config: Settings.
        steps: Steps per stage.

    Returns:
        Weight files from the start, after the heads, and from the end.

    Raises:
        InputError: See `open_model`; or training fails.
    """
    from mrcnn.modeling.weights import save_weights

    model = training_model(weights, config, 1, steps)
    paths = [RUNS / "notebook_logs" / f"{name}.h5" for name in ("start", "heads", "all")]
    paths[0].parent.mkdir(parents=True, exist_ok=True)
    save_weights(model.keras_model, paths[0])
    for number, (layers, rate) in enumerate((("heads", config.LEARNING_RATE), ("all", config.LEARNING_RATE / 10)), 1):
        model.train(train, None, learning_rate=rate, epochs=number, layers=layers)
        save_weights(model.keras_model, paths[number])
    return paths


@contextlib.contextmanager
def _without_stderr() -> Iterator[None]:
    """Discard the output of C++ code to stderr; exceptions are not affected."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
