"""`serve`: its three forms, listening, handlers, stopping.

The clients are scripted, or ours where only the server matters. How a block is left, and
SystemExit in handlers, are in test_lifetime.py.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket as stdlib_socket
import ssl as stdlib_ssl
import stat
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
from anyio.abc import SocketAttribute
from anyio.lowlevel import checkpoint

from anyws import (
    ConnectionClosed,
    ConnectionClosedOK,
    LocalProtocolError,
    Server,
    ServerConnection,
    connect,
    serve,
)
from anyws.testing import UPGRADE, RawPeer, close_frame

from .raw import LIMIT, closed_port, raw_client
from .scripted import settle
from .serving import check_alive, connections, echo, errors, wait

pytestmark = pytest.mark.anyio

needs_unix = pytest.mark.skipif(not hasattr(stdlib_socket, "AF_UNIX"), reason="needs Unix sockets")
needs_ipv6 = pytest.mark.skipif(not stdlib_socket.has_ipv6, reason="needs IPv6")


# The three forms


async def test_a_server_is_a_context_manager() -> None:
    """R-A9a: it is bound when the block begins, and gone when it has ended."""
    async with serve(echo, "127.0.0.1") as server:
        await check_alive(server)
        (sock,) = server.sockets
        assert sock.getsockname() == ("127.0.0.1", server.port) == server.addresses[0]
    assert sock.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        await connect(server.uri).__aenter__()
    await server.wait_closed()


async def test_a_server_starts_in_a_task_group() -> None:
    """R-A9a, R-A9d: bound when `start` returns; cancelling ends it without a group."""
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve, echo, "127.0.0.1")
        await check_alive(server)
        tasks.cancel_scope.cancel()
    await server.wait_closed()


def test_a_server_starts_in_a_nursery_of_trio() -> None:
    """R-A9a"""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, echo, "127.0.0.1")
            await check_alive(server)
            nursery.cancel_scope.cancel()

    trio.run(main)


async def test_a_server_may_be_awaited() -> None:
    """R-A9a: it runs until it is cancelled."""
    with stdlib_socket.create_server(("127.0.0.1", 0)) as sock:
        uri = f"ws://127.0.0.1:{sock.getsockname()[1]}/"

        async def run() -> None:
            await serve(echo, sockets=[sock])
            pytest.fail("it went on")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            async with connect(uri) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
                tasks.cancel_scope.cancel()


async def test_a_server_may_be_started_without_waiting() -> None:
    """A task group and a nursery take `serve` as if it were an async function."""
    with stdlib_socket.create_server(("127.0.0.1", 0)) as sock:
        uri = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        async with anyio.create_task_group() as tasks:

            def serve_here() -> Any:
                return serve(echo, sockets=[sock])

            tasks.start_soon(serve_here)
            async with connect(uri) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
            tasks.cancel_scope.cancel()


def test_a_nursery_of_trio_takes_serve_as_an_async_function() -> None:
    async def main() -> None:
        with stdlib_socket.create_server(("127.0.0.1", 0)) as sock:
            uri = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: serve(echo, sockets=[sock]))
                async with connect(uri) as ws:
                    await ws.send("hello")
                    assert await ws.receive() == "hello"
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_task_of_asyncio_takes_serve_as_a_coroutine() -> None:
    """Cancelled natively, it tells its clients, and CancelledError goes on."""

    async def main() -> None:
        with stdlib_socket.create_server(("127.0.0.1", 0)) as sock:
            uri = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
            task = asyncio.create_task(serve(echo, sockets=[sock]))
            async with connect(uri) as ws:
                task.cancel()
                await ws.wait_closed()
                assert ws.close_code == 1001
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_server_that_is_not_started_leaves_nothing() -> None:
    """As a coroutine that may be closed, but need not be awaited."""
    serving = serve(echo)
    serving.close()


async def test_a_server_that_runs_may_be_closed_as_a_coroutine() -> None:
    serving = serve(echo, path="\0anyws-never-bound")
    with pytest.raises(ValueError, match="thrown in"):
        serving.throw(ValueError("thrown in"))
    serving.close()


async def test_a_serving_object_serves_once() -> None:
    serving = serve(echo, "127.0.0.1")
    async with serving:
        pass
    with pytest.raises(RuntimeError, match="for one server only"):
        await serving


async def test_a_server_that_has_been_shut_down_ends_its_task() -> None:
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve, echo, "127.0.0.1")
        await server.shutdown()


# Where it listens


async def test_port_0_is_one_port_for_all_families() -> None:
    """R-A9a: without a host, on every interface."""
    async with serve(echo) as server:
        assert {address[1] for address in server.addresses} == {server.port}
        families = {sock.family for sock in server.sockets}
        assert stdlib_socket.AF_INET in families
        assert server.uri == f"ws://localhost:{server.port}/"
        await check_alive(server)


@needs_ipv6
async def test_an_ipv6_address_has_brackets_in_the_uri() -> None:
    async with serve(echo, "::1") as server:
        assert server.uri == f"ws://[::1]:{server.port}/"
        await check_alive(server)


async def test_a_port_that_is_taken_is_a_plain_error() -> None:
    """R-A9a, R-A3c: in each of the three forms."""
    with closed_port() as port:
        with pytest.raises(OSError, match="cannot listen on") as caught:
            await serve(echo, "127.0.0.1", port).__aenter__()
        assert caught.value.errno == errno.EADDRINUSE
        async with anyio.create_task_group() as tasks:
            with pytest.raises(OSError, match="cannot listen on"):
                await tasks.start(serve, echo, "127.0.0.1", port)
        with pytest.raises(OSError, match="cannot listen on"):
            await serve(echo, "127.0.0.1", port)


async def test_a_port_may_be_shared() -> None:
    """R-D3"""
    async with (
        serve(echo, "127.0.0.1", reuse_port=True) as server,
        serve(echo, "127.0.0.1", server.port, reuse_port=True) as other,
    ):
        assert other.port == server.port
        await check_alive(server)


async def test_sockets_may_be_given() -> None:
    """R-B10: one that listens, and one that is only bound."""
    listening = stdlib_socket.create_server(("127.0.0.1", 0))
    bound = stdlib_socket.socket()
    bound.bind(("127.0.0.1", 0))
    ports = [sock.getsockname()[1] for sock in (listening, bound)]
    async with serve(echo, sockets=[listening, bound]) as server:
        assert server.sockets == (listening, bound)
        assert server.port == ports[0]
        for port in ports:
            async with connect(f"ws://127.0.0.1:{port}/") as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"
    assert (listening.fileno(), bound.fileno()) == (-1, -1)


async def test_a_socket_that_cannot_listen_is_a_plain_error() -> None:
    with stdlib_socket.socket(type=stdlib_socket.SOCK_DGRAM) as sock, pytest.raises(OSError):  # noqa: PT011
        await serve(echo, sockets=[sock])


@needs_unix
async def test_a_unix_socket_is_bound_and_removed(tmp_path: Path) -> None:
    """R-B10"""
    path = tmp_path / "socket"
    async with serve(echo, path=path, mode=0o660) as server:
        assert stat.S_IMODE(path.stat().st_mode) == 0o660
        assert server.addresses == (str(path),)
        assert server.uri == "ws://localhost/"
        with pytest.raises(ValueError, match="Unix sockets only"):
            _ = server.port
        async with connect(server.uri, path=path) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
    assert not path.exists()


@pytest.mark.skipif(sys.platform != "linux", reason="needs abstract names")
async def test_an_abstract_name_needs_no_file() -> None:
    """R-B10"""
    path = f"\0anyws-{uuid.uuid4()}"
    async with serve(echo, path=path), connect("ws://localhost/", path=path) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"


@needs_unix
async def test_only_a_stale_unix_socket_is_replaced(tmp_path: Path) -> None:
    """R-B10: not one that is in use, nor a file."""
    path = tmp_path / "socket"
    with stdlib_socket.socket(stdlib_socket.AF_UNIX) as stale:
        stale.bind(str(path))
    async with serve(echo, path=path), connect("ws://localhost/", path=path):
        with pytest.raises(OSError, match="a server listens there"):
            await serve(echo, path=path)
    path.write_text("precious")
    with pytest.raises(OSError, match="it is not a socket"):
        await serve(echo, path=path)
    assert path.read_text() == "precious"


@needs_unix
async def test_sockets_of_both_kinds_may_be_given(tmp_path: Path) -> None:
    """The port and the URI are those of TCP."""
    unix = stdlib_socket.socket(stdlib_socket.AF_UNIX)
    unix.bind(str(tmp_path / "socket"))
    tcp = stdlib_socket.create_server(("127.0.0.1", 0))
    async with serve(echo, sockets=[unix, tcp]) as server:
        assert server.port == tcp.getsockname()[1]
        await check_alive(server)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"host": "localhost", "path": "here"}, ValueError, "exclude each other"),
        ({"port": 1, "sockets": [None]}, ValueError, "exclude each other"),
        ({"path": "here", "sockets": [None]}, ValueError, "exclude each other"),
        ({"sockets": []}, ValueError, "sockets is empty"),
        ({"port": 65536}, ValueError, "port is 65536, expected 0-65535"),
        ({"port": -1}, ValueError, "port is -1"),
        ({"on_handler_error": "ignore"}, ValueError, "expected 'log' or 'raise'"),
        ({"open_timeout": -1}, ValueError, "open_timeout is -1"),
        ({"shutdown_timeout": None}, TypeError, "shutdown_timeout is None"),
        ({"max_size": 0}, ValueError, "max_size is 0"),
        ({"subprotocols": ["a b"]}, LocalProtocolError, "not a token"),
        ({"server_header": "a\r\nb: c"}, LocalProtocolError, "server_header has control"),
        ({"max_message_size": 1}, TypeError, "unknown option"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_at_once(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _ = serve(echo, **arguments)


# Handlers


async def return_at_once(ws: ServerConnection) -> None:
    pass


async def raise_error(ws: ServerConnection) -> None:
    raise ValueError("of the handler")


async def raise_group(ws: ServerConnection) -> None:
    raise ExceptionGroup("of the handler", [ValueError(), ExceptionGroup("inner", [KeyError()])])


async def raise_mixed_group(ws: ServerConnection) -> None:
    closed = ConnectionClosedOK(None, None, "remote")
    raise ExceptionGroup("of the handler", [closed, ValueError()])


@pytest.mark.parametrize("handler", [raise_error, raise_group, raise_mixed_group])
async def test_a_handler_that_raises_ends_its_connection_only(
    handler: Callable[[ServerConnection], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """R-A2a: 1011 and one ERROR with the traceback; the others go on."""

    async def handle(ws: ServerConnection) -> None:
        await (handler if ws.request.path == "/bad" else echo)(ws)

    caplog.set_level(logging.DEBUG)
    async with serve(handle, "127.0.0.1") as server, connect(server.uri) as good:
        async with connect(server.uri + "bad") as bad:
            await bad.wait_closed()
            assert bad.close_code == 1011
        await good.send("hello")
        assert await good.receive() == "hello"
    (record,) = errors(caplog)
    assert record.levelno == logging.ERROR
    assert record.name == "anyws"
    assert "the handler of the connection with ('127.0.0.1', " in record.getMessage()
    assert record.exc_info is not None
    assert handler.__name__ in caplog.text
    assert "Traceback" in caplog.text


async def test_a_handler_that_returns_closes_with_1000(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve(return_at_once, "127.0.0.1") as server, connect(server.uri) as ws:
        await ws.wait_closed()
        assert ws.close_code == 1000
    assert errors(caplog) == []


async def receive_for_ever(ws: ServerConnection) -> None:
    while True:
        await ws.receive()


async def receive_in_a_group(ws: ServerConnection) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive_for_ever, ws)
        await anyio.sleep_forever()


async def fail_twice(ws: ServerConnection) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(receive_for_ever, ws)
        await ws.wait_closed()
        await ws.send("too late")


@pytest.mark.parametrize("handler", [receive_for_ever, receive_in_a_group, fail_twice])
@pytest.mark.parametrize("code", [1000, 4000])
async def test_the_end_of_the_connection_may_end_the_handler(
    handler: Callable[[ServerConnection], Awaitable[None]],
    code: int,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-A2b, R-B2: ConnectionClosed, in groups too, is no error."""
    caplog.set_level(logging.DEBUG)
    async with serve(handler, "127.0.0.1") as server:
        async with connect(server.uri) as ws:
            await ws.close(code)
            assert ws.close_code == code
        await connections(server, 0)
    assert errors(caplog) == []


async def test_the_end_of_the_connection_mixed_with_a_cancellation_is_normal(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-A2c: on trio, they leave a task group of the handler in one group."""

    async def handle(ws: ServerConnection) -> None:
        cancelled = anyio.get_cancelled_exc_class()
        try:
            await anyio.sleep_forever()
        except cancelled as exc:
            closed = ConnectionClosedOK(None, None, "remote")
            raise BaseExceptionGroup("", [closed, BaseExceptionGroup("", [exc])]) from None

    caplog.set_level(logging.DEBUG)
    async with serve(handle, "127.0.0.1") as server, connect(server.uri) as ws:
        await connections(server, 1)
        await server.shutdown(grace=0)
        await ws.wait_closed()
        assert ws.close_code == 1001
    assert [record.levelno for record in errors(caplog)] == [logging.WARNING]  # of the shutdown


async def test_an_error_mixed_with_a_cancellation_is_logged_and_the_cancellation_goes_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-A2a, R-A4d"""

    async def handle(ws: ServerConnection) -> None:
        cancelled = anyio.get_cancelled_exc_class()
        try:
            await anyio.sleep_forever()
        except cancelled as exc:
            raise BaseExceptionGroup("", [exc, ValueError("too")]) from None

    caplog.set_level(logging.DEBUG)
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(serve, handle, "127.0.0.1")
        async with connect(server.uri) as ws:
            await connections(server, 1)
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                await ws.wait_closed()
    assert ws.close_code == 1001
    (record,) = errors(caplog)
    assert record.levelno == logging.ERROR
    assert "ValueError: too" in caplog.text


def test_ctrl_c_mixed_with_errors_is_not_swallowed(caplog: pytest.LogCaptureFixture) -> None:
    """R-A4d: it goes on by itself; the error is logged."""

    async def handle(ws: ServerConnection) -> None:
        with trio.move_on_after(0):
            try:
                await trio.sleep_forever()
            except trio.Cancelled as exc:
                parts = [BaseExceptionGroup("", [exc]), KeyboardInterrupt(), ValueError("too")]
                raise BaseExceptionGroup("", parts) from None

    async def main() -> None:
        async with serve(handle, "127.0.0.1") as server, connect(server.uri) as ws:
            await ws.wait_closed()
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(main)
    assert "ValueError: too" in caplog.text


@pytest.mark.parametrize("handler", [raise_error, raise_group])
async def test_a_handler_may_end_the_server_in_tests(
    handler: Callable[[ServerConnection], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    """R-A2d: its exception leaves the block, which is cancelled; the peer gets 1011."""
    raised: list[Exception] = []
    codes = []

    async def handle(ws: ServerConnection) -> None:
        try:
            await handler(ws)
        except Exception as exc:
            raised.append(exc)
            raise

    async def visit(uri: str) -> None:
        async with connect(uri) as ws:
            await ws.wait_closed()
            codes.append(ws.close_code)

    async def run() -> None:
        async with serve(handle, "127.0.0.1", on_handler_error="raise") as server:
            clients.start_soon(visit, server.uri)
            await anyio.sleep_forever()

    async with anyio.create_task_group() as clients:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # which one is checked below
            await run()
        await checkpoint()  # not cancelled any more
    assert codes == [1011]
    assert caught.value is raised[0]
    assert errors(caplog) == []


async def test_a_handler_may_end_a_started_server() -> None:
    """R-A2d: its exception ends the task group."""
    start = partial(serve, raise_error, "127.0.0.1", on_handler_error="raise")

    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            server = await tasks.start(start)
            async with connect(server.uri) as ws:
                await ws.wait_closed()
                await anyio.sleep_forever()

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, match="of the handler")):
        await run()


async def test_the_first_of_several_handler_errors_ends_the_server() -> None:
    """R-A2d"""
    failing = anyio.Event()

    async def handle(ws: ServerConnection) -> None:
        await failing.wait()
        raise ValueError(ws.request.path)

    async def run() -> None:
        async with (
            serve(handle, "127.0.0.1", on_handler_error="raise") as server,
            connect(server.uri + "1"),
            connect(server.uri + "2"),
        ):
            await connections(server, 2)
            failing.set()
            await anyio.sleep_forever()

    with pytest.raises(ValueError, match=r"^/[12]$"):
        await run()
    await checkpoint()


async def test_the_exception_of_the_body_wins_over_that_of_a_handler() -> None:
    """R-A3d, R-A2d: with a note, also if the handler raises while the server stops."""
    error = ValueError("of the body")

    async def handle(ws: ServerConnection) -> None:
        await ws.wait_closed()
        raise KeyError("of the handler")

    async def run() -> None:
        async with (
            serve(handle, "127.0.0.1", on_handler_error="raise") as server,
            connect(server.uri),
        ):
            await connections(server, 1)
            raise error

    with pytest.raises(ValueError, match="of the body") as caught:
        await run()
    assert caught.value is error
    assert error.__notes__ == ["A handler had raised KeyError('of the handler')"]


async def test_an_error_while_the_server_stops_leaves_the_block() -> None:
    """R-A2d: the body itself had ended normally."""

    async def handle(ws: ServerConnection) -> None:
        await ws.wait_closed()
        raise KeyError("of the handler")

    async def run() -> None:
        async with (
            serve(handle, "127.0.0.1", on_handler_error="raise") as server,
            connect(server.uri),
        ):
            await connections(server, 1)

    with pytest.raises(KeyError, match="of the handler"):
        await run()
    await checkpoint()


@pytest.mark.parametrize(
    "error",
    [ValueError("of the body"), ExceptionGroup("of the body", [ValueError()])],
    ids=["error", "group"],
)
async def test_an_exception_of_the_body_leaves_as_the_same_object(error: Exception) -> None:
    """R-A3a, R-A3b: with a client connected, who gets 1001."""
    cause = KeyError("cause")
    codes = []

    async def visit(uri: str) -> None:
        async with connect(uri) as ws:
            await ws.wait_closed()
            codes.append(ws.close_code)

    async def run(server: Any) -> None:
        async with server as running:
            tasks.start_soon(visit, running.uri)
            await connections(running, 1)
            raise error from cause

    async with anyio.create_task_group() as tasks:
        with pytest.raises(type(error)) as caught:
            await run(serve(wait, "127.0.0.1"))
    assert caught.value is error
    assert error.__cause__ is cause
    assert error.__context__ is None
    assert not hasattr(error, "__notes__")
    assert codes == [1001]


# Stopping


async def test_leaving_the_block_closes_connections_with_1001() -> None:
    """R-A9b: handlers see ConnectionClosed, and are not cancelled."""
    seen: list[object] = []

    async def handle(ws: ServerConnection) -> None:
        try:
            await ws.receive()
        except ConnectionClosed as closed:
            await anyio.sleep(0.01)  # it may take its time
            seen.append(closed.sent)

    async def visit(uri: str) -> None:
        async with connect(uri) as ws:
            await ws.wait_closed()
            seen.append(ws.close_code)

    async with anyio.create_task_group() as tasks, serve(handle, "127.0.0.1") as server:
        tasks.start_soon(visit, server.uri)
        await connections(server, 1)
    assert seen == [1001, (1001, "")]


async def test_shutdown_sends_the_code_and_reason_that_are_given() -> None:
    """R-A9b"""
    async with serve(wait, "127.0.0.1") as server, connect(server.uri) as ws:
        await connections(server, 1)
        await server.shutdown(code=1012, reason="back soon")
        await ws.wait_closed()
        assert (ws.close_code, ws.close_reason) == (1012, "back soon")
        with pytest.raises(ConnectionRefusedError):
            await connect(server.uri).__aenter__()
        await server.wait_closed()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"code": 1005}, LocalProtocolError),
        ({"code": 1006}, LocalProtocolError),
        ({"reason": "x" * 124}, LocalProtocolError),
        ({"grace": -1}, ValueError),
    ],
)
async def test_shutdown_with_arguments_out_of_range_does_nothing(
    arguments: dict[str, Any], error: type[Exception]
) -> None:
    """R-B1: whether or not there are connections."""
    async with serve(echo, "127.0.0.1") as server:
        with pytest.raises(error):
            await server.shutdown(**arguments)
        async with connect(server.uri) as ws:
            await connections(server, 1)
            with pytest.raises(error):
                await server.shutdown(**arguments)
            await ws.send("hello")
            assert await ws.receive() == "hello"


@needs_unix
def test_handlers_are_cancelled_after_the_grace(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """R-A9b: by default after `shutdown_timeout`, with a warning."""
    path = tmp_path / "socket"
    ended = []

    async def ignore(ws: ServerConnection) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    cases: list[tuple[dict[str, Any], float]] = [({}, 7), ({"grace": 3}, 3), ({"grace": 0}, 0)]

    async def main() -> None:
        for given, expected in cases:
            async with (
                serve(ignore, path=path, shutdown_timeout=7) as server,
                connect("ws://localhost/", path=path) as ws,
            ):
                await connections(server, 1)
                began = trio.current_time()
                await server.shutdown(**given)
                assert trio.current_time() - began == pytest.approx(expected, abs=0.01)
                assert ended.pop() - began == pytest.approx(expected, abs=0.01)
                await ws.wait_closed()
                assert ws.close_code == 1001

    # Longer than a Unix socket takes to pass a message on, so that none is overtaken.
    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
    assert [record.getMessage() for record in caplog.records] == [
        f"1 handlers had not ended {grace} s after the shutdown began; they are cancelled"
        for grace in (7, 3, 0)
    ]


async def test_several_tasks_may_shut_down_at_once() -> None:
    """Each returns when all handlers have ended."""
    released = anyio.Event()
    ended = []

    async def handle(ws: ServerConnection) -> None:
        await released.wait()
        ended.append(ws)

    async def shut_down(server: Server) -> None:
        await server.shutdown()
        assert len(ended) == 1

    async with serve(handle, "127.0.0.1") as server, connect(server.uri) as ws:
        await connections(server, 1)
        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:
                for _ in range(3):
                    tasks.start_soon(shut_down, server)
                await ws.wait_closed()
                released.set()


async def test_a_cancelled_shutdown_lets_connections_go_on_closing() -> None:
    released = anyio.Event()

    async def handle(ws: ServerConnection) -> None:
        await released.wait()

    async with serve(handle, "127.0.0.1") as server, connect(server.uri) as ws:
        await connections(server, 1)
        with anyio.move_on_after(0.02) as scope:
            await server.shutdown()
        assert scope.cancelled_caught
        await ws.wait_closed()
        assert len(server.connections) == 1
        released.set()


async def test_a_cancelled_aclose_cancels_handlers() -> None:
    async def ignore(ws: ServerConnection) -> None:
        await anyio.sleep_forever()

    async with serve(ignore, "127.0.0.1") as server, connect(server.uri):
        await connections(server, 1)
        with anyio.move_on_after(0.02) as scope:
            await server.aclose()
        assert scope.cancelled_caught
        await connections(server, 0)
        await server.aclose()


async def test_a_pending_handshake_is_answered_with_503() -> None:
    """R-A9b"""
    async with serve(echo, "127.0.0.1") as server, raw_client(server.port) as peer:
        await peer.send(UPGRADE[:40])
        await settle()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.shutdown)
            head = await peer.read_response()
            await peer.stream.aclose()
    assert (head.status, head.body) == (503, b"the server is stopping\n")


@pytest.mark.parametrize("turns", range(4))
async def test_a_request_that_comes_as_the_server_stops_is_answered(turns: int) -> None:
    """R-A9b: with 503, or accepted and closed with 1001, but never left without a word."""
    async with serve(echo, "127.0.0.1") as server, raw_client(server.port) as peer:
        await settle()
        os.write(peer.stream.extra(SocketAttribute.raw_socket).fileno(), UPGRADE)
        for _ in range(turns):
            await checkpoint()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.shutdown)
            await checkpoint()
            head = await peer.read_response()
            if head.status == 101:
                assert await peer.answer_close() == (1001, "")
            else:
                assert head.status == 503
            await peer.stream.aclose()


async def test_a_pending_tls_handshake_is_cut(server_ssl: stdlib_ssl.SSLContext) -> None:
    """R-A9b"""
    async with serve(echo, "127.0.0.1", ssl=server_ssl) as server, raw_client(server.port) as peer:
        await settle()
        with anyio.fail_after(LIMIT):
            await server.shutdown()
            assert await peer.read_rest() == b""


async def test_cancelling_the_server_sends_1001() -> None:
    """R-A9d: to clients that wait, and to those in a handshake nothing; no group comes out."""
    codes = []

    async def ignore(ws: ServerConnection) -> None:
        await anyio.sleep_forever()

    async def visit(uri: str) -> None:
        async with connect(uri) as ws:
            await ws.wait_closed()
            codes.append(ws.close_code)

    async with anyio.create_task_group() as clients:
        with anyio.CancelScope() as scope:
            async with serve(ignore, "127.0.0.1") as server:
                for _ in range(3):
                    clients.start_soon(visit, server.uri)
                await connections(server, 3)
                async with raw_client(server.port):
                    await settle()
                    scope.cancel()
                    await anyio.sleep_forever()
        assert scope.cancelled_caught
    assert codes == [1001] * 3


async def test_cancelling_a_started_server_sends_1001() -> None:
    """R-A9d"""
    codes = []

    async def visit(uri: str) -> None:
        async with connect(uri) as ws:
            await ws.wait_closed()
            codes.append(ws.close_code)

    async with anyio.create_task_group() as clients, anyio.create_task_group() as tasks:
        server = await tasks.start(serve, wait, "127.0.0.1")
        for _ in range(3):
            clients.start_soon(visit, server.uri)
        await connections(server, 3)
        tasks.cancel_scope.cancel()
    assert codes == [1001] * 3


@needs_unix
def test_cancelling_the_server_takes_a_second_if_peers_are_silent(tmp_path: Path) -> None:
    """R-A9d: then they are cut off."""
    path = tmp_path / "socket"

    async def main() -> None:
        async with await anyio.connect_unix(path) as stream:
            peer = RawPeer(stream, is_client=True)
            with trio.CancelScope() as scope:
                assert (await peer.upgrade()).status == 101
                scope.cancel()
            yielded.append(trio.current_time())
            await peer.expect(close_frame(1001))
            await peer.expect_end()
            yielded.append(trio.current_time())

    yielded: list[float] = []

    async def run() -> None:
        async with trio.open_nursery() as nursery:
            with trio.CancelScope() as scope:
                async with serve(wait, path=path) as server:
                    nursery.start_soon(main)
                    await connections(server, 1)
                    scope.cancel()
            assert scope.cancelled_caught

    trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0.01))
    began, ended = yielded
    assert ended - began == pytest.approx(1, abs=0.05)


# Accepting


class Refuser(stdlib_socket.socket):
    """A listener whose connections, or whose system, are not what they should be."""

    failures: list[str]

    def accept(self) -> tuple[stdlib_socket.socket, Any]:
        sock, address = super().accept()
        failure = self.failures.pop() if self.failures else ""
        if failure == "exhausted":
            sock.close()
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if failure == "gone":
            # macOS: no option can be set on a socket that the peer has reset.
            return Gone(sock.family, sock.type, sock.proto, sock.detach()), address
        return sock, address


class Gone(stdlib_socket.socket):
    def setsockopt(self, *_: Any) -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))


@asynccontextmanager
async def refusing(*failures: str) -> AsyncIterator[Server]:
    sock = Refuser()
    sock.failures = list(failures)
    sock.bind(("127.0.0.1", 0))
    async with serve(echo, sockets=[sock]) as server:
        yield server


async def test_a_connection_whose_options_cannot_be_set_harms_nobody() -> None:
    async with refusing("gone") as server:
        await check_alive(server)  # on that very connection, since it does live
        await check_alive(server)


async def test_a_lack_of_files_is_logged_and_passes(caplog: pytest.LogCaptureFixture) -> None:
    """R-C4: accepting goes on after a pause."""
    async with refusing("exhausted") as server:
        async with raw_client(server.port) as peer:
            assert await peer.read_rest() == b""
        await check_alive(server)
    (record,) = errors(caplog)
    assert record.levelno == logging.ERROR
    assert "cannot accept connections for a moment: [Errno 24]" in record.getMessage()


async def test_handlers_run_until_they_end_not_until_the_peer_has_gone() -> None:
    released = anyio.Event()

    async def handle(ws: ServerConnection) -> None:
        await released.wait()

    async with serve(handle, "127.0.0.1") as server:
        async with connect(server.uri) as ws:
            await connections(server, 1)
        assert ws.close_code == 1000
        assert len(server.connections) == 1
        released.set()
