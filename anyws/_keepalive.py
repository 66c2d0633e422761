"""Keepalive: Pings on a schedule, and the verdict on a peer that has fallen silent.

Owns the schedule. It needs no task: the reactor's timers drive it. The deadline of a Ping counts
from when it is due, not from when it could be written, so that a peer that has stopped reading is
found out too.
"""

from __future__ import annotations

from logging import WARNING
from math import inf
from typing import TYPE_CHECKING
from weakref import ref

from ._core.frames import CloseCode
from ._logging import describe_address

if TYPE_CHECKING:
    from ._connection import Connection
    from ._io.transport import Timer

__all__ = ["Keepalive"]


class Keepalive:
    """Pings every `interval` seconds; fails the connection after `timeout` more of silence.

    Any byte that is received is a sign of life, a Pong or not. While the connection does not read
    because its own application does not receive, the peer is not blamed.

    Attributes:
        pong_at: when the last Pong arrived, set by the connection; 0 if none did.
    """

    __slots__ = (
        "_deadline",
        "_due",
        "_heard_before",
        "_interval",
        "_pinged_at",
        "_reference",
        "_timeout",
        "_timer",
        "_warned",
        "pong_at",
    )

    def __init__(self, connection: Connection, interval: float, timeout: float | None) -> None:
        self._reference = ref(connection)  # it holds this, and they would be a cycle
        self._interval = interval
        self._timeout = timeout
        self._pinged_at = 0.0  # when the Ping was due that the deadline belongs to
        self._deadline = inf  # when the silence since then has lasted too long
        self._heard_before = 0.0  # when bytes last arrived before that
        self._warned = False
        self.pong_at = 0.0
        # The opening handshake was a sign of life too.
        connection._heard_at = connection._reactor.clock()
        self._due = connection._heard_at + interval  # when the next Ping is
        self._timer: Timer = connection._reactor.call_later(interval, self._on_timer)

    def stop(self) -> None:
        """Stop it for good."""
        self._timer.cancel()

    def excuse(self) -> None:
        """Blame nobody for the silence so far: it was this side that did not listen."""
        self._deadline = inf

    @property
    def _connection(self) -> Connection:
        connection = self._reference()
        assert connection is not None, "the transport holds it until the keepalive has stopped"
        return connection

    def _on_timer(self) -> None:
        connection = self._connection
        now = connection._reactor.clock()
        if connection._heard_at:
            self._deadline = inf
        elif now >= self._deadline:
            if not connection._paused:
                self._give_up(now)
                return
            self._deadline = inf
            self._warn(now)
        if now >= self._due:
            self._due = now + self._interval
            if self._timeout is not None and self._deadline == inf:
                self._pinged_at = now
                self._deadline = now + self._timeout
            self._heard_before = connection._heard_at or self._heard_before
            connection._heard_at = 0.0
            connection._send_keepalive_ping()
        wait = min(self._due, self._deadline) - now
        self._timer = connection._reactor.call_later(wait, self._on_timer)

    def _give_up(self, now: float) -> None:
        connection = self._connection
        unsent = connection._transport.unsent
        side = "the peer does not read" if unsent else "the peer is silent"
        last_pong = f"{now - self.pong_at:.1f} s ago" if self.pong_at else "never"
        cause = TimeoutError(
            f"{side}: a Ping was due {now - self._pinged_at:.1f} s ago and ping_timeout is "
            f"{self._timeout} s; last byte received {now - self._heard_before:.1f} s ago, last "
            f"Pong {last_pong}, {unsent} bytes unsent; local "
            f"{describe_address(connection.local_address)}, remote "
            f"{describe_address(connection.remote_address)}"
        )
        connection._fail(CloseCode.INTERNAL_ERROR, f"keepalive ping timeout: {side}", cause)
        # Nobody is there to do the closing handshake with.
        connection._transport.abort()

    def _warn(self, now: float) -> None:
        if self._warned:
            return
        self._warned = True
        connection = self._connection
        connection._log(
            WARNING,
            "the application is not receiving from the connection with %s: %d messages wait, and "
            "nothing has been read for %.1f s; the peer's Pongs cannot be seen",
            describe_address(connection.remote_address),
            len(connection._inbox),
            now - connection._paused_at,
        )
