"""`bench`: measure messages per second of a server that echoes.

Owns the load and the figures. Without a URI it starts a server of its own, in another process.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from array import array
from collections.abc import Sequence
from typing import Any

import anyio
from anyio.streams.text import TextReceiveStream

from .. import ClientConnection, connect
from .options import add_client_arguments, client_keywords, count, positive_seconds, uri_shown
from .running import OK, Failure, check_extra, run_beside, run_on, until_signal

__all__ = ["USAGE", "add_arguments", "percentile", "run"]

# 0.1 s between two looks: as often as a figure can be read.
_PAUSE = 0.1

# 2 s for the server to close its connections, of which there are none any more.
_LAST_WORDS = 2.0


USAGE = "[URI] [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_client_arguments(parser, uri_is_optional=True)
    load = parser.add_argument_group("load")
    load.add_argument(
        "--connections",
        metavar="N",
        type=count,
        default=10,
        help="each sends its next message when the last one has come back (default: %(default)s)",
    )
    load.add_argument(
        "--size",
        metavar="BYTES",
        type=count,
        default=32,
        help="of a message (default: %(default)s)",
    )
    load.add_argument(
        "--seconds",
        metavar="SECONDS",
        type=positive_seconds,
        default=5.0,
        help="how long, once all connections are open (default: %(default)g)",
    )
    load.add_argument("--quiet", action="store_true", help="show no progress")


def run(options: argparse.Namespace) -> int:
    """Measure, print the figures, and return the exit status."""
    shows_progress = sys.stderr.isatty() and not options.quiet
    if shows_progress:
        check_extra("the progress bar (--quiet leaves it out)", "rich", "cli")
    return run_on(options.backend, _measure, options, shows_progress)


async def _measure(options: argparse.Namespace, shows_progress: bool) -> int:
    load = _Load(options)

    async def measure() -> None:
        if options.uri is not None:
            await load.put_on(options.uri, shows_progress)
            return
        async with _EchoServer(options.backend) as uri:
            await load.put_on(uri, shows_progress)

    number = await until_signal(measure)
    load.print_figures()
    return OK if number is None else 128 + number


class _Load:
    """The load, and what came of it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._n: int = options.connections
        self._seconds: float = options.seconds
        self._message = bytes(options.size)
        self._open = 0
        self._all_open = anyio.Event()
        self._began = self._ended = 0.0
        self._took = array("d")  # seconds of each round trip
        self._failure: Exception | None = None

    async def put_on(self, uri: str, shows_progress: bool) -> None:
        """Let clients send and receive for as long as the user said.

        Raises:
            Exception: what the first client to fail has raised.
        """
        self._options.uri = uri
        keywords = client_keywords(self._options)
        if self._options.max_size is not None:
            keywords["max_size"] = max(self._options.max_size, len(self._message))
        progress = self._show_progress if shows_progress else anyio.sleep_forever
        try:
            await run_beside(progress, lambda: self._run_clients(keywords))
        finally:
            self._ended = time.perf_counter()
        if self._failure is not None:
            raise self._failure

    async def _run_clients(self, keywords: dict[str, Any]) -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(self._n):
                tasks.start_soon(self._run_client, keywords, tasks.cancel_scope)
            await self._all_open.wait()
            # Who is not answered would wait for ever.
            limit = self._seconds + self._options.timeout
            tasks.cancel_scope.deadline = anyio.current_time() + limit
        if tasks.cancel_scope.cancelled_caught and self._failure is None:
            self._failure = Failure(
                f"messages did not come back within {self._options.timeout:g} s: "
                "is it a server that echoes?"
            )

    async def _run_client(self, keywords: dict[str, Any], scope: anyio.CancelScope) -> None:
        try:
            async with connect(self._options.uri, **keywords) as ws:
                self._open += 1
                if self._open == self._n:
                    self._began = time.perf_counter()
                    self._all_open.set()
                await self._all_open.wait()
                await self._talk(ws)
        except Exception as exc:
            self._failure = self._failure or exc
            scope.cancel()

    async def _talk(self, ws: ClientConnection) -> None:
        message, add, clock = self._message, self._took.append, time.perf_counter
        end = self._began + self._seconds
        while (began := clock()) < end:
            await ws.send(message)
            if await ws.receive() != message:
                raise Failure("what came back is not what was sent: is it a server that echoes?")
            add(clock() - began)

    async def _show_progress(self) -> None:
        from rich.console import Console  # an extra
        from rich.progress import BarColumn, Progress, TextColumn

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[rate]}"))
        console = Console(stderr=True)
        with Progress(*columns, console=console, transient=True, auto_refresh=False) as progress:
            bar = progress.add_task("", total=self._seconds, rate="")
            while True:
                elapsed = time.perf_counter() - self._began if self._all_open.is_set() else 0.0
                progress.update(
                    bar,
                    completed=elapsed,
                    description=f"{self._open} of {self._n} connections",
                    rate=f"{len(self._took) / elapsed:,.0f} round trips/s" if elapsed else "",
                    refresh=True,
                )
                await anyio.sleep(_PAUSE)

    def print_figures(self) -> None:
        """Print what was measured, if anything was."""
        if not self._took:
            return
        took = sorted(self._took)
        seconds = min(self._ended - self._began, self._seconds)
        rate = len(took) / seconds
        print(
            f"{uri_shown(self._options.uri)}: {self._n} connection{'s' * (self._n > 1)}, messages "
            f"of {len(self._message):,} bytes, {seconds:.1f} s on {self._options.backend}"
        )
        print(f"  round trips  {len(took):,}")
        print(f"  per second   {rate:,.0f}, which is {2 * rate:,.0f} messages", end="")
        print(f" and {2 * rate * len(self._message) / 1e6:,.2f} MB both ways")
        shares = {"min": 0.0, "median": 0.5, "90 %": 0.9, "99 %": 0.99, "99.9 %": 0.999, "max": 1.0}
        figures = [f"{name} {percentile(took, at) * 1000:.2f}" for name, at in shares.items()]
        print(f"  latency, ms  {', '.join(figures)}", flush=True)


def percentile(ordered: Sequence[float], share: float) -> float:
    """Return the smallest of some figures that this share of them does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class _EchoServer:
    """A server in another process, on a free port; `async with` gives its URI."""

    def __init__(self, backend: str) -> None:
        self._command = [sys.executable, "-m", "anyws", "serve", "--echo", "--port", "0", "--quiet"]
        self._command += ["--host", "127.0.0.1", "--max-size", "none", "--backend", backend]

    async def __aenter__(self) -> str:
        self._process = await anyio.open_process(self._command, stderr=None)
        assert self._process.stdout is not None
        line = ""
        async for text in TextReceiveStream(self._process.stdout):
            line += text
            if "\n" in line:
                return line.removeprefix("serving on ").strip()
        raise Failure("the server of this benchmark did not start")

    async def __aexit__(self, *_: object) -> None:
        self._process.terminate()
        with anyio.CancelScope(shield=True), anyio.move_on_after(_LAST_WORDS):
            await self._process.wait()
        await self._process.aclose()
