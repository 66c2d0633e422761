"""What is typed at the prompt."""

from __future__ import annotations

import pytest

from anyws._cli.commands import (
    COMMANDS,
    HELP,
    Close,
    Command,
    Help,
    InvalidCommand,
    Ping,
    Send,
    Stats,
    parse,
)


@pytest.mark.parametrize(
    ("line", "command"),
    [
        ("hello", Send("hello")),
        (" /ping", Send(" /ping")),
        ("//ping", Send("/ping")),
        ("/ping", Ping(None)),
        ("/ping are you there ", Ping("are you there")),
        ("/binary 00 ff", Send(b"\x00\xff")),
        ("/binary 0x00FF", Send(b"\x00\xff")),
        ("/binary", Send(b"")),
        ("/close", Close(1000, "")),
        ("/close 4000", Close(4000, "")),
        ("/close 4000  had enough of it", Close(4000, "had enough of it")),
        ("/stats", Stats()),
        ("/help", Help()),
    ],
)
def test_line_is_read(line: str, command: Command) -> None:
    assert parse(line) == command


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("/", "there is no command /: /help lists them"),
        ("/pong", "there is no command /pong: /help lists them"),
        ("/binary 0", "'0' is not hex"),
        ("/binary hello", "'hello' is not hex"),
        ("/close now", "'now' is no close code"),
    ],
)
def test_what_is_no_command_is_named(line: str, problem: str) -> None:
    with pytest.raises(InvalidCommand, match=f"^{problem}"):
        parse(line)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_every_command(name: str) -> None:
    assert f"\n{name} " in f"\n{HELP}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_that_help_has_is_there(name: str) -> None:
    assert not isinstance(parse(f"{name} {'00' if name == '/binary' else ''}"), Send) or (
        name == "/binary"
    )
