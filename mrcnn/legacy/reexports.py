"""Names that Matterport's modules imported for themselves and their users take from there, such as `visualize.plt`."""

import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any

STANDARD = ("datetime", "logging", "math", "os", "random", "re", "shutil", "sys", "warnings")
COMMON = {name: name for name in (*STANDARD, "scipy", "skimage")} | {"np": "numpy", "tf": "tensorflow"}
MODEL = COMMON | {
    "K": "keras.backend",
    "KE": "keras.layers",  # keras.engine: clients take its Layer
    "KL": "keras.layers",
    "KM": "keras.models",
    "OrderedDict": "collections.OrderedDict",
    "multiprocessing": "multiprocessing",
    "utils": "mrcnn.utils",
}
UTILS = COMMON | {"urllib": "urllib.request"}
VISUALIZE = COMMON | {
    "IPython": "IPython.display",
    "Polygon": "matplotlib.patches.Polygon",
    "colorsys": "colorsys",
    "find_contours": "skimage.measure.find_contours",
    "itertools": "itertools",
    "lines": "matplotlib.lines",
    "patches": "matplotlib.patches",
    "plt": "matplotlib.pyplot",
    "utils": "mrcnn.utils",
}


def getter(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """Return the `__getattr__` of a module that imports these names when they are asked for.

    Args:
        module: its name.
        names: name -> dotted path of a module, or of a name in a module.
    """
    return functools.partial(_imported, module, names)


def _imported(module: str, names: Mapping[str, str], name: str) -> Any:
    if name not in names:
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    path, _, last = names[name].rpartition(".")
    if name == path:  # `import urllib.request`: the name is the package, of which a submodule is to be loaded
        importlib.import_module(names[name])
        return importlib.import_module(path)
    try:
        return importlib.import_module(names[name])
    except ModuleNotFoundError:
        return getattr(importlib.import_module(path), last)
