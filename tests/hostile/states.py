"""States and records of runs (training.state, run.json) that are damaged, forged or of another run."""

import argparse
import dataclasses
import functools
import json
import pathlib
from typing import Any

import h5py
import keras
import numpy as np

from bdd100k.training import record
from mrcnn.config import Config
from mrcnn.engine import checkpoints
from mrcnn.engine.checkpoints import State
from mrcnn.engine.stages import Stage
from mrcnn.engine.start import Start, choose_start, refuse_other_place
from mrcnn.errors import InputError
from tests.hostile.cases import Case
from tests.hostile.hdf5_changes import REFUSED, RIGHT, change_bytes

STAGE = {"layers": "heads", "learning_rate": 0.1, "epochs": 4, "STEPS_PER_EPOCH": 5}
STATE = State(
    path=pathlib.Path("training.state"),
    epoch=2,
    step=3,
    first_epoch=1,
    stage=STAGE,
    trained=["dense/kernel", "dense/bias"],
    optimizer={"OPTIMIZER": "adam"},
    data="fingerprint",
    class_names=["BG", "car"],
)
NONSENSE: tuple[Any, ...] = (
    -1,
    1.5,
    "1",
    None,
    [],
    {},
    [1],
    True,
    10**30,
    float("nan"),
    {"layers": 3},
    "\x1b[2J",
    [None],
)
STAGES = [Stage("heads", 0.1, 4), Stage("all", 0.01, 8)]
ARGUMENTS = {
    "data": "DIR",
    "config": "bdd100k",
    "limit": 5,
    "rectangles": False,
    "deterministic": True,
    "classes": None,
}


@functools.cache
def network() -> keras.Model:
    """Build and compile a network of two layers; all cases of a process share it."""
    image = keras.Input((3,))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Dense(4, name="dense")(image))
    made = keras.Model(image, x)
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build(made.trainable_variables)
    made.compile(optimizer=optimizer, loss="mse")
    return made


def variables() -> list[keras.Variable]:
    """Return all variables of network and optimizer."""
    return [*network().variables, *network().optimizer.variables]


def values() -> list[np.ndarray]:
    """Return their present values."""
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables()]


def drawn(rng: np.random.Generator) -> list[np.ndarray]:
    """Draw values for all variables."""
    return [rng.uniform(1, 90, value.shape).astype(value.dtype) for value in values()]


def assign(arrays: list[np.ndarray]) -> None:
    """Give the variables values."""
    for variable, value in zip(variables(), arrays, strict=True):
        variable.assign(value)


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Change a state's arrays, fields or bytes, or a record."""
    kind = rng.choice(["bytes", "arrays", "groups", "fields", "record", "bytes of a record"])
    if "record" in kind:
        return record_case(rng, folder, kind)
    stored, before = drawn(rng), drawn(rng)
    assign(stored)
    path = folder / checkpoints.STATE_FILE
    checkpoints.save_state(network(), dataclasses.replace(STATE, path=path))
    expected: State | None = dataclasses.replace(STATE, path=path)
    if kind == "bytes":
        what = change_bytes(path, rng)
    elif kind == "arrays":
        what, good = change_arrays(path, rng, folder)
        expected = expected if good else None
    elif kind == "groups":
        what, expected = change_groups(path, rng), None
    else:
        what, expected = change_fields(path, rng)

    def right(result: tuple[State, Start, list[np.ndarray]]) -> bool:
        state, start, found = result
        equal = all(np.array_equal(a, b) for a, b in zip(found, stored, strict=True))
        return expected is not None and state == expected and start is Start.CONTINUE and equal

    return Case(f"{kind}: {what}", functools.partial(resume, folder, before), right)


def resume(folder: pathlib.Path, before: list[np.ndarray]) -> tuple[State, Start, list[np.ndarray]]:
    """Read a state, decide how to go on and restore it; a state that is refused must not change a variable."""
    assign(before)
    try:
        state = checkpoints.read_state(folder)
        if state is None:
            raise InputError("there is no state")
        exact = dataclasses.replace(state, exact=True)
        start = choose_start(dataclasses.replace(STATE, path=state.path), exact, None)
        refuse_other_place(exact)
        checkpoints.restore(network(), exact)
    except InputError:
        if not all(np.array_equal(a, b) for a, b in zip(values(), before, strict=True)):
            raise AssertionError("the state was refused, but variables have changed") from None
        raise
    return state, start, values()


def change_arrays(path: pathlib.Path, rng: np.random.Generator, folder: pathlib.Path) -> tuple[str, bool]:
    """Change one or two arrays; return how, and whether the state is right all the same."""
    changes = REFUSED if rng.random() < 0.75 else RIGHT
    refused, told = False, []
    with h5py.File(path, "a") as file:
        names = [f"{group}/{key}" for group in checkpoints.GROUPS for key in file[group]]
        for name in rng.permutation(names)[: int(rng.integers(1, 3))].tolist():
            change, value = changes[rng.integers(len(changes))], file[name][()]
            if value.dtype.kind != "f" and change.__name__ == "other_float":
                continue
            refused |= change(file, name, np.asarray(value), rng, folder) is None
            told.append(f"{change.__name__} of {name}")
    return ", ".join(told), not refused


def change_groups(path: pathlib.Path, rng: np.random.Generator) -> str:
    """Change the groups of arrays, so that the state cannot be used."""
    with h5py.File(path, "a") as file:
        group = file[str(rng.choice(checkpoints.GROUPS))]
        keys = list(group)
        kind = int(rng.integers(6))
        if kind == 0:
            group[f"{len(keys):05d}"] = np.zeros(3, np.float32)
            return "an array more"
        if kind == 1:
            del group[keys[-1]]
            return "an array less"
        if kind == 2:
            group.move(keys[0], "first")
            return "another name"
        if kind == 3:
            name = group.name
            del file[name]
            file[name] = np.zeros(3)
            return "an array in place of a group"
        if kind == 4:
            name = group.name
            file.move(name, "/elsewhere")
            file[name] = h5py.SoftLink("/elsewhere")
            return "a group behind a link"
        del file.attrs["state"]
        return "no fields"


def change_fields(path: pathlib.Path, rng: np.random.Generator) -> tuple[str, State | None]:
    """Change the fields of the state; return how, and the state that must be read (None: it must be refused)."""
    fields = {field.name: getattr(STATE, field.name) for field in dataclasses.fields(State)}
    del fields["path"], fields["exact"]
    name, value = str(rng.choice(list(fields))), NONSENSE[rng.integers(len(NONSENSE))]
    kind = int(rng.integers(7))
    if kind == 0:
        del fields[name]
    elif kind == 1:
        fields[str(rng.choice(["exact", "path", "other"]))] = value
    elif kind == 2:
        fields["epoch"] = int(rng.integers(4, 99))  # after the end of the stage
    elif kind == 3:
        fields["step"] = int(rng.integers(5, 99))  # after the end of the epoch
    elif kind == 4:
        fields["epoch"], fields["step"] = int(rng.integers(1, 4)), int(rng.integers(0, 5))
    elif fields[name] != value:
        fields[name] = value
    text: Any = json.dumps(fields)
    if kind == 6:
        others = ("", "[]", "null", "{", "[" * 100_000, '{"epoch": ' + "9" * 5000 + "}", b"\xff", 5, np.zeros(2))
        text = others[rng.integers(len(others))]
    with h5py.File(path, "a") as file:
        file.attrs["state"] = np.bytes_(text) if isinstance(text, bytes) else text
    told = text[:300] if isinstance(text, str) else str(text)
    if kind == 4:
        return told, dataclasses.replace(STATE, path=path, epoch=fields["epoch"], step=fields["step"])
    return told, None


def record_case(rng: np.random.Generator, folder: pathlib.Path, kind: str) -> Case:
    """Change run.json."""
    record.write(folder, argparse.Namespace(**ARGUMENTS), Config(), STAGES)
    path = folder / record.RECORD
    entries = json.loads(path.read_text())
    config = entries["config"]
    must = False
    if kind != "record":
        what = change_bytes(path, rng)
    else:
        what, must = change_record(entries, rng)
        path.write_text(json.dumps(entries))

    def right(result: record.Record) -> bool:
        return not must and (result.arguments, result.config, result.stages) == (ARGUMENTS, config, STAGES)

    return Case(f"{kind}: {what}", lambda: record.read(folder), right)


def change_record(entries: dict[str, Any], rng: np.random.Generator) -> tuple[str, bool]:
    """Change entries of a record; return how, and whether it must be refused."""
    if rng.random() < 0.8:
        del entries[record.CHECKSUM]  # as the message advises after editing
    value = NONSENSE[rng.integers(len(NONSENSE))]
    kind = int(rng.integers(6))
    if kind == 0:
        name = str(rng.choice(["arguments", "config", "stages"]))
        entries[name] = value
        return f"{name} = {value!r}", True  # also empty, since `right` looks for what was written
    if kind == 1:
        name = str(rng.choice(["layers", "learning_rate", "epochs"]))
        entries["stages"][0][name] = (value := [-1, None, [], True][rng.integers(4)])
        return f"{name} of a stage = {value!r}", True
    if kind == 2:
        entries["stages"][0]["other"] = value
        return "a stage with another entry", True
    if kind == 3:
        name = str(rng.choice(["data", "config", "limit", "rectangles"]))
        entries["arguments"][name] = (value := [-1, [], {}, 1.5, "\0"][rng.integers(5)])
        return f"{name} = {value!r}", True
    if kind == 4:
        entries["config"]["IMAGES_PER_GPU"] = 3
        return "an edited setting", record.CHECKSUM in entries
    return "nothing", False
