"""Errors that users cause, and how a script reports them."""

import logging
import sys
from collections.abc import Callable
from typing import Any


class InputError(ValueError):
    """Raised when something the user gave cannot be used: a file, a folder, an option, a label.

    The message says what was received, where (file, image, label id) and what to do. Scripts print it without a
    traceback and exit with code 2.
    """


class MissingFileError(InputError, FileNotFoundError):
    """Raised where Matterport's code raised FileNotFoundError, which clients catch."""


class LabelError(ValueError):
    """Raised when one label cannot be used; the message says why. Readers catch it, drop the label and report it.

    `kind` is one of `mrcnn.annotations.findings.KINDS`.
    """

    def __init__(self, why: str, kind: str = "unusable label") -> None:
        super().__init__(why)
        self.kind = kind


def json_type(value: Any) -> str:
    """Return the name of a JSON value's type, for a message."""
    return "null" if value is None else type(value).__name__


def exit_code(main: Callable[[], int | None], log: bool = True) -> int:
    """Run a script and return its exit code.

    Args:
        main: returns an exit code, or None for 0.
        log: Whether to write the log to standard error; without, logging is left to `main`.

    Returns:
        What `main` returns; 2 for an InputError, 130 for Ctrl-C.
    """
    if log:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)  # not which devices it missed
    try:
        return main() or 0
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted; --resume continues a training run from its last saved state\n")
        return 130
