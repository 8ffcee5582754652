"""What the notebooks share: data, settings, weights and pictures in one call each, and smaller runs for the tests.

Relative paths: the first cell of a notebook changes to the folder of the repository.
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
from bdd100k import open_data as opening
from bdd100k.streets.scenes import write_streets
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset

if TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


QUICK = "NOTEBOOK_QUICK"  # environment variable: few images, few steps
RUNS = pathlib.Path("runs")
DPI = 72  # outputs are kept in the notebooks, so pictures are small
JPEG_QUALITY = 66


def start(seed: int = 0) -> None:
    """Begins a notebook: seeds, small JPEG pictures, no messages of the libraries.

    Args:
        seed: of `random` and `np.random`, from which the notebook's examples are drawn.
    """
    random.seed(seed)
    np.random.seed(seed)
    logging.getLogger().setLevel(logging.WARNING)
    with _without_stderr():  # TensorFlow tells of its CPU before it can be asked not to
        importlib.import_module("mrcnn.model")
    import matplotlib.pyplot as plt

    plt.rcParams.update({"figure.dpi": DPI, "font.size": 10})
    if "ipykernel" in sys.modules:
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("jpeg", pil_kwargs={"quality": JPEG_QUALITY, "optimize": True, "progressive": True})


def few(full: int, quick: int) -> int:
    """A number of images or steps: `full`, or `quick` where the tests run the notebook."""
    return quick if os.environ.get(QUICK) else full


def open_data(
    data: str | None, split: str = "train", images: int = 40, weights: str | None = None
) -> tuple[Dataset, Config]:
    """The dataset of a lesson and settings for it.

    Args:
        data: a folder that the scripts take as --data, or None for drawn street scenes.
        split: "train" or "val".
        images: at most this many; the tests have 8.
        weights: see `open_model`; a checkpoint's own settings are taken.

    Returns:
        The prepared dataset and, for one image a batch, the settings that the scripts would take.

    Raises:
        InputError: no such data or weights, or the weights were trained on other classes.
    """
    images = few(images, 8)
    if data is None:
        count = few(80, 8)
        folder = write_streets(RUNS / f"notebook_streets_{count}", train=count, val=count, seed=3)
        dataset: Dataset = opening.open_dataset(str(folder), split, images)
    else:
        dataset = opening.open_dataset(data, split, images)
    checkpoint = None if weights is None else cli.find_weights(weights, str(RUNS / "notebook_logs"), None)
    if checkpoint is not None and data is not None:
        cli.refuse_other_classes(checkpoint, dataset.class_names)
    config = cli.build_config(None, data, checkpoint, ["IMAGES_PER_GPU=1"])
    cli.follow_classes(config, dataset.class_names)
    return dataset, config


def open_model(weights: str, config: Config) -> "MaskRCNN":
    """A model for inference.

    Args:
        weights: "streets", or the path of an .h5 file that fits the settings; "none" leaves them random.
        config: see `open_data`.

    Raises:
        InputError: no such weights, or they do not fit the settings.
    """
    from mrcnn.model import MaskRCNN

    model = MaskRCNN("inference", config, RUNS / "notebook_logs")
    path = cli.find_weights(weights, str(RUNS / "notebook_logs"), config.NAME)
    if path is not None:
        model.load_weights(path)
    return model


def training_model(weights: str, config: Config, epochs: int, steps: int) -> "MaskRCNN":
    """A model that begins a training on other classes: the layers that depend on the classes start anew.

    Args:
        weights: as in `open_model`.
        config: its steps an epoch are set.
        epochs: of a stage.
        steps: of a stage.

    Raises:
        InputError: as `open_model`.
    """
    from mrcnn.model import MaskRCNN
    from mrcnn.modeling.weights import CLASS_LAYERS

    logs = RUNS / "notebook_logs"
    shutil.rmtree(logs, ignore_errors=True)  # of the last time
    config.STEPS_PER_EPOCH = max(1, steps // epochs)
    model = MaskRCNN("training", config, logs)
    path = cli.find_weights(weights, str(logs), config.NAME)
    if path is not None:
        model.load_weights(path, exclude=[*CLASS_LAYERS, "mrcnn_bbox"])
    return model


def weights_of_two_stages(weights: str, train: Dataset, config: Config, steps: int) -> list[pathlib.Path]:
    """A short training as `training_model` begins it: the heads, then all layers at a tenth of the rate.

    Args:
        weights: as in `open_model`.
        train: training images.
        config: settings.
        steps: of each stage.

    Returns:
        Weight files: at the start, after the heads, at the end.

    Raises:
        InputError: as `open_model`, or the training fails.
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
    """Sends what C++ writes to file 2 to nowhere. Exceptions of Python are not touched."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
