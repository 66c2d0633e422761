"""What is typed at the prompt: messages, and commands, which begin with a slash.

Owns their grammar and their help. What they do is done by whoever asked.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = [
    "COMMANDS",
    "HELP",
    "Close",
    "Command",
    "Help",
    "InvalidCommand",
    "Ping",
    "Send",
    "Stats",
    "parse",
]

#: By name, with their arguments and what they do.
COMMANDS = {
    "/ping": ("[TEXT]", "measure a round trip"),
    "/binary": ("HEX", "send bytes: /binary 00 ff 10"),
    "/close": ("[CODE] [REASON]", "close the connection and leave"),
    "/stats": ("", "what went each way so far"),
    "/help": ("", "this list"),
}

HELP = "\n".join(
    [
        *(f"{f'{name} {arguments}':<24}{what}" for name, (arguments, what) in COMMANDS.items()),
        f"{'//...':<24}send a text that begins with a slash: //help sends /help",
        f"{'Ctrl+D':<24}close the connection and leave; Ctrl+C clears the line, then does so too",
    ]
)


class InvalidCommand(Exception):
    """It is none, or its arguments are wrong; the text says which."""


@dataclass(frozen=True, slots=True)
class Send:
    """Send a message."""

    message: str | bytes


@dataclass(frozen=True, slots=True)
class Ping:
    """Send a Ping, with random data if None."""

    data: str | None


@dataclass(frozen=True, slots=True)
class Close:
    """Close the connection."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class Stats:
    """Show figures."""


@dataclass(frozen=True, slots=True)
class Help:
    """Show the commands."""


Command = Send | Ping | Close | Stats | Help


def parse(line: str) -> Command:
    """Read what was typed.

    Raises:
        InvalidCommand: it begins with a slash and is no command.
    """
    if not line.startswith("/"):
        return Send(line)
    if line.startswith("//"):
        return Send(line[1:])
    name, _, rest = line.partition(" ")
    rest = rest.strip()
    if name == "/ping":
        return Ping(rest or None)
    if name == "/binary":
        return Send(_parse_hex(rest))
    if name == "/close":
        return _parse_close(rest)
    if name == "/stats":
        return Stats()
    if name == "/help":
        return Help()
    raise InvalidCommand(
        f"there is no command {name}: /help lists them, and //... sends what begins with a slash"
    )


def _parse_hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits.removeprefix("0x"))
    except ValueError:
        raise InvalidCommand(f"{digits!r} is not hex, which is pairs of digits: 00 ff 10") from None


def _parse_close(arguments: str) -> Close:
    code, _, reason = arguments.partition(" ")
    if not code:
        return Close(1000, "")
    if not code.isdecimal():
        raise InvalidCommand(f"{code!r} is no close code: /close CODE REASON")
    return Close(int(code), reason.strip())
