"""Every exception that `anyws` raises of its own.

WebSocketError
├─ ConnectionClosed
│  ├─ ConnectionClosedOK         also anyio.EndOfStream
│  └─ ConnectionClosedError      also anyio.BrokenResourceError
├─ HandshakeError
│  ├─ InvalidURI                 also ValueError
│  ├─ InvalidHandshake
│  │  └─ NegotiationError
│  ├─ HandshakeRejected
│  ├─ ProxyError
│  └─ TooManyRedirects
├─ ProtocolError
│  ├─ LocalProtocolError
│  └─ RemoteProtocolError
├─ MessageTypeError              also TypeError
├─ InvalidJSON                   also ValueError
├─ ConcurrencyError              also anyio.BusyResourceError
└─ QueueFull                     also anyio.WouldBlock

`TimeoutError`, `OSError` and `ValueError` keep their own types. This file knows nothing of the
rest of the package.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import anyio

from ._logging import escaped

if TYPE_CHECKING:
    from ._connection import Connection
    from ._core.headers import Response

__all__ = [
    "CloseFrame",
    "ConcurrencyError",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "HandshakeError",
    "HandshakeRejected",
    "Initiator",
    "InvalidHandshake",
    "InvalidJSON",
    "InvalidURI",
    "LocalProtocolError",
    "MessageTypeError",
    "NegotiationError",
    "ProtocolError",
    "ProxyError",
    "ProxyStep",
    "QueueFull",
    "RemoteProtocolError",
    "TooManyRedirects",
    "WebSocketError",
]

Initiator = Literal["local", "remote", "transport"]

ProxyStep = Literal[
    "connecting to the proxy",
    "the TLS handshake with the proxy",
    "CONNECT",
    "SOCKS",
    "authentication",
]

#: Close codes that mean a normal end (RFC 6455 §7.4.1): normal, going away, and no code given.
NORMAL_CODES = frozenset({1000, 1001, 1005})


class CloseFrame(NamedTuple):
    """What a Close frame said: `code` is 1005 and `reason` empty when its payload was empty."""

    code: int
    reason: str


class WebSocketError(Exception):
    """Base class of the exceptions that `anyws` defines."""


class ConnectionClosed(WebSocketError):
    """The connection has ended, or is ending, so the operation cannot be done.

    Attributes:
        sent: the Close frame that this side sent, or None.
        received: the Close frame that the peer sent, or None.
        initiator: who ended the connection first: "local" (this side closed it or failed it),
            "remote" (the peer's Close frame came first), "transport" (the byte stream ended or
            broke before either side had said anything).
    """

    def __init__(
        self, sent: CloseFrame | None, received: CloseFrame | None, initiator: Initiator
    ) -> None:
        super().__init__(sent, received, initiator)
        self.sent = sent
        self.received = received
        self.initiator: Initiator = initiator

    @property
    def code(self) -> int:
        """The close code received: 1005 if the Close frame had none, 1006 if none came (§7.1.5)."""
        return 1006 if self.received is None else self.received.code

    @property
    def reason(self) -> str:
        """The reason received, empty if there was none (§7.1.6)."""
        return "" if self.received is None else self.received.reason

    def __str__(self) -> str:
        sent = "sent no Close frame" if self.sent is None else f"sent {_describe(self.sent)}"
        received = (
            "received no Close frame"
            if self.received is None
            else f"received {_describe(self.received)}"
        )
        first = {
            "local": "closed by this side",
            "remote": "closed by the peer",
            "transport": "the byte stream ended",
        }[self.initiator]
        return f"{first}: {sent}, {received}"


class ConnectionClosedOK(ConnectionClosed, anyio.EndOfStream):
    """The connection ended normally: only codes 1000, 1001 or none were exchanged."""


class ConnectionClosedError(ConnectionClosed, anyio.BrokenResourceError):
    """The connection ended in any other way; `__cause__` is what broke, where something did."""


class HandshakeError(WebSocketError):
    """The opening handshake did not lead to a WebSocket connection (RFC 6455 §4)."""


class InvalidURI(HandshakeError, ValueError):
    """The URI is not a usable WebSocket URI (§3)."""


class InvalidHandshake(HandshakeError):
    """The peer's part of the opening handshake breaks HTTP/1.1 or RFC 6455 §4."""


class NegotiationError(InvalidHandshake):
    """The two sides could not agree on a subprotocol."""


class HandshakeRejected(HandshakeError):
    """The server answered the opening handshake with another status than 101.

    Attributes:
        response: status, headers and (bounded) body of the answer.
    """

    def __init__(self, response: Response) -> None:
        super().__init__(response)
        self.response = response

    def __str__(self) -> str:
        return (
            "the server rejected the WebSocket handshake: "
            f"HTTP {self.response.status_code} {escaped(self.response.reason_phrase)}".rstrip()
        )


class TooManyRedirects(HandshakeError):
    """The server redirects more often than `max_redirects` allows, or in a circle.

    Attributes:
        response: the last redirect.
    """

    def __init__(self, response: Response, text: str) -> None:
        super().__init__(response, text)
        self.response = response
        self._text = text

    def __str__(self) -> str:
        return self._text


class ProxyError(HandshakeError):
    """There was no way through the proxy; the server has not been asked for anything.

    Attributes:
        proxy: its URI, without user information.
        step: where it failed: "connecting to the proxy", "the TLS handshake with the proxy",
            "CONNECT" or "SOCKS", "authentication".
        response: what a proxy of HTTP answered instead of a status of 2xx: status, headers and
            (bounded) body. None if it did not answer, or is one of SOCKS.
        socks_reply: the code by which a proxy of SOCKS refused, 1 to 8 (RFC 1928 §6), or 91 to 93
            of SOCKS4; or None.
    """

    def __init__(
        self,
        proxy: str,
        step: ProxyStep,
        reason: str,
        response: Response | None = None,
        socks_reply: int | None = None,
    ) -> None:
        super().__init__(proxy, step, reason, response, socks_reply)
        self.proxy = proxy
        self.step: ProxyStep = step
        self.response = response
        self.socks_reply = socks_reply
        self._reason = reason

    def __str__(self) -> str:
        return f"{self.step} failed, via proxy {self.proxy}: {escaped(self._reason)}"


class ProtocolError(WebSocketError):
    """A side did, or was asked to do, what RFC 6455 forbids."""


class LocalProtocolError(ProtocolError):
    """The application asked for what the RFC forbids; nothing was sent and nothing changed."""


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the connection has been failed (§7.1.7)."""


class MessageTypeError(WebSocketError, TypeError):
    """A text message came where binary was asked for, or the other way round.

    Attributes:
        message: the message that was received, so that it is not lost.
    """

    def __init__(self, expected: str, message: str | bytes) -> None:
        super().__init__(expected, message)
        self.message = message
        self._expected = expected

    def __str__(self) -> str:
        kind = "text" if isinstance(self.message, str) else "binary"
        return f"received a {kind} message of length {len(self.message)}, expected {self._expected}"


class InvalidJSON(WebSocketError, ValueError):
    """A text message came that is not JSON; `__cause__` is what the codec made of it.

    Attributes:
        message: the message that was received, so that it is not lost.
    """

    def __init__(self, message: str, problem: str) -> None:
        super().__init__(message, problem)
        self.message = message
        self._problem = problem

    def __str__(self) -> str:
        return f"received a text message of length {len(self.message)}, no JSON: {self._problem}"


class ConcurrencyError(WebSocketError, anyio.BusyResourceError):
    """Two tasks asked at once for what only one may do at a time."""

    def __init__(self, message: str) -> None:
        # BusyResourceError composes its own text out of an action; ours says the whole.
        Exception.__init__(self, message)


def _describe(close: CloseFrame) -> str:
    return f"{close.code} {close.reason!r}" if close.reason else str(close.code)


class QueueFull(WebSocketError, anyio.WouldBlock):
    """A message was published to nobody: a member of the group has no room for it.

    Attributes:
        connections: those of the members whose queues are full.
    """

    def __init__(self, connections: tuple[Connection, ...], max_queue: int) -> None:
        super().__init__(connections, max_queue)
        self.connections = connections

    def __str__(self) -> str:
        return (
            f"{len(self.connections)} of the members have {self.args[1]} messages queued, "
            "which is all there is room for"
        )
