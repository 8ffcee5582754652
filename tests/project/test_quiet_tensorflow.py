"""What the import of TensorFlow writes to file descriptor 2 is held back; what others write there is not."""

import os
import subprocess
import sys

import pytest

WRITES = """
import os, sys, pathlib
import mrcnn
folder = pathlib.Path(sys.argv[1])
(folder / "tensorflow.py").write_text('''
import os, sys
os.write(2, b"I0000 00:00:1795768166.161839 26326 port.cc:153] oneDNN custom operations are on.\\\\n")
os.write(2, b"2025-01-31 12:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.\\\\n")
os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\\\\n")
sys.stderr.write("a warning of Python\\\\n")
os.write(2, b"from another thread, no newline")
LEVEL = os.environ.get("TF_CPP_MIN_LOG_LEVEL")
if len(sys.argv) > 2: raise ImportError("libcudart is missing")
''')
sys.path.insert(0, str(folder))
os.write(2, b"before\\n")
import tensorflow
os.write(2, b"; after, level " + tensorflow.LEVEL.encode())
"""


def stderr_of(tmp_path, *more: str, **environment: str) -> str:
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    command = [sys.executable, "-c", WRITES, str(tmp_path), *more]
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment, timeout=60).stderr


def test_log_lines_of_tensorflow_are_dropped_and_others_are_shown(tmp_path):
    shown = "before\na warning of Python\nfrom another thread, no newline; after, level 3"
    assert stderr_of(tmp_path) == shown


def test_everything_is_shown_if_the_import_fails(tmp_path):
    text = stderr_of(tmp_path, "fail")
    assert text.startswith("before\nI0000 ") and "ImportError: libcudart is missing" in text
    assert text.index("oneDNN") < text.index("a warning of Python") < text.index("Traceback")


def test_level_0_asks_for_everything(tmp_path):
    text = stderr_of(tmp_path, TF_CPP_MIN_LOG_LEVEL="0")
    assert text.count("oneDNN") == 2 and text.endswith("; after, level 0")


def test_real_tensorflow_starts_without_a_line():
    pytest.importorskip("tensorflow")
    clean = {name: value for name, value in os.environ.items() if name != "TF_CPP_MIN_LOG_LEVEL"}
    code = "import mrcnn, tensorflow; print(tensorflow.__spec__.loader is tensorflow.__loader__)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=clean, timeout=120)
    assert done.stdout == "True\n" and done.stderr == ""
