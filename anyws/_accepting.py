"""What the server's part of an opening handshake needs to know, and the hooks of an application.

Owns the settings that `serve` and `wrap_server` take, checked. What is done with them is the
business of `_answer.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from ._auth import BasicAuth
from ._core.deflate import Deflate, with_compression
from ._core.extensions import Extension
from ._core.handshake import check_subprotocols
from ._core.headers import Request, Response, check_text
from ._core.origins import OriginPolicy, Origins
from ._options import (
    DEFAULT_USER_AGENT,
    OPEN_TIMEOUT,
    ConnectionKeywords,
    ConnectionOptions,
    check_seconds,
    connection_options,
)

if TYPE_CHECKING:
    from ._server_connection import ServerConnection

__all__ = [
    "AcceptKeywords",
    "Accepting",
    "ConfigureKeywords",
    "ProcessRequest",
    "ProcessResponse",
    "SelectSubprotocol",
]

#: Looks at a request before anything else does; answers it, or returns None to let it go on.
ProcessRequest = Callable[
    ["ServerConnection", Request], Response | Awaitable[Response | None] | None
]

#: Looks at a response before it is sent; returns another one, or None to leave it.
ProcessResponse = Callable[
    ["ServerConnection", Request, Response], Response | Awaitable[Response | None] | None
]

#: Chooses among the subprotocols that a client offers; None for none of them.
SelectSubprotocol = Callable[["ServerConnection", Sequence[str]], str | None]


class ConfigureKeywords(ConnectionKeywords, total=False):
    """What may be different for each connection, as keyword arguments."""

    subprotocols: Sequence[str]
    select_subprotocol: SelectSubprotocol | None
    extensions: Sequence[Extension]
    compression: Literal["deflate"] | Deflate | None
    origins: Origins
    auth: BasicAuth | None
    process_response: ProcessResponse | None


class AcceptKeywords(ConfigureKeywords, total=False):
    """`Accepting` as keyword arguments of `serve` and `wrap_server`."""

    process_request: ProcessRequest | None
    server_header: str | None
    open_timeout: float | None


@dataclass(frozen=True, slots=True)
class Accepting:
    """How to answer the requests of clients.

    Attributes:
        negotiable: the extensions with compression behind them.
        origin_policy: what `origins` says.
    """

    subprotocols: Sequence[str] = ()
    select_subprotocol: SelectSubprotocol | None = None
    extensions: Sequence[Extension] = ()
    compression: Literal["deflate"] | Deflate | None = None
    #: Other sites may not use a visitor's browser, and with it his cookies, against this one.
    origins: Origins = "same-host"
    auth: BasicAuth | None = None
    process_request: ProcessRequest | None = None
    process_response: ProcessResponse | None = None
    server_header: str | None = DEFAULT_USER_AGENT
    open_timeout: float | None = OPEN_TIMEOUT
    connection: ConnectionOptions = field(default_factory=ConnectionOptions)
    negotiable: tuple[Extension, ...] = field(init=False)
    origin_policy: OriginPolicy = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "subprotocols", check_subprotocols(self.subprotocols))
        object.__setattr__(self, "negotiable", with_compression(self.extensions, self.compression))
        object.__setattr__(self, "origin_policy", OriginPolicy(self.origins))
        for name in ("select_subprotocol", "process_request", "process_response"):
            hook = getattr(self, name)
            if hook is not None and not callable(hook):
                raise TypeError(f"{name} is {hook!r}, expected a function or None")
        if self.auth is not None and not isinstance(self.auth, BasicAuth):
            raise TypeError(f"auth is {type(self.auth).__name__}, expected BasicAuth or None")
        if self.server_header is not None:
            check_text("server_header", self.server_header)
        check_seconds("open_timeout", self.open_timeout, optional=True)

    def changed(self, given: Mapping[str, Any]) -> Accepting:
        """Return these settings with some replaced, those of `ConnectionOptions` among them.

        Raises:
            TypeError, ValueError, LocalProtocolError: one of them cannot be used.
        """
        own = {name: value for name, value in given.items() if name in _NAMES}
        rest = {name: value for name, value in given.items() if name not in _NAMES}
        return replace(self, connection=connection_options(rest, self.connection), **own)

    def configured(self, given: Mapping[str, Any]) -> Accepting:
        """Return these settings with some replaced, of those that connections may differ in.

        Raises:
            TypeError, ValueError, LocalProtocolError: one of them cannot be used.
        """
        unknown = sorted(set(given) - _CONFIGURABLE)
        if unknown:
            raise TypeError(f"{unknown[0]} cannot be changed for one connection")
        return self.changed(given)


_NAMES = frozenset(AcceptKeywords.__annotations__) - frozenset(ConnectionKeywords.__annotations__)
_CONFIGURABLE = ConfigureKeywords.__required_keys__ | ConfigureKeywords.__optional_keys__
