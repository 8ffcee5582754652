"""Reading JSON and text of any kind: what cannot be used is refused by name."""

import json
import os
import threading

import pytest

from mrcnn.errors import InputError
from mrcnn.user_files import MAX_DEPTH, parse_json, read_json, read_text


@pytest.mark.parametrize(
    "text, message",
    [
        ("9" * 5000, "a number that is too long"),
        ('{"a": ' + "1" * 4301 + "}", "a number that is too long"),
        ("[" * 200_000, "nested more deeply"),
        ('{"a": ' * 500 + "1" + "}" * 500, "nested more deeply"),
        ("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1), "nested more deeply"),
        ("", "broken JSON at line 1, column 1"),
        ("[1,\n 2", "broken JSON at line 2, column 3"),
        ('{"a": 1, "a": 2}', "the key 'a' has two values"),
        ('[{"b": {"a": [1], "a": [2]}}]', "the key 'a' has two values"),
        ("\0", "broken JSON"),
    ],
)
def test_json_that_is_refused(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(InputError, match=f"x.json.*{message}"):
        read_json(path)


@pytest.mark.parametrize(
    "text, value",
    [
        ("[" * MAX_DEPTH + "]" * MAX_DEPTH, None),
        ('"' + "[" * 5000 + '\\"' + "{" * 5000 + '"', "[" * 5000 + '"' + "{" * 5000),  # in a string
        ('{"a": 1, "a": 1}', {"a": 1}),
        (r'"\ud83d\ude00 \\ud800 \u00e9"', "😀 \\ud800 é"),
        (r'"a\ud800b\udc00\ud83d"', "a\ufffdb\ufffd\ufffd"),
        ("1e999", float("inf")),
        ("1" * 4300, int("1" * 4300)),
    ],
)
def test_json_that_is_read(text, value):
    read = parse_json(text.encode(), "x")
    assert value is None or read == value
    json.dumps(read, indent=1).encode()
    if isinstance(read, str):
        read.encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be"])
def test_encodings(tmp_path, encoding):
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    (tmp_path / "x.json").write_bytes((mark + '["Ä"]').encode(encoding))
    assert read_json(tmp_path / "x.json") == ["Ä"]


def test_what_is_no_text_file(tmp_path):
    (tmp_path / "latin").write_bytes(b'"\xe4"')
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "latin", r"UTF-8 \(byte 1\)"),
        (tmp_path / "pipe", "it is a pipe, not a file"),
        (tmp_path, "it is a folder, not a file"),
        (tmp_path / "none", "No such file"),
        (tmp_path / ("n" * 5000), "File name too long"),
        (tmp_path / "a\0b", "no file has such a name"),
        ("/dev/zero", "it is a device, not a file"),
    ):
        with pytest.raises(InputError, match=message):
            read_text(path)


def test_a_pipe_that_a_user_names_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    threading.Thread(target=(tmp_path / "pipe").write_text, args=("[1, 2]",), daemon=True).start()
    assert read_json(tmp_path / "pipe", pipe=True) == [1, 2]
