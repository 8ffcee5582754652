"""Which files count as copies of Matterport's modules, and which names lead where."""

import importlib
import types

import keras
import numpy as np
import pytest

import mrcnn.model
import mrcnn.utils
import mrcnn.visualize
from mrcnn.errors import InputError
from mrcnn.legacy import coco, old_modules, old_python
from mrcnn.parallel_model import ParallelModel


def test_copies_are_told_from_modules_of_the_same_name(tmp_path):
    texts = {
        "copy.py": "class PyramidROIAlign(KE.Layer):\n    pass\nclass MaskRCNN():\n    pass\n",
        "other.py": "class MaskRCNNServer:\n    pass\nclass PyramidROIAlign:\n    pass\n",
    }
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "binary.py").write_bytes(b"\xff class MaskRCNN class PyramidROIAlign")
    found = {name: old_modules.is_copy("model", str(tmp_path / name)) for name in ("copy.py", "other.py", "binary.py")}
    assert found == {"copy.py": True, "other.py": False, "binary.py": False}
    assert not old_modules.is_copy("model", None)
    assert not any(old_modules.is_copy("utils", str(tmp_path / name)) for name in texts)


def test_every_renamed_module_has_a_target():
    for name, target in old_modules.RENAMED.items():
        for module in [target] if isinstance(target, str) else target:
            assert importlib.import_module(module), name
    engine = old_modules._renamed("keras.engine.topology")
    assert engine.Layer is keras.Layer and engine.InputSpec is keras.InputSpec and engine.Model is keras.Model
    with pytest.raises(AttributeError, match="'keras.engine.topology' has no attribute 'nothing'"):
        _ = engine.nothing


def test_names_that_the_originals_imported():
    import collections
    import itertools

    import matplotlib.patches
    import skimage.measure

    assert mrcnn.model.KL is keras.layers and mrcnn.model.KM is keras.models and mrcnn.model.K is keras.backend
    assert mrcnn.model.KE.Layer is keras.Layer and mrcnn.model.OrderedDict is collections.OrderedDict
    assert mrcnn.visualize.Polygon is matplotlib.patches.Polygon and mrcnn.visualize.itertools is itertools
    assert mrcnn.visualize.find_contours is skimage.measure.find_contours and mrcnn.visualize.np is np
    assert mrcnn.visualize.utils is mrcnn.model.utils is mrcnn.utils
    assert mrcnn.utils.urllib.request.urlopen
    with pytest.raises(AttributeError, match=r"'mrcnn.visualize' has no attribute 'nothing'"):
        _ = mrcnn.visualize.nothing


def test_imp_loads_source(tmp_path):
    (tmp_path / "source.py").write_text("value = 3")
    imp = old_python.imp_module("imp")
    assert imp.load_source("loaded_by_imp", str(tmp_path / "source.py")).value == 3
    assert imp.new_module("empty").__name__ == "empty" and imp.reload is importlib.reload


def test_arguments_that_were_dropped_are_taken_once():
    taken = old_python.without_argument(lambda a, b=2: (a, b), "warn")
    assert taken(1, warn=False) == (1, 2) and old_python.without_argument(taken, "warn") is taken
    with pytest.raises(TypeError):
        taken(1, other=0)


def test_coco_has_its_settings_and_names_what_it_lacks():
    assert coco.CocoConfig().NUM_CLASSES == 81 and coco.CocoConfig().BATCH_SIZE == 2
    with pytest.raises(InputError, match=r"coco.CocoDataset is in Matterport's samples/coco/coco.py"):
        _ = coco.CocoDataset


def test_a_model_for_several_gpus_is_that_of_its_settings():
    model = types.SimpleNamespace(config=types.SimpleNamespace(GPU_COUNT=2))
    assert ParallelModel(model, 2) is model
    with pytest.raises(InputError, match="3 GPUs are asked for, but the model was built for 2: set GPU_COUNT = 3"):
        ParallelModel(model, 3)
