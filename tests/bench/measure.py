"""Measure rows: the peers take turns within a round, and the best of the rounds counts."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from socket import socket as Socket
from typing import Final

from tests.bench import hosting
from tests.bench.compressed import compressed_exchange
from tests.bench.imports import ImportFailed, imports_of, measure_import
from tests.bench.load import Load, LoadError, Target, open_connection, shake
from tests.bench.process import MeasuredProcess, ProcessFailed, client_process, server_process
from tests.bench.rows import Kind, Row
from tests.bench.samples import Sample
from tests.bench.secure import Tls, made_up_certificate
from tests.bench.servers import COMPRESSING, FANNING, speaks_websocket
from tests.bench.wire import Exchange, exchange_of, exchange_with_client

BREAK_IN_CONNECTIONS: Final = 10


@dataclass(frozen=True, slots=True)
class Turn:
    """What one peer took in one round.

    `cost` is microseconds of CPU time of the server or client, per message or connection; for an
    idle row KiB of its resident memory per connection, and for an import milliseconds of CPU time.
    The rest is seen from outside.
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
    """Measure `row` on every peer; one that fails is out of this row, with the reason.

    Peers that cannot compress, or send to all at once, are no part of a row that does.
    """
    names = imports_of(peers) if row.kind is Kind.IMPORT else peers
    if row.compress:
        names = [name for name in names if name in COMPRESSING]
    if row.kind is Kind.FAN:
        names = [name for name in names if name in FANNING]
    outcomes = [Outcome(name) for name in names]
    with ExitStack() as stack:
        tls = stack.enter_context(made_up_certificate()) if row.tls else None
        servers = Servers(row, settings, tls, stack)
        for n in range(settings.rounds):
            for outcome in outcomes:
                if outcome.failure is None:
                    show(f"{row.name}: round {n + 1} of {settings.rounds}, {outcome.peer}")
                    _take_turn(outcome, servers)
    show("")
    return outcomes


class Servers:
    """The servers of one row: each is started for its first turn, and runs until the last."""

    def __init__(self, row: Row, settings: Settings, tls: Tls | None, stack: ExitStack) -> None:
        self.row = row
        self.settings = settings
        self._tls = tls
        self._stack = stack
        self._started: dict[str, MeasuredProcess] = {}

    def new(self, name: str) -> MeasuredProcess:
        """Return a server that is to be started yet."""
        certificate = self._tls.certificate if self._tls else None
        return server_process(
            name,
            core=self.settings.server_core,
            certificate=certificate,
            compress=self.row.compress,
            fan=self.row.kind is Kind.FAN,
        )

    def get(self, name: str) -> MeasuredProcess:
        """Return the server that runs, broken in."""
        if name not in self._started:
            self._started[name] = self._stack.enter_context(self.new(name))
            self.break_in(self._started[name])
        return self._started[name]

    def prepare(self, server: MeasuredProcess) -> Load:
        """Return the load of the row on that server, with no connections yet."""
        return Load(self.target(server), self._exchange(server.name))

    def target(self, server: MeasuredProcess) -> Target:
        """Return how to reach that server."""
        client = self._tls.client if self._tls else None
        return Target(server.port, speaks_websocket(server.name), client, self.row.compress)

    def break_in(self, server: MeasuredProcess) -> None:
        """Open and close a few connections, for what a process does and allocates only once.

        This matters: asyncio reads into 256 KiB that it then shrinks, and until the process has
        freed one such block whole, which the end of a connection does, glibc maps and unmaps
        memory for every read. That is three quarters of the cost of a bare echo.
        """
        load = self.prepare(server)
        try:
            self.open(load, BREAK_IN_CONNECTIONS)
        finally:
            load.close()
        server.settle()

    def open(self, load: Load, connections: int) -> None:
        """Open that many connections, and check that each does what it must."""
        if self.row.kind is Kind.FAN:
            load.join(connections)
        else:
            load.open(connections)

    def run(self, load: Load, seconds: float) -> Sample:
        """Keep the load of the row up for so long."""
        if self.row.kind is Kind.FAN:
            return load.run_fan(seconds)
        return load.run(seconds, depth=self.row.depth)

    def _exchange(self, name: str) -> Exchange:
        row = self.row
        if row.compress:
            return compressed_exchange(row.payload_size)
        return exchange_of(row.payload_size, text=row.text, websocket=speaks_websocket(name))


def _take_turn(outcome: Outcome, servers: Servers) -> None:
    try:
        outcome.turns.append(_measure(outcome.peer, servers))
    except (ProcessFailed, LoadError, ImportFailed, OSError) as error:
        outcome.failure = f"{type(error).__name__}: {error}"


def _measure(name: str, servers: Servers) -> Turn:
    if servers.row.kind is Kind.IMPORT:
        return Turn(measure_import(name, servers.settings.seconds) / 1e6)
    if servers.row.kind is Kind.CLIENT:
        return _measure_client(servers.row, name, servers.settings)
    if servers.row.kind in (Kind.IDLE, Kind.OPEN):
        # A process of its own for each reading: memory once taken is not given back.
        with servers.new(name) as server:
            return _measure_idle(servers, server)
    measure = _measure_shake if servers.row.kind is Kind.SHAKE else _measure_messages
    return measure(servers, servers.get(name))


def _measure_messages(servers: Servers, server: MeasuredProcess) -> Turn:
    settings = servers.settings
    load = servers.prepare(server)
    try:
        servers.open(load, servers.row.connections)
        servers.run(load, settings.warm_up)
        before = server.settle()
        sample = servers.run(load, settings.seconds)
        used = server.settle() - before
    finally:
        load.close()
    server.settle()
    return turn_of(used, sample)


def _measure_shake(servers: Servers, server: MeasuredProcess) -> Turn:
    target = servers.target(server)
    shake(target, servers.settings.warm_up)
    before = server.settle()
    sample = shake(target, servers.settings.seconds)
    return turn_of(server.settle() - before, sample)


def _measure_idle(servers: Servers, server: MeasuredProcess) -> Turn:
    servers.break_in(server)
    before = server.resident_kib()
    load = servers.prepare(server)
    try:
        if servers.row.kind is Kind.IDLE:
            load.open(servers.row.connections)
        else:
            for _ in range(servers.row.connections):
                load.add(open_connection(load.target))
        server.settle()
        used = server.resident_kib() - before
    finally:
        load.close()
    return Turn(used / servers.row.connections)


def _measure_client(row: Row, name: str, settings: Settings) -> Turn:
    batches = (BREAK_IN_CONNECTIONS, row.connections)
    with hosting.listening() as listener:
        target = Target(listener.getsockname()[1], speaks_websocket(name))
        with client_process(
            name, core=settings.server_core, port=target.port, connections=batches
        ) as client:
            try:
                _break_in_client(row, target, listener)
                return _measure_accepted(row, target, listener, client, settings)
            except LoadError as error:
                raise ProcessFailed(f"{error}; the client said: {client.last_words()}") from error


def _break_in_client(row: Row, target: Target, listener: Socket) -> None:
    """See `Servers.break_in`."""
    load = Load(target, exchange_with_client(row.payload_size, websocket=target.websocket))
    try:
        hosting.accept(load, listener, BREAK_IN_CONNECTIONS)
    finally:
        hosting.dismiss(load)


def _measure_accepted(
    row: Row, target: Target, listener: Socket, client: MeasuredProcess, settings: Settings
) -> Turn:
    load = Load(target, exchange_with_client(row.payload_size, websocket=target.websocket))
    try:
        hosting.accept(load, listener, row.connections)
        load.run(settings.warm_up, depth=row.depth)
        before = client.settle()
        sample = load.run(settings.seconds, depth=row.depth)
        used = client.settle() - before
    finally:
        hosting.dismiss(load)
    return turn_of(used, sample)


def turn_of(nanoseconds: int, sample: Sample) -> Turn:
    """Return what a stretch of load cost, given the CPU time of the server."""
    rate = sample.count / sample.seconds
    return Turn(nanoseconds / sample.count / 1000, rate, sample.p50_us, sample.p99_us)


def show(progress: str) -> None:
    """Overwrite the line of progress, if a person is watching."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{progress}", end="", file=sys.stderr, flush=True)
