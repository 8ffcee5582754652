"""Look inside the inference network: its intermediate tensors by name, and their values for an image.

Legend: N batch, K anchors kept before suppression, P proposals. Boxes are [..., (y1, x1, y2, x2)] normalised.
"""

import re
from collections.abc import Sequence
from typing import Any

import keras

from mrcnn.backend import runtime
from mrcnn.backend.prediction import Predictor
from mrcnn.errors import InputError
from mrcnn.modeling.rpn import ProposalLayer

Tensor = Any  # a KerasTensor of the network
# Stage -> the layer whose output it is, in forward order; lastK is the name of the last block in stage CK.
LAYERS = {
    "C2": "res2{last2}_out",
    "C3": "res3{last3}_out",
    "C4": "res4{last4}_out",
    "C5": "res5{last5}_out",
    "P2": "fpn_p2",
    "P3": "fpn_p3",
    "P4": "fpn_p4",
    "P5": "fpn_p5",
    "P6": "fpn_p6",
    "rpn_class": "rpn_class",
    "rpn_bbox": "rpn_bbox",
    "proposals": "ROI",
    "mrcnn_class": "mrcnn_class",
    "mrcnn_bbox": "mrcnn_bbox",
    "detections": "mrcnn_detection",
    "roi_align_mask": "roi_align_mask",
    "mrcnn_mask": "mrcnn_mask",
}
PROPOSAL_STAGES = ("pre_nms_anchors", "refined_anchors", "refined_anchors_clipped", "rpn_non_max_suppression")


class ProposalStages(keras.layers.Layer):
    """All steps of a ProposalLayer, as the dict that `propose` returns: [scores, rpn_bbox, anchors, *pyramid, meta]."""

    def __init__(self, layer: ProposalLayer, **kwargs: Any) -> None:
        super().__init__(dtype="float32", **kwargs)
        self.layer = layer

    def call(self, inputs: list[Tensor]) -> dict[str, Tensor]:
        """Return the proposal layer's steps by name."""
        return self.layer.steps(inputs[:3], inputs[3:-1], inputs[-1])

    def compute_output_spec(self, inputs: list[Tensor]) -> dict[str, Tensor]:
        """Return symbolic outputs; N and K are unknown."""
        count = self.layer.proposal_count
        boxes = {name: keras.KerasTensor((None, None, 4), dtype="float32") for name in PROPOSAL_STAGES[:3]}
        kept = keras.KerasTensor((None, count), dtype="int32")
        scores = keras.KerasTensor((None, None), dtype="float32")
        proposals = keras.KerasTensor((None, count, 4), dtype="float32")
        return {**boxes, "rpn_non_max_suppression": kept, "pre_nms_scores": scores, "proposals": proposals}


def proposal_stages(network: keras.Model) -> dict[str, Tensor]:
    """Return symbolic outputs of the steps from the RPN to the proposals; see `mrcnn.modeling.rpn.propose`."""
    layer = network.get_layer("ROI")
    return ProposalStages(layer)(layer.input)


def stage_outputs(network: keras.Model) -> dict[str, Tensor]:
    """Return symbolic outputs of all named stages in forward order, each in the shape that its layer gives.

    A custom backbone has no stages C2..C5.
    """
    names = {layer.name for layer in network.layers}
    last = {}
    for k in (2, 3, 4, 5):
        blocks = [match[1] for layer in network.layers if (match := re.fullmatch(rf"res{k}([a-z]+)_out", layer.name))]
        last[f"last{k}"] = blocks[-1] if blocks else ""
    outputs: dict[str, Tensor] = {}
    for name, pattern in LAYERS.items():
        layer = pattern.format(**last)
        if layer.startswith("fpn_p") and (normalised := layer.replace("fpn_", "fpn_bn_")) in names:
            layer = normalised
        if name == "proposals":
            outputs |= {step: value for step, value in proposal_stages(network).items() if step != "proposals"}
        if layer in names:
            outputs[name] = network.get_layer(layer).output
    return outputs


def run(network: keras.Model, outputs: Sequence[tuple[str, Tensor]], inputs: list[Any]) -> dict[str, Any]:
    """Evaluate symbolic tensors of the network.

    Args:
        network: the inference network.
        outputs: (name, tensor) pairs; the tensors are outputs of the network's layers, or `stage_outputs`.
        inputs: [molded images float, image metas, anchors], as `keras_model` takes them.

    Returns:
        name -> numpy array, in the order of `outputs`.

    Raises:
        InputError: a tensor is None because its node was not found.
    """
    missing = [name for name, tensor in outputs if tensor is None]
    if missing:
        raise InputError(f"no tensor was given for {', '.join(missing)}; keras_model.layers lists the layers")
    part = keras.Model(network.inputs, [tensor for _, tensor in outputs])
    part.jit_compile = runtime.prefers_jit()
    values = Predictor(part)(inputs)
    values = values if isinstance(values, (list, tuple)) else [values]
    return {name: value for (name, _), value in zip(outputs, values, strict=True)}
