"""HTTP values of the opening handshake: header fields, request and response.

Owns what is common to HTTP/1.1 and later versions. It must not know how they are put on the wire.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass, field
from itertools import pairwise
from urllib.parse import parse_qs

from .._errors import LocalProtocolError
from .grammar import is_token, split_tokens

__all__ = [
    "Headers",
    "HeadersLike",
    "Request",
    "Response",
    "check_text",
    "credentials",
]

# RFC 9110 §5.5: of the control characters only the tab may stand in a line.
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NOT_LATIN_1 = re.compile(r"[^\x00-\xff]")

# RFC 6750 §2.1
_B64TOKEN = re.compile(r"[-._~+/0-9A-Za-z]+=*")
# RFC 9112 §3.2.2: what a target has before its path if it is a whole URI.
_BEFORE_PATH = re.compile(r"[A-Za-z][-+.0-9A-Za-z]*://[^/?]*")


class Headers(MutableMapping[str, str]):
    """Header fields: names without regard to case, several values to a name, order kept.

    `headers[name]` is the value, or all of them joined by ", " where a name came more than once
    (RFC 9110 §5.3); `get_all(name)` lists them. `headers[name] = value` replaces them all,
    `add(name, value)` adds one.

    Raises:
        LocalProtocolError: a name that is no token, or a value with control characters in it or
            characters outside ISO-8859-1.

    >>> headers = Headers({"Accept-Language": "fr"})
    >>> headers.add("accept-language", "de")
    >>> headers["ACCEPT-LANGUAGE"], headers.get_all("Accept-Language")
    ('fr, de', ['fr', 'de'])
    """

    __slots__ = ("_built", "_lines")

    def __init__(self, fields: HeadersLike = ()) -> None:
        self._lines = b""
        self._built: list[tuple[str, str]] | None = []
        pairs = fields.items() if isinstance(fields, Mapping) else fields
        if isinstance(fields, Headers):
            pairs = fields.multi_items()
        for name, value in pairs:
            self.add(name, value)

    @classmethod
    def from_wire(cls, fields: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Build from fields that an HTTP parser has checked already."""
        headers = cls.__new__(cls)
        headers._lines = b""
        headers._built = [
            (name.decode("ascii"), value.decode("iso-8859-1")) for name, value in fields
        ]
        return headers

    @classmethod
    def from_lines(cls, lines: bytes) -> Headers:
        """Build from field lines (RFC 9112 §5) that have been checked, each with its CRLF.

        They are kept as they are until somebody looks: most connections are never asked for their
        headers, and this takes a fifth of the memory.
        """
        headers = cls.__new__(cls)
        headers._lines = lines
        headers._built = None
        return headers

    @property
    def _fields(self) -> list[tuple[str, str]]:
        if self._built is None:
            self._built = _read_lines(self._lines)
            self._lines = b""
        return self._built

    @_fields.setter
    def _fields(self, fields: list[tuple[str, str]]) -> None:
        self._built = fields

    def __getitem__(self, name: str) -> str:
        values = self.get_all(name)
        if not values:
            raise KeyError(name)
        return ", ".join(values)

    def __setitem__(self, name: str, value: str) -> None:
        field = _field(name, value)
        self.discard(name)
        self._fields.append(field)

    def __delitem__(self, name: str) -> None:
        if not self.discard(name):
            raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter({name.lower(): None for name, _ in self._fields})

    def __len__(self) -> int:
        return len({name.lower() for name, _ in self._fields})

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and bool(self.get_all(name))

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Headers):
            return NotImplemented
        return [(n.lower(), v) for n, v in self._fields] == [
            (n.lower(), v) for n, v in other._fields
        ]

    __hash__ = None  # type: ignore[assignment]  # mutable

    def add(self, name: str, value: str) -> None:
        """Add a field behind those that are there."""
        self._fields.append(_field(name, value))

    def get_all(self, name: str) -> list[str]:
        """Return the values of `name` in order, none if it is not there."""
        wanted = name.lower()
        if self._built is None:
            return _find_values(self._lines, wanted)
        return [value for n, value in self._built if n.lower() == wanted]

    def discard(self, name: str) -> bool:
        """Remove all fields called `name`; say whether there were any."""
        wanted = name.lower()
        kept = [(n, value) for n, value in self._fields if n.lower() != wanted]
        removed = len(kept) < len(self._fields)
        self._fields = kept
        return removed

    def grouped(self) -> dict[str, list[str]]:
        """Return the values of each name, which is in lower case; to look up several of them."""
        fields = _read_lines(self._lines) if self._built is None else self._built
        groups: dict[str, list[str]] = {}
        for name, value in fields:
            groups.setdefault(name.lower(), []).append(value)
        return groups

    def to_lines(self) -> bytes:
        """Return the field lines (RFC 9112 §5), each with its CRLF."""
        if self._built is None:
            return self._lines
        return "".join([f"{name}: {value}\r\n" for name, value in self._built]).encode("iso-8859-1")

    def multi_items(self) -> list[tuple[str, str]]:
        """Return every field as it came, in order."""
        return list(self._fields)


HeadersLike = Headers | Mapping[str, str] | Iterable[tuple[str, str]]


@dataclass(slots=True)
class Request:
    """The request of an opening handshake (RFC 6455 §4.1).

    Attributes:
        path: the request target: path and query.
        headers: as received, or to be sent.
        method: "GET" unless somebody sends something else.
        http_version: "1.1".

    The properties read the header fields, or the target, anew each time.

    >>> request = Request("/chat?room=tea&room=cake", Headers({"Cookie": "id=7; theme=dark"}))
    >>> request.path_without_query, request.query, request.cookies
    ('/chat', {'room': ['tea', 'cake']}, {'id': '7', 'theme': 'dark'})
    """

    path: str
    headers: Headers = field(default_factory=Headers)
    method: str = "GET"
    http_version: str = "1.1"
    # The subprotocol that came before a token among them ("bearer" in any case), once
    # `bearer_token` has taken it from there: a browser wants one of them in the answer.
    _bearer_subprotocol: str | None = field(default=None, init=False, repr=False, compare=False)

    @property
    def path_without_query(self) -> str:
        """The path alone, percent-encoded as it came.

        A target that is a whole URI (RFC 9112 §3.2.2) has that of the URI.
        """
        return self._split_target()[0]

    @property
    def query(self) -> dict[str, list[str]]:
        """The parameters of the query, percent-decoded: all values of each name, empty ones too.

        Bytes that are not UTF-8 become U+FFFD.
        """
        return parse_qs(self._split_target()[1], keep_blank_values=True)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies (RFC 6265 §5.4): name to value, the first one of a name; without quotes.

        What has no name, or no "=", is left out.
        """
        cookies: dict[str, str] = {}
        for line in self.headers.get_all("Cookie"):
            for pair in line.split(";"):
                name, equals, value = pair.partition("=")
                name, value = name.strip(" \t"), value.strip(" \t")
                if len(value) >= 2 and value[0] == value[-1] == '"':
                    value = value[1:-1]
                if name and equals:
                    cookies.setdefault(name, value)
        return cookies

    def bearer_token(self) -> str | None:
        """Return the token that came with the request, None if there is none (RFC 6750 §2.1).

        It is that of `Authorization: Bearer <token>`, or else that of
        `Sec-WebSocket-Protocol: bearer, <token>`: a web page cannot set any other header. Whether
        it is worth anything is for the application to find out.
        """
        token = credentials(self.headers, "bearer")
        if token is not None and _B64TOKEN.fullmatch(token):
            return token
        try:
            offered = split_tokens(self.headers.get_all("Sec-WebSocket-Protocol"))
        except ValueError:
            return None
        for name, token in pairwise(offered):
            if name.lower() == "bearer":
                if not _B64TOKEN.fullmatch(token):
                    return None
                self._bearer_subprotocol = name
                return token
        return None

    def _split_target(self) -> tuple[str, str]:
        """Return the path and the query of the target."""
        before = _BEFORE_PATH.match(self.path)
        path, _, query = self.path[before.end() if before else 0 :].partition("?")
        return path or "/", query


@dataclass(slots=True)
class Response:
    """The response of an opening handshake (RFC 6455 §4.2.2), or a refusal with a body.

    Attributes:
        status_code: 101 where the handshake succeeds.
        headers: as received, or to be sent; Content-Length is added where there is a body.
        body: of a refusal; a received one may be cut at 64 KiB.
        reason_phrase: the usual one if not given.
    """

    status_code: int
    headers: Headers = field(default_factory=Headers)
    body: bytes = b""
    reason_phrase: str = ""

    def __post_init__(self) -> None:
        if not self.reason_phrase:
            from http import HTTPStatus  # for refusals only

            try:
                self.reason_phrase = HTTPStatus(self.status_code).phrase
            except ValueError:
                self.reason_phrase = ""


def check_text(what: str, text: str) -> None:
    """Check what is to stand within a line of HTTP/1.1 (RFC 9110 §5.5, RFC 9112 §4).

    Raises:
        LocalProtocolError: `what`, as the message calls it, would end the line, or could be taken
            for its end, or cannot be encoded.
    """
    if _NOT_LATIN_1.search(text):
        raise LocalProtocolError(f"{what} has characters outside ISO-8859-1")
    if _CONTROL.search(text):
        raise LocalProtocolError(f"{what} has control characters")


def credentials(headers: Headers, scheme: str) -> str | None:
    """Return what Authorization says after its scheme (RFC 9110 §11.4).

    None if there is no such header or more than one, or if the scheme, in lower case, is another.
    """
    values = headers.get_all("Authorization")
    if len(values) != 1:
        return None
    name, _, rest = values[0].partition(" ")
    return rest.strip(" ") if name.lower() == scheme else None


def _read_lines(lines: bytes) -> list[tuple[str, str]]:
    """Take field lines apart."""
    pairs = [line.partition(":") for line in lines.decode("iso-8859-1").split("\r\n")[:-1]]
    return [(name, value.strip(" \t")) for name, _, value in pairs]


def _find_values(lines: bytes, name: str) -> list[str]:
    """Return the values of one name, in lower case, without taking all lines apart."""
    if not name.isascii():
        return []
    folded = b"\n" + lines.lower()
    key = b"\n%s:" % name.encode("ascii")
    values = []
    at = folded.find(key)
    while at >= 0:
        start = at + len(key)
        end = folded.index(b"\r\n", start)
        # There is one byte more in `folded`.
        values.append(lines[start - 1 : end - 1].decode("iso-8859-1").strip(" \t"))
        at = folded.find(key, end)
    return values


def _field(name: str, value: str) -> tuple[str, str]:
    if not is_token(name):
        raise LocalProtocolError(f"header name {name!r} is not a token (RFC 9110 §5.1)")
    check_text(f"value of header {name}", value)
    return name, value.strip(" \t")
