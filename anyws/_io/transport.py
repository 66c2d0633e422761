# cython: language_level=3, annotation_typing=False, boundscheck=False, auto_pickle=False
"""The seam between a connection and the bytes: what every driver offers, and what it calls.

A transport *pushes* what it reads into a `Receiver` and *takes* what is written without waiting.
So the order of bytes is fixed the moment `write` is called: senders need no lock, a reply to a
Ping needs no task, and no cancellation can tear a frame. Waiting is apart from writing: whoever
wants to write much looks at `unsent` first, and is told by `Receiver.drained` when it has shrunk.

A reactor is what the drivers need of an event loop: readiness of sockets, timers, a way to park a
task. There is one for each kind of loop, and one connection or one server lives on one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from socket import socket as Socket
from typing import Any, Protocol

__all__ = [
    "HOLD_AT_MOST",
    "READ_SIZE",
    "WRITES_A_TURN",
    "DirectReceiver",
    "Reactor",
    "Receiver",
    "Timer",
    "Transport",
    "Waiter",
]

#: 64 KiB: frames of one step are held back for a common write up to this.
HOLD_AT_MOST = 64 * 1024

#: 256 transports are written to in one go: the kernel takes 1 to 2 ms for that.
WRITES_A_TURN = 256

#: Bytes read at a time: 64 KiB, as trio and asyncio have it, and the longest header of a frame, so
#: that a message of that size, which many send in pieces of, comes in one piece.
READ_SIZE = 64 * 1024 + 14


class Receiver(Protocol):
    """What a transport calls. None of these may block or raise."""

    def feed(self, data: bytes) -> None:
        """Take bytes that arrived."""

    def eof(self) -> None:
        """Take note that the peer has sent its last byte. Writing may still go on."""

    def lost(self, exc: Exception | None) -> None:
        """Take note that the transport is gone, by our closing or by `exc`. Called once, last."""

    def drained(self) -> None:
        """Take note that `unsent` fell below `low_water`, after having been above it."""


class DirectReceiver(Protocol):
    """What a transport calls instead of `feed` while its `direct` says whom."""

    def room(self) -> memoryview | None:
        """Say where to put the next bytes, at once; None if `feed` is to be called after all."""

    def filled(self, n: int) -> None:
        """Take `n` bytes, which were put into the last `room`, released by now."""


class Timer(Protocol):
    """A callback in the future."""

    def cancel(self) -> None:
        """Do not call it. May be called at any time, any number of times."""


class Waiter(Protocol):
    """A place where one task at a time may park."""

    def wait(self) -> Awaitable[None]:
        """Park until `wake`. Cancelling: the waiter is free again at once."""

    def wake(self) -> None:
        """Let the parked task go on; nothing if there is none. May not be called from a thread."""

    def wake_now(self) -> None:
        """Let the parked task go on, before this returns where the loop allows that.

        So it must be the last thing that a callback of the reactor does.
        """


class Reactor(ABC):
    """What the drivers need of one event loop.

    Those with `needs_task` do nothing until `run` runs, in a task group that outlives all that is
    registered.
    """

    needs_task: bool = False
    #: The loop's time in seconds when bytes were last read, or a little before.
    read_at: float = 0.0
    #: While the reactor calls back, and tasks run from there: the transports that were written to.
    #: Once it is done it calls their `end_step`.
    deferred: list[Transport] | None = None
    # The transports whose step is to be ended, if there are any.
    _stepped: list[Transport] | None = None

    async def run(self) -> None:  # noqa: B027  # most have nothing to run
        """Serve until cancelled. Background work: it never raises on account of a callback."""

    @abstractmethod
    def add_reader(self, sock: Socket, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `sock` is readable, until `remove_reader`.

        It may be called in vain: what an old socket with the same number was ready for.
        """

    @abstractmethod
    def remove_reader(self, sock: Socket) -> None:
        """Stop calling. Must come before `sock` is closed."""

    @abstractmethod
    def add_writer(self, sock: Socket, callback: Callable[[], None]) -> None:
        """Call `callback` whenever `sock` is writable, until `remove_writer`, or in vain."""

    @abstractmethod
    def remove_writer(self, sock: Socket) -> None:
        """Stop calling. Must come before `sock` is closed."""

    @abstractmethod
    def call_later(self, seconds: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` once after so many seconds of the loop's clock."""

    @abstractmethod
    def call_soon(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the tasks that can run now have run."""

    def end_step_of(self, transport: Transport) -> int:
        """Call its `end_step` when the tasks that can run now have run; return how many wait so."""
        stepped = self._stepped
        if stepped is None:
            stepped = self._stepped = []
            self.call_soon(self._end_next_steps)
        stepped.append(transport)
        return len(stepped)

    def end_steps(self, transports: list[Transport]) -> None:
        """Call `end_step` of each, and let others have their turn in between if there are many."""
        end_first_steps(transports)
        rest = transports[WRITES_A_TURN:]
        if self._stepped is not None:
            self._stepped += rest
        elif rest:
            self._stepped = rest
            self.call_soon(self._end_next_steps)

    def _end_next_steps(self) -> None:
        stepped, self._stepped = self._stepped, None
        assert stepped is not None
        self.end_steps(stepped)

    @abstractmethod
    def clock(self) -> float:
        """Return the loop's time in seconds."""

    @abstractmethod
    def new_waiter(self) -> Waiter:
        """Return a waiter of this loop."""

    @abstractmethod
    async def checkpoint(self) -> None:
        """Let other tasks run, and notice a cancellation."""


class Transport:
    """A full-duplex stream of bytes that pushes what it reads and takes what is written.

    Frames that are written in one go leave together. Within a callback of the reactor they leave
    when it has called back for all sockets that were ready: a peer that is woken by each one costs
    more than the writing. Otherwise the first leaves at once, and the following ones when the
    writer is about to wait (`flush_soon`) or at the end of the step. Never are more than 64 KiB
    held.

    Attributes:
        receiver: whom bytes are pushed to; set by `start`, and may change later.
        direct: set by the receiver, while bytes are best read to a place of its own.
        low_water: `Receiver.drained` is called when `unsent` falls below it.
        written: bytes written so far, sent or not; whoever counts them may set it to zero.
    """

    __slots__ = (
        "_flush_is_due",
        "_held",
        "_held_bytes",
        "_is_deferred",
        "_out_bytes",
        "_stepped",
        "_was_full",
        "direct",
        "low_water",
        "reactor",
        "receiver",
        "written",
    )

    #: Whether `run` must run, in a task group that outlives the transport's use.
    needs_task = False

    def __init__(self, reactor: Reactor) -> None:
        self.reactor: Reactor = reactor
        self.receiver: Receiver = _NOBODY
        self.direct: DirectReceiver | None = None
        self.low_water: int = HOLD_AT_MOST
        self.written: int = 0
        # For a common write: the buffers of one, which most often are all, or a list of those of
        # several.
        self._held: tuple[bytes, ...] | list[bytes] | None = None
        self._held_bytes = 0
        self._out_bytes = 0  # pushed, and not taken by the layer below
        self._was_full = False  # so that the receiver is to be told when it no longer is
        self._stepped = False
        self._flush_is_due = False
        self._is_deferred = False

    async def run(self) -> None:
        """Move bytes until the transport is closed; being cancelled closes it. Never raises."""

    def set_low_water(self, n: int) -> None:
        """Call `Receiver.drained` when `unsent` falls below `n`."""
        self.low_water = n
        # What was written before counts too: whoever waits for room waits for that to leave.
        self._was_full = self._out_bytes >= n

    # Reading

    def start(self, receiver: Receiver) -> None:
        """Begin to push into `receiver`; called once."""
        raise NotImplementedError

    def pause_reading(self) -> None:
        """Stop pushing bytes. One more `feed` may come, and `eof` or `lost` may. Idempotent."""
        raise NotImplementedError

    def resume_reading(self) -> None:
        """Push again. Idempotent."""
        raise NotImplementedError

    # Writing

    @property
    def unsent(self) -> int:
        """Bytes written that the layer below has not taken yet."""
        return self._out_bytes + self._held_bytes

    def has_room(self, limit: int) -> bool:
        """Say whether `unsent` is below `limit`."""
        return self._out_bytes + self._held_bytes < limit

    def write(self, *buffers: bytes) -> None:
        """Write; never waits, takes everything. Ignored once the transport is ending."""
        self.write_all(buffers)

    def write_all(self, buffers: tuple[bytes, ...]) -> None:
        """Do as `write`."""
        for buffer in buffers:
            self.written += len(buffer)
        deferred = self.reactor.deferred
        if deferred is not None:
            if not self._is_deferred:
                self._is_deferred = True
                deferred.append(self)
        elif not self._stepped:
            self._stepped = True
            self.push(buffers)
            return
        held = self._held
        if held is None:
            self._held = buffers
        else:
            if isinstance(held, tuple):
                held = self._held = list(held)
            held += buffers
        for buffer in buffers:
            self._held_bytes += len(buffer)
        if self._held_bytes >= HOLD_AT_MOST:
            self._push_held()
        elif not (self._flush_is_due or self._is_deferred):
            self._flush_is_due = True
            self.reactor.end_step_of(self)

    def write_now(self, buffers: tuple[bytes, ...]) -> None:
        """Do as `write_all` for a writer that waits elsewhere, and so will not flush.

        The first buffers leave at once, and the following ones at the end of the step, however the
        step before was left. Whoever writes to many in one go is not held up for longer than
        `WRITES_A_TURN` of them take.
        """
        if self.reactor.deferred is None and not self._flush_is_due and self._held is None:
            self._stepped = self._flush_is_due = True
            if self.reactor.end_step_of(self) <= WRITES_A_TURN:
                for buffer in buffers:
                    self.written += len(buffer)
                self.push(buffers)
                return
        self.write_all(buffers)

    def flush(self) -> None:
        """Hand over what is held."""
        self._stepped = False
        if self._held is not None:
            self._push_held()

    def flush_soon(self) -> None:
        """Do so, when the reactor has called back at the latest: the writer is about to wait."""
        if not self._is_deferred:
            self.flush()

    def end_step(self) -> None:
        """Hand over what is held: the step is over in which it was written."""
        self._flush_is_due = self._is_deferred = False
        self.flush()

    def hold_on(self) -> None:
        """Hold what is held, and what comes, until `end_step`, which is still to come."""
        self._is_deferred = False
        self._stepped = self._flush_is_due = True

    def _push_held(self) -> None:
        held, self._held = self._held, None
        assert held is not None
        small = self._held_bytes < 2 * HOLD_AT_MOST
        self._held_bytes = 0
        if isinstance(held, list):
            held = (b"".join(held),) if small else tuple(held)
        self.push(held)

    def push(self, buffers: tuple[bytes, ...]) -> None:
        """Hand buffers to the layer below now, past those held, and keep what it does not take."""
        raise NotImplementedError

    # Closing

    def write_eof(self) -> None:
        """Send what is written, then tell the peer that no more will come (half-close).

        Where the layer below has no half-close, it closes wholly. Reading goes on if it can.
        """
        raise NotImplementedError

    def abort(self) -> None:
        """Close at once; what is unsent is dropped. `Receiver.lost` is called before it returns.

        Idempotent.
        """
        raise NotImplementedError

    def _tell_lost(self, exc: Exception | None) -> None:
        """Tell the receiver, and let go of it: it holds this transport, which makes a cycle."""
        receiver, self.receiver = self.receiver, _NOBODY
        self.direct = None
        receiver.lost(exc)

    @property
    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Typed attributes, as in `anyio.TypedAttributeProvider`."""
        return {}


def end_first_steps(transports: list[Transport]) -> None:
    """Call `end_step` of the first ones, and let the others wait for it."""
    left = WRITES_A_TURN
    for transport in transports:
        if left > 0:
            transport.end_step()
        else:
            transport.hold_on()
        left -= 1


class _Nobody:
    """Receives for a transport that has not started."""

    def feed(self, data: bytes) -> None: ...

    def eof(self) -> None: ...

    def lost(self, exc: Exception | None) -> None: ...

    def drained(self) -> None: ...


_NOBODY = _Nobody()
