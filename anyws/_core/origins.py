"""Which web pages may connect (RFC 6455 §10.2): the check of a request's Origin.

A browser lets any page open a WebSocket to any server, sends the user's cookies along, and says in
Origin where the page came from. The server has to look, or every page that a user visits can act in
the user's name. Other programs send no Origin, or any they like, so it proves nothing about them.

Owns what an Origin is and which are allowed. It must not know how a refusal is sent.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from .headers import Request
from .host import ascii_host, split_host

__all__ = ["OriginPolicy", "Origins"]

#: Whose pages may connect: those of the server's own host, those of any (`"*"`), those of the
#: origins listed, or those for which a function of the origin and the request says True.
Origins = (
    Literal["same-host", "*"] | Sequence[str | re.Pattern[str]] | Callable[[str, Request], bool]
)

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

_SCHEME = re.compile(r"[A-Za-z][-+.0-9A-Za-z]*")

_ENTRIES = (
    '"scheme://host" or "scheme://host:port" without a path, "null", "same-host", '
    "or a compiled pattern"
)

# A scheme, a host (maybe empty: "file://") and a port, in the form in which they are compared.
_Parts = tuple[str, str, int | None]


class OriginPolicy:
    """Decides whose pages may connect.

    Args:
        origins: `"same-host"` allows an origin whose host and port are those of the Host header,
            whatever its scheme: behind a proxy that ends TLS, the server does not know its own.
            `"*"` allows all. A list has origins as a browser sends them (`"https://example.com"`,
            `"chrome-extension://…"`, `"null"`), international names in Unicode too; `"same-host"`;
            and compiled patterns, which must match the whole of an origin as it was sent. A
            function gets the origin as it was sent, whatever it is, and the request. An empty list
            allows no browser.

    Raises:
        TypeError, ValueError: `origins`, or an entry of it, is none of these.
    """

    __slots__ = ("_allowed", "_any", "_function", "_null", "_patterns", "_same_host")

    def __init__(self, origins: Origins) -> None:
        self._any = isinstance(origins, str) and origins == "*"
        self._function: Callable[[str, Request], bool] | None = None
        entries: Iterable[object] = ()
        if isinstance(origins, str):
            if origins not in ("same-host", "*"):
                raise ValueError(
                    f'origins is {origins!r}, as a str it is "same-host" or "*"; '
                    f"for one origin give a list: [{origins!r}]"
                )
            entries = () if self._any else [origins]
        elif callable(origins):
            self._function = origins
        elif isinstance(origins, Sequence):
            entries = origins
        else:
            raise TypeError(
                f'origins is {origins!r}, expected "same-host", "*", a list, '
                "or a function of an origin and a request"
            )
        texts = {entry for entry in entries if isinstance(entry, str)}
        self._same_host = "same-host" in texts
        self._null = "null" in texts
        self._allowed = {_read_entry(text) for text in texts - {"same-host", "null"}}
        self._patterns = [_check_pattern(entry) for entry in entries if not isinstance(entry, str)]

    def refusal(self, request: Request) -> str | None:
        """Say why a request is refused for its Origin, in a line for a person; None if it is not.

        A request without an Origin is allowed: it does not come from a browser. One with several
        is refused. Takes time linear in their length, unless a pattern does not.

        Raises:
            TypeError: a function returned what is not a bool, such as a coroutine.
            Exception: what a function raises.
        """
        origins = request.headers.get_all("Origin")
        if not origins:
            return None
        if len(origins) > 1:
            return f"a request has at most one Origin header, this one has {len(origins)}"
        origin = origins[0]
        if self._allows(origin, request):
            return None
        shown = ascii(origin if len(origin) <= 100 else origin[:100] + "...")
        return f"the origin {shown} is not allowed"

    def _allows(self, origin: str, request: Request) -> bool:
        if self._any:
            return True
        if self._function is not None:
            allowed = self._function(origin, request)
            # A coroutine would be true, and let everybody in.
            if not isinstance(allowed, bool):
                raise TypeError(f"the function for origins returned {allowed!r}, expected a bool")
            return allowed
        if origin == "null":
            return self._null or self._matches(origin)
        parts = _split_origin(origin)
        # Patterns see only what is an origin: nothing with a path, or "user@" before the host.
        return parts is not None and (
            parts in self._allowed
            or (self._same_host and _is_same_host(parts, request))
            or self._matches(origin)
        )

    def _matches(self, origin: str) -> bool:
        return any(pattern.fullmatch(origin) for pattern in self._patterns)


def _split_origin(origin: str) -> _Parts | None:
    """Take an origin apart (RFC 6454 §6.2); None if it is not one."""
    scheme, separator, authority = origin.partition("://")
    if not separator or not _SCHEME.fullmatch(scheme):
        return None
    scheme = scheme.lower()
    if not authority and scheme not in _DEFAULT_PORTS:
        return scheme, "", None
    host_and_port = split_host(authority)
    if host_and_port is None:
        return None
    host, port = host_and_port
    return scheme, host, _DEFAULT_PORTS.get(scheme) if port is None else port


def _is_same_host(parts: _Parts, request: Request) -> bool:
    scheme, host, port = parts
    hosts = request.headers.get_all("Host")
    own = split_host(hosts[0]) if len(hosts) == 1 else None
    # The host of another scheme is no name in DNS: that of an extension is its id.
    if own is None or scheme not in _DEFAULT_PORTS:
        return False
    own_host, own_port = own
    return host == own_host and port == (_DEFAULT_PORTS[scheme] if own_port is None else own_port)


def _read_entry(entry: str) -> _Parts:
    """Take an origin apart that an application gave."""
    if entry == "*":
        raise ValueError('a list of origins has "*"; to allow all, give "*" by itself')
    if "*" in entry:
        raise ValueError(
            f"a list of origins has {entry!r}, which would only stand for itself; "
            "for several origins give a compiled pattern"
        )
    scheme, separator, authority = entry.partition("://")
    # An address in brackets, whose colons are of another kind, is in ASCII.
    host, colon, port = authority.partition(":")
    try:
        in_ascii = (
            entry if entry.isascii() else scheme + separator + ascii_host(host) + colon + port
        )
        parts = _split_origin(in_ascii)
    except ValueError as exc:
        raise ValueError(f"a list of origins has {entry!r}, which is no host name: {exc}") from exc
    if parts is None:
        raise ValueError(f"a list of origins has {entry!r}, expected {_ENTRIES}")
    return parts


def _check_pattern(entry: object) -> re.Pattern[str]:
    if not isinstance(entry, re.Pattern) or not isinstance(entry.pattern, str):
        raise TypeError(f"a list of origins has {entry!r}, expected {_ENTRIES}")
    return entry
