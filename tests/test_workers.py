"""Several processes serve one port (R-D3), and those that systemd starts (R-B10)."""

from __future__ import annotations

import socket as stdlib_socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import anyio
import pytest

from anyws import ClientConnection, connect

from .workers import START_LIMIT, Sharing, Worker, Workers

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.skipif(sys.platform == "win32", reason="shares ports as POSIX systems do"),
]

SHARING: tuple[Sharing, ...] = ("reuse_port", "shared socket")

_WORKERS = 4

# What systemd does: the socket is file 3, and the process that is named is the service itself.
SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@asynccontextmanager
async def connected(uri: str) -> AsyncIterator[tuple[ClientConnection, int]]:
    """Connect, and tell which process answered."""
    async with connect(uri) as ws:
        assert ws.response is not None
        yield ws, int(ws.response.headers["Worker"])


async def visit(uri: str) -> None:
    """Come, and see that the connection works."""
    # The server need not be there yet.
    async with connect(uri, open_timeout=START_LIMIT) as ws:
        await check(ws)


async def check(ws: ClientConnection) -> None:
    """See that the connection works."""
    await ws.send("hello")
    assert await ws.receive() == "hello"


@pytest.mark.parametrize("sharing", SHARING)
async def test_four_workers_serve_one_port_and_three_go_on_without_the_fourth(
    sharing: Sharing, journal: Path
) -> None:
    """R-D3"""
    with Workers(sharing, journal) as workers:
        started = [workers.start() for _ in range(_WORKERS)]
        for worker in started:
            await worker.wait_until("ready")
        pids = {worker.pid for worker in started}
        with anyio.fail_after(START_LIMIT):
            async with AsyncExitStack() as stack:
                held: dict[int, ClientConnection] = {}
                while len(held) < _WORKERS:
                    async with AsyncExitStack() as once:
                        ws, pid = await once.enter_async_context(connected(workers.uri))
                        assert pid in pids
                        if pid not in held:
                            held[pid] = ws
                            stack.push_async_exit(once.pop_all())
                first = started[0]
                first.terminate()
                leaving = held.pop(first.pid)
                await leaving.wait_closed()
                assert leaving.close_code == 1012
                await first.wait()
                for ws in held.values():
                    await check(ws)
                for _ in range(3 * _WORKERS):
                    async with connected(workers.uri) as (ws, pid):
                        assert pid in held
                        await check(ws)


@pytest.mark.parametrize("sharing", SHARING)
async def test_connections_stay_with_the_worker_that_leaves_until_their_handlers_end(
    sharing: Sharing, journal: Path
) -> None:
    """R-A9c, R-D3"""
    with Workers(sharing, journal, "--way", "wait") as workers:
        old = workers.start()
        await old.wait_until("ready")
        async with connected(workers.uri) as (held, pid):
            assert pid == old.pid
            new = workers.start()
            await new.wait_until("ready")
            old.terminate()
            await old.wait_until("leaving")
            for _ in range(_WORKERS):
                async with connected(workers.uri) as (ws, pid):
                    assert pid == new.pid
                    await check(ws)
            await check(held)
        await old.wait()


async def test_systemd_may_hold_the_socket(journal: Path) -> None:
    """R-B10: those who come before the server has started, or while it restarts, wait."""
    with stdlib_socket.create_server(("127.0.0.1", 0)) as sock:
        uri = f"ws://127.0.0.1:{sock.getsockname()[1]}/"
        systemd = (sys.executable, "-c", SYSTEMD, str(sock.fileno()))
        for _ in range(2):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(visit, uri)
                worker = Worker(
                    "--inherited",
                    journal=journal,
                    fds=[sock.fileno()],
                    launcher=systemd,
                )
                try:
                    await worker.wait_until("ready")
                    await visit(uri)
                    worker.terminate()
                    await worker.wait()
                finally:
                    worker.kill()
