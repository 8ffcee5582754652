"""Validation during training by what counts: the mask AP of the weights that the checkpoint of the epoch holds."""

import contextlib
import copy
import json
import logging
import math
import pathlib
import random
import shutil
import time
import typing
from collections.abc import Iterator

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.engine import checkpoints
from mrcnn.engine.results_csv import MASK_AP, Results
from mrcnn.errors import InputError
from mrcnn.evaluation.coco_results import image_key
from mrcnn.evaluation.evaluator import Result, evaluate
from mrcnn.files import written_whole
from mrcnn.modeling import weights

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


log = logging.getLogger(__name__)

VALIDATION_FILE = "validation.json"
SHARE = 0.09  # of the time of the steps of an epoch, with validation by loss; a tenth with what varies
LEAST = 8  # images; the AP of fewer says nothing
TIMED = 8  # images from which the time of one is measured


class Validator(keras.callbacks.Callback):
    """After each epoch: mask AP, AP50 and box AP on some of the validation images; the best checkpoint; early stop.

    The weights (their moving averages, where the checkpoint has those) are copied into an inference network, which is
    built once, so training is not touched: with and without validation it gives the same weights, bit for bit. It runs
    between two epochs on the same device. Which images are taken is drawn by config.SEED and written to
    validation.json, so that all epochs, also after `resume`, are compared on the same ones.

    Figures go into the logs of the epoch as val_mask_AP, val_mask_AP50 and val_box_AP, NaN where undefined.
    """

    def __init__(
        self,
        owner: "MaskRCNN",
        dataset: Dataset,
        results: Results,
        count: int | None,
        patience: int | None,
        first_epoch: int,
        epoch_seconds: typing.Callable[[], float],
        loss_seconds: typing.Callable[[], float],
    ) -> None:
        """Nothing is built yet.

        Args:
            owner: the model that trains.
            dataset: prepared validation images.
            results: of the epochs before; the best of them is to be beaten.
            count: images to evaluate; None: as many as take a tenth of an epoch's time, measured in the first, together
                with validation by loss.
            patience: stop after so many epochs without a better mask AP; None: never.
            first_epoch: at which the stage began; patience counts from there.
            epoch_seconds: gives the time that the steps of an epoch take.
            loss_seconds: gives the time that validation by loss took.

        Raises:
            InputError: validation.json in the run folder cannot be understood.
        """
        super().__init__()
        self.owner, self.dataset, self.results = owner, dataset, results
        self.count, self.patience, self.first_epoch = count, patience, first_epoch
        self.epoch_seconds, self.loss_seconds = epoch_seconds, loss_seconds
        self.seconds = 0.0  # that the last validation took, without building the network
        self.result: Result | None = None  # of the last epoch
        self.image_ids, self._after = self._remembered()
        self._detector: MaskRCNN | None = None
        self._best = self._known_best()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Evaluate; copy the checkpoint if it is the best; stop if it is time.

        Raises:
            InputError: an image cannot be read, or a file not be written.
        """
        assert logs is not None, "Keras passes the same dictionary to all callbacks of an epoch"
        with _same_random_state():
            if self._detector is None:
                self._detector = inference_model(self.owner)
            copy_weights(self.owner.keras_model, self._detector.keras_model)
            if not self.image_ids:
                self._choose(self._detector)
            begun = time.monotonic()
            self.result = result = self._evaluate(self._detector, self.image_ids)
            self.seconds = time.monotonic() - begun
        for name, value in (
            (MASK_AP, result.mask["AP"]),
            ("val_mask_AP50", result.mask["AP50"]),
            ("val_box_AP", result.box["AP"]),
        ):
            logs[name] = math.nan if value is None else float(value)
        self._compare(epoch + 1, logs[MASK_AP])

    def _evaluate(self, model: "MaskRCNN", image_ids: list[int]) -> Result:
        return evaluate(model, self.dataset, image_ids, batch_size=model.config.BATCH_SIZE, samples=0)

    def _compare(self, epoch: int, ap: float) -> None:
        if ap > self._best[1]:
            self._best = (epoch, ap)
            self._copy(pathlib.Path(self.owner.checkpoint_path.format(epoch=epoch)))
        since = epoch - max(self._best[0], self.first_epoch)
        if self.patience is not None and since >= self.patience:
            log.info(
                "the best mask AP is that of epoch %d, %.4f; %d without a better one: the stage ends here",
                *self._best,
                since,
            )
            self.model.stop_training = True

    def _known_best(self) -> tuple[int, float]:
        """(epoch, mask AP) of the best checkpoint, (0, -1) if there is none. After epochs that are done again it is
        another one, or none."""
        path, best = best_path(self.owner), self.results.best(self._after)
        if best is None:
            path.unlink(missing_ok=True)
            return 0, -1.0
        epoch = int(best["epoch"])
        if not path.exists() or weights.read_attrs(path).get("epoch") != epoch:
            source = pathlib.Path(self.owner.checkpoint_path.format(epoch=epoch))
            if not source.exists():
                path.unlink(missing_ok=True)
                return 0, -1.0
            self._copy(source)
        return epoch, float(best[MASK_AP])

    def _copy(self, checkpoint: pathlib.Path) -> None:
        with written_whole(best_path(self.owner)) as temporary:
            shutil.copyfile(checkpoint, temporary)

    def _choose(self, model: "MaskRCNN") -> None:
        """Fix the images: as many as were asked for, or as time allows."""
        everything = np.random.default_rng(int(model.config.SEED)).permutation(self.dataset.image_ids).tolist()
        batch = int(model.config.BATCH_SIZE)
        count = self.count
        if count is None:
            timed = everything[: -(-TIMED // batch) * batch]
            self._evaluate(model, timed[:batch])  # traces the network
            begun = time.monotonic()
            self._evaluate(model, timed)
            each = (time.monotonic() - begun) / len(timed)
            affordable = max(0.0, SHARE * self.epoch_seconds() - self.loss_seconds()) / each
            count = int(affordable) // batch * batch  # an incomplete batch would be traced again
            if count < LEAST:
                log.warning(
                    "after each epoch, whose steps take %.1f s, mask AP needs %.1f s for %d images, and the validation "
                    "loss %.1f s. Longer epochs (STEPS_PER_EPOCH), fewer VALIDATION_STEPS, or no validation by AP, "
                    "spend less on it",
                    self.epoch_seconds(),
                    each * LEAST,
                    LEAST,
                    self.loss_seconds(),
                )
                count = -(-LEAST // batch) * batch
        self.image_ids = sorted(everything[:count])
        log.info("mask AP is measured on %d of %d validation images", len(self.image_ids), len(everything))
        keys = [image_key(self.dataset, image_id) for image_id in self.image_ids]
        record = {"after_epoch": self._after, "images": keys}
        with written_whole(self._path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    @property
    def _path(self) -> pathlib.Path:
        return pathlib.Path(self.owner.log_dir) / VALIDATION_FILE

    def _remembered(self) -> tuple[list[int], int]:
        """The images of the epochs before, if they are of this dataset and as many as wanted, and the epoch after which
        they came into use; else none, and the present epoch."""
        try:
            record = json.loads(self._path.read_text(encoding="utf-8"))
            keys, after = record["images"], int(record["after_epoch"])
        except FileNotFoundError:
            return [], self.owner.epoch
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self._path} is no list of validation images ({error}); delete it") from error
        ids = {image_key(self.dataset, int(image_id)): int(image_id) for image_id in self.dataset.image_ids}
        wanted = len(keys) if self.count is None else min(self.count, len(ids))
        if len(keys) == wanted and all(key in ids for key in keys):
            return [ids[key] for key in keys], after
        log.warning(
            "the epochs before were validated on %d other images (%s): the mask AP from here on cannot be compared "
            "with theirs, and the best checkpoint is looked for anew",
            len(keys),
            self._path,
        )
        return [], self.owner.epoch


def best_path(model: "MaskRCNN") -> pathlib.Path:
    """mask_rcnn_NAME_best.h5 in the run folder: a copy of the checkpoint with the best mask AP."""
    return pathlib.Path(model.checkpoint_path.replace("{epoch:04d}", "best"))


def validation_config(config: Config) -> Config:
    """The settings of the inference network: AP needs detections of low scores too, as scripts/evaluate.py says."""
    config = copy.copy(config)
    config.DETECTION_MIN_CONFIDENCE = min(config.DETECTION_MIN_CONFIDENCE, 0.05)
    return config


def inference_model(model: "MaskRCNN") -> "MaskRCNN":
    """A model for inference with the settings of one that trains, and weights of its own (`copy_weights`)."""
    from mrcnn.model import MaskRCNN  # which imports this module

    return MaskRCNN("inference", validation_config(model.config), model.model_dir)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give an inference network the weights of a training network, or their moving averages if it has them.

    Args:
        source: compiled; its variables stay as they are.
        target: of the same architecture, with layers of the same names.
    """
    checkpoints.sync(source)
    averages = {id(variable): average for variable, average in checkpoints.averages_of(source)}
    theirs = weights.leaf_layers(source)
    for name, variables in weights.leaf_layers(target).items():
        for variable, trained in zip(variables, theirs[name], strict=True):
            # a copy: JAX gives the buffers of a training step away to the next one
            variable.assign(np.array(keras.ops.convert_to_numpy(averages.get(id(trained), trained))))


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """Building a network draws seeds for its first weights from Python's global generator."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
