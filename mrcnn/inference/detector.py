"""Find instances in images with an inference network: resize and mould, run, and map the result back to each image.

Legend: N batch, A anchors, D padded detections, n detected instances, C classes with background, H W an image,
h w a moulded image or a mask over its box.
"""

import contextlib
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, TypeVar

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.data.images import as_channels, compose_image_meta, mold_resized, resize_image, unexpected_range
from mrcnn.errors import InputError
from mrcnn.modeling.anchors import pyramid_anchors, pyramid_anchors_px
from mrcnn.modeling.network import SizedNetwork, size_follows_image
from mrcnn.modeling.postprocessing import full_masks, unmold

log = logging.getLogger(__name__)

SIZES_KEPT = 16  # of moulded images; a compiled network takes up to 40 MiB a size on JAX
Value = TypeVar("Value")


class Detector:
    """Detects the instances in any number of images of any sizes, from any number of threads at once.

    Args:
        network: an inference network with its weights (`mrcnn.modeling.network.build_inference_network`).
        config: the settings that the network was built with. IMAGE_* decide how images are resized, BATCH_SIZE how many
            go through the network together.
    """

    def __init__(self, network: keras.Model, config: Config) -> None:
        self.network, self.config = network, config
        self._anchors_norm: _Newest[np.ndarray] = _Newest(SIZES_KEPT)  # by shape of the moulded image
        self._sized_networks: _Newest[SizedNetwork] = _Newest(SIZES_KEPT)
        self._warned = False  # of numbers that MEAN_PIXEL is not for
        self._gate = _Gate()

    def detect(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Detect instances and return their masks at the size of each image.

        Args:
            images: RGB arrays [H, W, 3] of any sizes; gray [H, W] and RGBA too. Numbers are taken as they are, of any
                type, and MEAN_PIXEL is subtracted: give images as they were trained on, usually uint8 in 0..255.

        Returns:
            One dict per image: rois int32 [n, (y1, x1, y2, x2)] in pixels of that image, y2 and x2 exclusive (float32
            with BOX_CONVENTION "continuous"); class_ids int32 [n], 1..C-1; scores float32 [n] in 0..1, descending;
            masks bool [H, W, n].

        Raises:
            InputError: an array is no image.
        """
        results = []
        for image, found in zip(images, self.detect_instances(images), strict=True):
            probs, rule = found.pop("mask_probs"), found.pop("mask_paste")
            results.append({**found, "masks": full_masks(probs, found["rois"], image.shape, rule)})
        return results

    def detect_instances(self, images: Sequence[np.ndarray]) -> list[dict[str, Any]]:
        """Detect instances and return their masks as small as the network gives them.

        Args:
            images: as in `detect`.

        Returns:
            One dict per image: rois, class_ids and scores as in `detect`; mask_probs float32 [n, 28, 28], the
            probability of the mask over each box; and mask_paste, the rule by which `paste_mask` pastes it.

        Raises:
            InputError: an array is no image.
        """
        results: list[dict[str, Any]] = []
        batch = 1 if size_follows_image(self.config) else self.config.BATCH_SIZE
        for start in range(0, len(images), batch):
            chunk = images[start : start + batch]
            molded, metas, windows = self.mold_inputs(chunk)
            detections, masks = self._predict(molded, metas)
            for image, found, mask, window in zip(chunk, detections, masks, windows, strict=True):
                fields = self.unmold(found, mask, image.shape, molded.shape[1:], window)
                named = dict(zip(("rois", "class_ids", "scores", "mask_probs"), fields, strict=True))
                results.append({**named, "mask_paste": self.config.MASK_PASTE})
        return results

    def detect_molded(self, molded_images: np.ndarray, image_metas: np.ndarray) -> list[dict[str, np.ndarray]]:
        """Detect instances in images that are moulded already.

        Args:
            molded_images: float32 [N, h, w, 3] RGB, the mean subtracted.
            image_metas: float [N, 12 + C], of `mold_inputs`.

        Returns:
            One dict per image as in `detect`, in pixels of the moulded image.
        """
        shape = molded_images.shape[1:]
        detections, masks = self._predict(molded_images, image_metas)
        results = []
        for found, mask in zip(detections, masks, strict=True):
            window = (0, 0, *shape[:2])
            boxes, class_ids, scores, probs = self.unmold(found, mask, shape, shape, window)
            masks_px = full_masks(probs, boxes, shape, self.config.MASK_PASTE)
            results.append({"rois": boxes, "class_ids": class_ids, "scores": scores, "masks": masks_px})
        return results

    def mold_inputs(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Resize images to the network's size and subtract the mean pixel.

        Args:
            images: as in `detect`.

        Returns:
            molded_images float32 [N, h, w, 3]; image_metas float [N, 12 + C]; windows int [N, (y1, x1, y2, x2)] in
            pixels of the moulded image, the part that is not padding.

        Raises:
            InputError: an array is no image, or the resize mode gives the images different sizes.
        """
        config = self.config
        no_class = np.zeros([config.NUM_CLASSES], dtype=np.int32)
        molded, metas, windows = [], [], []
        for image in (as_channels(image, config.IMAGE_CHANNEL_COUNT) for image in images):
            self._warn_of_range(image)
            resized, window, scale, _, _ = resize_image(
                image,
                min_dim=config.IMAGE_MIN_DIM,
                max_dim=config.IMAGE_MAX_DIM,
                min_scale=config.IMAGE_MIN_SCALE,
                mode=config.IMAGE_RESIZE_MODE,
                interpolation=config.IMAGE_INTERPOLATION,
            )
            molded.append(mold_resized(resized, window, config))
            metas.append(compose_image_meta(0, image.shape, resized.shape, window, scale, no_class))
            windows.append(window)
        shapes = {m.shape for m in molded}
        if len(shapes) > 1:
            raise InputError(
                f"IMAGE_RESIZE_MODE={config.IMAGE_RESIZE_MODE} gives these images different sizes {sorted(shapes)}; "
                "mould them one by one, or use the mode square"
            )
        return np.stack(molded).astype(np.float32), np.stack(metas), np.stack(windows)

    def uses(self, network: keras.Model, config: Config) -> bool:
        """Return whether this is a detector over this very network and these settings."""
        return self.network is network and self.config is config

    def paused(self) -> contextlib.AbstractContextManager[None]:
        """Return a context in which no thread runs the network, so that its weights can change all at once."""
        return self._gate.alone()

    def unmold(
        self, detections: np.ndarray, masks: np.ndarray, original: Sequence[int], moulded: Sequence[int], window: Any
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Run `mrcnn.modeling.postprocessing.unmold` with these settings.

        Args:
            detections: float [D, 6] of one image, norm.
            masks: float [D, h, w, C].
            original: shape of the image.
            moulded: shape of the moulded image.
            window: (y1, x1, y2, x2) px.

        Returns:
            boxes int32 or float32 [n, 4] px, class_ids int32 [n], scores float32 [n], mask probabilities float32
            [n, h, w].
        """
        return unmold(detections, masks, original, moulded, window, self.config.BOX_CONVENTION == "continuous")

    def _warn_of_range(self, image: np.ndarray) -> None:
        if not self._warned and (warning := unexpected_range(image, self.config.MEAN_PIXEL)):
            self._warned = True
            log.warning("%s", warning)

    def network_inputs(self, molded_images: np.ndarray, image_metas: np.ndarray) -> list[np.ndarray]:
        """Return the inputs of the network.

        Args:
            molded_images: float32 [N, h, w, 3].
            image_metas: [N, 12 + C].

        Returns:
            The moulded images, the metas as float32, and the anchors for each image, float32 [N, A, 4] norm.
        """
        anchors = np.repeat(self.get_anchors(molded_images.shape[1:])[None], len(molded_images), axis=0)
        return [molded_images, np.asarray(image_metas, np.float32), anchors]

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Return the anchors of a moulded image; those of the last shapes are kept.

        Args:
            image_shape: (h, w, channels) of the moulded image.

        Returns:
            float32 [A, (y1, x1, y2, x2)] norm.
        """
        key = tuple(int(side) for side in image_shape)
        return self._anchors_norm.get(key, lambda: pyramid_anchors(self.config, key))

    def anchors_px(self) -> np.ndarray:
        """Return the anchors of the newest size of a moulded image, float [A, (y1, x1, y2, x2)] in pixels."""
        return pyramid_anchors_px(self.config, self._anchors_norm.newest() or tuple(self.config.IMAGE_SHAPE))

    def _predict(self, molded: np.ndarray, metas: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the detections [N, D, 6] and masks [N, D, 28, 28, C] of moulded images."""
        network = self._network_for(molded.shape[1:])
        inputs = self.network_inputs(molded, metas)
        with self._gate.together():
            detections, _, _, masks, *_ = network.predict_on_batch(inputs)
        return detections, masks

    def _network_for(self, shape: tuple[int, ...]) -> keras.Model:
        """Return the network for moulded images of one size.

        Where the size follows the image and each size is compiled, the last few stay compiled.
        """
        if not (size_follows_image(self.config) and self.network.jit_compile):
            return self.network
        return self._sized_networks.get(shape, lambda: SizedNetwork(self.network))


class _Newest(Generic[Value]):
    """Keeps what was used last, at most `count` values, for all threads."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._values: dict[tuple[int, ...], Value] = {}  # newest last
        self._lock = threading.Lock()

    def get(self, key: tuple[int, ...], make: Callable[[], Value]) -> Value:
        """Return the value of a key, made if it is not kept."""
        with self._lock:
            value = self._values.pop(key) if key in self._values else make()
            self._values[key] = value
            if len(self._values) > self.count:
                del self._values[next(iter(self._values))]
            return value

    def newest(self) -> tuple[int, ...] | None:
        """Return the key that was used last."""
        with self._lock:
            return next(reversed(self._values), None)


class _Gate:
    """Lets any number of threads in together, or one alone; those who come together wait for one who waits alone."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0  # threads that are in together
        self._alone = 0  # threads that are in alone, or wait for it
        self._alone_turn = threading.Lock()

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Enter with others."""
        with self._changed:
            self._changed.wait_for(lambda: not self._alone)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                self._changed.notify_all()

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Enter when all others have left, and keep them out."""
        with self._changed:
            self._alone += 1
        try:
            with self._alone_turn:
                with self._changed:
                    self._changed.wait_for(lambda: not self._inside)
                yield
        finally:
            with self._changed:
                self._alone -= 1
                self._changed.notify_all()
