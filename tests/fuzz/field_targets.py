"""Targets for what comes before a connection is open: heads, URIs, and what fields say."""

from __future__ import annotations

from http.cookiejar import CookieJar
from urllib.parse import urlsplit

from anyws import (
    HandshakeError,
    HandshakeRejected,
    Headers,
    InvalidHandshake,
    LocalProtocolError,
    Request,
    Response,
    parse_uri,
)
from anyws._cookies import CookieSource
from anyws._core.grammar import (
    is_token,
    parse_challenges,
    parse_parameters,
    split_tokens,
)
from anyws._core.h11_http1 import MAX_BODY, H11Client
from anyws._core.handshake import check_host, check_target
from anyws._core.headers import check_text
from anyws._core.host import split_host
from anyws._core.origins import OriginPolicy
from anyws._core.plain_http1 import MAX_HEAD
from anyws._digest import DigestAuth, DigestExchange
from anyws._retry import LONGEST_RETRY_AFTER, retry_after
from anyws._visit import _resolve

from .._core.test_plain_http1 import check_request_against_h11, check_upgrade_against_h11
from .reading import (
    check_request_bytes,
    check_response_bytes,
    check_uri,
    not_empty,
    pieces,
)
from .source import Source

__all__ = ["challenge", "cookies", "host", "request", "response", "retry", "uri"]

# The opening handshake


def _stretched(source: Source) -> bytes:
    """Return the rest of an input; sometimes with a part of it over and over, to pass limits."""
    if source.number(16) < 15:
        return source.rest()
    fraction = source.number(256) / 256
    n = 1 + source.number(30)
    data = source.rest()
    at = int(len(data) * fraction)
    return data[:at] + data[at : at + n] * (20_000 // n) + data[at + n :]


def request(data: bytes) -> None:
    """Give bytes of a client to a server's opening handshake."""
    source = Source(data)
    fractions = source.fractions()
    stream = _stretched(source)
    found = check_request_bytes(stream, fractions)
    check_request_against_h11(stream)
    if found is None:
        return
    for refusal in (check_target(found), check_host(found)):
        assert refusal is None or refusal.status_code == 400
    _check_request_values(found)


def _check_request_values(found: Request) -> None:
    """Read everything that a handler may read of a request."""
    assert found.path_without_query
    assert all(values for values in found.query.values())
    assert not any(set(value) & set(";\r\n") for pair in found.cookies.items() for value in pair)
    token = found.bearer_token()
    assert token is None or (token.isascii() and " " not in token)
    for name, value in found.headers.multi_items():
        assert is_token(name)
        check_text(name, value)
    for policy in (OriginPolicy("same-host"), OriginPolicy(["https://example.com"])):
        reason = policy.refusal(found)
        assert reason is None or reason.isascii()


def response(data: bytes) -> None:
    """Give bytes of a server, or of a proxy, to a client's opening handshake."""
    source = Source(data)
    is_proxy = source.flag()
    fractions = source.fractions()
    stream = _stretched(source)
    if is_proxy:
        whole = _read_proxy_response([stream])
        assert _read_proxy_response(pieces(stream, fractions)) == whole
        return
    check_response_bytes(stream, fractions)
    check_upgrade_against_h11(stream)


def _read_proxy_response(chunks: list[bytes]) -> object:
    proxy = H11Client("the proxy")
    proxy.send_request(Request("host:443", Headers({"Host": "host:443"}), method="CONNECT"))
    for i, chunk in enumerate(not_empty(chunks)):
        try:
            found = proxy.receive_data(chunk)
        except InvalidHandshake:
            return None
        if found is not None:
            assert len(found.body) <= MAX_BODY
            if not 200 <= found.status_code <= 299:
                return found
            return found, proxy.trailing_data() + b"".join(not_empty(chunks)[i + 1 :])
    assert len(b"".join(chunks)) <= MAX_HEAD + 2 * MAX_BODY
    return proxy.refusal


# Fields and URIs


def uri(data: bytes) -> None:
    """Parse a URI that a user gave, and one to which a server redirects."""
    text = data.decode("utf-8", "surrogateescape")
    check_uri(text)
    base = parse_uri("wss://example.com:8443/a/b?c")
    try:
        target = _resolve(base, text)
    except HandshakeError as exc:
        str(exc).encode(errors="backslashreplace")
        return
    assert target.user_info is None
    check_uri(f"{target.origin}{target.path}")


def host(data: bytes) -> None:
    """Compare a Host, in the first line of the input, with an Origin, in the second."""
    own, _, origin = data.decode("iso-8859-1").partition("\n")
    found = split_host(own)
    if found is not None:
        name, port = found
        assert split_host(name if port is None else f"{name}:{port}") == found
        assert name == name.lower()
    asked = Request("/", Headers.from_wire([(b"Host", own.encode("iso-8859-1"))]))
    asked.headers._fields.append(("Origin", origin))
    if OriginPolicy("same-host").refusal(asked) is None:
        _check_same_host(own, origin)
    try:
        listed = OriginPolicy([origin])
    except ValueError:
        return
    if origin not in ("same-host", "null") and origin.isascii():
        assert listed.refusal(asked) is None


def _check_same_host(own: str, origin: str) -> None:
    """Check with the parser of another that two hosts are one."""
    parts, other = urlsplit(origin), urlsplit(f"//{own}")
    assert parts.username is None
    assert parts.path == parts.query == parts.fragment == ""
    default = {"http": 80, "https": 443, "ws": 80, "wss": 443}[parts.scheme]
    assert (parts.port or default) == (other.port or default) or 0 in (parts.port, other.port)
    if ":" not in (parts.hostname or ""):
        assert parts.hostname == other.hostname


def challenge(data: bytes) -> None:
    """Answer a challenge of a server (RFC 7616), and read what else a refusal may say."""
    source = Source(data)
    texts = source.rest().decode("iso-8859-1").split("\n")
    try:
        values = Headers([("WWW-Authenticate", text) for text in texts[:4]])
    except LocalProtocolError:
        return  # h11 would have refused it
    response = Response(401, values)
    auth = DigestAuth("Mufasa é", "Circle of Life")
    exchange = DigestExchange(auth, parse_uri("ws://example.com/dir?a=b"))
    for _ in range(4):
        again = exchange.take_response(response)
        if not again:
            break
        value = exchange.header_value()
        assert value is not None
        assert Headers({"Authorization": value})["Authorization"] == value
        ((scheme, parameters),) = parse_challenges(value)
        assert scheme == "digest"
        assert parameters is not None
        assert {"realm", "nonce", "uri", "response"} <= parameters.keys()
        _check_echo(values, parameters)
    assert not again, "a server cannot make a client ask on and on"
    for text in texts[:4]:
        split_tokens([text[:500]])
        exchange.take_response(Response(101, Headers({"Authentication-Info": text})))
        parse_parameters(text)


def _check_echo(values: Headers, answered: dict[str, str]) -> None:
    """Check that realm and nonce are those of one challenge."""
    asked = [
        (parameters.get("realm"), parameters.get("nonce"))
        for value in values.get_all("WWW-Authenticate")
        for _, parameters in parse_challenges(value)
        if parameters
    ]
    assert (answered["realm"], answered["nonce"]) in asked


def retry(data: bytes) -> None:
    """Read a Retry-After, which is a number or a date of any kind."""
    text = data.decode("iso-8859-1")
    try:
        headers = Headers({"Retry-After": text})
    except LocalProtocolError:
        return
    seconds = retry_after(HandshakeRejected(Response(503, headers)))
    assert 0 <= seconds <= LONGEST_RETRY_AFTER


def cookies(data: bytes) -> None:
    """Put into a jar what servers set, and take out what goes to others; read it there."""
    texts = data.decode("iso-8859-1").split("\n")
    try:
        headers = Headers([("Set-Cookie", text) for text in texts[:8]])
    except LocalProtocolError:
        return
    first, second = parse_uri("wss://example.com/a/b"), parse_uri("ws://www.example.com:81/a")
    source = CookieSource(CookieJar(), first)
    source.take(first, Response(101, headers))
    for target in (first, second):
        value = source.header_for(target)
        if value is not None:
            asked = Request("/", Headers({"Cookie": value}))
            assert asked.headers["Cookie"] == value.strip(" \t")
            _check_request_values(asked)
    _check_request_values(Request("/", Headers([("Cookie", text) for text in texts[:8]])))
