"""Every stage of one of our networks for one image, and its comparison with what another project recorded.

Recorded are (x, y, w, h) and class ids of ours; large outputs are samples of every n-th value.
"""

import dataclasses

import keras
import numpy as np

from mrcnn.inference.detector import Detector
from mrcnn.modeling.postprocessing import full_masks
from mrcnn.modeling.stage_outputs import run, stage_outputs

MAPS = [f"C{k}" for k in range(2, 6)] + [f"P{k}" for k in range(2, 7)]
STAGES = ["rpn_class_logits", "rpn_bbox", "proposals", "roi_align_classifier", "mrcnn_class_logits", "mrcnn_bbox"]
XY = [1, 0, 3, 2]  # (y, x, h, w) -> (x, y, w, h)


@dataclasses.dataclass(frozen=True)
class Run:
    """What we compute, and what the other project did, for one image.

    Attributes:
        ours: stage -> values of this image, without the batch axis.
        detector: with the settings of the image's size.
        image: uint8 [H, W, 3].
        input: float32 [h, w, 3].
        window: (y1, x1, y2, x2), the part of it that is not padding.
        golden: name -> recorded values.
    """

    ours: dict[str, np.ndarray]
    detector: Detector
    image: np.ndarray
    input: np.ndarray
    window: np.ndarray
    golden: dict[str, np.ndarray]

    @classmethod
    def of(cls, detector: Detector, images: list[np.ndarray], golden: list[dict[str, np.ndarray]]) -> "list[Run]":
        """Run every stage that was recorded of images whose inputs have one size."""
        molded, metas, windows = detector.mold_inputs(images)
        outputs = stage_outputs(detector.network)
        for name in ("rpn_class_logits", "mrcnn_class_logits", "roi_align_classifier"):
            outputs[name] = detector.network.get_layer(name).output
        wanted = [*(name for name in MAPS if name in golden[0]), *STAGES, "detections", "mrcnn_mask"]
        values = run(detector.network, [(n, outputs[n]) for n in wanted], detector.network_inputs(molded, metas))
        ours = {name: np.asarray(keras.ops.convert_to_numpy(value)) for name, value in values.items()}
        return [
            cls({name: value[i] for name, value in ours.items()}, detector, image, molded[i], windows[i], golden[i])
            for i, image in enumerate(images)
        ]

    def boxes_px(self, boxes_norm: np.ndarray) -> np.ndarray:
        """Return boxes [n, (y1, x1, y2, x2)] as others write them, [n, (x1, y1, x2, y2)] px."""
        height, width = self.input.shape[:2]
        return (boxes_norm * [height, width, height, width])[:, XY]

    def assert_input_and_maps(self, count: int) -> None:
        """Compare the moulded image and the feature maps, of which about `count` values were recorded."""
        assert_near(sampled(self.input.reshape(-1), count), self.golden["input"])
        assert list(self.input.shape[:2]) == list(self.golden["shape"])
        for name in (name for name in MAPS if name in self.golden):
            assert self.ours[name].shape == tuple(self.golden[f"{name}_shape"])
            assert_near(sampled(self.ours[name].reshape(-1), count), self.golden[name])

    def assert_rpn(self, logits: int, rows: int) -> None:
        """Compare logits, deltas and anchors, of which about so many were recorded."""
        assert_near(sampled(self.ours["rpn_class_logits"][:, 1], logits), self.golden["rpn_logits"])
        assert_near(sampled(self.ours["rpn_bbox"], rows)[:, XY], self.golden["rpn_deltas"])
        self.detector.get_anchors(self.input.shape)
        anchors = sampled(self.detector.anchors_px(), rows)[:, XY]
        np.testing.assert_allclose(anchors, self.golden["anchors"], atol=1e-4)

    def assert_proposals(self) -> None:
        """Compare proposals as sets."""
        ours, golden = self.boxes_px(self.ours["proposals"]), self.golden["proposals"]
        assert (np.abs(ours).sum(axis=1) > 0).sum() == len(golden)
        distances = np.abs(ours[:, None] - golden[None]).max(axis=-1)
        assert distances.min(axis=0).max() < 0.01
        assert len(set(distances.argmin(axis=0))) == len(golden)  # each has its own partner

    def assert_box_head(self) -> None:
        """Compare the first pooled regions, the class logits and the deltas; there may be none of the background."""
        count, channels = self.golden["pooled"].shape[:2]
        pooled = np.moveaxis(self.ours["roi_align_classifier"][:count], 3, 1)
        assert_near(pooled[:, :: max(1, pooled.shape[1] // channels)], self.golden["pooled"])
        logits, deltas = (self.ours[name][:count] for name in ("mrcnn_class_logits", "mrcnn_bbox"))
        deltas = deltas[..., XY].reshape(count, -1)
        if deltas.shape[1] > self.golden["box_deltas"].shape[1]:  # the background is last, and has no box
            logits, deltas = np.roll(logits, -1, axis=1), deltas[:, 4:]
        assert_near(logits, self.golden["class_logits"])
        assert_near(deltas, self.golden["box_deltas"])

    def partners(self, boxes: np.ndarray, class_ids: np.ndarray, scores: np.ndarray, key: str) -> np.ndarray:
        """Return our row of each recorded detection; those whose scores are equal up to rounding may be swapped."""
        golden, labels = self.golden[key], self.golden["labels"]
        distances = np.abs(boxes[:, None] - golden[None]).max(axis=-1) + 1e6 * (class_ids[:, None] != labels[None])
        rows = distances.argmin(axis=0)
        assert len(boxes) == len(golden) == len(set(rows))
        assert distances.min(axis=0).max() < 0.01
        np.testing.assert_allclose(scores[rows], self.golden["scores"], atol=1e-4)
        assert (np.diff(scores) <= 0).all()
        return rows[: len(self.golden["masks"])]

    def assert_detections(self) -> None:
        """Compare boxes, classes, scores and mask probabilities in the input."""
        detections = self.ours["detections"]
        detections = detections[detections[:, 4] > 0]
        rows = self.partners(self.boxes_px(detections[:, :4]), detections[:, 4], detections[:, 5], "boxes")
        masks = self.ours["mrcnn_mask"][rows, :, :, detections[rows, 4].astype(int)]
        np.testing.assert_allclose(masks, self.golden["masks"], atol=1e-4)

    def assert_in_image(self, pixels: int) -> None:
        """Compare boxes and masks in the image; so many pixels may have a probability within rounding of 0.5."""
        found, masks = self.ours["detections"], self.ours["mrcnn_mask"]
        unmolded = self.detector.unmold(found, masks, self.image.shape, self.input.shape, self.window)
        boxes, class_ids, scores, probs = unmolded
        rows = self.partners(boxes[:, XY], class_ids, scores, "final_boxes")
        pasted = full_masks(probs[rows], boxes[rows], self.image.shape, self.detector.config.MASK_PASTE)
        ours = np.packbits(np.moveaxis(pasted, 2, 0))
        assert np.unpackbits(ours ^ self.golden["final_masks"]).sum() <= pixels


def sampled(values: np.ndarray, size: int) -> np.ndarray:
    """Return every n-th value or row, as many as were recorded."""
    return values[:: max(1, len(values) // size)]


def assert_near(ours: np.ndarray, golden: np.ndarray, fraction: float = 1e-4) -> None:
    """Compare up to a fraction of the largest recorded number."""
    np.testing.assert_allclose(ours, golden, rtol=0, atol=fraction * np.abs(golden).max())
