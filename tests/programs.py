"""Run programs as a user would, those of examples/ above all: each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

__all__ = [
    "BACKENDS",
    "EXAMPLES",
    "PYTHON",
    "ROOT",
    "TIMEOUT",
    "environment",
    "finish",
    "run",
    "run_python",
    "running",
    "running_python",
    "started",
]

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
BACKENDS = ("trio", "asyncio")
# Seconds until a program counts as stuck: far above what any takes on a busy machine.
TIMEOUT = 60.0
# Warnings are errors in the examples too; unbuffered, so that a line can be waited for.
PYTHON = (sys.executable, "-W", "error", "-u")


def run(name: str, *arguments: str) -> list[str]:
    """Run an example to its end and return the lines that it printed."""
    return run_python(str(EXAMPLES / name), *arguments)


def run_python(*arguments: str) -> list[str]:
    done = subprocess.run(
        [*PYTHON, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


def running(
    name: str, *arguments: str
) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """Start an example that serves; yield its process and the URI that it printed."""
    return running_python(str(EXAMPLES / name), *arguments)


@contextmanager
def running_python(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a program that serves; yield its process and the URI that it printed."""
    with started(*arguments) as process:
        assert process.stdout is not None
        first_line = process.stdout.readline()
        assert first_line.startswith("serving on ws"), first_line + _stderr_of(process)
        yield process, first_line.removeprefix("serving on ").strip()


@contextmanager
def started(
    *arguments: str, stdin: int = subprocess.DEVNULL, cwd: Path | None = None
) -> Iterator[subprocess.Popen[str]]:
    """Start a program; it is killed at the end of the block."""
    # A process started with SIGINT ignored, as shells do for jobs in the background, would
    # hand that on; a handler is not handed on.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*PYTHON, *arguments],
            stdin=stdin,
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


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a program, check that it ended well, and return what it printed last."""
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stderr) == (0, "")
    return stdout.splitlines()


def _stderr_of(process: subprocess.Popen[str]) -> str:
    """Return what a program that failed to start had to say."""
    process.kill()
    return process.communicate(timeout=TIMEOUT)[1]


def environment(**settings: str) -> dict[str, str]:
    """Return the environment of a process, in which the package is found from everywhere."""
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8", **settings}
