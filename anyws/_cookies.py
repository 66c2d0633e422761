"""The cookies of a client (RFC 6265): those that an application gives, or those of a cookie jar.

Owns what goes into Cookie, and where Set-Cookie goes. It must not know when requests are made.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TypeGuard

from ._core.grammar import is_token
from ._core.headers import Response, check_text
from ._core.uri import URI
from ._errors import LocalProtocolError

if TYPE_CHECKING:
    from email.message import Message
    from http.cookiejar import CookieJar
    from urllib.request import Request as JarRequest

__all__ = ["CookieSource"]

# RFC 6265 §4.1.1
_OCTETS = r"[!#-+\--:<-\[\]-~]*"
_VALUE = re.compile(rf'{_OCTETS}|"{_OCTETS}"')


class CookieSource:
    """What `cookies` of `connect` stands for.

    Args:
        cookies: values by name, which are for the origin of `uri` only; or a cookie jar, which
            decides by itself, and keeps what servers set.
        uri: the one that the application gave.

    Raises:
        LocalProtocolError: a name or a value that RFC 6265 §4.1.1 does not allow.
        TypeError: `cookies` is something else.
    """

    __slots__ = ("_jar", "_origin", "_value")

    def __init__(self, cookies: Mapping[str, str] | CookieJar | None, uri: URI) -> None:
        self._jar: CookieJar | None = None
        self._origin = uri.origin
        self._value: str | None = None
        # Some jars are mappings too.
        if _is_jar(cookies):
            self._jar = cookies
        elif isinstance(cookies, Mapping):
            self._value = "; ".join([_pair(*item) for item in cookies.items()]) or None
        elif cookies is not None:
            raise TypeError(
                f"cookies is {type(cookies).__name__}, expected a mapping or an "
                "http.cookiejar.CookieJar"
            )

    @property
    def can_change(self) -> bool:
        """Whether a server may set cookies."""
        return self._jar is not None

    def header_for(self, uri: URI) -> str | None:
        """Return the value of Cookie for a request to `uri`, None if there are no cookies for it.

        Raises:
            LocalProtocolError: a cookie in the jar cannot stand in a header.
        """
        if self._jar is None:
            return self._value if uri.origin == self._origin else None
        request = _jar_request(uri)
        self._jar.add_cookie_header(request)
        value = request.get_header("Cookie")
        if value is not None:
            check_text("value of header Cookie", value)
        return value

    def take(self, uri: URI, response: Response) -> None:
        """Put into the jar, if there is one, what a response from `uri` sets."""
        if self._jar is None:
            return
        values = response.headers.get_all("Set-Cookie")
        if values:
            answer = _JarResponse(values)
            self._jar.extract_cookies(answer, _jar_request(uri))  # type: ignore[arg-type]  # like one


class _JarResponse:
    """As much of `http.client.HTTPResponse` as a jar looks at."""

    def __init__(self, values: Sequence[str]) -> None:
        from email.message import Message

        self._fields = Message()
        # Each adds a field: cookies cannot be joined by commas (RFC 6265 §3).
        for value in values:
            self._fields["Set-Cookie"] = _without_unreadable(value)

    def info(self) -> Message:
        return self._fields


def _without_unreadable(set_cookie: str) -> str:
    """Leave out attributes at which `http.cookiejar` fails.

    RFC 6265 §5.2.1 and §5.2.2 have them ignored. A jar warns of a mistake of its own instead, and
    drops all cookies of the response.
    """
    pair, *attributes = set_cookie.split(";")
    return ";".join([pair, *filter(_is_readable, attributes)])


def _is_readable(attribute: str) -> bool:
    name, equals, value = attribute.partition("=")
    name = name.strip().lower()
    if name == "expires" and equals:
        # What the jar reads it with, which the stubs do not have.
        from http.cookiejar import http2time  # type: ignore[attr-defined]

        try:
            http2time(value.strip().removeprefix('"').removesuffix('"'))
        except (ValueError, OverflowError):  # of a month, or a year, that there is not
            return False
    return name != "max-age" or bool(equals)


def _jar_request(uri: URI) -> JarRequest:
    """Return what a jar takes for a request to `uri`; it knows the schemes of HTTP."""
    from urllib.request import Request

    scheme = "https" if uri.secure else "http"
    return Request(f"{scheme}://{uri.host_header}{uri.path}")


def _is_jar(cookies: object) -> TypeGuard[CookieJar]:
    # Who has a jar has imported its module, which takes tens of milliseconds; others need not.
    module = sys.modules.get("http.cookiejar")
    return module is not None and isinstance(cookies, module.CookieJar)


def _pair(name: str, value: str) -> str:
    if not is_token(name):
        raise LocalProtocolError(f"cookie name {name!r} is not a token (RFC 6265 §4.1.1)")
    if not _VALUE.fullmatch(value):
        # Not the value, which may be a secret.
        raise LocalProtocolError(
            f"the value of cookie {name} has characters that RFC 6265 §4.1.1 does not allow: "
            "white space, quotes, commas, semicolons, backslashes, control characters and "
            "characters outside ASCII"
        )
    return f"{name}={value}"
