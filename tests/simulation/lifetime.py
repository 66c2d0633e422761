"""Runs a script: both sides under a virtual clock, and the model looking on.

Everything that is random comes from the seed of the script. trio draws the order of tasks from a
generator of its own, which is seeded for each lifetime; with the flag that it has for tests, the
order depends on nothing else.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from random import Random
from typing import Any
from weakref import ref

import trio
from trio._core import _run as trio_run
from trio.testing import MockClock

from anyws import (
    ConcurrencyError,
    Connection,
    ConnectionClosed,
    Deflate,
    HandshakeError,
    State,
    wrap_client,
    wrap_server,
)

from ..cancellation.leaks import parked
from .model import Way, check_sends
from .script import Compression, Fault, Part, Script
from .side import Side
from .steps import Application
from .wire import join

__all__ = ["Outcome", "run"]

_DEFLATE: dict[Compression, Deflate] = {
    "takeover": Deflate(threshold=30, level=1, memory_level=1),
    "no takeover": Deflate(
        threshold=0,
        level=1,
        memory_level=1,
        client_no_context_takeover=True,
        server_no_context_takeover=True,
        server_max_window_bits=9,
    ),
}

# 8 s after both sides have quit: the longest `close_timeout`, the seconds that a transport takes
# to end, and the pauses of steps that do nothing with the connection.
_TO_END = 8.0

# A century: no deadline of a lifetime is that far away.
_FOR_EVER = 3e9

# 4 s for the opening handshake, of which none takes a second unless a fault is in the way.
_TO_OPEN = 4.0


@dataclass(slots=True)
class Outcome:
    """What came of a lifetime.

    Attributes:
        violations: what should not have happened.
        trace: what happened: when, at which side, in which task, which step, and how it ended.
        wire: what arrived: when, from which side, and how many bytes.
        counts: how often each step ended how, each fault, each end.
        connections: of both sides, which should be gone by now.
    """

    violations: list[str] = field(default_factory=list)
    trace: list[tuple[object, ...]] = field(default_factory=list)
    wire: list[tuple[float, str, int]] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    connections: list[ref[Connection]] = field(default_factory=list)

    @property
    def digest(self) -> str:
        """A hash of all that happened."""
        said = repr((self.trace, self.wire, self.violations))
        return blake2b(said.encode(errors="backslashreplace"), digest_size=8).hexdigest()


def run(script: Script) -> Outcome:
    """Run a script to its end; it is the same each time."""
    life = _Lifetime(script)
    with _seeded(script.seed), _unraised(life.report):
        try:
            trio.run(life.run, clock=_clock(life.check_quiet))
        except trio.TrioInternalError as exc:
            life.report(f"the lifetime did not end: {exc.__cause__!r}")
        except Exception as exc:
            life.report(f"{exc!r} came out")
        else:
            life.check_end()
    return life.outcome


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Let the order in which trio runs tasks depend on the seed alone."""
    flag, state = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    trio_run._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # pytest-trio does so
    trio_run._r.seed(seed)
    try:
        yield
    finally:
        trio_run._ALLOW_DETERMINISTIC_SCHEDULING = flag  # type: ignore[misc]
        trio_run._r.setstate(state)


@contextmanager
def _unraised(report: Callable[[str], None]) -> Iterator[None]:
    """Report what is said of objects when they are destroyed."""
    hook = sys.unraisablehook
    sys.unraisablehook = lambda args: report(f"{args.err_msg}: {args.exc_value!r}")
    try:
        yield
    finally:
        sys.unraisablehook = hook


class _Stuck(Exception):
    """All tasks wait, for ever."""


def _clock(quiet: Callable[[], None]) -> MockClock:
    """Return a clock that jumps to the next deadline when all tasks wait, after a look at them."""
    clock = MockClock(autojump_threshold=0)

    def look_and_jump() -> None:
        quiet()
        seconds = trio.lowlevel.current_statistics().seconds_to_next_deadline
        if seconds > _FOR_EVER:
            raise _Stuck
        clock.jump(max(0.0, seconds))

    clock._autojump = look_and_jump  # type: ignore[method-assign]  # it forbids subclasses
    return clock


class _Boom(Exception):
    """Leaves a block."""


class _Lifetime:
    """A lifetime while it runs."""

    def __init__(self, script: Script) -> None:
        self.outcome = Outcome()
        self._script = script
        self._is_lossy = False
        self._is_over = False
        has_deflate = script.compression is not None
        to_server = Way("client", has_deflate, self.report)
        to_client = Way("server", has_deflate, self.report)
        client_wire, server_wire = join(
            Random(script.seed),
            script.capacity,
            script.splits,
            partial(self._delivered, to_client),
            partial(self._delivered, to_server),
        )
        report = self.report
        client = Side("client", script.client, client_wire, to_server, to_client, report)
        server = Side("server", script.server, server_wire, to_client, to_server, report)
        client.peer, server.peer = server, client
        self._client, self._server = client, server
        for side in (client, server):
            side.wire.delay = script.delay
        self._limit = max(script.client.quits_at, script.server.quits_at) + _TO_END

    def report(self, problem: str) -> None:
        """Record a violation."""
        self.outcome.violations.append(problem)

    def _note(self, *event: object) -> int:
        """Record what happened, if anything, and return how much has."""
        trace = self.outcome.trace
        if event:
            trace.append((trio.current_time(), *event))
            self.outcome.counts[f"{event[-2]}: {event[-1]}"] += 1
        return len(trace)

    def _delivered(self, way: Way, data: bytes) -> None:
        self.outcome.wire.append((trio.current_time(), way.sender, len(data)))
        way.take(data)
        side = self._client if way is self._client.way_in else self._server
        if way.pongs:
            side.delivered()
        if side.ws is not None:
            side.look()

    # Running

    async def run(self) -> None:
        """Run both sides until they have ended, and the faults beside them."""
        async with trio.open_nursery() as nursery:
            for fault in self._script.faults:
                nursery.start_soon(self._befall, fault)
            nursery.start_soon(self._watch, nursery.cancel_scope)
            async with trio.open_nursery() as sides:
                sides.start_soon(self._run_side, self._client, self._connecting())
                sides.start_soon(self._run_side, self._server, self._accepting())
            nursery.cancel_scope.cancel()

    def _connecting(self) -> AbstractAsyncContextManager[Connection]:
        return wrap_client(
            self._client.wire,
            "ws://localhost/",
            open_timeout=_TO_OPEN,
            **self._options(self._script.client),
        )

    def _accepting(self) -> AbstractAsyncContextManager[Connection]:
        return wrap_server(
            self._server.wire, open_timeout=_TO_OPEN, **self._options(self._script.server)
        )

    # Any: options are of many types, and are checked by those who take them.
    def _options(self, part: Part) -> dict[str, Any]:
        settings = part.settings
        compression = self._script.compression
        return {
            **{name: getattr(settings, name) for name in settings.__slots__},
            "compression": None if compression is None else _DEFLATE[compression],
        }

    async def _watch(self, scope: trio.CancelScope) -> None:
        """End a lifetime that does not end by itself."""
        await trio.sleep_until(self._limit)
        for side in (self._client, self._server):
            if not side.is_over:
                waiting = ", ".join(call.name for call in side.calls) or "its block"
                side.report(f"{waiting} still waits after {self._limit} s")
        scope.cancel()

    async def _befall(self, fault: Fault) -> None:
        side = self._client if fault.side == "client" else self._server
        wire = side.wire
        if fault.kind.startswith("cut"):
            wire.cut_at, wire.is_cut_by_reset = fault.after, fault.kind == "cut by reset"
            self._is_lossy = True
            return
        await trio.sleep_until(fault.at)
        self.outcome.counts[f"fault: {fault.kind}"] += 1
        if fault.kind == "stall reading":
            wire.stall_reading()
        elif fault.kind == "stall writing":
            wire.stall_writing()
        else:
            self._is_lossy = True
            if fault.kind == "drop":
                wire.drop()
            elif fault.kind == "reset":
                wire.reset()
            else:
                await wire.stream.send_eof()
            return
        await trio.sleep(fault.seconds)
        if not wire.has_dropped:
            wire.resume()

    async def _run_side(self, side: Side, block: AbstractAsyncContextManager[Connection]) -> None:
        part = side.part
        boom = _Boom()
        with trio.CancelScope() as scope:
            if part.cancelled_at is not None:
                scope.deadline = part.cancelled_at
            try:
                async with block as side.ws:
                    self.outcome.connections.append(ref(side.ws))
                    try:
                        await self._run_tasks(side, side.ws)
                    finally:
                        side.give_up()
                    if part.leaves == "raising":
                        raise boom
            except _Boom as exc:
                if exc is not boom:
                    side.report(f"{exc!r} left the block, which raised another")
            except (HandshakeError, OSError) as exc:
                self._check_refusal(side, exc)
        side.is_over = True
        if side.ws is not None:
            await self._receive_rest(side, side.ws)
        elif scope.cancelled_caught:
            self._note(side.name, "opening", "cancelled")

    def _check_refusal(self, side: Side, exc: Exception) -> None:
        self._note(side.name, "opening", type(exc).__name__)
        script = self._script
        peer = side.peer
        has_left = peer.part.cancelled_at is not None or peer.has_aborted
        is_expected = script.faults or script.delay or has_left
        if side.ws is not None or not is_expected:
            side.report(f"{exc!r} came out of the block")

    async def _run_tasks(self, side: Side, ws: Connection) -> None:
        async with trio.open_nursery() as spawned, trio.open_nursery() as tasks:
            tasks.start_soon(self._quit, side, ws)
            for number, task in enumerate(side.part.tasks):
                application = Application(side, number, spawned.start_soon, self._note)
                tasks.start_soon(application.run, task)

    async def _quit(self, side: Side, ws: Connection) -> None:
        """Close the connection when it is time to, if it is not closed by then."""
        with trio.move_on_at(side.part.quits_at):
            await ws.wait_closed()
            return
        side.give_up()
        self._note(side.name, "quits", side.part.code)
        await ws.close(side.part.code)

    async def _receive_rest(self, side: Side, ws: Connection) -> None:
        """Receive what is left once the connection has ended; then every call says how it did."""
        if side.look() is not State.CLOSED:
            side.report(f"the block has been left, and the connection is {ws.state.value}")
            return
        try:
            while True:
                side.reading.take(await ws.receive())
        except ConnectionClosed as exc:
            side.ended = exc
            side.check_ended(exc)
        except ConcurrencyError as exc:
            side.report(f"{exc!r}, and all tasks have ended")

    # Checking

    def check_quiet(self) -> None:
        """Check both sides while all tasks wait."""
        for side in (self._client, self._server):
            side.check_quiet(is_lossy=self._is_lossy)

    def check_end(self) -> None:
        """Check what is left, and whether both sides tell the same story."""
        for side in (self._client, self._server):
            side.arrived_code = side.way_in.close_code
            side.way_in.take(side.wire.rest())
        for side in (self._client, self._server):
            way = side.way_out
            is_complete = way.close_code is not None and not side.wire.has_dropped
            check_sends(way, side.sends, is_complete=is_complete, report=self.report)
            side.reading.check_left()
            if not side.wire.is_closed:
                side.report("its stream is not closed")
            if side.ws is not None:
                side.check_end(side.ws)
                for problem in parked(side.ws):
                    side.report(f"left behind: {problem}")
        self._check_codes()

    def _check_codes(self) -> None:
        ended, other = self._client.ended, self._server.ended
        if ended is None or other is None:
            return
        if ended.initiator == other.initiator == "remote":
            self.report("each side says that the other one closed first")
        self.outcome.counts[f"end: {ended.code} {other.code}"] += 1
