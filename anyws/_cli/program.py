"""The program as a whole: its arguments, and the exit status of every way to end.

Owns the parser and the last `except`. What a command does is the business of its own module.
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from .. import LocalProtocolError, WebSocketError
from . import bench, connect, ping, serve
from .explain import explain
from .running import FAILED, INTERRUPTED, OK, USAGE, Failure, UsageError
from .show import Colours

__all__ = ["main", "new_parser"]

_EPILOG = """\
exit status:
  0    it went well
  1    the connection failed, or ended as it should not
  2    the command line cannot be used
  130  Ctrl+C; 128 and its number for any other signal
"""

# 128 + SIGPIPE: who read the output has gone, `head` for instance.
_NOBODY_READS = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    parser = new_parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        # By the command, whose usage is printed too.
        getattr(options, "parser", parser).error(f"unrecognized arguments: {' '.join(unknown)}")
    if options.version:
        from .version import versions  # what it reads takes longer to import than the rest

        print(versions())
        return OK
    if options.command is None:
        parser.print_help(sys.stderr)
        return USAGE
    if isinstance(sys.stdout, io.TextIOWrapper):
        # As stderr does: what an old terminal cannot show is no reason to stop.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        status: int = options.run(options)
    except UsageError as exc:
        options.parser.error(str(exc))
    except BrokenPipeError:
        # The interpreter flushes stdout once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _NOBODY_READS
    except KeyboardInterrupt:
        return INTERRUPTED
    except (WebSocketError, OSError, ImportError, TypeError, ValueError, Failure) as exc:
        _print_error(explain(exc, getattr(options, "uri", None)))
        # What the library does not take as an argument has been given as an option.
        return USAGE if isinstance(exc, TypeError | ValueError | LocalProtocolError) else FAILED
    return status


def _print_error(text: str) -> None:
    colours = Colours.of(sys.stderr)
    print(f"{colours.bad('error:')} {text}", file=sys.stderr)


def new_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands; what it gives has `run` and `parser` of the command."""
    parser = argparse.ArgumentParser(
        prog="python -m anyws",
        description="WebSocket from the command line.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="store_true", help="print what is installed, and exit")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    for command in (connect, serve, ping, bench):
        name = command.__name__.rpartition(".")[2]
        first = (command.__doc__ or "").partition("\n")[0]  # there is none with `python -OO`
        summary = first.partition(": ")[2].rstrip(".")
        added = commands.add_parser(
            name,
            help=summary,
            description=f"{summary[:1].upper()}{summary[1:]}.",
            # The whole of it would hide the error that it is printed before.
            usage=f"%(prog)s {command.USAGE}",
        )
        command.add_arguments(added)
        added.set_defaults(run=command.run, parser=added)
    return parser
