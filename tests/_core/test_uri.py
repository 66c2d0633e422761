"""WebSocket URIs (RFC 6455 §3)."""

from __future__ import annotations

import traceback

import pytest

from anyws import URI, InvalidURI, parse_uri

VALID = [
    pytest.param("ws://host", URI(False, "host", 80, "/"), id="§3 default port of ws"),
    pytest.param("wss://host", URI(True, "host", 443, "/"), id="§3 default port of wss"),
    pytest.param("WS://host", URI(False, "host", 80, "/"), id="§3 scheme in any case"),
    pytest.param("Wss://host", URI(True, "host", 443, "/"), id="§3 secure scheme in any case"),
    pytest.param("ws://host:8080/", URI(False, "host", 8080, "/"), id="§3 port"),
    pytest.param("ws://host:65535/", URI(False, "host", 65535, "/"), id="§3 highest port"),
    pytest.param("ws://host:/", URI(False, "host", 80, "/"), id="RFC 3986 §3.2.3 empty port"),
    pytest.param("ws://host/a/b", URI(False, "host", 80, "/a/b"), id="§3 path"),
    pytest.param("ws://host/a?b=c", URI(False, "host", 80, "/a?b=c"), id="§3 path and query"),
    pytest.param("ws://host?b", URI(False, "host", 80, "/?b"), id="§3 query without a path"),
    pytest.param("ws://host/?", URI(False, "host", 80, "/"), id="§3 empty query"),
    pytest.param("ws://host/a?b?c/d", URI(False, "host", 80, "/a?b?c/d"), id="RFC 3986 §3.4"),
    pytest.param("ws://host/%23%2f", URI(False, "host", 80, "/%23%2f"), id="§3 encoded already"),
    pytest.param("ws://host/é?ü", URI(False, "host", 80, "/%C3%A9?%C3%BC"), id="RFC 3987 §3.1"),
    pytest.param("ws://host/[a]", URI(False, "host", 80, "/%5Ba%5D"), id="RFC 3986 §3.3"),
    pytest.param("ws://HOST/A", URI(False, "host", 80, "/A"), id="RFC 3986 §6.2.2.1"),
    pytest.param("ws://[::1]:80/", URI(False, "::1", 80, "/"), id="RFC 3986 §3.2.2 IPv6"),
    pytest.param("ws://127.0.0.1/", URI(False, "127.0.0.1", 80, "/"), id="RFC 3986 §3.2.2 IPv4"),
    pytest.param("ws://bücher.example", URI(False, "xn--bcher-kva.example", 80, "/"), id="IDNA"),
    pytest.param("ws://Faß.example", URI(False, "xn--fa-hia.example", 80, "/"), id="IDNA 2008"),
    pytest.param(
        "ws://me:pw@host/", URI(False, "host", 80, "/", ("me", "pw")), id="user and password"
    ),
    pytest.param("ws://me@host/", URI(False, "host", 80, "/", ("me", "")), id="user"),
    pytest.param(
        "ws://m%40e:p%3Aw@host/", URI(False, "host", 80, "/", ("m@e", "p:w")), id="encoded user"
    ),
]

INVALID = [
    ("", "has the scheme ''"),
    ("host", "has the scheme ''"),
    ("//host/", "has the scheme ''"),
    ("http://host/", "has the scheme 'http', allowed are ws and wss"),
    ("https://host/", "has the scheme 'https'"),
    ("ws:host", "has no host"),
    ("ws:///path", "has no host"),
    ("ws://", "has no host"),
    ("ws://:80/", "has no host"),
    ("ws://me@/", "has no host"),
    ("ws://host/#", "has a fragment"),
    ("ws://host/#part", "has a fragment"),
    ("ws://host/?a#part", "has a fragment"),
    ("ws://host:0/", "has the port 0"),
    ("ws://host:65536/", "has a host or a port that is not valid"),
    ("ws://host:-1/", "has a host or a port that is not valid"),
    ("ws://host:+1/", "has a host or a port that is not valid"),
    ("ws://host:port/", "has a host or a port that is not valid"),
    ("ws://host:٣/", "has a host or a port that is not valid"),
    ("ws://[::1/", "has a host or a port that is not valid"),
    ("ws://[::g]/", "has a host or a port that is not valid"),
    ("ws://[::1]x/", "has a host or a port that is not valid"),
    ("ws://x[::1]/", "has a host or a port that is not valid"),
    ("ws://[[::1]]/", "has a host or a port that is not valid"),
    ("ws://[host]/", "has a host or a port that is not valid"),
    ("ws://[127.0.0.1]/", "has a host or a port that is not valid"),
    # What is right is within the user information.
    ("ws://[::1]:@[host]x/", "has a host or a port that is not valid"),
    ("ws://[::1]@ho]st/", "has a host or a port that is not valid"),
    ("ws://ho℀st/", "has a host or a port that is not valid"),
    ("ws://é..example/", "has a host that is no domain name"),
    ("ws://" + "é" * 64 + ".example/", "has a host that is no domain name"),
    ("ws://\xad/", "has a host that is no domain name"),
    ("ws://:pw@host/", "has user information without a user name"),
    ("ws://@host/", "has user information without a user name"),
    ("ws://host/\ud800", "has lone surrogates"),
    ("ws://\ud800/", "has lone surrogates"),
    ("ws://m\ud800@host/", "has lone surrogates"),
    (" ws://host/", "has spaces or control characters"),
    ("ws://host/ ", "has spaces or control characters"),
    ("ws://host/a b", "has spaces or control characters"),
    ("ws://host/\r\nX: y", "has spaces or control characters"),
    ("ws://ho\nst/", "has spaces or control characters"),
    ("ws://host/\0", "has spaces or control characters"),
    ("ws://host/\x7f", "has spaces or control characters"),
]

# Each breaks a rule; in some the password ends the host, for want of an encoding.
WITH_PASSWORD = [
    "ws://me:secret@host/#",
    "ws://me:secret@host:port/",
    "ws://me:secret@host:0/",
    "ws://me:secret@ho℀st/",
    "ws://me:secret@é..example/",
    "ws://me:secret@[::g]/",
    "ws://me:secret/secret@host/",
    "ws://me:secret?secret@host/",
    "ws://me:secret@host/ ",
    "ws://:secret@host/",
    "http://me:secret@host/",
    "me:secret@host",
]


@pytest.mark.parametrize(("uri", "expected"), VALID)
def test_uri_is_split(uri: str, expected: URI) -> None:
    assert parse_uri(uri) == expected


@pytest.mark.parametrize(("uri", "problem"), INVALID, ids=ascii)
def test_invalid_uri_is_rejected_with_the_problem(uri: str, problem: str) -> None:
    with pytest.raises(InvalidURI) as caught:
        parse_uri(uri)
    assert problem in str(caught.value)
    assert repr(uri) in str(caught.value) or "@" in uri


@pytest.mark.parametrize("uri", WITH_PASSWORD)
def test_password_is_in_no_message_and_no_traceback(uri: str) -> None:
    with pytest.raises(InvalidURI) as caught:
        parse_uri(uri)
    assert "secret" not in "".join(traceback.format_exception(caught.value))


def test_password_is_in_no_repr() -> None:
    """R-B7a"""
    uri = parse_uri("ws://hidden:secret@host/")
    assert uri.user_info == ("hidden", "secret")
    assert "secret" not in repr(uri)
    assert "hidden" not in repr(uri)


def test_invalid_uri_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="has no host"):
        parse_uri("ws://")


@pytest.mark.parametrize(
    ("uri", "host"),
    [
        ("ws://host/", "host"),
        ("ws://host:80/", "host"),
        ("ws://host:443/", "host:443"),
        ("wss://host/", "host"),
        ("wss://host:443/", "host"),
        ("wss://host:80/", "host:80"),
        ("ws://[::1]/", "[::1]"),
        ("ws://[::1]:8080/", "[::1]:8080"),
        ("ws://bücher.example:1/", "xn--bcher-kva.example:1"),
    ],
)
def test_host_header_has_the_port_unless_it_is_the_scheme_s(uri: str, host: str) -> None:
    # §4.1, request 4
    assert parse_uri(uri).host_header == host


@pytest.mark.parametrize(
    ("uri", "origin"),
    [
        ("ws://Host/path?query", "ws://host"),
        ("ws://name:password@host:80/", "ws://host"),
        ("wss://host:80", "wss://host:80"),
        ("wss://[::1]:443/", "wss://[::1]"),
    ],
)
def test_origin_is_scheme_host_and_port(uri: str, origin: str) -> None:
    # RFC 6454 §4
    assert parse_uri(uri).origin == origin


@pytest.mark.parametrize(("uri", "expected"), VALID)
def test_every_part_is_ascii_but_the_user(uri: str, expected: URI) -> None:
    parsed = parse_uri(uri)
    assert parsed.host.isascii()
    assert parsed.path.isascii()
    assert parsed.path.startswith("/")
