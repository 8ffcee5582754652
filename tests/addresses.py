"""Addresses of hosts on this machine."""

import socket


def free_addresses(count: int) -> list[str]:
    """Return addresses "localhost:port" with free ports."""
    sockets = [socket.socket() for _ in range(count)]
    for number in sockets:
        number.bind(("localhost", 0))
    addresses = [f"localhost:{number.getsockname()[1]}" for number in sockets]
    for number in sockets:
        number.close()
    return addresses
