"""A client in the style of a web service of 2018: sessions, graphs and settings of TensorFlow 1 around detection.

At last it does what needs a real graph, and freezes it.
"""

import sys
import threading

import numpy as np
import tensorflow as tf
import keras
import keras.backend as K
import keras.backend.tensorflow_backend as KTF
import keras.engine as KE
import keras.layers as KL
from keras.backend.tensorflow_backend import set_session
from keras.engine.topology import Layer
from keras.layers.core import Dense, Lambda
from keras.utils import multi_gpu_model
from tensorflow.python.framework import graph_util

from Mask_RCNN.mrcnn import model as modellib
from Mask_RCNN.mrcnn.config import Config

tf.logging.set_verbosity(tf.logging.ERROR)
settings = tf.ConfigProto(allow_soft_placement=True, intra_op_parallelism_threads=1)
settings.gpu_options.allow_growth = True
settings.gpu_options.per_process_gpu_memory_fraction = 0.3
set_session(tf.Session(config=settings))
KTF.set_session(tf.InteractiveSession(config=tf.ConfigProto(gpu_options=tf.GPUOptions(allow_growth=True))))


class ServiceConfig(Config):
    NAME = "service"
    BACKBONE = "resnet18"
    IMAGES_PER_GPU = 1
    NUM_CLASSES = 1 + 2
    IMAGE_MIN_DIM = 64
    IMAGE_MAX_DIM = 64
    RPN_ANCHOR_SCALES = (8, 16, 32, 64, 128)
    POST_NMS_ROIS_INFERENCE = 16
    DETECTION_MIN_CONFIDENCE = 0
    BACKBONE_WIDTH = 16
    TOP_DOWN_PYRAMID_SIZE = 16
    FPN_CLASSIF_FC_LAYERS_SIZE = 32
    RPN_CHANNELS = 16
    MASK_HEAD_CHANNELS = 16


class Doubled(KE.Layer):
    def call(self, x):
        return 2 * x


def make_model():
    K.clear_session()
    tf.set_random_seed(7)
    with tf.device("/gpu:0"):
        return modellib.MaskRCNN(mode="inference", config=ServiceConfig(), model_dir=sys.argv[1])


model = make_model()
model.keras_model._make_predict_function()
graph = tf.get_default_graph()
graph.finalize()
weights, again = model.keras_model.get_weights(), make_model().keras_model.get_weights()
print("SEEDED", all(np.array_equal(a, b) for a, b in zip(weights, again)))

image = np.random.RandomState(0).randint(0, 255, [64, 64, 3]).astype(np.uint8)
found = [model.detect([image])[0]]
with graph.as_default():
    found.append(model.detect([image])[0])
with tf.Session(graph=tf.Graph()) as sess:
    sess.run(tf.global_variables_initializer())
    found.append(model.detect([image])[0])
with K.get_session().as_default(), K.get_session().graph.as_default():
    found.append(model.detect([image])[0])


def work():
    with graph.as_default():
        found.append(model.detect([image])[0])


thread = threading.Thread(target=work)
thread.start()
thread.join()
print("FOUND", len(found), all(np.array_equal(one["rois"], found[0]["rois"]) and len(one["rois"]) for one in found))
print("RUN", tf.Session().run([tf.constant(3) + 4, {"log": tf.log(1.0)}]), K.eval(K.mean(K.variable([1.0, 3.0]))))
print("LAYERS", float(Doubled()(K.variable(2.0))), Layer is keras.layers.Layer, Dense is KL.Dense, Lambda is KL.Lambda)
print("GPUS", multi_gpu_model(model.keras_model, gpus=1) is model.keras_model, K.tensorflow_backend is KTF)

try:
    x = tf.placeholder(tf.float32, [None, 2])
    tf.Session().run(x * 2, feed_dict={x: [[1, 2]]})
except ValueError as error:
    print("PLACEHOLDER", error)
try:
    tf.Session().run(model.keras_model.get_layer("ROI").output)
except ValueError as error:
    print("OUTPUT", error)

K.set_learning_phase(0)
session = K.get_session()
names = [output.name.split(":")[0] for output in model.keras_model.outputs]
graph_util.convert_variables_to_constants(session, session.graph.as_graph_def(), names)
