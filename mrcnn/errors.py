"""Errors that users cause, and how a script reports them."""

import argparse
import errno
import logging
import os
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from mrcnn import process
from mrcnn.text import LONGEST, printable

INTERRUPTED = "interrupted"
_ADVICE = {
    errno.ENOSPC: "free some space, or choose another folder",
    errno.EDQUOT: "free some space, or choose another folder",
    errno.EACCES: "choose another folder, or change the permissions",
    errno.EPERM: "choose another folder, or change the permissions",
    errno.EROFS: "choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class InputError(ValueError):
    """Raised when something the user gave cannot be used: a file, a folder, an option, a label.

    The message says what was received, where (file, image, label id) and what to do. Scripts print it without a
    traceback and exit with code 2. Names and values out of files are escaped and shortened in it (`printable`).
    """

    def __str__(self) -> str:
        """Return the message, fit for a terminal."""
        return printable(super().__str__(), LONGEST)


class MissingFileError(InputError, FileNotFoundError):
    """Raised where Matterport's code raised FileNotFoundError, which clients catch."""


class LabelError(ValueError):
    """Raised when one label cannot be used; the message says why. Readers catch it, drop the label and report it.

    `kind` is one of `mrcnn.annotations.findings.KINDS`.
    """

    def __init__(self, why: str, kind: str = "unusable label") -> None:
        super().__init__(printable(why, LONGEST))
        self.kind = kind


def json_type(value: Any) -> str:
    """Return the name of a JSON value's type, for a message."""
    return "null" if value is None else type(value).__name__


class PrintableFormatter(logging.Formatter):
    """Formats log lines in which names out of files cannot act on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        return printable(super().format(record))


class ArgumentParser(argparse.ArgumentParser):
    """An argparse parser whose errors may quote any file name that a shell put on the command line."""

    def error(self, message: str) -> NoReturn:
        """Print the usage and the message, and exit with code 2."""
        super().error(printable(message, LONGEST))


def reason(error: OSError) -> str:
    """Return why a file cannot be read or written, with advice where there is one: "No space left on device; ..."."""
    why = error.strerror or str(error) or type(error).__name__
    advice = _ADVICE.get(error.errno or 0)
    return f"{why}; {advice}" if advice else why


def exit_code(main: Callable[[], int | None], log: bool = True, interrupted: str = INTERRUPTED) -> int:
    """Run a script and return its exit code.

    Args:
        main: returns an exit code, or None for 0.
        log: Whether to write the log to standard error; without, logging is left to `main`.
        interrupted: what to print after Ctrl-C.

    Returns:
        What `main` returns; 2 for an InputError, or where the system refuses a file; 130 for Ctrl-C.
    """
    if log:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(PrintableFormatter("%(message)s"))
        logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("jax").setLevel(logging.WARNING)  # not which devices it missed
    with process.Interrupts() as interrupts:
        try:
            code = _flushed(main) or 0
            if not interrupts.received:
                return code
        except InputError as error:
            return _refuse(str(error))
        except OSError as error:
            if not interrupts.received:
                return _refuse(_of_system(error))
        except KeyboardInterrupt:
            interrupts.end()
        except Exception:
            if not interrupts.received:  # libraries turn a KeyboardInterrupt into errors of their own
                raise
        sys.stderr.write(f"{interrupted}\n")
        process.end_untidily(130)
        return 130


def _flushed(main: Callable[[], int | None]) -> int | None:
    """Call `main` and write out what it printed, so that a full disk is reported and not met at exit."""
    try:
        return main()
    finally:
        sys.stdout.flush()


def _refuse(message: str) -> int:
    sys.stderr.write(f"error: {message}\n")
    return 2


def _of_system(error: OSError) -> str:
    """Return the message for an error that no part of the program expected."""
    names = [os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes)]
    return printable(": ".join([*names[:1], *(f"to {name}" for name in names[1:]), reason(error)]), LONGEST)
