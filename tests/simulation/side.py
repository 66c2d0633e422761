"""One side of a lifetime while it runs: its connection, what its tasks wait for, what is known."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import anyio

from anyws import Connection, ConnectionClosed, ConnectionClosedOK, State

from .model import Reading, Report, Send, Way
from .script import Part, SideName
from .wire import Wire

__all__ = ["Call", "Side"]

#: What a call waits for; "nothing" of the connection's.
Kind = Literal["message", "room", "end", "pong", "nothing"]

_ORDER = list(State)


@dataclass(slots=True, eq=False)
class Call:
    """A call that an application is in.

    Attributes:
        name: of the step.
        kind: what it waits for.
        task: which task of the application it is in.
        ping: the data of the Ping that it waits for.
    """

    name: str
    kind: Kind
    task: int
    ping: bytes = b""

    @contextmanager
    def idle(self) -> Iterator[None]:
        """The application does something else meanwhile."""
        kind, self.kind = self.kind, "nothing"
        try:
            yield
        finally:
            self.kind = kind


class Side:
    """A side.

    Attributes:
        way_out, way_in: what it sends, and what it is sent.
        reading: where its application is in what it is sent.
        peer: the other side.
        ws: its connection, once there is one.
        is_over: whether the block of the connection has been left.
        calls: those that its tasks are in.
        receivers: how many tasks receive, in one call or several.
        fragmenting: the calls that have begun a message in pieces.
        has_aborted: whether it closed its stream at once: the peer may not even have connected.
        sends: all that its application sent.
        own_pongs: those that nobody asked for.
        ended: how the connection ended, by the last exception that said so.
        arrived_code: of the Close frame that arrived, known at the end of the lifetime.
    """

    peer: Side

    def __init__(
        self, name: SideName, part: Part, wire: Wire, way_out: Way, way_in: Way, report: Report
    ) -> None:
        self.name: SideName = name
        self.part = part
        self.wire = wire
        self.way_out = way_out
        self.way_in = way_in
        self.reading = Reading(way_in, report)
        self.ws: Connection | None = None
        self.is_over = False
        self.calls: list[Call] = []
        self.receivers = 0
        self.fragmenting: list[Call] = []
        self.has_aborted = False
        self.sends: list[Send] = []
        self.own_pongs: list[bytes] = []
        self.ended: ConnectionClosed | None = None
        self.arrived_code: int | None = None
        self._report = report
        self._state = State.CONNECTING
        self._closing_since = 0.0
        self._answered = 0  # Pings of the peer

    def report(self, problem: str) -> None:
        """Report a violation at this side."""
        self._report(f"{self.name}: {problem}")

    def look(self) -> State:
        """Return the state of the connection, which only moves forward."""
        assert self.ws is not None
        state = self.ws.state
        if state is not self._state:
            if _ORDER.index(state) < _ORDER.index(self._state):
                self.report(f"the state went from {self._state.value} back to {state.value}")
            if state is State.CLOSING:
                self._closing_since = anyio.current_time()
            self._state = state
        return state

    def delivered(self) -> None:
        """Look at what has just arrived: Pongs have to answer Pings, the later ones later."""
        pings, own = self.way_out.pings, self.peer.own_pongs
        for data in self.way_in.pongs:
            if data in own:
                own.remove(data)
            elif data in pings[self._answered :]:
                self._answered = pings.index(data, self._answered) + 1
            else:
                self.report(f"a Pong {data!r} came that answers none of {pings}")
        self.way_in.pongs.clear()

    def has_pong(self, data: bytes) -> bool:
        """Say whether a Ping has been answered, by its own Pong or by a later one's."""
        return data in self.way_out.pings[: self._answered]

    def give_up(self) -> None:
        """This side is about to close, if it is not closed: what arrives from now on is dropped."""
        if self.look() is not State.CLOSED:
            self.reading.gave_up = True

    def check_ended(self, closed: ConnectionClosed | None) -> None:
        """Check what the application has received when it learns of the end.

        Args:
            closed: what it was told; None for a normal closure.
        """
        if closed is not None and closed.initiator == "local" and closed.__cause__ is not None:
            return  # this side failed the connection, and dropped what came
        self.reading.ended(
            is_normal=closed is None or isinstance(closed, ConnectionClosedOK),
            max_size=self.part.settings.max_size,
            max_fragments=self.part.settings.max_fragments,
        )

    # While all tasks wait

    def check_quiet(self, *, is_lossy: bool) -> None:
        """Check that no call waits for what is there.

        Args:
            is_lossy: whether bytes may have been lost by now.
        """
        if self.ws is None or self.is_over:
            return
        state = self.look()
        if state is State.OPEN:
            for call in self.calls:
                self._check_call(self.ws, call, is_lossy=is_lossy)
        elif state is State.CLOSED:
            for call in self.calls:
                if call.kind != "nothing":
                    self.report(f"{call.name} waits, and the connection is closed")
        else:
            lasted = anyio.current_time() - self._closing_since
            if lasted > self.part.settings.close_timeout:
                self.report(f"the closing handshake has taken {lasted} s")

    def _check_call(self, ws: Connection, call: Call, *, is_lossy: bool) -> None:
        if call.kind == "message":
            if self.reading.has_more:
                self.report(f"{call.name} waits, and a message has arrived")
            if self.wire.keeps_waiting:
                self.report(f"{call.name} waits, and nothing is read of what has arrived")
        elif call.kind == "room":
            # A stream that is broken takes nothing; its end is near.
            is_held_up = self.wire.has_failed or any(
                other is not call for other in self.fragmenting
            )
            unsent = ws.stats.unsent_bytes
            if unsent < self.part.settings.write_limit and not is_held_up:
                self.report(f"{call.name} waits for room, and {unsent} bytes are unsent")
        elif call.kind == "pong":
            if self.has_pong(call.ping):
                if not ws._paused:
                    self.report(f"{call.name} waits, and its Pong has come")
            elif not is_lossy and self._pong_is_overdue(call.ping):
                self.report(f"{call.name} waits, and its Ping is not answered")

    def _pong_is_overdue(self, data: bytes) -> bool:
        # Behind what an application does not receive, Pings wait too.
        peer = self.peer
        return (
            data in self.way_out.pings
            and peer.ws is not None
            and not peer.is_over
            and peer.look() is State.OPEN
            and not peer.ws._paused
            and not peer.ws.stats.unsent_bytes
            and not self.wire.rest()
        )

    # At the end

    def check_end(self, ws: Connection) -> None:
        """Check that what is said of the end is what was on the wire."""
        if ws.state is not State.CLOSED:
            self.report(f"the lifetime is over, and the connection is {ws.state.value}")
            return
        if ws.stats.unsent_bytes:
            self.report(f"{ws.stats.unsent_bytes} bytes are unsent, and the connection is closed")
        ended = self.ended
        if ended is None:
            self.report("the connection did not say how it ended")
            return
        if ws.close_code != ended.code:
            self.report(f"close_code is {ws.close_code}, and the exception says {ended.code}")
        on_wire = self.way_out.close_code
        if on_wire is not None and (ended.sent is None or ended.sent.code != on_wire):
            self.report(f"it sent a Close frame with {on_wire}, and says {ended.sent}")
        if ended.received is not None and ended.received.code != self.arrived_code:
            self.report(f"it was sent {self.arrived_code}, and says {ended.received}")
        if ended.initiator == "remote" and ended.sent != ended.received:
            self.report(f"it answered {ended.received} by {ended.sent}")
        if ended.initiator == "transport" and (ended.sent or ended.received):
            self.report(f"the transport ended first, and yet {ended}")
