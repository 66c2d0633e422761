"""Scenarios: cancelled while a connection is opened, in its block, or while that is left.

The socket is closed, the peer hears 1001 if the connection was open, and leaving takes at most the
second that a cancelled block has.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from tempfile import TemporaryDirectory

import anyio
from anyio.lowlevel import checkpoint

from anyws import (
    ClientConnection,
    Connecting,
    Connection,
    HandshakeRejected,
    connect,
    wrap_client,
    wrap_server,
)
from anyws._accept import WrappedServer
from anyws.testing import FaultStream, memory_pair

from ..raw import closed_port, full_listener
from .cases import for_carriers
from .stations import Station, station, witness_over
from .sweep import Broken, Kind, Run, Scenario, beside, check
from .witness import Witness, check_usable

__all__ = ["SCENARIOS", "check_goodbye"]

_REFUSAL = (b"HTTP/1.1 404 Not Found\r\n", b"Content-Length: 4\r\n\r\n", b"none")


async def _use(run: Run, block: Connecting | WrappedServer, opened: list[Connection]) -> None:
    """Open a connection, use it, and leave."""
    async with block as ws:
        run.watch(ws)
        opened.append(ws)
        run.enter("body of a block")
        await ws.ping()
        run.enter(f"{type(block).__name__}.__aexit__")


def check_goodbye(run: Run, witness: Witness, *, opened: bool, code: int = 1000) -> None:
    """Check what the peer was told: `code` in a run without cancellation, 1001 or that in others.

    Args:
        opened: whether our end was open; otherwise the peer need not have been told anything.
    """
    allowed = {code, 1001} if run.fired else {code}
    # There is no grace for those who do not wait.
    may_be_silent = run.fired and (not opened or run.kind is Kind.NATIVE_AGAIN)
    if witness.close_code not in allowed and not (witness.close_code is None and may_be_silent):
        raise Broken(f"the peer was told {witness.close_code}, expected one of {allowed}")


async def _check_left(run: Run, witnesses: list[Witness], opened: list[Connection]) -> None:
    """Check that a block has closed its connection, and told the peer so."""
    for ws in opened:
        check(ws.state.value, "closed", "state once the block is left")
    for witness in witnesses:
        await witness.ended.wait()
        check_goodbye(run, witness, opened=bool(opened))


async def connect_block(run: Run, carrier: str) -> None:
    """Entered and left, with a peer that takes some turns to answer the Close frame."""
    opened: list[Connection] = []
    async with station(run, carrier) as server:
        await run.operate("Connecting.__aenter__", partial(_use, run, server.connect(), opened))
        await _check_left(run, server.witnesses, opened)


async def connect_in_pieces(run: Run) -> None:
    """The bytes of the handshake come few at a time, over a stream that is ours to close."""
    opened: list[Connection] = []
    async with station(run, "memory") as server:
        stream = FaultStream(server.new_stream(), split=10)
        connecting = wrap_client(stream, "ws://localhost/")
        await run.operate("Connecting.__aenter__", partial(_use, run, connecting, opened))
        await _check_left(run, server.witnesses, opened)


async def connect_late(run: Run) -> None:
    """Every piece takes half a second, so that limits run out in the middle of things."""
    opened: list[Connection] = []
    async with station(run, "memory") as server:
        stream = FaultStream(server.new_stream(), delay=0.5)
        connecting = wrap_client(stream, "ws://localhost/")
        await run.operate("Connecting.__aenter__", partial(_use, run, connecting, opened))
        check([ws.state.value for ws in opened], ["closed"] * len(opened), "states")


async def connect_from_address(run: Run, carrier: str) -> None:
    """The address to connect from is looked up, too."""
    opened: list[Connection] = []
    async with station(run, carrier) as server:
        connecting = server.connect(local_host="127.0.0.1")
        await run.operate("Connecting.__aenter__", partial(_use, run, connecting, opened))
        await _check_left(run, server.witnesses, opened)


async def connect_in_a_race(run: Run, carrier: str) -> None:
    """The host has three addresses, tried at once: one refuses, and the others answer."""
    opened: list[Connection] = []
    async with station(run, carrier) as one, station(run, carrier) as other:
        one.may_be_left = other.may_be_left = True
        with closed_port() as closed, _resolving_to(closed, one.port, other.port):
            connecting = one.connect(happy_eyeballs_delay=0)
            await run.operate("Connecting.__aenter__", partial(_use, run, connecting, opened))
        await _check_left(run, one.witnesses + other.witnesses, opened)


@contextmanager
def _resolving_to(*ports: int) -> Iterator[None]:
    """Let every host have as many addresses as there are ports."""
    family, kind = socket.AF_INET, socket.SOCK_STREAM

    async def getaddrinfo(host: str, port: int, **_: object) -> list[object]:
        await checkpoint()
        return [(family, kind, 0, "", ("127.0.0.1", port)) for port in ports]

    original = anyio.getaddrinfo
    anyio.getaddrinfo = getaddrinfo  # type: ignore[assignment]  # as much of it as is needed
    try:
        yield
    finally:
        anyio.getaddrinfo = original


async def connect_to_full_listener(run: Run) -> None:
    """The backlog of a Unix socket is full, and `open_timeout` runs out."""
    with TemporaryDirectory() as directory, full_listener(f"{directory}/socket"):
        connecting = connect("ws://localhost/", path=f"{directory}/socket", open_timeout=0.03)
        await run.operate(
            "Connecting.__aenter__", partial(_use, run, connecting, []), may_raise=TimeoutError
        )


async def connect_block_against_silence(run: Run, carrier: str) -> None:
    """The peer does not answer the Close frame: a second, if cancelled before or meanwhile."""
    opened: list[Connection] = []
    async with station(run, carrier) as server:
        server.answers_close = False
        await run.operate("Connecting.__aenter__", partial(_use, run, server.connect(), opened))
        await _check_left(run, server.witnesses, opened)


async def connect_unanswered(run: Run, carrier: str) -> None:
    """The server does not answer the opening handshake; cancelling takes no time."""
    opened: list[Connection] = []
    async with station(run, carrier) as server:
        server.answers = False
        await run.operate(
            "Connecting.__aenter__",
            partial(_use, run, server.connect(), opened),
            may_raise=TimeoutError,
            grace=0,
        )
        check(opened, [], "connections")


async def connect_rejected(run: Run, carrier: str) -> None:
    """The server refuses, a part of its response at a time."""
    opened: list[Connection] = []
    async with station(run, carrier) as server:
        server.refusal = _REFUSAL
        await run.operate(
            "Connecting.__aenter__",
            partial(_use, run, server.connect(), opened),
            may_raise=HandshakeRejected,
        )
        check(opened, [], "connections")


async def connect_refused(run: Run) -> None:
    """Nobody listens."""
    with closed_port() as port:
        connecting = connect(f"ws://localhost:{port}/")
        await run.operate(
            "Connecting.__aenter__", partial(_use, run, connecting, []), may_raise=OSError
        )


async def connect_in_task_group(run: Run, carrier: str) -> None:
    """Awaited: the connection is the caller's if it was given out, else it is gone."""
    async with station(run, carrier) as server, anyio.create_task_group() as tasks:

        async def start() -> ClientConnection:
            return await server.connect(task_group=tasks)

        outcome = await run.operate("Connecting.__await__", start)
        if outcome.returned:
            run.watch(outcome.value)
            await check_usable(outcome.value, server.witnesses[0])
        for witness in server.witnesses:
            await witness.ended.wait()


async def connection_in_task_group(run: Run, carrier: str) -> None:
    """The task group with the connection is cancelled: that closes it, too."""
    opened: list[Connection] = []

    async def use(server: Station) -> None:
        async with anyio.create_task_group() as tasks:
            ws = await server.connect(task_group=tasks)
            run.watch(ws)
            opened.append(ws)
            run.enter("body of a task group")
            await ws.ping()
            await checkpoint()
            run.enter("end of a task group")
            await ws.close()

    async with station(run, carrier) as server:
        await run.operate("Connecting.__await__", partial(use, server))
        await _check_left(run, server.witnesses, opened)


async def wrap_server_block(run: Run) -> None:
    """Entered and left, with a peer that takes some turns to answer the Close frame."""
    await _wrap_server(run, lambda witness: None)


async def wrap_server_against_silence(run: Run) -> None:
    """The peer does not answer the Close frame."""

    def silence(witness: Witness) -> None:
        witness.answers_close = False

    await _wrap_server(run, silence)


async def _wrap_server(run: Run, prepare: Callable[[Witness], None]) -> None:
    opened: list[Connection] = []
    witnesses: list[Witness] = []
    ours, theirs = memory_pair()

    async def ask() -> None:
        witness = await witness_over(theirs, "client")
        if witness is not None:
            prepare(witness)
            witnesses.append(witness)
            await witness.run()
        await anyio.aclose_forcefully(theirs)

    async with beside(ask):
        await run.operate("WrappedServer.__aenter__", partial(_use, run, wrap_server(ours), opened))
        await _check_left(run, witnesses, opened)


async def wrap_server_unasked(run: Run) -> None:
    """No request comes: 408 after `open_timeout`, and then a second for the peer to leave."""
    ours, theirs = memory_pair()
    opened: list[Connection] = []
    await run.operate(
        "WrappedServer.__aenter__",
        partial(_use, run, wrap_server(ours), opened),
        may_raise=TimeoutError,
        grace=0,
    )
    check(opened, [], "connections")
    await theirs.aclose()


SCENARIOS = [
    *for_carriers(connect_block, by_turns="tcp"),
    *for_carriers(connect_block_against_silence, ("memory",), needs_virtual=True),
    Scenario("connect_in_pieces", connect_in_pieces, is_virtual=True),
    Scenario("connect_late", connect_late, is_virtual=True, needs_virtual=True),
    *for_carriers(connect_from_address, ("tcp",)),
    *for_carriers(connect_in_a_race, ("tcp",), by_turns="tcp"),
    Scenario("connect_to_full_listener", connect_to_full_listener),
    *for_carriers(connect_unanswered, ("memory",), needs_virtual=True),
    *for_carriers(connect_rejected, by_turns="tcp"),
    Scenario("connect_refused", connect_refused, by_turns=True),
    *for_carriers(connect_in_task_group, by_turns="tcp"),
    *for_carriers(connection_in_task_group, by_turns="tcp"),
    Scenario("wrap_server_block", wrap_server_block, is_virtual=True, by_turns=True),
    Scenario(
        "wrap_server_against_silence",
        wrap_server_against_silence,
        is_virtual=True,
        needs_virtual=True,
    ),
    Scenario("wrap_server_unasked", wrap_server_unasked, is_virtual=True, needs_virtual=True),
]
