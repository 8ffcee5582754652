"""The cells of the notebooks that inspect data, model and weights, one after the other, as an export has them.

inspect_client.py DATASET_DIR LOGS_DIR RESULTS_DIR
"""

import os
import random
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import tensorflow as tf

from mrcnn import model as modellib
from mrcnn import utils
from mrcnn import visualize
from mrcnn.model import log
from mrcnn.visualize import display_images

# the sample that this one belongs to stands beside it
sys.path.append(os.path.dirname(os.path.abspath(sys.argv[0])))
import coco_client as coco

COCO_DIR, MODEL_DIR, RESULTS_DIR = sys.argv[1:4]
random.seed(0)
np.random.seed(0)
values = {}

# %% configuration
config = coco.CocoConfig()


class InferenceConfig(config.__class__):
    GPU_COUNT = 1
    IMAGES_PER_GPU = 1
    DETECTION_MIN_CONFIDENCE = 0.5


config = InferenceConfig()
config.display()
DEVICE = "/cpu:0"


def get_ax(rows=1, cols=1, size=4):
    _, ax = plt.subplots(rows, cols, figsize=(size * cols, size * rows))
    return ax


# %% dataset
dataset = coco.CocoDataset()
dataset.load_coco(COCO_DIR, "minival")
dataset.prepare()
print("Images: {}\nClasses: {}".format(len(dataset.image_ids), dataset.class_names))
for i, info in enumerate(dataset.class_info):
    print("{:3}. {:50}".format(i, info["name"]))
image_id = 1
image = dataset.load_image(image_id)
mask, class_ids = dataset.load_mask(image_id)
visualize.display_top_masks(image, mask, class_ids, dataset.class_names)
bbox = utils.extract_bboxes(mask)
log("bbox", bbox)
visualize.display_instances(image, bbox, mask, class_ids, dataset.class_names, ax=get_ax())
values["source_boxes"] = bbox

# %% resize, mini-masks
original_shape = image.shape
resized, window, scale, padding, _ = utils.resize_image(
    image, min_dim=config.IMAGE_MIN_DIM, max_dim=config.IMAGE_MAX_DIM, mode=config.IMAGE_RESIZE_MODE
)
resized_mask = utils.resize_mask(mask, scale, padding)
log("mask", resized_mask)
image, image_meta, class_ids, bbox, mask = modellib.load_image_gt(
    dataset, config, image_id, augment=True, use_mini_mask=True
)
log("mask", mask)
display_images([image] + [mask[:, :, i] for i in range(min(mask.shape[-1], 7))])
mask = utils.expand_mask(bbox, mask, image.shape)
visualize.display_instances(image, bbox, mask, class_ids, dataset.class_names, ax=get_ax())

# %% anchors
backbone_shapes = modellib.compute_backbone_shapes(config, config.IMAGE_SHAPE)
anchors = utils.generate_pyramid_anchors(
    config.RPN_ANCHOR_SCALES,
    config.RPN_ANCHOR_RATIOS,
    backbone_shapes,
    config.BACKBONE_STRIDES,
    config.RPN_ANCHOR_STRIDE,
)
num_levels, anchors_per_cell = len(backbone_shapes), len(config.RPN_ANCHOR_RATIOS)
print("Count: ", anchors.shape[0], "Levels: ", num_levels)
values["anchors"] = anchors

# %% generator of batches
random_rois = 200
g = modellib.data_generator(
    dataset, config, shuffle=True, random_rois=random_rois, batch_size=2, detection_targets=True
)
(
    [normalized_images, image_meta, rpn_match, rpn_bbox, gt_class_ids, gt_boxes, gt_masks, rpn_rois, rois],
    [mrcnn_class_ids, mrcnn_bbox, mrcnn_mask],
) = next(g)
log("rois", rois)
log("mrcnn_class_ids", mrcnn_class_ids)
log("image_meta", image_meta)
image_ids = modellib.parse_image_meta(image_meta)["image_id"]
for id in image_ids:
    print(dataset.image_reference(id))
b = 0
sample_image = modellib.unmold_image(normalized_images[b], config)
indices = np.where(rpn_match[b] == 1)[0]
refined_anchors = utils.apply_box_deltas(anchors[indices], rpn_bbox[b, : len(indices)] * config.RPN_BBOX_STD_DEV)
visualize.draw_boxes(sample_image, boxes=anchors[indices], refined_boxes=refined_anchors, ax=get_ax())
values["batch_refined_anchors"], values["batch_boxes"] = refined_anchors, gt_boxes[b]
mrcnn_class_ids = mrcnn_class_ids[:, :, 0]
bbox_specific = mrcnn_bbox[b, np.arange(mrcnn_bbox.shape[1]), mrcnn_class_ids[b], :]
refined_rois = utils.apply_box_deltas(rois[b].astype(np.float32), bbox_specific[:, :4] * config.BBOX_STD_DEV)
mask_specific = mrcnn_mask[b, np.arange(mrcnn_mask.shape[1]), :, :, mrcnn_class_ids[b]]
visualize.draw_rois(sample_image, rois[b], refined_rois, mask_specific, mrcnn_class_ids[b], dataset.class_names)
values["batch_refined_rois"] = refined_rois[mrcnn_class_ids[b] > 0]
rows = np.ascontiguousarray(rois[b]).view(np.dtype((np.void, rois.dtype.itemsize * rois.shape[-1])))
_, idx = np.unique(rows, return_index=True)
print("Unique ROIs: {} out of {}".format(len(idx), rois.shape[1]))

# %% model
with tf.device(DEVICE):
    model = modellib.MaskRCNN(mode="inference", model_dir=MODEL_DIR, config=config)
weights_path = model.find_last()
print("Loading weights ", weights_path)
model.load_weights(weights_path, by_name=True)
model.keras_model.summary()

# %% detection
image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
    dataset, config, image_id, use_mini_mask=False
)
info = dataset.image_info[image_id]
print("image ID: {}.{} ({}) {}".format(info["source"], info["id"], image_id, dataset.image_reference(image_id)))
results = model.detect([image], verbose=1)
r = results[0]
visualize.display_instances(
    image, r["rois"], r["masks"], r["class_ids"], dataset.class_names, r["scores"], ax=get_ax(), title="Predictions"
)
log("gt_class_id", gt_class_id)
log("gt_bbox", gt_bbox)
log("gt_mask", gt_mask)
AP, precisions, recalls, overlaps = utils.compute_ap(
    gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
)
visualize.plot_precision_recall(AP, precisions, recalls)
visualize.plot_overlaps(gt_class_id, r["class_ids"], r["scores"], overlaps, dataset.class_names)
visualize.display_differences(
    image,
    gt_bbox,
    gt_class_id,
    gt_mask,
    r["rois"],
    r["class_ids"],
    r["scores"],
    r["masks"],
    dataset.class_names,
    ax=get_ax(),
)
values.update(AP=AP, gt_boxes=gt_bbox, gt_class_ids=gt_class_id, **r)


def compute_batch_ap(image_ids):
    APs = []
    for image_id in image_ids:
        image, image_meta, gt_class_id, gt_bbox, gt_mask = modellib.load_image_gt(
            dataset, config, image_id, use_mini_mask=False
        )
        if not len(gt_class_id):
            continue
        r = model.detect([image], verbose=0)[0]
        AP, _, _, _ = utils.compute_ap(
            gt_bbox, gt_class_id, gt_mask, r["rois"], r["class_ids"], r["scores"], r["masks"]
        )
        APs.append(AP)
    return APs


values["APs"] = compute_batch_ap(dataset.image_ids)
print("mAP @ IoU=50: ", np.mean(values["APs"]))

# %% targets of the RPN
target_rpn_match, target_rpn_bbox = modellib.build_rpn_targets(
    image.shape, model.anchors, gt_class_id, gt_bbox, model.config
)
log("target_rpn_match", target_rpn_match)
positive_anchors = model.anchors[np.where(target_rpn_match[:] == 1)[0]]
negative_anchors = model.anchors[np.where(target_rpn_match[:] == -1)[0]]
refined_anchors = utils.apply_box_deltas(
    positive_anchors, target_rpn_bbox[: positive_anchors.shape[0]] * model.config.RPN_BBOX_STD_DEV
)
visualize.draw_boxes(image, boxes=positive_anchors, refined_boxes=refined_anchors, ax=get_ax())
values.update(model_anchors=model.anchors, target_refined_anchors=refined_anchors)
print("recall of the anchors", utils.compute_recall(model.anchors, gt_bbox, 0.5)[0], len(negative_anchors))

# %% predictions of the RPN
pillar = model.keras_model.get_layer("ROI").output
nms_node = model.ancestor(pillar, "ROI/rpn_non_max_suppression:0")
if nms_node is None:
    nms_node = model.ancestor(pillar, "ROI/rpn_non_max_suppression/NonMaxSuppressionV2:0")
if nms_node is None:
    nms_node = model.ancestor(pillar, "ROI/rpn_non_max_suppression/NonMaxSuppressionV3:0")
rpn = model.run_graph(
    [image],
    [
        ("rpn_class", model.keras_model.get_layer("rpn_class").output),
        ("pre_nms_anchors", model.ancestor(pillar, "ROI/pre_nms_anchors:0")),
        ("refined_anchors", model.ancestor(pillar, "ROI/refined_anchors:0")),
        ("refined_anchors_clipped", model.ancestor(pillar, "ROI/refined_anchors_clipped:0")),
        ("post_nms_anchor_ix", nms_node),
        ("proposals", model.keras_model.get_layer("ROI").output),
    ],
)
limit = 50
sorted_anchor_ids = np.argsort(rpn["rpn_class"][:, :, 1].flatten())[::-1]
visualize.draw_boxes(image, boxes=model.anchors[sorted_anchor_ids[:limit]], ax=get_ax())
ax = get_ax(1, 2)
pre_nms_anchors = utils.denorm_boxes(rpn["pre_nms_anchors"][0], image.shape[:2])
refined_anchors = utils.denorm_boxes(rpn["refined_anchors"][0], image.shape[:2])
refined_anchors_clipped = utils.denorm_boxes(rpn["refined_anchors_clipped"][0], image.shape[:2])
visualize.draw_boxes(image, boxes=pre_nms_anchors[:limit], refined_boxes=refined_anchors[:limit], ax=ax[0])
visualize.draw_boxes(image, refined_boxes=refined_anchors_clipped[:limit], ax=ax[1])
ixs = rpn["post_nms_anchor_ix"][:limit]
visualize.draw_boxes(image, refined_boxes=refined_anchors_clipped[ixs], ax=get_ax())
values.update(kept_anchors=rpn["refined_anchors_clipped"][0][ixs], proposals=rpn["proposals"][0, : len(ixs)])
h, w = config.IMAGE_SHAPE[:2]
visualize.draw_boxes(image, refined_boxes=rpn["proposals"][0, :limit] * np.array([h, w, h, w]), ax=get_ax())

# %% classification of the proposals, step by step
mrcnn = model.run_graph(
    [image],
    [
        ("proposals", model.keras_model.get_layer("ROI").output),
        ("probs", model.keras_model.get_layer("mrcnn_class").output),
        ("deltas", model.keras_model.get_layer("mrcnn_bbox").output),
        ("masks", model.keras_model.get_layer("mrcnn_mask").output),
        ("detections", model.keras_model.get_layer("mrcnn_detection").output),
    ],
)
det_class_ids = mrcnn["detections"][0, :, 4].astype(np.int32)
det_count = np.where(det_class_ids == 0)[0][0]
det_class_ids = det_class_ids[:det_count]
detections = mrcnn["detections"][0, :det_count]
print("{} detections: {}".format(det_count, np.array(dataset.class_names)[det_class_ids]))
captions = ["{} {:.3f}".format(dataset.class_names[int(c)], s) if c > 0 else "" for c, s in detections[:, 4:6]]
visualize.draw_boxes(
    image,
    refined_boxes=utils.denorm_boxes(detections[:, :4], image.shape[:2]),
    visibilities=[2] * len(detections),
    captions=captions,
    title="Detections",
    ax=get_ax(),
)
proposals = np.around(mrcnn["proposals"][0] * np.array([h, w, h, w])).astype(np.int32)
roi_class_ids = np.argmax(mrcnn["probs"][0], axis=1)
roi_scores = mrcnn["probs"][0, np.arange(roi_class_ids.shape[0]), roi_class_ids]
roi_positive_ixs = np.where(roi_class_ids > 0)[0]
print("{} Valid proposals out of {}".format(np.sum(np.any(proposals, axis=1)), proposals.shape[0]))
ixs = np.random.randint(0, proposals.shape[0], 20)
captions = [
    "{} {:.3f}".format(dataset.class_names[c], s) if c > 0 else "" for c, s in zip(roi_class_ids[ixs], roi_scores[ixs])
]
visualize.draw_boxes(
    image,
    boxes=proposals[ixs],
    visibilities=np.where(roi_class_ids[ixs] > 0, 2, 1),
    captions=captions,
    title="ROIs Before Refinement",
    ax=get_ax(),
)
roi_bbox_specific = mrcnn["deltas"][0, np.arange(proposals.shape[0]), roi_class_ids]
refined_proposals = utils.apply_box_deltas(proposals, roi_bbox_specific * config.BBOX_STD_DEV).astype(np.int32)
keep = np.intersect1d(roi_positive_ixs, np.where(roi_scores >= config.DETECTION_MIN_CONFIDENCE)[0])
nms_keep = []
for class_id in np.unique(roi_class_ids[keep]):
    ixs = np.where(roi_class_ids[keep] == class_id)[0]
    class_keep = utils.non_max_suppression(
        refined_proposals[keep][ixs], roi_scores[keep][ixs], config.DETECTION_NMS_THRESHOLD
    )
    nms_keep = np.union1d(nms_keep, keep[ixs[class_keep]])
keep = np.intersect1d(keep, nms_keep).astype(np.int32)
values.update(step_boxes=refined_proposals[keep], step_class_ids=roi_class_ids[keep], step_scores=roi_scores[keep])

# %% masks
display_images(np.transpose(gt_mask, [2, 0, 1]), cmap="Blues")
det_boxes = utils.denorm_boxes(mrcnn["detections"][0, :, :4], image.shape[:2])
det_mask_specific = np.array([mrcnn["masks"][0, i, :, :, c] for i, c in enumerate(det_class_ids)])
det_masks = np.array([utils.unmold_mask(m, det_boxes[i], image.shape) for i, m in enumerate(det_mask_specific)])
log("det_mask_specific", det_mask_specific)
log("det_masks", det_masks)
display_images(det_mask_specific[:4] * 255, cmap="Blues", interpolation="none")
display_images(det_masks[:4] * 255, cmap="Blues", interpolation="none")
values["det_masks"] = det_masks

# %% activations; this network is less deep than the one with res4w_out
activations = model.run_graph(
    [image],
    [
        ("input_image", tf.identity(model.keras_model.get_layer("input_image").output)),
        ("res2b_out", model.keras_model.get_layer("res2b_out").output),
        ("res4b_out", model.keras_model.get_layer("res4b_out").output),
        ("rpn_bbox", model.keras_model.get_layer("rpn_bbox").output),
        ("roi", model.keras_model.get_layer("ROI").output),
        ("roi_align_mask", model.keras_model.get_layer("roi_align_mask").output),
    ],
)
plt.figure()
plt.imshow(modellib.unmold_image(activations["input_image"][0], config))
display_images(np.transpose(activations["res2b_out"][0, :, :, :4], [2, 0, 1]), cols=4)
values.update(image=image, unmolded=modellib.unmold_image(activations["input_image"][0], config))
values["shapes"] = [str(activations[name].shape) for name in ("res2b_out", "res4b_out", "roi", "roi_align_mask")]
for index, name in enumerate(("roi", "rpn_bbox")):
    plt.figure()
    plt.hist(activations[name].ravel(), 50)

# %% moulded images, without the image's own window
molded_images, image_metas, windows = model.mold_inputs([image])
molded = model.detect_molded(molded_images, image_metas)[0]
values["molded_rois"] = molded["rois"]
again = model.unmold_detections(
    mrcnn["detections"][0], mrcnn["masks"][0], image.shape, molded_images[0].shape, windows[0]
)
values["unmolded_rois"] = again[0]

# %% weights
html = visualize.display_weight_stats(model)
layers = model.get_trainable_layers()
layers = list(filter(lambda l: l.__class__.__name__ in ["Conv2D", "Dense", "Conv2DTranspose"], layers))
print("LAYERS", [layer.name for layer in layers])
fig, ax = plt.subplots(4, 2, figsize=(8, 8), gridspec_kw={"hspace": 1})
for l, layer in enumerate(layers[:4]):
    for w, weight in enumerate(layer.get_weights()):
        tensor = layer.weights[w]
        ax[l, w].set_title(tensor.name)
        ax[l, w].hist(weight.flatten(), 50)
model.keras_model.metrics_tensors = []
model.keras_model.save_weights(os.path.join(RESULTS_DIR, "mask_rcnn_copy.h5"))

np.savez(os.path.join(RESULTS_DIR, "values.npz"), **values)
for number in plt.get_fignums():
    plt.figure(number).savefig(os.path.join(RESULTS_DIR, "figure{:02}.png".format(number)), dpi=50)
