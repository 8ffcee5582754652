"""Read and write weights by layer name, in the .h5 layout that every Matterport fork uses.

The layout is that of Keras 2. The root has the attributes `layer_names`, `backend` and `keras_version`; each layer of
the model has a group with the attribute `weight_names`, which holds its arrays under those full names
(/conv1/conv1/kernel:0). A nested model (rpn_model) is one group with the arrays of its layers; a TimeDistributed layer
has its own name. Reading matches leaf layers by name and the arrays of one layer by order, so nested and flat files and
the spellings of Keras 1, 2 and 3 all load.
"""

import contextlib
import dataclasses
import logging
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

import h5py
import keras
import numpy as np

from mrcnn.errors import InputError
from mrcnn.modeling import hdf5
from mrcnn.text import one_line

logger = logging.getLogger(__name__)

# The layers whose shape depends on NUM_CLASSES -> entries per class in their last axis.
CLASS_LAYERS = {"mrcnn_class_logits": 1, "mrcnn_bbox_fc": 4, "mrcnn_mask": 1}

FLOAT16_MAX = float(np.finfo(np.float16).max)
MOST_LISTED = 12  # names in one message
Shapes = list[tuple[int, ...]]


# ---------------------------------------------------------------------------------------------------------------------
# Writing and reading


def save_weights(
    model: keras.Model, path: str | os.PathLike, dtype: str | None = None, attrs: Mapping[str, object] | None = None
) -> None:
    """Write all weights of a model by layer name. The file appears only once it is complete.

    Args:
        model: any Keras model; for a MaskRCNN its `keras_model`.
        path: the .h5 file to write; its folder must exist.
        dtype: None keeps each variable's type. "float16" halves the file: arrays with two or more axes (kernels) are
            stored as float16; vectors (biases, BatchNorm) and arrays beyond float16's range keep their type.
        attrs: additional root attributes, such as class names; `read_attrs` returns them.

    Raises:
        InputError: the folder does not exist, `dtype` is not supported, or a weight is not finite.
    """
    path = pathlib.Path(path)
    if dtype not in (None, "float16"):
        raise InputError(f"save_weights: dtype {dtype!r} is not supported; use None or 'float16'")
    if not path.parent.is_dir():
        raise InputError(f"cannot write weights to {path}: the folder {path.parent} does not exist; create it first")
    layers = {
        layer.name: {name: _storable(finite_values(variable, path), dtype) for name, variable in _named_weights(layer)}
        for layer in model.layers
    }
    write_layers(path, layers, attrs)


def write_layers(
    path: pathlib.Path, layers: Mapping[str, Mapping[str, np.ndarray]], attrs: Mapping[str, object] | None = None
) -> None:
    """Write arrays in the layout of this module. The file appears only once it is complete.

    Args:
        path: the file to write.
        layers: layer name -> {"conv1/kernel:0": array of any shape}.
        attrs: additional root attributes.

    Raises:
        InputError: the file cannot be written.
    """
    with hdf5.written(path) as file:
        file.attrs["layer_names"] = _bytes_array(list(layers))
        # Keras stores TensorFlow's array layout on every backend; Keras 2 would flip kernels for any other name.
        file.attrs["backend"] = np.bytes_("tensorflow")
        file.attrs["keras_version"] = np.bytes_(keras.__version__)
        for key, value in (attrs or {}).items():
            file.attrs[key] = value
        for layer, named in layers.items():
            group = file.create_group(layer)
            group.attrs["weight_names"] = _bytes_array(list(named))
            for name, value in named.items():
                group.create_dataset(name, data=value)


@dataclasses.dataclass
class LoadReport:
    """The result of `load_weights`, by names of leaf layers (layers inside rpn_model have their own names).

    Attributes:
        path: the file.
        loaded: layers that now hold the file's values.
        skipped: layers of the file that were not used, because the model has no such layer or it was excluded.
        missing: layers of the model that the file lacks; they keep their values.
        excluded: layers of the model that the caller excluded; they keep their values.
        mismatched: those of `excluded` whose shapes differ: name -> (shapes in the file, shapes in the model).
    """

    path: pathlib.Path
    loaded: list[str]
    skipped: list[str]
    missing: list[str]
    excluded: list[str]
    mismatched: dict[str, tuple[Shapes, Shapes]]

    def __repr__(self) -> str:
        """Return one short line: load_weights is often the last line of a notebook's cell."""
        return f"<{self.summary().splitlines()[0]}, {len(self.skipped)} of the file not used>"

    @property
    def untouched(self) -> list[str]:
        """Layers of the model that got nothing from the file; random, unless another file was loaded before."""
        return self.missing + self.excluded

    def summary(self) -> str:
        """Summarise the load, one line per group of layers, with names."""
        lines = [f"{self.path.name}: {len(self.loaded)} of {len(self.loaded) + len(self.untouched)} layers loaded"]
        for title, names in (
            ("in the file but not used", self.skipped),
            ("not in the file, unchanged", self.missing),
            ("excluded, unchanged", self.excluded),
        ):
            if names:
                lines.append(f"  {title} ({len(names)}): {listed(names)}")
        for name, (in_file, in_model) in self.mismatched.items():
            lines.append(
                f"  excluded, shapes differ: {name} {_shapes_text(in_file)} in the file, "
                f"{_shapes_text(in_model)} in the model"
            )
        return "\n".join(lines)


def load_weights(model: keras.Model, path: str | os.PathLike, exclude: Iterable[str] | None = None) -> LoadReport:
    """Load weights by layer name: either every layer that model and file share is loaded, or none is.

    Args:
        model: any Keras model; for a MaskRCNN its `keras_model`.
        path: a by-name .h5 file: Matterport's, ours, one written by save_weights of tf.keras, or that of a whole model
            (`model_weights`).
        exclude: names of layers to skip; the name of a nested model (rpn_model) stands for all its layers.

    Returns:
        Which layers were loaded and which were not.

    Raises:
        InputError: the file is missing, damaged or in another format; a layer that is not excluded has another shape,
            or values that are no finite numbers; or no layer of the file belongs to the model.
    """
    path = pathlib.Path(path)
    targets = leaf_layers(model)
    excluded_names = expand_exclude(model, exclude)
    with _open_root(path) as root:
        sources = _read_layers(root, path, set(targets))
        fitting, mismatched = [], {}
        for name in (n for n in targets if n in sources):
            in_file = [tuple(d.shape) for d in sources[name]]
            in_model = [tuple(v.shape) for v in targets[name]]
            if in_file != in_model:
                mismatched[name] = (in_file, in_model)
            elif name not in excluded_names:
                fitting.append(name)
        unfit = {name: shapes for name, shapes in mismatched.items() if name not in excluded_names}
        if unfit:
            raise InputError(_explain_mismatch(path, unfit))
        if not fitting:
            raise InputError(
                f"no layer of {path} was loaded: the file has {listed(list(sources))}; the model has "
                f"{listed(list(targets))}; excluded: {listed(sorted(excluded_names)) or 'nothing'}. "
                "Is it a file of another architecture?"
            )
        values = {name: _values_for(targets[name], sources[name], name, path) for name in fitting}
    for name, arrays in values.items():
        for variable, value in zip(targets[name], arrays, strict=True):
            variable.assign(value)
    return LoadReport(
        path=path,
        loaded=fitting,
        skipped=[name for name in sources if name not in fitting],
        missing=[name for name in targets if name not in sources and name not in excluded_names],
        excluded=[name for name in targets if name in excluded_names],
        mismatched=mismatched,
    )


def random_layers(report: LoadReport, before: set[str] | None, warn: bool) -> set[str]:
    """Return the layers of a model that no file has given values yet.

    Args:
        report: of the last file.
        before: what this function returned for the previous file; None for a model's first file.
        warn: log a warning with their names, because detections made with them are random.
    """
    names = [name for name in report.untouched if before is None or name in before]
    if names and warn:
        logger.warning(
            "%s has no values for %d layers, which stay random: %s. Load a file that has them before detect()",
            report.path,
            len(names),
            listed(names),
        )
    return set(names)


def read_attrs(path: str | os.PathLike, names: Iterable[str] | None = None) -> dict[str, object]:
    """Return a weight file's root attributes: backend, keras_version and what `save_weights` added.

    Args:
        path: the file.
        names: which of them, if they are there; None: all but layer_names.

    Raises:
        InputError: the file is missing, damaged or in another format.
    """
    with _open_root(pathlib.Path(path)) as root:
        if names is None:
            names = [key for key in root.attrs if not key.startswith("layer_names")]
        return {key: hdf5.attribute(root, key) for key in names if key in root.attrs}


def layer_shapes(path: str | os.PathLike) -> dict[str, Shapes]:
    """Return leaf layer -> shapes of its arrays in a weight file, in the file's order, without reading the arrays.

    Raises:
        InputError: the file is missing, damaged or in another format.
    """
    path = pathlib.Path(path)
    with _open_root(path) as root:
        layers = _read_layers(root, path, set())
        return {name: [tuple(array.shape) for array in arrays] for name, arrays in layers.items()}


def read_layers(path: str | os.PathLike) -> dict[str, list[np.ndarray]]:
    """Return leaf layer -> its arrays of numbers, of any shape and type, in a weight file, in the file's order.

    Raises:
        InputError: the file is missing, damaged or in another format, or an array has values that are not finite.
    """
    path = pathlib.Path(path)
    with _open_root(path) as root:
        layers = _read_layers(root, path, set())
        return {name: [_values(array, None, name, path) for array in arrays] for name, arrays in layers.items()}


# ---------------------------------------------------------------------------------------------------------------------
# The model's side


def _named_weights(layer: keras.layers.Layer) -> list[tuple[str, keras.Variable]]:
    """List ("conv1/kernel:0", variable) in Keras' order: kernel, bias / gamma, beta, moving_mean, moving_variance."""
    if isinstance(layer, keras.Model):
        return [pair for inner in layer.layers for pair in _named_weights(inner)]
    named = [(f"{layer.name}/{variable.name}:0", variable) for variable in layer.weights]
    assert len(dict(named)) == len(named), f"layer {layer.name} has two weights of one name: {[n for n, _ in named]}"
    return named


def leaf_layers(model: keras.Model) -> dict[str, list[keras.Variable]]:
    """Return leaf layer name -> its variables, for the layers that have any."""
    leaves: dict[str, list[keras.Variable]] = {}
    for name, variable in _named_weights(model):
        leaves.setdefault(name.split("/")[0], []).append(variable)
    return leaves


def expand_exclude(model: keras.Model, exclude: Iterable[str] | None) -> set[str]:
    """Return the excluded leaf names; the name of a nested model becomes the names of its layers.

    Raises:
        InputError: `exclude` is a text instead of a list of names.
    """
    if isinstance(exclude, str):
        raise InputError(f"exclude must be a list of layer names, not the string {exclude!r}")
    names = set(exclude or ())
    for layer in model.layers:
        if isinstance(layer, keras.Model) and layer.name in names:
            names |= set(leaf_layers(layer))
    return names


def finite_values(variable: keras.Variable, path: pathlib.Path, when: str = "") -> np.ndarray:
    """Return the values of a variable that is to be written.

    Args:
        variable: of a network or an optimizer.
        path: the file, for the message.
        when: for the message: " after ...", or nothing.

    Returns:
        Array [...] of the variable's shape and type, bfloat16 as float32.

    Raises:
        InputError: they are not finite, so that nothing could load them.
    """
    value = keras.ops.convert_to_numpy(variable)
    value = value.astype(np.float32) if value.dtype.kind not in "fiub" else value  # HDF5 has no bfloat16
    if not np.isfinite(value).all():
        raise InputError(
            f"{path} was not written: {variable.path} has values that are not finite{when}, so the training has "
            "diverged. Lower LEARNING_RATE, and start from an earlier checkpoint"
        )
    return value


def _storable(value: np.ndarray, dtype: str | None) -> np.ndarray:
    if dtype is None or value.ndim < 2 or np.abs(value).max(initial=0) > FLOAT16_MAX:
        return value
    return value.astype(dtype)


# ---------------------------------------------------------------------------------------------------------------------
# The file's side


def _bytes_array(names: list[str]) -> np.ndarray:
    """Return names as fixed-length bytes, as Keras 2 wrote them: h5py 2 reads anything else as str, on which Keras
    fails.
    """
    return np.array([name.encode() for name in names], dtype="S" if names else "S1")


@contextlib.contextmanager
def _open_root(path: pathlib.Path) -> Iterator[h5py.Group]:
    """Open the group that carries layer_names: the file itself, or `model_weights` in the file of a whole model."""
    complaint = f"cannot read weights from {path}"
    advice = "give a .h5 file in Matterport's by-name layout, or download it again"
    if not path.is_file():
        raise InputError(f"weight file {path} does not exist" + (": it is a folder" if path.is_dir() else ""))
    with contextlib.suppress(OSError), path.open("rb") as start:  # where it cannot be opened, `opened` says why
        if start.read(2) == b"PK":
            raise InputError(f"{complaint}: it is a Keras 3 .keras archive; {advice}")
    with hdf5.opened(path, complaint, advice) as file:
        for root in (file, hdf5.find(file, "model_weights")):
            if isinstance(root, h5py.Group) and hdf5.names(root, "layer_names") is not None:
                yield root
                return
        raise InputError(
            f"{path} has no layer_names: it is not in Matterport's by-name layout (its groups: {listed(list(file))}). "
            "Keras 3 stores no layer names in a .weights.h5 file: load it with keras_model.load_weights in the program "
            "that wrote it, then save it with mrcnn.modeling.weights.save_weights"
        )


def _read_layers(root: h5py.Group, path: pathlib.Path, known: set[str]) -> dict[str, list[h5py.Dataset]]:
    """Return leaf layer name -> its datasets in the file's order. `known` are the model's leaf layers."""
    layers: dict[str, list[h5py.Dataset]] = {}
    for group_name in hdf5.names(root, "layer_names") or []:
        group, layer = hdf5.find(root, group_name), one_line(group_name)
        names = hdf5.names(group, "weight_names") if isinstance(group, h5py.Group) else None
        if names is None:
            raise InputError(f"{path} is damaged: layer {layer} is listed but has no weight_names")
        for name, owner in zip(names, _owners(group_name, names, known), strict=True):
            array = hdf5.find(group, name)
            if not isinstance(array, h5py.Dataset):
                raise InputError(f"{path} is damaged: layer {layer} lacks its array {one_line(name)}")
            layers.setdefault(owner, []).append(array)
    return layers


def _values_for(
    variables: list[keras.Variable], arrays: list[h5py.Dataset], layer: str, path: pathlib.Path
) -> list[np.ndarray]:
    """Return the values of a layer's arrays in the types of its variables; their shapes are known to be the same."""
    found = []
    for variable, array in zip(variables, arrays, strict=True):
        dtype = keras.backend.standardize_dtype(variable.dtype)
        value = _values(array, "float32" if "float" in dtype else dtype, layer, path)
        if variable.name == "moving_variance" and value.min(initial=0) < 0:
            raise InputError(
                f"{path} is damaged: layer {layer} has a moving variance below 0, from which detections become NaN; "
                "nothing was loaded"
            )
        found.append(value)
    return found


def _values(array: h5py.Dataset, dtype: str | None, layer: str, path: pathlib.Path) -> np.ndarray:
    """Return the values of an array; see `hdf5.values`. Raises InputError, which names the layer."""
    try:
        return hdf5.values(array, dtype)
    except ValueError as error:
        raise InputError(
            f"cannot read layer {one_line(layer)} of {path}, array {one_line(array.name)}: {error}; nothing was "
            "loaded. Download the file again, or take an earlier checkpoint"
        ) from error


def _owners(group_name: str, weight_names: list[str], known: set[str]) -> list[str]:
    """Return the leaf layer of each weight in a group: the group itself, or the inner layers of a nested model."""
    if group_name in known:
        return [group_name] * len(weight_names)
    owners = []
    for name in weight_names:
        scopes = name.split("/")
        owner = scopes[-2] if len(scopes) > 1 else group_name
        # TensorFlow 1 numbered the scopes of a second model in the same process: rpn_conv_shared_1/kernel:0.
        plain = re.sub(r"_\d+$", "", owner)
        owners.append(plain if owner not in known and plain in known else owner)
    nested = len(set(owners)) > 1 or not known.isdisjoint(owners)
    return owners if nested else [group_name] * len(weight_names)


def _explain_mismatch(path: pathlib.Path, unfit: dict[str, tuple[Shapes, Shapes]]) -> str:
    lines = [f"{path} does not fit the model; nothing was loaded:"]
    for name, (in_file, in_model) in list(unfit.items())[:MOST_LISTED]:
        lines.append(f"  {name}: {_shapes_text(in_file)} in the file, {_shapes_text(in_model)} in the model")
    if len(unfit) > MOST_LISTED:
        lines.append(f"  and {len(unfit) - MOST_LISTED} more layers")
    heads = [name for name in CLASS_LAYERS if name in unfit]
    if heads:
        theirs, ours = (_outputs(shapes) // CLASS_LAYERS[heads[0]] for shapes in unfit[heads[0]])
        if theirs != ours:
            lines.append(f"The file has {theirs} classes, the model has {ours}: exclude {', '.join(heads)}")
    if "rpn_class_raw" in unfit:
        theirs, ours = (_outputs(shapes) // 2 for shapes in unfit["rpn_class_raw"])
        if theirs != ours:
            lines.append(f"The file has {theirs} anchors per location, the model has {ours}: change RPN_ANCHOR_RATIOS")
    if set(unfit) - set(heads):
        names = ", ".join(map(repr, unfit))
        others = f", or exclude these layers: exclude=[{names}]" if len(unfit) <= MOST_LISTED else ""
        lines.append(f"Build the model with the configuration the file was trained with{others}")
    return "\n".join(lines)


def _outputs(shapes: Shapes) -> int:
    """Return the length of the last axis of a layer's last array; 0 without one."""
    return shapes[-1][-1] if shapes and shapes[-1] else 0


def _shapes_text(shapes: Shapes) -> str:
    return one_line(" + ".join("x".join(map(str, shape)) or "scalar" for shape in shapes) or "no arrays")


def listed(names: Sequence[str], limit: int = MOST_LISTED) -> str:
    """Return names for a message, at most `limit` of them."""
    shown = ", ".join(one_line(name, 60) for name in names[:limit])
    return shown + (f" and {len(names) - limit} more" if len(names) > limit else "")
