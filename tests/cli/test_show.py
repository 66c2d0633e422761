"""What a terminal shows of messages."""

from __future__ import annotations

import io
import json

import pytest

from anyws._cli.show import (
    MAX_BYTES,
    MAX_CHARACTERS,
    Colours,
    hex_dump,
    indented,
    is_json,
    pretty_json,
    printable,
    show_message,
)

PLAIN = Colours(False)
PAINTED = Colours(True)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("grün 雨 🌧", "grün 雨 🌧"),
        ("two\nlines\tand a tab", "two\nlines\tand a tab"),
        ("\x1b[2J\x07\x00\x7f", r"\x1b[2J\x07\x00\x7f"),
        ("C1: \x9b31m \x85", r"C1: \x9b31m \x85"),
        ("over\rwritten", r"over\rwritten"),
        ("\u202eturned\u2066", r"\u202eturned\u2066"),
        ("\u2028", r"\u2028"),
    ],
)
def test_what_a_terminal_may_obey_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_lines_after_the_first_are_indented() -> None:
    assert indented("< ", "one\n> two\nthree") == "< one\n  > two\n  three"


def test_json_that_fits_into_a_line_is_left_in_it() -> None:
    text = '{"a": [1, 2]}'
    assert show_message(text, PLAIN, as_json=None, width=80) == text
    assert show_message(text, PLAIN, as_json=None, width=12).count("\n") == 5
    assert show_message(text, PLAIN, as_json=True, width=80).count("\n") == 5
    assert show_message(text, PLAIN, as_json=False, width=12) == text


@pytest.mark.parametrize(
    "value", [{}, [], [[]], [{}, 1], {"a": {"b": []}}, {"a": [1, "two", None, True], "b": 'q"\\'}]
)
def test_json_is_laid_out_as_the_standard_library_does(value: object) -> None:
    assert pretty_json(json.dumps(value), PLAIN) == json.dumps(value, indent=2)


def test_json_keeps_what_a_parser_would_change() -> None:
    text = '{"a":1.10,"a":1e400,"b":"\\u00e9"}'
    assert pretty_json(text, PLAIN) == '{\n  "a": 1.10,\n  "a": 1e400,\n  "b": "\\u00e9"\n}'


def test_strings_of_json_are_escaped() -> None:
    # JSON itself forbids C0 control characters in strings, but not these.
    assert pretty_json('["\x9b\u202e"]', PLAIN) == '[\n  "\\x9b\\u202e"\n]'


def test_json_is_painted() -> None:
    assert pretty_json('{"a":["b",1]}', PAINTED) == (
        '{\n  \x1b[36m"a"\x1b[0m: [\n    \x1b[32m"b"\x1b[0m,\n    \x1b[33m1\x1b[0m\n  ]\n}'
    )


@pytest.mark.parametrize("text", ["{", "1", "null", '"text"', "{a}", "", "[" * 100_000])
def test_what_is_no_object_or_array_is_no_json(text: str) -> None:
    assert not is_json(text)


def test_long_messages_are_cut() -> None:
    shown = show_message("x" * (MAX_CHARACTERS + 1), PLAIN, as_json=None, width=80)
    assert shown == "x" * MAX_CHARACTERS + "\n... 10,001 characters in all"
    text = json.dumps(list(range(MAX_CHARACTERS)))
    shown = show_message(text, PLAIN, as_json=True, width=80)
    assert shown.endswith(f"\n... {len(text):,} characters in all")
    assert len(shown) < 5 * MAX_CHARACTERS


def test_bytes_are_dumped_in_hex() -> None:
    shown = show_message(b"hello\x00\x1b\x9b, world!", PLAIN, as_json=None, width=80)
    assert shown == (
        "16 bytes\n0000  68 65 6c 6c 6f 00 1b 9b  2c 20 77 6f 72 6c 64 21  hello..., world!"
    )
    assert hex_dump(b"\xff", PLAIN).splitlines()[0] == "1 byte"
    assert hex_dump(b"", PLAIN) == "0 bytes"


def test_long_bytes_are_cut() -> None:
    lines = hex_dump(bytes(MAX_BYTES + 1000), PLAIN).splitlines()
    assert len(lines) == 1 + 16 + 1
    assert lines[-1] == "... 1,000 more"


def test_colours_are_for_terminals_that_have_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    assert Colours.of(Terminal()).on
    assert not Colours.of(io.StringIO()).on
    monkeypatch.setenv("NO_COLOR", "")
    assert Colours.of(Terminal()).on
    monkeypatch.setenv("NO_COLOR", "1")
    assert not Colours.of(Terminal()).on
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("TERM", "dumb")
    assert not Colours.of(Terminal()).on


def test_nothing_is_painted_without_colours() -> None:
    assert PLAIN.bad("error") == "error"
    assert PAINTED.bad("error") == "\x1b[1;31merror\x1b[0m"
    assert PAINTED.faint("") == ""
