"""Tools for testing applications of `anyws` without a network, on trio, asyncio and uvloop.

A client and a server joined in memory, a handler with a client in front of it, a peer that says
exactly what it is told, and a byte stream with faults. Under the virtual clock of trio, none of
it waits for real.
"""

from __future__ import annotations

from ._faults import FaultStream
from ._frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    Frame,
    FrameReader,
    close_frame,
)
from ._handler import HandlerRun, run_handler
from ._head import UPGRADE, Head
from ._memory import MemoryStream, memory_pair
from ._pair import ConnectionPair, connection_pair
from ._peer import RawPeer

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "PING",
    "PONG",
    "TEXT",
    "UPGRADE",
    "ConnectionPair",
    "FaultStream",
    "Frame",
    "FrameReader",
    "HandlerRun",
    "Head",
    "MemoryStream",
    "RawPeer",
    "close_frame",
    "connection_pair",
    "memory_pair",
    "run_handler",
]

# People see `anyws.testing.RawPeer` in a traceback, not the file that it happens to be in.
for _name in __all__:
    if getattr(globals()[_name], "__module__", "").startswith("anyws."):
        globals()[_name].__module__ = "anyws.testing"
del _name
