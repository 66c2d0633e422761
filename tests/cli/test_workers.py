"""`serve` in several processes, and in those that are started anew."""

from __future__ import annotations

import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, redirect_stdout
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

import anyws.__main__
from anyws import ClientConnection, connect
from anyws._cli.program import main, new_parser
from anyws._cli.server_log import LOGGER

from .running import TIMEOUT, Screen, running

if sys.platform == "win32":
    pytest.skip("needs POSIX", allow_module_level=True)

from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection as PipeConnection

from anyws._cli.workers import supervise, work

HANDLER = """
import os

async def answer(ws):
    async for message in ws:
        await ws.send(f"one {os.getpid()}")
"""


@pytest.fixture
def anyio_backend() -> str:
    """Processes that supervise are always on asyncio."""
    return "asyncio"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of a module with a handler, in the current directory."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "some_handler.py"
    path.write_text(HANDLER)
    return path


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Iterator[Screen]:
    """What this process prints and logs; it looks like the program to those that it starts."""
    seen = Screen()
    monkeypatch.setitem(sys.modules, "__main__", anyws.__main__)
    output = logging.StreamHandler(seen)
    library = logging.getLogger("anyws")
    before = (library.handlers.copy(), library.propagate, library.level, LOGGER.level)
    LOGGER.addHandler(output)
    LOGGER.setLevel(logging.INFO)
    yield seen
    LOGGER.removeHandler(output)
    library.handlers[:], library.propagate = before[:2]
    library.setLevel(before[2])
    LOGGER.setLevel(before[3])


@asynccontextmanager
async def supervising(screen: Screen, *arguments: str) -> AsyncIterator[list[int]]:
    """Run `serve` in this process, and give a list that will have its exit status."""
    where = ["--handler", "some_handler:answer", "--host", "127.0.0.1", "--port", "0"]
    options = new_parser().parse_args(["serve", *where, *arguments])
    statuses: list[int] = []

    async def run() -> None:
        statuses.append(await supervise(options))

    with redirect_stdout(screen), anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            yield statuses


async def uri(screen: Screen) -> str:
    await screen.shows("serving on ")
    return screen.getvalue().partition("serving on ")[2].splitlines()[0]


async def ask(ws: ClientConnection) -> tuple[str, int]:
    """Return what the handler says, and which process it runs in."""
    await ws.send("who are you?")
    text, pid = (await ws.receive_text()).split()
    return text, int(pid)


@pytest.mark.anyio
async def test_workers_are_replaced_by_a_signal(module: Path, screen: Screen) -> None:
    async with supervising(screen, "--workers", "2", "--backend", "trio") as statuses:
        async with connect(await uri(screen)) as ws:
            _, first = await ask(ws)
            assert first != os.getpid()
            os.kill(os.getpid(), signal.SIGHUP)
            await ws.wait_closed()
            assert ws.close_code == 1012
        await screen.shows("SIGHUP: starting anew\n")
        await screen.shows("\nstarted anew\n")
        async with connect(await uri(screen)) as ws:
            assert (await ask(ws))[1] != first
            os.kill(os.getpid(), signal.SIGTERM)
            await ws.wait_closed()
            assert ws.close_code == 1001
    assert statuses == [0]


@pytest.mark.anyio
async def test_worker_that_dies_is_made_up_for(module: Path, screen: Screen) -> None:
    async with supervising(screen, "--workers", "1") as statuses:
        async with connect(await uri(screen)) as ws:
            _, first = await ask(ws)
        os.kill(first, signal.SIGKILL)
        await screen.shows(f"worker {first} has ended with status -9")
        # Until the other one is there, the kernel holds who comes.
        async with connect(await uri(screen)) as ws:
            assert (await ask(ws))[1] != first
        os.kill(os.getpid(), signal.SIGINT)
    assert statuses == [0]


@pytest.mark.anyio
async def test_worker_that_does_not_stop_is_killed(module: Path, screen: Screen) -> None:
    async with (
        supervising(screen, "--workers", "1") as statuses,
        connect(await uri(screen)) as ws,
    ):
        _, worker = await ask(ws)
        os.kill(worker, signal.SIGSTOP)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        await ws.wait_closed()
        assert ws.close_code == 1006
    assert statuses == [0]


def test_workers_do_not_outlive_who_started_them(module: Path) -> None:
    async def check() -> None:
        assert process.stdout is not None
        line = await to_thread.run_sync(process.stdout.readline)
        async with connect(line.removeprefix("serving on ").strip()) as ws:
            await ask(ws)
            process.kill()
            await ws.wait_closed()
            assert ws.close_code == 1001

    arguments = ["serve", "--handler", "some_handler:answer", "--port", "0", "--workers", "1"]
    with running(*arguments) as process:
        anyio.run(check)


@pytest.mark.anyio
async def test_change_of_a_file_starts_anew(module: Path, screen: Screen) -> None:
    pytest.importorskip("watchfiles", reason="the extra cli is not installed")
    file = anyio.Path(module)
    await file.write_text("x = (\n")
    async with supervising(screen, "--reload") as statuses:
        await screen.shows("it does not start: waiting for a change\n")
        await file.write_text(HANDLER)
        async with connect(await uri(screen)) as ws:
            assert (await ask(ws))[0] == "one"
            await file.write_text(HANDLER.replace("one", "another"))
            await ws.wait_closed()
            assert ws.close_code == 1012
        await screen.shows("some_handler.py changed: starting anew\nstarted anew\n")
        async with connect(await uri(screen)) as ws:
            await file.write_text("x = (\n")
            await screen.shows("it does not start: the old one goes on\n")
            assert (await ask(ws))[0] == "another"
            os.kill(os.getpid(), signal.SIGINT)
            await ws.wait_closed()
            assert ws.close_code == 1001
    assert statuses == [0]


def test_workers_that_do_not_start_end_the_program(
    module: Path, screen: Screen, capfd: pytest.CaptureFixture[str]
) -> None:
    handler = ["--handler", "some_handler:nothing"]
    assert main(["serve", *handler, "--port", "0", "--workers", "1"]) == 1
    assert screen.getvalue() == ""
    err = capfd.readouterr().err
    assert err.endswith(" module some_handler has no nothing\n")
    assert len(err.splitlines()) == 1


# A worker, in this process


@pytest.fixture
def handlers_of_signals() -> Iterator[None]:
    """Keep those of this process."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def _read_and_close(pipe: PipeConnection) -> str:
    with pipe:
        told: str = pipe.recv()
    return told


@pytest.mark.parametrize("by", ["order", "end of the pipe"])
def test_worker_tells_its_uri_and_stops(screen: Screen, handlers_of_signals: None, by: str) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    port = sock.getsockname()[1]
    options = new_parser().parse_args(["serve", "--echo", "--quiet"])
    ours, theirs = Pipe()
    if by == "order":
        ours.send(1001)
        work(options, [sock], theirs)
        assert ours.recv() == f"ws://127.0.0.1:{port}/"
        ours.close()
    else:
        # It is read to its end by a thread, which then lets go of it.
        with ThreadPoolExecutor() as threads:
            told = threads.submit(_read_and_close, ours)
            work(options, [sock], theirs)
        assert told.result() == f"ws://127.0.0.1:{port}/"
    theirs.close()


def test_worker_that_cannot_serve_says_why(screen: Screen, handlers_of_signals: None) -> None:
    options = new_parser().parse_args(["serve", "--handler", "no_such_module:answer"])
    ours, theirs = Pipe()
    with ours, theirs, pytest.raises(SystemExit) as raised:
        work(options, [], theirs)
    assert raised.value.code == 1
    assert "there is no module no_such_module to be found from here" in screen.getvalue()
