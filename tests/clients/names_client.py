"""A client that uses what Python and the image libraries had in 2017 to 2019, and prints the values as JSON."""

import collections
import inspect
import json
import sys
import time
from fractions import gcd

import matplotlib

matplotlib.use("Agg", warn=False)
import matplotlib.pyplot as plt
import numpy as np
import scipy
import scipy.ndimage
import skimage.color
import skimage.draw
import skimage.filters
import skimage.io
import skimage.measure
import skimage.morphology
import skimage.transform
import yaml
from PIL import Image, ImageDraw, ImageFont
from keras.preprocessing.image import ImageDataGenerator
from skimage.external import tifffile

path = sys.argv[1]
values = {}
ramp = np.arange(12, dtype=np.float).reshape(3, 4)
scipy.misc.imsave(path, ramp)
values["ramp"] = scipy.misc.imread(path).tolist()
values["ramp_io"] = skimage.io.imread(path, as_grey=True).tolist()
values["ramp_ndimage"] = scipy.ndimage.imread(path, mode="RGB").shape
values["percent"] = scipy.misc.imresize(np.zeros((10, 20, 3), np.uint8), 50).shape
values["size"] = scipy.misc.imresize(np.eye(2, dtype=np.uint8) * 255, (4, 4), interp="nearest").tolist()
values["toimage"] = scipy.misc.toimage(np.zeros((3, 5, 7)), cmin=0, cmax=1).size

square = np.zeros((8, 8), dtype=np.bool)
square[2:6, 2:6] = True
values["resized_mask"] = skimage.transform.resize(square, (4, 4), mode="constant").tolist()
values["rescaled"] = skimage.transform.rescale(np.ones((4, 4, 3)), 0.5, multichannel=True, mode="constant").shape
values["gaussian"] = float(skimage.filters.gaussian(np.ones((5, 5, 3)), 1, multichannel=True)[2, 2, 0])
values["circle"] = len(skimage.draw.circle(5, 5, 2)[0])
diagonal = np.eye(2, dtype=np.uint8)
values["labels"] = [int(skimage.measure.label(diagonal, neighbors=n).max()) for n in (4, 8)]
white = np.ones((8, 8, 3))
values["ssim"] = float(skimage.measure.compare_ssim(white, white, multichannel=True, data_range=1))
values["dilated"] = int(skimage.morphology.binary_dilation(square, selem=np.ones((3, 3))).sum())
values["gray"] = skimage.color.rgb2grey(np.ones((2, 2, 3))).tolist()
values["rgb"] = skimage.color.gray2rgb(np.ones((2, 2)), alpha=False).shape

plt.style.use("seaborn-darkgrid")
plt.hold(True)
figure = plt.figure(figsize=(2, 1), dpi=50, facecolor="red")
figure.canvas.set_window_title("red")
figure.canvas.draw()
drawn = np.fromstring(figure.canvas.tostring_rgb(), dtype=np.uint8, sep="")
values["figure"] = drawn.reshape(figure.canvas.get_width_height()[::-1] + (3,))[0, 0].tolist()
values["colour"] = [float(v) for v in plt.cm.get_cmap("gray", 2)(1)]
values["text"] = ImageFont.load_default(10).getsize("W") == ImageDraw.Draw(Image.new("L", (9, 9))).textsize(
    "W", ImageFont.load_default(10)
)
values["filter"] = Image.ANTIALIAS == Image.LANCZOS

values["numpy"] = [
    np.float_(1),
    np.product([2, 3]),
    np.alltrue([1, 0]),
    np.NaN != np.NaN,
    np.Inf,
    np.asscalar(np.ones(1)),
]
values["numpy"] += [np.in1d([1, 2], [2]).tolist(), np.unicode_("a"), np.fromstring("1 2", dtype=int, sep=" ").tolist()]
values["python"] = [isinstance({}, collections.Mapping), gcd(4, 6), json.loads("[1]", encoding="utf-8")]
values["python"] += [inspect.getargspec(lambda a, *b, **c: 0)[:3], yaml.load("{a: [1]}"), time.clock() > 0]
yaml.warnings({"YAMLLoadWarning": False})
values["modules"] = [ImageDataGenerator.__name__, tifffile.__name__]
print(json.dumps(values, default=lambda value: value.item()))
