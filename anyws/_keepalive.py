"""Keepalive: Pings on a schedule, and the verdict on a peer that has fallen silent.

Owns the schedule. It needs no task: the reactor's timers drive it. The deadline of a Ping counts
from when it is due, not from when it could be written, so that a peer that has stopped reading is
found out too.
"""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from ._core.frames import CloseCode

if TYPE_CHECKING:
    from ._connection import Connection
    from ._io.transport import Timer

__all__ = ["Keepalive"]


class Keepalive:
    """Pings every `interval` seconds; fails the connection after `timeout` more of silence.

    Any byte that is received is a sign of life, a Pong or not. While the connection does not read
    because its own application does not receive, the peer is not blamed.

    Attributes:
        heard: set by the connection whenever bytes arrive.
    """

    __slots__ = ("_connection", "_deadline", "_due", "_interval", "_timeout", "_timer", "heard")

    def __init__(
        self, connection: Connection, interval: float | None, timeout: float | None
    ) -> None:
        self._connection = connection
        self._interval = interval
        self._timeout = timeout
        self._timer: Timer | None = None
        self._due = 0.0  # when the next Ping is
        self._deadline = inf  # when the silence since a Ping has lasted too long
        self.heard = False

    def start(self) -> None:
        """Start the schedule, if there is one."""
        if self._interval is not None:
            self._due = self._connection._reactor.clock() + self._interval
            self._set_timer(self._interval)

    def stop(self) -> None:
        """Stop it for good."""
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self, seconds: float) -> None:
        self._timer = self._connection._reactor.call_later(seconds, self._on_timer)

    def _on_timer(self) -> None:
        connection = self._connection
        now = connection._reactor.clock()
        if self.heard or connection._paused:
            self._deadline = inf
        elif now >= self._deadline:
            self._give_up()
            return
        if now >= self._due:
            assert self._interval is not None
            self._due = now + self._interval
            self.heard = False
            if self._timeout is not None and self._deadline == inf:
                self._deadline = now + self._timeout
            connection._send_keepalive_ping()
        self._set_timer(min(self._due, self._deadline) - now)

    def _give_up(self) -> None:
        connection = self._connection
        cause = TimeoutError(
            f"nothing was received from the peer in the {self._timeout} s after a Ping was due"
        )
        connection._fail(CloseCode.INTERNAL_ERROR, "keepalive ping timeout", cause)
        # Nobody is there to do the closing handshake with.
        connection._transport.abort()
