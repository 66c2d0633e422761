"""The tables of the guides for moving here have every public name of those libraries.

A table is compared with the release that its page is about, and left alone beside another one.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import re
import runpy
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import httpx_ws
import pytest
import trio
import trio_websocket
import websockets

from anyws import ConnectionOptions, Retry, ServerConnection, connect, reconnect, serve, wrap_client
from anyws._accepting import AcceptKeywords

HOWTO = Path(__file__).parent.parent / "docs" / "howto"
PROGRAMS = HOWTO / "migration"

_SECTION = re.compile(r"^(\S.*)\n-+\n", re.MULTILINE)
_ROW = re.compile(r"^   \* - (.*?)^     - (.*?)(?=^   \* -|^\S|\Z)", re.MULTILINE | re.DOTALL)
_LITERAL = re.compile(r"``(\w+)``")
_FIRST_LITERALS = re.compile(r"(?:``\w+``(?:, | and )?)+")
_ATTRIBUTE = re.compile(r"\bself\.([A-Za-z]\w*)(?:: [^=\n]+)?(?= = |, self\.)|\bself\.(\w+):\s")


class Row(NamedTuple):
    names: list[str]
    advice: str


def rows_of(page: str, *sections: str) -> list[Row]:
    """Read the rows of tables, by the titles of their sections."""
    _, *parts = _SECTION.split((HOWTO / page).read_text(encoding="utf-8"))
    texts = dict(zip(parts[::2], parts[1::2], strict=True))
    return [
        Row(_LITERAL.findall(names), advice)
        for section in sections
        for names, advice in _ROW.findall(texts[section])
    ]


def names_of(page: str, *sections: str) -> list[str]:
    return [name for row in rows_of(page, *sections) for name in row.names]


def parameters(*functions: Callable[..., Any]) -> set[str]:
    found = {name for function in functions for name in inspect.signature(function).parameters}
    return found - {"self"}


def attributes(*classes: type) -> set[str]:
    """Return what is public of classes, and what their methods set on an instance."""
    return set(_attributes(classes))


def _attributes(classes: Iterable[type]) -> Iterator[str]:
    for cls in classes:
        yield from (name for name in dir(cls) if not name.startswith("_"))
        for base in cls.__mro__:
            if base.__module__.partition(".")[0] in ("websockets", "httpx_ws"):
                found = _ATTRIBUTE.findall(inspect.getsource(base))
                yield from (a or b for a, b in found if not (a or b).startswith("_"))


def websockets_modules(name: str) -> list[Any]:
    return [
        importlib.import_module(f"websockets.{kind}.{name}") for kind in ("asyncio", "trio", "sync")
    ]


def names_of_websockets() -> set[str]:
    found = set(websockets.__all__)
    for name in ("client", "server", "router", "connection"):
        for module in websockets_modules(name):
            found |= set(module.__all__)
    return found


def parameters_of_websockets(module: str, *names: str) -> set[str]:
    functions = [
        getattr(each, name)
        for each in websockets_modules(module)
        for name in names
        if hasattr(each, name)
    ]
    return parameters(*functions)


def attributes_of_websockets(*names: tuple[str, str]) -> set[str]:
    return attributes(
        *[getattr(each, name) for module, name in names for each in websockets_modules(module)]
    )


TW = trio_websocket
HX = httpx_ws

# Page, the sections with a table, and what has to be in it.
TABLES = [
    ("from-websockets.rst", ("Names", "Exceptions"), names_of_websockets()),
    (
        "from-websockets.rst",
        ("Arguments of connect",),
        parameters_of_websockets("client", "connect", "unix_connect", "reconnect"),
    ),
    (
        "from-websockets.rst",
        ("Arguments of serve",),
        parameters_of_websockets("server", "serve", "unix_serve"),
    ),
    (
        "from-websockets.rst",
        ("Connections",),
        attributes_of_websockets(("client", "ClientConnection"), ("server", "ServerConnection")),
    ),
    ("from-websockets.rst", ("Servers",), attributes_of_websockets(("server", "Server"))),
    (
        "from-trio-websocket.rst",
        ("Names",),
        {name for name in vars(TW) if not name.startswith("_")} - {"_impl"},
    ),
    (
        "from-trio-websocket.rst",
        ("Arguments of clients",),
        parameters(
            TW.open_websocket,
            TW.open_websocket_url,
            TW.connect_websocket,
            TW.connect_websocket_url,
            TW.wrap_client_stream,
        ),
    ),
    (
        "from-trio-websocket.rst",
        ("Arguments of servers",),
        parameters(TW.serve_websocket, TW.wrap_server_stream, TW.WebSocketServer),
    ),
    ("from-trio-websocket.rst", ("Connections",), attributes(TW.WebSocketConnection)),
    ("from-trio-websocket.rst", ("Requests",), attributes(TW.WebSocketRequest)),
    (
        "from-trio-websocket.rst",
        ("Servers and endpoints",),
        # Instances of Endpoint have two more.
        attributes(TW.WebSocketServer, TW.Endpoint, TW.CloseReason) | {"address", "is_ssl"},
    ),
    ("from-httpx-ws.rst", ("Names",), {*HX.__all__, "ASGIWebSocketTransport"}),
    (
        "from-httpx-ws.rst",
        ("Connections",),
        attributes(HX.AsyncWebSocketSession, HX.WebSocketSession),
    ),
]

PAGES = {
    "from-websockets.rst": "websockets",
    "from-trio-websocket.rst": "trio-websocket",
    "from-httpx-ws.rst": "httpx-ws",
}


@pytest.mark.parametrize(
    ("page", "sections", "expected"), TABLES, ids=[f"{p[5:-4]}: {s[0]}" for p, s, _ in TABLES]
)
def test_table_has_every_name_once_and_no_other(
    page: str, sections: tuple[str, ...], expected: set[str]
) -> None:
    installed = version(PAGES[page])
    said = re.search(r"version\s+([\d.]*\d)", (HOWTO / page).read_text(encoding="utf-8"))
    assert said is not None
    if not f"{installed}.".startswith(f"{said[1]}."):
        pytest.skip(f"the page is about {said[1]}, and {installed} is installed")
    found = names_of(page, *sections)
    assert sorted(found) == sorted(expected)


def test_arguments_of_httpx_ws_are_all_there() -> None:
    # A table of the arguments of httpx follows in the same section.
    expected = parameters(HX.aconnect_ws, HX.connect_ws, HX.AsyncWebSocketClient)
    assert expected <= set(names_of("from-httpx-ws.rst", "Arguments"))


# What `serve` passes on is not in its signature.
OURS = (
    parameters(connect, reconnect, serve, wrap_client, Retry)
    | parameters(ConnectionOptions)
    | set(AcceptKeywords.__annotations__)
)


@pytest.mark.parametrize("page", PAGES)
def test_arguments_that_are_recommended_exist(page: str) -> None:
    text = (HOWTO / page).read_text(encoding="utf-8")
    sections = re.findall(r"^Arguments.*$", text, re.MULTILINE)
    recommended = {
        name
        for row in rows_of(page, *sections)
        if (first := _FIRST_LITERALS.match(row.advice))
        for name in _LITERAL.findall(first[0])
    }
    assert len(recommended) > 10
    assert recommended <= OURS


async def echo_until_bye(ws: ServerConnection) -> None:
    async for message in ws:
        if message == "bye":
            return
        await ws.send(message)


def program(name: str) -> Callable[..., Any]:
    main: Callable[..., Any] = runpy.run_path(str(PROGRAMS / name))["main"]
    return main


def with_server(client: Callable[[str], Any]) -> None:
    """Run a client beside an echo server."""

    async def main() -> None:
        async with serve(echo_until_bye, "127.0.0.1") as server:
            if inspect.iscoroutinefunction(client):
                await client(server.uri)
            else:
                await anyio.to_thread.run_sync(client, server.uri)

    anyio.run(main)


@pytest.mark.parametrize(
    ("run", "printed"),
    [
        (lambda: asyncio.run(program("websockets_before.py")()), "hello\n1001 that is all\n"),
        (lambda: asyncio.run(program("websockets_after.py")()), "hello\n1001 that is all\n"),
        (lambda: trio.run(program("websockets_after.py")), "hello\n1001 that is all\n"),
        (lambda: trio.run(program("trio_websocket_before.py")), "hello\n1001\n"),
        (lambda: trio.run(program("trio_websocket_after.py")), "hello\n1001\n"),
        (lambda: with_server(program("httpx_ws_before.py")), "hello\n1000\n"),
        (lambda: with_server(program("httpx_ws_after.py")), "hello\n1000\n"),
        (lambda: with_server(program("in_threads.py")), "hello\n"),
    ],
)
def test_program_before_and_after_prints_the_same(
    run: Callable[[], None], printed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run()
    assert capsys.readouterr().out == printed
