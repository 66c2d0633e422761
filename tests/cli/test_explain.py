"""Errors and the ends of connections, in words."""

from __future__ import annotations

import errno

import pytest

from anyws import (
    CloseFrame,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidURI,
    ProxyError,
)
from anyws._cli.explain import describe_code, explain, explain_close

URI = "ws://localhost:8765/"


def because(exc: ConnectionClosed, cause: Exception) -> ConnectionClosed:
    exc.__cause__ = cause
    return exc


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (1000, "normal closure"),
        (1012, "service restart: come back"),
        (3000, "unauthorized"),
        (3999, "a code of a library or framework"),
        (4000, "a code of the application"),
        (2000, "not registered"),
        (5000, "not registered"),
    ],
)
def test_code_has_words(code: int, words: str) -> None:
    assert describe_code(code) == words


NORMAL = CloseFrame(1000, "")


@pytest.mark.parametrize(
    ("closed", "line"),
    [
        (ConnectionClosedOK(NORMAL, NORMAL, "local"), "closed with 1000 (normal closure)"),
        (
            ConnectionClosedError(CloseFrame(4000, ""), CloseFrame(4000, "no\x1b[m\n!"), "remote"),
            "closed by the server with 4000 (a code of the application): no\\x1b[m\\n!",
        ),
        (
            ConnectionClosedOK(CloseFrame(1005, ""), CloseFrame(1005, ""), "remote"),
            "closed by the server with 1005 (no code was given)",
        ),
        (
            because(ConnectionClosedError(None, None, "transport"), EOFError("it ended\n")),
            "the connection broke: it ended\\n",
        ),
        (ConnectionClosedError(None, None, "transport"), "the connection broke"),
        (
            because(
                ConnectionClosedError(CloseFrame(1009, "too big"), None, "local"),
                ValueError("6 bytes, limit 5"),
            ),
            "closed with 1009 (message too big): too big: 6 bytes, limit 5\n"
            "hint: --max-size allows larger messages",
        ),
        (
            ConnectionClosedError(CloseFrame(1002, ""), None, "local"),
            "closed with 1002 (protocol error)",
        ),
    ],
)
def test_end_is_told(closed: ConnectionClosed, line: str) -> None:
    assert explain_close(closed) == line
    assert explain(closed, URI) == line


@pytest.mark.parametrize(
    ("exc", "text"),
    [
        (OSError(errno.EHOSTUNREACH, "No route to host"), "cannot be reached: No route to host"),
        (OSError(errno.ENETUNREACH, "no network"), "cannot be reached: no network"),
        (OSError(errno.EMFILE, "Too many open files"), "[Errno 24] Too many open files"),
        (ValueError("x is 1, expected 2\x1b"), "x is 1, expected 2\\x1b"),
        (ValueError(), "ValueError"),
        (ProxyError("http://p", "CONNECT", "it is closed"), "CONNECT failed, via proxy http://p"),
    ],
)
def test_error_is_told(exc: Exception, text: str) -> None:
    assert text in explain(exc, URI)


@pytest.mark.parametrize("uri", ["ada:secret@localhost", "ftp://x"])
def test_no_hint_is_given_for_what_may_be_anything(uri: str) -> None:
    assert explain(InvalidURI("no URI"), uri) == "no URI"
    assert explain(InvalidURI("no URI")) == "no URI"
