"""How a block is left, on either end: close codes, exceptions, cancellation; and whose task it is.

Over streams in memory; the peer is scripted.
"""

from __future__ import annotations

import asyncio
import re
import socket as stdlib_socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import anyio
import pytest
import pytest_trio  # type: ignore[import-untyped]  # the plugin has no types
import trio
import trio.testing

from anyws import (
    ClientConnection,
    Connecting,
    ConnectionClosedError,
    ServerConnection,
    connect,
    serve,
    wrap_client,
    wrap_server,
)
from anyws._accept import WrappedServer
from anyws.testing import MemoryStream, RawPeer, memory_pair

from .raw import closed_port

URI = "ws://localhost/"

End = Literal["client", "server"]
Block = Connecting | WrappedServer

on_every_loop = pytest.mark.anyio
on_either_end = pytest.mark.parametrize("end", ["client", "server"])


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def shake_hands(stream: MemoryStream, end: End) -> RawPeer:
    """Open the connection, as the peer of this end of ours."""
    peer = RawPeer(stream, is_client=end == "server")
    await (peer.upgrade() if end == "server" else peer.accept())
    return peer


def block_over(stream: MemoryStream, end: End) -> Block:
    return wrap_client(stream, URI) if end == "client" else wrap_server(stream)


@asynccontextmanager
async def polite_peer(end: End) -> AsyncIterator[tuple[Block, list[int | None]]]:
    """Yield a block to enter, and a list to which the close code that the peer gets is added."""
    ours, theirs = memory_pair()
    codes: list[int | None] = []

    async def answer() -> None:
        peer = await shake_hands(theirs, end)
        codes.append((await peer.answer_close())[0])

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        yield block_over(ours, end), codes


# Exceptions


@on_either_end
@on_every_loop
@pytest.mark.parametrize(
    ("raised", "code"),
    [
        pytest.param(ValueError(), 1011, id="error"),
        pytest.param(ExceptionGroup("several", [ValueError()]), 1011, id="group"),
        pytest.param(StopAsyncIteration(), 1011, id="end-of-iteration"),
        pytest.param(KeyboardInterrupt(), 1001, id="ctrl-c"),
        pytest.param(SystemExit(), 1001, id="exit"),
    ],
)
async def test_an_exception_of_the_body_leaves_as_the_same_object(
    end: End, raised: BaseException, code: int
) -> None:
    """R-A3a, R-A3b: identity, cause and context stay; no group is added, removed or changed."""
    cause, context = KeyError("cause"), KeyError("context")
    parts = raised.exceptions if isinstance(raised, ExceptionGroup) else ()

    async def fail(block: Block) -> None:
        async with block:
            try:
                raise context
            except KeyError:
                raise raised from cause

    async with polite_peer(end) as (block, codes):
        with pytest.raises(type(raised)) as caught:
            await fail(block)
        assert caught.value is raised
        assert raised.__cause__ is cause
        assert raised.__context__ is context
        assert not hasattr(raised, "__notes__")
        if isinstance(raised, ExceptionGroup):
            assert raised.exceptions is parts
    assert codes == [code]


@on_either_end
@on_every_loop
async def test_a_block_left_normally_closes_with_1000(end: End) -> None:
    async with polite_peer(end) as (block, codes):
        async with block as ws:
            assert ws.state.value == "open"
        assert (ws.close_code, ws.state.value) == (1000, "closed")
    assert codes == [1000]


@on_either_end
@on_every_loop
async def test_a_cancelled_block_closes_with_1001_and_the_cancellation_goes_on(end: End) -> None:
    """R-A4d: the statement behind the block is not reached."""
    async with polite_peer(end) as (block, codes):
        with anyio.CancelScope() as scope:
            async with block:
                scope.cancel()
                await anyio.sleep_forever()
            pytest.fail("the cancellation was swallowed")
        assert scope.cancelled_caught
    assert codes == [1001]


@on_either_end
@on_every_loop
async def test_a_failed_connection_is_noted_on_the_exception_of_the_body(end: End) -> None:
    """R-A3d: the body's exception wins, and tells what happened to the connection before."""
    ours, theirs = memory_pair()
    error = ValueError("of the body")
    opened = anyio.Event()

    async def break_it() -> None:
        await shake_hands(theirs, end)
        await opened.wait()
        theirs.reset()

    async def fail() -> None:
        async with block_over(ours, end) as ws:
            opened.set()
            await ws.wait_closed()
            raise error

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(break_it)
        with pytest.raises(ValueError, match="of the body") as caught:
            await fail()
    assert caught.value is error
    (note,) = error.__notes__
    assert note.startswith("The WebSocket connection had ended before that: the byte stream ended")


@on_either_end
@on_every_loop
async def test_a_normal_end_is_not_noted_on_the_exception_of_the_body(end: End) -> None:

    async def fail(block: Block) -> None:
        async with block as ws:
            await ws.close()
            raise ValueError("of the body")

    async with polite_peer(end) as (block, _):
        with pytest.raises(ValueError, match="of the body") as caught:
            await fail(block)
    assert not hasattr(caught.value, "__notes__")


@on_either_end
@on_every_loop
async def test_the_end_of_the_connection_leaves_the_block_without_a_note(end: End) -> None:
    """It says by itself what happened."""
    ours, theirs = memory_pair()

    async def leave() -> None:
        await shake_hands(theirs, end)
        await theirs.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(leave)
        with pytest.raises(ConnectionClosedError) as caught:
            async with block_over(ours, end) as ws:
                await ws.receive()
    assert (caught.value.code, caught.value.initiator) == (1006, "transport")
    assert not hasattr(caught.value, "__notes__")


@pytest.mark.filterwarnings("ignore::trio.TrioDeprecationWarning")
@pytest.mark.parametrize("strict", [True, False])
def test_exceptions_are_plain_whatever_trio_does_with_groups(strict: bool) -> None:
    """R-A3e: `strict_exception_groups` changes nothing, in blocks and while connecting."""

    async def main() -> None:
        error = ValueError("of the body")
        group = ExceptionGroup("of the body", [ExceptionGroup("inner", [ValueError()])])
        async with serve(echo, "127.0.0.1") as server:
            for raised in (error, group):
                with pytest.raises(type(raised)) as caught:
                    async with connect(server.uri):
                        raise raised
                assert caught.value is raised
        with closed_port() as port, pytest.raises(ConnectionRefusedError):
            async with connect(f"ws://127.0.0.1:{port}/"):
                pass
        for raised in (error, group):
            with pytest.raises(type(raised)) as caught:
                async with serve(echo, "127.0.0.1"):
                    raise raised
            assert caught.value is raised

    trio.run(main, strict_exception_groups=strict)


# Time, by a clock that jumps


@on_either_end
@pytest.mark.parametrize("cancelled", [False, True])
def test_leaving_takes_a_bounded_time_if_the_peer_is_silent(end: End, cancelled: bool) -> None:
    """R-A4a, R-A4c: `close_timeout` in a normal exit, one second in a cancelled one."""

    async def main() -> None:
        ours, theirs = memory_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake_hands, theirs, end)
            with trio.CancelScope() as scope:
                async with block_over(ours, end):
                    if cancelled:
                        scope.cancel()
                    began = trio.current_time()
            assert trio.current_time() - began == pytest.approx(1 if cancelled else 5)
            assert scope.cancelled_caught is cancelled

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@on_either_end
def test_being_cancelled_while_closing_leaves_one_second(end: End) -> None:
    """R-A4c: in the middle of a normal exit, the grace begins with the cancellation."""

    async def main() -> None:
        ours, theirs = memory_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(shake_hands, theirs, end)
            with trio.move_on_after(3) as scope:
                async with block_over(ours, end):
                    scope.deadline = trio.current_time() + 3
                    began = trio.current_time()
            assert trio.current_time() - began == pytest.approx(4)
            assert scope.cancelled_caught

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


# Handlers that end more than their connection


@pytest.mark.parametrize("handlers", [1, 2])
def test_system_exit_in_a_handler_ends_the_server(handlers: int) -> None:
    """R-A4d: it comes out by itself, or in a group if there are several."""
    cause = KeyError("why")

    async def leave(ws: ServerConnection) -> None:
        await ready.wait()
        raise SystemExit(3) from cause

    async def visit(uri: str) -> None:
        async with connect(uri) as ws:
            await ws.wait_closed()

    ready = trio.Event()

    async def main() -> None:
        async with trio.open_nursery() as nursery, serve(leave, "127.0.0.1") as server:
            for _ in range(handlers):
                nursery.start_soon(visit, server.uri)
            while len(server.connections) < handlers:
                await trio.lowlevel.checkpoint()
            ready.set()
            await trio.sleep_forever()

    with pytest.raises(BaseException) as caught:  # noqa: PT011  # looked at below
        trio.run(main)
    left = caught.value
    assert isinstance(left, BaseExceptionGroup)  # of the nursery here
    (only,) = left.exceptions
    if handlers == 1:
        assert isinstance(only, SystemExit)
        assert only.__cause__ is cause
    else:
        assert isinstance(only, BaseExceptionGroup)
        assert [type(leaf) for leaf in only.exceptions] == [SystemExit, SystemExit]


# asyncio without anyio


def run_with_uvloop(main: Callable[[], Any]) -> None:
    uvloop = pytest.importorskip("uvloop")
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())


on_plain_asyncio = pytest.mark.parametrize(
    "run",
    [
        pytest.param(lambda main: asyncio.run(main()), id="asyncio"),
        pytest.param(run_with_uvloop, id="uvloop"),
    ],
)
Run = Callable[[Callable[[], Any]], None]


@on_plain_asyncio
def test_client_and_server_run_under_plain_asyncio(run: Run) -> None:
    """Nobody has told sniffio which library is running."""

    async def main() -> None:
        async with serve(echo, "127.0.0.1") as server, connect(server.uri) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"

    run(main)


@on_plain_asyncio
def test_a_timeout_of_asyncio_ends_the_block(run: Run) -> None:
    codes = []

    async def wait(ws: ServerConnection) -> None:
        await ws.wait_closed()
        codes.append(ws.close_code)

    async def time_out(uri: str) -> None:
        async with asyncio.timeout(None) as timeout, connect(uri):
            timeout.reschedule(asyncio.get_running_loop().time())
            await asyncio.sleep(60)

    async def main() -> None:
        async with serve(wait, "127.0.0.1") as server:
            with pytest.raises(TimeoutError):
                await time_out(server.uri)
            task = asyncio.current_task()
            assert task is not None
            assert not task.cancelling()

    run(main)
    assert codes == [1001]


# Fixtures that yield an open connection (R-A12b)


@pytest.fixture
async def anyio_client(anyio_backend: object) -> AsyncIterator[ClientConnection]:
    async with serve(echo, "127.0.0.1") as server, connect(server.uri) as ws:
        yield ws


@on_every_loop
async def test_a_fixture_of_anyio_may_yield_a_client(anyio_client: ClientConnection) -> None:
    """R-A12b"""
    await anyio_client.send("hello")
    assert await anyio_client.receive() == "hello"


@pytest_trio.trio_fixture  # type: ignore[untyped-decorator]
async def trio_client() -> AsyncIterator[ClientConnection]:
    async with serve(echo, "127.0.0.1") as server, connect(server.uri) as ws:
        yield ws  # noqa: ASYNC119  # the plugin sees to the cleanup, in the same task


@pytest.mark.trio
async def test_a_fixture_of_pytest_trio_may_yield_a_client(trio_client: ClientConnection) -> None:
    """R-A12b"""
    await trio_client.send("hello")
    assert await trio_client.receive() == "hello"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """Do as pytest-asyncio: one loop, and a task for each of fixture, test and teardown."""
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def server_port(runner: asyncio.Runner) -> Iterator[int]:
    with stdlib_socket.create_server(("127.0.0.1", 0)) as sock:
        task = runner.get_loop().create_task(serve(echo, sockets=[sock]))
        yield sock.getsockname()[1]
        task.cancel()
        runner.run(asyncio.wait([task]))


@pytest.fixture
def asyncio_client(runner: asyncio.Runner, server_port: int) -> Iterator[ClientConnection]:
    block = connect(f"ws://127.0.0.1:{server_port}/")
    yield runner.run(block.__aenter__())
    runner.run(block.__aexit__(None, None, None))


def test_a_fixture_of_asyncio_may_yield_a_client(
    runner: asyncio.Runner, asyncio_client: ClientConnection
) -> None:
    """R-A12b: over a socket, a client has no task group that would belong to a task."""

    async def talk() -> None:
        await asyncio_client.send("hello")
        assert await asyncio_client.receive() == "hello"

    runner.run(talk())


def test_fixtures_of_pytest_asyncio_itself_do_as_said() -> None:
    """R-A12b: of a client they are fine, of a server they name the fix, and not another thing."""
    path = Path(__file__).parent / "fixtures_of_pytest_asyncio.py"
    options = ("-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(path)],
        capture_output=True,
        text=True,
        cwd=path.parent.parent,
        check=False,
    )
    assert "2 passed, 1 error in" in done.stdout
    error = "RuntimeError: this block was entered in one task and left in another"
    assert re.search(rf"^E +{error}.*use a fixture of anyio's pytest plugin", done.stdout, re.M)


@pytest.mark.parametrize("what", ["server", "client"])
def test_leaving_in_another_task_names_the_fix(runner: asyncio.Runner, what: str) -> None:
    """R-A12b: what has a task group cannot be left in another task, but ends even so."""
    ours, theirs = memory_pair()
    if what == "server":
        left = partial(_enter_and_leave, runner, serve(echo, "127.0.0.1"))
    else:
        peer = runner.get_loop().create_task(shake_hands(theirs, "client"))
        left = partial(_enter_and_leave, runner, wrap_client(ours, URI, close_timeout=0.01), peer)
    with pytest.raises(RuntimeError, match="use a fixture of anyio's pytest plugin"):
        left()
    assert not asyncio.all_tasks(runner.get_loop())


def _enter_and_leave(runner: asyncio.Runner, block: Any, *others: asyncio.Task[Any]) -> None:
    runner.run(block.__aenter__())
    if others:
        runner.run(asyncio.wait(others))
    runner.run(block.__aexit__(None, None, None))


def test_blocks_that_overlap_are_refused_as_anyio_does(runner: asyncio.Runner) -> None:
    """The same task, but not the innermost scope: anyio says so, and we add nothing."""

    async def main() -> None:
        block = serve(echo, "127.0.0.1")
        await block.__aenter__()
        with anyio.CancelScope(), pytest.raises(RuntimeError, match="current cancel scope"):
            await block.__aexit__(None, None, None)

    runner.run(main())
