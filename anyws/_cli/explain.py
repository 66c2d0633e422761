"""In words: why a connection could not be made, and how one ended.

Owns the sentences, and the hints which option helps. What they are printed on is not its business.
"""

from __future__ import annotations

import errno
import socket
from urllib.parse import urlsplit

from .. import (
    ConnectionClosed,
    ConnectionClosedOK,
    HandshakeError,
    HandshakeRejected,
    InvalidHandshake,
    InvalidURI,
    ProxyError,
    parse_uri,
)
from .._logging import escaped
from .show import printable

__all__ = ["CLOSE_CODES", "describe_code", "explain", "explain_close"]

#: RFC 6455 §7.4.1 and the registry of IANA, for people.
CLOSE_CODES = {
    1000: "normal closure",
    1001: "going away: the program ends, or the page was left",
    1002: "protocol error",
    1003: "unsupported data: not the type of message that is wanted",
    1005: "no code was given",
    1006: "no Close frame came",
    1007: "invalid data: text that is not UTF-8, for instance",
    1008: "policy violation",
    1009: "message too big",
    1010: "an extension is missing that is needed",
    1011: "internal error: the program on that side failed",
    1012: "service restart: come back",
    1013: "try again later",
    1014: "bad gateway",
    3000: "unauthorized",
    3003: "forbidden",
    3008: "timeout",
}

# 200 characters of a body tell what it is about.
_BODY_SHOWN = 200


def describe_code(code: int) -> str:
    """Return what a close code means (RFC 6455 §7.4)."""
    if code in CLOSE_CODES:
        return CLOSE_CODES[code]
    if 3000 <= code <= 3999:
        return "a code of a library or framework"
    if 4000 <= code <= 4999:
        return "a code of the application"
    return "not registered"


def explain_close(closed: ConnectionClosed) -> str:
    """Tell in a line who ended a connection, and how."""
    frame = closed.sent if closed.initiator == "local" else closed.received
    if frame is None:
        cause = closed.__cause__
        return f"the connection broke: {escaped(str(cause))}" if cause else "the connection broke"
    who = "closed" if closed.initiator == "local" else "closed by the server"
    reason = f": {escaped(frame.reason)}" if frame.reason else ""
    text = f"{who} with {frame.code} ({describe_code(frame.code)}){reason}"
    if closed.initiator == "local" and not isinstance(closed, ConnectionClosedOK):
        if closed.__cause__ is not None:
            text += f": {escaped(str(closed.__cause__))}"
        if frame.code == 1009:
            text += "\nhint: --max-size allows larger messages"
    return text


def explain(exc: Exception, uri: str | None = None) -> str:
    """Tell in a line or two what has gone wrong, and what may help.

    Args:
        exc: what was raised.
        uri: what the user wanted to connect to, if anything.
    """
    if isinstance(exc, InvalidURI):
        return _explain_uri(exc, uri)
    if isinstance(exc, ConnectionClosed):
        return explain_close(exc)
    if isinstance(exc, HandshakeRejected):
        return _explain_rejection(exc)
    if isinstance(exc, HandshakeError) and not isinstance(exc, ProxyError):
        return _explain_handshake(exc, uri)
    if isinstance(exc, OSError) and uri is not None:
        return _explain_os_error(exc, uri)
    return printable(str(exc)) or type(exc).__name__


def _explain_uri(exc: InvalidURI, uri: str | None) -> str:
    text = str(exc)
    if uri is None:
        return text
    scheme, separator, rest = uri.partition("://")
    if separator and scheme in ("http", "https"):
        return f"{text}\nhint: try {'wss' if scheme == 'https' else 'ws'}://{rest}"
    if not separator and "@" not in uri:
        return f"{text}\nhint: try ws://{uri}"
    return text


def _explain_rejection(exc: HandshakeRejected) -> str:
    response = exc.response
    status = f"HTTP {response.status_code} {escaped(response.reason_phrase)}".rstrip()
    text = f"the server answered with {status}, not with a WebSocket connection"
    if response.headers.get("Content-Type", "text/plain").startswith("text/plain"):
        body = response.body.decode(errors="replace").strip()
        if body:
            text += f": {escaped(body.splitlines()[0][:_BODY_SHOWN])}"
    location = response.headers.get("Location")
    if response.status_code in (301, 302, 303, 307, 308) and location:
        text += f"\nhint: it redirects to {escaped(location)}; --max-redirects 5 follows"
    if response.status_code == 401:
        text += "\nhint: --auth USER:PASSWORD or --header 'Authorization: ...' says who you are"
    if response.status_code == 403:
        text += "\nhint: the server may want another --origin, or --auth"
    if response.status_code in (502, 504):
        text += "\nhint: a proxy in front of the server answers, and does not reach it"
    return text


def _explain_handshake(exc: HandshakeError, uri: str | None) -> str:
    text = escaped(str(exc))
    cause = exc.__cause__
    if cause is not None and type(cause).__name__ == "SSLCertVerificationError":
        where = _where(uri)
        detail = getattr(cause, "verify_message", "") or str(cause)
        return (
            f"the certificate of {where} cannot be trusted: {escaped(detail)}\n"
            "hint: --cacert FILE trusts an authority, --insecure trusts anybody"
        )
    if cause is not None and getattr(cause, "reason", None) == "WRONG_VERSION_NUMBER":
        return f"{_where(uri)} does not speak TLS\nhint: try ws:// instead of wss://"
    if isinstance(exc, InvalidHandshake):
        return f"{_where(uri)} is no WebSocket server, it seems: {text}"
    return text


def _explain_os_error(exc: OSError, uri: str) -> str:
    where = _where(uri)
    if isinstance(exc, socket.gaierror):
        return f"there is no host called {urlsplit(uri).hostname}: {exc.strerror}"
    if isinstance(exc, ConnectionRefusedError):
        return f"{where} refused the connection: nothing listens there, it seems"
    if isinstance(exc, TimeoutError) and exc.errno is None:
        return f"{exc}\nhint: --timeout SECONDS allows more"
    if exc.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return f"{where} cannot be reached: {exc.strerror}"
    return escaped(str(exc))


def _where(uri: str | None) -> str:
    """Name a server, without what may be secret in its URI."""
    if uri is None:
        return "the server"
    parsed = parse_uri(uri)
    return f"{parsed.host} port {parsed.port}"
