"""`serve` in several processes, and in those that are started anew."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from anyws import ClientConnection, connect

from .running import TIMEOUT, finish, running

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX"),
]

HANDLER = """
import os

async def answer(ws):
    async for message in ws:
        await ws.send(f"one {os.getpid()}")
"""


@pytest.fixture
def anyio_backend() -> str:
    """The program is in other processes; which loop the client runs on does not matter to it."""
    return "asyncio"


@pytest.fixture
def module(tmp_path: Path) -> Path:
    """The file of a module with a handler."""
    path = tmp_path / "some_handler.py"
    path.write_text(HANDLER)
    return path


@asynccontextmanager
async def serving(
    module: Path, *arguments: str
) -> AsyncIterator[tuple[subprocess.Popen[str], str]]:
    """Start the program; give its process and its URI."""
    handler = ["--handler", f"{module.stem}:answer", "--host", "127.0.0.1", "--port", "0"]
    with running("serve", *handler, *arguments, cwd=module.parent) as process:
        assert process.stdout is not None
        with anyio.fail_after(TIMEOUT):
            line = await to_thread.run_sync(process.stdout.readline)
            assert line.startswith("serving on "), await to_thread.run_sync(finish, process)
            yield process, line.removeprefix("serving on ").strip()


async def ask(ws: ClientConnection) -> tuple[str, int]:
    """Return what the handler says, and which process it runs in."""
    await ws.send("who are you?")
    text, pid = (await ws.receive_text()).split()
    return text, int(pid)


async def ask_anew(uri: str) -> tuple[str, int]:
    async with connect(uri) as ws:
        return await ask(ws)


async def log_line(process: subprocess.Popen[str], part: str) -> None:
    """Read the log up to a line that has this in it."""
    assert process.stderr is not None
    while part not in (line := await to_thread.run_sync(process.stderr.readline)):
        assert line, f"the log ended without {part!r}"


async def test_workers_are_replaced_by_a_signal(module: Path) -> None:
    async with serving(module, "--workers", "2", "--backend", "trio") as (process, uri):
        async with connect(uri) as ws:
            _, first = await ask(ws)
            assert first != process.pid
            process.send_signal(signal.SIGHUP)
            await ws.wait_closed()
            assert ws.close_code == 1012
        await log_line(process, "started anew")
        async with connect(uri) as ws:
            assert (await ask(ws))[1] != first
            process.send_signal(signal.SIGTERM)
            await ws.wait_closed()
            assert ws.close_code == 1001
        status, out, _ = await to_thread.run_sync(finish, process)
    assert (status, out) == (0, "")


async def test_worker_that_dies_is_made_up_for(module: Path) -> None:
    async with serving(module, "--workers", "1") as (process, uri):
        _, first = await ask_anew(uri)
        os.kill(first, signal.SIGKILL)
        await log_line(process, f"worker {first} has ended with status -9")
        # Until the other one is there, the kernel holds who comes.
        async with connect(uri) as ws:
            assert (await ask(ws))[1] != first
            # Nor does it outlive who started it.
            process.kill()
            await ws.wait_closed()
            assert ws.close_code == 1001


async def test_change_of_a_file_starts_anew(module: Path) -> None:
    pytest.importorskip("watchfiles", reason="the extra cli is not installed")
    file = anyio.Path(module)
    await file.write_text("x = (\n")
    arguments = ["serve", "--handler", f"{module.stem}:answer", "--port", "0", "--reload"]
    with running(*arguments, cwd=module.parent) as process, anyio.fail_after(TIMEOUT):
        # Nobody can serve yet.
        await log_line(process, "SyntaxError: '(' was never closed")
        await log_line(process, "it does not start: waiting for a change")
        await file.write_text(HANDLER)
        assert process.stdout is not None
        line = await to_thread.run_sync(process.stdout.readline)
        async with connect(line.removeprefix("serving on ").strip()) as ws:
            assert (await ask(ws))[0] == "one"
            await file.write_text(HANDLER.replace("one", "another"))
            await ws.wait_closed()
            assert ws.close_code == 1012
        await log_line(process, "some_handler.py changed: starting anew")
        await log_line(process, "started anew")

        # The old one goes on if the new one cannot.
        async with connect(line.removeprefix("serving on ").strip()) as ws:
            await file.write_text("x = (\n")
            await log_line(process, "it does not start: the old one goes on")
            assert (await ask(ws))[0] == "another"
            process.send_signal(signal.SIGINT)
            await ws.wait_closed()
            assert ws.close_code == 1001
        status, _, err = await to_thread.run_sync(finish, process)
        assert (status, "Traceback" in err) == (0, False)


async def test_workers_that_do_not_start_end_the_program(module: Path) -> None:
    arguments = ["serve", "--handler", f"{module.stem}:nothing", "--port", "0", "--workers", "1"]
    with running(*arguments, cwd=module.parent) as process:
        status, out, err = await to_thread.run_sync(finish, process)
    assert (status, out) == (1, "")
    assert "module some_handler has no nothing" in err
    assert "Traceback" not in err
