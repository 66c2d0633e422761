"""`connect`: talk to a server, at a prompt or through a pipe.

Owns the choice between the two, the connection, and what its end means for the exit status.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from .. import ClientConnection
from .. import connect as open_connection
from .notes import Notes
from .options import add_client_arguments, client_keywords, count, seconds, uri_shown
from .running import OK, UsageError, check_extra, run_on, until_signal

__all__ = ["USAGE", "add_arguments", "run"]

# Its file descriptor.
_STDIN = 0

# A conversation, which returns the exit status.
Talk = Callable[[ClientConnection], Awaitable[int]]


USAGE = "URI [options]"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the command."""
    add_client_arguments(parser)
    shown = parser.add_argument_group("messages")
    shown.add_argument(
        "--json",
        action=argparse.BooleanOptionalAction,
        help="lay JSON out in lines (default: in a terminal, where it does not fit into one)",
    )
    prompt = parser.add_argument_group("at the prompt")
    prompt.add_argument("--no-history", action="store_true", help="neither read nor keep one")
    pipe = parser.add_argument_group("in a pipe")
    pipe.add_argument(
        "--wait",
        metavar="SECONDS",
        type=seconds,
        default=1.0,
        help="when the input has ended, close once nothing has come for so long; inf waits "
        "until the server closes (default: %(default)g)",
    )
    pipe.add_argument(
        "--count", metavar="N", type=count, help="close when so many messages have come"
    )
    pipe.add_argument("--binary", action="store_true", help="send each line as a binary message")
    pipe.add_argument(
        "--raw", action="store_true", help="write what comes as it is, with no line end behind it"
    )
    pipe.add_argument("--quiet", action="store_true", help="tell of errors only")


def run(options: argparse.Namespace) -> int:
    """Connect, talk, and return the exit status."""
    keywords = client_keywords(options)
    if sys.stdin.isatty() and sys.stdout.isatty():
        if options.backend == "trio":
            raise UsageError("the prompt is made for asyncio: --backend trio works in a pipe only")
        check_extra("the prompt", "prompt_toolkit", "cli", "prompt-toolkit")
        from .prompt import Prompt  # an extra

        notes = Notes(sys.stdout)
        talk: Talk = Prompt(options, notes).talk
    else:
        from .pipe import Pipe, read_lines

        notes = Notes(sys.stderr, quiet=options.quiet)
        talk = Pipe(options, notes, read_lines(_STDIN)).talk
    return run_on(options.backend, _converse, options.uri, keywords, talk, notes)


async def _converse(uri: str, keywords: dict[str, Any], talk: Talk, notes: Notes) -> int:
    """Connect and talk until either side has enough of it."""
    status = OK

    async def converse() -> None:
        nonlocal status
        async with open_connection(uri, **keywords) as ws:
            notes.opened(ws, uri_shown(uri))
            status = await talk(ws)

    number = await until_signal(converse)
    return status if number is None else 128 + number
