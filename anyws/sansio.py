"""The protocol without I/O, for those who embed it: bytes in, events out, bytes to send returned.

What a connection of `anyws` is built on, for programs that bring their own sockets, threads or
event loop. Values that both have, such as `Request`, `Headers` and `CloseCode`, are in `anyws`.
"""

from __future__ import annotations

from ._core.events import CloseReceived, Event, Fragment, Ping, Pong, TooBig, Violation
from ._core.extensions import new_codecs, select_extensions
from ._core.handshake import (
    BadRequest,
    accept_request,
    build_request,
    check_host,
    check_request,
    check_response,
    check_target,
    make_key,
    refuse,
    select_subprotocol,
)
from ._core.http1 import ClientHandshake, ServerHandshake
from ._core.protocol import TRANSITIONS, Flow, Protocol, Step

__all__ = [
    "TRANSITIONS",
    "BadRequest",
    "ClientHandshake",
    "CloseReceived",
    "Event",
    "Flow",
    "Fragment",
    "Ping",
    "Pong",
    "Protocol",
    "ServerHandshake",
    "Step",
    "TooBig",
    "Violation",
    "accept_request",
    "build_request",
    "check_host",
    "check_request",
    "check_response",
    "check_target",
    "make_key",
    "new_codecs",
    "refuse",
    "select_extensions",
    "select_subprotocol",
]

# As in `anyws` itself. A compiled class cannot be told where it is from.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("anyws.") and _name != "Protocol":
        globals()[_name].__module__ = "anyws.sansio"
del _name
