"""scripts/weights.py, with files of a local server in the registry."""

import dataclasses
import hashlib

import h5py
import numpy as np
import pytest

from mrcnn.errors import InputError
from mrcnn.foreign.weight_check import check_file
from mrcnn.modeling.registry import REGISTRY, Published
from tests.file_server import serving
from tests.foreign.writers import numpy_array, pickled, tensor, torch_zip
from tests.hostile.cases import run_script

VALUES = np.arange(12, dtype=np.float32).reshape(3, 4)
ZIP = torch_zip(
    {"state_dict": {"w": tensor(VALUES, "0"), "n": tensor(np.array(5), "1")}}, {"0": VALUES, "1": np.array(5)}
)
PICKLE = pickled({"model": {"w": numpy_array(VALUES)}})
SHA256, MD5 = hashlib.sha256(ZIP).hexdigest(), hashlib.md5(PICKLE).hexdigest()


@pytest.fixture
def server(monkeypatch):
    """Serve two files, which are all that is in the registry."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving({"/a.pth": ZIP, "/b.pkl": PICKLE}) as http_server:
        url = f"http://127.0.0.1:{http_server.server_port}/"
        entries = (
            Published("a", "a.pth", url + "a.pth", note="network A", sha256_prefix=SHA256[:8], licence="BSD-3-Clause"),
            Published("b", "b.pkl", url + "b.pkl", md5_prefix=MD5[:6], licence="CC BY-SA 3.0", terms="no money"),
            Published("c", "c.pth", url + "c.pth", size=len(ZIP), results="val: box AP 1.5, mask AP 1.0"),
        )
        for name in list(REGISTRY):
            monkeypatch.delitem(REGISTRY, name)
        for entry in entries:
            monkeypatch.setitem(REGISTRY, entry.name, entry)
        yield http_server


def test_fetch_names_licence_terms_and_checks(server, tmp_path):
    out = run_script("weights.py", "fetch", "a", "b", "--folder", str(tmp_path)).out
    assert out.splitlines() == [
        "a: network A",
        "  licence: BSD-3-Clause",
        f"  {tmp_path}/a.pth, checked by: first digits of sha256 {SHA256[:8]}",
        "b: ",
        "  licence: CC BY-SA 3.0; no money",
        f"  {tmp_path}/b.pkl, checked by: first digits of md5 {MD5[:6]}",
    ]
    assert (tmp_path / "a.pth").read_bytes() == ZIP and (tmp_path / "b.pkl").read_bytes() == PICKLE
    run_script("weights.py", "fetch", "a", "--folder", str(tmp_path))
    assert server.asked == [None, None]  # the third call found the file


def test_an_interrupted_download_is_resumed(server, tmp_path):
    server.break_after = 100
    with pytest.raises(InputError, match=f"after 100 of {len(ZIP)} bytes.*run again to resume"):
        run_script("weights.py", "fetch", "a", "--folder", str(tmp_path))
    server.break_after = None
    run_script("weights.py", "fetch", "a", "--folder", str(tmp_path))
    assert (tmp_path / "a.pth").read_bytes() == ZIP and server.asked == [None, "bytes=100-"]


def test_without_a_connection_one_message_says_where_to_put_the_file(server, tmp_path):
    server.shutdown()
    server.server_close()
    with pytest.raises(InputError, match=f"refused.*Download the file by hand and put it at {tmp_path}/a.pth"):
        run_script("weights.py", "fetch", "a", "--folder", str(tmp_path))
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InputError, match="no published weights are called 'x'"):
        run_script("weights.py", "fetch", "x", "--folder", str(tmp_path))


def test_list(server, tmp_path):
    (tmp_path / "a.pth").write_bytes(bytes(3_000_000))
    rows = [line.split() for line in run_script("weights.py", "list", "--folder", str(tmp_path)).out.splitlines()]
    assert ["a", "3", "yes", "BSD-3-Clause"] in rows and ["b", "CC", "BY-SA", "3.0", "(1)"] in rows
    assert ["(1)", "no", "money"] in rows
    assert "c 0 val: box 1.5, mask 1.0 not stated" in map(" ".join, rows)


def test_check_says_what_was_compared(server, tmp_path):
    run_script("weights.py", "fetch", "a", "--folder", str(tmp_path))
    out = run_script("weights.py", "check", "a", "--folder", str(tmp_path)).out
    assert f"the published a, by its first digits of sha256 {SHA256[:8]}" in out
    assert "torch: 2 tensors, 13 parameters and statistics" in out and f"sha256 {SHA256}" in out
    (tmp_path / "renamed.bin").write_bytes(PICKLE)
    assert check_file(tmp_path / "renamed.bin").verdict == f"the published b, by its first digits of md5 {MD5[:6]}"
    (tmp_path / "mine.pkl").write_bytes(pickled({"w": numpy_array(VALUES + 1)}))
    mine = check_file(tmp_path / "mine.pkl")
    assert mine.verdict == "no published file that is known here" and (mine.kind, mine.tensors) == ("pickle", 1)


def test_check_finds_a_file_that_is_not_the_published_one(server, tmp_path):
    (tmp_path / "a.pth").write_bytes(torch_zip({"w": tensor(VALUES, "0")}, {"0": VALUES}))
    result = run_script("weights.py", "check", "a", "--folder", str(tmp_path))
    assert result.code == 1 and "not the published a: its sha256 starts with" in result.out


def test_check_by_length_only_or_by_nothing(server, monkeypatch, tmp_path):
    monkeypatch.delitem(REGISTRY, "a")
    (tmp_path / "c.pth").write_bytes(ZIP)
    assert check_file(tmp_path / "c.pth").verdict == "the published c, by its length"
    monkeypatch.setitem(REGISTRY, "c", dataclasses.replace(REGISTRY["c"], size=None))
    assert check_file(tmp_path / "c.pth").verdict.startswith("may be the published c: nothing was published")


def test_check_refuses_what_it_cannot_read(server, tmp_path):
    with pytest.raises(InputError, match=r"a\.pth is not there; run: python scripts/weights\.py fetch a"):
        run_script("weights.py", "check", "a", "--folder", str(tmp_path))
    (tmp_path / "t.txt").write_text("text")
    with pytest.raises(InputError, match=r"t\.txt: cannot be read: it is not a file of PyTorch"):
        run_script("weights.py", "check", str(tmp_path / "t.txt"))
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file["x"] = 1
    with pytest.raises(InputError, match=r"other\.h5"):
        run_script("weights.py", "check", str(tmp_path / "other.h5"))


def test_check_reads_matterports_files():
    entry = REGISTRY["streets"]
    result = run_script("weights.py", "check", "streets")
    assert (
        result.code == 0 and f"sha256 {entry.sha256}" in result.out and "Matterport's HDF5: 186 tensors" in result.out
    )
