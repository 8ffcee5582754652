"""The region proposal network: it says which anchors contain an object and where exactly (Ren et al.,
arXiv:1506.01497).

Legend: N batch, A anchors, K anchors kept before suppression, P proposals, H W a feature map, C channels, L pyramid
levels, M = 12 + classes, columns of the image meta.
"""

import math
from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from mrcnn.config import Config
from mrcnn.modeling import ops
from mrcnn.modeling.anchors import anchors_per_location
from mrcnn.structures import boxes as box_ops

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built


# The limit of log(dh) and log(dw) of BBOX_DELTA_CLIP: a box of 16 px grows to at most 1000 px.
DELTA_LIMIT = math.log(1000 / 16)


def rpn_graph(
    feature_map: Tensor,
    anchors_per_location: int,
    anchor_stride: int,
    channels: int = 512,
    convs: int = 1,
    sigmoid: bool = False,
) -> list[Tensor]:
    """Build the head that runs on one level of the pyramid.

    Args:
        feature_map: [N, H, W, C].
        anchors_per_location: number of aspect ratios, times the scales of a single map.
        anchor_stride: 1 for anchors at every cell, 2 at every other one.
        channels: channels of the shared convolutions; Matterport's weights have 512.
        convs: number of shared convolutions.
        sigmoid: predict one logit, the object's; the background's is 0, so that the softmax is its sigmoid.

    Returns:
        logits [N, A, (background, object)], their softmax, and deltas [N, A, (dy, dx, log(dh), log(dw))] in units of
        RPN_BBOX_STD_DEV; all float32. A runs over rows, then columns, then ratios, as in `generate_anchors`.
    """
    shared = feature_map
    for number in range(1, convs + 1):
        name, strides = f"rpn_conv_shared{number if number > 1 else ''}", anchor_stride if number == 1 else 1
        shared = layers.Conv2D(channels, 3, strides=strides, padding="same", activation="relu", name=name)(shared)
    outputs = 1 if sigmoid else 2
    logits = layers.Conv2D(outputs * anchors_per_location, 1, name="rpn_class_raw")(shared)
    logits = layers.Reshape((-1, outputs), dtype="float32", name="rpn_class_rows")(logits)  # [N, A = H * W * ratios, _]
    if sigmoid:
        logits = keras.ops.concatenate([keras.ops.zeros_like(logits), logits], axis=-1)  # [N, A, 2]
    probs = layers.Activation("softmax", dtype="float32", name="rpn_class_xxx")(logits)
    deltas = layers.Conv2D(4 * anchors_per_location, 1, name="rpn_bbox_pred")(shared)
    deltas = layers.Reshape((-1, 4), dtype="float32", name="rpn_bbox_rows")(deltas)  # [N, A, 4]
    return [logits, probs, deltas]


def build_rpn_model(
    anchor_stride: int,
    anchors_per_location: int,
    depth: int,
    channels: int = 512,
    convs: int = 1,
    sigmoid: bool = False,
) -> keras.Model:
    """Wrap `rpn_graph` in a model, so that all levels share its weights.

    Args:
        anchor_stride: see `rpn_graph`.
        anchors_per_location: see `rpn_graph`.
        depth: C of the feature maps.
        channels: see `rpn_graph`.
        convs: see `rpn_graph`.
        sigmoid: see `rpn_graph`.

    Returns:
        Model "rpn_model" from a feature map [N, H, W, depth] to the three outputs of `rpn_graph`.
    """
    feature_map = keras.Input((None, None, depth), name="input_rpn_feature_map")
    outputs = rpn_graph(feature_map, anchors_per_location, anchor_stride, channels, convs, sigmoid)
    return keras.Model(feature_map, outputs, name="rpn_model")


def propose(
    rpn_scores: Tensor,
    rpn_bbox: Tensor,
    anchors: Tensor,
    config: Config,
    proposal_count: int,
    nms_threshold: float,
    pre_nms_limit: int | None = None,
    anchor_counts: Sequence[Any] = (),
    meta: Tensor | None = None,
) -> dict[str, Tensor]:
    """Turn the RPN's outputs into proposals, and return every step by name. No gradient flows back.

    Args:
        rpn_scores: [N, A, (background, object)] float, probabilities or logits; anchors are ranked by the second.
        rpn_bbox: [N, A, (dy, dx, log(dh), log(dw))] float in units of RPN_BBOX_STD_DEV.
        anchors: [N, A, (y1, x1, y2, x2)] float32 normalised.
        config: RPN_BBOX_STD_DEV, RPN_PER_LEVEL, RPN_MIN_SIZE, RPN_CLIP_TO_WINDOW, BBOX_DELTA_CLIP and BOX_CONVENTION
            are read.
        proposal_count: P.
        nms_threshold: a proposal is suppressed if its IoU with a better one exceeds this.
        pre_nms_limit: the maximum K, with RPN_PER_LEVEL of each level; None: PRE_NMS_LIMIT.
        anchor_counts: of each level, which RPN_PER_LEVEL needs; numbers, or scalar tensors.
        meta: [N, M] image metas, which RPN_CLIP_TO_WINDOW and RPN_MIN_SIZE need.

    Returns:
        "pre_nms_scores" [N, K], "pre_nms_anchors", "refined_anchors" and "refined_anchors_clipped" [N, K, 4], all by
        descending score, with RPN_PER_LEVEL of each level; "rpn_non_max_suppression" [N, P] int32, indices into these;
        "proposals" [N, P, 4] float32 normalised, zero padded.
    """
    # Proposals are data for the heads. The RPN is trained by its own two losses only.
    rpn_scores, rpn_bbox, anchors = ops.as_data(rpn_scores), ops.as_data(rpn_bbox), ops.as_data(anchors)
    limit = config.PRE_NMS_LIMIT if pre_nms_limit is None else pre_nms_limit
    levels = None
    if config.RPN_PER_LEVEL:
        scores, best, levels = _best_of_levels(rpn_scores[:, :, 1], limit, anchor_counts)
    else:
        count = keras.ops.shape(anchors)[1]
        # the count is a tensor where one graph serves images of all sizes
        limit = min(limit, count) if isinstance(count, int) else keras.ops.minimum(limit, count)
        scores, best = keras.ops.top_k(rpn_scores[:, :, 1], limit)  # [N, K]
    pre_nms_anchors = ops.batch_gather(anchors, best)  # [N, K, 4]
    deltas = ops.batch_gather(rpn_bbox, best) * keras.ops.convert_to_tensor(config.RPN_BBOX_STD_DEV, dtype="float32")
    refined = box_ops.apply_box_deltas(pre_nms_anchors, deltas, *delta_limits(config))
    clipped = box_ops.clip_boxes(
        refined, windows_norm(meta, config) if config.RPN_CLIP_TO_WINDOW else (0.0, 0.0, 1.0, 1.0)
    )
    large = None if config.RPN_MIN_SIZE is None else larger_than(clipped, config.RPN_MIN_SIZE, meta, config)
    indices, keep = ops.non_max_suppression(clipped, scores, proposal_count, nms_threshold, levels, large)
    proposals = keras.ops.where(keep[:, :, None], ops.batch_gather(clipped, indices), 0.0)  # [N, P, 4]
    return {
        "pre_nms_scores": scores,
        "pre_nms_anchors": pre_nms_anchors,
        "refined_anchors": refined,
        "refined_anchors_clipped": clipped,
        "rpn_non_max_suppression": indices,
        "proposals": proposals,
    }


def _best_of_levels(scores: Tensor, limit: int, counts: Sequence[Any]) -> tuple[Tensor, Tensor, Tensor]:
    """Select the best anchors of each level.

    Args:
        scores: [N, A].
        limit: anchors of each level.
        counts: anchors of each of the L levels.

    Returns:
        scores [N, K], -inf where a level has fewer anchors than the graph has room for; their places among the A
        anchors, int32 [N, K]; and their levels, int32 [N, K].
    """
    chosen, first = [], 0
    for level, size in enumerate(counts):
        part = scores[:, first : first + size]
        kept = min(limit, size) if isinstance(size, int) else limit
        if not isinstance(size, int):  # one graph serves images of all sizes, so there may be fewer
            part = keras.ops.pad(part, [[0, 0], [0, limit]], constant_values=-math.inf)
        best_scores, best = keras.ops.top_k(part, kept)
        places = keras.ops.minimum(keras.ops.cast(best, "int32"), size - 1) + first
        chosen.append((best_scores, places, keras.ops.zeros_like(places) + level))
        first = first + size
    best_scores, places, levels = (keras.ops.concatenate(list(parts), axis=1) for parts in zip(*chosen, strict=True))
    return best_scores, places, levels


def delta_limits(config: Config) -> tuple[float, float]:
    """Return the maximum and the minimum of log(dh) and log(dw) that BBOX_DELTA_CLIP sets."""
    maximum = DELTA_LIMIT if config.BBOX_DELTA_CLIP else box_ops.MAX_LOG_SCALE
    return maximum, -DELTA_LIMIT if config.BBOX_DELTA_CLIP == "both" else -math.inf


def windows_norm(meta: Tensor, config: Config) -> Tensor:
    """Return the part of each image that is not padding, [N, 4] float32 normalised, from image metas [N, M]."""
    # Columns 4:6 of the meta are the input's size, the same for the whole batch; 7:11 are the window in pixels.
    return box_ops.norm_boxes(meta[:, 7:11], meta[0, 4:6], config.BOX_CONVENTION == "continuous")


def larger_than(boxes: Tensor, side_px: float, meta: Tensor, config: Config) -> Tensor:
    """Return which normalised boxes [N, K, 4] are higher and wider than `side_px` in images of metas [N, M]: bool."""
    size = keras.ops.cast(meta[:, None, 4:6], "float32")  # [N, 1, (H, W)]
    sides = boxes[..., 2:] - boxes[..., :2]
    sides_px = sides * size if config.BOX_CONVENTION == "continuous" else sides * (size - 1.0) + 1.0
    return keras.ops.all(keras.ops.logical_and(sides > 0, sides_px > side_px), axis=-1)


@keras.saving.register_keras_serializable("mrcnn")
class ProposalLayer(layers.Layer):
    """`propose` as a layer: [rpn_probs [N, A, 2], rpn_bbox [N, A, 4], anchors [N, A, 4]] -> [N, P, 4] normalised.

    `layer(inputs, pyramid=, meta=)` takes the levels [N, h, w, C] that the RPN ran on and the image metas [N, M], which
    some settings need.

    Args:
        proposal_count: P; rows after the last proposal are zero.
        nms_threshold: a proposal is suppressed if its IoU with a better one exceeds this.
        config: its settings are read; None uses the defaults of Config.
        training: whether PRE_NMS_LIMIT_TRAINING counts.
    """

    def __init__(
        self,
        proposal_count: int,
        nms_threshold: float,
        config: Config | None = None,
        training: bool = False,
        **kwargs: Any,
    ) -> None:
        kwargs.setdefault("dtype", "float32")  # half precision would shift boxes by pixels
        super().__init__(**kwargs)
        self.proposal_count = proposal_count
        self.nms_threshold = nms_threshold
        self.config = config or Config()
        self.pre_nms_limit = self.config.PRE_NMS_LIMIT_TRAINING if training else None

    def steps(
        self, inputs: list[Tensor], pyramid: Sequence[Tensor] = (), meta: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Return every step by name; see `propose`."""
        rpn_scores, rpn_bbox, anchors = inputs
        return propose(
            rpn_scores,
            rpn_bbox,
            anchors,
            self.config,
            self.proposal_count,
            self.nms_threshold,
            self.pre_nms_limit,
            anchors_of_levels(pyramid, self.config),
            meta,
        )

    def call(self, inputs: list[Tensor], pyramid: Sequence[Tensor] = (), meta: Tensor | None = None) -> Tensor:
        return self.steps(inputs, pyramid, meta)["proposals"]

    def compute_output_spec(
        self, inputs: list[keras.KerasTensor], pyramid: Sequence[Tensor] = (), meta: Tensor | None = None
    ) -> keras.KerasTensor:
        return keras.KerasTensor((inputs[0].shape[0], self.proposal_count, 4), dtype="float32")


def anchors_of_levels(pyramid: Sequence[Tensor], config: Config) -> list[Any]:
    """Return the number of anchors of each level [N, h, w, C]; scalar tensors where the graph leaves the size open."""
    stride = config.RPN_ANCHOR_STRIDE
    sizes = [keras.ops.shape(level)[1:3] for level in pyramid]
    cells = [((height + stride - 1) // stride) * ((width + stride - 1) // stride) for height, width in sizes]
    return [count * anchors_per_location(config) for count in cells]
