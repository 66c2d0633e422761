"""WebSocket client and server (RFC 6455) on structured concurrency, for trio and asyncio."""

from __future__ import annotations

# First of all: it decides whether what follows is taken compiled or from its sources.
from . import _build as _build
from ._accept import wrap_server
from ._auth import BasicAuth
from ._broadcast import Broadcaster, Member, broadcast
from ._client import ClientConnection, Connecting, connect, wrap_client
from ._close_scope import CloseScope
from ._connection import Connection, State
from ._core.deflate import Deflate
from ._core.extensions import Extension, ExtensionCodec
from ._core.frames import CloseCode, Opcode
from ._core.grammar import ExtensionParameters, NamedExtension
from ._core.headers import Headers, HeadersLike, Request, Response
from ._core.origins import Origins
from ._core.uri import URI, parse_uri
from ._digest import DigestAuth
from ._errors import (
    CloseFrame,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    HandshakeRejected,
    InvalidHandshake,
    InvalidJSON,
    InvalidURI,
    LocalProtocolError,
    MessageTypeError,
    NegotiationError,
    ProtocolError,
    ProxyError,
    QueueFull,
    RemoteProtocolError,
    TooManyRedirects,
    WebSocketError,
)
from ._io.listen import inherited_sockets
from ._message_path import Skipped
from ._options import ConnectionOptions, JSONCodec
from ._payload import Data
from ._reconnect import Reconnecting, reconnect
from ._retry import Retry
from ._router import Router
from ._server import Server, Serving, serve
from ._server_connection import ServerConnection
from ._stats import ConnectionStats, ServerStats
from ._streams import ReceiveStream, SendStream

__all__ = [
    "URI",
    "BasicAuth",
    "Broadcaster",
    "ClientConnection",
    "CloseCode",
    "CloseFrame",
    "CloseScope",
    "ConcurrencyError",
    "Connecting",
    "Connection",
    "ConnectionClosed",
    "ConnectionClosedError",
    "ConnectionClosedOK",
    "ConnectionOptions",
    "ConnectionStats",
    "Data",
    "Deflate",
    "DigestAuth",
    "Extension",
    "ExtensionCodec",
    "ExtensionParameters",
    "HandshakeError",
    "HandshakeRejected",
    "Headers",
    "HeadersLike",
    "InvalidHandshake",
    "InvalidJSON",
    "InvalidURI",
    "JSONCodec",
    "LocalProtocolError",
    "Member",
    "MessageTypeError",
    "NamedExtension",
    "NegotiationError",
    "Opcode",
    "Origins",
    "ProtocolError",
    "ProxyError",
    "QueueFull",
    "ReceiveStream",
    "Reconnecting",
    "RemoteProtocolError",
    "Request",
    "Response",
    "Retry",
    "Router",
    "SendStream",
    "Server",
    "ServerConnection",
    "ServerStats",
    "Serving",
    "Skipped",
    "State",
    "TooManyRedirects",
    "WebSocketError",
    "broadcast",
    "connect",
    "inherited_sockets",
    "parse_uri",
    "reconnect",
    "serve",
    "wrap_client",
    "wrap_server",
]

# People see `anyws.ConnectionClosed` in a traceback, not the file that it happens to be in.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("anyws."):
        globals()[_name].__module__ = "anyws"
del _name
