"""Who gets in: limits on connections and handshakes, the health check, a server that stops.

Owns the counting. It must not know how a connection is accepted, nor how it is shown out.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from socket import AF_INET6, inet_pton
from typing import Any, Protocol

from ._core.handshake import refuse
from ._core.headers import Request, Response
from ._options import check_count
from ._server_connection import ServerConnection

__all__ = ["PATIENCE", "Admission", "Arrival", "Limits"]

#: 1,000 handshakes under way: far more than a crowd of honest clients needs, who take
#: milliseconds; few enough for what each takes, one socket and some 10 KiB.
MAX_PENDING_HANDSHAKES = 1000

#: 1 s that every handshake gets, however many others want in: several round trips around the
#: world. After that it may have to make room.
PATIENCE = 1.0

#: An IPv6 subscriber has at least so many leading bits, and the rest to himself (RFC 6177).
_PREFIX_BYTES = 8

# RFC 4291 §2.5.5.2: an IPv4 address, as a socket for both has it.
_MAPPED = bytes(10) + b"\xff\xff"

_READING_METHODS = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Limits:
    """How many are let in, and the path of the health check."""

    max_connections: int | None = None
    max_pending_handshakes: int | None = MAX_PENDING_HANDSHAKES
    max_connections_per_address: int | None = None
    health: str | None = None

    def __post_init__(self) -> None:
        for name in ("max_connections", "max_pending_handshakes", "max_connections_per_address"):
            check_count(name, getattr(self, name), optional=True)
        if self.health is not None and not self.health.startswith("/"):
            raise ValueError(f"health is {self.health!r}, expected a path, which begins with '/'")


class Stage(Protocol):
    """A part of the way in that can be given up: an opening handshake, or a scope around TLS."""

    def cancel(self) -> None:
        """Give it up, for the server is stopping."""


class Arrival:
    """One that was accepted, until its handler runs or it is gone.

    Attributes:
        began: when it came, by the loop's clock.
        stage: what goes on with it; None until that has begun.
        is_unwanted: it is to be given up, as soon as it has begun if it has not yet.
    """

    __slots__ = ("address", "began", "is_unwanted", "stage")

    def __init__(self, began: float, address: str | None) -> None:
        self.began = began
        self.address = address  # None if nobody counts
        self.stage: Stage | None = None
        self.is_unwanted = False


class Admission:
    """Counts those who are in and those who come, and says who has to stay out.

    Args:
        limits: as given to `serve`.
        connections: those that are open.

    Attributes:
        arrivals: those who come, in the order in which they came.
        is_stopping: nobody else gets in; set by the server.
    """

    def __init__(self, limits: Limits, connections: Collection[ServerConnection]) -> None:
        self._limits = limits
        self._connections = connections
        self._counts: dict[str, int] = {}  # of arrivals and connections, by address
        self._addresses: dict[ServerConnection, str] = {}  # whatever counts for one
        self.arrivals: dict[Arrival, None] = {}
        self.is_stopping = False

    # Of requests

    def greet(self, request: Request) -> Response | None:
        """Answer a request before the application sees it, or return None."""
        if self._limits.health is not None and request.path_without_query == self._limits.health:
            return self._tell_health(request.method)
        if self.is_stopping:
            return refuse(503, "the server is stopping\n")
        return self.refusal_if_full()

    def refusal_if_full(self) -> Response | None:
        """Refuse if there is no room for one more connection."""
        limit = self._limits.max_connections
        if limit is not None and len(self._connections) >= limit:
            return refuse(503, f"the server is full: it takes {limit} connections\n")
        return None

    def _tell_health(self, method: str) -> Response:
        if method not in _READING_METHODS:
            response = refuse(405, f"method {method} is not allowed, only GET and HEAD\n")
            response.headers["Allow"] = ", ".join(_READING_METHODS)
            return response
        response = refuse(503, "draining\n") if self.is_stopping else refuse(200, "ok\n")
        response.headers["Cache-Control"] = "no-store"
        return response

    # Of arrivals

    def arrive(self, began: float, remote_address: Any) -> Arrival:
        """Take note of one who comes."""
        limited = self._limits.max_connections_per_address is not None
        arrival = Arrival(began, _subscriber(remote_address) if limited else None)
        self.arrivals[arrival] = None
        if arrival.address is not None:
            self._counts[arrival.address] = self._counts.get(arrival.address, 0) + 1
        return arrival

    def objection(self, arrival: Arrival) -> str | None:
        """Say why one who comes has to stay out, whatever the request."""
        limit = self._limits.max_connections_per_address
        if limit is None or arrival.address is None or self._counts[arrival.address] <= limit:
            return None
        return f"there are {limit} connections from this address, which is the limit"

    def depart(self, arrival: Arrival) -> None:
        """Take note that one who came is gone."""
        del self.arrivals[arrival]
        if arrival.address is not None:
            self._uncount(arrival.address)

    def enter(self, arrival: Arrival, connection: ServerConnection) -> None:
        """Take note that one who came is in."""
        del self.arrivals[arrival]
        if arrival.address is not None:
            self._addresses[connection] = arrival.address

    def leave(self, connection: ServerConnection) -> None:
        """Take note that a connection has ended."""
        address = self._addresses.pop(connection, None)
        if address is not None:
            self._uncount(address)

    def _uncount(self, address: str) -> None:
        self._counts[address] -= 1
        if not self._counts[address]:
            del self._counts[address]

    def is_crowded(self) -> bool:
        """Say whether nobody may come before one who has come is in, or gone."""
        limit = self._limits.max_pending_handshakes
        return limit is not None and len(self.arrivals) >= limit

    def oldest(self) -> Arrival:
        """Return who has been coming for the longest."""
        return next(iter(self.arrivals))


def _subscriber(address: Any) -> str | None:
    """Return what stands for one subscriber, None for an address that is none of the Internet."""
    if not isinstance(address, tuple):
        return None
    host: str = address[0].partition("%")[0]
    if ":" not in host:
        return host
    number = inet_pton(AF_INET6, host)
    if number.startswith(_MAPPED):
        return ".".join(map(str, number[len(_MAPPED) :]))
    return number[:_PREFIX_BYTES].hex()
