"""A process that is measured: started on one core, read through /proc, stopped. Linux only."""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench.servers import MAX_SIZE

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 5.0
# The kernel adds up the time of a task when it stops running: wait until it sleeps.
SETTLE_INTERVAL: Final = 0.01
SETTLE_LIMIT: Final = 200


class ProcessFailed(Exception):
    """The process could not be started; the message says why."""


def server_process(
    name: str,
    *,
    core: int,
    max_size: int = MAX_SIZE,
    certificate: Path | None = None,
    compress: bool = False,
    fan: bool = False,
) -> MeasuredProcess:
    """Return one of the servers of `servers.py`."""
    options = ["--core", str(core), "--max-size", str(max_size)]
    if certificate is not None:
        options += ["--certificate", str(certificate)]
    if compress:
        options.append("--compress")
    if fan:
        options.append("--fan")
    return MeasuredProcess("tests.bench.servers", name, options)


def client_process(
    name: str, *, core: int, port: int, connections: Sequence[int]
) -> MeasuredProcess:
    """Return one of the clients of `clients.py`."""
    options = ["--core", str(core), "--port", str(port), "--connections", *map(str, connections)]
    return MeasuredProcess("tests.bench.clients", name, options)


class MeasuredProcess:
    """A process of ours that runs until the end of the `with` block.

    `port` is where a server listens, once it runs; it is 0 for clients.
    """

    def __init__(self, module: str, name: str, options: Sequence[str]) -> None:
        self.name = name
        self.port = 0
        self._command = [sys.executable, "-m", module, name, *options]

    def __enter__(self) -> Self:
        self._errors = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
        )
        try:
            self.port = self._read_port()
        except ProcessFailed:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self,
        exception_type: type[BaseException] | None,
        exception: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._errors.close()

    def settle(self) -> int:
        """Wait until the process sleeps; return the nanoseconds of CPU time it has used.

        All threads count. Gives up waiting after two seconds.
        """
        used = self._read_cpu_ns()
        for _ in range(SETTLE_LIMIT):
            select.select([], [], [], SETTLE_INTERVAL)
            before, used = used, self._read_cpu_ns()
            if used == before:
                break
        return used

    def resident_kib(self) -> int:
        """Return the resident memory of the process in KiB."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise ProcessFailed(f"{self.name} has ended")

    def last_words(self) -> str:
        """Return the end of what the process wrote to standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing to standard error"

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_TIMEOUT)
        line = self._process.stdout.readline().strip() if ready else b""
        if not line.isdigit():
            raise ProcessFailed(f"{self.name} did not start: {self.last_words()}")
        return int(line)

    def _read_cpu_ns(self) -> int:
        used = 0
        for task in Path(f"/proc/{self._process.pid}/task").glob("*/schedstat"):
            try:
                used += int(task.read_text().split()[0])
            except (FileNotFoundError, ProcessLookupError):
                pass  # a thread that has ended meanwhile
        return used
