"""Give Pillow, matplotlib, scikit-image and SciPy back what scripts of 2017 to 2019 call and newer releases removed."""

import functools
import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from mrcnn.legacy import scipy_misc
from mrcnn.legacy.old_python import add, without_argument

# functions that took `multichannel`, by module of scikit-image
MULTICHANNEL = {
    "transform": ("rescale", "pyramid_reduce", "pyramid_expand", "pyramid_gaussian", "pyramid_laplacian"),
    "filters": ("gaussian", "unsharp_mask"),
    "segmentation": ("slic", "random_walker", "felzenszwalb", "quickshift"),
    "restoration": ("denoise_bilateral", "denoise_nl_means", "denoise_tv_chambolle", "denoise_wavelet"),
    "util": ("montage",),
}
# functions that took `selem`
SELEM = (
    "binary_closing",
    "binary_dilation",
    "binary_erosion",
    "binary_opening",
    "black_tophat",
    "closing",
    "dilation",
    "erosion",
    "opening",
    "white_tophat",
)
# figures of image quality, now in skimage.metrics
COMPARE = {
    "compare_ssim": "structural_similarity",
    "compare_psnr": "peak_signal_noise_ratio",
    "compare_mse": "mean_squared_error",
    "compare_nrmse": "normalized_root_mse",
}


# ---------------------------------------------------------------------------------------------------- SciPy, Pillow


def restore_scipy(scipy: ModuleType) -> None:
    """Put `mrcnn.legacy.scipy_misc` in the place of scipy.misc, which is empty and only warns."""
    sys.modules["scipy.misc"] = scipy_misc
    scipy.__dict__["misc"] = scipy_misc


def restore_ndimage(ndimage: ModuleType) -> None:
    """Give scipy.ndimage its imread."""
    add(ndimage, "imread", scipy_misc.imread)


def restore_pillow_image(image: ModuleType) -> None:
    """Give PIL.Image the names of its filters."""
    for old, new in (("ANTIALIAS", "LANCZOS"), ("LINEAR", "BILINEAR"), ("CUBIC", "BICUBIC")):
        add(image, old, getattr(image.Resampling, new))


def restore_pillow_draw(draw: ModuleType) -> None:
    """Give the drawing of PIL.ImageDraw its textsize: (width, height), with the offset of the text."""
    add(draw.ImageDraw, "textsize", lambda self, text, font=None: self.textbbox((0, 0), text, font)[2:])


def restore_pillow_font(font: ModuleType) -> None:
    """Give the fonts of PIL.ImageFont their getsize: (width, height), with the offset of the text."""
    add(font.FreeTypeFont, "getsize", lambda self, text: self.getbbox(text)[2:])


# ---------------------------------------------------------------------------------------------------- matplotlib


def restore_matplotlib(matplotlib: ModuleType) -> None:
    """Let matplotlib.use take `warn`."""
    matplotlib.__dict__["use"] = without_argument(matplotlib.use, "warn")


def restore_pyplot(pyplot: ModuleType) -> None:
    """Give pyplot its `hold`, which is how it always draws now, and the styles named seaborn."""
    add(pyplot, "hold", lambda on=True: None)
    for name, style in list(pyplot.style.library.items()):
        pyplot.style.library.setdefault(name.replace("seaborn-v0_8", "seaborn"), style)


def restore_colormaps(cm: ModuleType) -> None:
    """Give matplotlib.cm its get_cmap."""
    add(cm, "get_cmap", lambda name=None, lut=None: importlib.import_module("matplotlib.pyplot").get_cmap(name, lut))


def restore_canvas(backend: ModuleType) -> None:
    """Give matplotlib's canvases tostring_rgb and set_window_title."""
    canvas = backend.FigureCanvasAgg
    add(canvas, "tostring_rgb", lambda self: np.asarray(self.buffer_rgba())[..., :3].tobytes())
    add(canvas, "set_window_title", lambda self, title: self.manager and self.manager.set_window_title(title))


# ---------------------------------------------------------------------------------------------------- scikit-image


def restore_skimage_transform(transform: ModuleType) -> None:
    """Let resize interpolate masks, and the other functions take `multichannel`."""
    take_multichannel(transform)
    change(transform, "resize", _resizing_masks)


def take_multichannel(module: ModuleType) -> None:
    """Let the functions of a module of scikit-image take `multichannel` for `channel_axis`."""
    for name in MULTICHANNEL[module.__name__.rpartition(".")[2]]:
        change(module, name, _renamed("multichannel", "channel_axis", {True: -1, False: None}.get))


def restore_skimage_io(io: ModuleType) -> None:
    """Let imread take `as_grey`."""
    change(io, "imread", _renamed("as_grey", "as_gray", bool))


def restore_skimage_color(color: ModuleType) -> None:
    """Let rgb2gray return a gray image as it is, also under its name rgb2grey, and gray2rgb take `alpha`."""
    change(color, "rgb2gray", _passing_gray)
    add(color, "rgb2grey", color.rgb2gray)
    change(color, "gray2rgb", lambda function: without_argument(function, "alpha"))


def restore_skimage_draw(draw: ModuleType) -> None:
    """Give skimage.draw its circle."""
    add(draw, "circle", lambda r, c, radius, shape=None: draw.disk((r, c), radius, shape=shape))


def restore_skimage_measure(measure: ModuleType) -> None:
    """Let label take `neighbors`, and give skimage.measure its figures of image quality."""
    change(measure, "label", _renamed("neighbors", "connectivity", {4: 1, 8: 2}.get))
    for old, new in COMPARE.items():
        function = getattr(importlib.import_module("skimage.metrics"), new)
        add(measure, old, _renamed("multichannel", "channel_axis", {True: -1, False: None}.get)(function))


def restore_skimage_morphology(morphology: ModuleType) -> None:
    """Let the morphological operators take `selem`, and give skimage.morphology its watershed."""
    for name in SELEM:
        change(morphology, name, _renamed("selem", "footprint", lambda value: value))
    add(morphology, "watershed", importlib.import_module("skimage.segmentation").watershed)


def change(module: ModuleType, name: str, wrap: Callable[[Any], Any]) -> None:
    """Replace a function of a module by `wrap(function)`."""
    setattr(module, name, wrap(getattr(module, name)))


def _renamed(old: str, new: str, value: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a decorator: a keyword argument `old` becomes `new`, with `value(its value)`."""

    def wrap(function: Any) -> Any:
        @functools.wraps(function)
        def renamed(*args: Any, **kwargs: Any) -> Any:
            if old in kwargs:
                kwargs[new] = value(kwargs.pop(old))
            return function(*args, **kwargs)

        return renamed

    return wrap


def _resizing_masks(resize: Any) -> Any:
    """Return skimage.transform.resize with bool images as until 2019: they are interpolated, from 0.0 to 1.0."""

    @functools.wraps(resize)
    def resizing(image: Any, output_shape: Any, order: int | None = None, *args: Any, **kwargs: Any) -> Any:
        image = np.asarray(image)
        if image.dtype == bool and order != 0:
            image, order = image.astype(float), 1 if order is None else order
            kwargs.setdefault("anti_aliasing", False)
        return resize(image, output_shape, order, *args, **kwargs)

    return resizing


def _passing_gray(rgb2gray: Any) -> Any:
    @functools.wraps(rgb2gray)
    def passing(rgb: Any, *args: Any, **kwargs: Any) -> Any:
        return np.ascontiguousarray(rgb) if np.ndim(rgb) == 2 else rgb2gray(rgb, *args, **kwargs)

    return passing
