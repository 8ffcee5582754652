"""Every public name of the original imports, with its parameters in their order, and is one function, not a copy."""

import importlib
import inspect

import numpy as np
import pytest

from mrcnn.config import Config

CONFIG = """NAME GPU_COUNT IMAGES_PER_GPU STEPS_PER_EPOCH VALIDATION_STEPS BACKBONE COMPUTE_BACKBONE_SHAPE
BACKBONE_STRIDES FPN_CLASSIF_FC_LAYERS_SIZE TOP_DOWN_PYRAMID_SIZE NUM_CLASSES RPN_ANCHOR_SCALES
RPN_ANCHOR_RATIOS RPN_ANCHOR_STRIDE RPN_NMS_THRESHOLD RPN_TRAIN_ANCHORS_PER_IMAGE PRE_NMS_LIMIT
POST_NMS_ROIS_TRAINING POST_NMS_ROIS_INFERENCE USE_MINI_MASK MINI_MASK_SHAPE IMAGE_RESIZE_MODE
IMAGE_MIN_DIM IMAGE_MAX_DIM IMAGE_MIN_SCALE IMAGE_CHANNEL_COUNT MEAN_PIXEL TRAIN_ROIS_PER_IMAGE
ROI_POSITIVE_RATIO POOL_SIZE MASK_POOL_SIZE MASK_SHAPE MAX_GT_INSTANCES RPN_BBOX_STD_DEV BBOX_STD_DEV
DETECTION_MAX_INSTANCES DETECTION_MIN_CONFIDENCE DETECTION_NMS_THRESHOLD LEARNING_RATE LEARNING_MOMENTUM
WEIGHT_DECAY LOSS_WEIGHTS USE_RPN_ROIS TRAIN_BN GRADIENT_CLIP_NORM BATCH_SIZE IMAGE_SHAPE IMAGE_META_SIZE""".split()

UTILS = """extract_bboxes(mask) compute_iou(box,boxes,box_area,boxes_area) compute_overlaps(boxes1,boxes2)
compute_overlaps_masks(masks1,masks2) non_max_suppression(boxes,scores,threshold)
apply_box_deltas(boxes,deltas) box_refinement(box,gt_box) box_refinement_graph(box,gt_box) Dataset
resize_image(image,min_dim,max_dim,min_scale,mode) resize_mask(mask,scale,padding,crop)
minimize_mask(bbox,mask,mini_shape) expand_mask(bbox,mini_mask,image_shape) mold_mask(mask,config)
unmold_mask(mask,bbox,image_shape) generate_anchors(scales,ratios,shape,feature_stride,anchor_stride)
generate_pyramid_anchors(scales,ratios,feature_shapes,feature_strides,anchor_stride) trim_zeros(x)
compute_matches(gt_boxes,gt_class_ids,gt_masks,pred_boxes,pred_class_ids,pred_scores,pred_masks,iou_threshold)
compute_ap(gt_boxes,gt_class_ids,gt_masks,pred_boxes,pred_class_ids,pred_scores,pred_masks,iou_threshold)
compute_ap_range(gt_box,gt_class_id,gt_mask,pred_box,pred_class_id,pred_score,pred_mask,iou_thresholds,verbose)
compute_recall(pred_boxes,gt_boxes,iou) batch_slice(inputs,graph_fn,batch_size,names)
download_trained_weights(coco_model_path,verbose) norm_boxes(boxes,shape) denorm_boxes(boxes,shape)
resize(image,output_shape,order) COCO_MODEL_URL""".split()

MODEL = """log(text,array) BatchNorm compute_backbone_shapes(config,image_shape)
identity_block(input_tensor,kernel_size,filters,stage,block,use_bias,train_bn)
conv_block(input_tensor,kernel_size,filters,stage,block,strides,use_bias,train_bn)
resnet_graph(input_image,architecture,stage5,train_bn)
apply_box_deltas_graph(boxes,deltas) clip_boxes_graph(boxes,window)
ProposalLayer(proposal_count,nms_threshold,config) log2_graph(x)
PyramidROIAlign(pool_shape) overlaps_graph(boxes1,boxes2)
detection_targets_graph(proposals,gt_class_ids,gt_boxes,gt_masks,config) DetectionTargetLayer(config)
refine_detections_graph(rois,probs,deltas,window,config) DetectionLayer(config)
rpn_graph(feature_map,anchors_per_location,anchor_stride)
build_rpn_model(anchor_stride,anchors_per_location,depth)
fpn_classifier_graph(rois,feature_maps,image_meta,pool_size,num_classes,train_bn,fc_layers_size)
build_fpn_mask_graph(rois,feature_maps,image_meta,pool_size,num_classes,train_bn)
smooth_l1_loss(y_true,y_pred) rpn_class_loss_graph(rpn_match,rpn_class_logits)
rpn_bbox_loss_graph(config,target_bbox,rpn_match,rpn_bbox)
mrcnn_class_loss_graph(target_class_ids,pred_class_logits,active_class_ids)
mrcnn_bbox_loss_graph(target_bbox,target_class_ids,pred_bbox)
mrcnn_mask_loss_graph(target_masks,target_class_ids,pred_masks)
load_image_gt(dataset,config,image_id,augment,augmentation,use_mini_mask)
build_detection_targets(rpn_rois,gt_class_ids,gt_boxes,gt_masks,config)
build_rpn_targets(image_shape,anchors,gt_class_ids,gt_boxes,config)
generate_random_rois(image_shape,count,gt_class_ids,gt_boxes)
data_generator(dataset,config,shuffle,augment,augmentation,random_rois,batch_size,detection_targets)
MaskRCNN compose_image_meta(image_id,original_image_shape,image_shape,window,scale,active_class_ids)
parse_image_meta(meta) parse_image_meta_graph(meta) mold_image(images,config)
unmold_image(normalized_images,config) trim_zeros_graph(boxes,name) batch_pack_graph(x,counts,num_rows)
norm_boxes_graph(boxes,shape)
denorm_boxes_graph(boxes,shape)""".split()

VISUALIZE = """display_images random_colors apply_mask display_instances display_differences draw_rois draw_box
display_top_masks plot_precision_recall plot_overlaps draw_boxes display_table display_weight_stats""".split()

METHODS = """build find_last load_weights(filepath,by_name,exclude) get_imagenet_weights
compile(learning_rate,momentum) set_trainable(layer_regex,keras_model,indent,verbose) set_log_dir
train(train_dataset,val_dataset,learning_rate,epochs,layers,augmentation,custom_callbacks,no_augmentation_sources)
mold_inputs(images) unmold_detections(detections,mrcnn_mask,original_image_shape,image_shape,window)
detect(images,verbose) detect_molded(molded_images,image_metas,verbose) get_anchors(image_shape) ancestor
find_trainable_layer get_trainable_layers run_graph(images,outputs,image_metas)""".split()

DATASET = """add_class(source,class_id,class_name) add_image(source,image_id,path) image_reference prepare
map_source_class_id get_source_class_id image_ids source_image_link load_image load_mask""".split()


def assert_entry(holder: object, entry: str) -> None:
    """One entry, name or name(parameters): it is there and its parameters come first, in that order."""
    name, _, parameters = entry.rstrip(")").partition("(")
    assert hasattr(holder, name), name
    if parameters:
        found = [p for p in inspect.signature(getattr(holder, name)).parameters if p != "self"]
        wanted = parameters.split(",")
        assert found[: len(wanted)] == wanted, f"{name}({', '.join(found)})"


@pytest.mark.parametrize(
    ("module", "entries"),
    [("utils", UTILS), ("model", MODEL), ("visualize", VISUALIZE), ("parallel_model", ["ParallelModel"])],
)
def test_names_and_parameters(module, entries):
    holder = importlib.import_module(f"mrcnn.{module}")
    for entry in entries:
        assert_entry(holder, entry)


def test_methods():
    from mrcnn.model import MaskRCNN
    from mrcnn.utils import Dataset

    for entry in METHODS:
        assert_entry(MaskRCNN, entry)
    for entry in DATASET:
        assert_entry(Dataset, entry)
    assert list(inspect.signature(MaskRCNN).parameters) == ["mode", "config", "model_dir"]


def test_config_has_the_attributes_and_the_defaults(capsys):
    config = Config()
    for name in CONFIG:
        assert hasattr(config, name), name
    assert (config.BACKBONE, config.NUM_CLASSES, config.LEARNING_RATE) == ("resnet101", 1, 0.001)
    assert config.TRAIN_BN is False
    assert (config.PRE_NMS_LIMIT, config.POST_NMS_ROIS_TRAINING, config.POST_NMS_ROIS_INFERENCE) == (6000, 2000, 1000)
    assert (config.DETECTION_MIN_CONFIDENCE, config.DETECTION_NMS_THRESHOLD) == (0.7, 0.3)
    assert config.RPN_NMS_THRESHOLD == 0.7
    assert (config.TRAIN_ROIS_PER_IMAGE, config.ROI_POSITIVE_RATIO) == (200, 0.33)
    np.testing.assert_array_equal([config.RPN_BBOX_STD_DEV, config.BBOX_STD_DEV], [[0.1, 0.1, 0.2, 0.2]] * 2)
    assert (config.BATCH_SIZE, config.IMAGE_META_SIZE, list(config.IMAGE_SHAPE)) == (2, 13, [1024, 1024, 3])
    np.testing.assert_array_equal(config.MEAN_PIXEL, [123.7, 116.8, 103.9])
    config.display()
    assert "ROI_POSITIVE_RATIO             0.33" in capsys.readouterr().out


def test_two_names_are_one_function():
    from mrcnn import model, utils
    from mrcnn.structures import boxes

    assert model.apply_box_deltas_graph is utils.apply_box_deltas is boxes.apply_box_deltas
    assert model.overlaps_graph is utils.compute_overlaps and model.norm_boxes_graph is utils.norm_boxes
