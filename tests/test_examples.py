"""Run every program of examples/, and that of the README, as a user would: by itself.

Each runs on every backend that it offers.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from anyws import connect

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
BACKENDS = ("trio", "asyncio")
# Seconds until a program counts as stuck: far above what any takes on a busy machine.
TIMEOUT = 60.0
# Warnings are errors in the examples too; unbuffered, so that a line can be waited for.
PYTHON = (sys.executable, "-W", "error", "-u")

on_backends = pytest.mark.parametrize("backend", BACKENDS)
# A signal on Windows ends the process there and then, so its farewell cannot be seen.
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


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


@contextmanager
def running(name: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start an example that serves; yield its process and the URI that it printed."""
    # A process started with SIGINT ignored, as shells do for jobs in the background, would
    # hand that on; a handler is not handed on.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*PYTHON, str(EXAMPLES / name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(),
        )
    finally:
        signal.signal(signal.SIGINT, previous)
    with process:
        try:
            assert process.stdout is not None
            first_line = process.stdout.readline()
            assert first_line.startswith("serving on ws://"), first_line + stderr_of(process)
            yield process, first_line.removeprefix("serving on ").strip()
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a program, check that it ended well, and return what it printed last."""
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stderr) == (0, "")
    return stdout.splitlines()


def stderr_of(process: subprocess.Popen[str]) -> str:
    """Return what a program that failed to start had to say."""
    process.kill()
    return process.communicate(timeout=TIMEOUT)[1]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": "utf-8"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_has_at_most_60_lines_and_a_test(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 60
    assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8")


@on_backends
def test_program_in_the_readme_prints_its_echo(backend: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    program, _, _ = readme.partition("```python\n")[2].partition("```")
    alternative = 'anyio.run(main, backend="trio")'
    assert alternative in program
    if backend == "trio":
        program = program.replace("anyio.run(main)  # or: ", "")
    assert run_python("-c", program) == ["hello"]


@on_backends
def test_demo_serves_three_clients_and_stops(backend: str) -> None:
    lines = run("demo.py", "--backend", backend)
    assert lines[0].startswith("serving on ws://")
    assert lines[-1] == "stopped"
    for name in ("ada", "ben", "cleo"):
        assert f"{name}: 'goodbye' was answered with 'GOODBYE'" in lines
        assert f"{name}: closed with code 1000" in lines
    assert "ben: b'bytes from ben' was answered with b'neb morf setyb'" in lines


@on_backends
def test_streaming_file_arrives_whole(backend: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 12_345
    path = tmp_path / "three megabytes"
    path.write_bytes(content)
    told = f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
    assert run("streaming_file.py", "--backend", backend, str(path)) == [
        f"sent     {told}",
        f"received {told}",
    ]


@on_backends
def test_echo_client_prints_what_echo_server_sends_back(backend: str) -> None:
    other = BACKENDS[1 - BACKENDS.index(backend)]
    with running("echo_server.py", "--port", "0", "--backend", backend) as (_, uri):
        for client in (backend, other):
            assert run("echo_client.py", "--backend", client, uri, "one", "zwölf") == [
                "one",
                "zwölf",
            ]


@needs_signals
@on_backends
def test_echo_server_stops_on_ctrl_c(backend: str) -> None:
    with running("echo_server.py", "--port", "0", "--backend", backend) as (process, _):
        process.send_signal(signal.SIGINT)
        assert finish(process) == []


@on_backends
def test_echo_client_names_the_uri_that_refused(backend: str) -> None:
    # Nothing can listen on port 0, and nothing can take it between two runs.
    uri = "ws://127.0.0.1:0/"
    done = subprocess.run(
        [*PYTHON, str(EXAMPLES / "echo_client.py"), "--backend", backend, uri, "hello"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{uri}: ")
    assert "Traceback" not in done.stderr


@needs_signals
@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_nursery_server_answers_ticks_and_stops_on_a_signal(number: signal.Signals) -> None:
    with running("nursery_server.py", "--port", "0") as (process, uri):
        async with connect(uri) as ws:
            await ws.send("hello")
            assert {await ws.receive(), await ws.receive()} == {"tick 0", "you said 'hello'"}
            process.send_signal(number)
            async for _ in ws:
                pass  # a tick that was already on its way
            assert ws.close_code == 1001
        assert finish(process) == [f"stopping on {number.name}", "stopped"]
