"""A client in the style of 2018: polygons of the VGG Image Annotator, heads trained from other weights, colour splash.

balloon_client.py train --dataset=DIR --weights=coco|last|FILE --logs=DIR
balloon_client.py splash --weights=last --logs=DIR --image=FILE
"""

import datetime
import json
import os
import random
import sys

import numpy as np
import skimage.color
import skimage.draw
import skimage.io

ROOT_DIR = os.path.abspath("../../")
sys.path.append(ROOT_DIR)
from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config

COCO_WEIGHTS_PATH = os.path.join(ROOT_DIR, "mask_rcnn_coco.h5")
random.seed(3)


class BalloonConfig(Config):
    NAME = "balloon"
    BACKBONE = "resnet18"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 1
    STEPS_PER_EPOCH = 120
    VALIDATION_STEPS = 1
    LEARNING_RATE = 0.01
    DETECTION_MIN_CONFIDENCE = 0.6
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 64)
    TRAIN_ROIS_PER_IMAGE = 16
    MAX_GT_INSTANCES = 8
    PRE_NMS_LIMIT = 200
    POST_NMS_ROIS_TRAINING = 50
    POST_NMS_ROIS_INFERENCE = 30
    # the network of the weights that come with the source tree
    BACKBONE_WIDTH = 32
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    RPN_CHANNELS = 64
    MASK_HEAD_CHANNELS = 64


class BalloonDataset(utils.Dataset):
    def load_balloon(self, dataset_dir, subset):
        self.add_class("balloon", 1, "balloon")
        assert subset in ["train", "val"]
        dataset_dir = os.path.join(dataset_dir, subset)
        annotations = json.load(open(os.path.join(dataset_dir, "via_region_data.json")))
        annotations = [a for a in annotations.values() if a["regions"]]  # VIA keeps images without a region too
        for a in annotations:
            if type(a["regions"]) is dict:  # VIA 1
                polygons = [r["shape_attributes"] for r in a["regions"].values()]
            else:
                polygons = [r["shape_attributes"] for r in a["regions"]]
            image_path = os.path.join(dataset_dir, a["filename"])
            height, width = skimage.io.imread(image_path).shape[:2]
            self.add_image(
                "balloon", image_id=a["filename"], path=image_path, width=width, height=height, polygons=polygons
            )

    def load_mask(self, image_id):
        info = self.image_info[image_id]
        if info["source"] != "balloon":
            return super(self.__class__, self).load_mask(image_id)
        mask = np.zeros([info["height"], info["width"], len(info["polygons"])], dtype=np.uint8)
        for i, p in enumerate(info["polygons"]):
            rr, cc = skimage.draw.polygon(p["all_points_y"], p["all_points_x"])
            mask[rr, cc, i] = 1
        return mask.astype(np.bool), np.ones([mask.shape[-1]], dtype=np.int32)

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "balloon":
            return info["path"]
        super(self.__class__, self).image_reference(image_id)


def train(model):
    dataset_train = BalloonDataset()
    dataset_train.load_balloon(args.dataset, "train")
    dataset_train.prepare()
    dataset_val = BalloonDataset()
    dataset_val.load_balloon(args.dataset, "val")
    dataset_val.prepare()
    print("Train images:", [os.path.basename(dataset_train.image_reference(i)) for i in dataset_train.image_ids])
    print("Training network heads")
    model.train(dataset_train, dataset_val, learning_rate=config.LEARNING_RATE, epochs=1, layers="heads")


def color_splash(image, mask):
    gray = skimage.color.gray2rgb(skimage.color.rgb2gray(image)) * 255
    if mask.shape[-1] > 0:
        mask = np.sum(mask, -1, keepdims=True) >= 1
        return np.where(mask, image, gray).astype(np.uint8)
    return gray.astype(np.uint8)


def detect_and_color_splash(model, image_path):
    print("Running on {}".format(image_path))
    image = skimage.io.imread(image_path)
    r = model.detect([image], verbose=1)[0]
    file_name = "splash_{:%Y%m%dT%H%M%S}.png".format(datetime.datetime.now())
    skimage.io.imsave(file_name, color_splash(image, r["masks"]))
    print("Saved to", file_name, "with", len(r["scores"]), "balloons")


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Train Mask R-CNN to detect balloons.")
    parser.add_argument("command", metavar="<command>", help="'train' or 'splash'")
    parser.add_argument("--dataset", required=False)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--logs", required=False, default=os.path.join(ROOT_DIR, "logs"))
    parser.add_argument("--image", required=False)
    args = parser.parse_args()
    if args.command == "train":
        assert args.dataset, "Argument --dataset is required for training"
    elif args.command == "splash":
        assert args.image, "Provide --image to apply color splash"

    if args.command == "train":
        config = BalloonConfig()
    else:

        class InferenceConfig(BalloonConfig):
            GPU_COUNT = 1
            IMAGES_PER_GPU = 1

        config = InferenceConfig()
    config.display()

    mode = "training" if args.command == "train" else "inference"
    model = modellib.MaskRCNN(mode=mode, config=config, model_dir=args.logs)
    if args.weights.lower() == "coco":
        weights_path = COCO_WEIGHTS_PATH
        if not os.path.exists(weights_path):
            utils.download_trained_weights(weights_path)
    elif args.weights.lower() == "last":
        weights_path = model.find_last()
    else:
        weights_path = args.weights
    print("Loading weights ", weights_path)
    if args.weights.lower() == "coco":
        # the last layers need the same number of classes
        model.load_weights(
            weights_path, by_name=True, exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
        )
    else:
        model.load_weights(weights_path, by_name=True)

    if args.command == "train":
        train(model)
    elif args.command == "splash":
        detect_and_color_splash(model, image_path=args.image)
    else:
        print("'{}' is not recognized. Use 'train' or 'splash'".format(args.command))
