"""One server in one process: from the options of `serve` to its end.

Owns what the options mean to the library, and the graceful stop. Who says when to stop is not its
business.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import os
import ssl
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from socket import socket as Socket
from typing import Any

import anyio

from .. import Server, ServerConnection, serve
from .options import load_certificate
from .running import Failure, go_below_ctrl_c, run_beside
from .server_log import LOGGER, Logged, log_refusal

__all__ = ["echo", "explain_listening", "load_handler", "serve_until"]


async def serve_until(
    options: argparse.Namespace,
    started: Callable[[str], object],
    stops: AsyncIterator[int],
    *,
    sockets: Sequence[Socket] | None = None,
) -> None:
    """Serve until told to stop, then do so gracefully; told once more, cut that short.

    Args:
        options: those of the command.
        started: called with the URI once the server listens.
        stops: gives numbers: signals, or close codes for the clients.
        sockets: to listen on in place of what the options say.

    Raises:
        Failure: the handler, the certificate or the port cannot be used.
    """
    handler = Logged(load_handler(options))
    keywords = _keywords(options, sockets)
    is_listening = False
    try:
        async with serve(handler, **keywords) as server:
            is_listening = True
            started(options.unix_socket or server.uri)
            told = await anext(stops)
            go_below_ctrl_c(told)
            await _stop(server, stops, told if told >= 1000 else 1001)
    except OSError as exc:
        if is_listening:
            raise
        raise Failure(explain_listening(exc, options)) from exc


async def _stop(server: Server, stops: AsyncIterator[int], code: int) -> None:
    """Stop gracefully, or at once if told so once more."""
    if server.connections:
        LOGGER.info("closing what is open: %d; Ctrl+C again to hurry", len(server.connections))
    scope = anyio.CancelScope()

    async def hurry() -> None:
        await anext(stops)
        scope.cancel()

    async def shut_down() -> None:
        with scope:
            await server.shutdown(code=code)

    await run_beside(hurry, shut_down)
    await server.shutdown(0)


def explain_listening(exc: OSError, options: argparse.Namespace) -> str:
    """Tell why a server cannot listen."""
    where = options.unix_socket or f"port {options.port} of {options.host}"
    if exc.errno == errno.EADDRINUSE and options.unix_socket is None:
        return f"{where} is in use already\nhint: --port 0 picks a free one"
    if isinstance(exc, PermissionError):
        return f"{where} is not yours to listen on"
    return f"{where} cannot be listened on: {exc.strerror or exc}"


def load_handler(options: argparse.Namespace) -> Callable[[ServerConnection], Awaitable[object]]:
    """Return what the user named as the handler.

    Raises:
        Failure: there is none of that name, or its module cannot be imported.
    """
    if options.echo:
        return echo
    name, _, attribute = options.handler.partition(":")
    if not name or not attribute:
        raise Failure(f"--handler {options.handler} is not MODULE:FUNCTION")
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found: Any = importlib.import_module(name)
    except ModuleNotFoundError as exc:
        if exc.name is None or not f"{name}.".startswith(f"{exc.name}."):
            raise Failure(_explain_import(name, exc)) from exc  # it imports what is not there
        raise Failure(f"there is no module {exc.name} to be found from here") from exc
    except Exception as exc:
        raise Failure(_explain_import(name, exc)) from exc
    for part in attribute.split("."):
        if not hasattr(found, part):
            raise Failure(f"module {name} has no {attribute}")
        found = getattr(found, part)
    if not callable(found):
        raise Failure(f"{options.handler} is {found!r}, expected an async function")
    handler: Callable[[ServerConnection], Awaitable[object]] = found
    return handler


def _explain_import(name: str, exc: Exception) -> str:
    """Show where a module fails, from its own first line on."""
    frame = exc.__traceback__
    while frame is not None and _is_of_the_way(frame.tb_frame.f_code.co_filename):
        frame = frame.tb_next
    lines = traceback.format_exception(exc.with_traceback(frame), chain=False)
    return f"module {name} cannot be imported\n{''.join(lines).rstrip()}"


def _is_of_the_way(filename: str) -> bool:
    """Say whether a file is this one, or of the machinery of imports."""
    return filename in (__file__, importlib.__file__) or filename.startswith("<frozen importlib")


async def echo(ws: ServerConnection) -> None:
    """Send every message back."""
    async for message in ws:
        await ws.send(message)


def _keywords(options: argparse.Namespace, sockets: Sequence[Socket] | None) -> dict[str, Any]:
    """Return keyword arguments of `serve`."""
    if sockets is not None:
        where: dict[str, Any] = {"sockets": sockets}
    elif options.unix_socket is not None:
        where = {"path": options.unix_socket}
    else:
        where = {"host": None if options.host == "*" else options.host, "port": options.port}
    alone = len(options.origins) == 1 and options.origins[0] in ("*", "same-host")
    return where | {
        "origins": options.origins[0] if alone else options.origins,
        "subprotocols": options.subprotocol,
        "compression": "deflate" if options.compression else None,
        "max_size": options.max_size,
        "ssl": _server_context(options) if options.certfile else None,
        "process_response": log_refusal,
    }


def _server_context(options: argparse.Namespace) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    load_certificate(context, options.certfile, options.keyfile)
    return context
