"""Several processes of `worker.py` on one port, by either way of sharing it."""

from __future__ import annotations

import signal
import socket as stdlib_socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

import anyio

from .loops import current_loop

__all__ = ["START_LIMIT", "Sharing", "Worker", "Workers"]

#: Seconds for a process to start, on a machine that has much else to do.
START_LIMIT = 60.0

Sharing = Literal["reuse_port", "shared socket"]


class Worker:
    """A process that runs `worker.py` on the loop of the caller, or on the one that is named.

    Args:
        options: of its command line.
        journal: where it writes down the messages that it acknowledges.
        fds: files that it inherits.
        launcher: a program that starts the one which follows.
    """

    def __init__(
        self,
        *options: str,
        journal: Path,
        fds: Sequence[int] = (),
        launcher: Sequence[str] = (),
    ) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `kill`
        self._process = subprocess.Popen(
            [
                *(*launcher, sys.executable, "-W", "error", "-m", "tests.worker"),
                *("--loop", current_loop(), "--journal", str(journal), *options),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            pass_fds=fds,
            cwd=Path(__file__).parent.parent,
        )
        assert self._process.stdout is not None
        self._stdout = self._process.stdout

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait_until(self, line: Literal["ready", "leaving"]) -> None:
        """Wait until it listens, or no longer does if it leaves by "wait"."""
        found = await self._read_line()
        assert found == f"{line}\n".encode(), self._last_words()

    def terminate(self) -> None:
        """Ask it to leave."""
        self._process.send_signal(signal.SIGTERM)

    async def wait(self) -> None:
        """Wait for its end, which has to be a good one."""
        while await self._read_line():
            pass
        assert (self._process.wait(), self._last_words()) == (0, "")

    def kill(self) -> None:
        """End it now, if it has not ended."""
        self._process.kill()
        self._process.wait()
        self._stdout.close()
        self._errors.close()

    async def _read_line(self) -> bytes:
        """Return what it says next; nothing if it has ended."""
        with anyio.fail_after(START_LIMIT):
            await anyio.wait_readable(self._stdout)
        return self._stdout.readline()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace")


class Workers:
    """Workers on one port of this machine; leaving the block ends those that are left.

    Args:
        sharing: by a socket of each worker's own, or by one that is bound here and inherited.
        journal: of all of them.
        options: of the command line of each.
    """

    def __init__(self, sharing: Sharing, journal: Path, *options: str) -> None:
        self._sharing = sharing
        self._journal = journal
        self._options = options
        self._started: list[Worker] = []
        # In both cases it holds the port; the kernel sends nobody to a socket that is only bound.
        self._sock = stdlib_socket.socket()
        if sharing == "reuse_port":
            self._sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_REUSEPORT, 1)
        self._sock.bind(("127.0.0.1", 0))

    @property
    def uri(self) -> str:
        return f"ws://127.0.0.1:{self._port}/"

    @property
    def _port(self) -> int:
        port: int = self._sock.getsockname()[1]
        return port

    def start(self, *options: str) -> Worker:
        """Start one more."""
        own = ("--port", str(self._port)), ()
        shared = ("--fd", str(self._sock.fileno())), (self._sock.fileno(),)
        where, fds = own if self._sharing == "reuse_port" else shared
        worker = Worker(*where, *self._options, *options, journal=self._journal, fds=fds)
        self._started.append(worker)
        return worker

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for worker in self._started:
            worker.kill()
        self._sock.close()
