"""A client in the style of 2018: imgaug before mrcnn, np.bool, save_weights to .h5, train twice, detect, compute AP."""

import sys

import imgaug  # noqa: F401  (before mrcnn, as nucleus.py has it)
import numpy as np
from imgaug import augmenters as iaa

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config
from mrcnn.model import log


class ShapesConfig(Config):
    NAME = "shapes"
    BACKBONE = "resnet18"
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    NUM_CLASSES = 1 + 2
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    TRAIN_ROIS_PER_IMAGE = 16
    POST_NMS_ROIS_TRAINING = 32
    POST_NMS_ROIS_INFERENCE = 16
    STEPS_PER_EPOCH = 1
    VALIDATION_STEPS = 1
    DETECTION_MIN_CONFIDENCE = 0
    # a network that trains in seconds
    BACKBONE_WIDTH = 16
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    RPN_CHANNELS = 16
    MASK_HEAD_CHANNELS = 16


class ShapesDataset(utils.Dataset):
    def load_shapes(self, count):
        self.add_class("shapes", 1, "square")
        self.add_class("shapes", 2, "bar")
        for i in range(count):
            self.add_image("shapes", image_id=i, path=None, corner=4 + 3 * i)

    def load_image(self, image_id):
        image = np.full([64, 64, 3], 30, np.uint8)
        image[self.load_mask(image_id)[0].any(-1)] = 200
        return image

    def load_mask(self, image_id):
        corner = self.image_info[image_id]["corner"]
        mask = np.zeros([64, 64, 2], dtype=np.bool)
        mask[corner : corner + 20, corner : corner + 20, 0] = True
        mask[50:58, 5:60, 1] = True
        return mask, np.array([1, 2], np.int32)


folder = sys.argv[1]
config = ShapesConfig()
config.display()
dataset = ShapesDataset()
dataset.load_shapes(4)
dataset.prepare()

model = modellib.MaskRCNN(mode="training", config=config, model_dir=folder)
model.train(
    dataset, dataset, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads", augmentation=iaa.Fliplr(0.5)
)
model.train(dataset, dataset, learning_rate=config.LEARNING_RATE / 10, epochs=2, layers="all")
model.keras_model.save_weights(folder + "/mask_rcnn_shapes.h5")


class InferenceConfig(ShapesConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1


model = modellib.MaskRCNN(mode="inference", config=InferenceConfig(), model_dir=folder)
model.load_weights(model.find_last(), by_name=True)
model.load_weights(folder + "/mask_rcnn_shapes.h5", by_name=True)
image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(dataset, config, 0, use_mini_mask=False)
log("gt_mask", gt_mask)
r = model.detect([image], verbose=1)[0]
AP, precisions, recalls, overlaps = utils.compute_ap(
    gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
)
print("masks", r["masks"].shape[:2], "mAP", 0 <= AP <= 1)
