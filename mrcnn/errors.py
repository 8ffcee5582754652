"""What a user's mistake raises, and what a script makes of it."""

import logging
import sys
from collections.abc import Callable
from typing import Any


class InputError(ValueError):
    """Something the user gave cannot be used: a file, a folder, an option, a label.

    The message says what was received, where (file, image, label id) and what to do about it. Scripts print it without
    a traceback and exit with code 2.
    """


class LabelError(ValueError):
    """One label cannot be used; the message says why. Readers catch it: the label is dropped and reported.

    `kind` is one of `mrcnn.annotations.findings.KINDS`.
    """

    def __init__(self, why: str, kind: str = "unusable label") -> None:
        super().__init__(why)
        self.kind = kind


def json_type(value: Any) -> str:
    """The type of a JSON value for a message."""
    return "null" if value is None else type(value).__name__


def exit_code(main: Callable[[], int | None]) -> int:
    """Run a script: what main returns (None is 0), 2 with one message for a user's mistake, 130 for Ctrl-C."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)  # which devices it looked for and did not find
    try:
        return main() or 0
    except InputError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("stopped; --resume goes on with a training from its last state\n")
        return 130
