"""WebSocket URIs (RFC 6455 §3).

Owns their grammar. It must not know how a host is reached.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote, urlsplit

from .._errors import InvalidURI
from .host import ascii_host

__all__ = ["URI", "parse_uri"]

_DEFAULT_PORTS = {"ws": 80, "wss": 443}

# RFC 3986 §3.3, §3.4: what may stand in a path and query as it is; the rest is percent-encoded.
_SAFE_IN_PATH = "/%:@!$&'()*+,;=~-._"

# RFC 3986 §3.2.2, §3.2.3
_IN_BRACKETS = re.compile(r"\[([^][]*)\](?::[0-9]*)?")


@dataclass(frozen=True, slots=True)
class URI:
    """A WebSocket URI in its parts.

    Attributes:
        secure: "wss".
        host: in ASCII (IDNA 2008), an IPv6 address without its brackets.
        port: the given one or the scheme's.
        path: path and query, percent-encoded, as the request target has it.
        user_info: user name and password, percent-decoded, or None; not in the repr.
    """

    secure: bool
    host: str
    port: int
    path: str
    user_info: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def host_header(self) -> str:
        """The value of the Host header: the port only where it is not the scheme's (§4.1)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        default = _DEFAULT_PORTS["wss" if self.secure else "ws"]
        return host if self.port == default else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port (RFC 6454 §4): what credentials are kept within."""
        return f"{'wss' if self.secure else 'ws'}://{self.host_header}"


def parse_uri(uri: str) -> URI:
    """Split a `ws` or `wss` URI (RFC 6455 §3); international ones are brought to ASCII.

    Raises:
        InvalidURI: another scheme, no host, a fragment, control characters, spaces or lone
            surrogates, a bad port or host, or a password without a user name.

    >>> uri = parse_uri("wss://bücher.example/chat?room=tea")
    >>> uri.host, uri.port, uri.path, uri.secure
    ('xn--bcher-kva.example', 443, '/chat?room=tea', True)
    >>> parse_uri("http://example.org/")
    Traceback (most recent call last):
    anyws.InvalidURI: 'http://example.org/' has the scheme 'http', allowed are ws and wss
    """
    if any(ord(character) <= 0x20 or ord(character) == 0x7F for character in uri):
        raise InvalidURI(f"{_shown(uri)} has spaces or control characters")
    if any("\ud800" <= character <= "\udfff" for character in uri):
        raise InvalidURI(f"{_shown(uri)} has lone surrogates")
    try:
        parts = urlsplit(uri)
        port = parts.port
        _check_brackets(parts.netloc)
    except ValueError:
        # Not `from` the cause, whose message may quote a password.
        raise InvalidURI(f"{_shown(uri)} has a host or a port that is not valid") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidURI(f"{_shown(uri)} has the scheme {parts.scheme!r}, allowed are ws and wss")
    if "#" in uri:
        raise InvalidURI(f"{_shown(uri)} has a fragment, which a WebSocket URI cannot have")
    if not parts.hostname:
        raise InvalidURI(f"{_shown(uri)} has no host")
    if port == 0:
        raise InvalidURI(f"{_shown(uri)} has the port 0")
    path = quote(parts.path, safe=_SAFE_IN_PATH) or "/"
    if parts.query:
        path += "?" + quote(parts.query, safe=_SAFE_IN_PATH + "?")
    user_info = None
    if parts.username is not None or parts.password is not None:
        if not parts.username:
            raise InvalidURI(f"{_shown(uri)} has user information without a user name")
        user_info = (unquote(parts.username), unquote(parts.password or ""))
    return URI(
        secure=parts.scheme == "wss",
        host=_ascii_host(uri, parts.hostname),
        port=port or _DEFAULT_PORTS[parts.scheme],
        path=path,
        user_info=user_info,
    )


def _check_brackets(authority: str) -> None:
    """Raise ValueError if brackets are around anything but an IPv6 address that is the whole host.

    Of several pairs, `urlsplit` looks at the first, which may be a user's, and takes the host from
    the last; and Python 3.11 had no such check at first.
    """
    host = authority.rpartition("@")[2]
    if "[" not in host and "]" not in host:
        return
    match = _IN_BRACKETS.fullmatch(host)
    if match is None:
        raise ValueError("brackets are for the whole host")
    from ipaddress import IPv6Address  # for the few that need it

    IPv6Address(match[1])


def _ascii_host(uri: str, host: str) -> str:
    try:
        return ascii_host(host)
    except ValueError as exc:
        raise InvalidURI(f"{_shown(uri)} has a host that is no domain name: {exc}") from exc


def _shown(uri: str) -> str:
    """The URI for a message, without its credentials."""
    # Up to the last "@", not that of the host: a password may have a "/" that was not encoded.
    before, at, after = uri.rpartition("@")
    if not at:
        return repr(uri)
    scheme, separator, _ = before.rpartition("://")
    return repr(f"{scheme}{separator}***@{after}")
