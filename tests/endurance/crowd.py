"""A crowd of strangers before the door of a server, and honest clients who want in."""

from __future__ import annotations

import json
import os
import resource
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import trustme
from anyio.abc import Process
from anyio.lowlevel import checkpoint

from anyws import Server, connect, serve

from ..serving import PendingLog, echo
from .figures import Figures
from .measure import take_footprint

__all__ = ["crowd", "secure_crowd"]

# Seconds for a handshake here: those who are not shown out before are told 408 then.
_OPEN_TIMEOUT = 4.0

# Of the files that a process may have, those left for other things.
_SPARE_FILES = 200


@dataclass(frozen=True, slots=True)
class _Scale:
    """How many come, and what for.

    Attributes:
        places: handshakes that may be under way.
        clients: honest ones.
        rounds: how often each of them comes.
        stays: whether the last strangers wait for what they are told.
    """

    places: int
    clients: int
    rounds: int
    stays: bool


def _scale(strangers: int) -> _Scale:
    if strangers < 1000:
        # Few of those who wait, since each of them takes up a place for a second.
        return _Scale(strangers * 2 // 3, 2, 2, stays=False)
    return _Scale(strangers // 4, strangers // 40, 5, stays=True)


async def crowd(strangers: int) -> Figures:
    """Serve honest clients while more strangers than may do so want to shake hands.

    Half of them say nothing, the others a byte each half second, and whoever is shown out comes
    back (R-C4). Fails if an honest client is not served, if more handshakes than may be are under
    way at any time, if anything is logged but ends of connections, or if files are left.
    """
    return await _crowd(strangers, None, None)


async def secure_crowd(strangers: int) -> Figures:
    """Do the same over TLS."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "authority.pem"
        authority.cert_pem.write_to_path(str(path))
        return await _crowd(strangers, context, path)


async def _crowd(strangers: int, context: ssl.SSLContext | None, authority: Path | None) -> Figures:
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    strangers = min(strangers, files - _SPARE_FILES)
    scale = _scale(strangers)
    places, clients, rounds = scale.places, scale.clients, scale.rounds
    log = PendingLog()
    async with serve(
        echo,
        "127.0.0.1",
        ssl=context,
        max_pending_handshakes=places,
        open_timeout=_OPEN_TIMEOUT,
        logger=log.logger,
    ) as server:
        log.server = server
        trusted = None if authority is None else ssl.create_default_context(cafile=authority)
        await _talk(server, trusted)
        await anyio.run_process([sys.executable, "-c", ""])  # loops prepare for the first one
        before = await take_footprint(server._entrance._reactor)
        async with _watched_files() as peak:
            secure = () if context is None else ("--tls",)
            trust = () if authority is None else ("--authority", str(authority))
            half = str(strangers // 2)
            async with _process("strangers", str(server.port), half, half, *secure) as others:
                while not server._admission.is_crowded():
                    await checkpoint()
                async with _process(
                    "honest", server.uri, str(clients), str(rounds), *trust
                ) as honest:
                    served = await _result(honest)
                assert others.stdin is not None
                if scale.stays:
                    await others.stdin.send(b"stay away\n")
                else:
                    await others.stdin.aclose()
                told = await _result(others)
        while server._admission.arrivals or server.connections:
            await checkpoint()
        await _talk(server, trusted)
        left = await take_footprint(server._entrance._reactor) - before
    assert served["handshakes"] == clients * rounds, served
    assert 0 < log.most_pending <= places, log.most_pending
    assert log.problems == [], log.problems
    assert (left.files, left.tasks, left.timers) == (0, 0, 0), left
    assert peak.files <= before.files + places + clients + _SPARE_FILES, peak.files
    return {
        "strangers": strangers,
        "what they were told": told,
        "honest clients": clients,
        "honest handshakes": served["handshakes"],
        "refused, and tried again": served["refused"],
        "median ms of a handshake": served["median"] * 1000,
        "slowest ms": served["slowest"] * 1000,
        "most under way": f"{log.most_pending} of {places}",
        "files before, at most, after": (before.files, peak.files, before.files + left.files),
    }


async def _talk(server: Server, context: ssl.SSLContext | None) -> None:
    async with connect(server.uri, ssl=context) as ws:
        await ws.send("hello")
        assert await ws.receive() == "hello"
    while server.connections:
        await checkpoint()


class _Peak:
    """The most files that were seen open at once."""

    files = 0


@asynccontextmanager
async def _watched_files() -> AsyncIterator[_Peak]:
    """Count files now and then; on Linux only."""
    peak = _Peak()

    async def watch() -> None:
        while sys.platform == "linux":
            peak.files = max(peak.files, len(os.listdir("/proc/self/fd")))
            await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch)
        yield peak
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _process(module: str, *arguments: str) -> AsyncIterator[Process]:
    """Run a module of this package; killed if it is left before its end."""
    command = [sys.executable, "-m", f"tests.endurance.{module}", *arguments]
    async with await anyio.open_process(command, stderr=None) as process:
        yield process


async def _result(process: Process) -> Any:
    """Return what a process prints, once it has ended."""
    assert process.stdout is not None
    printed = b"".join([piece async for piece in process.stdout])
    assert await process.wait() == 0
    return json.loads(printed)
