"""Reads foreign files made by hand: each format, odd tensors, and what must be refused."""

import pickle
import struct
import zipfile

import h5py
import keras
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.foreign.tensor_files import TensorFile, is_tensor_file, read_tensor_file
from tests.foreign import writers
from tests.foreign.writers import Call, Name, Opcodes, Outside, numpy_array, pickled, tensor, torch_legacy, torch_zip

VALUES = np.arange(24, dtype=np.float32).reshape(4, 6)


@pytest.fixture
def read(tmp_path):
    """Return a function that writes bytes to a file and reads it."""

    def written(content: bytes) -> TensorFile:
        path = tmp_path / "w.bin"
        path.write_bytes(content)
        return read_tensor_file(path)

    return written


def equal(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> bool:
    return list(found) == list(expected) and all(
        found[name].dtype == value.dtype and found[name].shape == value.shape and np.array_equal(found[name], value)
        for name, value in expected.items()
    )


# ---------------------------------------------------------------------------------------------------------------------
# Formats


def test_both_formats_of_pytorch(read):
    saved = writers.ordered({"a": tensor(VALUES, "0"), "n": tensor(np.array(5), "1")})
    storages = {"0": VALUES, "1": np.array(5)}
    for content in (torch_zip(saved, storages), torch_legacy(saved, storages)):
        found = read(content)
        assert found.kind == "torch" and equal(found.tensors, {"a": VALUES, "n": np.array(5)})


def test_views_are_those_of_numpy(read):
    views = {
        "transposed": (VALUES.T, 0),
        "column": (VALUES[:, 2], 2),
        "steps": (VALUES[1:, ::3], 6),
        "expanded": (np.broadcast_to(VALUES[2], (3, 6)), 12),
        "empty": (VALUES[:0], 24),
        "scalar": (VALUES[3, 5], 23),
    }
    saved = {
        name: tensor(VALUES, "0", offset=offset, size=view.shape, stride=tuple(step // 4 for step in view.strides))
        for name, (view, offset) in views.items()
    }
    assert equal(read(torch_zip(saved, {"0": VALUES})).tensors, {name: view for name, (view, _) in views.items()})


def test_views_of_one_storage_share_its_memory(read):
    saved = {str(row): tensor(VALUES, "0", offset=6 * row, size=(6,), stride=(1,)) for row in range(4)}
    for content in (torch_zip(saved, {"0": VALUES}), torch_legacy(saved, {"0": VALUES})):
        found = read(content).tensors
        assert equal(found, {str(row): VALUES[row] for row in range(4)})
        addresses = [array.__array_interface__["data"][0] for array in found.values()]
        assert np.diff(addresses).tolist() == [24, 24, 24]


def test_compressed_archives_are_read(read, tmp_path):
    with zipfile.ZipFile(tmp_path / "c.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("any/name/data.pkl", pickled({"a": tensor(VALUES, "k")}))
        archive.writestr("any/name/data/k", VALUES.tobytes())
    assert equal(read_tensor_file(tmp_path / "c.pth").tensors, {"a": VALUES})


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_arrays_in_every_protocol(read, protocol):
    arrays = {
        "f": np.asfortranarray(VALUES),
        "view": VALUES[::2, 1:3],
        "big": np.arange(3, dtype=">f4"),
        "half": np.array([0.5, -2], np.float16),
        "count": np.array(7),
        "scalar": np.array(2, np.float32),
        "double": np.arange(3.0),
        "flag": np.array([True, False]),
        "none": np.zeros((0, 4), np.float32),
    }
    saved = {"model": arrays, "__author__": "an author", "iteration": np.int64(9), "kept": {"x", "y"}, "raw": b"ab\xff"}
    found = read(pickle.dumps(saved, protocol))
    wanted = {name: value.astype(value.dtype.newbyteorder("=")) for name, value in arrays.items()}
    assert equal(found.tensors, wanted | {"half": np.array([0.5, -2], np.float32)}) and found.kind == "pickle"
    assert all(array.flags.c_contiguous for array in found.tensors.values())
    assert found.meta["__author__"] == "an author" and found.meta["iteration"] == 9
    assert sorted(found.meta["kept"]) == ["x", "y"]


def test_pickles_of_python_2(read):
    saved = {
        b"model": {b"conv_w": numpy_array(VALUES), b"n": numpy_array(np.array([3], np.int8))},
        b"__author__": b"\xe9",
    }
    found = read(pickled(saved))  # protocol 2, whose strings are bytes
    assert equal(found.tensors, {"conv_w": VALUES, "n": np.array([3], np.int8)}) and found.meta == {"__author__": "é"}


def test_strings_of_protocol_0(read):
    literal = "'" + "".join(f"\\x{byte:02x}" for byte in VALUES[0].tobytes()) + "'"
    content = Opcodes(pickle.STRING + literal.encode() + b"\n")
    saved = {Opcodes(b'S"it\'s\\n"\n'): numpy_array(VALUES[0], content=content)}
    assert equal(read(pickled(saved)).tensors, {"it's\n": VALUES[0]})


def test_safetensors(read):
    half, brain = np.array([1.5, -2], "<f2"), np.array([0x3FC0, 0xC000], "<u2")
    stored = {
        "a.weight": ("F32", [4, 6], VALUES.tobytes()),
        "half": ("F16", [2], half.tobytes()),
        "brain": ("BF16", [2, 1], brain.tobytes()),
        "n": ("I64", [], struct.pack("<q", -3)),
        "none": ("U8", [0, 9], b""),
        "flag": ("BOOL", [2], b"\0\1"),
    }
    found = read(writers.safetensors(stored, {"format": "pt"}))
    expected = {
        "a.weight": VALUES,
        "half": np.array([1.5, -2], np.float32),
        "brain": np.array([[1.5], [-2]], np.float32),
        "n": np.array(-3),
        "none": np.zeros((0, 9), np.uint8),
        "flag": np.array([False, True]),
    }
    assert found.kind == "safetensors" and equal(found.tensors, expected)
    assert found.meta == {"__metadata__": {"format": "pt"}}


def test_other_files_are_none(tmp_path):
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["a"] = VALUES
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    model.save(tmp_path / "m.keras")
    np.savez(tmp_path / "a.npz", a=VALUES)
    others = {"t.txt": b"cat\ndog\n.", "c.json": b'{"a": 1}', "empty": b"", "z.zip": b"PK\3\4", "cut": b"\x80"}
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    for name in ("w.h5", "m.keras", "a.npz", "nothing", ".", *others):
        assert not is_tensor_file(tmp_path / name), name
        with pytest.raises(InputError):
            read_tensor_file(tmp_path / name)
    with pytest.raises(InputError, match="c.json: cannot be read: it is not a file of PyTorch"):
        read_tensor_file(tmp_path / "c.json")


def test_the_tar_of_the_first_pytorch_is_refused_by_name(read, tmp_path):
    with pytest.raises(InputError, match=r"before 0\.2, as a tar archive"):
        read(b"sys_info\0".ljust(257, b"\0") + b"ustar".ljust(300, b"\0"))
    assert is_tensor_file(tmp_path / "w.bin")


# ---------------------------------------------------------------------------------------------------------------------
# Refused: tensors


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"offset": 1}, "needs 25 elements, but its storage has 24"),
        ({"offset": -1}, "offset has a value"),
        ({"offset": 2**60}, "offset has a value"),
        ({"offset": 1.0}, "offset has a value"),
        ({"offset": True}, "offset has a value"),
        ({"size": (5, 6)}, "needs 30 elements, but its storage has 24"),
        ({"size": (2**40, 2**40)}, "more memory than it has bytes"),
        ({"size": (4, -6)}, "size has a value"),
        ({"size": (24,)}, "it has 1 axes but 2 strides"),
        ({"size": (1,) * 40}, "at most 32 numbers"),
        ({"size": "46"}, "not a tuple"),
        ({"size": None}, "not a tuple"),
        ({"stride": (6, 2)}, "needs 29 elements, but its storage has 24"),
        ({"stride": (-6, 1)}, "strides has a value"),
        ({"stride": (2**47, 1)}, "elements, but its storage has 24"),
        ({"size": (2**30, 1), "stride": (0, 0)}, "more memory than it has bytes"),
        ({"size": (0,), "stride": (1,), "offset": 25}, "its storage has 24"),
        ({"storage": None}, "it has no storage"),
        ({"storage": writers.storage(VALUES, "0", count=23)}, "needs 24 elements, but its storage has 23|bytes, which"),
        ({"storage": writers.storage(VALUES, "0", count=25)}, "96 bytes, which are not the 25 elements"),
        ({"storage": writers.storage(VALUES, "0", count=-24)}, "without a name or a size"),
        ({"storage": writers.storage(VALUES, "0", count="24")}, "without a name or a size"),
        ({"storage": writers.storage(VALUES, "1")}, "no member archive/data/1"),
        ({"storage": writers.storage(VALUES, "../0")}, r"no member archive/data/\.\./0"),
        ({"storage": writers.storage(VALUES, "0", what="module")}, "whole model"),
        ({"storage": writers.storage(VALUES, "0", what="file")}, "no storage"),
        ({"storage": writers.storage(VALUES, "0", kind=Name("torch", "QInt8Storage"))}, "type is not supported"),
        ({"storage": writers.storage(VALUES, "0", kind=Name("torch", "DoubleStorage"))}, "96 bytes, which are not"),
        ({"storage": writers.storage(VALUES, "0", kind=Name("torch", "Size"))}, "whose type is none"),
        ({"storage": Outside("0")}, "no storage"),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(read, changes, message):
    with pytest.raises(InputError, match=message):
        read(torch_zip({"a": tensor(VALUES, "0", **changes)}, {"0": VALUES}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (4, 7)}, "has 96 bytes, which do not fill"),
        ({"shape": (2**47, 2**47)}, "more memory than it has bytes"),
        ({"shape": (-4, -6)}, "shape has a value"),
        ({"content": VALUES.tobytes()[:-1]}, "has 95 bytes"),
        ({"content": [1.0] * 24}, "its values are not bytes"),
        ({"content": "€" * 96}, "latin-1"),
        ({"kind": None}, "it has no type"),
        ({"kind": Call(Name("numpy", "dtype"), ("O8", 0, 1), (3, "|", None, None, None, -1, -1, 63))}, "not supported"),
        ({"kind": Call(Name("numpy", "dtype"), ("c8", 0, 1))}, "type is not supported"),
        ({"kind": Call(Name("numpy", "dtype"), (1,))}, "type is not supported"),
    ],
)
def test_an_array_that_does_not_fit_its_bytes_is_refused(read, changes, message):
    with pytest.raises(InputError, match=message):
        read(pickled({"a": numpy_array(VALUES, **changes)}))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused_by_name(read, bad):
    values = VALUES.copy()
    values[2, 3] = bad
    good_and_bad = {"good": tensor(VALUES, "0"), "conv1.weight": tensor(values, "1")}
    for content in (
        torch_zip(good_and_bad, {"0": VALUES, "1": values}),
        pickled({"conv1.weight": numpy_array(values)}),
        writers.safetensors({"conv1.weight": ("F32", [4, 6], values.tobytes())}),
        writers.safetensors({"conv1.weight": ("F16", [4, 6], values.astype("<f2").tobytes())}),
    ):
        with pytest.raises(InputError, match=r"its tensor conv1\.weight has values that are not finite"):
            read(content)
    beside = {"model": {"w": tensor(VALUES, "0")}, "optimizer": {"state": {0: tensor(values, "1")}}}
    assert equal(read(torch_zip(beside, {"0": VALUES, "1": values})).tensors, {"w": VALUES})


# ---------------------------------------------------------------------------------------------------------------------
# Refused: pickles


PAYLOADS = (
    ("posix", "system"),
    ("nt", "system"),
    ("os", "system"),
    ("subprocess", "Popen"),
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("__builtin__", "eval"),
    ("builtins", "__import__"),
    ("importlib", "import_module"),
    ("operator", "attrgetter"),
    ("functools", "partial"),
    ("torch", "load"),
    ("torch.hub", "load"),
    ("numpy", "load"),
    ("numpy.core.multiarray", "fromfile"),
    ("collections", "OrderedDict.fromkeys"),
    ("collections.OrderedDict", "__reduce__"),
    ("codecs", "encode"),
    ("pickle", "loads"),
    ("runpy", "run_path"),
)


@pytest.mark.parametrize(("module", "name"), PAYLOADS)
@pytest.mark.parametrize("opcode", [pickle.REDUCE, pickle.NEWOBJ])
def test_code_is_never_run(read, tmp_path, module, name, opcode):
    payload = Call(Name(module, name), (f"touch {tmp_path}/ran",), opcode=opcode)
    by_stack = Opcodes(writers.opcodes(module) + writers.opcodes(name) + pickle.STACK_GLOBAL)
    for bad in (payload, Call(by_stack, payload.arguments), Opcodes(b"(S'x'\ni" + f"{module}\n{name}\n".encode())):
        for content in (pickled({"a": numpy_array(VALUES), "b": bad}), torch_zip({"b": bad}, {})):
            with pytest.raises(
                InputError, match=rf"would run code: (\w+\.)*{name}\. Nothing was run; save the weights"
            ):
                read(content)
    assert not (tmp_path / "ran").exists()


def test_files_inside_of_pickles_are_storages_and_nothing_else(read, tmp_path):
    load = Name("torch.storage", "_load_from_bytes")
    inside = torch_legacy(writers.storage(VALUES, "0"), {"0": VALUES})
    assert equal(read(pickled({"w": tensor(VALUES, "", storage=Call(load, (inside,)))})).tensors, {"w": VALUES})
    payload = Call(Name("posix", "system"), (f"touch {tmp_path}/ran",))
    nested = Call(load, (torch_legacy(Call(load, (inside,)), {}),))
    wrong = {
        "would run code: posix.system": Call(load, (torch_legacy(payload, {}),)),
        "would run code: torch.storage._load_from_bytes": nested,
        "bytes in place of a storage": Call(load, (b"\x80\x02N.",)),
        "in place of a storage": Call(load, (torch_legacy([1], {}),)),
    }
    for message, storage in wrong.items():
        with pytest.raises(InputError, match=message):
            read(pickled({"w": tensor(VALUES, "", storage=storage)}))
    assert not (tmp_path / "ran").exists()


def test_a_payload_in_protocol_0_is_named(read, tmp_path):
    with pytest.raises(InputError, match=r"would run code: posix\.system"):
        read(f"cposix\nsystem\n(S'touch {tmp_path}/ran'\ntR.".encode())
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (Call("system", ("x",)), "calls something that is no function"),
        (Call(Call(Name("builtins", "getattr"), (1, "x")), ("y",)), "calls something that is no function"),
        (
            Call(Name("torch._utils", "_rebuild_tensor_v2"), (1,)),
            "calls torch._utils._rebuild_tensor_v2 with the wrong",
        ),
        (Call(Name("torch._utils", "_rebuild_parameter"), (1, 2, 3)), "a parameter without a tensor"),
        (Call(Name("torch._tensor", "_rebuild_from_type_v2"), (1, 2, (3,), 4)), "a type of its own"),
        (Call(Name("_codecs", "encode"), ("x", "rot13")), "an encoding that no pickle uses"),
        (Call(Name("numpy.core.multiarray", "_reconstruct"), (), (1, 2)), "state is not one of numpy"),
        (Outside("file"), "data outside of it"),
        (Opcodes(pickle.EXT1 + b"\1"), "the opcode EXT1"),
        (Opcodes(pickle.NEXT_BUFFER), "the opcode NEXT_BUFFER"),
        (Opcodes(pickle.TUPLE), "pop from empty"),
        (Opcodes(pickle.GET + b"77\n"), "77"),
        (Opcodes(pickle.LONG_BINGET + b"\xff\xff\xff\xff"), "4294967295"),
        (Opcodes(b"\xff"), "in place of an opcode"),
        (Opcodes(pickle.BINUNICODE8 + b"\xff" * 8), "byte count > sys.maxsize"),
        (Opcodes(pickle.BYTEARRAY8 + b"\xff" * 7 + b"\x00"), "expected|bytes"),
        (Opcodes(pickle.BINBYTES + b"\xff\xff\xff\x7f"), "expected"),
        (Opcodes(pickle.INT + b"9" * 5000 + b"\n"), "4300 digits"),
        (Opcodes(pickle.PROTO + b"\x09"), "protocol 9"),
        (Name("torch.optim", "x" * 2000), "thousands of letters"),
        (
            Call(Name("numpy.core.multiarray", "scalar"), (Call(Name("numpy", "dtype"), ("f4",)), b"abc")),
            "wrong length",
        ),
        (Opcodes(pickle.INT + b"1\n" + pickle.NONE + pickle.BUILD), "has no state"),
    ],
)
def test_damaged_pickles_are_refused(read, value, message):
    with pytest.raises(InputError, match=message):
        read(pickled({"a": numpy_array(VALUES), "b": value}))


def test_a_large_index_of_the_memo_takes_no_memory(read):
    put = Opcodes(pickle.NONE + pickle.LONG_BINPUT + b"\xff\xff\xff\x7f")
    assert equal(read(pickled({"a": numpy_array(VALUES), "b": put})).tensors, {"a": VALUES})


def test_graphs_that_grow_when_they_are_walked_are_harmless(read):
    doubled = pickle.EMPTY_TUPLE + pickle.BINPUT + b"\0"
    for number in range(100):
        doubled += pickle.BINGET + bytes([number]) + pickle.TUPLE2 + pickle.BINPUT + bytes([number + 1])
    deep = pickle.EMPTY_LIST * 1 + (pickle.TUPLE1 * 100_000)
    itself = pickle.EMPTY_LIST + pickle.BINPUT + b"\xf0" + pickle.BINGET + b"\xf0" + pickle.APPEND
    entries = {"a": numpy_array(VALUES), "b": Opcodes(doubled), "c": Opcodes(deep), "d": Opcodes(itself), "e": 5}
    found = read(pickled(entries))
    assert equal(found.tensors, {"a": VALUES}) and "b" not in found.meta and "c" not in found.meta
    assert equal(read(pickled({Opcodes(doubled): 1, "a": numpy_array(VALUES)})).tensors, {"a": VALUES})


@pytest.mark.parametrize(
    "made",
    [pickle.EMPTY_LIST + pickle.MARK + pickle.NONE * 100_000 + pickle.APPENDS, b"(" + b"N" * 100_000 + pickle.TUPLE],
)
def test_many_calls_with_the_same_long_list_are_refused(read, made):
    code = made + pickle.BINPUT + b"\1"
    call = (
        writers.opcodes(Name("builtins", "list")) + pickle.BINGET + b"\1" + pickle.TUPLE1 + pickle.REDUCE + pickle.POP
    )
    with pytest.raises(InputError, match="copies more than any file of weights"):
        read(pickled({"a": Opcodes(code + call * 200)}))


# ---------------------------------------------------------------------------------------------------------------------
# Refused: archives, streams, safetensors


def archive(tmp_path, members, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(tmp_path / "w.pth", "w", method) as file:
        for name, content in members:
            file.writestr(name, content)
    return tmp_path / "w.pth"


def test_odd_archives_are_refused(tmp_path):
    usual = [("a/data.pkl", pickled({"w": tensor(VALUES, "0")})), ("a/data/0", VALUES.tobytes())]
    assert equal(read_tensor_file(archive(tmp_path, usual)).tensors, {"w": VALUES})
    with pytest.raises(InputError, match="2 members data.pkl"):
        read_tensor_file(archive(tmp_path, [*usual, ("b/data.pkl", b"N.")]))
    with pytest.raises(InputError, match="big-endian"):
        read_tensor_file(archive(tmp_path, [*usual, ("a/byteorder", b"big")]))
    with pytest.raises(InputError, match="TorchScript"):
        read_tensor_file(archive(tmp_path, [*usual, ("a/constants.pkl", b"N.")]))
    with pytest.raises(InputError, match="compressed to an extent that no weights are"):
        read_tensor_file(archive(tmp_path, [*usual, ("a/data/1", bytes(10_000_000))], zipfile.ZIP_DEFLATED))
    with pytest.raises(InputError, match="in a way that PyTorch does not know"):
        read_tensor_file(archive(tmp_path, usual, zipfile.ZIP_LZMA))
    with pytest.warns(UserWarning, match="Duplicate"):
        path = archive(tmp_path, [*usual, usual[1]])
    with pytest.raises(InputError, match="two members of one name"):
        read_tensor_file(path)


def test_encrypted_and_lying_archives_are_refused(tmp_path):
    path = archive(tmp_path, [("a/data.pkl", pickled({"w": tensor(VALUES, "0")})), ("a/data/0", VALUES.tobytes())])
    content = path.read_bytes()
    entry = content.rindex(b"PK\x01\x02")  # the member of the values in the directory
    sizes = slice(entry + 20, entry + 28)
    path.write_bytes(content[: entry + 8] + b"\x01\x00" + content[entry + 10 :])
    with pytest.raises(InputError, match="encrypted"):
        read_tensor_file(path)
    path.write_bytes(content[: sizes.start] + struct.pack("<II", 1 << 30, 1 << 30) + content[sizes.stop :])
    with pytest.raises(InputError, match="claim more bytes than it has"):
        read_tensor_file(path)
    path.write_bytes(content[: sizes.start] + struct.pack("<II", 96, 1 << 30) + content[sizes.stop :])
    with pytest.raises(InputError, match="two sizes differ"):
        read_tensor_file(path)
    changed = bytearray(content)
    changed[content.index(VALUES.tobytes()) + 5] ^= 1
    path.write_bytes(changed)
    with pytest.raises(InputError, match="CRC"):
        read_tensor_file(path)


def test_odd_streams_are_refused(read):
    saved, storages = {"w": tensor(VALUES, "0")}, {"0": VALUES}
    good = torch_legacy(saved, storages)
    assert equal(read(good).tensors, {"w": VALUES})
    with pytest.raises(InputError, match="has 4 bytes behind its last storage"):
        read(good + b"more")
    with pytest.raises(InputError, match="ends within its last storage"):
        read(good[:-1])
    with pytest.raises(InputError, match="list of storages is not that of its tensors"):
        read(torch_legacy(saved, storages, keys=[]))
    with pytest.raises(InputError, match="list of storages is not that of its tensors"):
        read(torch_legacy(saved, storages, keys=["0", "0"]))
    with pytest.raises(InputError, match="a storage of 24 elements is stored with 23"):
        read(torch_legacy(saved, {"0": VALUES.ravel()[:-1]}))
    with pytest.raises(InputError, match="version is not that of any PyTorch"):
        read(good.replace(struct.pack("<i", 1001), struct.pack("<i", 1002), 1))
    with pytest.raises(InputError, match="big-endian"):
        read(
            good.replace(writers.opcodes("little_endian") + pickle.NEWTRUE, writers.opcodes("little_endian") + b"\x89")
        )
    with pytest.raises(InputError, match="views of storages"):
        read(torch_legacy({"w": tensor(VALUES, "0", storage=writers.storage(VALUES, "0", view=("1", 0, 5)))}, storages))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"dtype": "F32", "shape": [4, 6], "data_offsets": [0, 95]}, "offsets 0 and 95 do not fit"),
        ({"dtype": "F32", "shape": [4, 6], "data_offsets": [4, 100]}, "offsets 4 and 100 do not fit"),
        ({"dtype": "F32", "shape": [-4, -6], "data_offsets": [0, 96]}, "not numbers from 0 on"),
        ({"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 96]}, "do not fit its shape"),
        ({"dtype": "F32", "shape": [4.0, 6], "data_offsets": [0, 96]}, "not numbers from 0 on"),
        ({"dtype": "F32", "shape": [23], "data_offsets": [4, 96]}, "leave a gap at byte 4"),
        ({"dtype": "F32", "shape": [23], "data_offsets": [0, 92]}, "take 92 bytes, but 96 follow"),
        ({"dtype": "F8_E4M3", "shape": [96], "data_offsets": [0, 96]}, "type F8_E4M3 is not supported"),
        ({"dtype": ["F32"], "shape": [24], "data_offsets": [0, 96]}, "is not supported"),
        ({"dtype": "BOOL", "shape": [96], "data_offsets": [0, 96]}, "neither 0 nor 1"),
        ({"dtype": "F32", "shape": [24]}, "does not have dtype, shape and data_offsets"),
        (
            {"dtype": "F32", "shape": [24], "data_offsets": [0, 96], "x": 1},
            "does not have dtype, shape and data_offsets",
        ),
        ([], "does not have dtype, shape and data_offsets"),
    ],
)
def test_wrong_entries_of_safetensors_are_refused(read, entry, message):
    with pytest.raises(InputError, match=rf"tensor (w cannot|.*){message}|{message}"):
        read(writers.safetensors_file({"w": entry}, VALUES.tobytes()))


def test_wrong_headers_of_safetensors_are_refused(read):
    entry = {"dtype": "F32", "shape": [24], "data_offsets": [0, 96]}
    half = {"dtype": "F32", "shape": [12], "data_offsets": [48, 96]}
    wrong = [
        ({"w": entry, "v": half}, "overlap at byte 48"),
        ({"w": entry, "__metadata__": {"n": 1}}, "__metadata__ are not texts"),
        ({"w": entry, "__metadata__": [1]}, "__metadata__ are not texts"),
        (b"{" + b'"w":' + b"[" * 1000, "nested more deeply|broken JSON"),
        (b'{"w": 1, "w": 2}', "has two values"),
        (b"{}", "take 0 bytes, but 96 follow"),
        (b"{\xff}", "UTF-8"),
    ]
    for header, message in wrong:
        with pytest.raises(InputError, match=message):
            read(writers.safetensors_file(header, VALUES.tobytes()))
    with pytest.raises(InputError, match="has no tensors"):
        read(writers.safetensors_file({}, b""))
    with pytest.raises(InputError, match="header claims 5000 bytes, but only 2 follow"):
        read(struct.pack("<Q", 5000) + b"{}")
