"""The training network: the graph, its five losses, and the running means over them.

Legend: N batch, A anchors, P proposals, R sampled ROIs, G padded ground-truth slots, C classes with background, H W
image, S sampled anchors. Boxes are [..., (y1, x1, y2, x2)].
"""

from typing import Any

import keras
import numpy as np
from keras import layers
from keras import ops as K

from mrcnn.backend import devices, hosts, replicas
from mrcnn.backend.keras_private import BuiltModel, sync_variables
from mrcnn.backend.precision import precision_of
from mrcnn.config import Config
from mrcnn.modeling import losses, ops, targets
from mrcnn.modeling.anchors import pyramid_anchors, pyramid_anchors_px
from mrcnn.modeling.class_accuracy import ClassAccuracy
from mrcnn.modeling.network import (
    Molding,
    MoldingModel,
    class_head,
    feature_pyramid,
    mask_head,
    propose_regions,
    rpn_outputs,
    shared_stage5,
    training_shape,
)
from mrcnn.modeling.rpn import ProposalLayer
from mrcnn.structures.boxes import norm_boxes

Tensor = Any  # a tensor of the chosen backend, or a KerasTensor while a model is being built

LOSS_NAMES = ("rpn_class_loss", "rpn_bbox_loss", "mrcnn_class_loss", "mrcnn_bbox_loss", "mrcnn_mask_loss")
TERM_NAMES = (*LOSS_NAMES, "weight_decay")  # what the total is made of
# the inputs in a batch of `data_generator`, in its order
GENERATOR_INPUTS = (
    "input_image",
    "input_image_meta",
    "input_rpn_match",
    "input_rpn_bbox",
    "input_gt_class_ids",
    "input_gt_boxes",
    "input_gt_masks",
    "input_roi",
)


class Anchors(layers.Layer):
    """Repeats the anchors of the fixed training size for each image of the batch: float32 [N, A, 4] norm."""

    def __init__(self, anchors_norm: np.ndarray, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._anchors_norm = np.asarray(anchors_norm, "float32")

    def call(self, image: Tensor) -> Tensor:
        anchors = K.convert_to_tensor(self._anchors_norm)[None]  # [1, A, 4]
        return K.broadcast_to(anchors, (K.shape(image)[0], *self._anchors_norm.shape))

    def compute_output_spec(self, image: Tensor) -> Tensor:
        return keras.KerasTensor((image.shape[0], *self._anchors_norm.shape), dtype="float32")


class NormBoxes(layers.Layer):
    """Converts boxes [N, n, 4] from px to float32 norm in images of `image_shape` (H, W); padding rows stay zero."""

    def __init__(self, image_shape: tuple[int, int], continuous: bool = False, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)  # half precision would move the boxes by pixels
        self._image_shape, self._continuous = tuple(int(side) for side in image_shape), continuous

    def call(self, boxes_px: Tensor) -> Tensor:
        boxes_px = K.cast(boxes_px, "float32")
        real = K.any(boxes_px != 0, axis=-1, keepdims=True)
        return K.where(real, norm_boxes(boxes_px, self._image_shape, self._continuous), 0.0)


class TrainingNetwork(MoldingModel, BuiltModel):
    """The training network with its five losses; see `build_training_network` for its inputs.

    `fit` takes dicts with the inputs by name (see `mrcnn.data.loader.Loader`) or the lists of `data_generator`.
    `compute_loss` assigns the RPN targets unless they come with the batch, adds the weighted losses and the weight
    decay, and keeps one running mean per loss. The first step whose loss is not finite is remembered
    (`first_nonfinite`): which terms, and the image ids of that batch.

    Args:
        config: settings of the network and of its losses.
        image_shape: (H, W, channels) of the images, in pixels.

    Raises:
        InputError: config.BACKBONE is unknown.
    """

    def __init__(self, config: Config, image_shape: tuple[int, int, int]) -> None:
        # Layers
        height, width, _ = image_shape
        anchors = Anchors(pyramid_anchors(config, image_shape), name="anchors")
        propose = ProposalLayer(
            config.POST_NMS_ROIS_TRAINING, config.RPN_NMS_THRESHOLD, config, training=True, name="ROI"
        )
        continuous = config.BOX_CONVENTION == "continuous"
        norm_gt_boxes = NormBoxes((height, width), continuous, name="norm_gt_boxes")
        norm_rois = NormBoxes((height, width), continuous, name="norm_rois")
        sample = targets.DetectionTargetLayer(config, seed=int(config.SEED), name="proposal_targets")

        # Functional model
        inputs = _inputs(config, image_shape)
        image, meta = inputs["input_image"], inputs["input_image_meta"]
        pyramid = feature_pyramid(image, config)
        rpn_class_logits, rpn_class, rpn_bbox = rpn_outputs(pyramid, config)
        scores = rpn_class_logits, rpn_class
        proposals = propose_regions(scores, rpn_bbox, anchors(image), pyramid, meta, propose)  # [N, P, 4] norm
        gt_boxes = norm_gt_boxes(inputs["input_gt_boxes"])
        candidates = norm_rois(inputs["input_roi"]) if "input_roi" in inputs else proposals
        rois, target_class_ids, target_bbox, target_mask = sample(
            [candidates, inputs["input_gt_class_ids"], gt_boxes, inputs["input_gt_masks"]]
        )
        stage5 = shared_stage5(pyramid, config)
        class_logits, class_probs, bbox = class_head(rois, pyramid, meta, config, stage5)
        # positives come first, so the mask head sees only the rows that can hold one
        positives = int(config.TRAIN_ROIS_PER_IMAGE * config.ROI_POSITIVE_RATIO)
        mask_logits = mask_head(rois[:, :positives], pyramid, meta, config, stage5, logits=True)
        outputs = {
            "rpn_class_logits": rpn_class_logits,
            "rpn_class": rpn_class,
            "rpn_bbox": rpn_bbox,
            "proposals": proposals,
            "output_rois": rois,
            "target_class_ids": target_class_ids,
            "target_bbox": target_bbox,
            "target_mask": target_mask,
            "mrcnn_class_logits": class_logits,
            "mrcnn_class": class_probs,
            "mrcnn_bbox": bbox,
            "mrcnn_mask_logits": mask_logits,
        }
        super().__init__(inputs=inputs, outputs=outputs, name="mask_rcnn")

        # Config, and what the loss keeps
        self.molding = Molding.of(config)
        self.config, self.image_shape = config, image_shape
        self.graph_inputs = [tensor.name for tensor in self.inputs]
        self.input_spec = None  # Keras would count the inputs of a list; `call` picks those that it needs
        self.anchors_px = pyramid_anchors_px(config, image_shape).astype("float32")
        self.seed_generator = keras.random.SeedGenerator(int(config.SEED))
        self.loss_means = [keras.metrics.Mean(name=name) for name in LOSS_NAMES]
        self.class_accuracy = ClassAccuracy(config.NUM_CLASSES, name="roi_accuracy")
        # first loss that was not finite: -1 (never) or 0, a flag for each term, the image ids of the batch
        images = config.BATCH_SIZE * hosts.host()[1]
        self.nonfinite = self.add_weight(
            shape=(1 + len(TERM_NAMES) + images,),
            initializer=_minus_one,
            trainable=False,
            aggregation="only_first_replica",  # all replicas note the same
            name="nonfinite",
        )

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Run the graph on its inputs; RPN targets in the batch are for the loss alone."""
        named = by_name(inputs)
        known = {name: named[name] for name in self.graph_inputs if name in named}
        return super().call(known, training=training, mask=mask)

    def fit(self, x: Any = None, *args: Any, **kwargs: Any) -> keras.callbacks.History:
        """Fit on the devices and hosts that the network was built for."""
        callbacks = [*(kwargs.pop("callbacks", None) or []), devices.StopTogether()]
        for name in ("x", "validation_data"):
            if isinstance(kwargs.get(name), keras.utils.PyDataset):
                kwargs[name] = devices.feed(kwargs[name])
        x = devices.feed(x) if isinstance(x, keras.utils.PyDataset) else x
        with devices.fitting(self.config):
            return super().fit(x, *args, callbacks=callbacks, **kwargs)

    def compute_metrics(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Return the metrics of a step; as rows on several TensorFlow hosts, where Keras averages over axis 0."""
        metrics = super().compute_metrics(*args, **kwargs)
        return replicas.as_rows(metrics)

    def rpn_losses(self, x: dict[str, Tensor], y_pred: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the two losses of the RPN, float32 scalars: from the targets in the batch if any, else assigned here.

        Args:
            x: the inputs [N, ...] by name.
            y_pred: the outputs [N, ...] by name; rpn_class_logits [N, A, 2] and rpn_bbox [N, A, 4] are read.
        """
        logits, pred_deltas = y_pred["rpn_class_logits"], y_pred["rpn_bbox"]
        if "input_rpn_match" in x:
            rpn_match = x["input_rpn_match"]
            return {
                "rpn_class_loss": losses.rpn_class_loss_graph(rpn_match, logits),
                "rpn_bbox_loss": losses.rpn_bbox_loss_graph(self.config, x["input_rpn_bbox"], rpn_match, pred_deltas),
            }
        indices, match, deltas = targets.rpn_targets(
            K.convert_to_tensor(self.anchors_px),
            K.cast(x["input_gt_boxes"], "float32"),
            x["input_gt_class_ids"],
            self.config,
            self.seed_generator,
        )
        return {
            "rpn_class_loss": losses.rpn_class_loss(match, ops.batch_gather(logits, indices)),
            "rpn_bbox_loss": losses.rpn_bbox_loss(match, deltas, ops.batch_gather(pred_deltas, indices)),
        }

    def loss_terms(self, x: Any, y_pred: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the five losses, float32 scalars by name; x and y_pred as in `rpn_losses`, x also as a list."""
        x = by_name(x)
        rois_counted = K.any(y_pred["output_rois"] != 0, axis=-1)
        active_class_ids = K.cast(x["input_image_meta"], "int32")[:, 12:]
        positives = K.shape(y_pred["mrcnn_mask_logits"])[1]
        ids = y_pred["target_class_ids"]
        box_ids = ids
        if self.config.ROI_OHEM:
            hard = losses.hard_rois(
                ids, y_pred["mrcnn_class_logits"], y_pred["target_bbox"], y_pred["mrcnn_bbox"], rois_counted
            )
            rois_counted, box_ids = hard, K.where(hard, ids, 0)
        return {
            **self.rpn_losses(x, y_pred),
            "mrcnn_class_loss": losses.mrcnn_class_loss(
                ids,
                y_pred["mrcnn_class_logits"],
                active_class_ids,
                roi_valid=rois_counted,
                class_weights=self.config.CLASS_LOSS_WEIGHTS,
            ),
            "mrcnn_bbox_loss": losses.mrcnn_bbox_loss(y_pred["target_bbox"], box_ids, y_pred["mrcnn_bbox"]),
            "mrcnn_mask_loss": losses.mrcnn_mask_loss(
                y_pred["target_mask"][:, :positives], ids[:, :positives], y_pred["mrcnn_mask_logits"]
            ),
        }

    def compute_loss(
        self,
        x: Any,
        y: Any,
        y_pred: dict[str, Tensor],
        sample_weight: Any = None,
        training: bool = True,
    ) -> Tensor:
        """Return the weighted sum of the five losses plus weight decay, a float32 scalar, and update the metrics.

        x and y_pred are the inputs and outputs of the graph by name. y and sample_weight are not used.
        """
        terms = self.loss_terms(x, y_pred)
        # with several devices this is one part of the batch; the parts add up to the loss of the batch
        decay = self.weight_decay() / replicas.replica_count()
        whole = replicas.sum_over_replicas(K.stack([*terms.values(), decay]))  # [6]
        for tracker, value in zip(self.loss_means, K.unstack(whole[:-1]), strict=True):
            tracker.update_state(value)
        self.class_accuracy.update_state(y_pred["target_class_ids"], y_pred["mrcnn_class_logits"])
        self._note_nonfinite(whole, replicas.gather_rows(by_name(x)["input_image_meta"][:, 0]))
        return decay + sum(self.config.LOSS_WEIGHTS.get(name, 1.0) * value for name, value in terms.items())

    def weight_decay(self) -> Tensor:
        """Return the L2 of the trained weights but BatchNorm's: mean of squares, or the true sum (TRUE_WEIGHT_DECAY).

        A float32 scalar. Matterport's mean divides by the size of each tensor and is next to nothing; the true form
        adds WEIGHT_DECAY / 2 * sum(w^2), whose gradient is WEIGHT_DECAY * w. AdamW has its own, so the term is 0.
        """
        if self.config.OPTIMIZER == "adamw":
            return K.convert_to_tensor(0.0)
        decay = K.convert_to_tensor(0.0)
        for weight in self.trainable_weights:
            if weight.name in ("gamma", "beta"):
                continue
            square = K.square(K.cast(weight.value, "float32"))
            decay = decay + (0.5 * K.sum(square) if self.config.TRUE_WEIGHT_DECAY else K.mean(square))
        return self.config.WEIGHT_DECAY * decay

    def _note_nonfinite(self, terms: Tensor, image_ids: Tensor) -> None:
        batch = self.nonfinite.shape[0] - 1 - len(TERM_NAMES)  # clients change config.BATCH_SIZE afterwards
        finite = K.cast(K.isfinite(terms), "float32")  # [6]
        ids = K.concatenate([K.cast(image_ids, "float32"), -K.ones((batch,))])  # a short batch is filled with -1
        note = K.concatenate([K.zeros((1,)), finite, K.reshape(ids[:batch], (batch,))])
        known = self.nonfinite.value
        now_bad = K.logical_and(K.any(finite < 1), known[0] < 0)
        self.nonfinite.assign(K.where(now_bad, note, known))

    def first_nonfinite(self) -> tuple[list[str], list[int]] | None:
        """Return (names of the terms, image ids of the batch) of the first loss that was not finite, or None."""
        sync_variables(self)
        note = K.convert_to_numpy(self.nonfinite.value)
        if note[0] < 0:
            return None
        finite, image_ids = note[1 : 1 + len(TERM_NAMES)], note[1 + len(TERM_NAMES) :]
        terms = [name for name, good in zip(TERM_NAMES, finite, strict=True) if not good]
        return terms, [int(i) for i in image_ids if i >= 0]


def by_name(inputs: Any) -> dict[str, Tensor]:
    """Return the inputs of a training batch by name: a dict unchanged, a list in the order of `data_generator`."""
    return inputs if isinstance(inputs, dict) else dict(zip(GENERATOR_INPUTS, inputs, strict=False))


def build_training_network(config: Config, image_shape: tuple[int, int, int] | None = None) -> TrainingNetwork:
    """Build the training network for images of `image_shape` (H, W, channels); None takes `training_shape`.

    Inputs by name: input_image uint8 (raw) or float (moulded) [N, H, W, 3], input_image_meta float [N, 12 + C],
    input_gt_class_ids int32 [N, G], input_gt_boxes float px [N, G, 4], input_gt_masks bool [N, mh, mw, G] (mini-masks,
    or [N, H, W, G] without USE_MINI_MASK), zero padded; with USE_RPN_ROIS=False also input_roi float px [N, P, 4].
    A batch may hold input_rpn_match int [N, A, 1] and input_rpn_bbox [N, S, 4] too, as `data_generator` makes them.

    Raises:
        InputError: config.GPU_COUNT devices are not available, or config.BACKBONE is unknown.
    """
    with devices.parallel(config), precision_of(config):
        return TrainingNetwork(config, image_shape or training_shape(config))


def _inputs(config: Config, image_shape: tuple[int, int, int]) -> dict[str, Tensor]:
    """Return the inputs of the graph by name, see `build_training_network`."""
    mask_shape = config.MINI_MASK_SHAPE if config.USE_MINI_MASK else image_shape[:2]
    slots = config.MAX_GT_INSTANCES
    inputs = [
        keras.Input(image_shape, name="input_image"),
        keras.Input((config.IMAGE_META_SIZE,), name="input_image_meta"),
        keras.Input((slots,), dtype="int32", name="input_gt_class_ids"),
        keras.Input((slots, 4), name="input_gt_boxes"),
        keras.Input((*mask_shape, slots), dtype="bool", name="input_gt_masks"),
    ]
    if not config.USE_RPN_ROIS:
        inputs.append(keras.Input((config.POST_NMS_ROIS_TRAINING, 4), name="input_roi"))
    return {tensor.name: tensor for tensor in inputs}


def _minus_one(shape: tuple[int, ...], dtype: str | None = None) -> Tensor:
    return K.full(shape, -1.0, dtype=dtype)
