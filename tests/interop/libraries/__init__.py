"""The libraries that our client and our server meet, each adapted in a module of its own.

Nothing in here knows `anyws`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from ssl import SSLContext
from typing import Literal

from ..peers import Listener, Peer
from .aiohttp_peer import connect_aiohttp, listen_aiohttp
from .picows_peer import connect_picows
from .trio_websocket_peer import connect_trio_websocket
from .websockets_peer import connect_websockets, listen_websockets
from .wire import HOST
from .wsproto_peer import connect_wsproto

__all__ = ["CLIENTS", "HOST", "SERVERS", "ClientLibrary", "ServerLibrary"]


@dataclass(frozen=True, slots=True)
class ClientLibrary:
    """A library whose client talks to our server."""

    name: str
    backend: Literal["asyncio", "trio"]
    connect: Callable[[str, SSLContext | None], AbstractAsyncContextManager[Peer]]


@dataclass(frozen=True, slots=True)
class ServerLibrary:
    """A library whose server talks to our client."""

    name: str
    backend: Literal["asyncio", "trio"]
    listen: Callable[[SSLContext | None], AbstractAsyncContextManager[Listener]]


CLIENTS = (
    ClientLibrary("websockets", "asyncio", connect_websockets),
    ClientLibrary("aiohttp", "asyncio", connect_aiohttp),
    ClientLibrary("picows", "asyncio", connect_picows),
    ClientLibrary("wsproto", "asyncio", connect_wsproto),
    ClientLibrary("trio-websocket", "trio", connect_trio_websocket),
)

SERVERS = (
    ServerLibrary("websockets", "asyncio", listen_websockets),
    ServerLibrary("aiohttp", "asyncio", listen_aiohttp),
)
