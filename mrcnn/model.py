"""Matterport's `mrcnn.model`: MaskRCNN (He et al., arXiv:1703.06870), and the names that its users import from here.

`MaskRCNN` is a face: detection is `mrcnn.inference.detector.Detector`, training is `mrcnn.engine.trainer.fit` on a
`mrcnn.engine.run.TrainingRun`.

Legend: N batch, A anchors, D detections, n instances, C classes with background, H W image. Boxes are
[..., (y1, x1, y2, x2)].
"""

import logging
import os
import threading
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import compose_image_meta, mold_image, parse_image_meta, parse_image_meta_graph, unmold_image
from mrcnn.engine import checkpoints, run_folder, stages, start, trainer
from mrcnn.engine.run import TrainingRun
from mrcnn.errors import InputError, MissingFileError
from mrcnn.foreign import any_file
from mrcnn.inference.detector import Detector
from mrcnn.legacy import console, graph_nodes, old_tensorflow, reexports
from mrcnn.legacy.functions import LastCheckpoint, batch_pack_graph, log, log2_graph, trim_zeros_graph
from mrcnn.legacy.generator import build_detection_targets, data_generator, generate_random_rois
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.modeling import pretrained, stage_outputs, weights
from mrcnn.modeling.anchors import compute_backbone_shapes
from mrcnn.modeling.detection_layer import DetectionLayer, refine_detections_graph
from mrcnn.modeling.losses import (
    mrcnn_bbox_loss,
    mrcnn_class_loss,
    mrcnn_mask_loss_graph,
    rpn_bbox_loss_graph,
    rpn_class_loss_graph,
    smooth_l1,
)
from mrcnn.modeling.network import build_inference_network, set_trainable
from mrcnn.modeling.normalization import BatchNorm
from mrcnn.modeling.postprocessing import full_masks
from mrcnn.modeling.resnet import conv_block, identity_block, resnet_graph
from mrcnn.modeling.roi_heads import PyramidROIAlign, build_fpn_mask_graph, fpn_classifier_graph
from mrcnn.modeling.rpn import ProposalLayer, build_rpn_model, rpn_graph
from mrcnn.modeling.targets import DetectionTargetLayer, build_rpn_targets, detection_targets_graph
from mrcnn.modeling.training_network import build_training_network
from mrcnn.structures.boxes import apply_box_deltas, clip_boxes, compute_overlaps, denorm_boxes, norm_boxes

logger = logging.getLogger(__name__)

# Matterport's names of functions that other modules define under a name of their own
apply_box_deltas_graph = apply_box_deltas
clip_boxes_graph = clip_boxes
overlaps_graph = compute_overlaps
norm_boxes_graph = norm_boxes
denorm_boxes_graph = denorm_boxes
smooth_l1_loss = smooth_l1
mrcnn_class_loss_graph = mrcnn_class_loss
mrcnn_bbox_loss_graph = mrcnn_bbox_loss

__all__ = [
    "BatchNorm",
    "DetectionLayer",
    "DetectionTargetLayer",
    "MaskRCNN",
    "ProposalLayer",
    "PyramidROIAlign",
    "apply_box_deltas_graph",
    "batch_pack_graph",
    "build_detection_targets",
    "build_fpn_mask_graph",
    "build_rpn_model",
    "build_rpn_targets",
    "clip_boxes_graph",
    "compose_image_meta",
    "compute_backbone_shapes",
    "conv_block",
    "data_generator",
    "denorm_boxes_graph",
    "detection_targets_graph",
    "fpn_classifier_graph",
    "generate_random_rois",
    "identity_block",
    "load_image_gt",
    "log",
    "log2_graph",
    "mold_image",
    "mrcnn_bbox_loss_graph",
    "mrcnn_class_loss_graph",
    "mrcnn_mask_loss_graph",
    "norm_boxes_graph",
    "overlaps_graph",
    "parse_image_meta",
    "parse_image_meta_graph",
    "refine_detections_graph",
    "resnet_graph",
    "rpn_bbox_loss_graph",
    "rpn_class_loss_graph",
    "rpn_graph",
    "smooth_l1_loss",
    "trim_zeros_graph",
    "unmold_image",
]

__getattr__ = reexports.getter(__name__, reexports.MODEL)


def _of_run(field: str) -> Any:
    """Return a property that reads and assigns a field of the model's training run."""
    return property(
        lambda self: getattr(self.training_run, field), lambda self, value: setattr(self.training_run, field, value)
    )


class MaskRCNN:
    """Mask R-CNN with Matterport's interface.

    A model built for "training" raises InputError where it is to detect, and the other way round: the graphs differ.

    Attributes:
        mode: "training" or "inference".
        config: the settings.
        model_dir: folder of the run folders.
        keras_model: the network.
        log_dir: the run folder.
        checkpoint_path: path of the checkpoints, with the placeholder {epoch:04d}.
        epoch: epochs that are done.
        class_names: of the data that the model was trained on in this process, background first.
        training_run: what the trainer trains.
    """

    keras_model = _of_run("network")
    log_dir = _of_run("folder")
    checkpoint_path = _of_run("checkpoint_path")
    epoch = _of_run("epoch")
    class_names = _of_run("class_names")

    def __init__(self, mode: str, config: Config, model_dir: str | os.PathLike) -> None:
        """Build the network. Where logging is not set up, what is logged from now on is printed.

        Args:
            mode: "training" or "inference".
            config: an instance of a subclass of Config.
            model_dir: folder of the run folders and their checkpoints; made when training starts.

        Raises:
            InputError: the mode is unknown, or settings contradict each other.
        """
        if mode not in ("training", "inference"):
            raise InputError(f"mode is {mode!r}; use 'training' or 'inference'")
        console.show_log()
        config.validate()
        self.mode, self.config, self.model_dir = mode, config, os.fspath(model_dir)
        self._random_layers: set[str] | None = None  # None before the first file
        self._detector: Detector | None = None
        self._detector_lock = threading.Lock()
        self._anchors: np.ndarray | None = None  # that a client assigned
        self.training_run = TrainingRun(self.build(mode, config), config)
        self.set_log_dir()

    def build(self, mode: str, config: Config) -> keras.Model:
        """Build the network of a mode; `mrcnn.modeling` describes its inputs and outputs."""
        old_tensorflow.let_tf_identity_take_symbols()
        return build_training_network(config) if mode == "training" else build_inference_network(config)

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def find_last(self) -> "LastCheckpoint":
        """Return the path of the newest checkpoint of the newest run of config.NAME in model_dir that has one.

        Returns:
            The path, a str. As in 2018, `find_last()[1]` and `folder, path = find_last()` give it too.

        Raises:
            MissingFileError: there is no such checkpoint; a FileNotFoundError, as in the original.
        """
        try:
            return LastCheckpoint(run_folder.find_last(self.model_dir, self.config.NAME))
        except InputError as error:
            raise MissingFileError(str(error)) from None

    def set_log_dir(self, model_path: str | os.PathLike | None = None) -> None:
        """Choose the run folder and the epoch to count from.

        Args:
            model_path: a checkpoint that this class wrote: its folder and epoch are taken up again. None, or any other
                file: a new folder NAME + date, epoch 0.
        """
        self.training_run.place(self.model_dir, model_path)

    def load_weights(
        self,
        filepath: str | os.PathLike,
        by_name: bool = False,
        exclude: Sequence[str] | None = None,
        class_names: Sequence[str] | None = None,
    ) -> "weights.LoadReport":
        """Load an .h5 file of this or the original project by layer name, or a file of another project.

        Args:
            filepath: the file.
            by_name: accepted for compatibility; has no effect.
            exclude: names of layers that keep their values, for example the heads of another class list.
            class_names: see `mrcnn.foreign.any_file.load`.

        Returns:
            What was loaded, skipped and missing. Its summary is logged; for inference, random layers give a warning.

        Raises:
            InputError: the file does not exist, nothing in it fits, or shapes differ in layers that are not excluded.
        """
        with self.detector.paused():
            report = any_file.load(self.keras_model, filepath, self.config, exclude, class_names)
        logger.info("%s", os.path.join(os.path.dirname(filepath), report.summary()))
        self._random_layers = weights.random_layers(report, self._random_layers, warn=self.mode == "inference")
        self.set_log_dir(filepath)
        if self.mode == "training" and self.epoch and not exclude:
            self.training_run.reuse_moments_of(filepath)
        return report

    def resume(self, folder: str | os.PathLike) -> "checkpoints.State":
        """Resume a stopped run: the next `train` with the settings of that run gives the weights it would have given.

        Args:
            folder: of the run, with its state.

        Returns:
            The state at which the run stopped.

        Raises:
            InputError: there is no state, or it is broken.
        """
        return self.training_run.resume(folder)

    def get_imagenet_weights(self) -> str:
        """Return the path of the ImageNet weights for the backbone, downloaded if needed."""
        return pretrained.imagenet_path(self.config.BACKBONE, stride_in_1x1=self.config.STRIDE_IN_1X1)

    # Training ------------------------------------------------------------------------------------------------------

    def set_trainable(
        self, layer_regex: str, keras_model: keras.Model | None = None, indent: int = 0, verbose: int = 1
    ) -> None:
        """Make exactly those layers trainable whose whole name matches `layer_regex`, those of nested models too.

        With TRAIN_BN = False the gamma and beta of BatchNorm stay frozen whatever the expression says.

        Args:
            layer_regex: a regular expression over layer names.
            keras_model: the model to search; None: the whole network.
            indent: spaces before each log line.
            verbose: 1 logs the trainable layers.

        Raises:
            InputError: `layer_regex` is no regular expression.
        """
        chosen = set_trainable(keras_model or self.keras_model, layer_regex, self.config.TRAIN_BN is not False)
        for depth, layer in chosen if verbose > 0 else ():
            logger.info("%s%-20s (%s)", " " * (indent + 4 * depth), layer.name, type(layer).__name__)

    def compile(self, learning_rate: float, momentum: float) -> None:
        """Compile for training with config.OPTIMIZER; GRADIENT_CLIP_NORM clips the gradient of all weights together."""
        start.compile_model(self.keras_model, self.config, learning_rate, momentum)

    def train(
        self,
        train_dataset: Dataset,
        val_dataset: Dataset | None,
        learning_rate: float,
        epochs: int,
        layers: str,
        augmentation: object = None,
        custom_callbacks: Sequence[keras.callbacks.Callback] | None = None,
        no_augmentation_sources: Sequence[str] | None = None,
        augment: bool = False,
        workers: int = 2,
        worker_kind: str = "thread",
        save_every: int | None = None,
        keep: int | None = None,
        validate: bool | int = False,
        patience: int | None = None,
    ) -> keras.callbacks.History:
        """Train until `epochs` epochs are done in all, counting those of earlier calls and of a resumed checkpoint.

        Args:
            train_dataset: prepared dataset.
            val_dataset: prepared dataset, or None for no validation.
            learning_rate: of config.OPTIMIZER, with LEARNING_MOMENTUM.
            epochs: the epoch to reach, not the number to add.
            layers: "heads", "3+", "4+", "5+", "all", or a regular expression over layer names.
            augmentation: an imgaug augmenter; None or False: none.
            custom_callbacks: more Keras callbacks. One that monitors a loss or an AP needs no `mode`.
            no_augmentation_sources: dataset sources whose images are not augmented.
            augment: flip half of the images left to right. More augmentation: the AUGMENT_* settings of the config.
            workers: loader threads or processes.
            worker_kind: "thread", or "process" where load_mask is slow Python code; see `mrcnn.data.prefetch`.
            save_every: write the state, for `resume`, after every so many steps; it is written after each epoch too.
            keep: number of newest checkpoints to keep; None keeps all.
            validate: number of val_dataset's images for mask AP after each epoch; True: a tenth of the time; 0: none.
            patience: end the stage after so many epochs without a better mask AP.

        Returns:
            Keras' history of this call.

        Raises:
            InputError: the model is for inference; see also `mrcnn.engine.trainer.fit`.
        """
        if self.mode != "training":
            raise InputError("this model was built for inference; make MaskRCNN(mode='training', ...) to train")
        options = trainer.RunOptions(
            augmentation=augmentation or None,  # clients pass False
            flip=augment,
            no_augmentation_sources=tuple(no_augmentation_sources or ()),
            workers=workers,
            worker_kind=worker_kind,
            save_every=save_every,
            keep=keep,
            validate=validate,
            patience=patience,
        )
        stage = stages.Stage(layers, float(learning_rate), int(epochs))
        self.training_run.config = self.config  # clients assign another one
        return trainer.fit(self.training_run, train_dataset, val_dataset, stage, options, custom_callbacks or ())

    # Detection -----------------------------------------------------------------------------------------------------

    @property
    def detector(self) -> Detector:
        """The detector over the present network and settings."""
        with self._detector_lock:  # all threads share one
            if self._detector is None or not self._detector.uses(self.keras_model, self.config):
                self._detector = _DetectorOfModel(self)
            return self._detector

    def mold_inputs(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Resize and mould images for the network.

        Args:
            images: arrays [H, W, 3] of any sizes; gray and RGBA too. Numbers of any type are taken as they are.

        Returns:
            molded_images float32 [N, h, w, 3], image_metas [N, 12 + C], windows int [N, (y1, x1, y2, x2)] px.

        Raises:
            InputError: the resize mode gives the images different sizes.
        """
        return Detector.mold_inputs(self.detector, images)

    def unmold_detections(
        self,
        detections: np.ndarray,
        mrcnn_mask: np.ndarray,
        original_image_shape: Sequence[int],
        image_shape: Sequence[int],
        window: Sequence[int],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Map one image's detections back to the original image, see `mrcnn.modeling.postprocessing.unmold`.

        Returns:
            boxes int32 [n, 4] px, class_ids int32 [n], scores float32 [n], masks bool [H, W, n].
        """
        found = self.detector.unmold(detections, mrcnn_mask, original_image_shape, image_shape, window)
        return *found[:3], full_masks(found[3], found[0], original_image_shape, self.config.MASK_PASTE)

    def detect_instances(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Detect instances and keep their masks small.

        Args:
            images: as for `detect`.

        Returns:
            One dict per image, as of `detect`, with mask_probs float32 [n, 28, 28] over each box in place of masks.

        Raises:
            InputError: the model is for training.
        """
        self._inference_network()
        return self.detector.detect_instances(images)

    def detect(self, images: Sequence[np.ndarray], verbose: int = 0) -> list[dict[str, np.ndarray]]:
        """Detect instances in any number of images of any sizes.

        Args:
            images: as for `mold_inputs`, usually uint8 in 0..255; MEAN_PIXEL is subtracted.
            verbose: 1 logs the number of instances.

        Returns:
            One dict per image: rois int32 [n, (y1, x1, y2, x2)] px of that image, class_ids int32 [n], scores
            float32 [n] in descending order, masks bool [H, W, n].

        Raises:
            InputError: the model is for training.
        """
        self._inference_network()
        return _logged(self.detector.detect(images), verbose)

    def detect_molded(
        self, molded_images: np.ndarray, image_metas: np.ndarray, verbose: int = 0
    ) -> list[dict[str, np.ndarray]]:
        """Detect instances in images that are moulded already.

        Args:
            molded_images: float32 [N, h, w, 3], mean subtracted.
            image_metas: float [N, 12 + C].
            verbose: 1 logs the number of instances.

        Returns:
            One dict per image as of `detect`, in pixels of the moulded image.
        """
        return _logged(self.detector.detect_molded(molded_images, image_metas), verbose)

    # Inspection ----------------------------------------------------------------------------------------------------

    def stages(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Return every named intermediate of one image, from the backbone to the masks.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            float arrays with a batch of one, C2 to mrcnn_mask; see `mrcnn.modeling.stage_outputs.stage_outputs`.
        """
        outputs = stage_outputs.stage_outputs(self._inference_network())
        return self.run_graph([image], list(outputs.items()))

    def run_graph(
        self, images: Sequence[np.ndarray], outputs: Sequence[tuple[str, Any]], image_metas: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Return the values of tensors of the network for some images.

        Args:
            images: uint8 [H, W, 3] arrays; or moulded ones, if image_metas is given.
            outputs: (name, tensor) pairs, such as ("proposals", model.keras_model.get_layer("ROI").output).
            image_metas: [N, 12 + C] of moulded images.

        Returns:
            name -> array of the shape and type of its tensor, in the order of `outputs`.
        """
        if image_metas is None:
            molded, image_metas, _ = self.mold_inputs(images)
        else:
            molded = np.asarray(images, np.float32)
        inputs = self.detector.network_inputs(molded, image_metas)
        values = stage_outputs.run(self._inference_network(), list(outputs), inputs)
        for name, value in values.items():
            log(name, value)
        return values

    def ancestor(self, tensor: Any, name: str, checked: Any = None) -> Any:
        """Return the tensor that the original's graph called `name` ("ROI/refined_anchors:0"), or None."""
        return graph_nodes.node(self._inference_network(), name)

    def find_trainable_layer(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """Return the layer itself, or the one that it wraps (TimeDistributed)."""
        return self.find_trainable_layer(layer.layer) if type(layer).__name__ == "TimeDistributed" else layer

    def get_trainable_layers(self) -> list[keras.layers.Layer]:
        """Return all layers that have weights; a nested model counts as one."""
        return [layer for layer in map(self.find_trainable_layer, self.keras_model.layers) if layer.get_weights()]

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Return the anchors of a moulded image of this shape, float32 [A, (y1, x1, y2, x2)] norm."""
        return self.detector.get_anchors(image_shape)

    @property
    def anchors(self) -> np.ndarray:
        """Anchors of the newest size of a moulded image, float [A, (y1, x1, y2, x2)] pixels, for notebooks."""
        return self.detector.anchors_px() if self._anchors is None else self._anchors

    @anchors.setter
    def anchors(self, value: np.ndarray) -> None:
        """Keep what a client assigns, float [A, (y1, x1, y2, x2)] pixels."""
        self._anchors = value

    def _inference_network(self) -> keras.Model:
        if self.mode != "inference":
            raise InputError("this model was built for training; make MaskRCNN(mode='inference', ...) to detect")
        return self.keras_model


class _DetectorOfModel(Detector):
    """The detector of a model; it moulds images with `mold_inputs` of the model, which clients override."""

    def __init__(self, model: MaskRCNN) -> None:
        super().__init__(model.keras_model, model.config)
        self._model = model

    def mold_inputs(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        return self._model.mold_inputs(images)


def _logged(results: list[dict[str, np.ndarray]], verbose: int) -> list[dict[str, np.ndarray]]:
    """Return results of detection, and log their numbers of instances if `verbose`."""
    for found in results if verbose else ():
        logger.info("image %s: %d instances", found["masks"].shape[:2], len(found["rois"]))
    return results
