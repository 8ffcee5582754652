"""Scripts under Ctrl-C, closed pipes, full devices and closed streams, each in a process of its own."""

import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).parents[2]
PRELUDE = """
import gc, signal, sys, time
from mrcnn import errors, process
process.begin()
"""


def start(code: str, **streams) -> subprocess.Popen:
    """Run a script in a new process that has not inherited an ignored SIGINT."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **streams}
    return subprocess.Popen([sys.executable, "-c", PRELUDE + code], env=environment, text=True, **pipes)


def ended(process: subprocess.Popen) -> tuple[int, str, str]:
    """Return the exit code and the two streams."""
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


SWALLOWING = """
def swallow(phase, info):  # as a callback of the garbage collector that takes half of the time
    end = time.monotonic() + 0.02 * (phase != "stop")
    while time.monotonic() < end: pass

def main():
    gc.callbacks.append(swallow)
    print("ready", flush=True)
    try:
        while True:
            gc.collect()
            swallow("", {})
    finally:
        gc.callbacks.clear()
        end = time.monotonic() + 1.2  # longer than an interrupt waits before it comes again
        while time.monotonic() < end: pass
        print("cleaned up", flush=True)

sys.exit(errors.exit_code(main))
"""


def test_an_interrupt_that_a_callback_swallows_comes_again_and_lets_clean_up():
    process = start(SWALLOWING)
    assert process.stdout.readline() == "ready\n"
    time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "cleaned up\n", "interrupted\n")


DROPPED = """
def main():
    print("ready", flush=True)
    for _ in range({tries}):
        try:
            time.sleep(20)
        except BaseException as error:  # as C libraries do
            if {again}: raise RuntimeError("the library failed") from None

sys.exit(errors.exit_code(main))
"""


@pytest.mark.parametrize("tries, again", [(3, False), (3, True)])
def test_an_interrupt_that_a_library_drops_or_replaces_still_ends_the_script(tries, again):
    process = start(DROPPED.format(tries=tries, again=again))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert ended(process) == (130, "", "interrupted\n")


def test_an_error_without_an_interrupt_keeps_its_traceback():
    code, _, err = ended(start("def main(): raise RuntimeError('a fault')\nsys.exit(errors.exit_code(main))"))
    assert code == 1 and err.startswith("Traceback") and err.endswith("RuntimeError: a fault\n")


PRINTING = """
def main():
    for _ in range(5000): print("a line of some length")
    sys.stderr.write("done\\n")

sys.exit(errors.exit_code(main))
"""


def test_a_reader_that_goes_away_does_not_stop_the_script():
    process = start(PRINTING)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == "done\n"
    assert process.wait(60) == 0


def test_standard_output_on_a_full_device_is_one_message():
    with open("/dev/full", "w") as full:
        code, _, err = ended(start(PRINTING, stdout=full))
    assert code == 2
    assert (
        err.endswith("error: standard output: No space left on device; free some space, or choose another folder\n")
        and "Traceback" not in err
    )


@pytest.mark.parametrize("number", [1, 2])
def test_a_closed_stream_is_no_error_and_no_file_gets_its_number(number, tmp_path):
    """A file that is opened later must not receive what is printed."""
    code = """
def main():
    file = open({path!r}, "w")
    print("printed"); sys.stderr.write("said"); print(flush=True); sys.stderr.flush()
    file.write("content")

sys.exit(errors.exit_code(main))
"""
    path = tmp_path / "file"
    command = [sys.executable, "-c", PRELUDE + code.format(path=str(path))]
    shell = f'exec "$@" {number}>&-'
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(["bash", "-c", shell, "-", *command], env=environment, capture_output=True, check=False)
    assert done.returncode == 0 and path.read_text() == "content"


def test_an_error_of_the_system_is_a_message():
    code, _, err = ended(start("def main(): open('/nowhere/\\x1b[31m')\nsys.exit(errors.exit_code(main))"))
    assert (code, err) == (2, "error: /nowhere/\\x1b[31m: No such file or directory\n")


def test_log_lines_and_arguments_cannot_act_on_a_terminal():
    script = """
import logging
def main():
    logging.getLogger("x").warning("%s is no image", "a\\x1b]0;title\\x07\\u202e")
    errors.ArgumentParser(prog="p").parse_args(["--\\x9b2J"])

sys.exit(errors.exit_code(main))
"""
    code, _, err = ended(start(script))
    assert code == 2
    assert err.splitlines() == [
        "a\\x1b]0;title\\x07\\u202e is no image",
        "usage: p [-h]",
        "p: error: unrecognized arguments: --\\x9b2J",
    ]
