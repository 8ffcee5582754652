"""Files of PyTorch, pickles and safetensors that are damaged, lie about their sizes, or would run code."""

import functools
import io
import pathlib
import pickle
import warnings
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

from mrcnn.foreign.tensor_files import TensorFile, is_tensor_file, read_tensor_file
from tests.foreign import writers
from tests.foreign.writers import Call, Name, Opcodes, Outside, numpy_array, ordered, pickled, tensor
from tests.hostile.cases import Case

Arrays = dict[str, np.ndarray]
TRUE_FILES = sorted((pathlib.Path(__file__).parents[1] / "foreign" / "files").glob("*_*.pth"))
LAYOUTS = ("zip", "legacy", "pickle", "safetensors")
NUMBERS = (
    -1,
    0,
    1,
    2,
    5,
    100,
    2**31 - 1,
    2**31,
    2**40,
    2**63 - 1,
    2**63,
    2**64,
    -(2**63),
    1.0,
    True,
    None,
    "3",
    (1,),
    [],
)
# What would run code, with the arguments for it: MARKER is a file that must never appear
PAYLOADS: tuple[tuple[str, str, tuple], ...] = (
    ("posix", "system", ("touch MARKER",)),
    ("os", "system", ("touch MARKER",)),
    ("os", "mkdir", ("MARKER",)),
    ("subprocess", "check_output", (["touch", "MARKER"],)),
    ("builtins", "eval", ("open('MARKER', 'w')",)),
    ("builtins", "exec", ("open('MARKER', 'w')",)),
    ("__builtin__", "eval", ("open('MARKER', 'w')",)),
    ("builtins", "open", ("MARKER", "w")),
    ("io", "open", ("MARKER", "w")),
    ("pathlib", "Path.touch", ("MARKER",)),
    ("importlib", "import_module", ("antigravity",)),
    ("operator", "attrgetter", ("system",)),
    ("functools", "partial", (print,)),
    ("torch", "load", ("MARKER",)),
    ("torch.hub", "load", ("MARKER",)),
    ("torch._utils", "_import_dotted_name", ("os.system",)),
    ("numpy", "load", ("MARKER",)),
    ("numpy", "save", ("MARKER", 1)),
    ("numpy.core.multiarray", "fromfile", ("MARKER",)),
    ("numpy.lib.npyio", "DataSource", ("MARKER",)),
    ("timeit", "timeit", ("open('MARKER', 'w')",)),
    ("runpy", "_run_code", ("open('MARKER', 'w')", {})),
    ("pickle", "loads", (b"cposix\nsystem\n(S'touch MARKER'\ntR.",)),
    ("mrcnn.files", "make_folder", ("MARKER",)),
    ("torchvision.models.resnet", "ResNet", ()),
)


def case(rng: np.random.Generator, folder: pathlib.Path) -> Case:
    """Make a file and change its bytes, opcodes, tensors, names, members or header."""
    makers = (bytes_case, opcodes_case, tensors_case, payload_case, members_case, header_case, numpy_case)
    maker = makers[rng.choice(len(makers), p=[0.2, 0.15, 0.2, 0.15, 0.1, 0.1, 0.1])]
    return maker(rng, folder / "w.bin")


def some_arrays(rng: np.random.Generator) -> Arrays:
    """Return arrays of a small network."""
    arrays = {f"layer{number}.weight": rng.uniform(-1, 1, rng.integers(1, 5, rng.integers(4))) for number in range(3)}
    return {name: np.asarray(value, np.float32) for name, value in arrays.items()} | {"count": np.array(7)}


def storages_of(arrays: Arrays) -> Arrays:
    """Return the arrays by the keys of their storages."""
    return {str(number): value for number, value in enumerate(arrays.values())}


def checkpoint(arrays: Arrays, stand: Callable[[np.ndarray, str], Any], beside: dict[str, Any]) -> dict[str, Any]:
    """Return what a training program pickles; `stand` makes what stands for an array."""
    weights = {name: stand(value, str(number)) for number, (name, value) in enumerate(arrays.items())}
    return {"state_dict": ordered(weights), "epoch": 3, **beside}


def file_of(layout: str, arrays: Arrays, **beside: Any) -> bytes:
    """Return a file of a layout; `beside` are more entries of the pickle."""
    if layout == "zip":
        return writers.torch_zip(checkpoint(arrays, tensor, beside), storages_of(arrays))
    if layout == "legacy":
        return writers.torch_legacy(checkpoint(arrays, tensor, beside), storages_of(arrays))
    if layout == "pickle":
        return pickled(checkpoint(arrays, lambda value, _: numpy_array(value), beside))
    kinds = {"f": "F32", "i": "I64"}
    return writers.safetensors({n: (kinds[v.dtype.kind], list(v.shape), v.tobytes()) for n, v in arrays.items()})


def use(path: pathlib.Path, content: bytes) -> Callable[[], TensorFile]:
    """Return a function that reads a file of this content, after which no payload may have run."""
    path.write_bytes(content)
    marker = path.with_name("MARKER")

    def load() -> TensorFile:
        is_tensor_file(path)
        try:
            return read_tensor_file(path)
        finally:
            assert not marker.exists(), "the payload ran"

    return load


def equals(expected: Arrays | None, found: TensorFile) -> bool:
    """Return whether a file has these arrays; None: it must be refused."""
    return (
        expected is not None
        and expected.keys() == found.tensors.keys()
        and all(map(same, expected.values(), found.tensors.values()))
    )


def same(a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether two arrays are the same in type, shape and values."""
    return a.dtype == b.dtype and a.shape == b.shape and np.array_equal(a, b)


def are_numbers(found: TensorFile) -> bool:
    """Return whether a file has finite numbers and plain values, which is all that can be told of changed bytes."""
    arrays = found.tensors.values()
    numbers = all(array.dtype.kind in "fiub" and np.isfinite(array).all() for array in arrays)
    return numbers and sum(array.nbytes for array in arrays) < 1 << 28 and plain(found.meta)


def plain(value: Any) -> bool:
    """Return whether a value is of the types that JSON has, with any keys of numbers and texts."""
    if isinstance(value, dict):
        return all(isinstance(key, str | int) and plain(item) for key, item in value.items())
    return all(map(plain, value)) if isinstance(value, list) else value is None or isinstance(value, str | int | float)


def changed_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Return content that is cut, or has bytes that are others, more or fewer."""
    at, count = int(rng.integers(len(content))), int(rng.integers(1, 9))
    kind = rng.integers(5)
    if kind == 0:
        return content[:at]
    if kind == 1:
        return content[:at] + rng.bytes(count) + content[at:]
    if kind == 2:
        return content[:at] + content[at + count :]
    changed = bytearray(content)
    for place in rng.integers(len(content), size=count if kind == 3 else 1):
        changed[place] = rng.choice([0, 255, 127, 128, rng.integers(256)])
    return bytes(changed)


def bytes_case(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Change the bytes of a file that PyTorch wrote, or of one of each layout."""
    arrays = some_arrays(rng)
    if rng.random() < 0.4:
        true_file = TRUE_FILES[rng.integers(len(TRUE_FILES))]
        return Case(f"bytes of {true_file.name}", use(path, changed_bytes(true_file.read_bytes(), rng)), are_numbers)
    layout = str(rng.choice(LAYOUTS))
    load = use(path, changed_bytes(file_of(layout, arrays), rng))
    if layout == "zip":  # its members have checksums
        return Case("bytes of zip", load, functools.partial(equals, arrays))
    return Case(f"bytes of {layout}", load, are_numbers)


def opcodes_case(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Change opcodes of a pickle in an archive whose checksums are right, or in a plain pickle."""
    arrays = some_arrays(rng)
    code = bytearray(pickled(checkpoint(arrays, tensor, {"list": [1, {"a": (2.0, None)}]})))
    named = [getattr(pickle, name) for name in pickle.__all__ if name.isupper()]
    everything = [opcode[0] for opcode in named if isinstance(opcode, bytes)]
    for place in rng.integers(len(code), size=rng.integers(1, 4)):
        if rng.random() < 0.5:
            code[place] = rng.choice(everything)
        else:
            code[place:place] = bytes([rng.choice(everything)]) + rng.bytes(int(rng.integers(9)))
    content = writers.torch_zip(None, storages_of(arrays), {"data.pkl": bytes(code)})
    return Case("opcodes", use(path, content), are_numbers)


def view_of(array: np.ndarray, offset: Any, size: Any, stride: Any) -> np.ndarray | None:
    """Return the view of a flat array, element by element; None if it is none."""
    if not isinstance(size, tuple) or not isinstance(stride, tuple) or len(size) != len(stride):
        return None
    numbers = (offset, *stride, *(number * 1000 if type(number) is int else None for number in size))
    if not all(type(number) is int and 0 <= number < 1 << 48 for number in numbers) or max(size, default=0) > 10_000:
        return None
    places = np.full(size, offset)
    for axis, step in enumerate(stride):
        places = places + np.expand_dims(np.arange(size[axis]) * step, tuple(range(1, len(size) - axis)))
    if places.size == 0:
        return np.zeros(size, array.dtype) if offset <= array.size else None
    return array.ravel()[places] if places.max() < array.size else None


def tensors_case(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Give a tensor another offset, size, stride or storage."""
    arrays = some_arrays(rng)
    victim = str(rng.choice([name for name in arrays if name != "count"]))
    value = arrays[victim]
    given: dict[str, Any] = {"offset": 0, "size": value.shape, "stride": tuple(step // 4 for step in value.strides)}
    field = str(rng.choice([*given, "axes", "storage"]))
    number = NUMBERS[rng.integers(len(NUMBERS))]
    if field == "offset":
        given["offset"] = number
    elif field == "axes":
        axes = int(rng.integers(4))
        given |= {name: tuple(rng.integers(0, 5, axes).tolist()) for name in ("size", "stride")}
    elif field == "storage":
        claim = rng.choice(["count", "kind", "key", "what"])
        wrong = {"count": number, "kind": Name("torch", "LongStorage"), "key": "nothing", "what": "module"}[claim]
        given = {"storage": writers.storage(value, "0", **{claim: wrong})} | given
    elif rng.random() < 0.3:
        given[field] = number
    else:
        axes = list(given[field]) or [1]
        axes[rng.integers(len(axes))] = number
        given[field] = tuple(axes)
    key = str(list(arrays).index(victim))
    stands = {name: tensor(array, str(n)) for n, (name, array) in enumerate(arrays.items())}
    expected: Arrays | None = None
    if field == "storage":
        given["storage"] = Outside(tuple(key if item == "0" else item for item in given["storage"].named))
        if given["storage"].named == writers.storage(value, key).named:
            expected = arrays
    elif (view := view_of(value, given["offset"], given["size"], given["stride"])) is not None:
        expected = arrays | {victim: view}
    stands[victim] = tensor(value, key, **given)
    write = writers.torch_zip if rng.random() < 0.5 else writers.torch_legacy
    content = write({"model": stands}, storages_of(arrays))
    return Case(f"{field} of a tensor: {given}", use(path, content), functools.partial(equals, expected))


def payload_case(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Put a call that would run code somewhere into the pickle."""
    arrays = some_arrays(rng)
    module, name, arguments = PAYLOADS[rng.integers(len(PAYLOADS))]
    marker = str(path.with_name("MARKER"))
    told = tuple(
        argument.replace("MARKER", marker) if isinstance(argument, str) else "x" if callable(argument) else argument
        for argument in arguments
    )
    function: Any = Name(module, name)
    if rng.random() < 0.5:
        function = Opcodes(writers.opcodes(module) + writers.opcodes(name) + pickle.STACK_GLOBAL)
    call = Call(function, told, opcode=pickle.REDUCE if rng.random() < 0.5 else pickle.NEWOBJ)
    state = Call(Name("argparse", "Namespace"), (), {"x": call})
    from_type = Call(Name("torch._tensor", "_rebuild_from_type_v2"), (function, function, told, {}))
    reduced = Call(Call(Name("builtins", "getattr"), (Name("torch", "Size"), "system")), told)
    inside = Call(Name("torch.storage", "_load_from_bytes"), (writers.torch_legacy(call, {}),))
    bad = (call, state, from_type, reduced, function, inside)[rng.integers(6)]
    layout = str(rng.choice(["zip", "legacy", "pickle"]))
    beside: dict[Any, Any] = {"optimizer": bad} if rng.random() < 0.7 else {"epoch": (1, [bad])}
    content = file_of(layout, arrays, **beside)
    return Case(f"{module}.{name} in {layout}", use(path, content), lambda _: False)


def members_case(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Change the members of an archive."""
    arrays = some_arrays(rng)
    with zipfile.ZipFile(io.BytesIO(file_of("zip", arrays))) as archive:
        members = [(name, archive.read(name)) for name in archive.namelist()]
    changes: tuple[tuple[str, Callable[[list], list], bool], ...] = (
        ("a member less", lambda all_: [item for item in all_ if item[0] != "archive/data/0"], False),
        ("no pickle", lambda all_: all_[1:], False),
        ("two pickles", lambda all_: [*all_, ("b/data.pkl", b"N.")], False),
        ("a member twice", lambda all_: [*all_, all_[-2]], False),
        (
            "a longer storage",
            lambda all_: [(n, c + b"\0\0\0\0" if n == "archive/data/0" else c) for n, c in all_],
            False,
        ),
        ("a shorter storage", lambda all_: [(n, c[:-1] if n == "archive/data/0" else c) for n, c in all_], False),
        ("a script", lambda all_: [*all_, ("archive/constants.pkl", b"N.")], False),
        ("big-endian", lambda all_: [(n, b"big" if n.endswith("byteorder") else c) for n, c in all_], False),
        ("another order", lambda all_: all_[::-1], True),
        ("another member", lambda all_: [*all_, ("archive/../../MARKER", b"x"), ("/etc/x", b"")], True),
        ("an unused storage", lambda all_: [*all_, ("archive/data/99", b"abc")], True),
        ("a bomb", lambda all_: [*all_, ("archive/data/99", bytes(50_000_000))], False),
    )
    what, change, fine = changes[rng.integers(len(changes))]
    bomb = what == "a bomb"
    method = zipfile.ZIP_DEFLATED if bomb or rng.random() < 0.3 else zipfile.ZIP_STORED
    buffer = io.BytesIO()
    with warnings.catch_warnings(action="ignore"), zipfile.ZipFile(buffer, "w", method) as archive:
        for name, content in change(members):
            archive.writestr(zipfile.ZipInfo(name), content, method)
    expected = arrays if fine else None
    return Case(f"members: {what}", use(path, buffer.getvalue()), functools.partial(equals, expected))


def header_case(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Change the header of a safetensors file."""
    arrays = some_arrays(rng)
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, value in arrays.items():
        kind = "F32" if value.dtype.kind == "f" else "I64"
        header[name] = {"dtype": kind, "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    victim = str(rng.choice(list(arrays)))
    entry = header[victim]
    before = repr(entry)
    number = NUMBERS[rng.integers(len(NUMBERS) - 2)]
    field = str(rng.choice(["dtype", "shape", "data_offsets", "__metadata__", "entry", "none"]))
    if field == "dtype":
        entry["dtype"] = rng.choice(["F64", "F32", "I64", "BF16", "F8_E5M2", "", "x" * 5000]).item()
    elif field == "__metadata__":
        header[field] = (number, [1], {"a": 1}, {"a": {"b": "c"}}, "x")[rng.integers(5)]
    elif field == "entry":
        entry["more"] = number
    elif field != "none":
        listed = entry[field] or [1]
        listed[rng.integers(len(listed))] = number
        entry[field] = listed
    refused = field in ("__metadata__", "entry") or (repr(entry) != before)
    content = writers.safetensors_file(header, b"".join(value.tobytes() for value in arrays.values()))
    expected = None if refused else arrays
    if field == "dtype" and (arrays[victim].dtype.kind, entry["dtype"]) == ("i", "F64"):
        expected = arrays | {victim: arrays[victim].view(np.float64)}  # nobody can tell
    if field == "shape" and entry["shape"] == [1] and type(number) is int and not arrays[victim].shape:
        expected = arrays | {victim: arrays[victim].reshape(1)}  # a number has become an axis of one
    return Case(f"header: {field}: {entry}"[:300], use(path, content), functools.partial(equals, expected))


def numpy_case(rng: np.random.Generator, path: pathlib.Path) -> Case:
    """Change the state of a numpy array in a pickle, or its values."""
    arrays = some_arrays(rng)
    victim = str(rng.choice(list(arrays)))
    value = arrays[victim]
    number = NUMBERS[rng.integers(len(NUMBERS))]
    fields = {
        "shape": (*value.shape[:-1], number),
        "content": value.tobytes() + b"\0" * int(rng.integers(1, 9)),
        "kind": (number, Call(Name("numpy", "dtype"), (str(rng.choice(["O8", "c8", "V4", "S1", "f99", ""])), 0, 1)))[
            rng.integers(2)
        ],
        "values": None,
        "fortran": True,
    }
    field = str(rng.choice(list(fields)))
    expected: Arrays | None = None
    stands = {name: numpy_array(array) for name, array in arrays.items()}
    if field == "values":
        bad = np.full(value.shape, [np.nan, np.inf, -np.inf][rng.integers(3)], np.float32)
        stands[victim] = numpy_array(bad)
    elif field == "fortran":
        stands[victim] = numpy_array(value, fortran=True, content=value.tobytes(order="F"))
        expected = arrays
    else:
        stands[victim] = numpy_array(value, **{field: fields[field]})
        if field == "shape" and type(number) is int and fields["shape"] == (value.shape or (1,)):
            expected = arrays | {victim: value.reshape(fields["shape"])}
    return Case(
        f"numpy: {field} {fields[field]!r}"[:300],
        use(path, pickled({"model": stands})),
        functools.partial(equals, expected),
    )
