"""The program in a process of its own, as a user would run it."""

from __future__ import annotations

import io
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import anyio

from ..programs import PYTHON, environment, started

__all__ = ["BACKENDS", "PROGRAM", "TIMEOUT", "Screen", "finish", "run", "running"]

BACKENDS = ("asyncio", "trio", "uvloop")

#: Warnings are errors in the program too.
PROGRAM = (*PYTHON, "-m", "anyws")

#: Seconds until a program counts as stuck: far above what any takes on a busy machine.
TIMEOUT = 30.0


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


def running(
    *arguments: str, cwd: Path | None = None
) -> AbstractContextManager[subprocess.Popen[str]]:
    """Start the program; it is killed at the end of the block."""
    return started("-m", "anyws", *arguments, stdin=subprocess.PIPE, cwd=cwd)


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
