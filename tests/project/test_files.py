"""Files and folders that are written whole: hostile names, two writers, killed writers, devices."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

from mrcnn.errors import InputError, LabelError, MissingFileError
from mrcnn.files import (
    folder_written_whole,
    json_text,
    make_folder,
    remove_unfinished,
    write_bytes,
    write_json,
    written_whole,
)
from mrcnn.text import figure_text, printable

ROOT = pathlib.Path(__file__).parents[2]
HELD = """
import pathlib, sys, time
from mrcnn.files import written_whole
with written_whole(sys.argv[1]) as temporary:
    temporary.write_bytes(b"half")
    print(temporary.name, flush=True)
    time.sleep(60)
"""


def names(folder: pathlib.Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def writer(path: pathlib.Path) -> tuple[subprocess.Popen, str]:
    """Start a process that never ends writing a file; return it and the name of its temporary file."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HELD, str(path)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_the_next_writer_takes_over_what_a_killed_one_left_and_spares_a_living_one(tmp_path):
    path = tmp_path / "result.json"
    living, its_name = writer(path)
    killed, left_over = writer(path)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert names(tmp_path) == sorted([its_name, left_over]) and its_name != left_over
    write_json(path, [1])
    assert names(tmp_path) == [its_name, "result.json"]
    living.send_signal(signal.SIGKILL)
    living.wait()
    write_json(path, [2])
    assert names(tmp_path) == ["result.json"] and json.loads(path.read_bytes()) == [2]


def test_threads_that_write_one_file_leave_one_whole_file(tmp_path):
    path = tmp_path / "file"
    contents = [bytes([n]) * 100_000 for n in range(6)]
    threads = [threading.Thread(target=write_bytes, args=(path, data)) for data in contents for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in contents and names(tmp_path) == ["file"]


def test_a_link_planted_at_the_hidden_name_is_not_followed(tmp_path):
    path, victim = tmp_path / "file", tmp_path / "victim"
    victim.write_bytes(b"precious")
    with written_whole(path) as temporary:
        hidden = temporary
    hidden.symlink_to(victim)
    write_bytes(path, b"new")
    assert victim.read_bytes() == b"precious" and path.read_bytes() == b"new"


def test_links_and_devices_are_written_through(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder" / "real")
    write_bytes(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "folder" / "real").read_bytes() == b"data"
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_json(tmp_path / "pipe", {"a": 1})
    reader.join()
    assert read == [b'{"a": 1}'] and (tmp_path / "pipe").is_fifo()
    with pytest.raises(InputError, match="cannot write /dev/full: No space left on device; free some space"):
        write_bytes("/dev/full", b"data")


def test_a_folder_takes_the_place_of_another_whole_or_not_at_all(tmp_path):
    target = tmp_path / "folder"
    make_folder(target)
    (target / "old").write_bytes(b"1")
    with pytest.raises(RuntimeError), folder_written_whole(target) as new:
        (new / "half").write_bytes(b"2")
        raise RuntimeError
    assert names(tmp_path) == ["folder"] and names(target) == ["old"]
    with folder_written_whole(target) as new:
        (new / "whole").write_bytes(b"3")
    assert names(tmp_path) == ["folder"] and names(target) == ["whole"]
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="it is a file"), folder_written_whole(tmp_path / "file"):
        pass


def test_a_folder_that_was_moved_aside_by_a_killed_process_comes_back(tmp_path):
    target = tmp_path / "folder"
    with folder_written_whole(target) as new:
        (new / "a").write_bytes(b"1")
        place = new.parent
    place.mkdir()
    target.rename(place / "old")  # as if killed between the two renames
    with pytest.raises(RuntimeError), folder_written_whole(target):
        raise RuntimeError
    assert names(tmp_path) == ["folder"] and names(target) == ["a"]


def test_json_is_ascii_without_half_characters_and_refuses_what_is_not_finite(tmp_path):
    assert json_text({"stra\udcdfe": ["é", "\ud800"]}) == '{"stra\\\\xdfe": ["\\u00e9", "\\\\ud800"]}'
    for value in (float("nan"), [np.inf], 10**5000):
        with pytest.raises(InputError, match="JSON holds no number"):
            write_json(tmp_path / "a.json", value)
    assert names(tmp_path) == []


def test_messages_are_fit_for_a_terminal_and_short():
    assert printable("a\x1b[0m\u202eb\udcffc\td\n") == "a\\x1b[0m\\u202eb\\xffc\td\n"
    assert (
        str(InputError("class \x9b"))
        == str(MissingFileError("class \x9b"))
        == str(LabelError("class \x9b"))
        == "class \\x9b"
    )
    long = str(InputError("x" * 1_000_000 + " give another name"))
    assert len(long) < 2100 and long.endswith("give another name") and "(998018 characters left out)" in long
    assert figure_text("a $x$\nb\x07") == r"a \$x\$ b\x07"


def test_without_locks(tmp_path, monkeypatch):
    """On Windows, and on file systems that lock nothing, every writer has a temporary name of its own."""
    monkeypatch.setattr("mrcnn.files.fcntl", None)
    path = tmp_path / "file"
    with written_whole(path) as first, written_whole(path) as second:
        assert first != second
        first.write_bytes(b"first")
        second.write_bytes(b"second")
    assert path.read_bytes() == b"first" and names(tmp_path) == ["file"]
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    with folder_written_whole(tmp_path / "folder") as folder:
        (folder / "a").write_text("1")
    with pytest.raises(ZeroDivisionError), folder_written_whole(tmp_path / "folder") as folder:
        (folder / "a").write_text("2")
        raise ZeroDivisionError
    assert names(tmp_path) == ["file", "folder", "plain"] and (tmp_path / "folder" / "a").read_text() == "1"


def test_unfinished_files_of_killed_processes_are_deleted(tmp_path):
    (tmp_path / "deep").mkdir()
    kept = [".notes.tmp", "deep/epoch.h5", ".0123456789abcdef.tmp"]
    for name in kept:
        (tmp_path / name).write_text("")
    process, left_over = writer(tmp_path / "deep" / "epoch.h5")
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert remove_unfinished(tmp_path) == 1
    assert names(tmp_path / "deep") == ["epoch.h5"] and not (tmp_path / "deep" / left_over).exists()
    assert all((tmp_path / name).exists() for name in kept)
