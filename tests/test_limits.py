"""The limits of a server: how many are let in, who has to wait, and who has to make room.

`test_admission.py` has the counting alone, and `tests.endurance` a crowd of thousands.
"""

from __future__ import annotations

import errno
import logging
import os
import socket as stdlib_socket
import ssl as stdlib_ssl
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import Any

import anyio
import pytest
import trio
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

import anyws._entrance
from anyws import Request, Response, Server, ServerConnection, connect, serve
from anyws.testing import UPGRADE, RawPeer

from ._io.network import no_more_files
from .endurance.measure import take_footprint
from .raw import LIMIT, raw_client
from .scripted import settle
from .serving import PendingLog, check_alive, connections, echo, errors, levels, wait

pytestmark = pytest.mark.anyio

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"


@contextmanager
def strangers(server: Server, n: int) -> Iterator[list[stdlib_socket.socket]]:
    """Connect so many times, and say nothing."""
    sockets = [stdlib_socket.create_connection(("127.0.0.1", server.port)) for _ in range(n)]
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(LIMIT):
        while not condition():
            await checkpoint()


async def arrived(server: Server, n: int) -> None:
    """Wait until so many handshakes are under way."""
    await until(lambda: len(server._admission.arrivals) == n)


async def nobody_left(server: Server) -> None:
    """Wait until all have gone, and see that nothing is kept of them."""
    await until(lambda: not (server._admission.arrivals or server.connections))
    assert (server._admission._counts, server._admission._addresses) == ({}, {})


@asynccontextmanager
async def upgraded(server: Server, n: int) -> AsyncIterator[list[RawPeer]]:
    """Open so many connections."""
    async with AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(raw_client(server.port)) for _ in range(n)]
        for peer in peers:
            assert (await peer.upgrade()).status == 101
        await connections(server, n)
        yield peers


async def refusal(server: Server) -> tuple[int, str]:
    """Ask to be let in, and return with what status and text that is refused."""
    async with raw_client(server.port) as peer:
        head = await peer.upgrade()
        return head.status, head.body.decode()


# Connections


async def test_one_connection_too_many_is_refused_with_503(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-C4: until another one ends; the health check is answered all the same."""
    caplog.set_level(logging.DEBUG)
    async with serve(echo, "127.0.0.1", max_connections=2, health="/healthz") as server:
        async with upgraded(server, 2) as (first, _):
            for _ in range(3):
                assert await refusal(server) == (
                    503,
                    "the server is full: it takes 2 connections\n",
                )
            async with raw_client(server.port) as probe:
                await probe.send(HEALTH)
                assert (await probe.read_response()).status == 200
            await first.drop()
            await connections(server, 1)
            await check_alive(server)
        await nobody_left(server)
    assert logging.WARNING not in levels(caplog)
    assert errors(caplog) == []


@pytest.mark.parametrize("hook", ["process_request", "process_response"])
async def test_hooks_that_wait_let_nobody_in_above_the_limit(hook: str) -> None:
    """R-C4: what counts is how many are in when the answer is given."""
    released = anyio.Event()
    waiting: list[ServerConnection] = []

    async def wait_for_release(ws: ServerConnection, *_: Request | Response) -> None:
        waiting.append(ws)
        await released.wait()

    statuses: list[int] = []

    async def visit() -> None:
        async with raw_client(server.port) as peer:
            statuses.append((await peer.upgrade()).status)
            await until(lambda: len(statuses) == 5)

    options: dict[str, Any] = {hook: wait_for_release}
    async with (
        serve(wait, "127.0.0.1", max_connections=2, **options) as server,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(5):
            tasks.start_soon(visit)
        await until(lambda: len(waiting) == 5)
        released.set()
    assert sorted(statuses) == [101, 101, 503, 503, 503]


# Addresses


async def test_one_from_the_same_address_too_many_is_refused_at_once() -> None:
    """R-C4: those who have not asked for anything yet count too."""
    async with serve(echo, "127.0.0.1", max_connections_per_address=3) as server:
        async with upgraded(server, 2):
            with strangers(server, 1):
                await arrived(server, 1)
                async with raw_client(server.port) as peer:
                    head = await peer.read_response()
                    assert await peer.read_rest() == b""
                assert (head.status, head.body) == (
                    503,
                    b"there are 3 connections from this address, which is the limit\n",
                )
                assert "close" in head.headers["connection"]
            await arrived(server, 0)
            await check_alive(server)
        await nobody_left(server)


async def test_one_from_the_same_address_too_many_is_cut_over_tls(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    async with serve(echo, "127.0.0.1", ssl=server_ssl, max_connections_per_address=2) as server:
        with strangers(server, 2):
            await arrived(server, 2)
            async with raw_client(server.port) as peer:
                assert await peer.read_rest() == b""
        await nobody_left(server)
        async with connect(server.uri, ssl=client_ssl):
            pass
        await nobody_left(server)


@pytest.mark.skipif(not stdlib_socket.has_ipv6, reason="needs IPv6")
async def test_each_address_has_a_limit_of_its_own() -> None:
    async with serve(wait, None, max_connections_per_address=1) as server:
        async with (
            connect(f"ws://127.0.0.1:{server.port}/"),
            connect(f"ws://[::1]:{server.port}/"),
        ):
            await connections(server, 2)
        await nobody_left(server)


async def test_addresses_are_forgotten_however_a_handshake_ends() -> None:
    """No way to leave a count behind."""
    async with serve(echo, "127.0.0.1", max_connections_per_address=100) as server:
        for sent in (b"", b"garbage\r\n\r\n", UPGRADE[:40], UPGRADE, UPGRADE + b"\xff\xff", HEALTH):
            for resets in (False, True):
                with strangers(server, 1) as (sock,):
                    sock.sendall(sent)
                    if resets:
                        await settle()
                        sock.setsockopt(
                            stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                        )
                await settle()
        await nobody_left(server)


# Handshakes under way


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
async def test_the_oldest_handshakes_make_room(
    secure: bool,
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R-C4: so that one who means it gets in, and there are never more than may be."""
    monkeypatch.setattr(anyws._entrance, "PATIENCE", 0.01)
    log = PendingLog()
    async with serve(
        echo,
        "127.0.0.1",
        ssl=server_ssl if secure else None,
        max_pending_handshakes=3,
        logger=log.logger,
    ) as server:
        log.server = server
        with strangers(server, 20) as sockets, anyio.fail_after(LIMIT):
            async with connect(server.uri, ssl=client_ssl if secure else None) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
            assert log.most_pending == 3
            answer = b"" if secure else b"HTTP/1.1 503 Service Unavailable\r\n"
            assert sockets[0].recv(1000)[: len(answer)] == answer
        await nobody_left(server)
    assert log.problems == []


def test_every_handshake_has_a_second_before_it_makes_room() -> None:
    """R-C4: meanwhile the kernel holds those who come."""
    clock = MockClock()

    async def main() -> None:
        async with serve(echo, "127.0.0.1", max_pending_handshakes=2) as server:
            with strangers(server, 1) as (first,):
                await arrived_now(server, 1)
                clock.jump(0.5)
                with strangers(server, 1) as (second,):
                    await arrived_now(server, 2)
                    async with raw_client(server.port) as peer:
                        await peer.send(UPGRADE)
                        clock.jump(0.4)
                        await pause()
                        assert not (has_been_told(first))
                        assert not (has_been_told(second))
                        clock.jump(0.2)
                        assert (await peer.read_head()).status == 101
                        assert first.recv(1000).endswith(
                            b"too many handshakes are under way, and others have come\n"
                        )
                        assert not has_been_told(second)
            await arrived_now(server, 0)

    def has_been_told(sock: stdlib_socket.socket) -> bool:
        try:
            return bool(sock.recv(1000, stdlib_socket.MSG_DONTWAIT))
        except BlockingIOError:
            return False

    async def arrived_now(server: Server, n: int) -> None:
        while len(server._admission.arrivals) != n:
            await pause()

    async def pause() -> None:
        """Let the loop look at its sockets, which does not depend on the clock."""
        for _ in range(5):
            await trio.lowlevel.wait_writable(one)
            await settle()

    one, other = stdlib_socket.socketpair()
    with one, other:
        trio.run(main, clock=clock)


async def test_a_crowd_that_comes_and_goes_leaves_no_timer() -> None:
    async with serve(echo, "127.0.0.1", max_pending_handshakes=1, open_timeout=None) as server:
        before = await take_footprint(server._entrance._reactor)
        for _ in range(10):
            with strangers(server, 1):
                await arrived(server, 1)
                timers = (await take_footprint(server._entrance._reactor)).timers - before.timers
                assert timers in (0, 1)  # uvloop shows none
            await arrived(server, 0)
        assert (await take_footprint(server._entrance._reactor)).timers == before.timers


async def test_a_handshake_whose_hook_waits_makes_room_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(anyws._entrance, "PATIENCE", 0.01)

    async def hook(_: ServerConnection, request: Request) -> None:
        if request.path == "/wait":
            await anyio.sleep_forever()

    async with serve(echo, "127.0.0.1", max_pending_handshakes=1, process_request=hook) as server:
        async with raw_client(server.port) as peer:
            await peer.send(UPGRADE.replace(b"/ ", b"/wait ", 1))
            await arrived(server, 1)
            await check_alive(server)
            assert (await peer.read_response()).status == 503
        await nobody_left(server)


# Files


async def test_the_oldest_handshakes_make_room_when_files_run_out(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """R-C4"""
    monkeypatch.setattr(anyws._entrance, "PATIENCE", 0.0)
    async with serve(echo, "127.0.0.1") as server:
        with strangers(server, 3) as sockets:
            await arrived(server, 3)
            async with raw_client(server.port) as peer:
                # Nobody has looked at the listener since.
                await arrived(server, 4)
                with strangers(server, 1) as (last,), no_more_files():
                    await until(lambda: bool(errors(caplog)))
                    await arrived(server, 1)
                    last.sendall(UPGRADE)
                    await connections(server, 1)
                assert (await peer.read_response()).status == 503
            assert sockets[0].recv(1000).startswith(b"HTTP/1.1 503 ")
        await nobody_left(server)
        await check_alive(server)
    (record,) = errors(caplog)
    assert record.levelno == logging.ERROR
    assert "cannot accept connections for a moment: [Errno 24]" in record.getMessage()


def test_a_lack_of_files_is_one_line_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """R-B2: whether it lasts, or comes and goes."""
    clock = MockClock()
    lack = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        async with serve(echo, "127.0.0.1") as server:
            for _ in range(4 * 121):
                server._entrance._report_failure(lack)
                clock.jump(0.25)

    trio.run(main, clock=clock)
    assert len(errors(caplog)) == 3


def test_handshakes_that_have_just_begun_make_no_room() -> None:
    """R-C4: when files run out, those go that have had their second, and 64 of them at log."""
    clock = MockClock()
    lack = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def main() -> None:
        async with serve(echo, "127.0.0.1", backlog=200) as server:
            arrivals = server._admission.arrivals
            with strangers(server, 70):
                while len(arrivals) != 70:
                    await trio.testing.wait_all_tasks_blocked(0.001)
                clock.jump(0.9)
                server._entrance._report_failure(lack)
                assert len(arrivals) == 70
                clock.jump(0.2)
                server._entrance._report_failure(lack)
                assert len(arrivals) == 6

    trio.run(main, clock=clock)
