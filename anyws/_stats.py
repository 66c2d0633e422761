"""What a connection and a server count, as values to be looked at.

Knows nothing of the rest of the package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["ConnectionStats", "ServerStats", "ServerTotals", "Traffic"]


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Figures of a connection at one moment; see `Connection.stats`.

    Messages are text and binary ones, each counted once however it is framed. Bytes on the wire
    are those of all frames, with their headers, after compression and before TLS; the opening
    handshake is not among them.
    """

    #: Messages that have come whole, whether or not the application took them. What comes after
    #: this side began to close is dropped uncounted.
    received_messages: int = 0
    #: Bytes that have come, on the wire.
    received_bytes: int = 0
    #: Messages that were given to the transport whole, that is, whose `send` is over.
    sent_messages: int = 0
    #: Bytes that were given to the transport, on the wire, `unsent_bytes` among them.
    sent_bytes: int = 0
    #: Messages that have come whole and wait for the application.
    unread_messages: int = 0
    #: Bytes held for the application, decompressed where they are: of messages that wait, and of
    #: one that has not come whole.
    unread_bytes: int = 0
    #: Bytes that the kernel, or the stream, has not taken yet; over TLS some are encrypted already.
    unsent_bytes: int = 0
    #: Seconds in which nothing was read because the application did not receive.
    receive_paused_s: float = 0.0
    #: Seconds of the last round trip of a Ping; 0 before the first one came back.
    latency_s: float = 0.0
    #: Seconds since the connection was opened, or until it ended.
    duration_s: float = 0.0


@dataclass(frozen=True, slots=True)
class ServerStats:
    """Figures of a server at one moment; all but the first two only grow."""

    #: Connections whose handlers have not ended.
    open_connections: int = 0
    #: Connections on which the opening handshake, or that of TLS, is under way.
    pending_handshakes: int = 0
    #: Connections that have been opened, those that ended among them.
    opened_connections: int = 0
    #: Requests that were answered with a status of 400 or above.
    refused_handshakes: int = 0
    #: Handlers that raised anything but the end of their connection.
    failed_handlers: int = 0
    #: Sums over all connections, open and ended, of what `ConnectionStats` counts by this name.
    received_messages: int = 0
    #: Likewise.
    received_bytes: int = 0
    #: Likewise.
    sent_messages: int = 0
    #: Likewise.
    sent_bytes: int = 0


#: Messages and bytes received, messages and bytes sent.
Traffic = tuple[int, int, int, int]


class ServerTotals:
    """What a server counts; the sums are of connections that have ended.

    Attributes:
        opened_connections, refused_handshakes, failed_handlers: counted by the server.
    """

    __slots__ = ("_traffic", "failed_handlers", "opened_connections", "refused_handshakes")

    def __init__(self) -> None:
        self.opened_connections: int = 0
        self.refused_handshakes: int = 0
        self.failed_handlers: int = 0
        self._traffic: Traffic = (0, 0, 0, 0)

    def add(self, traffic: Traffic) -> None:
        """Add the figures of a connection that has ended."""
        self._traffic = _sum([self._traffic, traffic])

    def with_open(self, open_: Sequence[Traffic], pending_handshakes: int) -> ServerStats:
        """Return the figures of the server, those of its open connections added."""
        received_messages, received_bytes, sent_messages, sent_bytes = _sum([self._traffic, *open_])
        return ServerStats(
            open_connections=len(open_),
            pending_handshakes=pending_handshakes,
            opened_connections=self.opened_connections,
            refused_handshakes=self.refused_handshakes,
            failed_handlers=self.failed_handlers,
            received_messages=received_messages,
            received_bytes=received_bytes,
            sent_messages=sent_messages,
            sent_bytes=sent_bytes,
        )


def _sum(traffics: Sequence[Traffic]) -> Traffic:
    columns = zip(*traffics, strict=True)
    return (sum(next(columns)), sum(next(columns)), sum(next(columns)), sum(next(columns)))
