"""The engine: cancels an operation at each point at which it waits, one run for each point.

A scenario sets something up, hands one operation to `Run.operate`, and checks what has become of
it all. The engine steps the operation itself and so sees every suspension: whatever is yielded to
the event loop. Run k cancels at the k-th suspension; the last run, which has none of that number,
cancels nothing.

What it knows of WebSocket is in `leaks.py`: the places of a connection where a task may be parked.
"""

from __future__ import annotations

import asyncio
import enum
import time
import traceback
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Generic, TypeVar

import anyio
import outcome
import pytest
import trio
from anyio.abc import TaskGroup
from anyio.lowlevel import checkpoint
from trio.testing import MockClock

from anyws import Connection, _lifetime

from .leaks import Census, parked
from .places import shorten, waiting_at

__all__ = [
    "LOOPS",
    "Broken",
    "Kind",
    "Outcome",
    "Run",
    "Scenario",
    "Tally",
    "Violation",
    "awaitables_of",
    "beside",
    "check",
    "sweep",
]

T = TypeVar("T")

LOOPS = ("asyncio", "uvloop", "trio")

# 10 s for a run, in which nothing waits for a time limit unless a mock clock drives it.
_LIMIT = 10.0

# An operation with more suspensions than this does not end.
_MOST_POINTS = 300

# Enough for an opening handshake over TLS, on each loop; more takes long and shows little.
_MOST_TURNS = 50

# Seconds after the start, at some of which limits of a connection run out.
_MOMENTS = (0.5, 1.0, 2.0, 5.0, 6.0, 10.0, 11.0, 20.0, 40.0)

# How often somebody in a hurry cancels: more than the waits of any clean-up, but not for ever, as
# a task group that waits for its tasks can be cancelled every turn.
_MOST_CANCELLATIONS = 20

# 5 violations of one kind show what there is to see, and each may have taken its time.
_MOST_VIOLATIONS = 5

# Enough for a cancellation that is pending to arrive, on any loop.
_CHECKPOINTS = 10

# Seconds in place of one; under the virtual clock one is exact.
_PATIENT_GRACE = 8.0

# By which a cancellation of ours is told from those of inner scopes.
_REASON = "swept"

# More than the clock may be off by adding up.
_EPSILON = 1e-6


class Kind(enum.Enum):
    """How an operation is cancelled."""

    #: Its cancel scope, the moment that it suspends.
    SCOPE = "scope"
    #: Its cancel scope, when what it waits for has come and it has yet to run.
    SCOPE_WOKEN = "scope-woken"
    #: Its cancel scope, before it starts.
    BEFORE = "before"
    #: Its asyncio task, as `asyncio.timeout` does; the shields of anyio do not stop that.
    NATIVE = "native"
    #: Its asyncio task, when what it waits for has come and it has yet to run.
    NATIVE_WOKEN = "native-woken"
    #: Its asyncio task, at this suspension and at every later one.
    NATIVE_AGAIN = "native-again"
    #: Its cancel scope at this suspension, and its asyncio task at the next one.
    BOTH = "scope-then-native"
    #: Its cancel scope at a moment of virtual time, when limits of the connection run out too.
    MOMENT = "moment"
    #: Its cancel scope, so many turns of the loop after it started: others work while it waits.
    SCOPE_TURN = "scope-turn"
    #: Its asyncio task, so many turns of the loop after it started.
    NATIVE_TURN = "native-turn"

    @property
    def is_native(self) -> bool:
        return self in _NATIVE

    @property
    def is_woken(self) -> bool:
        return self in (Kind.SCOPE_WOKEN, Kind.NATIVE_WOKEN)

    @property
    def counts_turns(self) -> bool:
        return self in (Kind.SCOPE_TURN, Kind.NATIVE_TURN)

    @property
    def counts_suspensions(self) -> bool:
        return not self.counts_turns and self not in (Kind.BEFORE, Kind.MOMENT)

    @property
    def more_cancellations(self) -> int:
        """How often it is cancelled again, at the suspensions that follow."""
        return {Kind.BOTH: 1, Kind.NATIVE_AGAIN: _MOST_CANCELLATIONS}.get(self, 0)

    @property
    def most_runs(self) -> int:
        """More than that are not of use."""
        if self.counts_turns:
            return _MOST_TURNS
        if self is Kind.MOMENT:
            return len(_MOMENTS)
        return 1 if self is Kind.BEFORE else _MOST_POINTS


_NATIVE = (Kind.NATIVE, Kind.NATIVE_WOKEN, Kind.NATIVE_AGAIN, Kind.BOTH, Kind.NATIVE_TURN)


@dataclass(frozen=True, slots=True)
class Scenario:
    """Something to be cancelled, and what must hold afterwards.

    Attributes:
        name: what it is called in reports, and in the names of tests.
        run: sets up, calls `Run.operate` once, and checks.
        is_virtual: whether all of it is in memory, so that on trio a mock clock can drive it.
        needs_virtual: whether it waits for time limits, and so runs only with that clock.
        by_turns: whether it is cancelled turn by turn, too.
        cleans_up: whether the operation waits again once it is cancelled.
        is_quick: whether it belongs to the selection that the test suite runs.
        patience: seconds of real time for what is left to end by itself. A thread that looks up
            a name that nobody waits for any more has files open.
    """

    name: str
    run: Callable[[Run], Awaitable[None]]
    is_virtual: bool = False
    needs_virtual: bool = False
    by_turns: bool = False
    cleans_up: bool = True
    is_quick: bool = True
    patience: float = 2.0

    def loops(self) -> tuple[str, ...]:
        """Return the loops that it runs on."""
        return ("trio",) if self.needs_virtual else LOOPS

    def kinds(self, loop: str) -> tuple[Kind, ...]:
        """Return the ways to cancel it on this loop."""
        return tuple(
            kind
            for kind in Kind
            if not (loop == "trio" and kind.is_native)
            and (self.by_turns or not kind.counts_turns)
            and (self.needs_virtual or kind is not Kind.MOMENT)
        )


@dataclass(frozen=True, slots=True)
class Violation:
    """What went wrong, and where the operation was cancelled."""

    scenario: str
    loop: str
    kind: Kind
    point: int  # of a run that was not cancelled: one more than there are
    where: str
    message: str

    def __str__(self) -> str:
        return (
            f"{self.scenario}, {self.loop}, {self.kind.value}, point {self.point}, "
            f"at {self.where}: {self.message}"
        )


@dataclass(slots=True)
class Tally:
    """What is known of one awaitable.

    Attributes:
        points: its suspensions, in the run that had most of them.
        runs: how many were cancelled in it, or were not cancelled and began with it.
        violations: of those runs.
    """

    points: int = 0
    runs: int = 0
    violations: list[Violation] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add what another scenario found."""
        self.points += other.points
        self.runs += other.runs
        self.violations += other.violations


@dataclass(slots=True)
class Outcome(Generic[T]):
    """How an operation ended: it returned, was cancelled, or raised the error."""

    returned: bool = False
    cancelled: bool = False
    error: Exception | None = None
    _values: list[T] = field(default_factory=list)

    @property
    def value(self) -> T:
        """What it returned."""
        return self._values[0]


class Broken(AssertionError):
    """Something that must hold whatever is cancelled does not."""


def check(actual: object, expected: object, what: str) -> None:
    """Raise `Broken` unless the two are equal."""
    if actual != expected:
        raise Broken(f"{what}: {actual!r}, expected {expected!r}")


@asynccontextmanager
async def beside(*functions: Callable[[], Awaitable[object]]) -> AsyncIterator[None]:
    """Call functions in tasks of their own, and wait for them at the end of the block."""

    async def call(function: Callable[[], Awaitable[object]]) -> None:
        await function()

    async with anyio.create_task_group() as tasks:
        for function in functions:
            tasks.start_soon(call, function)
        yield


class Run:
    """One run of a scenario, in which its operation is cancelled at one point, or not at all.

    Args:
        kind: how to cancel.
        point: the suspension, or the turn, to cancel at, counted from 1.
        is_virtual: whether a mock clock drives the loop, so that durations are exact.

    Attributes:
        points: the suspensions of each awaitable that was entered.
        fired: whether it was cancelled.
        label: the awaitable in which it was; the first one if it was not.
        where: what it waited at then, or when it had to be stopped.
    """

    def __init__(self, kind: Kind, point: int, *, is_virtual: bool) -> None:
        self.kind = kind
        self.is_virtual = is_virtual
        self.points: Counter[str] = Counter()
        self.fired = False
        self.label = ""
        self.where = "no point"
        self._point = point
        self._entered = ""  # the awaitable that it is in
        self._coroutine: Coroutine[Any, Any, object] | None = None  # while it is suspended
        self._cancel: Callable[[], object] = _nothing
        self._cancel_again: Callable[[], object] = _nothing
        self._more_cancellations = {Kind.BOTH: 1, Kind.NATIVE_AGAIN: _MOST_CANCELLATIONS}.get(
            kind, 0
        )
        self._fired_at = 0.0
        self._delivered = False
        self._over = False
        self._connections: list[Connection] = []

    def watch(self, connection: Connection) -> None:
        """Check at the end that nobody is parked on this connection, and no timer is left."""
        if connection not in self._connections:
            self._connections.append(connection)

    def enter(self, label: str) -> None:
        """Take note that the operation comes to another awaitable."""
        self._entered = label
        self.label = self.label or label
        self.points[label] += 0

    async def operate(
        self,
        label: str,
        operation: Callable[[], Awaitable[T]],
        *,
        may_raise: type[Exception] | tuple[type[Exception], ...] = (),
        grace: float = 1.0,
    ) -> Outcome[T]:
        """Run the operation, and cancel it where this run is to.

        Args:
            label: the awaitable that it starts with.
            operation: called once, and awaited.
            may_raise: errors that are no violation.
            grace: seconds that it may take to end once it is cancelled.

        Raises:
            Broken: it ended otherwise than it may.
        """
        self.enter(label)
        ended: Outcome[T] = Outcome()
        driven = self._drive(operation, ended)
        if self.kind.is_native:
            await self._run_in_task(driven)
        elif self.kind is Kind.MOMENT:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._fire_at_the_moment)
                await self._run_in_scope(driven)
                tasks.cancel_scope.cancel()
        else:
            await self._run_in_scope(driven)
        self._over = True
        if ended.error is not None and not isinstance(ended.error, may_raise):
            raise Broken(f"it raised {ended.error!r}") from ended.error
        if self._delivered and not ended.cancelled:
            raise Broken("it swallowed the cancellation")
        if self.is_virtual and self.fired:
            seconds = anyio.current_time() - self._fired_at
            if seconds > grace + _EPSILON:
                raise Broken(f"it took {seconds} s to end once cancelled, limit {grace} s")
        return ended

    async def _run_in_scope(self, driven: Coroutine[Any, Any, None]) -> None:
        with anyio.CancelScope() as scope:
            self._cancel = partial(scope.cancel, _REASON)
            if self.kind is Kind.BEFORE:
                self.where = "its start"
                self._fire()
            await driven
            # It may have ended normally, past its last wait; then the next wait is ours.
            if self.fired:
                for _ in range(_CHECKPOINTS):
                    await checkpoint()
        if self.fired and not scope.cancelled_caught:
            raise Broken("no checkpoint after it raised the cancellation")

    async def _run_in_task(self, driven: Coroutine[Any, Any, None]) -> None:
        async def run() -> None:
            with anyio.CancelScope() as scope:
                if self.kind is Kind.BOTH:
                    self._cancel = partial(scope.cancel, _REASON)
                await driven

        task = asyncio.get_running_loop().create_task(run())
        self._cancel = self._cancel_again = partial(task.cancel, _REASON)
        try:
            await asyncio.wait({task})
        finally:
            for _ in range(_MOST_POINTS):
                if task.done():
                    break
                task.cancel()
                await asyncio.sleep(0)
        if not task.cancelled():
            task.result()

    async def _drive(self, operation: Callable[[], Awaitable[T]], ended: Outcome[T]) -> None:
        async def call() -> T:
            return await operation()

        if self.kind.counts_turns:
            self._fire_after(self._point)
        try:
            ended._values.append(await _Stepped(call(), self))
            ended.returned = True
        except anyio.get_cancelled_exc_class():
            ended.cancelled = True
            raise
        except Exception as exc:
            ended.error = exc
        except BaseExceptionGroup as group:
            raise Broken(f"the cancellation came out in a group: {group!r}") from group

    # Called by _Stepped

    def suspended(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Take note of a suspension: it has yielded, and the loop does not know yet."""
        self._coroutine = coroutine
        self.points[self._entered] += 1
        n = self.points.total()
        if n > _MOST_POINTS:
            raise Broken(f"it suspended more than {_MOST_POINTS} times")
        if self.fired and self._more_cancellations:
            self._more_cancellations -= 1
            self._cancel_again()
        elif n == self._point and self.kind.counts_suspensions:
            self._come_to_the_point()

    def _come_to_the_point(self) -> None:
        if not self.kind.is_woken:
            self._fire()
        elif not trio.lowlevel.in_trio_run():
            # On trio, what wakes a task has won, and `resumed` is soon enough.
            task = asyncio.current_task()
            assert task is not None
            _call_soon(partial(self._fire_when_woken, task))

    def resumed(self) -> None:
        """Take note that it goes on."""
        if self.kind.is_woken and self.points.total() == self._point:
            self._fire()
        self._coroutine = None

    def thrown(self, exc: BaseException) -> None:
        """Take note of what the loop raises in it."""
        if isinstance(exc, anyio.get_cancelled_exc_class()):
            if _REASON in str(exc):
                self._delivered = True
            elif self._coroutine is not None and not self.fired:
                self.where = waiting_at(self._coroutine)  # for a run that has to be stopped

    def _fire_when_woken(self, task: asyncio.Task[object]) -> None:
        """Cancel the task once it is about to run; looks every turn of the loop."""
        if self._coroutine is None or self.fired:
            return
        waiter: Any = task._fut_waiter  # type: ignore[attr-defined]  # None of a bare `yield`
        if waiter is None or waiter.done():
            self._fire()
        else:
            _call_soon(partial(self._fire_when_woken, task))

    def _fire_after(self, turns: int) -> None:
        """Cancel so many turns of the loop later, unless the operation has ended by then."""
        if self._over:
            return
        if turns:
            _call_soon(partial(self._fire_after, turns - 1))
        else:
            self._fire()

    async def _fire_at_the_moment(self) -> None:
        await anyio.sleep(_MOMENTS[self._point - 1])
        self._fire()

    def _fire(self) -> None:
        if not self.fired:
            self.fired = True
            self.label = self._entered
            if self._coroutine is not None:
                self.where = waiting_at(self._coroutine)
            self._fired_at = _now()
            self._cancel()

    # What must hold at the end

    def parked(self) -> list[str]:
        """Say what is left on the connections that are watched."""
        return [problem for connection in self._connections for problem in parked(connection)]


class _Stepped(Awaitable[T]):
    """A coroutine that is stepped here, so that each of its suspensions is seen."""

    def __init__(self, coroutine: Coroutine[Any, Any, T], run: Run) -> None:
        self._coroutine = coroutine
        self._run = run

    def __await__(self) -> Generator[Any, Any, T]:
        coroutine, run = self._coroutine, self._run
        step: Callable[[], Any] = partial(coroutine.send, None)
        while True:
            try:
                yielded = step()
            except StopIteration as stop:
                value: T = stop.value
                return value
            try:
                run.suspended(coroutine)
                sent = yield yielded
            except BaseException as exc:
                run.thrown(exc)
                step = partial(coroutine.throw, exc)
            else:
                if isinstance(sent, outcome.Error):  # what trio sends, to be raised further down
                    run.thrown(sent.error)
                step = partial(coroutine.send, sent)
            run.resumed()


def _nothing() -> None:
    pass


def _now() -> float:
    """Return the loop's time, from within a callback of it, too."""
    if trio.lowlevel.in_trio_run():
        return trio.current_time()
    return asyncio.get_running_loop().time()


def _call_soon(callback: Callable[[], None]) -> None:
    """Call it in the next turn of the loop."""
    if trio.lowlevel.in_trio_run():
        trio.lowlevel.current_trio_token().run_sync_soon(callback)
    else:
        asyncio.get_running_loop().call_soon(callback)


# The runs


def sweep(scenario: Scenario, loop: str, kind: Kind) -> dict[str, Tally]:
    """Run a scenario on a loop, cancelled in one way at each point in turn.

    Returns:
        What is known of each awaitable in it, by label.
    """
    tallies: defaultdict[str, Tally] = defaultdict(Tally)

    async def run_all(is_virtual: bool) -> None:
        violations = 0
        for point in range(1, kind.most_runs + 1):
            run = Run(kind, point, is_virtual=is_virtual)
            message = await _run_once(scenario, run)
            for label, points in run.points.items():
                tallies[label].points = max(tallies[label].points, points)
            tally = tallies[run.label]
            tally.runs += 1
            if message is not None:
                violations += 1
                tally.violations.append(
                    Violation(scenario.name, loop, kind, point, run.where, message)
                )
            if not run.fired or violations == _MOST_VIOLATIONS:
                break

    _run_on(loop, scenario, run_all)
    return tallies


def awaitables_of(scenario: Scenario) -> set[str]:
    """Run a scenario without cancelling anything, and return the labels of what it awaits."""
    run = Run(Kind.SCOPE, _MOST_POINTS + 1, is_virtual=False)

    async def run_once(is_virtual: bool) -> None:
        run.is_virtual = is_virtual
        message = await _run_once(scenario, run)
        if message is not None:
            raise Broken(f"{scenario.name}, not cancelled: {message}")

    _run_on(scenario.loops()[0], scenario, run_once)
    return set(run.points)


def _run_on(loop: str, scenario: Scenario, main: Callable[[bool], Awaitable[None]]) -> None:
    if loop == "trio" and scenario.is_virtual:
        anyio.run(main, True, backend="trio", backend_options={"clock": MockClock(0, 0)})
        return
    with pytest.MonkeyPatch.context() as patch:
        # On a real clock one second is a race with whatever else the machine has to do.
        patch.setattr(_lifetime, "CANCELLED_GRACE", _PATIENT_GRACE)
        if loop == "trio":
            anyio.run(main, False, backend="trio")
        else:
            anyio.run(main, False, backend_options={"use_uvloop": loop == "uvloop"})


async def _run_once(scenario: Scenario, run: Run) -> str | None:
    """Return what is wrong, or None."""
    before = Census()
    with _reports_of_the_loop() as reports:
        try:
            async with anyio.create_task_group() as tasks:
                if not run.is_virtual:
                    tasks.start_soon(_stop_when_late, tasks, before, reports)
                await scenario.run(run)
                tasks.cancel_scope.cancel()
            await _settled(before, run, scenario.patience)
        except Exception as exc:
            reports.append(_describe(exc))
    return "; ".join(reports) or None


async def _stop_when_late(tasks: TaskGroup, before: Census, reports: list[str]) -> None:
    """Stop a run that does not end, and report what its tasks wait at."""
    await anyio.sleep(_LIMIT)
    reports.append(f"it took more than {_LIMIT} s; {', '.join(before.waiting())}")
    tasks.cancel_scope.cancel()


async def _settled(before: Census, run: Run, patience: float) -> None:
    """Raise `Broken` if there is more than before, and that does not end by itself."""
    until = time.monotonic() + patience
    while left := before.left() + run.parked():
        if time.monotonic() > until:
            raise Broken(f"left behind: {', '.join(left)}")
        await checkpoint()


@contextmanager
def _reports_of_the_loop() -> Iterator[list[str]]:
    """Collect what asyncio tells its exception handler; trio has none."""
    reports: list[str] = []
    if trio.lowlevel.in_trio_run():
        yield reports
        return
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: reports.append(_of_context(context)))
    try:
        yield reports
    finally:
        loop.set_exception_handler(None)


def _of_context(context: dict[str, Any]) -> str:
    return f"asyncio reports {context['message']}: {context.get('exception')!r}"


def _describe(exc: BaseException) -> str:
    """Describe what is wrong: each exception of a group, and where an unexpected one arose."""
    if isinstance(exc, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(map(_describe, exc.exceptions)))
    if isinstance(exc, Broken):
        return str(exc)
    frames = traceback.extract_tb(exc.__traceback__)
    path = " > ".join(f"{shorten(frame.filename)}:{frame.lineno}" for frame in frames[-4:])
    return f"{exc!r} from {path}"
