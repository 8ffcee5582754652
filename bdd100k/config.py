"""Settings for BDD100K, for data with other classes, and for the embedded street scenes."""

from mrcnn.config import Config

# Class ids 1..8, as in the official label files; 0 is the background.
CLASS_NAMES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")


class BDD100KConfig(Config):
    """BDD100K instance segmentation: 720 x 1280 images on a 768 x 1280 input, about 18 objects per image.

    Training ResNet-50 on one image per device takes about 8 GB in float32.
    """

    NAME = "bdd100k"
    NUM_CLASSES = 1 + len(CLASS_NAMES)
    BACKBONE = "resnet50"
    IMAGES_PER_GPU = 1
    STEPS_PER_EPOCH = 1000
    VALIDATION_STEPS = 50
    AUGMENT_FLIP = 0.5
    # Images keep their size, with 48 rows of padding because the pyramid needs multiples of 64. A square of 1024 has
    # about as many pixels, but shows the images at 0.8 of their size (docs/performance.md, "Ablation").
    IMAGE_RESIZE_MODE = "rect"
    IMAGE_MIN_DIM = 768
    IMAGE_MAX_DIM = 1280
    # Half of BDD100K's objects are less than 40 px high, so anchors start at 16 px instead of 32.
    RPN_ANCHOR_SCALES = (16, 32, 64, 128, 256)
    DETECTION_MIN_CONFIDENCE = 0.05  # as in the BDD100K zoo: a PR curve needs low scores
    DETECTION_NMS_THRESHOLD = 0.5


class CustomConfig(Config):
    """Settings for your own data, with any classes."""

    NAME = "custom"
    NUM_CLASSES = 2  # set from the data
    BACKBONE = "resnet50"
    IMAGES_PER_GPU = 1
    STEPS_PER_EPOCH = 200
    VALIDATION_STEPS = 20
    AUGMENT_FLIP = 0.5
    RPN_ANCHOR_SCALES = (16, 32, 64, 128, 256)
    DETECTION_MIN_CONFIDENCE = 0.05  # a PR curve needs low scores


class StreetsConfig(BDD100KConfig):
    """The embedded street scenes with a small network, whose epoch of 100 steps takes minutes on two CPU cores."""

    NAME = "streets"
    BACKBONE = "resnet18"
    BACKBONE_WIDTH = 32
    TOP_DOWN_PYRAMID_SIZE = 64
    RPN_CHANNELS = 64
    FPN_CLASSIF_FC_LAYERS_SIZE = 256
    MASK_HEAD_CHANNELS = 64
    IMAGES_PER_GPU = 2
    STEPS_PER_EPOCH = 100
    VALIDATION_STEPS = 10
    # 720 x 1280 becomes 320 x 569, with only 7 columns of padding.
    IMAGE_MIN_DIM = 320
    IMAGE_MAX_DIM = 576
    RPN_ANCHOR_SCALES = (12, 24, 48, 96, 192)
    PRE_NMS_LIMIT = 3000  # of 46,000 anchors; with 1000, large objects crowd out small ones
    POST_NMS_ROIS_TRAINING = 500
    POST_NMS_ROIS_INFERENCE = 400
    TRAIN_ROIS_PER_IMAGE = 64
    MAX_GT_INSTANCES = 48
    OPTIMIZER = "adam"
    LEARNING_RATE = 0.0003
