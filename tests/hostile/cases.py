"""What a hostile case is, and how its outcome is judged."""

import contextlib
import dataclasses
import enum
import importlib
import io
import pathlib
import re
import runpy
import sys
import traceback
from collections.abc import Callable
from typing import Any
from unittest import mock

import numpy as np

from mrcnn.errors import InputError, exit_code

ROOT = pathlib.Path(__file__).parents[2]
KINDS = ("weights", "states", "labels", "predictions", "images", "settings", "options", "outputs", "tensor_files")
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")  # may change a terminal


class Outcome(enum.StrEnum):
    """What became of a case."""

    REFUSED = "refused with a message"
    HARMLESS = "harmless"
    TRACEBACK = "traceback"
    CRASH = "crash"
    WRONG = "silent wrong result"


GOOD = (Outcome.REFUSED, Outcome.HARMLESS)


@dataclasses.dataclass(frozen=True)
class Case:
    """One input and its use.

    Attributes:
        what: what is unusual about the input, for the list of failures.
        use: uses the input as a user would and returns a result; InputError means that it was refused.
        right: tells whether a result is right, by means independent of the code under test. A case that must be refused
            has a `right` that is always False.
    """

    what: str
    use: Callable[[], Any]
    right: Callable[[Any], bool]


@dataclasses.dataclass(frozen=True)
class ScriptResult:
    """What a script did: its exit code, and what it wrote to the two streams."""

    code: int
    out: str
    err: str


def run_script(name: str, *arguments: str) -> ScriptResult:
    """Run a script of scripts/ in this process.

    Raises:
        InputError: the script ended with exit code 2; the error has its message.
    """
    main = runpy.run_path(str(ROOT / "scripts" / name))["main"]
    out, err = io.StringIO(), io.StringIO()
    argv = mock.patch.object(sys, "argv", [name, *arguments])
    with argv, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = exit_code(main, log=False)
        except SystemExit as stop:  # argparse
            code = stop.code if isinstance(stop.code, int) else 1
    result = ScriptResult(code, out.getvalue(), err.getvalue())
    if code == 2:
        raise InputError(result.err.strip().removeprefix("error: "))
    return result


def make(kind: str, seed: int, number: int, folder: pathlib.Path) -> Case:
    """Return a case of one kind, the same for the same seed and number.

    Args:
        kind: of KINDS; `tests.hostile.KIND.case(rng, folder)` makes the case.
        seed: of all cases.
        number: which of them.
        folder: an empty folder for the files of this case.
    """
    rng = np.random.default_rng([seed, KINDS.index(kind), number])
    return importlib.import_module(f"tests.hostile.{kind}").case(rng, folder)


def judge(case: Case) -> tuple[Outcome, str]:
    """Use the input of a case and return the outcome with the message, the traceback or the result behind it."""
    try:
        result = case.use()
    except InputError as error:
        message = str(error)
        if not message or CONTROL.search(message) or len(message) > 3000:
            return Outcome.WRONG, f"message of {len(message)} characters, unfit for a terminal: {message[:300]!r}"
        return Outcome.REFUSED, message
    except BaseException:  # SystemExit and KeyboardInterrupt are failures too
        return Outcome.TRACEBACK, traceback.format_exc()
    if case.right(result):
        return Outcome.HARMLESS, repr(result)[:300]
    return Outcome.WRONG, repr(result)[:1000]
