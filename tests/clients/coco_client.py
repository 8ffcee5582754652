"""A client in the style of 2018: a COCO JSON file read with pycocotools, training in three stages, COCOeval.

coco_client.py train --dataset=DIR --model=last|FILE --logs=DIR
coco_client.py evaluate --dataset=DIR --model=last --logs=DIR
coco_client.py both ...    trains, then evaluates the last weights
"""

import os
import random
import time

import imgaug  # https://github.com/aleju/imgaug
import numpy as np
from pycocotools import mask as maskUtils
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn.config import Config

DEFAULT_DATASET_YEAR = "2014"
random.seed(11)


class CocoConfig(Config):
    NAME = "coco"
    IMAGES_PER_GPU = 2
    NUM_CLASSES = 1 + 2
    BACKBONE = "resnet18"
    STEPS_PER_EPOCH = 60
    VALIDATION_STEPS = 1
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 24, 32, 64)
    TRAIN_ROIS_PER_IMAGE = 24
    MAX_GT_INSTANCES = 8
    PRE_NMS_LIMIT = 200
    POST_NMS_ROIS_TRAINING = 60
    POST_NMS_ROIS_INFERENCE = 40
    # the network of the weights that come with the source tree
    BACKBONE_WIDTH = 32
    TOP_DOWN_PYRAMID_SIZE = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    RPN_CHANNELS = 64
    MASK_HEAD_CHANNELS = 64
    LEARNING_RATE = 0.01


class CocoDataset(utils.Dataset):
    def load_coco(
        self,
        dataset_dir,
        subset,
        year=DEFAULT_DATASET_YEAR,
        class_ids=None,
        class_map=None,
        return_coco=False,
        auto_download=False,
    ):
        if auto_download is True:
            self.auto_download(dataset_dir, subset, year)
        coco = COCO("{}/annotations/instances_{}{}.json".format(dataset_dir, subset, year))
        image_dir = "{}/{}{}".format(dataset_dir, subset, year)
        if not class_ids:
            class_ids = sorted(coco.getCatIds())
            image_ids = list(coco.imgs.keys())
        else:
            image_ids = []
            for id in class_ids:
                image_ids.extend(list(coco.getImgIds(catIds=[id])))
            image_ids = list(set(image_ids))
        for i in class_ids:
            self.add_class("coco", i, coco.loadCats(i)[0]["name"])
        for i in image_ids:
            annotations = coco.loadAnns(coco.getAnnIds(imgIds=[i], catIds=class_ids, iscrowd=None))
            self.add_image(
                "coco",
                image_id=i,
                path=os.path.join(image_dir, coco.imgs[i]["file_name"]),
                width=coco.imgs[i]["width"],
                height=coco.imgs[i]["height"],
                annotations=annotations,
            )
        if return_coco:
            return coco

    def load_mask(self, image_id):
        image_info = self.image_info[image_id]
        if image_info["source"] != "coco":
            return super(CocoDataset, self).load_mask(image_id)
        instance_masks, class_ids = [], []
        for annotation in self.image_info[image_id]["annotations"]:
            class_id = self.map_source_class_id("coco.{}".format(annotation["category_id"]))
            if class_id:
                m = self.annToMask(annotation, image_info["height"], image_info["width"])
                if m.max() < 1:  # smaller than a pixel
                    continue
                if annotation["iscrowd"]:
                    class_id *= -1
                    if m.shape[0] != image_info["height"] or m.shape[1] != image_info["width"]:
                        m = np.ones([image_info["height"], image_info["width"]], dtype=bool)
                instance_masks.append(m)
                class_ids.append(class_id)
        if class_ids:
            return np.stack(instance_masks, axis=2).astype(np.bool), np.array(class_ids, dtype=np.int32)
        return super(CocoDataset, self).load_mask(image_id)

    def image_reference(self, image_id):
        info = self.image_info[image_id]
        if info["source"] == "coco":
            return "http://cocodataset.org/#explore?id={}".format(info["id"])
        super(CocoDataset, self).image_reference(image_id)

    def annToRLE(self, ann, height, width):
        segm = ann["segmentation"]
        if isinstance(segm, list):
            return maskUtils.merge(maskUtils.frPyObjects(segm, height, width))
        if isinstance(segm["counts"], list):
            return maskUtils.frPyObjects(segm, height, width)
        return ann["segmentation"]

    def annToMask(self, ann, height, width):
        return maskUtils.decode(self.annToRLE(ann, height, width))


def build_coco_results(dataset, image_ids, rois, class_ids, scores, masks):
    if rois is None:
        return []
    results = []
    for image_id in image_ids:
        for i in range(rois.shape[0]):
            bbox = np.around(rois[i], 1)
            results.append(
                {
                    "image_id": image_id,
                    "category_id": dataset.get_source_class_id(class_ids[i], "coco"),
                    "bbox": [bbox[1], bbox[0], bbox[3] - bbox[1], bbox[2] - bbox[0]],
                    "score": scores[i],
                    "segmentation": maskUtils.encode(np.asfortranarray(masks[:, :, i])),
                }
            )
    return results


def evaluate_coco(model, dataset, coco, eval_type="bbox", limit=0, image_ids=None):
    image_ids = image_ids or dataset.image_ids
    if limit:
        image_ids = image_ids[:limit]
    coco_image_ids = [dataset.image_info[id]["id"] for id in image_ids]
    t_prediction, t_start, results = 0, time.time(), []
    for i, image_id in enumerate(image_ids):
        image = dataset.load_image(image_id)
        t = time.time()
        r = model.detect([image], verbose=0)[0]
        t_prediction += time.time() - t
        results.extend(
            build_coco_results(
                dataset, coco_image_ids[i : i + 1], r["rois"], r["class_ids"], r["scores"], r["masks"].astype(np.uint8)
            )
        )
    coco_results = coco.loadRes(results)
    for iou_type in [eval_type] if eval_type != "both" else ["bbox", "segm"]:
        cocoEval = COCOeval(coco, coco_results, iou_type)
        cocoEval.params.imgIds = coco_image_ids
        cocoEval.evaluate()
        cocoEval.accumulate()
        cocoEval.summarize()
        print(iou_type, "STATS", cocoEval.stats.tolist())
    print("RESULTS", len(results), "of", len(image_ids), "images")
    print("Prediction time: {}. Average {}/image".format(t_prediction, t_prediction / len(image_ids)))
    print("Total time: ", time.time() - t_start)


def train(model, args):
    dataset_train = CocoDataset()
    dataset_train.load_coco(args.dataset, "train", year=args.year, auto_download=args.download)
    if args.year in "2014":
        dataset_train.load_coco(args.dataset, "valminusminival", year=args.year, auto_download=args.download)
    dataset_train.prepare()
    dataset_val = CocoDataset()
    dataset_val.load_coco(args.dataset, "minival", year=args.year, auto_download=args.download)
    dataset_val.prepare()
    print("CLASSES", dataset_train.class_names, "IMAGES", len(dataset_train.image_ids))
    augmentation = imgaug.augmenters.Fliplr(0.5)

    print("Training network heads")
    model.train(
        dataset_train,
        dataset_val,
        learning_rate=config.LEARNING_RATE,
        epochs=1,
        layers="heads",
        augmentation=augmentation,
    )
    config.STEPS_PER_EPOCH = 3
    print("Fine tune Resnet stage 4 and up")
    model.train(
        dataset_train,
        dataset_val,
        learning_rate=config.LEARNING_RATE / 10,
        epochs=2,
        layers="4+",
        augmentation=augmentation,
    )
    print("Fine tune all layers")
    model.train(
        dataset_train,
        dataset_val,
        learning_rate=config.LEARNING_RATE / 10,
        epochs=3,
        layers="all",
        augmentation=augmentation,
    )


def make_model(mode, weights):
    model = modellib.MaskRCNN(mode=mode, config=config, model_dir=args.logs)
    if weights != "none":
        model_path = model.find_last() if weights.lower() == "last" else weights
        print("Loading weights ", model_path)
        if mode == "training":  # the last layers need the same number of classes
            model.load_weights(
                model_path, by_name=True, exclude=["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_bbox", "mrcnn_mask"]
            )
        else:
            model.load_weights(model_path, by_name=True)
    return model


if __name__ == "__main__":
    import argparse

    parser = argparse.ArgumentParser(description="Train Mask R-CNN on MS COCO.")
    parser.add_argument("command", metavar="<command>", help="'train', 'evaluate' or 'both'")
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--year", required=False, default=DEFAULT_DATASET_YEAR)
    parser.add_argument("--model", required=True)
    parser.add_argument("--logs", required=False, default="logs")
    parser.add_argument("--limit", required=False, default=500)
    parser.add_argument("--download", required=False, default=False, type=bool)
    args = parser.parse_args()
    print("Auto Download: ", args.download)

    config = CocoConfig()
    config.display()
    if args.command in ("train", "both"):
        train(make_model("training", args.model), args)
    if args.command in ("evaluate", "both"):

        class InferenceConfig(CocoConfig):
            GPU_COUNT = 1
            IMAGES_PER_GPU = 1
            DETECTION_MIN_CONFIDENCE = 0

        config = InferenceConfig()
        dataset_val = CocoDataset()
        coco = dataset_val.load_coco(
            args.dataset, "minival", year=args.year, return_coco=True, auto_download=args.download
        )
        dataset_val.prepare()
        model = make_model("inference", "last" if args.command == "both" else args.model)
        evaluate_coco(model, dataset_val, coco, "both", limit=int(args.limit))
