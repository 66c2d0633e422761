"""Four workers under load are replaced one after another, and no message that counted is lost."""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from pathlib import Path

import anyio

from anyws import (
    ClientConnection,
    ConnectionClosed,
    HandshakeRejected,
    Retry,
    reconnect,
)

from ..workers import Sharing, Worker, Workers
from .figures import Figures

__all__ = ["rolling"]

_SHARINGS: tuple[Sharing, ...] = ("reuse_port", "shared socket")

# How the workers leave, by turns; as `worker.py` calls it.
_WAYS = ("drain", "shutdown", "wait", "shutdown")

# Messages of one connection, after which its handler ends: so that there are always some who
# connect, and so that a worker that waits for its handlers does not wait for ever.
_LIMIT = 30

# Seconds between two messages of a client.
_PAUSE = 0.01

# Messages that each client still sends when the last worker has been replaced.
_LAST = 3

# What a client may be told: the handler has ended, or the server restarts.
_CODES = {1000, 1012}

_RESET = ("ConnectionRefusedError", "ConnectionResetError", "BrokenPipeError")


class Client:
    """Sends numbered messages, one after the other, again if they are not acknowledged.

    Attributes:
        acknowledged: how many were.
        workers: the processes that it talked to.
        codes: how its connections ended.
        failures: why others did not come about.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.acknowledged = 0
        self.workers: set[int] = set()
        self.codes: Counter[int] = Counter()
        self.failures: Counter[str] = Counter()

    @property
    def messages(self) -> set[str]:
        """Every message that was acknowledged."""
        return {f"{self.name} {number}" for number in range(self.acknowledged)}

    async def run(self, uri: str, over: anyio.Event) -> None:
        """Send until it is over, and a few more."""
        retry = Retry(initial_delay=0.05, factor=1, retry_on=self._take_note)
        left = _LAST
        async with reconnect(uri, retry=retry, ping_interval=None, logger=_LOGGER) as attempts:
            async for ws in attempts:
                assert ws.response is not None
                self.workers.add(int(ws.response.headers["Worker"]))
                try:
                    while left:
                        await self._send(ws)
                        left -= over.is_set()
                        await anyio.sleep(_PAUSE)
                except ConnectionClosed:
                    continue
                return

    async def _send(self, ws: ClientConnection) -> None:
        message = f"{self.name} {self.acknowledged}"
        await ws.send(message)
        assert await ws.receive() == message
        self.acknowledged += 1

    def _take_note(self, error: Exception) -> None:
        """Count how an attempt, or a connection, ended; leave it to `reconnect` what to do."""
        if isinstance(error, ConnectionClosed):
            self.codes[error.code] += 1
        elif isinstance(error, HandshakeRejected):
            self.failures[str(error.response.status_code)] += 1
        else:
            self.failures[type(error).__name__] += 1


# Of its own, and mute: each attempt would be a line.
_LOGGER = logging.Logger("endurance")
_LOGGER.disabled = True


async def rolling(clients: int) -> Figures:
    """Replace workers that share a port, each by one that listens before it leaves (R-D3).

    Fails if a message that was acknowledged has not been written down, if a client sees anything
    but the end of its handler or the code of a restart, or if it cannot go on. Where the workers
    share a socket, nobody may be refused or reset.
    """
    figures: Figures = {}
    for sharing in _SHARINGS:
        with tempfile.TemporaryDirectory() as directory:
            journal = Path(directory, "journal")
            crowd = [Client(f"client-{number}") for number in range(clients)]
            figures |= await _replace(sharing, journal, crowd)
    return figures


async def _replace(sharing: Sharing, journal: Path, crowd: list[Client]) -> Figures:
    over = anyio.Event()
    with Workers(sharing, journal, "--limit", str(_LIMIT)) as workers:
        old = await _start(workers)
        async with anyio.create_task_group() as tasks:
            for client in crowd:
                tasks.start_soon(client.run, workers.uri, over)
            new = []
            for worker, way in zip(old, _WAYS, strict=True):
                new += await _start(workers, way)
                worker.terminate()
                await worker.wait()
            over.set()
        for worker in new:
            worker.terminate()
        for worker in new:
            await worker.wait()
    return _judge(sharing, journal, crowd, {worker.pid for worker in new})


async def _start(workers: Workers, *ways: str) -> list[Worker]:
    """Start workers that leave in these ways, and wait until they listen."""
    started = [workers.start("--way", way) for way in ways or _WAYS]
    for worker in started:
        await worker.wait_until("ready")
    return started


def _judge(sharing: Sharing, journal: Path, crowd: list[Client], new: set[int]) -> Figures:
    written = Counter(journal.read_text(encoding="utf-8").splitlines())
    acknowledged = set().union(*(client.messages for client in crowd))
    codes = sum((client.codes for client in crowd), Counter[int]())
    failures = sum((client.failures for client in crowd), Counter[str]())
    lost = acknowledged - written.keys()
    assert not lost, lost
    assert set(codes) <= _CODES, codes
    assert codes[1012], "nobody met a restart"
    assert set(failures) <= {"503", *_RESET}, failures
    reset = sum(failures[name] for name in _RESET)
    if sharing == "shared socket":
        assert not reset, failures
    assert all(client.workers & new for client in crowd)
    return {
        f"{sharing}: messages acknowledged": len(acknowledged),
        f"{sharing}: of these lost": len(lost),
        f"{sharing}: written twice, for want of an acknowledgement": _repeated(written),
        f"{sharing}: connections ended by their handler, 1000": codes[1000],
        f"{sharing}: connections ended by a restart, 1012": codes[1012],
        f"{sharing}: handshakes answered with 503": failures["503"],
        f"{sharing}: connections refused or reset": reset,
    }


def _repeated(written: Counter[str]) -> int:
    return sum(count - 1 for count in written.values())
