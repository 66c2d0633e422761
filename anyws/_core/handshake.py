"""The rules of the opening handshake (RFC 6455 §4), as functions on header fields.

Owns what must be in a request and a response and what is wrong with one. It must not know the
version of HTTP that carries them, nor sockets.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence

from .._errors import HandshakeRejected, InvalidHandshake, LocalProtocolError, NegotiationError
from .extensions import Extension, agree_extensions, offer_extensions
from .grammar import NamedExtension, is_token, parse_extensions, split_tokens
from .headers import (
    Headers,
    HeadersLike,
    Request,
    Response,
    check_text,
)
from .host import is_host
from .uri import URI

__all__ = [
    "BadRequest",
    "accept_request",
    "accept_value",
    "build_request",
    "check_host",
    "check_request",
    "check_response",
    "check_subprotocols",
    "check_target",
    "make_key",
    "refuse",
    "select_subprotocol",
]

# §1.3
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

# RFC 9112 §3.2.1, §3.2.2: a path, or a whole URI.
_PATH_OR_URI = re.compile(r"/|[A-Za-z][-+.0-9A-Za-z]*://")

#: Fields that the handshake itself sets; an application cannot give them.
RESERVED_FIELDS = frozenset(
    {
        "connection",
        "content-length",
        "host",
        "sec-websocket-accept",
        "sec-websocket-extensions",
        "sec-websocket-key",
        "sec-websocket-protocol",
        "sec-websocket-version",
        "transfer-encoding",
        "upgrade",
    }
)


# 100 characters of a field that is wrong are enough to find it by.
_SHOWN = 100


class BadRequest(InvalidHandshake):
    """A request that cannot be read; `status_code` is what to answer."""

    def __init__(self, status_code: int, text: str) -> None:
        super().__init__(text)
        self.status_code = status_code


def make_key(nonce: bytes) -> str:
    """Return the value of Sec-WebSocket-Key for 16 random bytes (§4.1)."""
    return b2a_base64(nonce, newline=False).decode("ascii")


def accept_value(key: str) -> str:
    """Return the value of Sec-WebSocket-Accept that answers `key` (§4.2.2)."""
    # Imported late: OpenSSL's part of it takes 2 ms.
    from hashlib import sha1

    digest = sha1(key.encode("iso-8859-1") + _GUID, usedforsecurity=False).digest()
    return b2a_base64(digest, newline=False).decode("ascii")


def check_subprotocols(subprotocols: Sequence[str]) -> tuple[str, ...]:
    """Check the subprotocols that an application names (§4.1): tokens, each once.

    Raises:
        TypeError: one string instead of several.
        LocalProtocolError: a name that is no token, or one that comes twice.
    """
    if isinstance(subprotocols, str):
        raise TypeError("subprotocols is a sequence of str, not a str")
    for name in subprotocols:
        if not is_token(name):
            raise LocalProtocolError(f"subprotocol {name!r} is not a token (RFC 6455 §4.1)")
    if len(set(subprotocols)) < len(subprotocols):
        raise LocalProtocolError(f"subprotocols {list(subprotocols)} name one twice")
    return tuple(subprotocols)


def build_request(
    uri: URI,
    key: str,
    *,
    headers: HeadersLike = (),
    origin: str | None = None,
    user_agent: str | None = None,
    subprotocols: Sequence[str] = (),
    extensions: Sequence[Extension] = (),
) -> Request:
    """Return the client's part of the opening handshake (§4.1).

    Raises:
        LocalProtocolError: a field in `headers` is one that the handshake sets, or is not valid,
            or names an Origin besides `origin`.
    """
    extra = Headers(headers)
    if origin is not None and "Origin" in extra:
        raise LocalProtocolError("Origin is given twice, as origin and in headers")
    fields = Headers()
    # An application may name another Host than the address it connects to.
    fields.add("Host", extra.get("Host", uri.host_header))
    extra.discard("Host")
    fields.add("Upgrade", "websocket")
    fields.add("Connection", "Upgrade")
    fields.add("Sec-WebSocket-Key", key)
    fields.add("Sec-WebSocket-Version", "13")
    if subprotocols:
        fields.add("Sec-WebSocket-Protocol", ", ".join(subprotocols))
    offers = offer_extensions(extensions)
    if offers:
        fields.add("Sec-WebSocket-Extensions", offers)
    if origin is not None:
        fields.add("Origin", origin)
    if user_agent is not None and "User-Agent" not in extra:
        fields.add("User-Agent", user_agent)
    for name, value in extra.multi_items():
        if name.lower() in RESERVED_FIELDS:
            raise LocalProtocolError(f"header {name} is set by the opening handshake itself")
        fields.add(name, value)
    return Request(uri.path, fields)


def check_response(
    response: Response,
    key: str,
    subprotocols: Sequence[str],
    extensions: Sequence[Extension] = (),
) -> tuple[str | None, list[tuple[Extension, NamedExtension]]]:
    """Check the server's answer (§4.1).

    Returns:
        The subprotocol it chose, or None; and the extensions, with the parameters agreed on.

    Raises:
        HandshakeRejected: the status is not 101.
        InvalidHandshake: a field is missing or wrong.
        NegotiationError: a subprotocol, or an extension, that was not offered, or one that was
            with other parameters.
    """
    headers = response.headers
    if response.status_code != 101:
        raise HandshakeRejected(response)
    upgrade = headers.get_all("Upgrade")
    if [value.lower() for value in upgrade] != ["websocket"]:
        raise InvalidHandshake(_wrong("Upgrade", upgrade, "websocket"))
    try:
        connection = split_tokens(headers.get_all("Connection"))
        answered = parse_extensions(headers.get_all("Sec-WebSocket-Extensions"))
    except ValueError as exc:
        raise InvalidHandshake(f"the response cannot be read: {exc}") from exc
    if "upgrade" not in (token.lower() for token in connection):
        raise InvalidHandshake(_wrong("Connection", connection, "Upgrade"))
    accept = headers.get_all("Sec-WebSocket-Accept")
    expected = accept_value(key)
    if accept != [expected]:
        raise InvalidHandshake(_wrong("Sec-WebSocket-Accept", accept, expected))
    agreed = agree_extensions(extensions, answered)
    chosen = headers.get_all("Sec-WebSocket-Protocol")
    if not chosen:
        return None, agreed
    if len(chosen) > 1 or chosen[0] not in subprotocols:
        offered = ", ".join(subprotocols) or "none"
        raise NegotiationError(
            f"the server chose the subprotocol {', '.join(chosen)!r}, offered: {offered}"
        )
    return chosen[0], agreed


def check_target(request: Request) -> Response | None:
    """Refuse a request of any kind whose target has not the form of its method (RFC 9112 §3.2)."""
    if _PATH_OR_URI.match(request.path):
        return None
    if request.method == "CONNECT" or (request.method, request.path) == ("OPTIONS", "*"):
        return None
    return refuse(400, "the target of the request is neither a path nor a URI\n")


def check_host(request: Request) -> Response | None:
    """Refuse a request of any kind whose Host header will not do (RFC 9112 §3.2)."""
    hosts = request.headers.get_all("Host")
    if not hosts and request.http_version < "1.1":
        return None
    if len(hosts) != 1:
        return refuse(400, f"a request has exactly one Host header, this one {len(hosts)}\n")
    if not is_host(hosts[0]):
        return refuse(400, _wrong("Host", hosts, "a host, or a host and a port") + "\n")
    return None


def check_request(request: Request) -> tuple[str, list[str], list[NamedExtension]] | Response:
    """Check the client's part (§4.2.1).

    Returns:
        Its key, and the subprotocols and the extensions that it offers; or a refusal.
    """
    try:
        return _check_request(request)
    except ValueError as exc:
        return refuse(400, f"the request cannot be read: {exc}\n")


def _check_request(request: Request) -> tuple[str, list[str], list[NamedExtension]] | Response:
    if request.method != "GET":
        response = refuse(405, f"method {request.method} is not allowed, only GET\n")
        response.headers["Allow"] = "GET"
        return response
    fields = request.headers.grouped()
    # §4.2.1; RFC 9110 §7.8: in HTTP/1.0 an Upgrade header means nothing.
    if (
        request.http_version < "1.1"
        or not _names(fields, "upgrade", "websocket")
        or not _names(fields, "connection", "upgrade")
    ):
        response = refuse(426, "this is a WebSocket server: upgrade to websocket\n")
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade, close"
        return response
    version = fields.get("sec-websocket-version", [])
    if version != ["13"]:
        # §4.4
        response = refuse(426, f"{_wrong('Sec-WebSocket-Version', version, '13')}\n")
        response.headers["Upgrade"] = "websocket"
        response.headers["Connection"] = "Upgrade, close"
        response.headers["Sec-WebSocket-Version"] = "13"
        return response
    if fields.get("content-length", ["0"]) != ["0"] or "transfer-encoding" in fields:
        # Its bytes would be taken for the first frames.
        return refuse(400, "the request of an opening handshake has no body\n")
    keys = fields.get("sec-websocket-key", [])
    if len(keys) != 1 or not _is_key(keys[0]):
        return refuse(400, _wrong("Sec-WebSocket-Key", keys, "16 bytes in base64") + "\n")
    offered = split_tokens(fields.get("sec-websocket-protocol", ()))
    if not all(map(is_token, offered)):
        return refuse(400, "Sec-WebSocket-Protocol has a name that is not a token\n")
    return keys[0], offered, parse_extensions(fields.get("sec-websocket-extensions", ()))


def select_subprotocol(supported: Sequence[str], offered: Sequence[str]) -> str | None:
    """Return the first supported subprotocol that is offered too, or None (§4.2.2)."""
    for name in supported:
        if name in offered:
            return name
    return None


def accept_request(
    key: str, subprotocol: str | None, extensions: Sequence[NamedExtension], server: str | None
) -> Response:
    """Return the server's answer that opens the connection (§4.2.2).

    Raises:
        LocalProtocolError: `subprotocol`, `extensions` or `server` cannot be the value of a field.
    """
    accept = accept_value(key)
    lines = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n"
    for name, value in (
        ("Sec-WebSocket-Protocol", subprotocol),
        ("Sec-WebSocket-Extensions", ", ".join(map(str, extensions)) or None),
        ("Server", server),
    ):
        if value is not None:
            check_text(f"value of header {name}", value)
            lines += f"{name}: {value}\r\n"
    headers = Headers.from_lines(lines.encode("iso-8859-1"))
    return Response(101, headers, reason_phrase="Switching Protocols")


def refuse(status_code: int, text: str) -> Response:
    """Return a refusal with a line of text for a person, after which the connection closes."""
    body = text.encode()
    headers = Headers(
        {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    return Response(status_code, headers, body)


def _names(fields: Mapping[str, Sequence[str]], name: str, token: str) -> bool:
    """Say whether a field that is a list of tokens has `token`, in any case."""
    values = fields.get(name, ())
    if len(values) == 1 and values[0].lower() == token:
        return True
    return token in [member.lower() for member in split_tokens(values)]


def _is_key(key: str) -> bool:
    try:
        return len(a2b_base64(key, strict_mode=True)) == 16
    except ValueError:  # not base64, or not even ASCII
        return False


def _wrong(name: str, values: Sequence[str], expected: str) -> str:
    if not values:
        return f"no {name} header, expected {expected}"
    return f"{name} is {', '.join(values)[:_SHOWN]!r}, expected {expected}"
