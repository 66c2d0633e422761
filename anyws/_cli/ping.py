"""`ping`: measure round trips to a server, as ping(8) does.

Owns the lines that are printed. The Ping frames are those of WebSocket (RFC 6455 §5.5.2).
"""

from __future__ import annotations

import argparse
import itertools
from statistics import median

import anyio

from .. import ClientConnection, ConnectionClosed, connect
from .explain import explain_close
from .options import add_client_arguments, client_keywords, count, positive_seconds, uri_shown
from .running import FAILED, OK, run_on, until_signal

__all__ = ["USAGE", "add_arguments", "run"]


USAGE = "URI [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_client_arguments(parser)
    parser.add_argument(
        "--count", metavar="N", type=count, help="stop after so many Pings (default: on Ctrl+C)"
    )
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=positive_seconds,
        default=1.0,
        help="between two Pings (default: %(default)g)",
    )


def run(options: argparse.Namespace) -> int:
    """Ping, and return the exit status: 0 if each was answered."""
    return run_on(options.backend, _Pinging(options).run)


class _Pinging:
    def __init__(self, options: argparse.Namespace) -> None:
        self._uri: str = options.uri
        # Those of keepalive would be between the others.
        self._keywords = client_keywords(options) | {"ping_interval": None}
        self._count: int | None = options.count
        self._interval: float = options.interval
        self._timeout: float = options.timeout
        self._sent = 0
        self._answered: list[float] = []
        self._broke = False

    async def run(self) -> int:
        number = await until_signal(self._connect)
        if self._sent:
            self._print_summary()
        elif number is not None:
            return 128 + number
        return FAILED if self._broke or len(self._answered) < self._sent else OK

    async def _connect(self) -> None:
        began = anyio.current_time()
        async with connect(self._uri, **self._keywords) as ws:
            took = anyio.current_time() - began
            print(f"PING {uri_shown(self._uri)}: open after {took * 1000:.1f} ms", flush=True)
            closed: ConnectionClosed | None = None
            try:
                # What the server sends would keep the Pongs waiting.
                with ws.cancel_on_close(incoming="discard") as scope:
                    await self._ping(ws)
                closed = scope.closed
            except ConnectionClosed as exc:
                closed = exc
            if closed is not None:
                self._broke = True
                print(explain_close(closed), flush=True)

    async def _ping(self, ws: ClientConnection) -> None:
        due = anyio.current_time()
        for n in itertools.count(1):
            await anyio.sleep_until(due)
            due += self._interval
            with anyio.move_on_after(self._timeout) as scope:
                took = await ws.ping()
                self._answered.append(took)
                print(f"pong {n}: {took * 1000:.2f} ms", flush=True)
            if scope.cancelled_caught:
                print(f"pong {n}: none within {self._timeout:g} s", flush=True)
            self._sent = n  # one that Ctrl+C interrupts does not count
            if n == self._count:
                return

    def _print_summary(self) -> None:
        lost = self._sent - len(self._answered)
        print(f"{self._sent} Ping{'s' * (self._sent != 1)}, {len(self._answered)} answered", end="")
        print(f", {lost} not" if lost else "", end="")
        if self._answered:
            figures = (min(self._answered), median(self._answered), max(self._answered))
            text = " / ".join(f"{figure * 1000:.2f}" for figure in figures)
            print(f"; min / median / max {text} ms", end="")
        print(flush=True)
