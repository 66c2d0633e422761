"""Scenarios: cancelled while a server starts, serves, or stops.

No socket stays open, every handler ends, and every client that was served hears 1001.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial

import anyio
from anyio.abc import TaskGroup, TaskStatus

from anyws import Server, ServerConnection, Serving, serve

from ..scripted import settle
from ..support import SocketStream
from .blocks import check_goodbye
from .cases import for_carriers
from .stations import client_over
from .sweep import Run, beside, check
from .witness import Witness, contexts

__all__ = ["SCENARIOS"]

# 0.01 s for handlers that do not end by themselves.
_PATIENCE = 0.01

# Handlers and handshakes each have a second once they are cancelled.
_GRACE = 2.0


class Client:
    """A client of a server that is under test, which may go away at any moment.

    Attributes:
        server: the one to which it connected; None if to none.
        served: set once a message went to and fro, or that failed.
        witness: reads its connection; None if that was not opened.
    """

    def __init__(self, run: Run, carrier: str) -> None:
        self.server: Server | None = None
        self.served = anyio.Event()
        self.witness: Witness | None = None
        self._run = run
        self._carrier = carrier
        self._stream: SocketStream | None = None
        self._go = anyio.Event()

    def go(self, server: Server) -> None:
        """Connect to this server, which listens now.

        A moment later its port may be that of somebody else, or of the client itself.
        """
        self.server = server
        self._stream = SocketStream(socket.create_connection(("127.0.0.1", server.port)))
        self._go.set()

    def stay(self) -> None:
        """Let it not connect at all, if it has not."""
        self._go.set()

    async def run(self) -> None:
        """Wait to be told, talk, and read on to the end."""
        await self._go.wait()
        try:
            if self._stream is not None:
                await self._talk(self._stream)
        finally:
            self.served.set()

    async def _talk(self, stream: SocketStream) -> None:
        async with client_over(stream, self._carrier) as self.witness:
            echoed = False
            if self.witness is not None:
                await self.witness.say("hello")
                echoed = await self.witness.has("hello")
            check(echoed or self._run.fired, True, "whether a message was echoed")
            self.served.set()


class Stage:
    """What a scenario needs around a server: its client, and the connections that it handled.

    Args:
        stubborn: the handler does not end when the connection does, and has to be cancelled.
        handlers: the task group for handlers, if the server is not to have one itself.
    """

    def __init__(
        self,
        run: Run,
        carrier: str,
        *,
        stubborn: bool = False,
        handlers: TaskGroup | None = None,
    ) -> None:
        self.client = Client(run, carrier)
        self.handled: list[ServerConnection] = []
        self._run = run
        self._stubborn = stubborn
        self._handlers = handlers
        self._ssl = contexts()[0] if carrier == "tls" else None

    def serve(self, *, task_status: TaskStatus[Server] | None = None) -> Serving:
        """Return a server that echoes."""
        return serve(
            self._echo,
            "127.0.0.1",
            ssl=self._ssl,
            task_status=task_status,
            handler_task_group=self._handlers,
            shutdown_timeout=_PATIENCE if self._stubborn else 10.0,
        )

    async def _echo(self, ws: ServerConnection) -> None:
        self._run.watch(ws)
        self.handled.append(ws)
        async for message in ws:
            await ws.send(message)
        if self._stubborn:
            await anyio.sleep_forever()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[Server]:
        """Serve a client while the block runs; stop then, and check that nothing is left."""
        async with beside(self.client.run), self.serve() as server:
            self.client.go(server)
            await self.client.served.wait()
            yield server
        self.check_stopped()

    def check_stopped(self) -> None:
        """Check that the server is gone, and has told its client so."""
        for ws in self.handled:
            check(ws.state.value, "closed", "state once the server has stopped")
        if self.client.witness is not None:
            check_goodbye(self._run, self.client.witness, opened=bool(self.handled), code=1001)
        if self.client.server is not None:
            # Not by connecting: another process may have been given the port since.
            descriptors = [sock.fileno() for sock in self.client.server.sockets]
            check(descriptors, [-1], "descriptors of the listening sockets")


async def serve_block(run: Run, carrier: str) -> None:
    """Entered and left, with a client."""
    await _serve_block(run, Stage(run, carrier))


async def serve_block_with_task_group(run: Run, carrier: str) -> None:
    """The handlers run in a task group that is not cancelled with the server."""
    async with anyio.create_task_group() as tasks:
        await _serve_block(run, Stage(run, carrier, handlers=tasks))


async def _serve_block(run: Run, stage: Stage) -> None:
    async def use() -> None:
        async with stage.serve() as server:
            stage.client.go(server)
            run.enter("body of serve")
            await stage.client.served.wait()
            run.enter("Serving.__aexit__")

    async with beside(stage.client.run):
        await run.operate("Serving.__aenter__", use, grace=_GRACE)
        stage.client.stay()
    stage.check_stopped()


class _Started(TaskStatus[Server]):
    """Tells a client of a server that has started."""

    def __init__(self, client: Client) -> None:
        self.server: Server | None = None
        self._client = client

    def started(self, value: Server | None = None) -> None:
        assert value is not None
        self.server = value
        self._client.go(value)


async def serve_awaited(run: Run, carrier: str) -> None:
    """`await serve(...)`, which somebody else shuts down if nobody cancels it."""
    stage = Stage(run, carrier)
    status = _Started(stage.client)

    async def use() -> None:
        await stage.serve(task_status=status)

    async def stop_when_served() -> None:
        await stage.client.served.wait()
        if status.server is not None and not run.fired:
            await status.server.shutdown()

    async with beside(stage.client.run, stop_when_served):
        await run.operate("Serving.__await__", use, grace=_GRACE)
        stage.client.stay()
    stage.check_stopped()


async def serve_started(run: Run, carrier: str) -> None:
    """`await task_group.start(serve, ...)`: it serves if it was given out, else it is gone."""
    stage = Stage(run, carrier)
    async with beside(stage.client.run):
        async with anyio.create_task_group() as tasks:
            outcome = await run.operate(
                "serve in TaskGroup.start", partial(tasks.start, stage.serve), grace=_GRACE
            )
            if outcome.returned:
                stage.client.go(outcome.value)
                await stage.client.served.wait()
                tasks.cancel_scope.cancel()
        stage.client.stay()
    stage.check_stopped()
    check(bool(stage.handled), outcome.returned, "whether a client was served")


async def shutdown(run: Run, carrier: str) -> None:
    """Cancelled, no more is accepted, and the connections go on closing."""
    stage = Stage(run, carrier)
    async with stage.serving() as server:
        await run.operate("Server.shutdown", server.shutdown)
        await _check_ends(stage, server)


async def shutdown_of_stubborn(run: Run, carrier: str) -> None:
    """The handler is cancelled after its grace; cancelled, another shutdown does the rest."""
    stage = Stage(run, carrier, stubborn=True)
    async with stage.serving() as server:
        await run.operate("Server.shutdown", server.shutdown)
        await server.shutdown()
        await _check_ends(stage, server)


async def server_aclose(run: Run, carrier: str) -> None:
    """Cancelled, handlers are cancelled, too."""
    stage = Stage(run, carrier)
    async with stage.serving() as server:
        await run.operate("Server.aclose", server.aclose)
        await _check_ends(stage, server)


async def server_aclose_of_stubborn(run: Run, carrier: str) -> None:
    """Cancelled, handlers are cancelled at once, however much they like to stay."""
    stage = Stage(run, carrier, stubborn=True)
    async with stage.serving() as server:
        await run.operate("Server.aclose", server.aclose)
        await _check_ends(stage, server)


async def _check_ends(stage: Stage, server: Server) -> None:
    """Check that a server that has been told to stop does so, with no more help."""
    await server.wait_closed()
    check(server.connections, frozenset(), "connections")
    assert stage.client.witness is not None
    await stage.client.witness.ended.wait()
    check(stage.client.witness.close_code, 1001, "what the client was told")


async def drain(run: Run, carrier: str) -> None:
    """Cancelled, no more is accepted; the connection is served on, if it is not closed yet."""
    stage = Stage(run, carrier)
    async with stage.serving() as server:
        await run.operate("Server.drain", partial(server.drain, 0.02))
        (ws,) = stage.handled
        witness = stage.client.witness
        assert witness is not None
        if ws.state.value == "open":
            await witness.say("still there")
            check(await witness.has("still there"), True, "whether it is served on")
        await server.shutdown()
        await _check_ends(stage, server)


async def server_wait_closed(run: Run, carrier: str) -> None:
    """Cancelled, nothing changes; somebody shuts the server down if it is not."""
    stage = Stage(run, carrier)
    async with stage.serving() as server:

        async def stop() -> None:
            await settle()
            if not run.fired:
                await server.shutdown()

        async with beside(stop):
            await run.operate("Server.wait_closed", server.wait_closed)
        if server.connections:
            assert stage.client.witness is not None
            await stage.client.witness.say("still there")
            served = await stage.client.witness.has("still there")
            check(served, True, "whether the connection is served on")


_SOCKETS = ("tcp", "tls")

SCENARIOS = [
    *for_carriers(serve_block, _SOCKETS, by_turns="tcp"),
    *for_carriers(serve_block_with_task_group, _SOCKETS, by_turns="tcp"),
    *for_carriers(serve_awaited, _SOCKETS, by_turns="tcp"),
    *for_carriers(serve_started, _SOCKETS, by_turns="tcp"),
    *for_carriers(shutdown, _SOCKETS, by_turns="tcp"),
    *for_carriers(server_aclose, _SOCKETS, by_turns="tcp"),
    *for_carriers(shutdown_of_stubborn, ("tcp",)),
    *for_carriers(server_aclose_of_stubborn, ("tcp",)),
    *for_carriers(drain, ("tcp",)),
    *for_carriers(server_wait_closed, ("tcp",)),
]
