"""A Keras metric: how often the class head is right on the sampled ROIs, class by class.

Legend: N batch, R sampled ROIs, C classes with background.
"""

from typing import Any

import keras
import numpy as np
from keras import ops as K

Tensor = Any  # a tensor of the chosen backend


class ClassAccuracy(keras.metrics.Metric):
    """Counts, class by class, the sampled ROIs and those that the class head assigns to their class.

    `result()` is the fraction over all positive ROIs; `table()` gives count and fraction per class.
    """

    def __init__(self, num_classes: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.counts = self.add_variable((num_classes,), "zeros", name="counts")
        self.hits = self.add_variable((num_classes,), "zeros", name="hits")

    def update_state(self, target_class_ids: Tensor, class_logits: Tensor, sample_weight: Tensor | None = None) -> None:
        """Add a batch: target_class_ids int32 [N, R] (0 background or padding), class_logits float [N, R, C].

        sample_weight, [N, R] where a caller has any, is not used.
        """
        num_classes = self.counts.shape[0]
        ids = K.reshape(K.cast(target_class_ids, "int32"), (-1,))  # [N * R]
        predicted = K.reshape(K.argmax(class_logits, axis=-1), (-1,))
        one_hot = K.one_hot(ids, num_classes, dtype="float32")  # [N * R, C]
        right = K.cast(K.equal(K.cast(predicted, "int32"), ids), "float32")
        self.counts.assign_add(K.sum(one_hot, axis=0))
        self.hits.assign_add(K.sum(one_hot * right[:, None], axis=0))

    def result(self) -> Tensor:
        """Return the fraction of positive ROIs whose class is right, a float32 scalar; 0 without any."""
        return K.sum(self.hits[1:]) / K.maximum(K.sum(self.counts[1:]), 1.0)

    def table(self) -> np.ndarray:
        """Return float64 [C, 2]: sampled ROIs of each class, and the fraction assigned to it (NaN without any)."""
        counts, hits = (K.convert_to_numpy(v.value).astype(float) for v in (self.counts, self.hits))
        with np.errstate(invalid="ignore"):
            return np.stack([counts, hits / counts], axis=1)
