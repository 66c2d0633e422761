"""Tests of `anyws.testing._head`: the opening handshake of a raw peer, and its rules (§4)."""

from __future__ import annotations

import re

import pytest

from anyws.testing import UPGRADE, Head
from anyws.testing._head import check_request, check_response, parse_head

ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
SWITCHED = parse_head(UPGRADE).switch()


def without(name: bytes, head: bytes) -> bytes:
    """Leave out a field."""
    return re.sub(b"(?m)^" + name + b":.*\r\n", b"", head)


def test_request_is_answered_as_the_rfc_shows() -> None:
    request = parse_head(UPGRADE)
    assert request.accept == ACCEPT
    assert request.switch("Server: test", "X: 1") == (
        b"HTTP/1.1 101 Switching Protocols\r\n"
        b"Upgrade: websocket\r\n"
        b"Connection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: " + ACCEPT.encode() + b"\r\n"
        b"Server: test\r\n"
        b"X: 1\r\n"
        b"\r\n"
    )


def test_fields_are_found_by_names_in_lower_case_and_several_of_a_name_are_joined() -> None:
    head = parse_head(b"HTTP/1.1 403 Forbidden\r\nHost: a\r\nX: 1\r\nx:2\r\n\r\n")
    assert head == Head("HTTP/1.1 403 Forbidden", {"host": "a", "x": "1, 2"})
    assert head.status == 403


def test_request_and_response_that_keep_to_the_rules_pass() -> None:
    check_request(parse_head(UPGRADE))
    check_response(parse_head(SWITCHED))


def test_fields_may_be_written_in_other_ways() -> None:
    for head, check in ((UPGRADE, check_request), (SWITCHED, check_response)):
        other = head.replace(b"Upgrade: websocket", b"upgrade:WebSocket")
        other = other.replace(b"Connection: Upgrade", b"Connection: keep-alive , upgrade")
        check(parse_head(other))


@pytest.mark.parametrize(
    "request_",
    [
        UPGRADE.replace(b"GET", b"POST"),
        UPGRADE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        UPGRADE.replace(b"Version: 13", b"Version: 8"),
        UPGRADE.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        UPGRADE.replace(b"Connection: Upgrade", b"Connection: close"),
        UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"c2hvcnQ="),
        UPGRADE.replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"=!="),
        *(without(name, UPGRADE) for name in (b"Host", b"Upgrade", b"Connection")),
        *(without(name, UPGRADE) for name in (b"Sec-WebSocket-Key", b"Sec-WebSocket-Version")),
    ],
)
def test_request_that_breaks_the_rules_is_named(request_: bytes) -> None:
    assert request_ != UPGRADE
    with pytest.raises(AssertionError, match=r"^expected a request that opens .* got Head\("):
        check_request(parse_head(request_))


@pytest.mark.parametrize(
    "response",
    [
        SWITCHED.replace(b"101", b"200"),
        SWITCHED.replace(b"Upgrade: websocket", b"Upgrade: h2c"),
        SWITCHED.replace(b"Connection: Upgrade", b"Connection: close"),
        SWITCHED.replace(ACCEPT.encode(), b"x" + ACCEPT[1:].encode()),
        *(without(name, SWITCHED) for name in (b"Upgrade", b"Connection")),
        without(b"Sec-WebSocket-Accept", SWITCHED),
    ],
)
def test_response_that_breaks_the_rules_is_named(response: bytes) -> None:
    assert response != SWITCHED
    with pytest.raises(AssertionError, match=r"^expected a response that accepts .* got Head\("):
        check_response(parse_head(response))
