"""A server process: started on one core, read through /proc, stopped. Linux only."""

from __future__ import annotations

import select
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench.servers import MAX_SIZE

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 5.0
# The kernel adds up the time of a task when it stops running: wait until it sleeps.
SETTLE_INTERVAL: Final = 0.01
SETTLE_LIMIT: Final = 200


class ServerFailed(Exception):
    """The server could not be started; the message says why."""


class ServerProcess:
    """One of the servers of `servers.py`, running until the end of the `with` block."""

    def __init__(
        self, name: str, *, core: int, max_size: int = MAX_SIZE, certificate: Path | None = None
    ) -> None:
        self.name = name
        self.port = 0
        self._command = [sys.executable, "-m", "tests.bench.servers", name]
        self._command += ["--core", str(core), "--max-size", str(max_size)]
        if certificate is not None:
            self._command += ["--certificate", str(certificate)]

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
        except ServerFailed:
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
        """Wait until the server sleeps; return the nanoseconds of CPU time it has used.

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
        raise ServerFailed(f"{self.name} has ended")

    def last_words(self) -> str:
        """Return the end of what the server wrote to standard error."""
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it wrote nothing to standard error"

    def _read_port(self) -> int:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], START_TIMEOUT)
        line = self._process.stdout.readline().strip() if ready else b""
        if not line.isdigit():
            raise ServerFailed(f"{self.name} did not start: {self.last_words()}")
        return int(line)

    def _read_cpu_ns(self) -> int:
        tasks = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks)
