"""The load from the side of a server: it accepts clients, and they echo."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.bench.load import CLOSE_TIMEOUT, HOST, REPLY_TIMEOUT, Load, LoadError
from tests.bench.wire import encode_close, encode_response, unmask

BACKLOG: Final = 1024
KEY: Final = re.compile(rb"\r\nSec-WebSocket-Key: *([^\r\n]+)\r\n", re.IGNORECASE)


@contextmanager
def listening() -> Iterator[socket.socket]:
    """Listen on a free port for as long as the block runs."""
    with socket.create_server((HOST, 0), backlog=BACKLOG) as listener:
        listener.settimeout(REPLY_TIMEOUT)
        yield listener


def accept(load: Load, listener: socket.socket, connections: int) -> None:
    """Accept that many clients and check that each one echoes.

    Raises:
        LoadError: there are no more, or one does not do what it must.
    """
    for _ in range(connections):
        try:
            connected, _ = listener.accept()
        except TimeoutError as error:
            raise LoadError(f"no client has connected within {REPLY_TIMEOUT:g} s") from error
        connected.settimeout(REPLY_TIMEOUT)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if load.target.websocket:
            _answer(connected)
        connected.sendall(load.exchange.sent)
        _check_reply(connected, load)
        load.add(connected)


def dismiss(load: Load) -> None:
    """Close all connections cleanly, the server first to end the stream (RFC 6455 §7.1.1)."""
    for channel in load.channels.values():
        with channel.socket as connected:
            connected.settimeout(CLOSE_TIMEOUT)
            try:
                if load.target.websocket:
                    connected.sendall(encode_close(masked=False))
                    _receive(connected, len(encode_close(masked=True)))
            except (OSError, LoadError):
                pass
    load.channels.clear()
    load.poller.close()


def _answer(connected: socket.socket) -> None:
    """Do the server's part of the opening handshake (§4.2.2)."""
    request = b""
    while b"\r\n\r\n" not in request:
        chunk = connected.recv(65536)
        if not chunk:
            raise LoadError(f"a client closed during the opening handshake: {request[:200]!r}")
        request += chunk
    key = KEY.search(request)
    if key is None:
        raise LoadError(f"a client asks without a key: {request[:200]!r}")
    connected.sendall(encode_response(key[1].strip()))


def _check_reply(connected: socket.socket, load: Load) -> None:
    """Read the first reply, which must be the message again, under any mask."""
    expected = load.exchange.expected
    received = _receive(connected, len(expected))
    same = unmask(received) == unmask(expected) if load.target.websocket else received == expected
    if not same:
        raise LoadError(f"the reply starts with {received[:20]!r}")


def _receive(connected: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        chunk = connected.recv(size - len(received))
        if not chunk:
            raise LoadError(f"a client closed after {len(received)} bytes of a reply")
        received += chunk
    return bytes(received)
