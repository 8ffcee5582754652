"""A client in the style of 2017: modules without a package, scipy.misc, time.clock, np.float, find_last()[1]."""

import collections
import inspect
import json
import os
import random
import sys
import time
import xml.etree.cElementTree as ET

import matplotlib

matplotlib.use("Agg", warn=False)
import matplotlib.pyplot as plt
import numpy as np
import scipy.misc
import skimage.color
import skimage.draw
import skimage.io
import skimage.transform
import yaml
from PIL import Image, ImageDraw
from scipy.misc import imread, imresize
from keras.callbacks import EarlyStopping, ModelCheckpoint, ReduceLROnPlateau
from keras.utils.np_utils import to_categorical

from config import Config
import utils
import model as modellib
import visualize
import helpers
from model import log
from mrcnn import extra

plt.style.use("seaborn-white")
folder = sys.argv[1]
start = time.clock()


class FlatConfig(Config):
    NAME = "flat"
    BACKBONE = "resnet18"
    IMAGES_PER_GPU = 1
    NUM_CLASSES = 1 + 1
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


class FlatDataset(utils.Dataset):
    def load(self, count):
        self.add_class("flat", 1, "disc")
        labels = yaml.load(open(os.path.join(folder, "info.yaml")))
        sizes = json.load(open(os.path.join(folder, "sizes.json")), encoding="utf-8")
        assert labels == {"label_names": ["_background_", "disc"]} and isinstance(sizes, collections.Mapping)
        for i in range(count):
            image = np.zeros([64, 64, 3], dtype=np.float)
            rr, cc = skimage.draw.circle(32, 32, 10 + i)
            image[rr, cc] = [0.5, 1.0, 0.25]
            path = os.path.join(folder, "%d.png" % i)
            scipy.misc.imsave(path, image)
            self.add_image("flat", image_id=i, path=path, radius=10 + i)

    def load_mask(self, image_id):
        mask = Image.fromarray(np.zeros([64, 64], np.uint8))
        r = self.image_info[image_id]["radius"]
        ImageDraw.Draw(mask).ellipse([32 - r, 32 - r, 32 + r, 32 + r], fill=1)
        return np.array(mask).astype(np.bool)[:, :, np.newaxis], np.ones([1], dtype=np.int)


config = FlatConfig()
dataset = FlatDataset()
dataset.load(4)
dataset.prepare()

model = modellib.MaskRCNN(mode="training", config=config, model_dir=os.path.join(folder, "logs"))
try:
    model.load_weights(model.find_last()[1], by_name=True)
except FileNotFoundError as error:
    print("NOT FOUND", error)
best = os.path.join(folder, "best.h5")
model.train(
    dataset,
    dataset,
    learning_rate=config.LEARNING_RATE,
    epochs=2,
    layers="heads",
    augmentation=False,
    custom_callbacks=[
        EarlyStopping(monitor="val_rpn_class_loss", patience=5),
        ReduceLROnPlateau(monitor="mrcnn_mask_loss", factor=0.5, patience=5),
        ModelCheckpoint(best, "val_mrcnn_mask_loss", save_best_only=True, save_weights_only=True, period=1),
    ],
)
log_dir, path = model.find_last()
print("LAST", os.path.basename(log_dir) == os.path.basename(model.log_dir), os.path.basename(model.find_last()[1]))

model = modellib.MaskRCNN(mode="inference", config=config, model_dir=os.path.join(folder, "logs"))
model.load_weights(best, by_name=True)
image = imread(dataset.image_info[3]["path"])
half = imresize(image, 0.5)
gray = skimage.color.rgb2gray(skimage.color.rgb2gray(image))
big = skimage.transform.resize(dataset.load_mask(3)[0][:, :, 0], (128, 128), order=1, mode="constant")
small = skimage.transform.rescale(image, 0.5, multichannel=True, mode="constant")
print("IMAGES", image.dtype, image.shape, image[32, 32], half.shape, gray.shape, big.max(), small.shape)
r = model.detect([image, half], verbose=1)[0]
log("masks", r["masks"])

fig, ax = visualize.plt.subplots(1, figsize=(4, 4))
ax.add_line(visualize.lines.Line2D([0, 9], [0, 9]))
for verts in visualize.find_contours(np.pad(dataset.load_mask(3)[0][:, :, 0], 1).astype(np.uint8), 0.5):
    ax.add_patch(visualize.Polygon(np.fliplr(verts) - 1, facecolor="none", edgecolor=visualize.random_colors(1)[0]))
fig.canvas.draw()
drawn = np.fromstring(fig.canvas.tostring_rgb(), dtype=np.uint8, sep="")
drawn = drawn.reshape(fig.canvas.get_width_height()[::-1] + (3,))
print("FIGURE", drawn.shape, drawn.min() < 255, plt.cm.get_cmap("jet")(0)[:3])
print("SIZE", ImageDraw.Draw(Image.new("L", (9, 9))).textsize("disc") > (9, 9), Image.ANTIALIAS == Image.LANCZOS)
print("NAMES", modellib.np is np, modellib.KL.Layer.__name__, modellib.utils is utils, utils.skimage.io is skimage.io)
print("ARGUMENTS", inspect.getargspec(utils.compute_iou).args, to_categorical([1], 2).tolist())
print("NEIGHBOURS", helpers.NAME, extra.NAME, ET.fromstring("<a/>").tag, visualize.random is random)
print("SECONDS", 0 < time.clock() - start < 600)
