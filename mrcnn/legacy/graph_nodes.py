"""Find tensors by the names that they had in the original's graph. Legend: P proposals."""

from typing import Any

import keras

from mrcnn.modeling.stage_outputs import PROPOSAL_STAGES, proposal_stages

Tensor = Any


def node(network: keras.Model, name: str) -> Tensor | None:
    """Return the tensor of a node name of the original's graph, such as "ROI/refined_anchors:0", or None.

    Known are the steps of the ROI layer (any spelling of the suppression) and the names of layers. The suppression's
    indices are those of the first image, int32 [P], as in the original.
    """
    layer, _, rest = name.partition(":")[0].partition("/")
    if layer == "ROI" and rest:
        step = rest.split("/")[0]
        if step not in PROPOSAL_STAGES:
            return None
        value = proposal_stages(network)[step]
        return value[0] if step == "rpn_non_max_suppression" else value
    names = {item.name for item in network.layers}
    return network.get_layer(layer).output if layer in names else None
