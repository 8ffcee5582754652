"""Files that PyTorch wrote (tests/foreign/files) against the values that it had in memory, bit for bit."""

import collections
import pathlib

import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.foreign.tensor_files import is_tensor_file, read_tensor_file

FILES = pathlib.Path(__file__).parent / "files"
TRUTH: dict[str, dict[str, np.ndarray]] = collections.defaultdict(dict)
with np.load(FILES / "truth.npz") as truth:
    for key in truth:
        TRUTH[key.partition("|")[0]][key.partition("|")[2]] = truth[key]
SAME = {"lightning": "state", "mmdet": "state", "ema": "state"}  # the same weights in other checkpoints
META = {
    "lightning": {"epoch": 7, "pytorch-lightning_version": "2.1"},
    "mmdet": {"CLASSES": ["car", "bus"], "epoch": 12, "time": "now", "seed": 3},
    "ema": {"best": float("inf")},
}
WRITTEN = sorted(path.name for path in FILES.glob("*_*.pth") if path.name.split("_")[0] in TRUTH.keys() | SAME.keys())
REFUSED = {
    "whole_zip.pth": "whole model.*__main__.Net. Nothing was run; .*state_dict",
    "script.pth": "TorchScript.*state_dict",
    "quantized.pth": "tensor q cannot be used: it is a qtensor",
    "sparse.pth": "tensor s cannot be used: it is a sparse tensor",
    "meta.pth": "tensor m cannot be used: it is a meta tensor",
    "complex.pth": "tensor c cannot be used: its type is not supported",
    "f8.pth": "tensor f cannot be used: its type is not supported",
    "nan.pth": "tensor n has values that are not finite",
    "subclass.pth": "__main__.T",
    "bare.pth": "it has no tensors",
    "list.pth": "it has no tensors",
}


def test_all_files_are_tested():
    assert len(WRITTEN) == 15
    assert {path.name.removeprefix("refused_") for path in FILES.glob("refused_*")} == set(REFUSED)


@pytest.mark.parametrize("name", WRITTEN)
def test_values_are_those_of_pytorch(name):
    short = name.split("_")[0]
    expected = TRUTH[SAME.get(short, short)]
    found = read_tensor_file(FILES / name)
    assert is_tensor_file(FILES / name) and found.kind == "torch" and found.path == FILES / name
    assert list(found.tensors) == list(expected)
    for key, value in expected.items():
        array = found.tensors[key]
        assert (array.dtype, array.shape, array.tobytes()) == (value.dtype, value.shape, value.tobytes()), key
        assert array.flags.c_contiguous
    assert found.meta == META.get(short, {})


def test_a_plain_pickle_of_tensors():
    found = read_tensor_file(FILES / "pickled_tensors.pkl")
    assert found.kind == "pickle" and list(found.tensors) == list(TRUTH["state"])
    assert all(np.array_equal(value, TRUTH["state"][name]) for name, value in found.tensors.items())


def test_attributes_of_a_parameter_are_left_out():
    found = read_tensor_file(FILES / "attributes_zip.pth")
    assert list(found.tensors) == ["w"] and found.meta == {}
    assert [f"{value:.4f}" for value in found.tensors["w"]] == ["-1.1858", "-1.5992", "-0.7179"]


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_weight_is_refused(name):
    with pytest.raises(InputError, match=f"refused_{name}: cannot be read: .*{REFUSED[name]}"):
        read_tensor_file(FILES / f"refused_{name}")


@pytest.mark.parametrize("name", ["state_zip.pth", "state_legacy.pth"])
def test_every_truncated_file_is_refused(name, tmp_path):
    content = (FILES / name).read_bytes()
    for length in [0, 1, 4, 30, *range(100, len(content), 97), len(content) - 1]:
        path = tmp_path / "cut.pth"
        path.write_bytes(content[:length])
        with pytest.raises(InputError, match="cut.pth: cannot be read"):
            read_tensor_file(path)
