"""The exceptions: their family, as the reference draws it, their text, and their copies."""

from __future__ import annotations

import copy
import pickle

import anyio
import pytest

import anyws
from anyws import (
    CloseFrame,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    HandshakeRejected,
    Headers,
    InvalidHandshake,
    InvalidURI,
    LocalProtocolError,
    MessageTypeError,
    NegotiationError,
    ProtocolError,
    ProxyError,
    RemoteProtocolError,
    Response,
    WebSocketError,
)
from anyws._errors import Initiator

NORMAL = CloseFrame(1000, "")


@pytest.mark.parametrize(
    ("exception", "parents"),
    [
        (WebSocketError, {Exception}),
        (ConnectionClosed, {WebSocketError}),
        (ConnectionClosedOK, {ConnectionClosed, anyio.EndOfStream}),
        (ConnectionClosedError, {ConnectionClosed, anyio.BrokenResourceError}),
        (HandshakeError, {WebSocketError}),
        (InvalidURI, {HandshakeError, ValueError}),
        (InvalidHandshake, {HandshakeError}),
        (NegotiationError, {InvalidHandshake}),
        (HandshakeRejected, {HandshakeError}),
        (ProxyError, {HandshakeError}),
        (ProtocolError, {WebSocketError}),
        (LocalProtocolError, {ProtocolError}),
        (RemoteProtocolError, {ProtocolError}),
        (MessageTypeError, {WebSocketError, TypeError}),
        (ConcurrencyError, {WebSocketError, anyio.BusyResourceError}),
    ],
)
def test_the_family_is_that_of_the_reference(
    exception: type[Exception], parents: set[type[Exception]]
) -> None:
    assert set(exception.__bases__) == parents
    assert getattr(anyws, exception.__name__) is exception
    assert exception.__name__ in anyws.__all__


@pytest.mark.parametrize(
    ("sent", "received", "initiator", "text"),
    [
        (NORMAL, NORMAL, "local", "closed by this side: sent 1000, received 1000"),
        (
            CloseFrame(1000, "bye"),
            CloseFrame(4000, "it's over"),
            "remote",
            "closed by the peer: sent 1000 'bye', received 4000 \"it's over\"",
        ),
        (
            None,
            None,
            "transport",
            "the byte stream ended: sent no Close frame, received no Close frame",
        ),
    ],
)
def test_the_end_of_a_connection_says_who_ended_it_and_how(
    sent: CloseFrame | None, received: CloseFrame | None, initiator: Initiator, text: str
) -> None:
    """R-B1"""
    closed = ConnectionClosedError(sent, received, initiator)
    assert (closed.sent, closed.received, closed.initiator) == (sent, received, initiator)
    assert str(closed) == text


@pytest.mark.parametrize(
    ("received", "code", "reason"),
    [
        (CloseFrame(4000, "bye"), 4000, "bye"),
        (CloseFrame(1005, ""), 1005, ""),
        pytest.param(None, 1006, "", id="7.1.5"),
    ],
)
def test_code_and_reason_are_those_received(
    received: CloseFrame | None, code: int, reason: str
) -> None:
    closed = ConnectionClosed(NORMAL, received, "local")
    assert (closed.code, closed.reason) == (code, reason)


@pytest.mark.parametrize(
    ("response", "text"),
    [
        (Response(403), "the server rejected the WebSocket handshake: HTTP 403 Forbidden"),
        (
            Response(403, reason_phrase="Go Away"),
            "the server rejected the WebSocket handshake: HTTP 403 Go Away",
        ),
        (Response(499), "the server rejected the WebSocket handshake: HTTP 499"),
    ],
)
def test_a_rejection_carries_the_response(response: Response, text: str) -> None:
    rejected = HandshakeRejected(response)
    assert rejected.response is response
    assert str(rejected) == text


def test_a_proxy_error_says_which_proxy_and_which_step() -> None:
    """R-B8"""
    response = Response(502)
    error = ProxyError("http://proxy.example:3128", "CONNECT", "HTTP 502 Bad Gateway", response)
    assert (error.proxy, error.step) == ("http://proxy.example:3128", "CONNECT")
    assert (error.response, error.socks_reply) == (response, None)
    assert str(error) == (
        "CONNECT failed, via proxy http://proxy.example:3128: HTTP 502 Bad Gateway"
    )


@pytest.mark.parametrize(
    ("expected", "message", "text"),
    [
        ("binary", "héllo", "received a text message of length 5, expected binary"),
        ("text", b"h\xc3\xa9llo", "received a binary message of length 6, expected text"),
    ],
)
def test_a_message_of_the_wrong_type_is_not_lost(
    expected: str, message: str | bytes, text: str
) -> None:
    error = MessageTypeError(expected, message)
    assert error.message is message
    assert str(error) == text


def test_a_concurrency_error_has_its_own_text() -> None:
    assert str(ConcurrencyError("two at once")) == "two at once"


@pytest.mark.parametrize(
    "error",
    [
        ConnectionClosedOK(NORMAL, NORMAL, "remote"),
        ConnectionClosedError(NORMAL, None, "transport"),
        HandshakeRejected(Response(403, Headers({"Retry-After": "5"}), b"no")),
        InvalidURI("no host"),
        ProxyError("socks5://proxy.example:1080", "SOCKS", "Host unreachable", None, 4),
        MessageTypeError("text", b"binary"),
        ConcurrencyError("two at once"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_exceptions_survive_copying_and_pickling(error: WebSocketError) -> None:
    """Test runners and process pools send them elsewhere."""
    for duplicate in (copy.copy(error), pickle.loads(pickle.dumps(error))):
        assert type(duplicate) is type(error)
        assert str(duplicate) == str(error)
        assert vars(duplicate).keys() == vars(error).keys()
