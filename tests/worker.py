"""A server in a process of its own, one of several: `python -m tests.worker`.

Started by `workers.py`. It prints "ready" when it listens, and leaves on SIGTERM, in the way that
the command line says.
"""

from __future__ import annotations

import argparse
import os
import signal
from socket import socket as Socket
from typing import Any

import anyio

from anyws import Request, Response, Server, ServerConnection, inherited_sockets, serve

from .loops import LOOPS

# Seconds for handlers, and for connections that are closed one by one.
_GRACE = 5.0
_OVER = 0.2


class Clerk:
    """Writes messages down, and acknowledges each only then.

    Args:
        journal: the file, which other workers write to as well.
        limit: how many messages of one connection; then its handler ends.
    """

    def __init__(self, journal: str, limit: int | None) -> None:
        self._journal = os.open(journal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._limit = limit

    async def handle(self, ws: ServerConnection) -> None:
        left = self._limit
        async for message in ws:
            assert isinstance(message, str)
            line = f"{message}\n".encode()
            assert os.write(self._journal, line) == len(line)
            await ws.send(message)
            if left is not None:
                left -= 1
                if not left:
                    return


def sign(_connection: ServerConnection, _request: Request, response: Response) -> None:
    """Tell clients which process answers."""
    response.headers["Worker"] = str(os.getpid())


def tell(line: str) -> None:
    """Tell the parent, in one write: it may read as soon as there is something."""
    os.write(1, f"{line}\n".encode())


async def leave(server: Server, way: str) -> None:
    """Leave the port to others, in one of the ways of a restart."""
    match way:
        case "wait":
            await server.drain()
            tell("leaving")
            await server.wait_closed()
        case "drain":
            await server.drain(_OVER, code=1012)
            await server.shutdown(_GRACE, code=1012)
        case "shutdown":
            await server.shutdown(_GRACE, code=1012)


async def main(where: dict[str, Any], clerk: Clerk, way: str) -> None:
    """Serve until SIGTERM."""
    with anyio.open_signal_receiver(signal.SIGTERM) as signals:
        async with serve(clerk.handle, **where, process_response=sign) as server:
            tell("ready")
            async for _ in signals:
                await leave(server, way)
                return


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tests.worker", description=__doc__)
    listens = parser.add_mutually_exclusive_group(required=True)
    listens.add_argument("--port", type=int, help="to share by a socket of one's own")
    listens.add_argument("--fd", type=int, help="of a socket to share")
    listens.add_argument("--inherited", action="store_true", help="the sockets of systemd")
    parser.add_argument("--loop", choices=LOOPS, required=True)
    parser.add_argument("--journal", required=True, help="the file for messages")
    parser.add_argument("--limit", type=int, help="messages of one connection")
    parser.add_argument("--way", choices=("wait", "drain", "shutdown"), default="shutdown")
    options = parser.parse_args()
    if options.port is not None:
        listening = {"host": "127.0.0.1", "port": options.port, "reuse_port": True}
    elif options.inherited:
        listening = {"sockets": inherited_sockets()}
    else:
        listening = {"sockets": [Socket(fileno=options.fd)]}
    backend, backend_options = LOOPS[options.loop]
    anyio.run(
        main,
        listening,
        Clerk(options.journal, options.limit),
        options.way,
        backend=backend,
        backend_options=backend_options,
    )
