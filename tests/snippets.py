"""The pieces of Python in the pages of docs/, and what they find when they are run.

A piece is run as it stands, as a program of its own or, if it awaits, as the body of an async
function. What a reader has to imagine, such as `uri` or `handler`, is given. What is said to be at
example.org is on this machine: `connect` gets there by another way, and `serve` takes a free port.
A comment in the page, `.. before:` or `.. after:`, has lines that are run before the next piece or
after the last one, and are not shown.
"""

from __future__ import annotations

import ast
import inspect
import re
import ssl
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import CodeType
from typing import Any, Final

import anyio
import trustme

from anyws import Server, ServerConnection, connect, reconnect, serve

from .serving import echo

__all__ = ["Snippet", "run_snippet", "snippets"]

_PIECE: Final = re.compile(
    r"^( *)\.\. (code-block:: python|before:|after:)\n(?:\1   :.*\n)*((?:\1   .*\n|\n)+)",
    re.MULTILINE,
)

# What there is while a loop runs, and only then.
_GIVEN_ON_LOOP: Final = {"server", "stop_when_idle", "tg", "uri", "ws"}

# Seconds after which a piece counts as stuck.
_LIMIT: Final = 60


@dataclass(frozen=True, slots=True)
class Snippet:
    """A piece of Python in a page.

    Attributes:
        name: the page and the line.
        code: what is shown.
        before, after: what is run before and after it, and is not shown.
    """

    name: str
    code: str
    before: str = ""
    after: str = ""


def snippets(page: Path, name: str) -> Iterator[Snippet]:
    """Yield the pieces of a page."""
    text = page.read_text(encoding="utf-8")
    before = ""
    last: Snippet | None = None
    for found in _PIECE.finditer(text):
        code = textwrap.dedent(found[3]).strip() + "\n"
        if found[2] == "before:":
            before = code
        elif found[2] == "after:":
            assert last is not None, f"{name}: nothing comes before an `after`"
            last = replace(last, after=code)
        else:
            if last is not None:
                yield last
            line = text.count("\n", 0, found.start()) + 1
            last = Snippet(f"{name}:{line}", code, before)
            before = ""
    if last is not None:
        yield last


def run_snippet(snippet: Snippet, loop: tuple[str, dict[str, bool]]) -> None:
    """Run a piece, on a loop if it awaits, and the tests that it defines."""
    backend, options = loop
    code = compile(
        snippet.before + snippet.code + snippet.after,
        snippet.name,
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT,
        dont_inherit=True,
    )
    if code.co_flags & inspect.CO_COROUTINE or not _GIVEN_ON_LOOP.isdisjoint(code.co_names):
        anyio.run(_run_on_loop, code, backend=backend, backend_options=options)
    else:
        names = _names()
        exec(code, names)
        for name, value in list(names.items()):
            if name.startswith("test_"):
                anyio.run(value, backend=backend, backend_options=options)


def _names() -> dict[str, Any]:
    """Return what every piece may use: all of anyws, modules by their names, and `echo`."""
    names: dict[str, Any] = {"__name__": "snippet", "echo": echo, "handler": _handler}
    exec("import asyncio, dataclasses, json, os, signal, ssl, sys, time", names)
    exec("import anyio, anyws, pytest, trio, uvloop", names)
    exec("from anyws import *; from anyws import sansio; from anyws.testing import *", names)
    return names


async def _handler(ws: ServerConnection) -> None:
    """Send two messages and leave, as a feed that has ended, or echo."""
    assert ws.request is not None
    if ws.request.path_without_query == "/feed":
        await ws.send("one")
        await ws.send("two")
    else:
        await echo(ws)


async def _run_on_loop(code: CodeType) -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("example.org").configure_cert(context)
    failure: Exception | None = None
    async with (
        anyio.create_task_group() as tasks,
        serve(_handler, "localhost", 0) as server,
        serve(_handler, "localhost", 0, ssl=context) as secure,
        connect(server.uri) as ws,
    ):
        names = _names() | {
            "connect": partial(_reach, connect, secure, authority),
            "reconnect": partial(_reach, reconnect, secure, authority),
            "serve": _serve_on_free_port,
            "tg": tasks,
            "server": server,
            "uri": server.uri,
            "ws": ws,
        }
        with anyio.fail_after(_LIMIT), anyio.CancelScope() as scope:
            names["stop_when_idle"] = partial(tasks.start_soon, _stop_when_idle, scope)
            try:
                awaitable = eval(code, names)
                if awaitable is not None:
                    await awaitable
            except Exception as exc:
                failure = exc
        tasks.cancel_scope.cancel()
    if failure is not None:
        raise failure


def _reach(
    function: Callable[..., object], secure: Server, authority: trustme.CA, uri: str, **options: Any
) -> object:
    """Call `connect` or `reconnect`; what is at example.org is here."""
    if uri.startswith("wss://example.org/") and "proxy" not in options:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        options = {
            "ssl": context,
            "stream": partial(anyio.connect_tcp, "localhost", secure.port),
        } | options
    return function(uri, **options)


def _serve_on_free_port(
    handler: Any, host: str | None = None, port: int = 0, **options: Any
) -> object:
    return serve(handler, host, 0, **options)


async def _stop_when_idle(scope: anyio.CancelScope) -> None:
    """End a piece that would run for ever, once there is nothing more for it to do."""
    await anyio.wait_all_tasks_blocked()
    scope.cancel()
