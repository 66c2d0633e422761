"""What `serve` tells: that it listens, a line for each connection, and what goes wrong.

Owns the log. What the library logs by itself at the end of a connection is made for machines; this
is for people.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from .. import ConnectionClosed, Request, Response, ServerConnection
from .._logging import escaped

__all__ = ["LOGGER", "Logged", "announce", "log_refusal", "set_up_log"]

LOGGER = logging.getLogger("anyws.serve")


def set_up_log(options: argparse.Namespace) -> None:
    """Log to stderr: what goes wrong in the library and in handlers, and a line a connection."""
    process = "[%(process)d] " if options.workers is not None else ""
    output = logging.StreamHandler()
    output.setFormatter(logging.Formatter(f"%(asctime)s {process}%(message)s", "%H:%M:%S"))
    library = logging.getLogger("anyws")
    library.addHandler(output)
    library.propagate = False  # the handler's module may have a log of its own
    library.setLevel(logging.WARNING)
    LOGGER.setLevel(logging.WARNING if options.quiet else logging.INFO)


class Logged:
    """A handler that logs a line at the end of each connection."""

    def __init__(self, handler: Callable[[ServerConnection], Awaitable[object]]) -> None:
        self._handler = handler
        hook = getattr(handler, "process_request", None)
        if hook is not None:
            self.process_request: Any = hook  # of a Router, which finds the handler by it

    async def __call__(self, ws: ServerConnection) -> None:
        # Closed here as the library would do it afterwards, so that there is an end to tell of.
        try:
            try:
                await self._handler(ws)
            except ConnectionClosed:
                pass
            await ws.close()
        except Exception:
            await ws.close(1011)
            raise  # to be logged with its traceback
        finally:
            self._log(ws)

    def _log(self, ws: ServerConnection) -> None:
        stats, code, reason = ws.stats, ws.close_code, ws.close_reason
        LOGGER.info(
            "%s %s: %s after %.1f s, received %d, sent %d",
            _describe_peer(ws),
            escaped(ws.request.path_without_query),
            "cut short" if code is None else f"{code} {escaped(reason or '')}".rstrip(),
            stats.duration_s,
            stats.received_messages,
            stats.sent_messages,
        )


def log_refusal(ws: ServerConnection, request: Request, response: Response) -> None:
    """Log an answer that is not the beginning of a connection; a `process_response`."""
    if response.status_code != 101:
        LOGGER.info(
            "%s %s: HTTP %d %s",
            _describe_peer(ws),
            escaped(request.path_without_query),
            response.status_code,
            response.reason_phrase,
        )


def _describe_peer(ws: ServerConnection) -> str:
    address = ws.remote_address
    if isinstance(address, tuple):
        host, number = address[:2]
        return f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
    return escaped(str(address)) or "a Unix socket"


def announce(uri: str) -> None:
    """Tell that the server listens: a line for scripts, and one for people."""
    print(f"serving on {uri}", flush=True)
    if sys.stderr.isatty():
        LOGGER.info("Ctrl+C stops; to talk to it: python -m anyws connect %s", uri)
