"""Give modules that were renamed or removed under their old names, and Matterport's under all the names it had.

Modules that exist stay as they are, with one exception: a file that is a copy of one of Matterport's modules, which
would need Keras 2, gives way to ours.
"""

import importlib
import importlib.abc
import importlib.machinery
import logging
import os
import pathlib
import re
import sys
from collections.abc import Callable, Sequence
from types import ModuleType

from mrcnn.legacy.old_python import imp_module

log = logging.getLogger(__name__)

KERAS_ENGINE = ("keras", "keras.layers", "keras.models", "keras.utils")
# old name -> present name, or several, whose names are merged
RENAMED: dict[str, str | tuple[str, ...]] = {
    "cv2.cv2": "cv2",
    "distutils": "setuptools._distutils",
    "keras.backend.tensorflow_backend": "keras.backend",
    "keras.engine": KERAS_ENGINE,
    "keras.engine.base_layer": KERAS_ENGINE,
    "keras.engine.input_layer": KERAS_ENGINE,
    "keras.engine.network": KERAS_ENGINE,
    "keras.engine.sequential": KERAS_ENGINE,
    "keras.engine.topology": KERAS_ENGINE,
    "keras.engine.training": KERAS_ENGINE,
    "keras.layers.advanced_activations": "keras.layers",
    "keras.layers.convolutional": "keras.layers",
    "keras.layers.convolutional_recurrent": "keras.layers",
    "keras.layers.core": "keras.layers",
    "keras.layers.embeddings": "keras.layers",
    "keras.layers.local": "keras.layers",
    "keras.layers.merge": "keras.layers",
    "keras.layers.noise": "keras.layers",
    "keras.layers.normalization": "keras.layers",
    "keras.layers.pooling": "keras.layers",
    "keras.layers.recurrent": "keras.layers",
    "keras.layers.wrappers": "keras.layers",
    "keras.utils.conv_utils": "keras.utils",
    "keras.utils.data_utils": "keras.utils",
    "keras.utils.generic_utils": "keras.utils",
    "keras.utils.io_utils": "keras.utils",
    "keras.utils.layer_utils": "keras.utils",
    "keras.utils.multi_gpu_utils": "keras.utils",
    "keras.utils.np_utils": "keras.utils",
    "keras.utils.training_utils": "keras.utils",
    "keras.utils.vis_utils": "keras.utils",
    "scipy.misc.pilutil": "mrcnn.legacy.scipy_misc",
    "skimage.external": ("skimage",),
    "skimage.external.tifffile": "tifffile",
    "xml.etree.cElementTree": "xml.etree.ElementTree",
}
# Matterport's modules -> what only a copy of that module has in its text
ORIGINALS = {
    "config": ("class Config", "RPN_ANCHOR_SCALES", "def display"),
    "model": ("class MaskRCNN", "class PyramidROIAlign"),
    "parallel_model": ("class ParallelModel", "gpu_count"),
    "utils": ("class Dataset", "def extract_bboxes", "def minimize_mask"),
    "visualize": ("def display_instances", "def random_colors", "def apply_mask"),
}


def installed() -> bool:
    """Return whether `install` was called in this process."""
    return any(isinstance(finder, OriginalsFinder) for finder in sys.meta_path)


def install() -> None:
    """Let imports find the modules of this file, in this process, from now on."""
    sys.meta_path.insert(0, OriginalsFinder())
    sys.meta_path.append(RenamedFinder())


class RenamedFinder(importlib.abc.MetaPathFinder):
    """Finds what no other finder has found: modules of RENAMED, Matterport's flat imports, a fork's own modules."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module, or None for others."""
        if fullname == "imp":
            return _spec(fullname, lambda: imp_module(fullname))
        if fullname in RENAMED:
            return _spec(fullname, lambda: _renamed(fullname))
        if fullname in ORIGINALS:
            return _spec(fullname, lambda: importlib.import_module(f"mrcnn.{fullname}"))
        if fullname == "coco":
            return _spec(fullname, lambda: importlib.import_module("mrcnn.legacy.coco"))
        if fullname.startswith("mrcnn."):  # a module that a fork added to its copy of the package
            folders = [os.path.join(folder, *fullname.split(".")[:-1]) for folder in sys.path]
            return importlib.machinery.PathFinder.find_spec(fullname, folders)
        return None


class OriginalsFinder(importlib.abc.MetaPathFinder):
    """Finds our module where Python would find a copy of Matterport's, in whatever package it stands."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """Return how to load a module, or None for others."""
        name = fullname.rpartition(".")[2]
        if name not in ORIGINALS or fullname == f"mrcnn.{name}":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or not is_copy(name, spec.origin):
            return None
        log.info("%s is a copy of Matterport's mrcnn/%s.py: this project's mrcnn.%s is used", spec.origin, name, name)
        return _spec(fullname, lambda: importlib.import_module(f"mrcnn.{name}"))


def is_copy(name: str, path: str | None) -> bool:
    """Return whether a source file is a copy of Matterport's module of that name, perhaps changed.

    Args:
        name: a key of ORIGINALS.
        path: of the file; None, or a file that cannot be read as text, is no copy.
    """
    try:
        text = pathlib.Path(path or "").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return False
    return all(re.search(rf"\b{re.escape(mark)}\b", text) for mark in ORIGINALS[name])


class _Forward(ModuleType):
    """A module with the names of several others; it may have submodules."""

    def __init__(self, name: str, modules: Sequence[str]) -> None:
        super().__init__(name)
        self.__path__: list[str] = []
        self._modules = [importlib.import_module(module) for module in modules]

    def __getattr__(self, name: str) -> object:
        if not name.startswith("__"):
            for module in self._modules:
                if hasattr(module, name):
                    return getattr(module, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class _Substitute(importlib.abc.Loader):
    """Puts another module into sys.modules, which Python then returns."""

    def __init__(self, make: Callable[[], ModuleType]) -> None:
        self.make = make

    def exec_module(self, module: ModuleType) -> None:
        sys.modules[module.__name__] = self.make()


def _spec(fullname: str, make: Callable[[], ModuleType]) -> importlib.machinery.ModuleSpec:
    return importlib.machinery.ModuleSpec(fullname, _Substitute(make), is_package=True)


def _renamed(fullname: str) -> ModuleType:
    target = RENAMED[fullname]
    return importlib.import_module(target) if isinstance(target, str) else _Forward(fullname, target)
