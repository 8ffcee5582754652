"""Validate during training by mask AP: evaluate the checkpoint of each epoch, keep the best, stop early."""

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

from mrcnn.backend.keras_private import sync_variables
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.engine import checkpoints
from mrcnn.engine.results_csv import MASK_AP, Results
from mrcnn.engine.run import TrainingRun
from mrcnn.errors import InputError
from mrcnn.evaluation.coco_results import image_key
from mrcnn.evaluation.evaluator import headline
from mrcnn.evaluation.result import Headline
from mrcnn.files import written_whole
from mrcnn.inference.detector import Detector
from mrcnn.modeling import weights
from mrcnn.modeling.network import build_inference_network
from mrcnn.user_files import parse_json

log = logging.getLogger(__name__)

VALIDATION_FILE = "validation.json"
# Validation may take this fraction of an epoch's training time; 9 % leaves a margin below the promised 10 %.
TIME_FRACTION = 0.09
MINIMUM_IMAGES = 8  # the AP of fewer images means little
TIMED_IMAGES = 8  # minimum number of images from which the time per image is measured


class Timing(typing.Protocol):
    """How long an epoch takes; `mrcnn.engine.epoch_log.Recorder` measures it."""

    def epoch_seconds(self) -> float:
        """Return the seconds that the steps of an epoch take."""

    def loss_seconds(self) -> float:
        """Return the seconds that validation by loss took."""


class Validator(keras.callbacks.Callback):
    """Measures mask AP, AP50 and box AP on validation images after each epoch; keeps the best checkpoint; stops early.

    The weights (their moving averages, where the checkpoint has those) are copied into an inference network, which is
    built once, so training is not touched: with and without validation it gives the same weights, bit for bit. It runs
    between two epochs on the same device. Which images are taken is drawn from config.SEED and written to
    validation.json, so that all epochs, also after a resume, are compared on the same ones.

    Figures go into the logs of the epoch as val_mask_AP, val_mask_AP50 and val_box_AP, NaN where undefined.
    """

    def __init__(
        self,
        run: TrainingRun,
        dataset: Dataset,
        results: Results,
        timing: Timing,
        count: int | None,
        patience: int | None,
        first_epoch: int,
    ) -> None:
        """Choose the images again that an earlier call measured; the network is built after the first epoch.

        Args:
            run: its network and folder.
            dataset: prepared validation images.
            results: of the epochs before; the best of them is to be beaten.
            timing: of this call of `train`.
            count: number of images to evaluate; None: as many as take a tenth of an epoch's time, measured in the first
                epoch, together with validation by loss.
            patience: stop after so many epochs without a better mask AP; None: never.
            first_epoch: at which the stage began; patience counts from there.

        Raises:
            InputError: validation.json in the run folder is broken.
        """
        super().__init__()
        self.run, self.dataset, self.results, self.timing = run, dataset, results, timing
        self.count, self.patience, self.first_epoch = count, patience, first_epoch
        self.seconds = 0.0  # that the last validation took, without building the network
        self.result: Headline | None = None  # of the last epoch
        self.image_ids, self._images_since = self._known_images()
        self._detector: Detector | None = None
        self._best = self._known_best()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Evaluate the checkpoint; copy it if it is the best; stop when patience runs out.

        Raises:
            InputError: an image cannot be read, or a file cannot be written.
        """
        assert logs is not None, "Keras passes the same dictionary to all callbacks of an epoch"
        with _same_random_state():
            if self._detector is None:
                self._detector = validation_detector(self.run.config)
            copy_weights(self.run.network, self._detector.network)
            if not self.image_ids:
                self._choose(self._detector)
            began = time.monotonic()
            self.result = result = self._evaluate(self._detector, self.image_ids)
            self.seconds = time.monotonic() - began
        for name, value in (
            (MASK_AP, result.mask_AP),
            ("val_mask_AP50", result.mask_AP50),
            ("val_box_AP", result.box_AP),
        ):
            logs[name] = math.nan if value is None else float(value)
        self._compare(epoch + 1, logs[MASK_AP])

    def _evaluate(self, detector: Detector, image_ids: list[int]) -> Headline:
        return headline(detector, self.dataset, image_ids, batch_size=detector.config.BATCH_SIZE)

    def _compare(self, epoch: int, ap: float) -> None:
        if ap > self._best[1]:
            self._best = (epoch, ap)
            self._copy(self.run.checkpoint(epoch))
        since = epoch - max(self._best[0], self.first_epoch)
        if self.patience is not None and since >= self.patience:
            log.info(
                "the best mask AP is that of epoch %d, %.4f; %d epochs without a better one: the stage ends here",
                *self._best,
                since,
            )
            self.model.stop_training = True

    def _known_best(self) -> tuple[int, float]:
        """Return (epoch, mask AP) of the best checkpoint so far, (0, -1) if there is none.

        Where epochs are trained again the best file may be of a dropped one: it is replaced, or deleted.
        """
        path, best = self.run.best_checkpoint, self.results.best(self._images_since)
        if best is None:
            path.unlink(missing_ok=True)
            return 0, -1.0
        epoch = int(best["epoch"])
        if not path.exists() or weights.read_attrs(path, ["epoch"]).get("epoch") != epoch:
            source = self.run.checkpoint(epoch)
            if not source.exists():
                path.unlink(missing_ok=True)
                return 0, -1.0
            self._copy(source)
        return epoch, float(best[MASK_AP])

    def _copy(self, checkpoint: pathlib.Path) -> None:
        with written_whole(self.run.best_checkpoint) as temporary:
            shutil.copyfile(checkpoint, temporary)

    def _choose(self, detector: Detector) -> None:
        """Choose the images for all epochs to come, and write their names to validation.json."""
        everything = np.random.default_rng(int(detector.config.SEED)).permutation(self.dataset.image_ids).tolist()
        count = self._affordable(detector, everything) if self.count is None else self.count
        self.image_ids = sorted(everything[:count])
        log.info("mask AP is measured on %d of %d validation images", len(self.image_ids), len(everything))
        keys = [image_key(self.dataset, image_id) for image_id in self.image_ids]
        record = {"after_epoch": self._images_since, "images": keys}
        with written_whole(self._path) as temporary:
            temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")

    def _affordable(self, detector: Detector, image_ids: list[int]) -> int:
        """Return how many images can be evaluated in the time that validation may take, a multiple of the batch."""
        batch = int(detector.config.BATCH_SIZE)
        timed = image_ids[: -(-TIMED_IMAGES // batch) * batch]
        self._evaluate(detector, timed[:batch])  # traces the network
        began = time.monotonic()
        self._evaluate(detector, timed)
        seconds = (time.monotonic() - began) / len(timed)  # per image
        epoch, loss = self.timing.epoch_seconds(), self.timing.loss_seconds()
        count = int(max(0.0, TIME_FRACTION * epoch - loss) / seconds)
        count = count // batch * batch  # an incomplete batch would be traced again
        if count >= MINIMUM_IMAGES:
            return count
        log.warning(
            "the steps of an epoch take %.1f s; validating after it takes %.1f s for the mask AP of %d images and "
            "%.1f s for the validation loss. Longer epochs (STEPS_PER_EPOCH), fewer VALIDATION_STEPS, or no validation "
            "by AP, spend less on it",
            epoch,
            seconds * MINIMUM_IMAGES,
            MINIMUM_IMAGES,
            loss,
        )
        return -(-MINIMUM_IMAGES // batch) * batch

    @property
    def _path(self) -> pathlib.Path:
        return pathlib.Path(self.run.folder) / VALIDATION_FILE

    def _known_images(self) -> tuple[list[int], int]:
        """Return the images of the epochs before, and the epoch after which they came into use.

        Without such images, or if they are not of this dataset or not as many as wanted: [] and the present epoch.
        """
        try:
            record = parse_json(self._path.read_text(encoding="utf-8"), str(self._path))
            keys, after = record["images"], int(record["after_epoch"])
        except FileNotFoundError:
            return [], self.run.epoch
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self._path} is no list of validation images ({error}); delete it") from error
        ids = {image_key(self.dataset, int(image_id)): int(image_id) for image_id in self.dataset.image_ids}
        wanted = len(keys) if self.count is None else min(self.count, len(ids))
        if len(keys) == wanted and all(key in ids for key in keys):
            return [ids[key] for key in keys], after
        log.warning(
            "the epochs before were validated on %d other images (%s): the mask AP from here on cannot be compared "
            "with theirs, and the search for the best checkpoint starts anew",
            len(keys),
            self._path,
        )
        return [], self.run.epoch


def validation_config(config: Config) -> Config:
    """Return the settings of the validation network: AP needs detections of low scores too."""
    config = copy.copy(config)
    config.DETECTION_MIN_CONFIDENCE = min(config.DETECTION_MIN_CONFIDENCE or 0, 0.05)
    return config


def validation_detector(config: Config) -> Detector:
    """Return a detector with the settings of a network that trains and weights of its own (`copy_weights`)."""
    config = validation_config(config)
    return Detector(build_inference_network(config), config)


def copy_weights(source: keras.Model, target: keras.Model) -> None:
    """Give an inference network the weights of a training network, or their moving averages if it has them.

    Args:
        source: compiled; its variables stay as they are.
        target: of the same architecture, with layers of the same names.
    """
    sync_variables(source)
    averages = {id(variable): average for variable, average in checkpoints.averages_of(source)}
    theirs = weights.leaf_layers(source)
    for name, variables in weights.leaf_layers(target).items():
        for variable, trained in zip(variables, theirs[name], strict=True):
            # a copy: JAX hands the buffers of a training step on to the next one
            variable.assign(np.array(keras.ops.convert_to_numpy(averages.get(id(trained), trained))))


@contextlib.contextmanager
def _same_random_state() -> Iterator[None]:
    """Restore the random generators: building a network draws seeds for its first weights from Python's global one."""
    python, numpy = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)
