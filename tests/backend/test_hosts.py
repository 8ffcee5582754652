"""Hosts that fail to join: one that never starts, one with other options, a port in use. Each host is a process."""

import json
import os
import pathlib
import socket
import subprocess
import sys

import keras
import pytest

from mrcnn.backend import hosts
from mrcnn.errors import InputError
from tests.addresses import free_addresses

pytestmark = pytest.mark.graph

ROOT = pathlib.Path(__file__).parents[2]
JOIN = """
import json, sys
from mrcnn import errors
from mrcnn.backend import hosts
addresses, index, terms, limit = json.loads(sys.argv[1])
sys.exit(errors.exit_code(lambda: hosts.join(addresses, index, terms, limit)))
"""


def start(addresses: list[str], index: int, limit: float, **terms) -> subprocess.Popen:
    environment = {**os.environ, "KERAS_BACKEND": keras.config.backend(), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-c", JOIN, json.dumps([addresses, index, terms, limit])]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True)


def message_of(process: subprocess.Popen) -> str:
    """Return the error message of a process that must exit with code 2."""
    try:
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 2, errors[-3000:]
    return errors


def test_a_host_that_never_comes():
    alone = [(free_addresses(2), index) for index in (0, 1)]
    processes = [start(addresses, index, 2.0) for addresses, index in alone]
    for (addresses, index), process in zip(alone, processes, strict=True):
        other = f"host {1 - index}, {addresses[1 - index]}"
        errors = message_of(process)
        assert f"waiting for {other}, at most 2 s" in errors
        assert f"error: after 2 s there is still no {other}. Start the same command there, with its" in errors


def test_other_options_end_all_hosts():
    addresses = free_addresses(2)
    terms = {"--seed": 1, "--set": ["A=1"]}
    processes = [start(addresses, 0, 60.0, **terms), start(addresses, 1, 60.0, **{**terms, "--set": ["A=1", "B=ü"]})]
    for process in processes:
        expected = f"error: host 1, {addresses[1]}, was started with another --set than host 0: ['A=1', 'B=ü'], not"
        assert expected in message_of(process)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"--seed": 1, "--epochs": [3]}, r"host 2, c:3, was started with another --epochs than host 0: \[3\]"),
        ({"--seed": 1}, r"another --epochs than host 0: None, not \[2\]"),
        ({"--seed": 1, "--epochs": [2], "--new": 0}, "another --new than host 0: 0, not None"),
    ],
)
def test_the_first_term_that_differs_is_named(theirs, message):
    same = {"--seed": 1, "--epochs": [2]}
    hosts.refuse_other_terms(["a:1", "b:2", "c:3"], [same, dict(same), dict(same)])
    with pytest.raises(InputError, match=message):
        hosts.refuse_other_terms(["a:1", "b:2", "c:3"], [same, dict(same), theirs])


def test_a_port_in_use():
    addresses = free_addresses(2)
    port = int(addresses[0].rpartition(":")[2])
    with socket.create_server(("", port)), pytest.raises(InputError, match=f"port {port} of this host, .*in use"):
        hosts.join(addresses, 0)
