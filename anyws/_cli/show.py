"""What a terminal shows of messages: escaped, indented, in colours, as JSON or in hex.

Owns how things look. It must not know connections, nor where the text goes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TextIO

from .._logging import escaped

__all__ = ["Colours", "hex_dump", "indented", "is_json", "pretty_json", "printable", "show_message"]

#: 10,000 characters of a message, some screens full; and 256 bytes, 16 lines in hex.
MAX_CHARACTERS = 10_000
MAX_BYTES = 256

_BYTES_A_LINE = 16

# Neither can play tricks: lines after the first are indented.
_LINES_AND_TABS = re.compile(r"([\n\t])")

# What JSON is made of, once it is known to be JSON.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


@dataclass(frozen=True, slots=True)
class Colours:
    """Paints text for a terminal, or leaves it as it is."""

    on: bool

    @classmethod
    def of(cls, stream: TextIO) -> Colours:
        """Return colours if a stream goes to a terminal and the user has not turned them off."""
        return cls(
            stream.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM", "") != "dumb"
        )

    def good(self, text: str) -> str:
        return self._paint("32", text)

    def bad(self, text: str) -> str:
        return self._paint("1;31", text)

    def faint(self, text: str) -> str:
        return self._paint("2", text)

    def name(self, text: str) -> str:
        return self._paint("36", text)

    def value(self, text: str) -> str:
        return self._paint("33", text)

    def _paint(self, code: str, text: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if self.on and text else text


def printable(text: str) -> str:
    """Escape all that a terminal may take for a command, but keep lines and tabs."""
    if text.isprintable():
        return text
    parts = _LINES_AND_TABS.split(text)
    return "".join(part if part in ("\n", "\t") else escaped(part) for part in parts)


def indented(prefix: str, text: str) -> str:
    """Put a prefix of two columns before text, and as much space before its other lines.

    So nothing that a peer sends begins a line, where it could pass for what it is not.
    """
    return prefix + text.replace("\n", "\n  ")


def show_message(
    message: str | bytes, colours: Colours, *, as_json: bool | None, width: int
) -> str:
    """Return a message as a terminal shows it, in as many lines as it takes.

    Args:
        as_json: lay JSON out: always, never, or, if None, where it does not fit into one line.
        width: of a line, in characters.
    """
    if isinstance(message, bytes):
        return hex_dump(message, colours)
    if as_json is not False and is_json(message) and (as_json or len(message) > width):
        return pretty_json(message, colours)
    return _cut(printable(message[:MAX_CHARACTERS]), message, colours)


def _cut(shown: str, message: str, colours: Colours) -> str:
    if len(message) <= MAX_CHARACTERS:
        return shown
    return f"{shown}\n{colours.faint(f'... {len(message):,} characters in all')}"


def is_json(text: str) -> bool:
    """Say whether a message is an object or an array of JSON."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def pretty_json(text: str, colours: Colours) -> str:
    """Lay JSON out in lines; nothing but its white space changes, not even a number's zeros."""
    shown = "".join(_lay_out(text[: MAX_CHARACTERS + 1], colours))
    return _cut(shown, text, colours)


def _lay_out(text: str, colours: Colours) -> Iterator[str]:
    depth = 0
    tokens = _TOKEN.findall(text)
    for token, following in zip(tokens, [*tokens[1:], ""], strict=True):
        newline = "\n" + "  " * depth
        if token in "[{":
            depth += 1
            yield token if following in ("]", "}") else token + "\n" + "  " * depth
        elif token in "]}":
            depth -= 1
            yield token
        elif token == ",":
            yield token + newline
        elif token == ":":
            yield ": "
        else:
            yield _paint_token(printable(token), colours, is_name=following == ":")
        if following in ("]", "}") and token not in ("[", "{"):
            yield "\n" + "  " * (depth - 1)


def _paint_token(token: str, colours: Colours, *, is_name: bool) -> str:
    if is_name:
        return colours.name(token)
    return colours.good(token) if token.startswith('"') else colours.value(token)


def hex_dump(data: bytes, colours: Colours) -> str:
    """Return bytes in lines of offset, hex and ASCII."""
    lines = [colours.faint(f"{len(data):,} bytes" if len(data) != 1 else "1 byte")]
    for offset in range(0, min(len(data), MAX_BYTES), _BYTES_A_LINE):
        row = data[offset : min(offset + _BYTES_A_LINE, MAX_BYTES)]
        left, right = row[:8].hex(" "), row[8:].hex(" ")
        text = "".join(chr(byte) if 0x20 <= byte < 0x7F else "." for byte in row)
        lines.append(f"{colours.faint(f'{offset:04x}')}  {left:23}  {right:23}  {text}")
    if len(data) > MAX_BYTES:
        lines.append(colours.faint(f"... {len(data) - MAX_BYTES:,} more"))
    return "\n".join(lines)
