"""The region proposal network: it says which anchors contain an object and where exactly (Ren et al.,
arXiv:1506.01497).

Legend: N batch, A anchors, K anchors kept before suppression, P proposals, H W a feature map, C channels.
"""

from typing import Any

import keras
from keras import layers

from mrcnn.config import Config
from mrcnn.modeling import ops
from mrcnn.structures import boxes as box_ops

Tensor = Any  # a tensor of the current backend, or a KerasTensor while a model is being built


def rpn_graph(feature_map: Tensor, anchors_per_location: int, anchor_stride: int, channels: int = 512) -> list[Tensor]:
    """Build the head that runs on one level of the pyramid.

    Args:
        feature_map: [N, H, W, C].
        anchors_per_location: number of aspect ratios (Matterport has one scale per level).
        anchor_stride: 1 for anchors at every cell, 2 at every other one.
        channels: channels of the shared convolution; Matterport's weights have 512.

    Returns:
        logits [N, A, (background, object)], their softmax, and deltas [N, A, (dy, dx, log(dh), log(dw))] in units of
        RPN_BBOX_STD_DEV; all float32. A runs over rows, then columns, then ratios, as in `generate_anchors`.
    """
    shared = layers.Conv2D(
        channels, 3, strides=anchor_stride, padding="same", activation="relu", name="rpn_conv_shared"
    )(feature_map)
    logits = layers.Conv2D(2 * anchors_per_location, 1, name="rpn_class_raw")(shared)
    logits = layers.Reshape((-1, 2), dtype="float32", name="rpn_class_rows")(logits)  # [N, A, 2], A = H * W * ratios
    probs = layers.Activation("softmax", dtype="float32", name="rpn_class_xxx")(logits)
    deltas = layers.Conv2D(4 * anchors_per_location, 1, name="rpn_bbox_pred")(shared)
    deltas = layers.Reshape((-1, 4), dtype="float32", name="rpn_bbox_rows")(deltas)  # [N, A, 4]
    return [logits, probs, deltas]


def build_rpn_model(anchor_stride: int, anchors_per_location: int, depth: int, channels: int = 512) -> keras.Model:
    """Wrap `rpn_graph` in a model, so that all levels share its weights.

    Args:
        anchor_stride: see `rpn_graph`.
        anchors_per_location: see `rpn_graph`.
        depth: C of the feature maps.
        channels: see `rpn_graph`.

    Returns:
        Model "rpn_model" from a feature map [N, H, W, depth] to the three outputs of `rpn_graph`.
    """
    feature_map = keras.Input((None, None, depth), name="input_rpn_feature_map")
    outputs = rpn_graph(feature_map, anchors_per_location, anchor_stride, channels)
    return keras.Model(feature_map, outputs, name="rpn_model")


def propose(
    rpn_probs: Tensor,
    rpn_bbox: Tensor,
    anchors: Tensor,
    config: Config,
    proposal_count: int,
    nms_threshold: float,
) -> dict[str, Tensor]:
    """Turn the RPN's outputs into proposals, and return every step by name. No gradient flows back.

    Args:
        rpn_probs: [N, A, (background, object)] float.
        rpn_bbox: [N, A, (dy, dx, log(dh), log(dw))] float in units of RPN_BBOX_STD_DEV.
        anchors: [N, A, (y1, x1, y2, x2)] float32 normalised.
        config: PRE_NMS_LIMIT (the maximum K) and RPN_BBOX_STD_DEV are read.
        proposal_count: P.
        nms_threshold: a proposal is suppressed if its IoU with a better one exceeds this.

    Returns:
        "pre_nms_scores" [N, K], "pre_nms_anchors", "refined_anchors" and "refined_anchors_clipped" [N, K, 4], all by
        descending score; "rpn_non_max_suppression" [N, P] int32, indices into these; "proposals" [N, P, 4] float32
        normalised, by descending score. Rows after the last proposal are zero.
    """
    # Proposals are data for the heads. The RPN is trained by its own two losses only.
    rpn_probs, rpn_bbox, anchors = ops.as_data(rpn_probs), ops.as_data(rpn_bbox), ops.as_data(anchors)
    limit, count = config.PRE_NMS_LIMIT, keras.ops.shape(anchors)[1]
    # the count is a tensor where one graph serves images of all sizes
    limit = min(limit, count) if isinstance(count, int) else keras.ops.minimum(limit, count)
    scores, best = keras.ops.top_k(rpn_probs[:, :, 1], limit)  # [N, K]
    pre_nms_anchors = ops.batch_gather(anchors, best)  # [N, K, 4]
    deltas = ops.batch_gather(rpn_bbox, best) * keras.ops.convert_to_tensor(config.RPN_BBOX_STD_DEV, dtype="float32")
    refined = box_ops.apply_box_deltas(pre_nms_anchors, deltas)
    clipped = box_ops.clip_boxes(refined, (0.0, 0.0, 1.0, 1.0))
    indices, keep = ops.non_max_suppression(clipped, scores, proposal_count, nms_threshold)
    proposals = keras.ops.where(keep[:, :, None], ops.batch_gather(clipped, indices), 0.0)  # [N, P, 4]
    return {
        "pre_nms_scores": scores,
        "pre_nms_anchors": pre_nms_anchors,
        "refined_anchors": refined,
        "refined_anchors_clipped": clipped,
        "rpn_non_max_suppression": indices,
        "proposals": proposals,
    }


@keras.saving.register_keras_serializable("mrcnn")
class ProposalLayer(layers.Layer):
    """`propose` as a layer: [rpn_probs [N, A, 2], rpn_bbox [N, A, 4], anchors [N, A, 4]] -> [N, P, 4] normalised.

    Args:
        proposal_count: P; rows after the last proposal are zero.
        nms_threshold: a proposal is suppressed if its IoU with a better one exceeds this.
        config: PRE_NMS_LIMIT and RPN_BBOX_STD_DEV are read; None uses the defaults of Config.
    """

    def __init__(self, proposal_count: int, nms_threshold: float, config: Config | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("dtype", "float32")  # half precision would shift boxes by pixels
        super().__init__(**kwargs)
        self.proposal_count = proposal_count
        self.nms_threshold = nms_threshold
        self.config = config or Config()

    def call(self, inputs: list[Tensor]) -> Tensor:
        rpn_probs, rpn_bbox, anchors = inputs
        steps = propose(rpn_probs, rpn_bbox, anchors, self.config, self.proposal_count, self.nms_threshold)
        return steps["proposals"]

    def compute_output_spec(self, inputs: list[keras.KerasTensor]) -> keras.KerasTensor:
        return keras.KerasTensor((inputs[0].shape[0], self.proposal_count, 4), dtype="float32")
