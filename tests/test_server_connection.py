"""What hooks may do with a connection before it is open: respond, configure."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from anyws import LocalProtocolError, Request, Response, ServerConnection, wrap_server
from anyws._accepting import Accepting
from anyws.testing import UPGRADE, memory_pair

from .scripted import settle

pytestmark = pytest.mark.anyio


async def in_a_hook(work: Any) -> Any:
    """Return what `work` makes of a connection that a hook is given."""
    results = []

    def hook(ws: ServerConnection, _: Request) -> Response:
        try:
            results.append(work(ws))
        except Exception as exc:
            results.append(exc)
        return ws.respond(403)

    ours, theirs = memory_pair()
    await theirs.send(UPGRADE)

    async def serve() -> None:
        with pytest.raises(anyio.get_cancelled_exc_class()):
            await wrap_server(ours, process_request=hook).__aenter__()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        await settle()
        tasks.cancel_scope.cancel()
    (result,) = results
    return result


@pytest.mark.parametrize(
    ("arguments", "body", "changed"),
    [
        ((404, "not here"), b"not here\n", {}),
        ((404,), b"", {}),
        ((200, "<p>", {"Content-Type": "text/html"}), b"<p>\n", {"Content-Type": "text/html"}),
        ((200, "é", {"content-type": "text/css"}), b"\xc3\xa9\n", {"Content-Type": "text/css"}),
        ((401, "", [("X", "1"), ("X", "2")]), b"", {"X": "1, 2"}),
    ],
)
async def test_respond_makes_a_text_response(
    arguments: tuple[Any, ...], body: bytes, changed: dict[str, str]
) -> None:
    response = await in_a_hook(lambda ws: ws.respond(*arguments))
    assert (response.status_code, response.body) == (arguments[0], body)
    expected = {
        "Content-Type": "text/plain; charset=utf-8",
        "Content-Length": str(len(body)),
        "Connection": "close",
    }
    assert {name: response.headers[name] for name in expected | changed} == expected | changed


@pytest.mark.parametrize("status", [0, 100, 101, 199, 1000])
async def test_respond_makes_final_responses_only(status: int) -> None:
    error = await in_a_hook(lambda ws: ws.respond(status))
    assert isinstance(error, ValueError)
    assert f"status is {status}" in str(error)


async def test_respond_refuses_headers_that_would_end_the_line() -> None:
    error = await in_a_hook(lambda ws: ws.respond(200, "", {"X": "1\r\nY: 2"}))
    assert isinstance(error, LocalProtocolError)


@pytest.mark.parametrize(
    ("options", "kind", "problem"),
    [
        ({"open_timeout": 1}, TypeError, "open_timeout cannot be changed for one connection"),
        ({"process_request": None}, TypeError, "process_request cannot be changed"),
        ({"colour": "red"}, TypeError, "colour cannot be changed"),
        ({"max_size": 0}, ValueError, "max_size is 0"),
        ({"subprotocols": "chat"}, TypeError, "not a str"),
        ({"origins": "example.com"}, ValueError, "example.com"),
        ({"auth": ("Ada", "x")}, TypeError, "auth is tuple"),
        ({"compression": "gzip"}, ValueError, "gzip"),
    ],
)
async def test_configure_checks_what_it_is_given(
    options: dict[str, Any], kind: type[Exception], problem: str
) -> None:
    error = await in_a_hook(lambda ws: ws.configure(**options))
    assert isinstance(error, kind)
    assert problem in str(error)


async def test_configure_comes_too_late_once_the_connection_is_open() -> None:
    ours, theirs = memory_pair()
    await theirs.send(UPGRADE)
    async with wrap_server(ours) as ws:
        with pytest.raises(LocalProtocolError, match="too late to configure"):
            ws.configure(max_size=1)
        await theirs.aclose()


@pytest.mark.parametrize(
    ("given", "kind", "problem"),
    [
        ({"select_subprotocol": "chat"}, TypeError, "select_subprotocol is 'chat'"),
        ({"process_request": 1}, TypeError, "process_request is 1"),
        ({"process_response": 1}, TypeError, "process_response is 1"),
        ({"auth": "Ada"}, TypeError, "auth is str, expected BasicAuth or None"),
        ({"server_header": "a\r\nb"}, LocalProtocolError, "control characters"),
        ({"open_timeout": -1}, ValueError, "open_timeout is -1"),
        ({"colour": "red"}, TypeError, "unknown option 'colour'"),
    ],
)
def test_settings_are_checked_at_once(
    given: dict[str, Any], kind: type[Exception], problem: str
) -> None:
    with pytest.raises(kind, match=problem):
        Accepting().changed(given)


def test_settings_that_are_not_given_stay() -> None:
    settings = Accepting().changed({"max_size": 5, "subprotocols": ["a"], "compression": "deflate"})
    changed = settings.changed({"subprotocols": ["b"], "write_limit": 7})
    assert (changed.subprotocols, changed.connection.max_size) == (("b",), 5)
    assert changed.connection.write_limit == 7
    assert [each.name for each in changed.negotiable] == ["permessage-deflate"]
    assert settings.subprotocols == ("a",)
