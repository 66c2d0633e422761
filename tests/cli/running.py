"""The program in a process of its own, as a user would run it."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio

__all__ = ["BACKENDS", "PROGRAM", "TIMEOUT", "Screen", "environment", "finish", "run", "running"]

BACKENDS = ("asyncio", "trio", "uvloop")

ROOT = Path(__file__).resolve().parents[2]

#: Warnings are errors in the program too.
PROGRAM = (sys.executable, "-W", "error", "-u", "-m", "anyws")

#: Seconds until a program counts as stuck: far above what any takes on a busy machine.
TIMEOUT = 30.0


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of the process, in which the package is found from everywhere."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **settings}


def run(*arguments: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end, with this for its input."""
    return subprocess.run(
        [*PROGRAM, *arguments],
        input=stdin,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        env=environment(),
    )


@contextmanager
def running(*arguments: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start the program; it is killed at the end of the block."""
    # One that is started with SIGINT ignored, as shells do in the background, would hand that on.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*PROGRAM, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            cwd=cwd,
            env=environment(),
        )
    finally:
        signal.signal(signal.SIGINT, previous)
    with process:
        try:
            yield process
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for the end of the program; return its status and what it printed last."""
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    return process.returncode, stdout, stderr


class Screen(io.StringIO):
    """What has been written, and a wait for more of it."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = anyio.Event()

    def write(self, text: str) -> int:
        self._grown.set()
        self._grown = anyio.Event()
        return super().write(text)

    async def shows(self, text: str) -> None:
        """Wait until this has been written."""
        while text not in self.getvalue():
            await self._grown.wait()
