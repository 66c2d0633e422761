"""The page on security names every limit there is, with its default."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import fields
from pathlib import Path

import anyws
from anyws._accepting import Accepting
from anyws._core import frames, grammar, h11_http1, plain_http1, protocol
from anyws._message_path import _MAX_UNREAD_MESSAGES
from anyws._options import ConnectionOptions

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "explanation" / "security.rst").read_text(encoding="utf-8")

_KEYWORD = re.compile(r"^   \* - ``([a-z]\w*)``\n     - ``(.+)``\n     - (.+)$", re.MULTILINE)
_FIXED = re.compile(r"^   \* - ``(\d+)``$", re.MULTILINE)

# Numbers that limit nothing.
_NO_LIMITS = {"port", "happy_eyeballs_delay"}


def limits(function: object) -> dict[str, object]:
    """Return the keywords of a function by which something is limited, with their defaults."""
    assert callable(function)
    return {
        name: parameter.default
        for name, parameter in inspect.signature(function).parameters.items()
        if (type(parameter.default) in (int, float) or name.startswith("max_"))
        and name not in _NO_LIMITS
    }


def of_connections() -> dict[str, object]:
    return {
        each.name: each.default
        for each in fields(ConnectionOptions)
        if each.name not in ("json_codec", "logger")
    }


def test_table_has_every_limit_with_its_default() -> None:
    rows = {name: (ast.literal_eval(default), of) for name, default, of in _KEYWORD.findall(PAGE)}
    server = limits(anyws.serve) | limits(Accepting)
    client = limits(anyws.connect)
    expected = {name: (default, "both") for name, default in of_connections().items()}
    for name in server | client:
        if name in server and name in client:
            assert server[name] == client[name]
            expected[name] = (server[name], "both")
        elif name in server:
            expected[name] = (server[name], "``serve``")
        else:
            expected[name] = (client[name], "``connect``")
    assert rows == expected


def test_table_has_what_cannot_be_changed() -> None:
    assert [int(number) for number in _FIXED.findall(PAGE)] == [
        plain_http1.MAX_HEAD,
        h11_http1.MAX_BODY,
        grammar._MAX_ITEMS,
        _MAX_UNREAD_MESSAGES,
        frames.MAX_CONTROL_PAYLOAD,
        protocol._FRAMES_A_CALL,
        protocol._WORK_AT_MOST,
    ]


def test_both_pages_say_how_to_report() -> None:
    short = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for page in (short, PAGE):
        assert "private vulnerability reporting" in " ".join(page.split())
