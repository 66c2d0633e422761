"""The requests of one `connect`: the first one, and those that its answers lead to (RFC 6455 §4.1).

Owns which request goes to whom, and with which credentials: those of the user never leave the
origin that the user named. It must not know how a request gets there: that is `_client.py`.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from urllib.parse import urljoin

from ._auth import BasicAuth
from ._cookies import CookieSource
from ._core.extensions import Extension
from ._core.handshake import build_request, make_key
from ._core.headers import Headers, HeadersLike, Request, Response
from ._core.uri import URI, parse_uri
from ._digest import DigestAuth, DigestExchange
from ._errors import HandshakeError, InvalidURI, LocalProtocolError, TooManyRedirects

__all__ = ["Asking", "Auth", "Visit"]

#: Who the user is; the last is an async function that gives header fields.
Auth = BasicAuth | DigestAuth | Callable[[], Awaitable[HeadersLike]]

#: Header fields of the user's that another origin gets too: they tell nothing about the user.
KEPT_ACROSS_ORIGINS = frozenset({"accept-language", "user-agent"})

# RFC 9110 §15.4: those with a Location that is to be asked instead. 304 and 305 are none.
_REDIRECTS = frozenset({300, 301, 302, 303, 307, 308})

# RFC 6455 §3: a server may name itself as for any other request.
_TO_WEBSOCKET = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}

# A subprotocol that is followed by a token.
_BEARER = "bearer"


@dataclass(frozen=True, slots=True)
class Asking:
    """What to ask for, and who asks.

    Raises:
        LocalProtocolError: a field is given twice, or cannot be in a request.
        TypeError, ValueError: `auth` is nothing that a client can say.
    """

    headers: Headers = field(default_factory=Headers)
    origin: str | None = None
    user_agent: str | None = None
    subprotocols: tuple[str, ...] = ()
    extensions: tuple[Extension, ...] = ()
    auth: Auth | None = None
    cookies: CookieSource | None = None
    max_redirects: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.auth, BasicAuth):
            self.auth.header_value()  # raises if it is one of a server
        elif not (self.auth is None or isinstance(self.auth, DigestAuth) or callable(self.auth)):
            raise TypeError(
                f"auth is {type(self.auth).__name__}, expected a name and a password, a BasicAuth, "
                "a DigestAuth or an async function"
            )
        if self.auth is not None and "Authorization" in self.headers:
            raise LocalProtocolError(
                "Authorization is given twice, in headers and as auth or in the URI"
            )
        if self.cookies is not None and "Cookie" in self.headers:
            raise LocalProtocolError("Cookie is given twice, as cookies and in headers")


class Visit:
    """Whom to ask, and after an answer, whom to ask next.

    Args:
        uri: what the user named; its origin is the only one that gets all that the user gave.
        asking: what to ask.

    Attributes:
        uri: whom to ask now.
        key: the Sec-WebSocket-Key of the last request.
        subprotocols, extensions: those that it offered.

    Raises:
        LocalProtocolError: something of it cannot be in a request.
    """

    def __init__(self, uri: URI, asking: Asking) -> None:
        self.uri: URI = uri
        self._home = uri.origin
        self._asking = asking
        self._exchange: DigestExchange | None = None
        self._ask_as_digest()
        self._passed = [_without_credentials(uri)]
        self.key: str = ""
        self.subprotocols: tuple[str, ...] = asking.subprotocols
        self.extensions: tuple[Extension, ...] = asking.extensions
        self._build(Headers())  # what is wrong is found out now

    @property
    def is_at_home(self) -> bool:
        """Whether it is the origin that the user named that is asked."""
        return self.uri.origin == self._home

    def _ask_as_digest(self) -> None:
        auth = self._asking.auth
        is_digest = isinstance(auth, DigestAuth) and self.is_at_home
        self._exchange = DigestExchange(auth, self.uri) if is_digest else None  # type: ignore[arg-type]  # of that kind

    async def next_request(self) -> Request:
        """Return a request, with a key of its own.

        Raises:
            LocalProtocolError: a field that `auth` gave cannot be in it.
            Exception: what `auth` raises.

        Cancelling: `auth` is cancelled, if it is a function.
        """
        auth = self._asking.auth
        value: str | None = None
        if self._exchange is not None:
            value = self._exchange.header_value()
        elif self.is_at_home and isinstance(auth, BasicAuth):
            value = auth.header_value()
        elif self.is_at_home and callable(auth):
            return self._build(Headers(await auth()))
        fields = Headers({"Authorization": value} if value is not None else {})
        return self._build(fields)

    def _build(self, credentials: Headers) -> Request:
        asking = self._asking
        fields = Headers(asking.headers)
        self.subprotocols = asking.subprotocols
        if not self.is_at_home:
            for name in [name for name in fields if name not in KEPT_ACROSS_ORIGINS]:
                fields.discard(name)
            self.subprotocols = _without_tokens(asking.subprotocols)
        for name, value in credentials.multi_items():
            fields.add(name, value)
        cookie = asking.cookies.header_for(self.uri) if asking.cookies is not None else None
        if cookie is not None:
            fields.add("Cookie", cookie)
        self.key = make_key(os.urandom(16))
        return build_request(
            self.uri,
            self.key,
            headers=fields,
            origin=asking.origin,
            user_agent=asking.user_agent,
            subprotocols=self.subprotocols,
            extensions=asking.extensions,
        )

    def take_answer(self, response: Response) -> bool:
        """Take what an answer says beside yes or no; say whether another request is worth it.

        Raises:
            TooManyRedirects: it leads on, and on.
            HandshakeError: it leads to where nobody may be led.
        """
        asking = self._asking
        if asking.cookies is not None:
            asking.cookies.take(self.uri, response)
        if self._exchange is not None and self._exchange.take_response(response):
            return True
        if response.status_code in _REDIRECTS and asking.max_redirects > 0:
            return self._follow(response)
        return False

    def _follow(self, response: Response) -> bool:
        locations = response.headers.get_all("Location")
        if not locations:
            return False
        target = _resolve(self.uri, locations[0])
        if self.uri.secure and not target.secure:
            raise HandshakeError(
                f"the server redirects from wss to {_shown(target)}, which would give up TLS"
            )
        if len(self._passed) > self._asking.max_redirects:
            raise TooManyRedirects(
                response,
                f"there are more than {self._asking.max_redirects} redirects, "
                f"the last one to {_shown(target)}",
            )
        # With cookies of the server's own a second visit may lead somewhere else.
        cookies = self._asking.cookies
        if target in self._passed and (cookies is None or not cookies.can_change):
            raise TooManyRedirects(
                response, f"the redirects lead in a circle, to {_shown(target)} again"
            )
        self._passed.append(target)
        self.uri = target
        self._ask_as_digest()
        return True


def _resolve(base: URI, location: str) -> URI:
    """Return the URI of a Location header field (RFC 9110 §10.2.2), without a fragment.

    Raises:
        HandshakeError: it is none that a WebSocket connection can have.
    """
    scheme = "https" if base.secure else "http"
    try:
        location = urljoin(f"{scheme}://{base.host_header}{base.path}", location)
        scheme, separator, rest = location.partition("://")
        scheme = _TO_WEBSOCKET.get(scheme.lower(), scheme)
        return _without_credentials(parse_uri(f"{scheme}{separator}{rest.partition('#')[0]}"))
    except (InvalidURI, ValueError) as exc:
        raise HandshakeError(f"the server redirects to what is no WebSocket URI: {exc}") from None


def _without_credentials(uri: URI) -> URI:
    """Return the URI without user information: a server does not say who the user is."""
    return replace(uri, user_info=None)


def _without_tokens(subprotocols: Sequence[str]) -> tuple[str, ...]:
    """Leave out a token, and what says that it is one: it is for the user's own server."""
    lower = [name.lower() for name in subprotocols]
    if _BEARER not in lower:
        return tuple(subprotocols)
    at = lower.index(_BEARER)
    return (*subprotocols[:at], *subprotocols[at + 2 :])


def _shown(uri: URI) -> str:
    """Name a URI as an error may: the query may have secrets in it."""
    scheme = "wss" if uri.secure else "ws"
    return f"{scheme}://{uri.host_header}{uri.path.partition('?')[0]}"
