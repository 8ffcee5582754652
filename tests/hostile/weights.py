"""Weight files that are damaged, made to read other files, or hold what is no weight."""

import functools
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import h5py
import keras
import numpy as np
from keras import layers as L

from mrcnn.engine.checkpoints import read_class_names, read_config
from mrcnn.errors import InputError
from mrcnn.modeling import weights
from tests.hostile.cases import Case
from tests.hostile.hdf5_changes import REFUSED, RIGHT, change_bytes

Arrays = dict[str, np.ndarray]  # "layer/weight" -> value
CONFIG: dict[str, Any] = {"NAME": "bdd", "STEPS_PER_EPOCH": 5, "MEAN_PIXEL": [1.5, 2.5, 3.5]}
CLASSES = ["BG", "car", "bus"]
# Texts of JSON in place of the settings -> the settings that are read; None: the file must be refused
CONFIG_TEXTS: tuple[tuple[Any, Any], ...] = (
    ("", None),
    ("[1, 2]", InputError),
    ('"text"', InputError),
    ("5", InputError),
    ("{", InputError),
    ("[" * 100_000, InputError),
    ('{"a": ' + "1" * 5000 + "}", InputError),
    ('{"a": "\\ud800"}', {"a": "\ufffd"}),  # half a character, which nothing could be written with
    ('{"NAME": null}', {"NAME": None}),
    (np.bytes_(b"\xff\xfe"), InputError),
    (5, InputError),
    (np.zeros(3), InputError),
    (h5py.Empty("f4"), InputError),
)


@functools.cache
def network() -> keras.Model:
    """Build a network with a nested model; all cases of a process share it."""
    image = keras.Input((8, 8, 3))
    x = L.BatchNormalization(name="bn_conv1")(L.Conv2D(4, 3, name="conv1")(image))
    inner = keras.Input((None, None, 4))
    rpn = keras.Model(inner, L.Conv2D(6, 1, name="rpn_class_raw")(inner), name="rpn_model")
    logits = L.Dense(3, name="mrcnn_class_logits")(L.GlobalAveragePooling2D()(x))
    return keras.Model(image, [rpn(x), logits], name="mask_rcnn")


def variables() -> dict[str, keras.Variable]:
    """Return "layer/weight" -> variable of `network`."""
    inner = [layer for outer in network().layers for layer in getattr(outer, "layers", [outer])]
    return {f"{layer.name}/{variable.name}": variable for layer in inner for variable in layer.weights}


def values() -> Arrays:
    """Return the present values of `network`."""
    return {name: np.array(keras.ops.convert_to_numpy(variable)) for name, variable in variables().items()}


def assign(arrays: Arrays) -> None:
    """Give `network` values."""
    for name, variable in variables().items():
        variable.assign(arrays[name])


def write(path: pathlib.Path, arrays: Arrays, whole_model: bool) -> None:
    """Write a file as Keras 2 did, without any code of this project."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole_model else file
        groups: dict[str, list[str]] = {"input_1": []}
        for name in arrays:
            layer = name.split("/")[0]
            groups.setdefault("rpn_model" if layer.startswith("rpn") else layer, []).append(name + ":0")
        root.attrs["layer_names"] = as_bytes(groups)
        file.attrs["backend"], file.attrs["keras_version"] = b"tensorflow", b"2.1.6"
        for group_name, names in groups.items():
            group = root.create_group(group_name)
            group.attrs["weight_names"] = as_bytes(names)
            for name in names:
                group[name] = arrays[name.removesuffix(":0")]


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Make a weight file and change its arrays, its names, its settings or its bytes."""
    stored = {name: rng.uniform(0.5, 1.5, value.shape).astype(np.float32) for name, value in values().items()}
    before = {name: rng.uniform(2, 3, value.shape).astype(np.float32) for name, value in values().items()}
    path = folder / "w.h5"
    kind = rng.choice(["bytes", "bytes of others", "arrays", "names", "settings"], p=[0.25, 0.1, 0.35, 0.2, 0.1])
    if kind in ("bytes", "settings"):
        assign(stored)
        attrs = {"mrcnn_config": json.dumps(CONFIG), "class_names": json.dumps(CLASSES), "epoch": 3}
        weights.save_weights(network(), path, attrs=attrs)
    else:
        write(path, stored, whole_model=rng.random() < 0.3)
    if kind == "settings":
        return settings_case(path, rng)
    expected: Arrays | None = stored
    if kind in ("bytes", "bytes of others"):
        what = change_bytes(path, rng)
    elif kind == "arrays":
        what, expected = change_arrays(path, stored, rng, folder)
    else:
        what, expected = change_names(path, stored, rng, folder)
    use = functools.partial(load, path, before)
    if kind == "bytes of others":  # nobody can tell numbers from others
        return Case(f"{kind}: {what}", use, lambda result: all(np.isfinite(v).all() for v in result[0].values()))
    return Case(f"{kind}: {what}", use, lambda result: expected is not None and right(result, before, expected))


def load(path: pathlib.Path, before: Arrays) -> tuple[Arrays, list[str], Any, Any]:
    """Load a file into the network, which must keep its values if the file is refused."""
    assign(before)
    try:
        report = weights.load_weights(network(), path)
        weights.layer_shapes(path)
        return values(), report.loaded, read_config(path), read_class_names(path)
    except InputError:
        after = values()
        changed = [name for name in before if not np.array_equal(after[name], before[name])]
        if changed and "report" not in locals():
            raise AssertionError(f"the file was refused, but {changed} were loaded") from None
        raise


def right(result: tuple[Arrays, list[str], Any, Any], before: Arrays, expected: Arrays) -> bool:
    """Tell whether each layer has the values of the file, or those of before where the file lacks it."""
    found, loaded, config, classes = result
    if config not in (None, CONFIG) or classes not in (None, CLASSES):
        return False
    for name, value in found.items():
        layer = name.split("/")[0]
        if (layer in loaded) != (name in expected):
            return False
        if not np.array_equal(value, expected[name] if layer in loaded else before[name]):
            return False
    return bool(loaded)


def as_bytes(names: Iterable[str]) -> np.ndarray:
    """Return names as Keras 2 stored them: bytes of one length."""
    listed = [name.encode() for name in names]
    return np.array(listed, dtype="S" if listed else "f8")


def root_of(file: h5py.File) -> h5py.Group:
    """Return the group with the layers."""
    return file.get("model_weights", file)


def change_arrays(
    path: pathlib.Path, stored: Arrays, rng: np.random.Generator, folder: pathlib.Path
) -> tuple[str, Arrays | None]:
    """Change one to three arrays; return how, and what must be found (None: the file must be refused)."""
    names = rng.permutation(list(stored))[: int(rng.integers(1, 4))].tolist()
    changes = REFUSED if rng.random() < 0.75 else RIGHT
    refused, told = False, []
    with h5py.File(path, "a") as file:
        for name in names:
            layer = name.split("/")[0]
            group = root_of(file)["rpn_model" if layer.startswith("rpn") else layer]
            if rng.random() < 0.1 and name.endswith("moving_variance"):
                group[name + ":0"][...] = -stored[name]
                refused = True
                continue
            change = changes[rng.integers(len(changes))]
            refused |= change(group, name + ":0", stored[name], rng, folder) is None
            told.append(f"{change.__name__} of {name}")
    return ", ".join(told), None if refused else stored


def change_names(
    path: pathlib.Path, stored: Arrays, rng: np.random.Generator, folder: pathlib.Path
) -> tuple[str, Arrays | None]:
    """Change the names of layers or weights."""
    kind = int(rng.integers(17))
    with h5py.File(path, "a") as file:
        root = root_of(file)
        group = root["conv1"]
        names = [name.decode() for name in root.attrs["layer_names"]]
        item, attribute = (root, "layer_names") if rng.random() < 0.5 else (group, "weight_names")
        present = [name.decode() for name in item.attrs[attribute]]
        if kind == 0:
            item.attrs.create(attribute, present, dtype=h5py.string_dtype())
            return "names as text", stored
        if kind == 1:
            del item.attrs[attribute]
            for number, name in enumerate(present):
                item.attrs[f"{attribute}{number}"] = as_bytes([name])
            return "names in parts", stored
        if kind == 2:
            file.create_group("optimizer_weights")["x"] = h5py.ExternalLink("/etc/passwd", "/")
            return "another group", stored
        if kind == 3:
            root.attrs["layer_names"] = as_bytes([*names, "vocabulary"])
            extra = root.create_group("vocabulary")
            extra.attrs["weight_names"] = as_bytes(["table"])
            extra.create_dataset("table", data=np.array(["\x1b[2J", "b"], object), dtype=h5py.string_dtype())
            return "a layer of text that the network lacks", stored
        if kind == 4:
            root.attrs["layer_names"] = as_bytes(name for name in names if name != "conv1")
            return "a layer less", {name: value for name, value in stored.items() if not name.startswith("conv1")}
        if kind == 5:
            root.attrs["layer_names"] = as_bytes([*names, "\x1b[2Jnothing"])
            return "a layer that is not there", None
        if kind == 6:
            item.attrs[attribute] = as_bytes([*present, present[0]])
            return f"{attribute} twice", None
        if kind == 7:
            item.attrs[attribute] = rng.integers(9, size=4)
            return f"{attribute} are numbers", None
        if kind == 8:
            item.attrs[attribute] = "conv1"
            return f"{attribute} is one text", None
        if kind == 9:
            item.attrs[attribute] = np.array([b"\xff\xfe", *as_bytes(present)])
            return f"{attribute} are no UTF-8", None
        if kind == 10:
            item.attrs[attribute] = np.array([present, present], "S")
            return f"{attribute} has two axes", None
        if kind == 11:
            item.attrs[attribute] = h5py.Empty("S4")
            return f"{attribute} is empty", None
        if kind == 12:
            escape = rng.choice(["..", "/conv1", ".", "", "conv1//x", "../conv1", "conv1/../bn_conv1"])
            item.attrs[attribute] = as_bytes([*present, str(escape)])
            return f"{attribute} has {escape!r}", None
        if kind == 13:
            del item.attrs[attribute]
            for number in range(13):
                item.attrs[f"{attribute}{number}"] = np.arange(number * 8000, (number + 1) * 8000).astype("S7")
            return "a hundred thousand names", None
        if kind == 14:
            item.attrs.create(attribute, np.full(3, file.ref, object), dtype=h5py.ref_dtype)
            return f"{attribute} are references", None
        if kind == 15:
            with h5py.File(folder / "secret.h5", "w") as secret:
                secret.copy(group, "conv1")
            del root["conv1"]
            root["conv1"] = h5py.ExternalLink(str(folder / "secret.h5"), "/conv1")
            return "a layer in another file", None
        file.move(group.name, "/elsewhere")
        root["conv1"] = h5py.SoftLink("/elsewhere")
        return "a layer behind a soft link", None


def settings_case(path: pathlib.Path, rng: np.random.Generator) -> Case:
    """Change the stored settings or class names."""
    value, expected = CONFIG_TEXTS[rng.integers(len(CONFIG_TEXTS))]
    name = rng.choice(["mrcnn_config", "class_names"])
    if name == "class_names":  # none of the texts above is a list of names
        expected = None if expected is None else InputError
    with h5py.File(path, "a") as file:
        file.attrs[name] = value
    read = read_config if name == "mrcnn_config" else read_class_names
    return Case(f"{name} = {str(value)[:50]!r}", lambda: read(path), lambda found: found == expected)
