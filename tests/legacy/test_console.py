"""The log is printed where nobody has set up logging; as soon as somebody has, that alone decides."""

import subprocess
import sys

import pytest

LOG = """
import logging, sys
from mrcnn.legacy import console
BEFORE
console.show_log()
console.show_log()
log = logging.getLogger("mrcnn.engine.trainer")
log.info("first")
AFTER
log.info("second")
log.debug("detail")
log.warning("third")
"""
ROOT_AT = "logging.basicConfig(level=logging.{}, stream=sys.stderr)"
OWN = "logging.getLogger('mrcnn').addHandler(logging.StreamHandler(sys.stderr))"
LINES = "INFO:mrcnn.engine.trainer:second\nWARNING:mrcnn.engine.trainer:third\n"


@pytest.mark.parametrize(
    ("before", "after", "stdout", "stderr"),
    [
        ("", "", "first\nsecond\nthird\n", ""),
        ("", ROOT_AT.format("INFO"), "first\n", LINES),
        ("", ROOT_AT.format("WARNING"), "first\n", LINES.splitlines(keepends=True)[1]),
        (ROOT_AT.format("ERROR"), "", "", ""),
        (OWN, "", "", "third\n"),
        ("", OWN + "; logging.getLogger('mrcnn').setLevel(logging.INFO)", "first\n", "second\nthird\n"),
        ("", "logging.getLogger('mrcnn').setLevel(logging.WARNING)", "first\nthird\n", ""),
        ("", "sys.stdout = sys.stderr", "first\n", "second\nthird\n"),
    ],
)
def test_who_shows_what(before, after, stdout, stderr):
    code = LOG.replace("BEFORE", before).replace("AFTER", after)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.stderr) == (stdout, stderr)
