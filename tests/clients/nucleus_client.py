"""A client in the style of 2018: a folder of PNG masks per image, random crops, imgaug, a CSV of run lengths.

nucleus_client.py DATASET_DIR RESULTS_DIR
"""

import matplotlib

matplotlib.use("Agg")
import os
import pickle
import random
import sys

import matplotlib.pyplot as plt
import numpy as np
import skimage.io
from imgaug import augmenters as iaa

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn import visualize
from mrcnn.config import Config

DATASET_DIR, RESULTS_DIR = sys.argv[1:3]
VAL_IMAGE_IDS = ["c3", "c4"]
random.seed(5)


class NucleusConfig(Config):
    NAME = "nucleus"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 12 // IMAGES_PER_GPU
    VALIDATION_STEPS = max(1, len(VAL_IMAGE_IDS) // IMAGES_PER_GPU)
    DETECTION_MIN_CONFIDENCE = 0
    BACKBONE = "resnet50"
    IMAGE_RESIZE_MODE = "crop"
    IMAGE_MIN_DIM = 128
    IMAGE_MAX_DIM = 128
    IMAGE_MIN_SCALE = 2.0
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    POST_NMS_ROIS_TRAINING = 100
    POST_NMS_ROIS_INFERENCE = 60
    RPN_NMS_THRESHOLD = 0.9
    RPN_TRAIN_ANCHORS_PER_IMAGE = 64
    MEAN_PIXEL = np.array([43.53, 39.56, 48.22])
    USE_MINI_MASK = True
    MINI_MASK_SHAPE = (56, 56)
    TRAIN_ROIS_PER_IMAGE = 32
    MAX_GT_INSTANCES = 20
    DETECTION_MAX_INSTANCES = 40
    # a network that trains in seconds
    BACKBONE_WIDTH = 16
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    RPN_CHANNELS = 16
    MASK_HEAD_CHANNELS = 16
    LEARNING_RATE = 0.01


class NucleusInferenceConfig(NucleusConfig):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    IMAGE_RESIZE_MODE = "pad64"
    RPN_NMS_THRESHOLD = 0.7


class NucleusDataset(utils.Dataset):
    def load_nucleus(self, dataset_dir, subset):
        self.add_class("nucleus", 1, "nucleus")
        if subset == "val":
            image_ids = VAL_IMAGE_IDS
        else:
            image_ids = sorted(set(next(os.walk(dataset_dir))[1]) - set(VAL_IMAGE_IDS))
        for image_id in image_ids:
            path = os.path.join(dataset_dir, image_id, "images/{}.png".format(image_id))
            self.add_image("nucleus", image_id=image_id, path=path)

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        mask_dir = os.path.join(os.path.dirname(os.path.dirname(info["path"])), "masks")
        mask = []
        for f in next(os.walk(mask_dir))[2]:
            if f.endswith(".png"):
                mask.append(skimage.io.imread(os.path.join(mask_dir, f)).astype(np.bool))
        mask = np.stack(mask, axis=-1)
        return mask, np.ones([mask.shape[-1]], dtype=np.int32)

    def image_reference(self, image_id):
        return self.image_info[image_id]["id"]


def rle_encode(mask):
    """Run lengths down the columns, first pixel 1, as the contest wanted them."""
    changes = np.flatnonzero(np.diff(np.pad(mask.T.ravel().astype(np.int8), 1)))
    starts, ends = changes[::2], changes[1::2]
    return " ".join("{} {}".format(s + 1, e - s) for s, e in zip(starts, ends))


def mask_to_rle(image_id, mask, scores):
    """Lines of the CSV; a pixel counts for the instance with the best score."""
    taken = np.zeros(mask.shape[:2], dtype=np.bool)
    lines = []
    for i in np.argsort(-scores, kind="stable"):
        m = mask[:, :, i] & ~taken
        taken |= m
        if m.any():
            lines.append("{}, {}".format(image_id, rle_encode(m)))
    return "\n".join(lines) if lines else "{},".format(image_id)


dataset_train = NucleusDataset()
dataset_train.load_nucleus(DATASET_DIR, "train")
dataset_train.prepare()
dataset_val = NucleusDataset()
dataset_val.load_nucleus(DATASET_DIR, "val")
dataset_val.prepare()
print("Train", len(dataset_train.image_ids), "Val", len(dataset_val.image_ids), dataset_train.class_names)

config = NucleusConfig()
config.display()
model = modellib.MaskRCNN(mode="training", config=config, model_dir=os.path.join(RESULTS_DIR, "logs"))
model.keras_model.metrics_tensors = []
augmentation = iaa.SomeOf(
    (0, 2),
    [
        iaa.Fliplr(0.5),
        iaa.Flipud(0.5),
        iaa.OneOf([iaa.Affine(rotate=90), iaa.Affine(rotate=180), iaa.Affine(rotate=270)]),
        iaa.Multiply((0.8, 1.5)),
        iaa.GaussianBlur(sigma=(0.0, 5.0)),
    ],
)
print("Train network heads")
model.train(
    dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=1, augmentation=augmentation, layers="heads"
)
history = {k: list(v) for k, v in model.keras_model.history.history.items()}
print("Train all layers")
config.STEPS_PER_EPOCH = 16
model.train(
    dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=2, augmentation=augmentation, layers="all"
)
for k, v in model.keras_model.history.history.items():
    history[k] = history[k] + v
print("val_loss of", len(history["val_loss"]), "epochs, rpn_bbox_loss of", len(history["rpn_bbox_loss"]))

inference_config = NucleusInferenceConfig()
model = modellib.MaskRCNN(mode="inference", config=inference_config, model_dir=os.path.join(RESULTS_DIR, "logs"))
model.load_weights(model.find_last(), by_name=True)
submission, results = [], {}
for image_id in dataset_val.image_ids:
    image = dataset_val.load_image(image_id)
    r = model.detect([image], verbose=0)[0]
    source_id = dataset_val.image_info[image_id]["id"]
    submission.append(mask_to_rle(source_id, r["masks"], r["scores"]))
    results[source_id] = r
    visualize.display_instances(
        image,
        r["rois"],
        r["masks"],
        r["class_ids"],
        dataset_val.class_names,
        r["scores"],
        figsize=(5, 5),
        show_bbox=False,
        show_mask=False,
        title="Predictions",
    )
    plt.savefig("{}/{}.png".format(RESULTS_DIR, source_id))
    plt.close()
with open(os.path.join(RESULTS_DIR, "submit.csv"), "w") as f:
    f.write("ImageId,EncodedPixels\n" + "\n".join(submission))
with open(os.path.join(RESULTS_DIR, "results.pkl"), "wb") as f:
    pickle.dump(results, f)
