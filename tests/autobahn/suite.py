"""Run the suite once: start `wstest` and the side under test, wait, and clean up.

This file owns the processes and the deadlines; it does not judge what they report.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from tests.autobahn.peer import AGENT
from tests.autobahn.results import reports_complete

START_TIMEOUT: Final = 30.0
STOP_TIMEOUT: Final = 5.0
POLL_INTERVAL: Final = 0.1
# wstest can write all its reports and then not exit; it gets this long after the last one.
EXIT_GRACE: Final = 5.0
LOG_NAME: Final = "wstest.log"
PEER_LOG_NAME: Final = "anyws.log"

Process = subprocess.Popen[bytes]


class RunFailed(Exception):
    """The run did not get to its end; the message says how far it got."""


@dataclass(frozen=True, slots=True)
class Run:
    """One of the runs: which side of `anyws`, on which backend, with which cases."""

    role: str
    backend: str
    cases: list[str]
    wstest: Path
    directory: Path
    timeout: float

    @property
    def log(self) -> Path:
        """Everything that wstest printed."""
        return self.directory / LOG_NAME

    @property
    def peer_log(self) -> Path:
        """Everything that the side under test printed to standard error."""
        return self.directory / PEER_LOG_NAME


def run_suite(run: Run) -> None:
    """Run all cases; the reports are in the directory of the run afterwards.

    Raises:
        RunFailed: one of the two processes ended early, or the time is up. There may be
            reports nevertheless.
    """
    deadline = time.monotonic() + run.timeout
    if run.role == "server":
        _test_server(run, deadline)
    else:
        _test_client(run, deadline)


def _test_server(run: Run, deadline: float) -> None:
    with _process(_peer_command(run), run.peer_log, stdout=subprocess.PIPE) as server:
        port = _read_port(server, run)
        spec = {
            "outdir": str(run.directory),
            "servers": [{"agent": AGENT, "url": f"ws://127.0.0.1:{port}"}],
        }
        with _process(_wstest_command(run, "fuzzingclient", spec), run.log) as fuzzer:
            _wait_for_reports(fuzzer, server, run, deadline)


def _test_client(run: Run, deadline: float) -> None:
    uri = f"ws://127.0.0.1:{_free_port()}"
    spec = {"outdir": str(run.directory), "url": uri}
    with _process(_wstest_command(run, "fuzzingserver", spec), run.log) as fuzzer:
        _wait_until_listening(fuzzer, uri, run)
        with _process([*_peer_command(run), "--uri", uri], run.peer_log) as client:
            _wait_for_client(client, fuzzer, run, deadline)


def _wait_for_reports(fuzzer: Process, server: Process, run: Run, deadline: float) -> None:
    while not _ended(fuzzer, POLL_INTERVAL):
        if server.poll() is not None:
            raise RunFailed(f"the server ended with {server.returncode}; {_where(run)}")
        if reports_complete(run.directory):
            _ended(fuzzer, EXIT_GRACE)
            return
        if time.monotonic() > deadline:
            raise RunFailed(f"not done after {run.timeout:g} s; {_where(run)}")
    if not reports_complete(run.directory):
        raise RunFailed(f"wstest ended with {fuzzer.returncode}, without reports; {_where(run)}")


def _wait_for_client(client: Process, fuzzer: Process, run: Run, deadline: float) -> None:
    while not _ended(client, POLL_INTERVAL):
        if fuzzer.poll() is not None:
            raise RunFailed(f"wstest ended with {fuzzer.returncode}; {_where(run)}")
        if time.monotonic() > deadline:
            raise RunFailed(f"not done after {run.timeout:g} s; {_where(run)}")
    if client.returncode != 0:
        raise RunFailed(f"the client ended with {client.returncode}; {_where(run)}")
    if not reports_complete(run.directory):
        raise RunFailed(f"wstest wrote no reports; {_where(run)}")


def _wait_until_listening(fuzzer: Process, uri: str, run: Run) -> None:
    port = int(uri.rpartition(":")[2])
    deadline = time.monotonic() + START_TIMEOUT
    while not _accepts(port):
        if _ended(fuzzer, POLL_INTERVAL):
            raise RunFailed(f"wstest ended with {fuzzer.returncode}; {_where(run)}")
        if time.monotonic() > deadline:
            raise RunFailed(f"wstest does not listen after {START_TIMEOUT:g} s; {_where(run)}")


def _accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT).close()
    except OSError:
        return False
    return True


def _read_port(server: Process, run: Run) -> int:
    assert server.stdout is not None
    ready, _, _ = select.select([server.stdout], [], [], START_TIMEOUT)
    line = server.stdout.readline().strip() if ready else b""
    if not line.isdigit():
        raise RunFailed(f"the server did not print its port; {_where(run)}")
    return int(line)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def _wstest_command(run: Run, mode: str, spec: Mapping[str, object]) -> list[str]:
    """Write the specification file that `mode` needs and return the command that reads it."""
    path = run.directory / f"{mode}.json"
    # A handshake takes milliseconds, but the default of 5 s is short on a loaded machine.
    options = {"openHandshakeTimeout": 15}
    path.write_text(json.dumps({**spec, "options": options, "cases": run.cases}, indent=2))
    # Web port 0: no web server beside it.
    return [str(run.wstest), "--mode", mode, "--spec", str(path), "--webport", "0"]


def _peer_command(run: Run) -> list[str]:
    return [sys.executable, "-m", "tests.autobahn.peer", run.role, "--backend", run.backend]


@contextmanager
def _process(
    command: list[str], log: Path, *, stdout: int | IO[bytes] | None = None
) -> Iterator[Process]:
    """Run `command` beside the body; its output goes to `log`, and it ends with the body."""
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output if stdout is None else stdout,
            stderr=output,
            env=environment,
        )
    with process:
        try:
            yield process
        finally:
            process.terminate()
            if not _ended(process, STOP_TIMEOUT):
                process.kill()


def _ended(process: Process, timeout: float) -> bool:
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        return False
    return True


def _where(run: Run) -> str:
    """Say what the last line of the logs is, which tells the case that was running."""
    lines = [f"{path.name}: {_last_line(path)}" for path in (run.log, run.peer_log)]
    return "; ".join(lines)


def _last_line(path: Path) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")
    except OSError:
        return "-"
    return next((line.strip() for line in reversed(lines) if line.strip()), "-")
