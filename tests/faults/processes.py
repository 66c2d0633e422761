"""Peers that are stopped and killed, and processes that may open no more files."""

from __future__ import annotations

import dataclasses
import logging
import socket

import anyio

from anyws import Connection, connect, serve

from .._io.network import no_more_files
from ..serving import echo
from .faults import fault
from .seen import NOTHING, Seen, broken, given_up, nothing, raised
from .stage import LOGGER, Stage

__all__: list[str] = []

# Seconds: less than keepalive has patience, and more than both together.
_SHORT = 1.0
_PATIENCE = 4.0
_LONG = 3.0

_BROKEN = broken("EOFError", "ConnectionResetError", "BrokenPipeError")


@fault("the peer is stopped for 1 s (SIGSTOP), both send", nothing())
async def stopped_for_a_while(stage: Stage) -> Seen:
    async with stage.joined(patience=_PATIENCE) as pair:

        async def stop() -> None:
            await pair.peer.stop()
            await anyio.sleep(_SHORT)
            await pair.peer.go_on()

        return await pair.live_through(stop)


@fault("the peer is stopped (SIGSTOP), nobody sends", given_up(1, 2))
async def stopped_and_idle(stage: Stage) -> Seen:
    async with stage.joined(talks=False) as pair:
        return await pair.end_by(pair.peer.stop)


@fault("the peer is stopped (SIGSTOP), both send", given_up(1, 2, "is silent", "does not read"))
async def stopped(stage: Stage) -> Seen:
    async with stage.joined() as pair:
        return await pair.end_by(pair.peer.stop)


@fault(
    "this side was stopped for 3 s, and goes on (as the peer tells)",
    raised("ConnectionClosedError", latest=1.0),
)
async def was_stopped(stage: Stage) -> Seen:
    """Of the other role than the stage says: the one that is stopped is the peer."""
    other = dataclasses.replace(stage, role="server" if stage.role == "client" else "client")
    async with other.joined() as pair:
        await pair.end_by(pair.peer.stop)
        await anyio.sleep(_LONG)
        began = anyio.current_time()
        await pair.peer.go_on()
        seen = await pair.peer.read_end()
        return dataclasses.replace(seen, seconds=anyio.current_time() - began)


@fault("the peer is killed (SIGKILL), nobody sends", _BROKEN)
async def killed_and_idle(stage: Stage) -> Seen:
    async with stage.joined(talks=False) as pair:
        return await pair.end_by(pair.peer.kill)


@fault("the peer is killed (SIGKILL), both send", _BROKEN)
async def killed(stage: Stage) -> Seen:
    async with stage.joined() as pair:
        return await pair.end_by(pair.peer.kill)


@fault(
    "no more files may be opened",
    client=raised("OSError"),
    server=nothing(latest=0.25),
    is_quick=True,
)
async def no_files(stage: Stage) -> Seen:
    if stage.role == "client":
        return await _connect_without_files()
    return await _accept_without_files()


async def _connect_without_files() -> Seen:
    async with serve(echo, "127.0.0.1", logger=LOGGER) as server:
        began = anyio.current_time()
        with no_more_files():
            try:
                async with connect(server.uri, logger=LOGGER):
                    raise AssertionError("there was a file for the socket")
            except OSError as exc:
                seen = Seen.of(exc, anyio.current_time() - began)
        async with connect(server.uri, logger=LOGGER) as ws:
            await _round_trip(ws)
        return seen


class _Failures(logging.Handler):
    """Keeps what is logged above INFO.

    Attributes:
        first: set when there is something.
    """

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.first = anyio.Event()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())
        self.first.set()


async def _accept_without_files() -> Seen:
    """Let somebody come who cannot be accepted, then give the files back."""
    failures = _Failures()
    logger = logging.Logger("faults")
    logger.addHandler(failures)
    async with (
        serve(echo, "127.0.0.1", logger=logger) as server,
        connect(server.uri, logger=LOGGER) as ws,
    ):
        with socket.socket() as stranger:
            with no_more_files():
                stranger.connect(("127.0.0.1", server.port))
                await failures.first.wait()
                await _round_trip(ws)
            began = anyio.current_time()
            while not server._admission.arrivals:  # noqa: ASYNC110  # nothing tells of it
                await anyio.sleep(0.001)
            seconds = anyio.current_time() - began
        async with connect(server.uri, logger=LOGGER) as another:
            await _round_trip(another)
    return Seen(NOTHING, seconds, note=f"logged {len(failures.lines)} times: {failures.lines[0]}")


async def _round_trip(ws: Connection) -> None:
    await ws.send("hello")
    assert await ws.receive() == "hello"
