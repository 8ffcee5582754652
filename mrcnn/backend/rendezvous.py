"""The hosts of a training wait for one another here, before a backend connects them: backends wait without a word.

The first host listens on its address. The others connect, say who they are and what they were told to do, and keep the
connection until all are there; who goes away meanwhile is missing again. Messages are lines of JSON: {"index", "terms"}
to the first host, {"missing": [...]} or {"error": ...} from it; nobody missing means go.
"""

import json
import logging
import select
import socket
import time
from collections.abc import Mapping, Sequence
from typing import Any

from mrcnn.errors import InputError

log = logging.getLogger(__name__)

LIMIT = 600.0  # seconds: clusters start machines and fetch images first
NOTICE = 15.0  # seconds until it is said for whom this host waits; then at twice the time, and so on
ANSWER = 5.0  # seconds for what takes milliseconds
PAUSE = 1.0  # seconds between attempts to reach the first host
LONGEST = 1 << 20  # bytes of a message


def meet(
    addresses: Sequence[str],
    index: int,
    terms: Mapping[str, Any],
    limit: float = LIMIT,
    notice: float = NOTICE,
) -> None:
    """Return when all hosts are there. Their ports are free again then, for the backend.

    Args:
        addresses: "host:port" of all, the same list for each.
        index: which of them this host is.
        terms: what must be the same on all, by name; values as JSON has them.
        limit: seconds to wait.
        notice: seconds after which a line says for whom.

    Raises:
        InputError: after `limit`; other terms elsewhere; a port that is in use or cannot be reached.
    """
    patience = _Patience(limit, notice)
    same = json.loads(json.dumps({"list of --hosts": list(addresses), **terms}))
    with _listen(addresses[index]) as server:
        if index == 0:
            _Gathering(addresses, same, patience).run(server)
        else:
            _wait_at_first(addresses, index, same, patience)


class _Patience:
    """How long has been waited: says so, seldom, and gives up."""

    def __init__(self, limit: float, notice: float) -> None:
        self.limit, self.notice, self.next = limit, notice, notice
        self.began = time.monotonic()

    def check(self, missing: str, advice: str) -> None:
        waited = time.monotonic() - self.began
        if waited >= self.limit:
            raise InputError(f"after {waited:.0f} s there is still no {missing}. {advice}")
        if waited >= self.next:
            log.warning("waiting for %s since %.0f s, at most %.0f", missing, waited, self.limit)
            self.next = 2 * waited


class _Line:
    """Messages over a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.rest = connection, b""
        connection.settimeout(ANSWER)

    def send(self, message: dict[str, Any]) -> None:
        self.connection.sendall(json.dumps(message).encode() + b"\n")

    def receive(self, seconds: float) -> dict[str, Any] | None:
        """The next message; None if none comes in that time. OSError: the other side is gone, or is not one of us."""
        end = time.monotonic() + seconds
        while b"\n" not in self.rest:
            if not select.select([self.connection], [], [], max(0.0, end - time.monotonic()))[0]:
                return None
            received = self.connection.recv(1 << 16)
            if not received:
                raise ConnectionError("it closed the connection")
            self.rest += received
            if len(self.rest) > LONGEST:
                raise ConnectionError("another program answers")
        line, _, self.rest = self.rest.partition(b"\n")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise ConnectionError("another program answers")
        return message


class _Gathering:
    """What the first host does."""

    def __init__(self, addresses: Sequence[str], terms: dict[str, Any], patience: _Patience) -> None:
        self.addresses, self.terms, self.patience = addresses, terms, patience
        self.guests: dict[int, _Line] = {}

    def run(self, server: socket.socket) -> None:
        try:
            while missing := self.missing():
                names = _names(missing, self.addresses)
                options = " or ".join(f"--host-index {number}" for number in missing)
                self.patience.check(
                    names,
                    f"Start the same command there, with {options}; if it runs, "
                    f"{self.addresses[0]} cannot be reached from there (name, firewall)",
                )
                self.let_in(server)
                self.drop_lost()
            self.tell({"missing": []})
            for line in self.guests.values():  # they close first, so that this port is free at once
                _until_closed(line)
        except InputError as error:
            self.tell({"error": str(error)})
            raise
        finally:
            for line in self.guests.values():
                line.connection.close()

    def missing(self) -> list[int]:
        return [number for number in range(1, len(self.addresses)) if number not in self.guests]

    def tell(self, message: dict[str, Any]) -> None:
        for line in self.guests.values():
            try:
                line.send(message)
            except OSError:
                continue  # it is gone, which the next look finds, or the backend

    def let_in(self, server: socket.socket) -> None:
        """Take a new host, if one comes within a second."""
        if not select.select([server], [], [], 1.0)[0]:
            return
        connection, (theirs, *_) = server.accept()
        line = _Line(connection)
        try:
            message = line.receive(ANSWER) or {}
        except OSError:
            message = {}
        index, terms = message.get("index"), message.get("terms")
        if not isinstance(index, int) or not isinstance(terms, dict):
            connection.close()  # a port scanner, or one of us that has gone already
            return
        self.drop_lost()
        if index in self.guests or not 0 < index < len(self.addresses):
            line.send({"error": f"--host-index {index} (from {theirs}) is that of another host: each has its own"})
            connection.close()
            return
        self.guests[index] = line
        self.compare(index, terms)
        self.reach(index)
        if missing := self.missing():
            self.tell({"missing": missing})

    def compare(self, index: int, theirs: dict[str, Any]) -> None:
        different = [name for name in self.terms if theirs.get(name) != self.terms[name]]
        if different:
            name = different[0]
            raise InputError(
                f"host {index}, {self.addresses[index]}, was started with another {name} than host 0: "
                f"{theirs.get(name)}, not {self.terms[name]}. The commands may differ in --host-index only"
            )

    def reach(self, index: int) -> None:
        try:
            socket.create_connection(_pair(self.addresses[index]), timeout=ANSWER).close()
        except OSError as error:
            raise InputError(
                f"host {index} reaches host 0, but not the other way round: {self.addresses[index]}: {error}. "
                "Look at the name, the port and the firewall; all hosts connect to one another"
            ) from error

    def drop_lost(self) -> None:
        for number, line in list(self.guests.items()):
            try:
                line.receive(0.0)
            except OSError:
                self.guests.pop(number).connection.close()
                self.tell({"missing": self.missing()})


def _wait_at_first(addresses: Sequence[str], index: int, terms: dict[str, Any], patience: _Patience) -> None:
    """What the other hosts do: until the first one says that nobody is missing."""
    while True:
        try:
            with socket.create_connection(_pair(addresses[0]), timeout=ANSWER) as connection:
                line = _Line(connection)
                line.send({"index": index, "terms": terms})
                # from here on the first host decides when it is too late
                _listen_to_first(line, addresses, _Patience(patience.limit + 2 * ANSWER, patience.notice))
                return
        except OSError as error:
            patience.check(
                f"host 0, {addresses[0]} ({error})",
                "Start the same command there, with --host-index 0; "
                "if it runs, it cannot be reached from here (name, firewall)",
            )
        time.sleep(PAUSE)


def _listen_to_first(line: _Line, addresses: Sequence[str], patience: _Patience) -> None:
    names = f"an answer of host 0, {addresses[0]}"
    while True:
        message = line.receive(1.0) or {}
        if "error" in message:
            raise InputError(message["error"])
        if message.get("missing") == []:
            return
        names = _names(message["missing"], addresses) if "missing" in message else names
        patience.check(names, "Start the same command there, with its --host-index")


def _names(indices: Sequence[int], addresses: Sequence[str]) -> str:
    return "; ".join(f"host {index}, {addresses[index]}" for index in indices)


def _pair(address: str) -> tuple[str, int]:
    name, _, port = address.rpartition(":")
    return name.strip("[]"), int(port)


def _listen(address: str) -> socket.socket:
    """On all interfaces, as the backends do."""
    port = _pair(address)[1]
    try:
        if socket.has_dualstack_ipv6():
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        return socket.create_server(("", port))
    except OSError as error:
        raise InputError(
            f"port {port} of this host, {address}: {error.strerror}. If another program or an earlier run has it, end "
            "that, or give all hosts a list with another port"
        ) from error


def _until_closed(line: _Line) -> None:
    try:
        line.receive(ANSWER)
    except OSError:
        return
