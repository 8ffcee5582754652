"""Hosts that wait for one another: all there, too late, told different things, or not reachable. Threads play hosts."""

import json
import logging
import socket
import threading
import time

import pytest

from mrcnn.backend import rendezvous
from mrcnn.errors import InputError
from tests.addresses import free_addresses


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    monkeypatch.setattr(rendezvous, "PAUSE", 0.02)


@pytest.fixture
def addresses() -> list[str]:
    """Free ones for three hosts."""
    return free_addresses(3)


class Host(threading.Thread):
    """Calls `meet`; `ended` is when it came back, `error` what it raised."""

    def __init__(self, addresses: list[str], index: int, limit: float = 20.0, notice: float = 15.0, **terms) -> None:
        super().__init__(daemon=True)
        self.arguments = (addresses, index, terms, limit, notice)
        self.error, self.ended = "", 0.0
        self.start()

    def run(self) -> None:
        try:
            rendezvous.meet(*self.arguments)
        except InputError as error:
            self.error = str(error)
        self.ended = time.monotonic()

    def result(self) -> str:
        self.join(20)
        assert not self.is_alive(), "it waits"
        return self.error


def port(address: str) -> int:
    return int(address.rpartition(":")[2])


def visit(address: str, index: int, terms: dict) -> socket.socket:
    """A connection to the first host by hand."""
    for _ in range(100):
        try:
            connection = socket.create_connection(("localhost", port(address)))
            break
        except ConnectionRefusedError:
            time.sleep(0.02)
    connection.sendall(json.dumps({"index": index, "terms": terms}).encode() + b"\n")
    return connection


def test_nobody_goes_before_the_last_is_there(addresses):
    hosts = [Host(addresses, 2), Host(addresses, 0)]
    time.sleep(0.4)
    last = time.monotonic()
    hosts.append(Host(addresses, 1))
    assert [host.result() for host in hosts] == ["", "", ""]
    assert min(host.ended for host in hosts) > last
    for address in addresses:  # what a backend does next
        socket.create_server(("", port(address))).close()


def test_it_says_for_whom_it_waits_and_gives_up(addresses, caplog):
    with caplog.at_level(logging.WARNING):
        first, second = (Host(addresses, index, limit=1.5, notice=0.2) for index in (0, 1))
        errors = first.result(), second.result()
    for error in errors:  # the first one tells the other
        assert f"there is still no host 2, {addresses[2]}. Start the same command there, with --host-index 2" in error
    said = [record.getMessage() for record in caplog.records]
    assert any(text.startswith(f"waiting for host 2, {addresses[2]} since") for text in said)
    assert len(said) <= 6, "seldom"


def test_the_first_host_is_missing(addresses, caplog):
    with caplog.at_level(logging.WARNING):
        error = Host(addresses, 1, limit=0.6, notice=0.1).result()
    assert f"there is still no host 0, {addresses[0]} (" in error and "refused" in error and "--host-index 0" in error
    assert "refused" in caplog.records[0].getMessage()


def test_one_that_went_away_is_missing_again(addresses):
    first = Host(addresses, 0)
    with socket.create_server(("", port(addresses[1]))):  # so that it can be reached
        visitor = visit(addresses[0], 1, {"list of --hosts": addresses})
        assert visitor.makefile().readline() == '{"missing": [2]}\n'
    visitor.close()
    other = Host(addresses, 2)
    time.sleep(0.4)
    assert first.is_alive() and other.is_alive()
    assert [Host(addresses, 1).result(), first.result(), other.result()] == ["", "", ""]


def test_other_options_end_all(addresses):
    first = Host(addresses, 0, **{"--seed": 1, "--epochs": [2]})
    second = Host(addresses, 1, **{"--seed": 1, "--epochs": [3]})
    expected = f"host 1, {addresses[1]}, was started with another --epochs than host 0: [3], not [2]"
    assert expected in first.result() and expected in second.result()


def test_two_with_the_same_index(addresses):
    first, second = Host(addresses, 0), Host(addresses, 1)
    time.sleep(0.4)
    intruder = visit(addresses[0], 1, {})
    answer = json.loads(intruder.makefile().readline())
    assert "--host-index 1 (from " in answer["error"] and "is that of another host" in answer["error"]
    assert [Host(addresses, 2).result(), first.result(), second.result()] == ["", "", ""]


def test_a_port_in_use(addresses):
    message = f"port {port(addresses[0])} of this host, .*in use"
    with socket.create_server(("", port(addresses[0]))), pytest.raises(InputError, match=message):
        rendezvous.meet(addresses, 0, {})


def test_another_program_answers(addresses):
    with socket.create_server(("", port(addresses[0]))) as server:
        host = Host(addresses, 1, limit=0.5)
        server.accept()[0].sendall(b"HTTP/1.1 400 Bad Request\r\n")
        server.close()
        error = host.result()
    assert f"no host 0, {addresses[0]}" in error


def test_a_host_that_cannot_be_reached(addresses):
    first = Host(addresses, 0)
    visit(addresses[0], 1, {"list of --hosts": addresses})
    assert "host 1 reaches host 0, but not the other way round" in first.result()
