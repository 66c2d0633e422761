"""Measure rows: the peers take turns within a round, and the best of the rounds counts."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Final

from tests.bench.load import Load, LoadError, shake
from tests.bench.process import ServerFailed, ServerProcess
from tests.bench.rows import Kind, Row
from tests.bench.servers import speaks_websocket
from tests.bench.wire import exchange_for

BREAK_IN_CONNECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Turn:
    """What one peer took in one round.

    `cost` is microseconds of CPU time of the server per message or per connection, and for
    an idle row KiB of its resident memory per connection. The rest is seen from outside.
    """

    cost: float
    rate: float = 0.0
    p50_us: float = 0.0
    p99_us: float = 0.0


@dataclass(slots=True)
class Outcome:
    """All turns of one peer in one row, and why it has none or no more, if so."""

    peer: str
    turns: list[Turn] = field(default_factory=list)
    failure: str | None = None

    @property
    def best(self) -> Turn | None:
        """The turn with the least cost."""
        return min(self.turns, key=lambda turn: turn.cost, default=None)


@dataclass(frozen=True, slots=True)
class Settings:
    """How to measure: how often, how long a turn takes, and the core for the servers."""

    rounds: int
    seconds: float
    warm_up: float
    server_core: int


def measure_row(row: Row, peers: Iterable[str], settings: Settings) -> list[Outcome]:
    """Measure `row` on every peer; one that fails is out of this row, with the reason."""
    outcomes = [Outcome(peer) for peer in peers]
    with ExitStack() as stack:
        servers: dict[str, ServerProcess] = {}
        for n in range(settings.rounds):
            for outcome in outcomes:
                if outcome.failure is None:
                    _show(f"{row.name}: round {n + 1} of {settings.rounds}, {outcome.peer}")
                    _take_turn(row, outcome, settings, servers, stack)
    _show("")
    return outcomes


def _take_turn(
    row: Row,
    outcome: Outcome,
    settings: Settings,
    servers: dict[str, ServerProcess],
    stack: ExitStack,
) -> None:
    try:
        if row.kind is Kind.IDLE:
            # A process of its own for each reading: memory once taken is not given back.
            with ServerProcess(outcome.peer, core=settings.server_core) as server:
                outcome.turns.append(_measure_idle(row, server))
            return
        if outcome.peer not in servers:
            server = ServerProcess(outcome.peer, core=settings.server_core)
            servers[outcome.peer] = stack.enter_context(server)
            _break_in(row, server)
        server = servers[outcome.peer]
        measure = _measure_echo if row.kind is Kind.ECHO else _measure_shake
        outcome.turns.append(measure(row, server, settings))
    except (ServerFailed, LoadError, OSError) as error:
        outcome.failure = f"{type(error).__name__}: {error}"


def _measure_echo(row: Row, server: ServerProcess, settings: Settings) -> Turn:
    load = _prepare(row, server)
    try:
        load.open(row.connections)
        load.run(settings.warm_up, depth=row.depth)
        before = server.settle()
        sample = load.run(settings.seconds, depth=row.depth)
        used = server.settle() - before
    finally:
        load.close()
    server.settle()
    rate = sample.count / sample.seconds
    return Turn(used / sample.count / 1000, rate, sample.p50_us, sample.p99_us)


def _measure_shake(row: Row, server: ServerProcess, settings: Settings) -> Turn:
    websocket = speaks_websocket(server.name)
    shake(server.port, settings.warm_up, websocket=websocket)
    before = server.settle()
    sample = shake(server.port, settings.seconds, websocket=websocket)
    used = server.settle() - before
    rate = sample.count / sample.seconds
    return Turn(used / sample.count / 1000, rate, sample.p50_us, sample.p99_us)


def _measure_idle(row: Row, server: ServerProcess) -> Turn:
    _break_in(row, server)
    before = server.resident_kib()
    load = _prepare(row, server)
    try:
        load.open(row.connections)
        server.settle()
        used = server.resident_kib() - before
    finally:
        load.close()
    return Turn(used / row.connections)


def _prepare(row: Row, server: ServerProcess) -> Load:
    websocket = speaks_websocket(server.name)
    return Load(server.port, exchange_for(row, websocket=websocket), websocket=websocket)


def _break_in(row: Row, server: ServerProcess) -> None:
    """Open and close a few connections, for what a process does and allocates only once.

    This matters: asyncio reads into 256 KiB that it then shrinks, and until the process has
    freed one such block whole, which the end of a connection does, glibc maps and unmaps
    memory for every read. That is three quarters of the cost of a bare echo.
    """
    load = _prepare(row, server)
    try:
        load.open(BREAK_IN_CONNECTIONS)
    finally:
        load.close()
    server.settle()


def _show(progress: str) -> None:
    """Overwrite the line of progress, if a person is watching."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)
