"""Requests that a server gets on the open Internet, and how each has to be answered.

Malformed, unusual and hostile ones (RFC 9110, RFC 9112, RFC 6455 §4.2), other protocols, probes,
and those that the hooks of an application answer. Knows nothing of how they are sent: that is
`requests_table.py`.
"""

from __future__ import annotations

import base64
import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from anyws.testing import CLOSE, TEXT, Frame

__all__ = ["KEY", "ROWS", "Row"]

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="

_FIELDS: dict[bytes, bytes | None] = {
    b"Host": b"localhost",
    b"Upgrade": b"websocket",
    b"Connection": b"Upgrade",
    b"Sec-WebSocket-Key": KEY,
    b"Sec-WebSocket-Version": b"13",
}


def handshake(
    first_line: bytes = b"GET / HTTP/1.1",
    *lines: bytes,
    **fields: bytes | None,
) -> bytes:
    """Return an opening handshake with some fields replaced, or left out if None.

    Args:
        first_line: without its end.
        lines: behind the fields, each without its end.
        fields: by name, with "_" for "-".
    """
    changed = _FIELDS | {name.replace("_", "-").encode(): v for name, v in fields.items()}
    usual = [name + b": " + value for name, value in changed.items() if value is not None]
    return b"\r\n".join([first_line, *usual, *lines, b"", b""])


def plain(first_line: bytes = b"GET / HTTP/1.1", *lines: bytes, body: bytes = b"") -> bytes:
    """Return a request that does not ask for an upgrade."""
    return b"\r\n".join([first_line, b"Host: localhost", *lines, b"", b""]) + body


def byte_by_byte(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + 1] for at in range(len(data)))


@dataclass(frozen=True, slots=True)
class Row:
    """A request, and its answer.

    Attributes:
        pieces: what is sent, one after the other.
        status: None if the connection ends without a byte.
        headers: some that the answer has; None for one that it has not.
        text: a part of the body.
        half_closes: the client says that it has no more to say.
        leaves: the client closes at once, and waits for nothing.
        is_late: the answer comes when the deadline of the handshake passes.
        errors: lines of the log at ERROR; there is none at any other level above DEBUG.
        then: what comes behind an upgrade; None for the echo of a message that is sent.
    """

    name: str
    pieces: tuple[bytes, ...]
    status: int | None
    headers: Mapping[str, str | None] = field(default_factory=dict)
    text: str = ""
    half_closes: bool = False
    leaves: bool = False
    is_late: bool = False
    errors: int = 0
    then: tuple[Frame, ...] | None = None

    @property
    def has_body(self) -> bool:
        """Whether the answer has one (RFC 9110 §9.3.2, §15.3.5, §15.4.5)."""
        return not self.pieces[0].startswith(b"HEAD ") and self.status not in (204, 304)


ROWS: list[Row] = []


def _add(
    status: int | None,
    requests: Mapping[str, bytes | tuple[bytes, ...]],
    text: str = "",
    *,
    headers: Mapping[str, str | None] | None = None,
    half_closes: bool = False,
    leaves: bool = False,
    is_late: bool = False,
    errors: int = 0,
    then: tuple[Frame, ...] | None = None,
) -> None:
    """Add rows with one answer."""
    for name, data in requests.items():
        pieces = (data,) if isinstance(data, bytes) else data
        ROWS.append(
            Row(
                name,
                pieces,
                status,
                headers or {},
                text,
                half_closes,
                leaves,
                is_late,
                errors,
                then,
            )
        )


_ALLOW_GET = {"allow": "GET"}
_TO_WEBSOCKET = {"upgrade": "websocket"}
_TO_VERSION_13 = {**_TO_WEBSOCKET, "sec-websocket-version": "13"}
_NO_SUBPROTOCOL = {"sec-websocket-protocol": None}
_NO_EXTENSION = {"sec-websocket-extensions": None}

# The first line

_add(
    400,
    {
        "garbage": b"\x00\x01garbage\r\n\r\n",
        "words": b"hello there\r\n\r\n",
        "HTTP/0.9": b"GET /\r\n\r\n",
        "HTTP/3": handshake(b"GET / HTTP/3"),
        "HTTP/1.10": handshake(b"GET / HTTP/1.10"),
        "http/1.1": handshake(b"GET / http/1.1"),
        "HTTPS/1.1": handshake(b"GET / HTTPS/1.1"),
        "no slash in the version": handshake(b"GET / HTTP1.1"),
        "two spaces": handshake(b"GET  / HTTP/1.1"),
        "two spaces before the version": handshake(b"GET /  HTTP/1.1"),
        "tabs for spaces": handshake(b"GET\t/\tHTTP/1.1"),
        "space at the end": handshake(b"GET / HTTP/1.1 "),
        "space at the beginning": handshake(b" GET / HTTP/1.1"),
        "blank line before it": b"\r\n" + handshake(),
        "blank lines only": b"\r\n\r\n",
        "no method": handshake(b" / HTTP/1.1"),
        "no target": handshake(b"GET  HTTP/1.1"),
        "method that is no token": handshake(b"GE(T / HTTP/1.1"),
        "method beyond ASCII": handshake(b"G\xc3\x89T / HTTP/1.1"),
        "an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    },
)
_add(
    505,
    {
        "version 0.9": handshake(b"GET / HTTP/0.9"),
        "version 2.0": handshake(b"GET / HTTP/2.0"),
        "version 3.0": handshake(b"GET / HTTP/3.0"),
        "preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    },
    "expected 1.1",
)
_add(
    426,
    {
        "version 1.0": handshake(b"GET / HTTP/1.0"),
        "version 1.0 without Host": b"GET / HTTP/1.0\r\n\r\n",
    },
    headers=_TO_WEBSOCKET,
)
# RFC 9110 §6.2: the highest minor version that the recipient knows is meant.
_add(101, {"version 1.2": handshake(b"GET / HTTP/1.2")})

# Methods

_add(
    405,
    {
        "POST": plain(b"POST / HTTP/1.1", b"Content-Length: 4", body=b"body"),
        "POST without a body": plain(b"POST / HTTP/1.1"),
        "POST with the fields of an upgrade": handshake(b"POST / HTTP/1.1"),
        "PUT": plain(b"PUT / HTTP/1.1", b"Content-Length: 4", body=b"body"),
        "DELETE": plain(b"DELETE / HTTP/1.1"),
        "OPTIONS": plain(b"OPTIONS / HTTP/1.1"),
        "OPTIONS of the server": plain(b"OPTIONS * HTTP/1.1"),
        "TRACE": plain(b"TRACE / HTTP/1.1"),
        "CONNECT": plain(b"CONNECT localhost:443 HTTP/1.1"),
        "CONNECT with the fields of an upgrade": handshake(b"CONNECT localhost:443 HTTP/1.1"),
        "a method that nobody knows": plain(b"BREW /pot HTTP/1.1"),
        "get in lower case": handshake(b"get / HTTP/1.1"),
        "method of 1 kB": plain(b"A" * 1000 + b" / HTTP/1.1"),
    },
    "is not allowed",
    headers=_ALLOW_GET,
)
_add(
    405,
    {
        "HEAD": plain(b"HEAD / HTTP/1.1"),
        "HEAD with the fields of an upgrade": handshake(b"HEAD / HTTP/1.1"),
        "HEAD in HTTP/1.0": b"HEAD / HTTP/1.0\r\n\r\n",
    },
    headers=_ALLOW_GET,
)

# Targets

_add(
    101,
    {
        "target of 10 kB": handshake(b"GET /" + b"a" * 10_000 + b" HTTP/1.1"),
        "target with odd characters": handshake(b"GET /<script>|\\^`{}\"'%zz HTTP/1.1"),
        "target with dots": handshake(b"GET /../../etc/passwd HTTP/1.1"),
        "target with two slashes": handshake(b"GET //example.com/ HTTP/1.1"),
        "absolute target": handshake(b"GET http://localhost/ HTTP/1.1"),
        "absolute target of ws": handshake(b"GET ws://localhost/chat?a=b HTTP/1.1"),
    },
)
_add(
    400,
    {
        "asterisk": handshake(b"GET * HTTP/1.1"),
        "authority": handshake(b"GET localhost:80 HTTP/1.1"),
        "target without a slash": handshake(b"GET chat HTTP/1.1"),
        "query without a path": handshake(b"GET ?a=b HTTP/1.1"),
        "target with a space": handshake(b"GET /a b HTTP/1.1"),
        "target with a control character": handshake(b"GET /\x07 HTTP/1.1"),
        "target with NUL": handshake(b"GET /\0 HTTP/1.1"),
        "target with DEL": handshake(b"GET /\x7f HTTP/1.1"),
        "target with a bare CR": handshake(b"GET /\rX: a HTTP/1.1"),
        "target in UTF-8": handshake("GET /käfer HTTP/1.1".encode()),
        "target with NEL": handshake(b"GET /\x85 HTTP/1.1"),
    },
)
_LONG = b"GET /" + b"a" * 20_000 + b" HTTP/1.1"
_add(
    414,
    {
        "target of 20 kB": handshake(_LONG),
        "target of 20 kB in pieces": (_LONG[:9000], _LONG[9000:18_000], handshake(_LONG)[18_000:]),
        "target of 20 kB without an end": _LONG,
        "target of 200 kB": handshake(b"GET /" + b"a" * 200_000 + b" HTTP/1.1"),
    },
)

# Header fields

_add(
    101,
    {
        "folded line": handshake(b"GET / HTTP/1.1", b"X: a", b"\t b"),
        "Connection in a folded line": handshake(Connection=b"\r\n Upgrade"),
        "bare LF": handshake().replace(b"\r\n", b"\n"),
        "no space behind the colon": handshake().replace(b": ", b":"),
        "spaces and tabs around values": handshake()
        .replace(b": ", b": \t ")
        .replace(b"3\r", b"3 \r"),
        "names in upper case": handshake().upper().replace(KEY.upper(), KEY),
        "value beyond ASCII": handshake(X="käfer".encode()),
        "empty value": handshake(X=b""),
        "300 fields": handshake(b"GET / HTTP/1.1", *[b"X: a"] * 300),
        "names of JavaScript": handshake(b"GET / HTTP/1.1", b"__proto__: a", b"constructor: b"),
    },
)
_add(
    400,
    {
        "folded line before the first": handshake(b"GET / HTTP/1.1\r\n X: a"),
        "space before the colon": handshake(b"GET / HTTP/1.1", b"X : a"),
        "tab before the colon": handshake(b"GET / HTTP/1.1", b"X\t: a"),
        "no colon": handshake(b"GET / HTTP/1.1", b"X"),
        "no name": handshake(b"GET / HTTP/1.1", b": a"),
        "name with a space": handshake(b"GET / HTTP/1.1", b"X Y: a"),
        "name beyond ASCII": handshake(b"GET / HTTP/1.1", b"X\xe9: a"),
        "NUL": handshake(X=b"a\0b"),
        "DEL": handshake(X=b"a\x7fb"),
        "escape sequence of a terminal": handshake(User_Agent=b"\x1b[2J\x1b]0;title\x07"),
        "bare CR": handshake(X=b"a\rUpgrade: websocket"),
        "field behind a vertical tab": handshake(X=b"a\x0bSec-WebSocket-Protocol: a"),
        "field behind a form feed": handshake(X=b"a\x0cSec-WebSocket-Protocol: a"),
        "field behind \\x1c": handshake(X=b"a\x1cSec-WebSocket-Protocol: a"),
        "field behind \\x1d": handshake(X=b"a\x1dSec-WebSocket-Protocol: a"),
        "field behind \\x1e": handshake(X=b"a\x1eSec-WebSocket-Protocol: a"),
        "control character in a folded line": handshake(b"GET / HTTP/1.1", b"X: a", b" \x1eb"),
    },
)
# U+0085 ends a line for str.splitlines, and U+2028 does; neither does in HTTP.
_add(
    426,
    {
        "Upgrade behind NEL": handshake(Upgrade=None, X=b"a\x85Upgrade: websocket"),
        "Upgrade behind a line separator": handshake(
            Upgrade=None, X=b"a\xe2\x80\xa8Upgrade: websocket"
        ),
        "field of another encoding": handshake(Upgrade=None, Connection=None, X=b"\xff\xfe"),
    },
    headers=_TO_WEBSOCKET,
)
_add(
    431,
    {
        "3,000 fields": handshake(b"GET / HTTP/1.1", *[b"X: a"] * 3000),
        "200 kB in a field": handshake(X=b"x" * 200_000),
        "200 kB in a field without an end": handshake(X=b"x" * 200_000)[:-4],
        "name of 20 kB": handshake(b"GET / HTTP/1.1", b"x" * 20_000 + b": a"),
        "folded line of 20 kB": handshake(b"GET / HTTP/1.1", b"X: a", *[b" b"] * 5000),
        "subprotocols of 64 kB": handshake(Sec_WebSocket_Protocol=b"a," * 32_768),
        "extensions of 64 kB": handshake(Sec_WebSocket_Extensions=b"a;" * 32_768),
        "16 KiB in pieces": (handshake()[:-2], b"X: " + b"x" * 9000, b"x" * 9000),
    },
)

# Host

_add(
    101,
    {
        "Host with a port": handshake(Host=b"localhost:8080"),
        "Host with an empty port": handshake(Host=b"localhost:"),
        "Host that is an IPv6 address": handshake(Host=b"[::1]:80"),
        "Host in upper case": handshake(Host=b"LOCALHOST"),
    },
)
_add(
    400,
    {
        "no Host": handshake(Host=None),
        "no Host in version 1.2": handshake(b"GET / HTTP/1.2", Host=None),
        "two Hosts": handshake(b"GET / HTTP/1.1", b"Host: example.com"),
        "Host twice": handshake(b"GET / HTTP/1.1", b"host: localhost"),
        "two Hosts in HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n",
        "empty Host": handshake(Host=b""),
        "Host with userinfo": handshake(Host=b"user:secret@localhost"),
        "Host with a path": handshake(Host=b"localhost/a"),
        "Host with a scheme": handshake(Host=b"http://localhost"),
        "Host with a space": handshake(Host=b"local host"),
        "Host with port 99999": handshake(Host=b"localhost:99999"),
        "Host with a port of 9,000 digits": handshake(Host=b"localhost:" + b"9" * 9000),
        "Host with a port that is none": handshake(Host=b"localhost:http"),
        "Host with half an IPv6 address": handshake(Host=b"[::1"),
        "Host beyond ASCII": handshake(Host="käfer.example".encode()),
        "bad Host of a plain request": b"GET /page HTTP/1.1\r\nHost: a/b\r\n\r\n",
    },
)

# Bodies

_POST = b"POST / HTTP/1.1"
_CHUNKED = b"Transfer-Encoding: chunked"
_add(
    400,
    {
        "two lengths": plain(_POST, b"Content-Length: 5", _CHUNKED, body=b"0\r\n\r\n"),
        "two lengths the other way": plain(
            _POST, _CHUNKED, b"Content-Length: 5", body=b"0\r\n\r\n"
        ),
        "Content-Length twice": plain(_POST, b"Content-Length: 5", b"Content-Length: 6"),
        "Content-Length of a list": plain(_POST, b"Content-Length: 5, 6"),
        "Content-Length below zero": plain(_POST, b"Content-Length: -5"),
        "Content-Length with a plus": plain(_POST, b"Content-Length: +5"),
        "Content-Length in hexadecimal": plain(_POST, b"Content-Length: 0x5"),
        "Content-Length that is none": plain(_POST, b"Content-Length: five"),
        "empty Content-Length": plain(_POST, b"Content-Length: "),
        "Content-Length in other digits": plain(_POST, b"Content-Length: \xd9\xa5"),
        "Content-Length of 9,000 digits": plain(_POST, b"Content-Length: " + b"9" * 9000),
        "chunk without a size": plain(_POST, _CHUNKED, body=b"x\r\n\r\n"),
        "chunk below zero": plain(_POST, _CHUNKED, body=b"-5\r\nhello\r\n0\r\n\r\n"),
        "chunk with 0x": plain(_POST, _CHUNKED, body=b"0x5\r\nhello\r\n0\r\n\r\n"),
        "chunk of 21 digits": plain(_POST, _CHUNKED, body=b"0" * 20 + b"5\r\nhello\r\n0\r\n\r\n"),
        "chunk without its end": plain(_POST, _CHUNKED, body=b"5\r\nhello0\r\n\r\n"),
        "chunk that is longer": plain(_POST, _CHUNKED, body=b"5\r\nhello!\r\n0\r\n\r\n"),
        "trailer that is none": plain(_POST, _CHUNKED, body=b"0\r\nX\r\n\r\n"),
        "body in an upgrade": handshake(Content_Length=b"5") + b"hello",
        "chunked body in an upgrade": handshake(Transfer_Encoding=b"chunked") + b"0\r\n\r\n",
    },
)
_add(
    501,
    {
        "gzip": plain(_POST, b"Transfer-Encoding: gzip", body=b"hello"),
        "gzip, chunked": plain(_POST, b"Transfer-Encoding: gzip, chunked", body=b"0\r\n\r\n"),
        "chunked, gzip": plain(_POST, b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"),
        "chunked twice": plain(_POST, _CHUNKED, _CHUNKED, body=b"0\r\n\r\n"),
        "an encoding like chunked": plain(_POST, b"Transfer-Encoding: xchunked", body=b"0\r\n\r\n"),
        "identity": plain(_POST, b"Transfer-Encoding: identity", body=b"hello"),
    },
)
_add(
    413,
    {
        "body of 1 GB": plain(_POST, b"Content-Length: 1000000000"),
        "body of 20 digits": plain(_POST, b"Content-Length: " + b"9" * 20),
        "body of 100 kB": plain(_POST, b"Content-Length: 100000", body=bytes(100_000)),
        "body of 1 GB that waits to be asked for": plain(
            _POST, b"Content-Length: 1000000000", b"Expect: 100-continue"
        ),
        "chunk of 1 GB": plain(_POST, _CHUNKED, body=b"3b9aca00\r\n" + bytes(100_000)),
        "chunks of 100 kB": plain(_POST, _CHUNKED, body=(b"1000\r\n" + bytes(4096) + b"\r\n") * 25),
        "chunks with long extensions": plain(
            _POST, _CHUNKED, body=(b"1;" + b"a" * 10_000 + b"\r\nx\r\n") * 20
        ),
        "body of 100 kB to a page": plain(b"POST /page HTTP/1.1", b"Content-Length: 100000"),
    },
)
_add(
    405,
    {
        "body of 64 KiB": plain(_POST, b"Content-Length: 65536", body=bytes(65536)),
        "chunks": plain(_POST, _CHUNKED, body=b"5;a=b\r\nhello\r\n0\r\nX: a\r\n\r\n"),
        "chunks byte by byte": byte_by_byte(
            plain(_POST, _CHUNKED, body=b"5;a=b\r\nhello\r\n00\r\nX: a\r\n\r\n")
        ),
        "Content-Length twice the same": plain(
            _POST, b"Content-Length: 5", b"Content-Length: 5", body=b"hello"
        ),
        "body that waits to be asked for": plain(
            _POST, b"Content-Length: 5", b"Expect: 100-continue"
        ),
        "chunks that wait to be asked for": plain(_POST, _CHUNKED, b"Expect: 100-continue"),
        "body that does not wait": plain(
            _POST, b"Content-Length: 5", b"Expect: 100-continue", body=b"hello"
        ),
        "an expectation that nobody knows": plain(_POST, b"Expect: miracles"),
    },
    headers=_ALLOW_GET,
)
_add(426, {"GET with a body": plain(b"GET / HTTP/1.1", b"Content-Length: 5", body=b"hello")})
_add(
    101,
    {
        "Content-Length of 0": handshake(Content_Length=b"0"),
        "Expect in an upgrade": handshake(Expect=b"100-continue"),
        "Expect in an upgrade in pieces": (
            handshake(Expect=b"100-continue")[:40],
            handshake(Expect=b"100-continue")[40:],
        ),
    },
)

# Upgrade and Connection

_add(
    101,
    {
        "Connection: keep-alive, Upgrade": handshake(Connection=b"keep-alive, Upgrade"),
        "Connection: Upgrade, close": handshake(Connection=b"Upgrade, close"),
        "Connection in two lines": handshake(b"GET / HTTP/1.1", b"Connection: keep-alive"),
        "Connection in two lines the other way": handshake(
            b"GET / HTTP/1.1", b"Connection: Upgrade", Connection=b"keep-alive"
        ),
        "Connection with empty members": handshake(Connection=b",, Upgrade ,\t,"),
        "Connection: uPGRADE": handshake(Connection=b"uPGRADE"),
        "Upgrade: WebSocket": handshake(Upgrade=b"WebSocket"),
        "Upgrade: h2c, websocket": handshake(Upgrade=b"h2c, websocket"),
    },
)
_add(
    426,
    {
        "GET": plain(),
        "Upgrade: h2c": handshake(Upgrade=b"h2c"),
        "Upgrade: websocket2": handshake(Upgrade=b"websocket2"),
        "Upgrade: websocket/13": handshake(Upgrade=b"websocket/13"),
        "Upgrade: web socket": handshake(Upgrade=b"web socket"),
        "no Upgrade": handshake(Upgrade=None),
        "empty Upgrade": handshake(Upgrade=b""),
        "no Connection": handshake(Connection=None),
        "Connection: close": handshake(Connection=b"close"),
        "Connection: keep-alive": handshake(Connection=b"keep-alive"),
        "Connection: Upgraded": handshake(Connection=b"Upgraded"),
        "Connection: Up, grade": handshake(Connection=b"Up, grade"),
    },
    "upgrade to websocket",
    headers=_TO_WEBSOCKET,
)

# Versions and keys

_add(
    426,
    {
        "WebSocket version 0": handshake(Sec_WebSocket_Version=b"0"),
        "WebSocket version 8": handshake(Sec_WebSocket_Version=b"8"),
        "WebSocket versions 13, 8": handshake(Sec_WebSocket_Version=b"13, 8"),
        "WebSocket versions 8, 14": handshake(Sec_WebSocket_Version=b"8, 14"),
        "WebSocket version 13 twice": handshake(b"GET / HTTP/1.1", b"Sec-WebSocket-Version: 13"),
        "WebSocket version 013": handshake(Sec_WebSocket_Version=b"013"),
        "WebSocket version -13": handshake(Sec_WebSocket_Version=b"-13"),
        "WebSocket version of 9,000 digits": handshake(Sec_WebSocket_Version=b"9" * 9000),
        "WebSocket version in other digits": handshake(Sec_WebSocket_Version=b"\xd9\xa1\xd9\xa3"),
        "no WebSocket version": handshake(Sec_WebSocket_Version=None),
        "draft 76": handshake(
            b"GET / HTTP/1.1",
            b"Sec-WebSocket-Key1: 4 @1  46546xW%0l 1 5",
            b"Sec-WebSocket-Key2: 12998 5 Y3 1  .P00",
            Sec_WebSocket_Key=None,
            Sec_WebSocket_Version=None,
        )
        + b"^n:ds[4U",
    },
    "Sec-WebSocket-Version",
    headers=_TO_VERSION_13,
)
_add(
    400,
    {
        "no key": handshake(Sec_WebSocket_Key=None),
        "empty key": handshake(Sec_WebSocket_Key=b""),
        "key of 15 bytes": handshake(Sec_WebSocket_Key=base64.b64encode(bytes(15))),
        "key of 17 bytes": handshake(Sec_WebSocket_Key=base64.b64encode(bytes(17))),
        "key of 9 kB": handshake(Sec_WebSocket_Key=b"A" * 9000),
        "key that is no base64": handshake(Sec_WebSocket_Key=b"dGhlIHNhbXBsZSBub25jZ!=="),
        "key without padding": handshake(Sec_WebSocket_Key=KEY.rstrip(b"=")),
        "key with more behind it": handshake(Sec_WebSocket_Key=KEY + b"AA"),
        "key with a space in it": handshake(Sec_WebSocket_Key=b"dGhlIHNh bXBsZSBub25jZQ=="),
        "key beyond ASCII": handshake(Sec_WebSocket_Key=b"\xe9" * 22 + b"=="),
        "two keys": handshake(b"GET / HTTP/1.1", b"Sec-WebSocket-Key: " + KEY),
    },
    "Sec-WebSocket-Key",
)

# Subprotocols and extensions

_add(
    101,
    {
        "subprotocol that is supported": handshake(Sec_WebSocket_Protocol=b"soap, chat"),
        "subprotocols with empty members": handshake(Sec_WebSocket_Protocol=b",, chat ,\t,"),
        "subprotocols in two lines": handshake(
            b"GET / HTTP/1.1", b"Sec-WebSocket-Protocol: chat", Sec_WebSocket_Protocol=b"soap"
        ),
        "subprotocol that comes twice": handshake(Sec_WebSocket_Protocol=b"chat, chat"),
    },
    headers={"sec-websocket-protocol": "chat"},
)
_add(
    101,
    {
        "subprotocol that nobody knows": handshake(Sec_WebSocket_Protocol=b"soap"),
        "subprotocol in another case": handshake(Sec_WebSocket_Protocol=b"CHAT"),
        "subprotocols of JavaScript": handshake(Sec_WebSocket_Protocol=b"constructor, __proto__"),
        "256 subprotocols": handshake(Sec_WebSocket_Protocol=b"a, " * 255 + b"b"),
        "10 kB of commas": handshake(Sec_WebSocket_Protocol=b"," * 10_000),
        "empty subprotocols": handshake(Sec_WebSocket_Protocol=b""),
    },
    headers=_NO_SUBPROTOCOL,
)
_add(
    400,
    {
        "subprotocol with a space": handshake(Sec_WebSocket_Protocol=b"a b"),
        "subprotocol with a slash": handshake(Sec_WebSocket_Protocol=b"chat, mqtt/3"),
        "subprotocol with a quote": handshake(Sec_WebSocket_Protocol=b'"chat'),
        "subprotocol beyond ASCII": handshake(Sec_WebSocket_Protocol="käfer".encode()),
        "subprotocol with an emoji": handshake(Sec_WebSocket_Protocol="\U0001f41b".encode()),
        "5,000 subprotocols": handshake(Sec_WebSocket_Protocol=b"a, " * 5000 + b"b"),
        "10 kB of quotes": handshake(Sec_WebSocket_Protocol=b'"\\' * 5000),
    },
)
_add(
    101,
    {
        "compression": handshake(Sec_WebSocket_Extensions=b"permessage-deflate"),
        "compression among empty members": handshake(
            Sec_WebSocket_Extensions=b",, permessage-deflate ,\t,"
        ),
        "compression behind what cannot be": handshake(
            Sec_WebSocket_Extensions=b"permessage-deflate; nonsense, permessage-deflate"
        ),
    },
    headers={"sec-websocket-extensions": "permessage-deflate; server_max_window_bits=12"},
)
_add(
    101,
    {
        "extension that nobody knows": handshake(Sec_WebSocket_Extensions=b"x-webkit; a=b; c"),
        "extensions of JavaScript": handshake(
            Sec_WebSocket_Extensions=b"constructor; __proto__=1, __proto__; toString"
        ),
        "compression with a window of 99": handshake(
            Sec_WebSocket_Extensions=b"permessage-deflate; server_max_window_bits=99"
        ),
        "compression with a window of 9,000 digits": handshake(
            Sec_WebSocket_Extensions=b"permessage-deflate; server_max_window_bits=" + b"9" * 9000
        ),
        "compression with a parameter twice": handshake(
            Sec_WebSocket_Extensions=b"permessage-deflate; client_no_context_takeover; "
            b"client_no_context_takeover"
        ),
        "compression in another case": handshake(Sec_WebSocket_Extensions=b"PerMessage-Deflate"),
        "100 extensions": handshake(Sec_WebSocket_Extensions=b"a; b=c, " * 99 + b"a"),
    },
    headers=_NO_EXTENSION,
)
_add(
    400,
    {
        "extension without a name": handshake(Sec_WebSocket_Extensions=b"; a=b"),
        "extension with a quote that does not end": handshake(Sec_WebSocket_Extensions=b'a; b="c'),
        "extension with a value that is no token": handshake(
            Sec_WebSocket_Extensions=b'a; b="c d"'
        ),
        "extension beyond ASCII": handshake(Sec_WebSocket_Extensions="käfer".encode()),
        "10 kB of backslashes in quotes": handshake(
            Sec_WebSocket_Extensions=b'a; b="' + b"\\" * 10_000
        ),
        "2,000 extensions": handshake(Sec_WebSocket_Extensions=b"a; b=c, " * 1999 + b"a"),
        "10 kB of semicolons": handshake(Sec_WebSocket_Extensions=b"a" + b";" * 10_000),
    },
)

# Origin

_add(
    101,
    {
        "origin of the same host": handshake(Origin=b"http://localhost"),
        "origin of the same host with its port": handshake(
            Host=b"localhost:80", Origin=b"http://localhost"
        ),
    },
)
_add(
    403,
    {
        "origin of another site": handshake(Origin=b"https://evil.example"),
        "origin null": handshake(Origin=b"null"),
        "origin that ends like the host": handshake(Origin=b"http://evil-localhost"),
        "origin that begins like the host": handshake(Origin=b"http://localhost.evil.example"),
        "origin with userinfo": handshake(Origin=b"http://localhost@evil.example"),
        "origin with a path": handshake(Origin=b"http://localhost/"),
        "origin of another port": handshake(Origin=b"http://localhost:8080"),
        "two origins": handshake(b"GET / HTTP/1.1", Origin=b"http://localhost http://localhost"),
        "origin in two lines": handshake(
            b"GET / HTTP/1.1", b"Origin: http://localhost", Origin=b"http://localhost"
        ),
        "empty origin": handshake(Origin=b""),
        "origin beyond ASCII": handshake(Origin="http://localhöst".encode()),
        "origin of 10 kB": handshake(Origin=b"http://" + b"a." * 5000),
    },
)

# Other protocols


def _tls_hello() -> bytes:
    """Return the first message of a TLS client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


_add(
    400,
    {
        "TLS": _tls_hello(),
        "TLS in pieces": byte_by_byte(_tls_hello()[:60]),
        "SOCKS 5": b"\x05\x01\x00",
        "PROXY version 1": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + handshake(),
        "PROXY version 2": b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c" + bytes(12) + handshake(),
        "SIP": b"OPTIONS sip:a@localhost SIP/2.0\r\nVia: SIP/2.0/TCP a\r\n\r\n",
        "RTSP": b"OPTIONS / RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        "SMTP": b"EHLO localhost\r\n\r\n",
    },
)
_add(400, {"SSH": b"SSH-2.0-OpenSSH_9.6\r\n"}, half_closes=True)
_add(
    408,
    {
        "SSH that waits": b"SSH-2.0-OpenSSH_9.6\r\n",
        "Redis": b"*1\r\n$4\r\nPING\r\n",
    },
    is_late=True,
)

# How it comes, and how it ends

_add(
    101,
    {
        "an upgrade byte by byte": byte_by_byte(handshake()),
        "an upgrade in halves": (handshake()[:70], handshake()[70:]),
    },
)
_add(426, {"a GET byte by byte": byte_by_byte(plain())}, headers=_TO_WEBSOCKET)
_add(
    426,
    {"two GETs at once": plain() * 2, "a GET with frames behind it": plain() + bytes(100)},
    headers=_TO_WEBSOCKET,
)
_add(
    101,
    {
        "a frame behind the upgrade": handshake() + Frame(TEXT, b"early").encode(mask=b"mask"),
    },
    then=(Frame(TEXT, b"early"),),
)
_add(
    101,
    {
        "two upgrades at once": handshake() * 2,
        "garbage behind the upgrade": handshake() + b"\xff\xff",
    },
    then=(Frame(CLOSE, (1002).to_bytes(2, "big")),),
)
_add(101, {"an upgrade and no more": handshake()}, half_closes=True, then=())
_add(426, {"a GET and no more": plain()}, half_closes=True, headers=_TO_WEBSOCKET)
_add(
    400,
    {
        "half a first line": b"GET / HT",
        "half an upgrade": handshake()[:70],
        "half a line end": handshake()[:-1],
        "a bare CR for every line end": handshake().replace(b"\r\n", b"\r"),
        "half a body": plain(_POST, b"Content-Length: 10", body=b"hello"),
        "half a chunk": plain(_POST, _CHUNKED, body=b"a\r\nhello"),
    },
    half_closes=True,
)
_add(None, {"nothing and no more": b""}, half_closes=True)
_add(None, {"nothing at all": b""}, leaves=True)
_add(
    None,
    {"half an upgrade and gone": handshake()[:70], "an upgrade and gone": handshake()},
    leaves=True,
)
_add(
    408,
    {
        "nothing until the deadline": b"",
        "half an upgrade until the deadline": handshake()[:70],
        "half a body until the deadline": plain(_POST, b"Content-Length: 10", body=b"hello"),
    },
    "took too long",
    is_late=True,
)

# What hooks answer, and the health check

_add(
    200,
    {
        "page": plain(b"GET /page HTTP/1.1"),
        "page in HTTP/1.0": b"GET /page HTTP/1.0\r\n\r\n",
        "page by POST": plain(b"POST /page HTTP/1.1", b"Content-Length: 5", body=b"hello"),
        "page by chunks": plain(b"POST /page HTTP/1.1", _CHUNKED, body=b"5\r\nhello\r\n0\r\n\r\n"),
        "page by a method that nobody knows": plain(b"BREW /page HTTP/1.1"),
        "page for an upgrade": handshake(b"GET /page HTTP/1.1"),
        "page from later on": plain(b"GET /later HTTP/1.1"),
    },
    "hello\n",
    headers={"content-length": "6", "x-page": "1"},
)
_add(
    200,
    {
        "page by HEAD": plain(b"HEAD /page HTTP/1.1"),
        "page by HEAD in HTTP/1.0": b"HEAD /page HTTP/1.0\r\n\r\n",
    },
    headers={"content-length": "6", "x-page": "1"},
)
_add(200, {"page of 1 MB": plain(b"GET /large HTTP/1.1")}, headers={"content-length": "1000000"})
# RFC 9110 §8.6: it may be that of another answer.
_add(200, {"page of any length by HEAD": plain(b"HEAD /short HTTP/1.1")})
_add(204, {"page without content": plain(b"GET /204 HTTP/1.1")}, headers={"content-length": None})
_add(304, {"page not modified": plain(b"GET /304 HTTP/1.1")}, headers={"content-length": None})
_add(
    200,
    {
        "health": plain(b"GET /healthz HTTP/1.1"),
        "health in HTTP/1.0": b"GET /healthz HTTP/1.0\r\n\r\n",
        "health with a query": plain(b"GET /healthz?deep=1 HTTP/1.1"),
        "health by an absolute target": plain(b"GET http://localhost/healthz HTTP/1.1"),
        "health for an upgrade": handshake(b"GET /healthz HTTP/1.1"),
        "health by HEAD": plain(b"HEAD /healthz HTTP/1.1"),
    },
    headers={"content-length": "3", "cache-control": "no-store"},
)
_add(
    405,
    {"health by POST": plain(b"POST /healthz HTTP/1.1", b"Content-Length: 5", body=b"hello")},
    headers={"allow": "GET, HEAD"},
)
_add(
    500,
    {
        "hook that raises": plain(b"GET /raises HTTP/1.1"),
        "hook that raises later on": plain(b"GET /raises-later HTTP/1.1"),
        "hook that returns nonsense": plain(b"GET /nonsense HTTP/1.1"),
        "hook that returns a status below 100": plain(b"GET /20 HTTP/1.1"),
        "hook that returns 101": handshake(b"GET /101 HTTP/1.1"),
        "hook with a field in a field": plain(b"GET /injects HTTP/1.1"),
        "hook with a wrong Content-Length": plain(b"GET /short HTTP/1.1"),
        "hook that answers CONNECT": plain(b"CONNECT page:80 HTTP/1.1"),
    },
    errors=1,
)
_add(503, {"hook that never ends": plain(b"GET /never HTTP/1.1")}, "took too long", is_late=True)
_add(
    503,
    {"hook that never ends for an upgrade": handshake(b"GET /never HTTP/1.1")},
    "took too long",
    is_late=True,
)
