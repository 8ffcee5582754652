"""Tests downloads from a local server: complete, interrupted, resumed, wrong, and without a server."""

import dataclasses
import hashlib
import io
import re

import h5py
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.modeling import pretrained
from tests.file_server import serving


def hdf5_bytes() -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["noise"] = np.random.default_rng(0).integers(0, 255, 400_000, dtype=np.uint8)
    return buffer.getvalue()


CONTENT = hdf5_bytes()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({"/w.h5": CONTENT, "/page.h5": b"<html>moved</html>"}) as http_server:
        yield http_server


@pytest.fixture
def entry(server):
    return pretrained.Published(
        name="test",
        file_name="w.h5",
        url=f"http://127.0.0.1:{server.server_port}/w.h5",
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
        md5=hashlib.md5(CONTENT).hexdigest(),
    )


def names(folder) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_whole_download_into_a_new_folder(server, entry, tmp_path):
    path = pretrained.fetch_entry(entry, tmp_path / "a" / "b")
    assert path.read_bytes() == CONTENT and names(path.parent) == ["w.h5"]
    assert pretrained.fetch_entry(entry, path.parent) == path
    assert server.asked == [None]  # the second call found the file


@pytest.mark.parametrize("ranges", [True, False])
def test_broken_transfer_is_kept_and_resumed(server, entry, tmp_path, ranges):
    server.break_after, server.ranges = 100_000, ranges
    with pytest.raises(InputError, match=rf"after 100000 of {len(CONTENT)} bytes.*run again to resume"):
        pretrained.fetch_entry(entry, tmp_path)
    assert names(tmp_path) == ["w.h5.part"] and (tmp_path / "w.h5.part").stat().st_size == 100_000
    server.break_after = None
    assert pretrained.fetch_entry(entry, tmp_path).read_bytes() == CONTENT
    assert server.asked == [None, "bytes=100000-"] and names(tmp_path) == ["w.h5"]


def test_complete_part_needs_no_server(server, entry, tmp_path):
    (tmp_path / "w.h5.part").write_bytes(CONTENT)
    assert pretrained.fetch_entry(entry, tmp_path).read_bytes() == CONTENT
    assert server.asked == []


def test_rest_of_a_longer_file_is_dropped(server, entry, tmp_path):
    (tmp_path / "w.h5.part").write_bytes(CONTENT + b"more")
    assert pretrained.fetch_entry(entry, tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT) + 4}-", None]


def test_rest_of_another_file_is_deleted_after_the_hash_differs(server, entry, tmp_path):
    (tmp_path / "w.h5.part").write_bytes(b"x" * 5000)
    with pytest.raises(InputError, match="its sha256 is .* instead of"):
        pretrained.fetch_entry(entry, tmp_path)
    assert names(tmp_path) == []
    assert pretrained.fetch_entry(entry, tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 5}, "bytes instead of 5"),
        (
            {"size": None, "sha256": None, "md5": None, "sha256_prefix": "0" * 8},
            "sha256 starts with .{8} instead of 0{8}",
        ),
        ({"size": None, "sha256": None, "md5": None, "md5_prefix": "0" * 6}, "md5 starts with .{6} instead of 000000"),
        ({"sha256": None, "md5": "0" * 32}, "its md5 is"),
    ],
)
def test_wrong_content_never_gets_the_name(entry, tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        pretrained.fetch_entry(dataclasses.replace(entry, **change), tmp_path)
    assert names(tmp_path) == []


def test_first_digits_of_a_hash_are_enough(entry, tmp_path):
    short = {"sha256_prefix": entry.sha256[:8], "md5_prefix": entry.md5[:6]}
    unknown = dataclasses.replace(entry, size=None, sha256=None, md5=None, **short)
    assert pretrained.fetch_entry(unknown, tmp_path).read_bytes() == CONTENT


def test_a_web_page_is_no_weight_file(server, tmp_path):
    entry = pretrained.Published("test", "page.h5", f"http://127.0.0.1:{server.server_port}/page.h5")
    with pytest.raises(InputError, match="it is not an HDF5 file"):
        pretrained.fetch_entry(entry, tmp_path)
    with pytest.raises(InputError, match="it is a web page"):
        pretrained.fetch_entry(dataclasses.replace(entry, file_name="w.pth"), tmp_path)
    assert names(tmp_path) == []


def test_an_existing_wrong_file_is_left_alone(server, entry, tmp_path):
    (tmp_path / "w.h5").write_bytes(b"mine")
    with pytest.raises(InputError, match="it has 4 bytes instead of .*move or delete it"):
        pretrained.fetch_entry(entry, tmp_path)
    assert (tmp_path / "w.h5").read_bytes() == b"mine" and server.asked == []


def test_not_there_or_offline_says_where_to_put_the_file(server, entry, tmp_path):
    by_hand = re.escape(f"put it at {tmp_path / 'w.h5'}")
    with pytest.raises(InputError, match=f"404.*{by_hand}"):
        pretrained.fetch_entry(dataclasses.replace(entry, url=entry.url + "x"), tmp_path)
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=f"refused.*{by_hand}"):
        pretrained.fetch_entry(entry, tmp_path)
    assert names(tmp_path) == []


def test_names(tmp_path):
    with pytest.raises(InputError, match="weights.py list` shows all names, such as coco, coco-r50, imagenet, streets"):
        pretrained.fetch("mnist", tmp_path)
    with pytest.raises(InputError, match="such as coco-r50, "):
        pretrained.fetch("coco-r5", tmp_path)
    with pytest.raises(InputError, match="comes with the source tree"):
        pretrained.fetch("streets", tmp_path)
    with pytest.raises(InputError, match="backbone 'VGG16'; they are known for convnext-tiny, "):
        pretrained.imagenet_path("VGG16")


@pytest.mark.parametrize(
    ("backbone", "stride_in_1x1", "name"),
    [
        ("resnet50", True, "imagenet"),
        ("resnet50-c4", False, "imagenet-resnet50-v1"),
        ("resnet101", False, "imagenet-resnet101-v1"),
        ("resnet18", True, "imagenet-resnet18"),
        ("resnext101_32x8d", False, "imagenet-resnext101-32x8d"),
        ("convnext_tiny", True, "imagenet-convnext-tiny"),
    ],
)
def test_imagenet_file_of_a_backbone(monkeypatch, backbone, stride_in_1x1, name):
    monkeypatch.setattr(pretrained, "fetch", lambda name, folder: name)
    assert pretrained.imagenet_path(backbone, stride_in_1x1=stride_in_1x1) == name


def test_shipped_files_are_the_registered_ones():
    for entry in pretrained.REGISTRY.values():
        file = pretrained.SHIPPED / entry.file_name
        if entry.url is None and file.exists():
            assert pretrained.fetch(entry.name) == file
            assert hashlib.sha256(file.read_bytes()).hexdigest() == entry.sha256
