"""What a run leaves on disk: checkpoints with their settings, and the state from which it resumes exactly.

A checkpoint holds weights by layer name, for any program. The state, one file in the run folder, holds every variable
of the network and of its optimizer, and the place in the data. Nothing else is needed: which images a step gets, and
how they are augmented, is a function of seed, epoch and step. Both files carry a checksum and are written under a
temporary name, synced and renamed.
"""

import contextlib
import dataclasses
import json
import math
import os
import pathlib
import re
from collections.abc import Callable, Sequence
from typing import Any

import h5py
import keras
import numpy as np

from mrcnn.backend.keras_private import sync_variables
from mrcnn.config import Config
from mrcnn.errors import InputError, json_type
from mrcnn.foreign import any_file
from mrcnn.foreign.tensor_files import is_tensor_file
from mrcnn.modeling import hdf5, weights
from mrcnn.user_files import parse_json

STATE_FILE = "training.state"  # HDF5, but under a name that nobody takes for weights
# Groups of arrays in a state: the variables of the network; step and learning rate; the rest of the optimizer.
GROUPS = ("network", "clock", "moments")


def save_checkpoint(
    network: keras.Model,
    path: str | os.PathLike,
    config: Config,
    class_names: Sequence[str],
    epoch: int,
    dtype: str | None = None,
) -> None:
    """Write the weights with the class names and the settings, from which `read_config` makes the same model again.

    With EMA_MOMENTUM the file holds the moving averages in place of the trained weights.

    Args:
        network: the weights, by layer name.
        path: the .h5 file.
        config: stored whole.
        class_names: background first; an empty list is not stored.
        epoch: epochs that are done.
        dtype: of the stored weights, for example "float16"; None keeps theirs.

    Raises:
        InputError: the file cannot be written.
    """
    attrs: dict[str, object] = {"mrcnn_config": json.dumps(config.to_dict()), "epoch": epoch}
    if class_names:
        attrs["class_names"] = json.dumps(list(class_names))
    raw = take_averages(network)
    try:
        weights.save_weights(network, path, dtype=dtype, attrs=attrs)
    finally:
        for variable, value in raw:
            variable.assign(value)


def take_averages(network: keras.Model) -> list[tuple[keras.Variable, np.ndarray]]:
    """Replace the trained weights by their moving averages; without averages nothing changes.

    Returns:
        The weights and the values that they had, of the same shape and type; [] without averages.
    """
    sync_variables(network)
    averages = averages_of(network)
    raw = [(variable, keras.ops.convert_to_numpy(variable)) for variable, _ in averages]
    for variable, average in averages:  # a copy: JAX refuses a step whose variables share a buffer
        variable.assign(np.array(keras.ops.convert_to_numpy(average)))
    return raw


def averages_of(network: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """Return (variable, its moving average) of the weights that train; [] without averages."""
    optimizer: Any = getattr(network, "optimizer", None)
    averages = optimizer.averages() if hasattr(optimizer, "averages") else []
    return list(zip(network.trainable_variables, averages, strict=True)) if averages else []


def read_config(path: str | os.PathLike) -> dict[str, Any] | None:
    """Return the settings that a checkpoint was written with, those of another project's preset and shapes, or None
    for a file that does not say.

    Raises:
        InputError: the file is missing, broken or of another format.
    """
    if (foreign := any_file.settings_of(path)) is not None:
        return foreign
    settings = _json_attribute(path, "mrcnn_config")
    if settings is not None and not isinstance(settings, dict):
        raise InputError(f"{path} is damaged: its attribute mrcnn_config holds {json_type(settings)}, not settings")
    return settings


def read_class_names(path: str | os.PathLike) -> list[str] | None:
    """Return the class names that a checkpoint was trained on, background first; None where it does not say.

    Raises:
        InputError: the file is missing, broken or of another format.
    """
    if is_tensor_file(path):
        return any_file.class_names_of(path)
    names = _json_attribute(path, "class_names")
    if names is not None and not _is_texts(names):
        raise InputError(f"{path} is damaged: its attribute class_names is no list of names")
    return names


def _json_attribute(path: str | os.PathLike, name: str) -> Any:
    """Return the JSON value in an attribute of a weight file, None where it is absent or empty."""
    text = weights.read_attrs(path, [name]).get(name)
    if text is None or (isinstance(text, str) and not text):
        return None
    try:
        return _parsed(text, f"{path}, {name}")
    except InputError:
        raise
    except ValueError as error:
        raise InputError(f"{path} is damaged: its attribute {name} cannot be read ({error})") from error


def _parsed(text: object, name: str) -> Any:
    """Return the value of a JSON text. Raises ValueError for anything else."""
    if not isinstance(text, str):
        raise ValueError("it is no text")
    return parse_json(text, name)


def _is_texts(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


@dataclasses.dataclass(frozen=True)
class State:
    """Where a run stands, without its arrays.

    Attributes:
        path: the file.
        epoch: epochs that are done.
        step: steps of the next epoch that are done.
        first_epoch: epoch at which this stage began; its learning-rate schedule counts from there.
        stage: layers, learning rate and last epoch of the stage, and the settings of its schedule.
        trained: "layer/weight" of the weights that train, in the optimizer's order.
        optimizer: the settings of the optimizer that its variables belong to.
        data: `fingerprint` of the training data.
        class_names: background first.
        exact: whether training must resume exactly from this state. If False, only the optimizer moments are reused,
            and only if the optimizer settings and the trained weights match. Not stored.
    """

    path: pathlib.Path
    epoch: int
    step: int
    first_epoch: int
    stage: dict
    trained: list[str]
    optimizer: dict
    data: str
    class_names: list[str]
    exact: bool = False

    def has_optimizer_of(self, other: "State") -> bool:
        """Whether both have the same kind of optimizer for the same weights, so that moments carry over."""
        return (self.optimizer, self.trained) == (other.optimizer, other.trained)


def save_state(network: keras.Model, state: State) -> None:
    """Write a state with the present variables of the network and its optimizer.

    Raises:
        InputError: the file cannot be written, or a variable is not finite; the state of before is kept.
    """
    sync_variables(network)
    when = f" after step {state.step} of epoch {state.epoch + 1}"
    with hdf5.written(state.path) as file:
        file.attrs["state"] = json.dumps(_stored_fields(state))
        for group in GROUPS:
            for number, variable in enumerate(_variables(network, group)):
                value = weights.finite_values(variable, state.path, when)
                file.create_dataset(f"{group}/{number:05d}", data=value)


def read_state(folder: str | os.PathLike) -> State | None:
    """Return the state in a run folder, or None if it has none.

    Raises:
        InputError: the file is no state.
    """
    path = pathlib.Path(folder) / STATE_FILE
    if not path.exists():
        return None
    with _opened_state(path) as file:
        return _read_fields(file, path)


def _opened_state(path: pathlib.Path) -> contextlib.AbstractContextManager[h5py.File]:
    advice = "move it away and start from the newest checkpoint: --weights last"
    return hdf5.opened(path, f"{path} is no state of a run", advice)


def _stored_fields(state: State) -> dict[str, Any]:
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(State)}
    del fields["path"], fields["exact"]
    return fields


def _read_fields(file: h5py.File, path: pathlib.Path) -> State:
    """Return the state that a file of HDF5 holds. Raises ValueError if its fields are not those of a state."""
    fields = _parsed(hdf5.attribute(file, "state"), f"{path}, state")
    if not isinstance(fields, dict) or fields.keys() != FIELDS.keys():
        raise ValueError(f"its attribute state must have {', '.join(FIELDS)}")
    wrong = [name for name, fits in FIELDS.items() if not fits(fields[name])]
    if wrong:
        raise ValueError(f"{', '.join(wrong)} in its attribute state cannot be")
    return State(path=path, **fields)


def _is_count(value: object) -> bool:
    return type(value) is int and 0 <= value < 10**9


def _is_stage(value: object) -> bool:
    """Return whether a value has what a stage has; other fields are compared with those of the planned stage."""
    return isinstance(value, dict) and isinstance(value.get("layers"), str) and _is_count(value.get("epochs"))


# What a state stores -> whether a value can be one
FIELDS: dict[str, Callable[[object], bool]] = {
    "epoch": _is_count,
    "step": _is_count,
    "first_epoch": _is_count,
    "stage": _is_stage,
    "trained": _is_texts,
    "optimizer": lambda value: isinstance(value, dict),
    "data": lambda value: isinstance(value, str),
    "class_names": _is_texts,
}


def state_of(checkpoint: str | os.PathLike, epoch: int) -> State | None:
    """Return the state beside a checkpoint if it was written after the same epoch, else None.

    Raises:
        InputError: the file beside it is no state.
    """
    state = read_state(pathlib.Path(checkpoint).parent)
    return state if state is not None and (state.epoch, state.step) == (epoch, 0) else None


def restore(network: keras.Model, state: State, groups: Sequence[str] = GROUPS) -> None:
    """Give the variables of the network, and of its optimizer, the values of a state.

    Args:
        network: compiled, of the same architecture and with the same trainable layers as when it was written.
        state: of `read_state`.
        groups: of GROUPS, those to restore.

    Raises:
        InputError: the file belongs to another network, is damaged, or was written again after `state` was read; no
            variable has changed then.
    """
    with _opened_state(state.path) as file:
        if _read_fields(file, state.path) != dataclasses.replace(state, exact=False):
            raise InputError(
                f"{state.path} was written again after it was read: another training went on with this run. Resume "
                "again, or load its newest checkpoint"
            )
        arrays = {name: _read_variables(file, name, _variables(network, name), state.path) for name in groups}
    for name, found in arrays.items():
        for variable, value in zip(_variables(network, name), found, strict=True):
            variable.assign(value)


def _read_variables(
    file: h5py.File, group: str, variables: Sequence[keras.Variable], path: pathlib.Path
) -> list[np.ndarray]:
    """Return the values for the variables of a group, in their types. Raises InputError if any does not fit."""
    found = hdf5.find(file, group)
    count = len(found) if isinstance(found, h5py.Group) else 0
    arrays = [hdf5.find(file, f"{group}/{number:05d}") for number in range(count if count <= len(variables) else 0)]
    shapes = [tuple(array.shape) for array in arrays if isinstance(array, h5py.Dataset)]
    if shapes != [tuple(variable.shape) for variable in variables]:
        raise InputError(
            f"{path} does not fit the network ({group}: {len(shapes)} arrays for {len(variables)}, or of "
            "other shapes): it was written with other settings; resume with the settings of the run"
        )
    values = []
    for variable, array in zip(variables, arrays, strict=True):
        try:
            values.append(hdf5.values(array, keras.backend.standardize_dtype(variable.dtype)))
        except ValueError as error:
            raise ValueError(f"{variable.path}: {error}") from error
    return values


def bytes_of_files(network: keras.Model) -> int:
    """Return about how many bytes one checkpoint and one state of a compiled network take together."""
    variables = [*network.weights, *(variable for group in GROUPS for variable in _variables(network, group))]
    return sum(math.prod(variable.shape) * _itemsize(variable.dtype) for variable in variables)


def _itemsize(dtype: str) -> int:
    """Return the bytes of a number: 4 of "float32"; 8 where the name does not say."""
    digits = re.search(r"\d+", dtype)
    return -(-int(digits[0]) // 8) if digits else 8


def moments(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """Return the variables of an optimizer that belong to weights: momentum, averages, accumulated gradients."""
    return [variable for variable in optimizer.variables if variable.name not in ("iteration", "learning_rate")]


def _variables(network: keras.Model, group: str) -> list[keras.Variable]:
    if group == "network":
        return network.variables
    of_weights = moments(network.optimizer)
    if group == "moments":
        return of_weights
    known = {id(variable) for variable in of_weights}
    return [variable for variable in network.optimizer.variables if id(variable) not in known]
