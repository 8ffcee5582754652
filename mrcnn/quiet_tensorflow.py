"""Keep TensorFlow's own messages off the terminal. Imports no TensorFlow.

While it is imported, its C++ code writes to file descriptor 2, twice, before it looks at TF_CPP_MIN_LOG_LEVEL.
"""

import contextlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from types import ModuleType

from mrcnn import import_hooks

STDERR = 2
# "I0000 00:00:1795768166.161839 26326 port.cc:153] oneDNN ...", "2025-01-31 12:00:00.1: I tensorflow/core/... oneDNN"
NOISE = re.compile(
    rb"[IWE]\d{4} \d\d:\d\d:.*"
    rb"|\d{4}-\d\d-\d\d \d\d:\d\d:[\d.]+: [IWE] (tensorflow|external)/.*"
    rb"|WARNING: All log messages before absl::InitializeLog\(\).*"
    rb"|To enable the following instructions:.*"
)


def install() -> None:
    """Hold back what the import of TensorFlow writes, whoever imports it; nothing happens if it is loaded already.

    TF_CPP_MIN_LOG_LEVEL=0 asks for these messages and gets them: where TensorFlow ends the process, they say why.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") == "0":
        return
    import_hooks.around_import("tensorflow", _held)


def _held(module: ModuleType) -> contextlib.AbstractContextManager:
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # for what it writes later
    return stderr_held()


@contextlib.contextmanager
def stderr_held() -> Iterator[None]:
    """Keep what is written to file descriptor 2 in a file; on leaving, pass on all of it but TensorFlow's log lines.

    If the body raises, everything is passed on. A process without that descriptor is left as it is.
    """
    try:
        stream = os.fdopen(os.dup(STDERR), "wb", buffering=0)
    except OSError:
        yield
        return
    with stream, tempfile.TemporaryFile() as held:
        _flush()
        os.dup2(held.fileno(), STDERR)
        noise: re.Pattern[bytes] | None = None
        try:
            yield
            noise = NOISE
        finally:
            _flush()
            os.dup2(stream.fileno(), STDERR)
            held.seek(0)
            for line in held:
                if noise is None or not noise.fullmatch(line.rstrip(b"\r\n")):
                    stream.write(line)


def _flush() -> None:
    """Let what Python has buffered for standard error go where it belongs."""
    with contextlib.suppress(AttributeError, OSError, ValueError):  # there is none, or it is closed
        sys.stderr.flush()
