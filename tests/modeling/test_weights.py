"""Compares weights by layer name with Keras' by-name reader and writer and with plain h5py."""

import re

import h5py
import keras
import numpy as np
import pytest
from keras import layers as L

from mrcnn.engine import run_folder
from mrcnn.errors import InputError
from mrcnn.modeling import weights

pytestmark = pytest.mark.graph


def rpn_layers(ratios: int) -> list[L.Layer]:
    return [
        L.Conv2D(6, 3, name="rpn_conv_shared"),
        L.Conv2D(2 * ratios, 1, name="rpn_class_raw"),
        L.Conv2D(4 * ratios, 1, name="rpn_bbox_pred"),
    ]


def network(classes: int = 5, nested: bool = True, stem: int = 4, ratios: int = 3) -> keras.Model:
    """Build a tiny network with the layer names of Mask R-CNN; the RPN is a nested model, or part of the model."""
    image = keras.Input((8, 8, 3))
    x = L.Conv2D(stem, 3, name="conv1")(image)
    x = L.BatchNormalization(name="bn_conv1")(x)
    shared, scores, deltas = rpn_layers(ratios)
    if nested:
        inner = keras.Input((None, None, stem))
        hidden = shared(inner)
        rpn = keras.Model(inner, [scores(hidden), deltas(hidden)], name="rpn_model")(x)
    else:
        rpn = [scores(shared(x)), deltas(shared(x))]
    pooled = L.GlobalAveragePooling2D()(x)
    logits = L.Dense(classes, name="mrcnn_class_logits")(pooled)
    boxes = L.Dense(4 * classes, name="mrcnn_bbox_fc")(pooled)
    masks = L.Conv2D(classes, 1, name="mrcnn_mask")(L.Conv2DTranspose(4, 2, strides=2, name="mrcnn_mask_deconv")(x))
    return keras.Model(image, [*rpn, logits, boxes, masks], name="mask_rcnn")


def randomize(model: keras.Model, seed: int) -> keras.Model:
    """Fill every weight, including BatchNorm's, with random values, so that swapped arrays are detected."""
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.5, 1.5, value.shape).astype("float32") for value in model.get_weights()])
    return model


def values(model: keras.Model) -> dict[str, np.ndarray]:
    """Return layer/weight -> value, read directly from the layers."""
    found = {}
    for layer in model.layers:
        for inner in getattr(layer, "layers", [layer]):
            for variable in inner.weights:
                found[f"{inner.name}/{variable.name}"] = keras.ops.convert_to_numpy(variable)
    return found


def assert_equal_weights(first: keras.Model, second: keras.Model) -> None:
    a, b = values(first), values(second)
    assert a.keys() == b.keys() and len(a) == 20
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_file_is_keras_2_layout(tmp_path):
    model = randomize(network(), 0)
    weights.save_weights(model, tmp_path / "w.h5")
    expected = values(model)
    with h5py.File(tmp_path / "w.h5") as file:
        assert [n.decode() for n in file.attrs["layer_names"]] == [layer.name for layer in model.layers]
        assert file.attrs["backend"] == b"tensorflow" and isinstance(file.attrs["keras_version"], bytes)
        assert file["bn_conv1"].attrs["weight_names"].tolist() == [
            b"bn_conv1/gamma:0",
            b"bn_conv1/beta:0",
            b"bn_conv1/moving_mean:0",
            b"bn_conv1/moving_variance:0",
        ]
        assert file["rpn_model"].attrs["weight_names"].tolist() == [
            f"{layer}/{weight}:0".encode()
            for layer in ("rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred")
            for weight in ("kernel", "bias")
        ]
        np.testing.assert_array_equal(file["conv1/conv1/kernel:0"][()], expected["conv1/kernel"])
        np.testing.assert_array_equal(file["rpn_model/rpn_class_raw/bias:0"][()], expected["rpn_class_raw/bias"])
        np.testing.assert_array_equal(file["bn_conv1/bn_conv1/moving_mean:0"][()], expected["bn_conv1/moving_mean"])


def test_keras_reads_our_file_by_name(tmp_path):
    written, read = randomize(network(), 1), randomize(network(), 2)
    weights.save_weights(written, tmp_path / "w.h5")
    read.load_weights(tmp_path / "w.h5", by_name=True)
    assert_equal_weights(written, read)


def test_we_read_the_whole_model_file_of_keras(tmp_path):
    written, read = randomize(network(), 3), randomize(network(), 4)
    written.save(tmp_path / "model.h5")  # root group model_weights, names without ":0"
    report = weights.load_weights(read, tmp_path / "model.h5")
    assert_equal_weights(written, read)
    assert report.untouched == [] and len(report.loaded) == 9


@pytest.mark.parametrize(("from_nested", "to_nested"), [(True, True), (True, False), (False, True)])
def test_rpn_nested_and_flat(tmp_path, from_nested, to_nested):
    written, read = randomize(network(nested=from_nested), 5), randomize(network(nested=to_nested), 6)
    weights.save_weights(written, tmp_path / "w.h5")
    weights.load_weights(read, tmp_path / "w.h5")
    assert_equal_weights(written, read)


def test_numbered_scopes_and_keras_1_names(tmp_path):
    """The second model of a TensorFlow 1 process has rpn_conv_shared_1/kernel:0; Keras 1 wrote conv1_W:0."""
    model = randomize(network(), 7)
    expected = {name: value + 1 for name, value in values(model).items()}
    arrays = {
        "conv1": {"conv1_W:0": "conv1/kernel", "conv1_b:0": "conv1/bias"},
        "bn_conv1": {
            "bn_conv1_gamma:0": "bn_conv1/gamma",
            "bn_conv1_beta:0": "bn_conv1/beta",
            "bn_conv1_running_mean:0": "bn_conv1/moving_mean",
            "bn_conv1_running_std:0": "bn_conv1/moving_variance",
        },
        "rpn_model": {
            "rpn_conv_shared_1/kernel:0": "rpn_conv_shared/kernel",
            "rpn_conv_shared_1/bias:0": "rpn_conv_shared/bias",
        },
        "fc1000": {"fc1000_W:0": "conv1/bias"},
    }
    with h5py.File(tmp_path / "old.h5", "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in arrays]
        for layer, named in arrays.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = [name.encode() for name in named]
            for name, source in named.items():
                group[name] = expected[source]
    report = weights.load_weights(model, tmp_path / "old.h5")
    assert report.loaded == ["conv1", "bn_conv1", "rpn_conv_shared"] and report.skipped == ["fc1000"]
    assert sorted(report.missing) == [
        "mrcnn_bbox_fc",
        "mrcnn_class_logits",
        "mrcnn_mask",
        "mrcnn_mask_deconv",
        "rpn_bbox_pred",
        "rpn_class_raw",
    ]
    after = values(model)
    for name in after:
        loaded = name.split("/")[0] in report.loaded
        np.testing.assert_allclose(after[name], expected[name] if loaded else expected[name] - 1, rtol=1e-6)


def test_frozen_layers_keep_the_order(tmp_path):
    written, read = randomize(network(), 8), randomize(network(), 9)
    written.get_layer("bn_conv1").trainable = False
    written.get_layer("rpn_model").get_layer("rpn_conv_shared").trainable = False
    weights.save_weights(written, tmp_path / "w.h5")
    weights.load_weights(read, tmp_path / "w.h5")
    assert_equal_weights(written, read)


def test_names_split_over_several_attributes(tmp_path):
    """Keras splits lists of names beyond 64 KiB; chunk 10 comes after chunk 9."""
    written, read = randomize(network(), 10), randomize(network(), 11)
    weights.save_weights(written, tmp_path / "w.h5")
    with h5py.File(tmp_path / "w.h5", "a") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        for i in range(11):
            file.attrs[f"layer_names{i}"] = names[i : i + 1] if i < 10 else names[10:]
    weights.load_weights(read, tmp_path / "w.h5")
    assert_equal_weights(written, read)


def test_float16_halves_kernels_only(tmp_path):
    written, read = randomize(network(), 12), randomize(network(), 13)
    written.get_layer("mrcnn_mask").kernel.assign(np.full((1, 1, 4, 5), 1e5, "float32"))  # beyond float16
    weights.save_weights(written, tmp_path / "w.h5", dtype="float16")
    with h5py.File(tmp_path / "w.h5") as file:
        assert file["conv1/conv1/kernel:0"].dtype == np.float16
        assert file["conv1/conv1/bias:0"].dtype == file["mrcnn_mask/mrcnn_mask/kernel:0"].dtype == np.float32
    weights.load_weights(read, tmp_path / "w.h5")
    a, b = values(written), values(read)
    for name in a:
        halved = a[name].ndim > 1 and name != "mrcnn_mask/kernel"
        np.testing.assert_array_equal(b[name], a[name].astype("float16").astype("float32") if halved else a[name])


def test_attributes_come_back(tmp_path):
    weights.save_weights(network(), tmp_path / "w.h5", attrs={"classes": "car,bus", "epoch": 3})
    attrs = weights.read_attrs(tmp_path / "w.h5")
    assert attrs == {"backend": "tensorflow", "keras_version": keras.__version__, "classes": "car,bus", "epoch": 3}


def test_other_class_count_is_named_and_nothing_is_loaded(tmp_path):
    weights.save_weights(randomize(network(classes=81), 14), tmp_path / "coco.h5")
    model = randomize(network(classes=9), 15)
    before = values(model)
    message = "The file has 81 classes, the model has 9: exclude mrcnn_class_logits, mrcnn_bbox_fc, mrcnn_mask"
    with pytest.raises(InputError, match=message):
        weights.load_weights(model, tmp_path / "coco.h5")
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])


def test_exclude_loads_the_rest(tmp_path):
    source, model = randomize(network(classes=81), 16), randomize(network(classes=9), 17)
    weights.save_weights(source, tmp_path / "coco.h5")
    before, heads = values(model), ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]
    report = weights.load_weights(model, tmp_path / "coco.h5", exclude=[*heads, "mrcnn_bbox", "rpn_model"])
    rpn = ["rpn_conv_shared", "rpn_class_raw", "rpn_bbox_pred"]
    assert set(report.excluded) == set(report.untouched) == set(report.skipped) == {*heads, *rpn}
    assert set(report.loaded) == {"conv1", "bn_conv1", "mrcnn_mask_deconv"} and set(report.mismatched) == set(heads)
    after, theirs = values(model), values(source)
    for name in after:
        expected = theirs if name.split("/")[0] in report.loaded else before
        np.testing.assert_array_equal(after[name], expected[name])
    text = report.summary()
    assert text.startswith("coco.h5: 3 of 9 layers loaded")
    assert "mrcnn_mask 1x1x4x81 + 81 in the file, 1x1x4x9 + 9 in the model" in text
    assert repr(report) == "<coco.h5: 3 of 9 layers loaded, 6 of the file not used>"


def test_layers_that_no_file_gave_values_to_are_named_at_inference(tmp_path, caplog):
    """Fix 15: the original silently left heads random. Loading a second file that has them ends the warning."""
    from mrcnn.model import MaskRCNN
    from tests.shapes import ShapesConfig

    heads = ["mrcnn_class_logits", "mrcnn_bbox_fc", "mrcnn_mask"]
    model = MaskRCNN("inference", ShapesConfig(), tmp_path)
    weights.save_weights(model.keras_model, tmp_path / "w.h5")
    model.load_weights(tmp_path / "w.h5", by_name=True, exclude=heads)
    (record,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert "w.h5 has no values for 3 layers, which stay random: " in record.getMessage()
    assert all(name in record.getMessage() for name in heads)
    caplog.clear()
    model.load_weights(tmp_path / "w.h5")
    model.load_weights(tmp_path / "w.h5", exclude=heads)  # they have values now
    training = MaskRCNN("training", ShapesConfig(), tmp_path)
    training.load_weights(tmp_path / "w.h5", exclude=heads)  # they will be trained
    assert [record for record in caplog.records if record.levelname == "WARNING"] == []


def test_other_mismatches_are_explained(tmp_path):
    weights.save_weights(network(ratios=5), tmp_path / "w.h5")
    with pytest.raises(InputError, match="The file has 5 anchors per location, the model has 3"):
        weights.load_weights(network(), tmp_path / "w.h5")
    weights.save_weights(network(stem=2), tmp_path / "w.h5")
    with pytest.raises(InputError, match=r"conv1: 3x3x3x2 \+ 2 in the file, 3x3x3x4 \+ 4 in the model"):
        weights.load_weights(network(), tmp_path / "w.h5")


def test_nothing_in_common(tmp_path):
    image = keras.Input((4,))
    weights.save_weights(keras.Model(image, L.Dense(2, name="other")(image)), tmp_path / "w.h5")
    with pytest.raises(InputError, match=r"no layer of .* the file has other; the model has conv1"):
        weights.load_weights(network(), tmp_path / "w.h5")


def test_a_failed_write_keeps_the_old_file(tmp_path):
    model = randomize(network(), 18)
    weights.save_weights(model, tmp_path / "w.h5")
    before = (tmp_path / "w.h5").read_bytes()
    with pytest.raises(TypeError):
        weights.save_weights(model, tmp_path / "w.h5", attrs={"bad": object()})
    assert (tmp_path / "w.h5").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["w.h5"]


@pytest.mark.parametrize(
    ("dtype", "folder", "message"), [("int8", ".", "dtype 'int8'"), (None, "none", "create it first")]
)
def test_bad_arguments_to_save(tmp_path, dtype, folder, message):
    with pytest.raises(InputError, match=message):
        weights.save_weights(network(), tmp_path / folder / "w.h5", dtype=dtype)


def broken_files(folder):
    """Return name -> the expected message."""
    model = network()
    (folder / "text.h5").write_text("<html>not found</html>")
    model.save(folder / "archive.keras")
    model.save_weights(folder / "new.weights.h5")
    weights.save_weights(model, folder / "cut.h5")
    (folder / "cut.h5").write_bytes((folder / "cut.h5").read_bytes()[:3000])
    for name, lost in (("lost_array.h5", "conv1/conv1/bias:0"), ("lost_layer.h5", "conv1")):
        weights.save_weights(model, folder / name)
        with h5py.File(folder / name, "a") as file:
            del file[lost]
    return {
        "absent.h5": "does not exist",
        ".": "it is a folder",
        "text.h5": "not an HDF5 file",
        "cut.h5": "truncated",
        "archive.keras": "Keras 3 .keras archive",
        "new.weights.h5": "no layer_names",
        "lost_array.h5": "layer conv1 lacks its array conv1/bias:0",
        "lost_layer.h5": "layer conv1 is listed",
    }


def test_unusable_files(tmp_path):
    model = network()
    for name, message in broken_files(tmp_path).items():
        with pytest.raises(InputError, match=re.escape(message)):
            weights.load_weights(model, tmp_path / name)


def test_exclude_must_be_a_list(tmp_path):
    weights.save_weights(network(), tmp_path / "w.h5")
    with pytest.raises(InputError, match="not the string 'mrcnn_mask'"):
        weights.load_weights(network(), tmp_path / "w.h5", exclude="mrcnn_mask")


def test_find_last(tmp_path):
    for run in ("bdd20250101T0000", "bdd20250301T1010", "bdd20250201T2359", "bdd100k20260101T0000", "bdd_old"):
        (tmp_path / run).mkdir()
        for epoch in (1, 9999, 10000):
            (tmp_path / run / f"mask_rcnn_bdd_{epoch:04d}.h5").touch()
        (tmp_path / run / "mask_rcnn_bdd_best.h5").touch()
    assert run_folder.find_last(tmp_path, "BDD") == str(tmp_path / "bdd20250301T1010" / "mask_rcnn_bdd_10000.h5")


def test_find_last_without_a_run_or_checkpoint(tmp_path):
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(InputError, match="no run of 'coco'"):
            run_folder.find_last(folder, "coco")
    (tmp_path / "coco20250101T0000").mkdir()
    with pytest.raises(InputError, match="no checkpoint in any of the 1 runs"):
        run_folder.find_last(tmp_path, "coco")


def test_find_last_passes_over_a_run_that_broke_off(tmp_path):
    for run in ("coco20250101T0000", "coco20250102T0000"):
        (tmp_path / run).mkdir()
    checkpoint = tmp_path / "coco20250101T0000" / "mask_rcnn_coco_0003.h5"
    checkpoint.touch()
    assert run_folder.find_last(tmp_path, "coco") == str(checkpoint)
