"""A server is killed and started again, at random moments, under a client that reconnects."""

from __future__ import annotations

import logging
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import anyio

from anyws import ClientConnection, ConnectionClosed, Retry, reconnect

from ..workers import START_LIMIT, Worker, Workers
from .figures import Figures

__all__ = ["restarts"]

# So many messages at most pass between two deaths of the server, none at the least.
_MOST_MESSAGES = 40

# Seconds that the server lives at most once they have passed: into a wait, a close, an attempt.
_LONGEST_REST = 0.02

# Seconds: quick, since each death is followed by attempts that nobody answers.
_RETRY = Retry(initial_delay=0.02, max_delay=0.1, reset_after=0.01)

_LOGGER = logging.Logger("endurance")
_LOGGER.disabled = True


class Client:
    """Sends numbered messages, and looks at each attempt whether a socket was left open.

    Attributes:
        acknowledged: how many messages were.
        attempts: how many connections were tried, and how many came about.
        ends: how they ended.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._sockets = count_sockets()
        self.acknowledged = 0
        self.attempts: Counter[str] = Counter()
        self.ends: Counter[str] = Counter()
        self.progress = anyio.Event()  # a new one each time

    async def run(self, over: anyio.Event) -> None:
        """Send until it is over; by then the server lives."""
        async with reconnect(
            self._ask_for_uri, retry=_RETRY, ping_interval=None, logger=_LOGGER
        ) as attempts:
            async for ws in attempts:
                self.attempts["open"] += 1
                try:
                    while not over.is_set():
                        await self._send(ws)
                except ConnectionClosed as exc:
                    self.ends[f"{exc.code} by {exc.initiator}"] += 1
                    continue
                break
        assert count_sockets() == self._sockets, "a socket is open behind the block"

    async def _ask_for_uri(self) -> str:
        self.attempts["all"] += 1
        assert count_sockets() == self._sockets, "a socket is open before the next attempt"
        return self._uri

    async def _send(self, ws: ClientConnection) -> None:
        message = str(self.acknowledged)
        await ws.send(message)
        while await ws.receive() != message:
            pass  # of an acknowledgement that came too late for the connection before
        self.acknowledged += 1
        news, self.progress = self.progress, anyio.Event()
        news.set()


def count_sockets() -> int:
    """Return how many sockets are open in this process, as far as the system tells."""
    if not sys.platform.startswith("linux"):
        return 0
    n = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            n += os.readlink(f"/proc/self/fd/{fd}").startswith("socket:")
        except FileNotFoundError:
            pass  # that of the listing itself
    return n


async def restarts(deaths: int) -> Figures:
    """Kill the server so many times (R-A6b).

    Fails if the loop of `reconnect` does not go on, if a socket of one attempt is open when the
    next one begins or when the block is left, or if a message that was acknowledged was not
    written down.
    """
    seed = random.randrange(1 << 32)
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as directory:
        journal = Path(directory, "journal")
        with Workers("reuse_port", journal) as workers:
            worker = await _start(workers)
            client = Client(workers.uri)
            over = anyio.Event()
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.run, over)
                for _ in range(deaths):
                    await _live(client, chance)
                    worker.kill()
                    worker = await _start(workers)
                await _progress(client)
                over.set()
        written = _read(journal)
    lost = {str(number) for number in range(client.acknowledged)} - written
    assert not lost, f"seed {seed}: {lost}"
    return {
        "seed": seed,
        "messages acknowledged": client.acknowledged,
        "of these lost": len(lost),
        "attempts": client.attempts["all"],
        "connections": client.attempts["open"],
        "their ends": dict(client.ends),
    }


def _read(journal: Path) -> set[str]:
    return set(journal.read_text(encoding="utf-8").splitlines())


async def _start(workers: Workers) -> Worker:
    worker = workers.start()
    await worker.wait_until("ready")
    return worker


async def _live(client: Client, chance: random.Random) -> None:
    """Let the server live until a random moment."""
    for _ in range(chance.randint(0, _MOST_MESSAGES)):
        await _progress(client)
    await anyio.sleep(chance.uniform(0, _LONGEST_REST))


async def _progress(client: Client) -> None:
    with anyio.fail_after(START_LIMIT):
        await client.progress.wait()
