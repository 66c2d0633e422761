"""Every way in which a connection ends, or does not come about: one function for each.

Each opens something, brings it to its end, and returns; ours are one end of the connection, or
both.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from socket import socket as Socket

import anyio
import trustme

from anyws import (
    ConcurrencyError,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    HandshakeRejected,
    Retry,
    Server,
    ServerConnection,
    connect,
    reconnect,
    serve,
)
from anyws.testing import CONTINUATION, TEXT, UPGRADE, Frame, RawPeer, connection_pair

from ..raw import closed_port
from ..scripted import MEMORY, Role, settle
from ..support import SocketStream, accept, listen
from ..support import connect as connect_raw

__all__ = ["ENDS", "Place", "open_place"]

# Of its own: what records exceptions, as pytest does, would keep them alive.
LOGGER = logging.Logger("endurance")
LOGGER.disabled = True

# Seconds: a limit that is there to be reached.
SHORT = 0.002

End = Callable[["Place"], Awaitable[None]]

ENDS: dict[str, End] = {}


def end(function: End) -> End:
    """Add a function to `ENDS`."""
    ENDS[function.__name__] = function
    return function


# A place where connections begin and end


@dataclass(frozen=True, slots=True)
class Place:
    """Servers to connect to, and ports where something else is."""

    server: Server
    tls_server: Server
    client_ssl: ssl.SSLContext
    silent: Socket  # listens, and leaves everything else to the test
    refused_port: int

    def uri(self, path: str) -> str:
        return f"{self.server.uri}{path}"

    def tls_uri(self, path: str) -> str:
        return f"{self.tls_server.uri}{path}"

    @property
    def silent_uri(self) -> str:
        return f"ws://127.0.0.1:{self.silent.getsockname()[1]}/"


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    authority = trustme.CA()
    server_ssl = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(server_ssl)
    client_ssl = ssl.create_default_context()
    authority.configure_trust(client_ssl)
    async with (
        serve(handle, "127.0.0.1", logger=LOGGER) as server,
        serve(handle, "127.0.0.1", ssl=server_ssl, logger=LOGGER) as tls_server,
    ):
        with listen() as silent, closed_port() as port:
            yield Place(server, tls_server, client_ssl, silent, port)


async def handle(ws: ServerConnection) -> None:
    """Do what the path of the request says."""
    match ws.request.path:
        case "/iterate":
            async for message in ws:
                await ws.send(message)
        case "/receive":
            while True:
                await ws.send(await ws.receive())
        case "/return":
            await ws.send("goodbye")
        case "/close":
            await ws.close(4000, "enough")
        case "/raise":
            raise KeyError("on purpose")
        case "/cancel":
            with ws.cancel_on_close():
                await anyio.sleep_forever()
        case _:
            await ws.wait_closed()


# Ended by the client


@end
async def closed_by_client(place: Place) -> None:
    async with connect(place.uri("iterate"), logger=LOGGER) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


@end
async def closed_under_a_receiver(place: Place) -> None:
    async with connect(place.uri("receive"), logger=LOGGER) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"
        await ws.close()


@end
async def closed_under_cancel_on_close(place: Place) -> None:
    async with connect(place.uri("cancel"), logger=LOGGER):
        pass


@end
async def client_body_raised(place: Place) -> None:
    with suppress(KeyError):
        async with connect(place.uri("wait"), logger=LOGGER):
            raise KeyError("on purpose")


@end
async def client_body_cancelled(place: Place) -> None:
    with anyio.CancelScope() as scope:
        async with connect(place.uri("wait"), logger=LOGGER) as ws:
            scope.cancel()
            await ws.receive()


@end
async def client_aborted(place: Place) -> None:
    async with connect(place.uri("receive"), logger=LOGGER) as ws:
        await anyio.aclose_forcefully(ws)


@end
async def client_in_a_task_group(place: Place) -> None:
    async with anyio.create_task_group() as tasks:
        ws = await connect(place.uri("receive"), task_group=tasks, logger=LOGGER)
        await ws.send("hello")
        assert await ws.receive() == "hello"
        await ws.aclose()


@end
async def client_task_group_cancelled(place: Place) -> None:
    async with anyio.create_task_group() as tasks:
        await connect(place.uri("receive"), task_group=tasks, logger=LOGGER)
        tasks.cancel_scope.cancel()


# Ended by the server


@end
async def handler_returned(place: Place) -> None:
    async with connect(place.uri("return"), logger=LOGGER) as ws:
        assert [message async for message in ws] == ["goodbye"]


@end
async def closed_by_handler(place: Place) -> None:
    with suppress(ConnectionClosedError):
        async with connect(place.uri("close"), logger=LOGGER) as ws:
            await ws.receive()


@end
async def handler_raised(place: Place) -> None:
    with suppress(ConnectionClosedError):
        async with connect(place.uri("raise"), logger=LOGGER) as ws:
            await ws.receive()


@end
async def server_shut_down(place: Place) -> None:
    async with (
        serve(handle, "127.0.0.1", logger=LOGGER) as server,
        connect(f"{server.uri}receive", logger=LOGGER) as ws,
    ):
        await server.shutdown()
        with suppress(ConnectionClosedOK):
            await ws.receive()


@end
async def server_cancelled(place: Place) -> None:
    with anyio.CancelScope() as scope:
        async with (
            serve(handle, "127.0.0.1", logger=LOGGER) as server,
            connect(f"{server.uri}receive", logger=LOGGER) as ws,
        ):
            await ws.send("hello")
            await ws.receive()
            scope.cancel()


# Clients of the server that do not behave


@asynccontextmanager
async def raw_client(place: Place, path: str = "") -> AsyncIterator[RawPeer]:
    """Connect to the server, and open a connection if there is a path."""
    peer = RawPeer(await connect_raw(place.server.port), is_client=True)
    if path:
        assert (await peer.upgrade(target=path)).status == 101
    try:
        yield peer
    finally:
        await peer.drop()


@end
async def client_reset(place: Place) -> None:
    async with raw_client(place, "/receive") as peer:
        assert isinstance(peer.stream, SocketStream)
        peer.stream.reset()


@end
async def client_gone_without_close_frame(place: Place) -> None:
    async with raw_client(place, "/iterate"):
        pass


@end
async def client_reset_while_messages_went_to_it(place: Place) -> None:
    async with raw_client(place, "/iterate") as peer:
        await peer.send(*[Frame(TEXT, bytes(1000))] * 50)
        assert isinstance(peer.stream, SocketStream)
        peer.stream.reset()


@end
async def client_broke_the_protocol(place: Place) -> None:
    async with raw_client(place, "/receive") as peer:
        await peer.send(Frame(3))
        assert (await peer.receive_close())[0] == 1002


@end
async def client_sent_garbage(place: Place) -> None:
    async with raw_client(place) as peer:
        await peer.send(b"\0garbage\r\n\r\n")
        assert (await peer.read_response()).status == 400


@end
async def client_left_at_once(place: Place) -> None:
    async with raw_client(place):
        pass


@end
async def client_asked_for_nothing(place: Place) -> None:
    async with raw_client(place) as peer:
        await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert (await peer.read_response()).status == 426


# Limits that are reached and rules that are broken, at either end


ScriptedEnd = Callable[[Role], Awaitable[None]]


def at_either_end(function: ScriptedEnd) -> ScriptedEnd:
    """Add a function to `ENDS` twice: our end is the client's, then the server's."""
    roles: tuple[Role, ...] = ("client", "server")
    for role in roles:

        async def run(_: Place, role: Role = role) -> None:
            await function(role)

        ENDS[f"{function.__name__}_{role}"] = run
    return function


@at_either_end
async def gave_up_a_silent_peer(role: Role) -> None:
    async with MEMORY.scripted(role, logger=LOGGER, ping_interval=SHORT, ping_timeout=SHORT) as (
        ws,
        _,
    ):
        with suppress(ConnectionClosedError):
            await ws.receive()


@at_either_end
async def gave_up_a_peer_that_does_not_read(role: Role) -> None:
    async with MEMORY.scripted(role, capacity=100, logger=LOGGER, send_timeout=SHORT) as (ws, _):
        with suppress(ConnectionClosedError):
            while True:
                await ws.send(bytes(40_000))


@at_either_end
async def closing_took_too_long(role: Role) -> None:
    async with MEMORY.scripted(role, logger=LOGGER, close_timeout=SHORT) as (ws, _):
        await ws.close()


@at_either_end
async def closing_was_cancelled(role: Role) -> None:
    async with (
        MEMORY.scripted(role, logger=LOGGER) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ws.aclose)
        await peer.receive_close()
        tasks.cancel_scope.cancel()


@at_either_end
async def peer_broke_the_protocol(role: Role) -> None:
    async with (
        MEMORY.scripted(role, logger=LOGGER) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(peer.answer_close)
        await peer.send(Frame(3))
        with suppress(ConnectionClosedError):
            await ws.receive()


@at_either_end
async def peer_sent_too_much(role: Role) -> None:
    async with (
        MEMORY.scripted(role, logger=LOGGER, max_size=10) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(peer.answer_close)
        await peer.send(Frame(TEXT, bytes(11)))
        with suppress(ConnectionClosedError):
            await ws.receive()


@at_either_end
async def ping_had_no_answer(role: Role) -> None:
    async with (
        MEMORY.scripted(role, logger=LOGGER) as (ws, peer),
        anyio.create_task_group() as tasks,
    ):

        async def leave() -> None:
            await peer.receive()
            await peer.drop()

        tasks.start_soon(leave)
        with suppress(ConnectionClosedError):
            await ws.ping()


@at_either_end
async def long_message_was_abandoned(role: Role) -> None:
    async with MEMORY.scripted(role, logger=LOGGER) as (ws, peer):
        with suppress(KeyError):
            async with ws.send_stream() as writer:
                await writer.write(b"begun")
                raise KeyError("on purpose")
        await peer.receive_to_close()


@at_either_end
async def message_was_read_in_part(role: Role) -> None:
    async with MEMORY.scripted(role, logger=LOGGER) as (ws, peer):
        await peer.send(Frame(TEXT, b"begun", fin=False), Frame(CONTINUATION, b"and ended"))
        async with ws.receive_stream() as pieces:
            await anext(pieces)


@at_either_end
async def two_received_at_once(role: Role) -> None:
    async with (
        MEMORY.scripted(role, logger=LOGGER) as (ws, _),
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ws.receive)
        await settle()
        with suppress(ConcurrencyError):
            await ws.receive()
        tasks.cancel_scope.cancel()


# Connections that do not come about


@asynccontextmanager
async def answered_by(
    place: Place, answer: Callable[[RawPeer], Awaitable[object]]
) -> AsyncIterator[str]:
    """Answer one connection to the URI that this yields."""

    async def answer_one() -> None:
        peer = RawPeer(await accept(place.silent), is_client=False)
        try:
            await answer(peer)
        finally:
            await peer.drop()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer_one)
        yield f"://127.0.0.1:{place.silent.getsockname()[1]}/"
        # Whoever ran out of time before it came has nobody answered: this one has to do.
        with Socket() as substitute:
            substitute.connect(place.silent.getsockname())
    with suppress(BlockingIOError):
        while True:
            place.silent.accept()[0].close()


async def refuse(peer: RawPeer) -> None:
    await peer.read_head()
    await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno")


@end
async def server_refused(place: Place) -> None:
    async with answered_by(place, refuse) as uri:
        with suppress(HandshakeRejected):
            async with connect(f"ws{uri}", logger=LOGGER):
                pass


async def answer_garbage(peer: RawPeer) -> None:
    await peer.read_head()
    await peer.send(b"\0garbage\r\n\r\n")


@end
async def server_sent_garbage(place: Place) -> None:
    async with answered_by(place, answer_garbage) as uri:
        with suppress(HandshakeError):
            async with connect(f"ws{uri}", logger=LOGGER):
                pass


async def reset(peer: RawPeer) -> None:
    await peer.stream.receive()
    assert isinstance(peer.stream, SocketStream)
    peer.stream.reset()


@end
async def server_reset_the_handshake(place: Place) -> None:
    async with answered_by(place, reset) as uri:
        with suppress(HandshakeError):
            async with connect(f"ws{uri}", logger=LOGGER):
                pass


@end
async def server_reset_the_handshake_of_tls(place: Place) -> None:
    async with answered_by(place, reset) as uri:
        with suppress(HandshakeError):
            async with connect(f"wss{uri}", ssl=place.client_ssl, logger=LOGGER):
                pass


@end
async def connecting_was_cancelled(place: Place) -> None:
    scope = anyio.CancelScope()

    async def cancel(peer: RawPeer) -> None:
        await peer.read_head()
        scope.cancel()

    # Not around the server: since Python 3.12, contextlib keeps an exception that passes a
    # generator in a cycle.
    async with answered_by(place, cancel) as uri:
        with scope:
            async with connect(f"ws{uri}", logger=LOGGER):
                pass


@end
async def connecting_took_too_long(place: Place) -> None:
    async with answered_by(place, RawPeer.read_rest) as uri:
        with suppress(TimeoutError):
            async with connect(f"ws{uri}", open_timeout=SHORT, logger=LOGGER):
                pass


@end
async def nobody_listened(place: Place) -> None:
    with suppress(OSError):
        async with connect(f"ws://127.0.0.1:{place.refused_port}/", logger=LOGGER):
            pass


@end
async def nobody_listened_at_any_address(place: Place) -> None:
    with suppress(OSError):
        async with connect(f"ws://localhost:{place.refused_port}/", logger=LOGGER):
            pass


# TLS


@end
async def closed_over_tls(place: Place) -> None:
    uri = place.tls_uri("receive")
    async with connect(uri, ssl=place.client_ssl, logger=LOGGER) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


@end
async def aborted_over_tls(place: Place) -> None:
    uri = place.tls_uri("receive")
    async with connect(uri, ssl=place.client_ssl, logger=LOGGER) as ws:
        await anyio.aclose_forcefully(ws)


@end
async def cancelled_over_tls(place: Place) -> None:
    uri = place.tls_uri("receive")
    with anyio.CancelScope() as scope:
        async with connect(uri, ssl=place.client_ssl, logger=LOGGER) as ws:
            scope.cancel()
            await ws.receive()


@end
async def certificate_was_not_trusted(place: Place) -> None:
    with suppress(HandshakeError):
        async with connect(place.tls_uri("receive"), logger=LOGGER):
            pass


@end
async def client_sent_no_tls(place: Place) -> None:
    peer = RawPeer(await connect_raw(place.tls_server.port), is_client=True)
    await peer.send(UPGRADE)
    await peer.read_rest()
    await peer.drop()


# The other ways to connections


@end
async def pair_was_closed(place: Place) -> None:
    async with connection_pair(logger=LOGGER) as (client, server):
        await client.send("hello")
        assert await server.receive() == "hello"


@end
async def reconnecting_ended(place: Place) -> None:
    async with reconnect(place.uri("return"), logger=LOGGER) as attempts:
        left = 2
        async for ws in attempts:
            assert [message async for message in ws] == ["goodbye"]
            left -= 1
            if not left:
                break


@end
async def reconnecting_gave_up(place: Place) -> None:
    uri = f"ws://127.0.0.1:{place.refused_port}/"
    retry = Retry(initial_delay=SHORT, max_attempts=2)
    with suppress(OSError):
        async with reconnect(uri, retry=retry, logger=LOGGER) as attempts:
            async for _ in attempts:
                pass
