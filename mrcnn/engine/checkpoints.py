"""What a run leaves on disk: checkpoints with their settings, and the state from which it resumes exactly.

A checkpoint holds weights by layer name, for any program. The state, one file in the run folder, holds every variable
of the network and of its optimizer, and the place in the data. Nothing else is needed: which images a step gets, and
how they are augmented, is a function of seed, epoch and step. Both files are written under a temporary name, synced and
renamed.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import h5py
import keras
import numpy as np

from mrcnn.backend.keras_private import sync_variables
from mrcnn.config import Config
from mrcnn.errors import InputError
from mrcnn.files import written_whole
from mrcnn.modeling import weights
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


def read_config(path: str | os.PathLike) -> dict | None:
    """Return the settings that a checkpoint was written with, or None for a file of another program.

    Raises:
        InputError: the file is missing, broken or of another format.
    """
    text = weights.read_attrs(path).get("mrcnn_config")
    return parse_json(str(text), str(path)) if text else None


def read_class_names(path: str | os.PathLike) -> list[str] | None:
    """Return the class names that a checkpoint was trained on, background first; None where it does not say.

    Raises:
        InputError: the file is missing, broken or of another format.
    """
    text = weights.read_attrs(path).get("class_names")
    return parse_json(str(text), str(path)) if text else None


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
        InputError: the file cannot be written.
    """
    sync_variables(network)
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(State)}
    del fields["path"], fields["exact"]
    with written_whole(state.path) as temporary, h5py.File(temporary, "w", locking=False) as file:
        file.attrs["state"] = json.dumps(fields)
        for group in GROUPS:
            for number, variable in enumerate(_variables(network, group)):
                file.create_dataset(f"{group}/{number:05d}", data=keras.ops.convert_to_numpy(variable))


def read_state(folder: str | os.PathLike) -> State | None:
    """Return the state in a run folder, or None if it has none.

    Raises:
        InputError: the file is no state.
    """
    path = pathlib.Path(folder) / STATE_FILE
    if not path.exists():
        return None
    try:
        with h5py.File(path, "r") as file:
            return State(path=path, **parse_json(file.attrs["state"], str(path)))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no state of a run ({error}); move it away and start from the newest checkpoint: --weights last"
        ) from error


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
        InputError: the file belongs to another network.
    """
    with h5py.File(state.path, "r") as file:
        for name in groups:
            variables = _variables(network, name)
            arrays = [file[name][key] for key in sorted(file[name])] if name in file else []
            if [tuple(a.shape) for a in arrays] != [tuple(v.shape) for v in variables]:
                raise InputError(
                    f"{state.path} does not fit the network ({name}: {len(arrays)} arrays for {len(variables)}, or of "
                    "other shapes): it was written with other settings; resume with the settings of the run"
                )
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(np.asarray(array))


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
