"""Where a fault happens: a connection of ours, whose other side is a process or a script."""

from __future__ import annotations

import json
import logging
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

import anyio
import trustme
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from anyws import Connection, ServerConnection, connect, serve
from anyws._options import ConnectionKeywords

from ..loops import current_loop
from ..scripted import Carrier, Role
from .seen import NOTHING, Seen
from .talk import Talker
from .wire import FAR, NEAR, Wire

__all__ = ["LOGGER", "Pair", "PeerProcess", "Stage"]

#: Of its own, and mute: each fault would be a line.
LOGGER = logging.Logger("faults")
LOGGER.disabled = True

# Seconds of talk before a fault; until a fault counts as not noticed; until the rest is said.
_BEFORE = 0.3
_LIMIT = 12.0
_REST = 30.0


class PeerProcess:
    """The other side, in a process of its own."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        self._process = process
        self._lines = BufferedByteReceiveStream(process.stdout)

    async def read(self) -> Any:
        """Read what it says next."""
        with anyio.fail_after(_REST):
            return json.loads(await self._lines.receive_until(b"\n", 100_000))

    async def read_end(self) -> Seen:
        """Read how the connection ended for it."""
        seen = (await self.read())[3]
        return Seen(**seen)

    async def go(self) -> None:
        """Let it connect."""
        assert self._process.stdin is not None
        await self._process.stdin.send(b"go\n")

    async def stop(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    async def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    async def kill(self) -> None:
        with suppress(ProcessLookupError):  # it has ended
            self._process.kill()
        await self._process.wait()


class Pair:
    """A connection of ours, and the process that it leads to.

    Attributes:
        peer: the process.
        ports: ours, and its.
    """

    def __init__(self, ws: Connection, peer: PeerProcess, *, talks: bool) -> None:
        self.peer = peer
        self.ports: tuple[int, int] = ws.local_address[1], ws.remote_address[1]
        self._ws = ws
        self._talker = Talker(ws, talks=talks)

    async def end_by(self, fault: Callable[[], Awaitable[None]]) -> Seen:
        """Bring about a fault, and wait for what comes of it."""
        talker = self._talker
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talker.run)
            await anyio.sleep(_BEFORE)
            await fault()
            began = anyio.current_time()
            with anyio.move_on_after(_LIMIT):
                await talker.over.wait()
            seconds = anyio.current_time() - began
            tasks.cancel_scope.cancel()
        if talker.closed is None:
            return Seen(NOTHING, seconds)
        return Seen.of(talker.closed, seconds)

    async def live_through(self, fault: Callable[[], Awaitable[None]]) -> Seen:
        """Bring about a fault that passes, then close; say whether all messages came."""
        talker = self._talker
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(talker.run)
            await anyio.sleep(_BEFORE)
            began = anyio.current_time()
            await fault()
            talker.finish()
            with anyio.move_on_after(_REST):
                await talker.over.wait()
            seconds = anyio.current_time() - began
            tasks.cancel_scope.cancel()
        if talker.closed is not None:
            return Seen.of(talker.closed, seconds)
        latency = self._ws.latency
        await self._ws.close()
        sent, received, problems, _ = await self.peer.read()
        ledger = talker.ledger
        problems += ledger.problems
        if (sent, received) != (ledger.received, ledger.sent):
            problems.append(f"the peer sent and received {sent, received}, and we {ledger}")
        if self._ws.close_code != 1000:
            problems.append(f"closed with {self._ws.close_code}")
        if problems:
            return Seen("; ".join(problems), seconds)
        note = f"{ledger.sent} and {received} messages, none lost, latency {latency:.3f} s"
        return Seen(NOTHING, seconds, note=note)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a fault is brought about with.

    Attributes:
        role: ours.
        authority: that certificates are from.
        wire: between the two sides, if there is one.
    """

    role: Role
    authority: trustme.CA
    wire: Wire | None = None

    @asynccontextmanager
    async def joined(
        self, *, talks: bool = True, interval: float = 1.0, patience: float = 1.0
    ) -> AsyncIterator[Pair]:
        """Join a connection of ours with a process.

        Args:
            talks: whether both send all the time.
            interval, patience: of the keepalive of both.
        """
        options: ConnectionKeywords = {
            "ping_interval": interval,
            "ping_timeout": patience,
            "close_timeout": _REST,
            "logger": LOGGER,
        }
        joined = self._to_server if self.role == "client" else self._to_client
        arguments = ["--interval", str(interval), "--patience", str(patience)]
        if talks:
            arguments.append("--talks")
        async with joined(arguments, options) as (ws, peer):
            try:
                yield Pair(ws, peer, talks=talks)
            finally:
                with anyio.CancelScope(shield=True):
                    await anyio.aclose_forcefully(ws)
                    await peer.kill()

    @asynccontextmanager
    async def _to_server(
        self, arguments: list[str], options: ConnectionKeywords
    ) -> AsyncIterator[tuple[Connection, PeerProcess]]:
        host = "127.0.0.1" if self.wire is None else NEAR
        async with (
            _process("server", host, *arguments) as peer,
            connect(f"ws://{self.far}:{await peer.read()}/", **options) as ws,
        ):
            yield ws, peer

    @asynccontextmanager
    async def _to_client(
        self, arguments: list[str], options: ConnectionKeywords
    ) -> AsyncIterator[tuple[Connection, PeerProcess]]:
        found: list[ServerConnection] = []
        here, leave = anyio.Event(), anyio.Event()

        async def handle(ws: ServerConnection) -> None:
            found.append(ws)
            here.set()
            await leave.wait()

        host = "127.0.0.1" if self.wire is None else NEAR
        async with serve(handle, host, **options) as server:
            arguments = [*arguments, "--port", str(server.port)]
            async with _process("client", self.far, *arguments) as peer:
                await peer.read()
                await peer.go()
                with anyio.fail_after(_REST):
                    await here.wait()
                try:
                    yield found[0], peer
                finally:
                    leave.set()

    @property
    def far(self) -> str:
        """The address that leads to a server here, by the wire if there is one."""
        return "127.0.0.1" if self.wire is None else FAR

    @property
    def tls(self) -> Carrier:
        """What joins a connection of ours with a script, over TLS."""
        return Carrier("tls", self.server_ssl, self.client_ssl)

    @property
    def server_ssl(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
        return context

    @property
    def client_ssl(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        self.authority.configure_trust(context)
        return context


@asynccontextmanager
async def _process(role: Role, host: str, *arguments: str) -> AsyncIterator[PeerProcess]:
    """Start a process; it is killed in the end."""
    command = [sys.executable, "-m", "tests.faults.peer", "--loop", current_loop()]
    command += ["--role", role, "--host", host, *arguments]
    async with await anyio.open_process(command, stderr=None) as process:
        peer = PeerProcess(process)
        try:
            yield peer
        finally:
            with anyio.CancelScope(shield=True):
                await peer.kill()
