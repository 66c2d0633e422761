"""When to try again, and after how long: the policy of `reconnect`.

Owns the classification of failures and the arithmetic of delays. It must not know how a connection
is made, and it does not wait.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random
from typing import TYPE_CHECKING

from ._errors import (
    ConnectionClosed,
    HandshakeError,
    HandshakeRejected,
    ProxyError,
    RemoteProtocolError,
)
from ._options import check_seconds

if TYPE_CHECKING:
    from ._core.headers import Response

__all__ = [
    "LONGEST_RETRY_AFTER",
    "SOCKS_REPLIES_OF_THE_WAY",
    "Retry",
    "Row",
    "is_transient",
    "retry_after",
]

#: 3,600 s: a server that asks for more is asked again after an hour.
LONGEST_RETRY_AFTER = 3600.0

# RFC 9110 §10.2.3, RFC 6585 §4: the statuses with which a server says when to come back.
_STATUSES_WITH_RETRY_AFTER = frozenset({429, 503})

#: RFC 1928 §6: of the way to the server, or of a kind that is not told. 91 is SOCKS4's for that.
SOCKS_REPLIES_OF_THE_WAY = frozenset({1, 3, 4, 5, 6, 91})

# RFC 6455 §7.4.1: what the peer objects to, it would object to again; 3000 and 3003 are registered
# as unauthorized and forbidden.
_LASTING_CLOSE_CODES = frozenset({1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003})


@dataclass(frozen=True, slots=True)
class Retry:
    """When `reconnect` tries again, and after how long (RFC 6455 §7.2.3).

    The delay before an attempt is a random number of seconds between 0 and a limit ("full jitter"),
    so that the clients of a server that was restarted do not come back all at once. The limit is
    `initial_delay` at first, and is multiplied by `factor` after each delay, up to `max_delay`. All
    this, and the limits on attempts, is per row: a connection that lives for `reset_after` seconds
    ends a row of attempts, and the next one begins with its end.

    Attributes:
        initial_delay: seconds, the limit of the first delay in a row.
        max_delay: seconds that the limit does not pass.
        factor: at least 1.
        max_attempts: how many attempts a row may have, at least 1; None for no limit.
        max_elapsed: how many seconds after the first failure of a row an attempt may begin; None
            for no limit.
        reset_after: seconds that a connection must have lived to count as healthy.
        retry_on: a function of the exception that ended an attempt or a connection. True tries
            again, False raises the exception, None leaves it to the default.

    Raises:
        TypeError, ValueError: a value cannot be used.
    """

    #: 0.5 s: a server that restarts is often back by then, and one that is not hardly notices.
    initial_delay: float = 0.5
    #: 60 s: what a person may have to wait for once the network is back.
    max_delay: float = 60.0
    factor: float = 2.0
    max_attempts: int | None = None
    max_elapsed: float | None = None
    #: 60 s: nobody who is turned away at once, or crashes on every message, lasts that long.
    reset_after: float = 60.0
    retry_on: Callable[[Exception], bool | None] | None = None

    def __post_init__(self) -> None:
        check_seconds("initial_delay", self.initial_delay)
        check_seconds("max_delay", self.max_delay)
        check_seconds("max_elapsed", self.max_elapsed, optional=True)
        check_seconds("reset_after", self.reset_after)
        if isinstance(self.factor, bool | str):
            raise TypeError(f"factor is {self.factor!r}, expected a number")
        if not 1 <= self.factor < inf:
            raise ValueError(f"factor is {self.factor}, expected a finite number of at least 1")
        if self.max_attempts is not None:
            if isinstance(self.max_attempts, bool) or not isinstance(self.max_attempts, int):
                raise TypeError(f"max_attempts is {self.max_attempts!r}, expected an int or None")
            if self.max_attempts < 1:
                raise ValueError(f"max_attempts is {self.max_attempts}, expected at least 1")
        if self.retry_on is not None and not callable(self.retry_on):
            raise TypeError(f"retry_on is {self.retry_on!r}, expected a function or None")

    def allows(self, error: Exception, *, default: bool) -> bool:
        """Say whether to try again after `error`; `default` holds if `retry_on` does not say."""
        answer = None if self.retry_on is None else self.retry_on(error)
        return default if answer is None else answer


class Row:
    """A row of attempts with no healthy connection in between: how many, since when, what next.

    Attributes:
        attempts: how many there have been.
    """

    def __init__(self, retry: Retry, random: Random) -> None:
        self.attempts = 0
        self._retry = retry
        self._random = random
        self._limit = min(retry.initial_delay, retry.max_delay)
        self._first_failure: float | None = None

    def fail(self, now: float) -> None:
        """Take note that an attempt failed, or that its connection ended, at this time."""
        if self._first_failure is None:
            self._first_failure = now

    def next_delay(self, error: Exception, now: float) -> float | None:
        """Return the seconds to wait before the next attempt; None if there must not be one."""
        retry = self._retry
        if retry.max_attempts is not None and self.attempts >= retry.max_attempts:
            return None
        # On top of what the server asks for: it may have named one moment to all its clients.
        delay = retry_after(error) + self._random.uniform(0, self._limit)
        if retry.max_elapsed is not None and self._elapsed(now) + delay > retry.max_elapsed:
            return None
        self._limit = min(self._limit * retry.factor, retry.max_delay)
        return delay

    def summary(self, now: float) -> str:
        """Say how many attempts were made in how many seconds since the first failure."""
        attempts = "1 attempt" if self.attempts == 1 else f"{self.attempts} attempts"
        return f"{attempts} in {self._elapsed(now):.1f} s"

    def _elapsed(self, now: float) -> float:
        assert self._first_failure is not None
        return now - self._first_failure


def is_transient(error: Exception) -> bool:
    """Say whether the next attempt may do better, as far as an error of `anyws` tells."""
    if isinstance(error, ConnectionClosed):
        return _ended_for_now(error)
    if isinstance(error, ProxyError) and error.socks_reply is not None:
        return error.socks_reply in SOCKS_REPLIES_OF_THE_WAY
    response = _answer(error)
    # An answer that broke off is one of a server that was going down, whatever it said.
    if response is not None and not _is_of_the_network(error.__cause__):
        status = response.status_code
        return status == 429 or 500 <= status <= 599
    if isinstance(error, HandshakeError):
        # Of TLS or HTTP: the two sides disagree, unless the network got in between.
        return _is_of_the_network(error.__cause__)
    return _is_of_the_network(error)


def _answer(error: Exception) -> Response | None:
    """Return the answer of HTTP by which a server, or a proxy before it, refused."""
    return error.response if isinstance(error, HandshakeRejected | ProxyError) else None


def _ended_for_now(closed: ConnectionClosed) -> bool:
    if isinstance(closed.__cause__, RemoteProtocolError):
        return False  # this side failed the connection, and would again
    # What this side closed by itself, whatever the code, may be opened again.
    return closed.initiator != "remote" or closed.code not in _LASTING_CLOSE_CODES


def _is_of_the_network(error: BaseException | None) -> bool:
    """Say whether it is about reaching the server: an OSError, but none of TLS, or an early end."""
    from ssl import SSLError

    return isinstance(error, OSError | EOFError) and not isinstance(error, SSLError)


def retry_after(error: Exception) -> float:
    """Return the seconds that a server asks to wait for by Retry-After (RFC 9110 §10.2.3).

    Never more than `LONGEST_RETRY_AFTER`; 0 where it does not ask, or not in a valid way.
    """
    response = _answer(error)
    if response is None or response.status_code not in _STATUSES_WITH_RETRY_AFTER:
        return 0.0
    value = response.headers.get("Retry-After", "")
    if value.isascii() and value.isdigit():
        seconds = float(value)
    else:
        from datetime import UTC, datetime  # few servers send a date
        from email.utils import parsedate_to_datetime

        try:
            moment = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            return 0.0
        # A date of HTTP is in UTC, even where it says "-0000", which means: of no known zone.
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        seconds = (moment - datetime.now(UTC)).total_seconds()
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)
