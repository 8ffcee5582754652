"""Mask R-CNN on Keras 3 with the interface of matterport/Mask_RCNN."""

from mrcnn import quiet_tensorflow

quiet_tensorflow.install()
