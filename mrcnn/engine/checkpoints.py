"""What a run leaves on the disk: checkpoints with their settings, and the state from which it goes on exactly.

A checkpoint holds weights by layer name, for any program. The state, one file in the run folder, holds every variable
of the network and of its optimizer and the place in the data. That is all there is: which images a step gets, and how
they are changed, is a function of seed, epoch and step. Both are written to a temporary name, synced and renamed.
"""

import dataclasses
import json
import logging
import os
import pathlib
import typing
from collections.abc import Sequence
from typing import Any

import h5py
import keras
import numpy as np

from mrcnn.errors import InputError
from mrcnn.files import written_whole
from mrcnn.modeling import weights

if typing.TYPE_CHECKING:
    from mrcnn.model import MaskRCNN


log = logging.getLogger(__name__)

STATE_FILE = "training.state"  # HDF5, but not for those who look for weights by their ending
# of the arrays of a state: all variables of the network; the step and the learning rate; the rest of the optimizer
GROUPS = ("network", "clock", "moments")


def save_checkpoint(model: "MaskRCNN", path: str | os.PathLike, epoch: int, dtype: str | None = None) -> None:
    """Write the weights with the class names and the settings, from which `read_config` makes the same model again.

    With EMA_MOMENTUM the file has the moving averages in place of the trained weights.

    Raises:
        InputError: the file cannot be written.
    """
    attrs: dict[str, object] = {"mrcnn_config": json.dumps(model.config.to_dict()), "epoch": epoch}
    if model.class_names:
        attrs["class_names"] = json.dumps(model.class_names)
    network = model.keras_model
    raw = take_averages(network)
    try:
        weights.save_weights(network, path, dtype=dtype, attrs=attrs)
    finally:
        for variable, value in raw:
            variable.assign(value)


def take_averages(network: keras.Model) -> list[tuple[keras.Variable, np.ndarray]]:
    """Put the moving averages in place of the trained weights; without averages nothing changes.

    Returns:
        The weights and the values that they had, of the same shape and type; [] without averages.
    """
    sync(network)
    averages = averages_of(network)
    raw = [(variable, keras.ops.convert_to_numpy(variable)) for variable, _ in averages]
    for variable, average in averages:  # a copy: JAX refuses a step whose variables share a buffer
        variable.assign(np.array(keras.ops.convert_to_numpy(average)))
    return raw


def averages_of(network: keras.Model) -> list[tuple[keras.Variable, keras.Variable]]:
    """(variable, its moving average) of the weights that train; [] without averages."""
    optimizer: Any = getattr(network, "optimizer", None)
    averages = optimizer.averages() if hasattr(optimizer, "averages") else []
    return list(zip(network.trainable_variables, averages, strict=True)) if averages else []


def read_config(path: str | os.PathLike) -> dict | None:
    """The settings that a checkpoint was written with, or None for a file of another program.

    Raises:
        InputError: the file is missing, broken or of another format.
    """
    text = weights.read_attrs(path).get("mrcnn_config")
    return json.loads(str(text)) if text else None


def read_class_names(path: str | os.PathLike) -> list[str] | None:
    """The class names that a checkpoint was trained on, background first; None where it does not say.

    Raises:
        InputError: the file is missing, broken or of another format.
    """
    text = weights.read_attrs(path).get("class_names")
    return json.loads(str(text)) if text else None


@dataclasses.dataclass(frozen=True)
class State:
    """Where a run stands, without its arrays.

    Attributes:
        path: the file.
        epoch: epochs that are done.
        step: steps of the next epoch that are done.
        first_epoch: epoch at which this stage began; its learning-rate schedule counts from there.
        stage: layers, learning rate and last epoch of the stage.
        trained: "layer/weight" of the weights that train, in the optimizer's order.
        optimizer: the settings of the optimizer that its variables belong to.
        data: `fingerprint` of the training data.
        class_names: background first.
        binding: the run must go on from it exactly; otherwise it only lends its moments to a like optimizer.
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
    binding: bool = False


def save_state(network: keras.Model, state: State) -> None:
    """Write the state with the present variables of the network and its optimizer.

    Raises:
        InputError: the file cannot be written.
    """
    sync(network)
    fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(State)}
    del fields["path"], fields["binding"]
    with written_whole(state.path) as temporary, h5py.File(temporary, "w") as file:
        file.attrs["state"] = json.dumps(fields)
        for group in GROUPS:
            for number, variable in enumerate(_variables(network, group)):
                file.create_dataset(f"{group}/{number:05d}", data=keras.ops.convert_to_numpy(variable))


def read_state(folder: str | os.PathLike) -> State | None:
    """The state in a run folder, or None if it has none.

    Raises:
        InputError: the file is no state.
    """
    path = pathlib.Path(folder) / STATE_FILE
    if not path.exists():
        return None
    try:
        with h5py.File(path, "r") as file:
            return State(path=path, **json.loads(file.attrs["state"]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no state of a run ({error}); move it away and start from the newest checkpoint: --weights last"
        ) from error


def state_of(checkpoint: str | os.PathLike, epoch: int) -> State | None:
    """The state beside a checkpoint if it was written with it, after the same epoch. Raises as `read_state` does."""
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
                    "other shapes): it was written with other settings; go on with the settings of the run"
                )
            for variable, array in zip(variables, arrays, strict=True):
                variable.assign(np.asarray(array))


def moments(optimizer: keras.optimizers.Optimizer) -> list[keras.Variable]:
    """The variables of an optimizer that belong to weights: momentum, averages, accumulated gradients."""
    return [variable for variable in optimizer.variables if variable.name not in ("iteration", "learning_rate")]


def _variables(network: keras.Model, group: str) -> list[keras.Variable]:
    if group == "network":
        return network.variables
    of_weights = moments(network.optimizer)
    if group == "moments":
        return of_weights
    known = {id(variable) for variable in of_weights}
    return [variable for variable in network.optimizer.variables if id(variable) not in known]


def sync(network: keras.Model) -> None:
    """Bring the variables up to date: on JAX they lag behind while `fit` runs."""
    if hasattr(network, "jax_state_sync"):
        network.jax_state_sync()
