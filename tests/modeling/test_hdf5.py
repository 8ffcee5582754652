"""Compares the checksum of HDF5 files with hashlib's, and tests what is refused; tests/hostile/ tries many files."""

import hashlib
import re
import resource
import struct

import h5py
import keras
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.modeling import hdf5, weights
from mrcnn.text import one_line
from tests.hostile.weights import network, values, write

pytestmark = pytest.mark.graph


@pytest.fixture
def checkpoint(tmp_path):
    network().set_weights([np.random.default_rng(1).uniform(1, 2, w.shape) for w in network().get_weights()])
    weights.save_weights(network(), tmp_path / "w.h5", attrs={"mrcnn_config": '{"NAME": "x"}'})
    return tmp_path / "w.h5"


def refused(path, before) -> str:
    """Return the message with which a file is refused; the network keeps its values."""
    with pytest.raises(InputError) as caught:
        weights.load_weights(network(), path)
    for name, value in values().items():
        np.testing.assert_array_equal(value, before[name])
    return str(caught.value)


def test_the_checksum_is_that_of_the_bytes_before_it(checkpoint):
    content, line = checkpoint.read_bytes()[:-79], checkpoint.read_bytes()[-79:]
    assert line == b"\nmrcnn sha256 " + hashlib.sha256(content).hexdigest().encode() + b"\n"
    with h5py.File(checkpoint) as file:  # as any program reads it
        np.testing.assert_array_equal(file["conv1/conv1/kernel:0"], values()["conv1/kernel"])


def test_each_flipped_bit_is_noticed(checkpoint):
    content, before, rng = checkpoint.read_bytes(), values(), np.random.default_rng(0)
    for place in [*rng.integers(len(content), size=40).tolist(), *range(len(content) - 79, len(content))]:
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        checkpoint.write_bytes(changed)
        message = refused(checkpoint, before)
        assert re.search("its checksum is wrong|it is not an HDF5 file", message), message
        with pytest.raises(InputError):
            weights.read_attrs(checkpoint)


def test_zeros_at_the_end_are_noticed(checkpoint):
    """A power cut, or a copy that broke off, leaves the length of a file without its last blocks."""
    content, before = checkpoint.read_bytes(), values()
    for lost in (1, 79, 80, 4096):
        checkpoint.write_bytes(content[:-lost] + bytes(lost))
        assert "checksum is wrong" in refused(checkpoint, before)


def test_a_file_that_another_program_changed_has_no_checksum(checkpoint):
    with h5py.File(checkpoint, "a") as file:
        file["conv1/conv1/kernel:0"][0, 0, 0, 0] = 5
    assert b"mrcnn sha256" not in checkpoint.read_bytes()
    weights.load_weights(network(), checkpoint)
    assert values()["conv1/kernel"][0, 0, 0, 0] == 5


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "not finite"),
        (-np.inf, "not finite"),
        (1e39, "not finite"),  # float32 ends at 3.4e38
    ],
)
def test_numbers_that_are_not_finite_are_refused_with_file_and_layer(tmp_path, value, reason):
    arrays, before = values(), values()
    arrays["rpn_class_raw/bias"] = np.full(6, value)
    write(tmp_path / "w.h5", arrays, whole_model=True)
    message = refused(tmp_path / "w.h5", before)
    assert f"layer rpn_class_raw of {tmp_path / 'w.h5'}" in message and reason in message


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda value: value > 0, "bool"),
        (lambda value: value.astype(complex), "complex"),
        (lambda value: value.astype("S4"), "text"),
        (lambda value: value.astype("i4"), "int32"),
    ],
)
def test_what_is_no_float_is_refused(tmp_path, change, reason):
    arrays, before = values(), values()
    arrays["conv1/kernel"] = change(arrays["conv1/kernel"])
    write(tmp_path / "w.h5", arrays, whole_model=False)
    assert f"its values are {reason}, not float32" in refused(tmp_path / "w.h5", before)


def test_a_network_that_has_diverged_is_not_written(tmp_path):
    model, before = keras.models.clone_model(network()), values()
    weights.save_weights(network(), tmp_path / "w.h5")
    kept = (tmp_path / "w.h5").read_bytes()
    model.get_layer("conv1").bias.assign(np.full(4, np.nan))
    with pytest.raises(InputError, match="conv1/bias has values that are not finite"):
        weights.save_weights(model, tmp_path / "w.h5")
    assert (tmp_path / "w.h5").read_bytes() == kept and [p.name for p in tmp_path.iterdir()] == ["w.h5"]
    assert all(np.array_equal(value, before[name]) for name, value in values().items())


def test_a_full_disk_keeps_the_file_of_before(checkpoint):
    """The HDF5 library itself would end the process."""
    kept = checkpoint.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, limits[1]))
    try:
        with pytest.raises(InputError, match="the previous one is kept"):
            weights.save_weights(network(), checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoint.read_bytes() == kept and [path.name for path in checkpoint.parent.iterdir()] == ["w.h5"]


def test_a_heap_without_end_is_refused(tmp_path):
    """HDF5 1.14 would follow an object of length 0 for ever."""
    path = tmp_path / "w.h5"
    with h5py.File(path, "w") as file:
        file.attrs["text"] = "tensorflow"
    content = bytearray(path.read_bytes())
    free = content.index(b"GCOL") + 16 + 16 + 16  # behind the header and the first object, of 16 bytes
    index, length = struct.unpack("<H6xQ", content[free : free + 16])
    assert index == 0 and length > 0
    content[free + 8 : free + 16] = bytes(8)
    path.write_bytes(content)
    with pytest.raises(InputError, match="damaged heap"), hdf5.opened(path, "cannot read", "give another"):
        pass


@pytest.mark.parametrize("text", ["a\x1b[2J", "\u202ex", "\ud800", "a\nb"])
def test_text_of_files_is_shown_without_control_characters(text):
    assert one_line(text).isprintable() and len(one_line(text * 1000, 50)) <= 6 * 53
