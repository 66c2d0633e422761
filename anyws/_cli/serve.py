"""`serve`: serve a handler of yours, or echoes.

Owns the arguments, and where to serve: in this process, or in others (`workers.py`).
"""

from __future__ import annotations

import argparse
import signal
import sys

from .options import add_backend, count, max_size, port
from .running import OK, UsageError, check_extra, receive_signals, run_on
from .server_log import announce, set_up_log
from .serving import serve_until

__all__ = ["USAGE", "add_arguments", "run"]

USAGE = "(--echo | --handler MODULE:FUNCTION) [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--echo", action="store_true", help="send every message back")
    what.add_argument(
        "--handler",
        metavar="MODULE:FUNCTION",
        help="an async function of a ServerConnection, or a Router; looked for from here",
    )
    where = parser.add_argument_group("where")
    where.add_argument(
        "--host", default="localhost", help='"*" is every interface (default: %(default)s)'
    )
    where.add_argument(
        "--port", type=port, default=8765, help="0 picks a free one (default: %(default)s)"
    )
    where.add_argument("--unix-socket", metavar="PATH", help="listen on this socket instead")
    who = parser.add_argument_group("who may connect, and how")
    who.add_argument(
        "--origins",
        metavar="ORIGIN",
        nargs="+",
        default=["same-host"],
        help="whose web pages may connect, https://example.com for instance; '*' is all "
        "(default: those of the host that the request names)",
    )
    who.add_argument(
        "--subprotocol",
        metavar="NAME",
        action="append",
        default=[],
        help="support this one; may be given again, in order of preference",
    )
    who.add_argument("--compression", action="store_true", help="accept compression of messages")
    who.add_argument(
        "--max-size",
        metavar="BYTES",
        type=max_size,
        default=1 << 20,
        help='of a message that is received, or "none" (default: 1 MiB)',
    )
    who.add_argument("--certfile", metavar="FILE", help="serve wss:// with this certificate")
    who.add_argument("--keyfile", metavar="FILE", help="its key, if that is another file")
    how = parser.add_argument_group("processes")
    how.add_argument(
        "--reload",
        action="store_true",
        help="for development: start anew whenever a Python file below this directory changes",
    )
    how.add_argument(
        "--workers",
        metavar="N",
        type=count,
        help="serve in so many processes, which share the port; SIGHUP replaces them",
    )
    add_backend(parser)
    parser.add_argument("--quiet", action="store_true", help="log no connections")


def run(options: argparse.Namespace) -> int:
    """Serve until a signal comes, and return the exit status."""
    if options.keyfile and not options.certfile:
        raise UsageError("--keyfile goes with --certfile")
    set_up_log(options)
    if options.workers is None and not options.reload:
        return run_on(options.backend, _serve_here, options)
    if sys.platform == "win32":
        raise UsageError("--workers and --reload need a POSIX system")
    if options.unix_socket is not None:
        raise UsageError("--workers and --reload share a TCP port, not a --unix-socket")
    if options.reload:
        check_extra("--reload", "watchfiles", "cli")
    from .workers import supervise

    return run_on("asyncio", supervise, options)


async def _serve_here(options: argparse.Namespace) -> int:
    """Serve in this process until a signal comes."""
    with receive_signals(signal.SIGINT, signal.SIGTERM) as signals:
        await serve_until(options, announce, signals)
    return OK
