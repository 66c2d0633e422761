"""`Server.drain`: connections are left, or closed one by one; the server ends with the last."""

from __future__ import annotations

import random
import socket
from contextlib import suppress
from socket import socketpair
from ssl import SSLContext
from typing import Any

import anyio
import pytest
import trio
from anyio.abc import UNIXSocketStream
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

from anyws import (
    BasicAuth,
    ConnectionClosedOK,
    HandshakeRejected,
    LocalProtocolError,
    Server,
    ServerConnection,
    connect,
    serve,
)
from anyws.testing import Head, RawPeer, close_frame

from .raw import LIMIT, raw_client
from .scripted import settle
from .serving import check_alive, connections, echo, wait
from .support import SocketStream

pytestmark = pytest.mark.anyio


async def test_draining_leaves_connections_and_accepts_no_more() -> None:
    """R-A9c"""
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1") as server, connect(server.uri) as ws:
            await connections(server, 1)
            await server.drain()
            with pytest.raises(ConnectionRefusedError):
                await connect(server.uri).__aenter__()
            await ws.send("still here")
            assert await ws.receive() == "still here"
            assert len(server.connections) == 1


async def test_the_server_has_ended_when_its_last_handler_has() -> None:
    """R-A9c: a deploy waits for that."""
    ended = []

    async def wait_for_the_end(server: Server) -> None:
        await server.wait_closed()
        ended.append(True)

    with anyio.fail_after(LIMIT):
        async with (
            serve(echo, "127.0.0.1") as server,
            anyio.create_task_group() as tasks,
        ):
            async with connect(server.uri):
                await connections(server, 1)
                tasks.start_soon(wait_for_the_end, server)
                await server.drain()
                await settle()
                assert not ended
            while not ended:
                await checkpoint()
            assert not server.connections


async def test_a_server_without_connections_has_ended_at_once() -> None:
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1") as server:
            await server.drain()
            await server.wait_closed()


async def test_a_started_server_that_is_drained_ends_its_task() -> None:
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            server = await tasks.start(serve, echo, "127.0.0.1")
            async with connect(server.uri) as ws:
                await connections(server, 1)
                await server.drain()
                await ws.send("hello")
                assert await ws.receive() == "hello"


async def test_a_handshake_that_waits_is_answered_with_503() -> None:
    """R-A9c"""
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1") as server, raw_client(server.port) as peer:
            await peer.send(b"GET / HTTP/1.1\r\n")
            while not server._admission.arrivals:
                await checkpoint()
            await server.drain()
            assert (await peer.read_response()).status == 503


@pytest.mark.parametrize("reuse_port", [False, True])
async def test_those_whom_the_kernel_holds_are_answered_with_503(reuse_port: bool) -> None:
    """R-D3: nobody is reset, however many came, and whether there was room for them or not."""
    with anyio.fail_after(LIMIT):
        async with serve(
            echo, "127.0.0.1", reuse_port=reuse_port, max_pending_handshakes=1
        ) as server:
            peers = [
                RawPeer(SocketStream(socket.create_connection(server.addresses[0])), is_client=True)
                for _ in range(100)
            ]
            while not server._admission.arrivals:
                await checkpoint()
            await server.drain()
            for peer in peers:
                assert (await peer.read_response()).status == 503
                await peer.drop()


@pytest.mark.parametrize("secure", [False, True])
async def test_those_whom_the_kernel_holds_are_let_go_when_the_server_is_cancelled(
    server_ssl: SSLContext, secure: bool
) -> None:
    """R-A9d"""

    async def come_and_go(sock: socket.socket) -> None:
        async with SocketStream(sock) as stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()

    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            with anyio.CancelScope() as scope:
                async with serve(echo, "127.0.0.1", ssl=server_ssl if secure else None) as server:
                    await settle()
                    for _ in range(100):
                        sock = socket.create_connection(server.addresses[0])
                        tasks.start_soon(come_and_go, sock)
                    scope.cancel()


async def test_a_socket_that_is_accepted_too_late_is_answered_with_503() -> None:
    """R-A9c: it was under way when the server began to stop."""
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1") as server:
            await settle()
            await server.drain()
            ours, theirs = socketpair()
            server._entrance._accept(ours)
            async with await UNIXSocketStream.from_socket(theirs) as stream:
                response = await RawPeer(stream, is_client=True).read_response()
            assert (response.status, response.body) == (503, b"the server is stopping\n")


async def test_a_socket_that_is_accepted_too_late_for_tls_is_closed(
    server_ssl: SSLContext,
) -> None:
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1", ssl=server_ssl) as server:
            await settle()
            await server.drain()
            ours, theirs = socketpair()
            server._entrance._accept(ours)
            async with await UNIXSocketStream.from_socket(theirs) as stream:
                with pytest.raises(anyio.EndOfStream):
                    await stream.receive()


async def test_a_drained_server_can_be_shut_down() -> None:
    with anyio.fail_after(LIMIT):
        async with serve(wait, "127.0.0.1") as server, connect(server.uri) as ws:
            await connections(server, 1)
            await server.drain()
            await server.shutdown(code=1012)
            await ws.wait_closed()
            assert ws.close_code == 1012


async def test_connections_are_closed_within_the_time_given() -> None:
    """R-A9c: with the code that is given; it returns when they are closed."""
    with anyio.fail_after(LIMIT):
        async with serve(wait, "127.0.0.1") as server, anyio.create_task_group() as tasks:
            codes: list[tuple[int | None, str | None]] = []

            async def visit() -> None:
                async with connect(server.uri) as ws:
                    await ws.wait_closed()
                    codes.append((ws.close_code, ws.close_reason))

            for _ in range(10):
                tasks.start_soon(visit)
            await connections(server, 10)
            held = server.connections
            await server.drain(over=0.05, code=1012, reason="moving")
            assert {each.state.value for each in held} == {"closed"}
        assert codes == [(1012, "moving")] * 10


def test_connections_are_closed_at_moments_spread_over_the_time() -> None:
    """R-A9c: the clients do not come back as one herd."""

    async def main() -> None:
        async with trio.open_nursery() as nursery, serve(wait, "127.0.0.1") as server:
            for _ in range(10):
                nursery.start_soon(visit, server.uri)
            await connections(server, 10)
            held = server.connections
            random.seed(7)
            moments = sorted(random.uniform(0, 60) for _ in range(10))
            random.seed(7)
            nursery.start_soon(server.drain, 60)
            await settle()
            for n, moment in enumerate(moments):
                # A clock that is moved by hand: just up to the moment, and then past it.
                clock.jump(moment - 0.001 - trio.current_time())
                await settle()
                assert sum(each.state.value == "open" for each in held) == 10 - n
                clock.jump(0.002)
                while sum(each.state.value == "open" for each in held) > 9 - n:
                    await trio.lowlevel.checkpoint()

    async def visit(uri: str) -> None:
        async with connect(uri, ping_interval=None) as ws:
            with pytest.raises(ConnectionClosedOK):
                await ws.receive()

    clock = MockClock()
    trio.run(main, clock=clock)


async def test_cancelling_leaves_what_is_not_closed_yet() -> None:
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1") as server, connect(server.uri) as ws:
            await connections(server, 1)
            with anyio.move_on_after(0.01) as scope:
                random.seed(0)  # 0.84: so that the moment is some 80 s away
                await server.drain(over=100)
            assert scope.cancelled_caught
            await ws.send("still here")
            assert await ws.receive() == "still here"
            with pytest.raises(ConnectionRefusedError):
                await connect(server.uri).__aenter__()


async def test_a_peer_that_does_not_answer_is_given_close_timeout() -> None:
    with anyio.fail_after(LIMIT):
        async with (
            serve(wait, "127.0.0.1", close_timeout=0.05) as server,
            raw_client(server.port) as peer,
        ):
            await peer.upgrade()
            await connections(server, 1)
            (held,) = server.connections
            await server.drain(over=0.01)
            assert held.state.value == "closed"
            await peer.expect(close_frame(1001))


async def test_arguments_out_of_range_do_nothing() -> None:
    async with serve(echo, "127.0.0.1") as server:
        with pytest.raises(ValueError, match="over is -1, expected at least 0 seconds"):
            await server.drain(-1)
        with pytest.raises(LocalProtocolError):
            await server.drain(code=1005)
        await check_alive(server)


async def test_a_connection_that_ends_by_itself_is_not_waited_for() -> None:
    leave = anyio.Event()

    async def stay(ws: ServerConnection) -> None:
        await leave.wait()

    with anyio.fail_after(LIMIT):
        async with (
            serve(stay, "127.0.0.1") as server,
            connect(server.uri),
            anyio.create_task_group() as tasks,
        ):
            await connections(server, 1)
            leave.set()
            tasks.start_soon(server.drain, 0.01)


# The health check


async def health(server: Server, method: str = "GET", path: str = "/healthz") -> Head:
    """Ask a server how it is."""
    with anyio.fail_after(LIMIT):
        async with raw_client(server.port) as peer:
            await peer.send(f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            return await (peer.read_head() if method == "HEAD" else peer.read_response())


@pytest.mark.parametrize("path", ["/healthz", "/healthz?full=1", "http://localhost/healthz"])
async def test_a_health_check_is_answered(path: str) -> None:
    """R-B6b: no hook is asked, nor anybody's password."""
    auth = BasicAuth("Ada", "x")
    async with serve(
        wait, "127.0.0.1", health="/healthz", auth=auth, process_request=lambda *_: None
    ) as server:
        response = await health(server, path=path)
        assert (response.status, response.body) == (200, b"ok\n")
        assert response.headers["cache-control"] == "no-store"
        response = await health(server, "HEAD", path)
        assert (response.status, response.headers["content-length"]) == (200, "3")
        response = await health(server, "POST", path)
        assert (response.status, response.headers["allow"]) == (405, "GET, HEAD")
        assert (await health(server, path="/health")).status == 401


@pytest.mark.parametrize("how", ["drain", "shutdown"])
async def test_a_server_that_stops_says_so_to_health_checks(how: str) -> None:
    """R-B6b: for as long as it has handlers; then nobody listens."""
    released = anyio.Event()

    async def hold(_: ServerConnection) -> None:
        await released.wait()

    with anyio.fail_after(LIMIT):
        async with (
            serve(hold, "127.0.0.1", health="/healthz") as server,
            connect(server.uri),
            anyio.create_task_group() as tasks,
        ):
            await connections(server, 1)
            assert (await health(server)).status == 200
            tasks.start_soon(getattr(server, how))
            await settle()
            response = await health(server)
            assert (response.status, response.body) == (503, b"draining\n")
            with pytest.raises(HandshakeRejected) as caught:
                await connect(server.uri).__aenter__()
            assert caught.value.response.status_code == 503
            released.set()
            await server.wait_closed()
            with pytest.raises(ConnectionRefusedError):
                await connect(server.uri).__aenter__()


async def test_a_request_that_has_not_come_does_not_hold_up_the_end() -> None:
    """The peer of a health check may be slow; the server is done."""
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1", health="/healthz") as server:
            async with connect(server.uri):
                await connections(server, 1)
                await server.drain()
                async with raw_client(server.port) as peer:
                    await peer.send(b"GET / HTTP/1.1\r\n")
                    while not server._admission.arrivals:
                        await checkpoint()
                    await anyio.aclose_forcefully(peer.stream)
            await server.wait_closed()


@pytest.mark.parametrize("options", [{"reuse_port": True}, {"sockets": True}])
async def test_a_port_that_others_serve_too_is_left_to_them(options: dict[str, Any]) -> None:
    """What a draining server took from it would be answered with 503."""
    if "sockets" in options:
        options = {"sockets": [socket.create_server(("127.0.0.1", 0))]}
    else:
        options = {"host": "127.0.0.1", **options}
    with anyio.fail_after(LIMIT):
        async with (
            serve(echo, health="/healthz", **options) as server,
            connect(server.uri) as ws,
        ):
            await connections(server, 1)
            await server.drain()
            with pytest.raises(ConnectionRefusedError):
                await connect(server.uri).__aenter__()
            await ws.send("hello")
            assert await ws.receive() == "hello"


def test_the_path_of_the_health_check_is_checked() -> None:
    with pytest.raises(ValueError, match="health is 'healthz', expected a path"):
        _ = serve(wait, health="healthz")
