"""MaskRCNN (He et al., arXiv:1703.06870): builds the network, loads weights, trains and detects.

Legend: N batch, A anchors, D detections, C classes with background, H W image. Boxes are [..., (y1, x1, y2, x2)];
`*_px` pixels, `*_norm` Matterport's (h - 1, w - 1) convention.
"""

import dataclasses
import datetime
import logging
import os
import re
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from mrcnn.backend import runtime
from mrcnn.backend.hosts import own_folder
from mrcnn.config import Config
from mrcnn.data.dataset import Dataset
from mrcnn.data.images import (
    as_channels,
    compose_image_meta,
    mold_image,
    parse_image_meta,
    parse_image_meta_graph,
    resize_image,
    unmold_image,
)
from mrcnn.engine import checkpoints, run_folder, stages, trainer
from mrcnn.errors import InputError
from mrcnn.legacy import compat, graph_nodes
from mrcnn.legacy.functions import batch_pack_graph, log, log2_graph, trim_zeros_graph
from mrcnn.legacy.generator import build_detection_targets, data_generator, generate_random_rois
from mrcnn.legacy.image_gt import load_image_gt
from mrcnn.modeling import pretrained, stage_outputs, weights
from mrcnn.modeling.anchors import compute_backbone_shapes, pyramid_anchors, pyramid_anchors_px
from mrcnn.modeling.backbone import BatchNorm, conv_block, identity_block, resnet_graph
from mrcnn.modeling.losses import (
    mrcnn_bbox_loss,
    mrcnn_class_loss,
    mrcnn_mask_loss_graph,
    rpn_bbox_loss_graph,
    rpn_class_loss_graph,
    smooth_l1,
)
from mrcnn.modeling.network import LocalModel, build_inference_network
from mrcnn.modeling.postprocessing import full_masks, unmold
from mrcnn.modeling.roi_heads import (
    DetectionLayer,
    PyramidROIAlign,
    build_fpn_mask_graph,
    fpn_classifier_graph,
    refine_detections_graph,
)
from mrcnn.modeling.rpn import ProposalLayer, build_rpn_model, rpn_graph
from mrcnn.modeling.targets import DetectionTargetLayer, build_rpn_targets, detection_targets_graph
from mrcnn.modeling.training_network import build_training_network
from mrcnn.structures.boxes import apply_box_deltas, clip_boxes, compute_overlaps, denorm_boxes, norm_boxes

logger = logging.getLogger(__name__)

# Matterport's names of functions that stand in their own modules now
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

# Log folders are NAME + date, checkpoints mask_rcnn_NAME_EPOCH.h5: .../shapes20171029T2315/mask_rcnn_shapes_0001.h5
RUN_AND_EPOCH = re.compile(r".*[/\\][\w-]+(\d{4})(\d{2})(\d{2})T(\d{2})(\d{2})[/\\]mask\_rcnn\_[\w-]+(\d{4})\.h5")


class MaskRCNN:
    """Mask R-CNN with Matterport's interface.

    The network is in `keras_model`. A model built for "training" raises InputError where it is to detect and the other
    way round, as in the original: the graphs differ (targets here, detections there), the weights are the same.
    """

    def __init__(self, mode: str, config: Config, model_dir: str | os.PathLike) -> None:
        """Build the network.

        Args:
            mode: "training" or "inference".
            config: an instance of a subclass of Config.
            model_dir: folder of the log folders and checkpoints; made when training starts.

        Raises:
            InputError: an unknown mode, or settings that do not fit together.
        """
        if mode not in ("training", "inference"):
            raise InputError(f"mode is {mode!r}; use 'training' or 'inference'")
        config.validate()
        self.mode = mode
        self.config = config
        self.model_dir = os.fspath(model_dir)
        self._anchor_cache: dict[tuple[int, ...], np.ndarray] = {}
        self._sized_networks: dict[tuple[int, ...], keras.Model] = {}
        self._random_layers: set[str] | None = None  # None before the first file
        # of training: what it was trained on, the optimizer it was trained with, the state from which it goes on
        self.class_names: list[str] = []
        self.trained_with: tuple[dict, list[str]] | None = None
        self.pending_state: checkpoints.State | None = None
        self.set_log_dir()
        self.keras_model = self.build(mode, config)

    def build(self, mode: str, config: Config) -> keras.Model:
        """The Keras model of the mode; see `mrcnn.modeling.network` for its inputs and outputs."""
        compat.let_tf_identity_take_symbols()
        return build_training_network(config) if mode == "training" else build_inference_network(config)

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def find_last(self) -> str:
        """Path of the newest checkpoint of the newest run of config.NAME in model_dir that has one.

        Raises:
            InputError: there is no such checkpoint.
        """
        return run_folder.find_last(self.model_dir, self.config.NAME)

    def set_log_dir(self, model_path: str | os.PathLike | None = None) -> None:
        """Choose the log folder and the epoch to count from.

        Args:
            model_path: a checkpoint that this class wrote: its folder and epoch are taken up again. None, or any other
                file: a new folder NAME + date, epoch 0.
        """
        self.epoch = 0
        name = (self.config.NAME or "model").lower()
        now = datetime.datetime.now()
        given = os.fspath(model_path) if model_path else ""
        match = RUN_AND_EPOCH.match(given)
        if match:
            year, month, day, hour, minute, epoch = (int(group) for group in match.groups())
            now = datetime.datetime(year, month, day, hour, minute)
            self.epoch = epoch
        folder = f"{name}{now:%Y%m%dT%H%M}"
        self.log_dir = own_folder(os.path.dirname(given) if match else os.path.join(self.model_dir, folder))
        # Matterport's placeholder: code that formats it must go on working
        self.checkpoint_path = os.path.join(self.log_dir, f"mask_rcnn_{name}_{{epoch:04d}}.h5")

    def load_weights(
        self, filepath: str | os.PathLike, by_name: bool = False, exclude: Sequence[str] | None = None
    ) -> "weights.LoadReport":
        """Load an .h5 file of this or of the original project; layers are always matched by name.

        Args:
            filepath: the file.
            by_name: accepted for Matterport's sake.
            exclude: names of layers that keep their values, for example the heads of another class list.

        Returns:
            What was loaded, skipped and missing; its summary is logged, for inference with a warning of random layers.

        Raises:
            InputError: no such file, nothing in it fits, or shapes differ in layers that are not excluded.
        """
        report = weights.load_weights(self.keras_model, filepath, exclude=exclude)
        logger.info("%s: %s", filepath, report.summary())
        self._random_layers = weights.random_layers(report, self._random_layers, warn=self.mode == "inference")
        self.set_log_dir(filepath)
        if self.mode == "training" and self.epoch and not exclude:
            self.pending_state = checkpoints.state_of(filepath, self.epoch)
        return report

    def resume(self, folder: str | os.PathLike) -> "checkpoints.State":
        """Go on with a run that was stopped, at whatever step: the next `train` with the settings of that run gives the
        weights that it would have given.

        Args:
            folder: of the run, with its state.

        Raises:
            InputError: no state there.
        """
        state = checkpoints.read_state(folder)
        if state is None:
            raise InputError(
                f"{folder} holds no {checkpoints.STATE_FILE}; give the folder of a run, or a checkpoint "
                "with --weights PATH"
            )
        name = (self.config.NAME or "model").lower()
        self.set_log_dir(os.path.join(folder, f"mask_rcnn_{name}_{state.epoch:04d}.h5"))
        self.pending_state = dataclasses.replace(state, binding=True)
        return state

    def get_imagenet_weights(self) -> str:
        """Path of the ImageNet weights for the backbone, fetched if need be."""
        return pretrained.imagenet_path(self.config.BACKBONE)

    # Training ------------------------------------------------------------------------------------------------------

    def set_trainable(
        self, layer_regex: str, keras_model: keras.Model | None = None, indent: int = 0, verbose: int = 1
    ) -> None:
        """Let exactly those layers train whose whole name matches `layer_regex`; nested models are searched too.

        With TRAIN_BN = False the gamma and beta of BatchNorm stay frozen whatever the expression says.
        """
        model = keras_model or self.keras_model
        for layer in model.layers:
            if isinstance(layer, keras.Model):
                layer.trainable = True  # a frozen outer model would freeze what is inside
                self.set_trainable(layer_regex, keras_model=layer, indent=indent + 4, verbose=verbose)
                continue
            if not layer.weights:
                continue
            chosen = bool(re.fullmatch(layer_regex, layer.name))
            layer.trainable = chosen and not (isinstance(layer, BatchNorm) and self.config.TRAIN_BN is False)
            if layer.trainable and verbose > 0:
                logger.info("%s%-20s (%s)", " " * indent, layer.name, type(layer).__name__)

    def compile(self, learning_rate: float, momentum: float) -> None:
        """Compile for training with config.OPTIMIZER; GRADIENT_CLIP_NORM clips the gradient of all weights together."""
        trainer.compile_model(self.keras_model, self.config, learning_rate, momentum)

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
            augmentation: an imgaug augmenter.
            custom_callbacks: more Keras callbacks.
            no_augmentation_sources: dataset sources that are left as they are.
            augment: flip half of the images left to right. More augmentation: the AUGMENT_* settings of the config.
            workers: loader threads or processes.
            worker_kind: "thread", or "process" where load_mask is slow Python code; see `mrcnn.data.prefetch`.
            save_every: steps after which the state is written, for `resume`; it is written after each epoch too.
            keep: keep this many checkpoints, the newest; None keeps all.
            validate: so many images of val_dataset for mask AP after each epoch; True: a tenth of the time; 0: none.
            patience: end the stage after so many epochs without a better mask AP.

        Returns:
            Keras' history of this call.

        Raises:
            InputError: an inference model; data that cannot be read; a loss that is not finite; memory is full.
        """
        if self.mode != "training":
            raise InputError("this model was built for inference; make MaskRCNN(mode='training', ...) to train")
        self.set_trainable(stages.LAYER_REGEX.get(layers, layers), verbose=0)
        options = trainer.RunOptions(
            augmentation,
            augment,
            tuple(no_augmentation_sources or ()),
            workers,
            worker_kind,
            save_every,
            keep,
            validate,
            patience,
        )
        stage = stages.Stage(layers, float(learning_rate), int(epochs))
        return trainer.fit(self, train_dataset, val_dataset, stage, options, list(custom_callbacks or []))

    # Detection -----------------------------------------------------------------------------------------------------

    def mold_inputs(self, images: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Resize and mould images for the network.

        Args:
            images: [H, W, 3] arrays of any sizes, uint8; gray, RGBA, float (0 to 1, or 0 to 255) and uint16 too.

        Returns:
            molded_images float32 [N, h, w, 3], image_metas [N, 12 + C], windows int [N, (y1, x1, y2, x2)] in pixels of
            the moulded image: the part that is not padding.

        Raises:
            InputError: the resize mode gives the images different sizes.
        """
        molded, metas, windows = [], [], []
        config = self.config
        for image in self._as_channels(images):
            resized, window, scale, _, _ = resize_image(
                image,
                min_dim=config.IMAGE_MIN_DIM,
                max_dim=config.IMAGE_MAX_DIM,
                min_scale=config.IMAGE_MIN_SCALE,
                mode=config.IMAGE_RESIZE_MODE,
            )
            molded.append(mold_image(resized, config))
            no_class = np.zeros([config.NUM_CLASSES], dtype=np.int32)
            metas.append(compose_image_meta(0, image.shape, resized.shape, window, scale, no_class))
            windows.append(window)
        shapes = {m.shape for m in molded}
        if len(shapes) > 1:
            raise InputError(
                f"IMAGE_RESIZE_MODE={config.IMAGE_RESIZE_MODE} gives these images different sizes {sorted(shapes)}; "
                "mould them one by one, or use the mode square"
            )
        return np.stack(molded).astype(np.float32), np.stack(metas), np.stack(windows)

    def _as_channels(self, images: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Gray, RGBA, float and 16-bit images as uint8 RGB; a network of other than 3 channels takes what it gets."""
        return [as_channels(image, self.config.IMAGE_CHANNEL_COUNT) for image in images]

    def unmold_detections(
        self,
        detections: np.ndarray,
        mrcnn_mask: np.ndarray,
        original_image_shape: Sequence[int],
        image_shape: Sequence[int],
        window: Sequence[int],
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Bring one image's detections back to the original image.

        Args:
            detections: [D, (y1, x1, y2, x2, class_id, score)] norm, zero padded.
            mrcnn_mask: float [D, h, w, C] probabilities.
            original_image_shape: (H, W, channels) before resizing.
            image_shape: (h, w, channels) of the moulded image.
            window: (y1, x1, y2, x2) px: the part of the moulded image that is not padding.

        Returns:
            boxes int32 [n, 4] px, class_ids int32 [n], scores float32 [n], masks bool [H, W, n].
        """
        boxes, class_ids, scores, probs = unmold(detections, mrcnn_mask, original_image_shape, image_shape, window)
        return boxes, class_ids, scores, full_masks(probs, boxes, original_image_shape)

    def detect_instances(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """Detect in any number of images of any sizes, keeping the masks small.

        Args:
            images: uint8 [H, W, 3] arrays.

        Returns:
            One dict an image: rois int32 [n, (y1, x1, y2, x2)] px of that image, class_ids int32 [n], scores
            float32 [n] in descending order, mask_probs float32 [n, 28, 28] over each box.
        """
        self._inference()
        results: list[dict[str, np.ndarray]] = []
        batch = self.config.BATCH_SIZE if self.config.IMAGE_RESIZE_MODE not in ("pad64", "none") else 1
        for start in range(0, len(images), batch):
            chunk = images[start : start + batch]
            molded, metas, windows = self.mold_inputs(chunk)
            detections, _, _, masks, *_ = self._sized(molded.shape[1:]).predict_on_batch(self._inputs(molded, metas))
            for image, found, mask, window in zip(chunk, detections, masks, windows, strict=True):
                fields = unmold(found, mask, image.shape, molded.shape[1:], window)
                results.append(dict(zip(("rois", "class_ids", "scores", "mask_probs"), fields, strict=True)))
        return results

    def detect(self, images: Sequence[np.ndarray], verbose: int = 0) -> list[dict[str, np.ndarray]]:
        """Detect in any number of images of any sizes.

        Args:
            images: uint8 [H, W, 3] arrays.
            verbose: 1 logs the shapes.

        Returns:
            One dict an image: rois int32 [n, (y1, x1, y2, x2)] px, class_ids int32 [n], scores float32 [n], masks
            bool [H, W, n].
        """
        results = []
        for image, found in zip(images, self.detect_instances(images), strict=True):
            if verbose:
                logger.info("image %s: %d instances", image.shape, len(found["rois"]))
            probs = found.pop("mask_probs")
            results.append({**found, "masks": full_masks(probs, found["rois"], image.shape)})
        return results

    def detect_molded(
        self, molded_images: np.ndarray, image_metas: np.ndarray, verbose: int = 0
    ) -> list[dict[str, np.ndarray]]:
        """`detect` for images that are moulded already, with results in pixels of the moulded images.

        Args:
            molded_images: float32 [N, h, w, 3], mean subtracted.
            image_metas: [N, 12 + C].
            verbose: 1 logs the number of instances.
        """
        shape = molded_images.shape[1:]
        detections, _, _, masks, *_ = self._sized(shape).predict_on_batch(self._inputs(molded_images, image_metas))
        results = []
        for found, mask in zip(detections, masks, strict=True):
            whole = (0, 0, *shape[:2])
            fields = self.unmold_detections(found, mask, shape, shape, whole)
            results.append(dict(zip(("rois", "class_ids", "scores", "masks"), fields, strict=True)))
            if verbose:
                logger.info("image %s: %d instances", shape, len(fields[0]))
        return results

    def _sized(self, shape: tuple[int, ...]) -> keras.Model:
        """The network for moulded images of one size. Every size of pad64 and none is a graph of its own: one graph
        for all would have open shapes, with which neither top-k nor a compiler can do."""
        if self.config.IMAGE_RESIZE_MODE not in ("pad64", "none"):
            return self.keras_model
        if shape not in self._sized_networks:
            anchors = self.get_anchors(shape)
            inputs = [
                keras.Input(shape, name="input_image"),
                keras.Input((self.config.IMAGE_META_SIZE,), name="input_image_meta"),
                keras.Input(anchors.shape, name="input_anchors"),
            ]
            network = LocalModel(inputs, self.keras_model(inputs))
            network.jit_compile = runtime.prefers_jit()
            self._sized_networks[shape] = network
        return self._sized_networks[shape]

    def _inputs(self, molded: np.ndarray, metas: np.ndarray) -> list[np.ndarray]:
        anchors = np.repeat(self.get_anchors(molded.shape[1:])[None], len(molded), axis=0)
        return [molded, np.asarray(metas, np.float32), anchors]

    # Inspection ----------------------------------------------------------------------------------------------------

    def stages(self, image: np.ndarray) -> dict[str, np.ndarray]:
        """Every named intermediate of one image, from the backbone to the masks.

        Args:
            image: uint8 [H, W, 3].

        Returns:
            Arrays with a batch of one: C2..C5, P2..P6, rpn_class, rpn_bbox, the steps of `mrcnn.modeling.rpn.propose`,
            proposals, mrcnn_class, mrcnn_bbox, detections, roi_align_mask, mrcnn_mask.
        """
        return self.run_graph([image], list(stage_outputs.stage_outputs(self._inference(), self.config).items()))

    def run_graph(
        self, images: Sequence[np.ndarray], outputs: Sequence[tuple[str, Any]], image_metas: np.ndarray | None = None
    ) -> dict[str, np.ndarray]:
        """Values of tensors of the network for some images.

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
        values = stage_outputs.run(self._inference(), list(outputs), self._inputs(molded, image_metas))
        for name, value in values.items():
            log(name, value)
        return values

    def ancestor(self, tensor: Any, name: str, checked: Any = None) -> Any:
        """The tensor that the original's graph called `name` ("ROI/refined_anchors:0"), or None. For run_graph."""
        return graph_nodes.node(self._inference(), self.config, name)

    def find_trainable_layer(self, layer: keras.layers.Layer) -> keras.layers.Layer:
        """The layer itself, or the one that it wraps (TimeDistributed)."""
        return self.find_trainable_layer(layer.layer) if type(layer).__name__ == "TimeDistributed" else layer

    def get_trainable_layers(self) -> list[keras.layers.Layer]:
        """All layers that have weights; a nested model counts as one."""
        return [layer for layer in map(self.find_trainable_layer, self.keras_model.layers) if layer.get_weights()]

    def _inference(self) -> keras.Model:
        if self.mode != "inference":
            raise InputError("this model was built for training; make MaskRCNN(mode='inference', ...) to detect")
        return self.keras_model

    def get_anchors(self, image_shape: Sequence[int]) -> np.ndarray:
        """Anchors for a moulded image of this shape, float32 [A, (y1, x1, y2, x2)] norm; computed once for a shape."""
        key = tuple(int(side) for side in image_shape)
        if key not in self._anchor_cache:
            self._anchor_cache[key] = pyramid_anchors(self.config, key)
        return self._anchor_cache[key]

    @property
    def anchors(self) -> np.ndarray:
        """Anchors of the last new size of a moulded image, float [A, (y1, x1, y2, x2)] pixels, for notebooks."""
        return pyramid_anchors_px(self.config, next(reversed(self._anchor_cache), tuple(self.config.IMAGE_SHAPE)))
