"""The process of a script: its standard streams, and Ctrl-C that cannot get lost."""

import atexit
import contextlib
import functools
import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

AGAIN = 0.5  # seconds after which an interrupt that had no effect is raised again
_CODES: list[int] = []  # with which this process is to end untidily
SOON = 0.01  # the same where Python reported that it was dropped


def begin() -> None:
    """Prepare this process to run a script, before the imports that take long.

    Standard streams that are closed lead nowhere, so that no file that is opened later gets their numbers. A reader
    that goes away (`| head`) does not stop the script. Until `Interrupts`, and after it, Ctrl-C ends the process at
    once, without a traceback.
    """
    _open_missing_streams()
    sys.stdout = _forgiving(sys.stdout, 1)
    sys.stderr = _forgiving(sys.stderr, 2)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # not where a shell has it ignored
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    atexit.register(_leave)  # the first to register is the last to be called


def end_untidily(code: int) -> None:
    """Let this process, if `begin` prepared it, end after its atexit functions and not take itself apart.

    JAX crashes in that where an interrupt has stopped it inside its own code.
    """
    _CODES.append(code)


def _leave() -> None:
    if _CODES:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(_CODES[-1])


def _open_missing_streams() -> None:
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest number, which is this one


def _forgiving(stream: Any, number: int) -> io.TextIOWrapper:
    """Return a text stream over a file descriptor, as `stream` (None: it was closed) but for what `_Output` does."""
    buffer = io.BufferedWriter(_Output(number, "w", closefd=False))
    return io.TextIOWrapper(
        buffer,
        encoding="utf-8" if stream is None else stream.encoding,
        errors="backslashreplace",
        line_buffering=stream is None or stream.line_buffering or stream.write_through,  # python -u
    )


class _Output(io.FileIO):
    """Standard output or error; goes to nowhere once its reader is gone or, for errors, cannot be written."""

    def write(self, data: Any, /) -> int:
        """Write bytes and return their number.

        Raises:
            OSError: standard output cannot be written, for example because the disk is full.
        """
        try:
            return super().write(data) or 0
        except OSError as error:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.fileno())  # also what is still in buffers must go somewhere
            os.close(nowhere)
            if isinstance(error, BrokenPipeError) or self.fileno() == 2:
                return len(memoryview(data).cast("B"))
            raise OSError(error.errno, error.strerror, "standard output") from error


class Interrupts:
    """A context in which Ctrl-C raises KeyboardInterrupt in the main thread until it has an effect.

    Raised once, it may come while a callback of the garbage collector, a `__del__` or a C library runs, which drop
    exceptions. So it is raised again as long as the context lasts, but not while an earlier one is being handled: a
    `finally` or `with` block may clean up. Handlers of others, and other threads than the main one, are left alone.

    Attributes:
        received: whether Ctrl-C was pressed.
    """

    def __init__(self) -> None:
        self.received = False
        self._ended = False
        self._waited = False
        self._undo = contextlib.ExitStack()

    def end(self) -> None:
        """Raise no more."""
        self._ended = True

    def __enter__(self) -> Self:
        own = signal.getsignal(signal.SIGINT) in (signal.default_int_handler, signal.SIG_DFL)
        if own and threading.current_thread() is threading.main_thread():
            self._undo.callback(signal.signal, signal.SIGINT, signal.signal(signal.SIGINT, self._raise))
            self._undo.callback(setattr, sys, "unraisablehook", sys.unraisablehook)
            sys.unraisablehook = functools.partial(self._on_unraisable, sys.unraisablehook)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()
        self._undo.close()

    def _raise(self, number: int, frame: FrameType | None) -> None:
        if not self.received and hasattr(signal, "SIGALRM"):  # not on Windows
            self._undo.callback(signal.signal, signal.SIGALRM, signal.signal(signal.SIGALRM, self._raise_again))
            self._undo.callback(signal.setitimer, signal.ITIMER_REAL, 0)
        self.received = True
        self._raise_from(frame)

    def _raise_again(self, number: int, frame: FrameType | None) -> None:
        if not self._ended and not _is_handled(sys.exception()):
            self._raise_from(frame)

    def _raise_from(self, frame: FrameType | None) -> None:
        """Raise, but let an output in progress end once: what is written already would be written again."""
        writing = frame is not None and frame.f_code is _Output.write.__code__
        if writing and not self._waited:
            self._waited = True
            self._set_timer(SOON)
            return
        self._set_timer(AGAIN)
        raise KeyboardInterrupt

    def _on_unraisable(self, hook: Callable[[Any], object], unraisable: Any) -> None:
        """Pass on what Python cannot raise; a KeyboardInterrupt among it is raised again soon."""
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            hook(unraisable)
        elif self.received and not self._ended:
            self._set_timer(SOON)

    def _set_timer(self, seconds: float) -> None:
        if hasattr(signal, "setitimer"):  # not on Windows
            signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)


def _is_handled(error: BaseException | None) -> bool:
    """Return whether the exception being handled is a KeyboardInterrupt, or was raised while one was handled."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
