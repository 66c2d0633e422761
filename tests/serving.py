"""Handlers, and questions to a server and its log, for the tests of several modules."""

from __future__ import annotations

import logging

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import Server, ServerConnection, connect
from anyws.testing import TEXT, Frame

from .raw import LIMIT

__all__ = ["HELLO", "PendingLog", "check_alive", "connections", "echo", "errors", "levels", "wait"]

HELLO = Frame(TEXT, b"hello")


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def wait(ws: ServerConnection) -> None:
    """Wait for the end without receiving."""
    await ws.wait_closed()


async def check_alive(server: Server) -> None:
    """Let a client of ours talk to a server that echoes."""
    with anyio.fail_after(LIMIT):
        async with connect(server.uri) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


async def connections(server: Server, n: int) -> None:
    """Wait until the handlers of this many connections run."""
    with anyio.fail_after(LIMIT):
        while len(server.connections) != n:
            await checkpoint()


def levels(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Return the levels of what was logged at INFO or above."""
    return [record.levelno for record in caplog.records if record.levelno >= logging.INFO]


def errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


class PendingLog(logging.Handler):
    """A log that notes how many handshakes are under way, whenever one has failed.

    Attributes:
        logger: of the server.
        server: set once it runs.
        most_pending: the most handshakes that there were.
        problems: what was logged above INFO.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logger = logging.Logger("pending", logging.DEBUG)
        self.logger.addHandler(self)
        self.server: Server | None = None
        self.most_pending = 0
        self.problems: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Take note."""
        if record.levelno > logging.INFO:
            self.problems.append(record.getMessage())
        if self.server is not None:
            self.most_pending = max(self.most_pending, len(self.server._admission.arrivals))
