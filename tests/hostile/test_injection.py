"""Control characters from an application, or from a peer, wherever they could do harm (C2).

What an application gives must not end a line of HTTP, and what a peer says must not end one of the
log. `test_logging.py` has the secrets.
"""

from __future__ import annotations

import logging
from typing import Any

import anyio
import pytest

from anyws import (
    HandshakeError,
    InvalidURI,
    LocalProtocolError,
    Request,
    Response,
    ServerConnection,
    connect,
    serve,
)
from anyws.testing import RawPeer, close_frame

from ..raw import LIMIT, raw_client, raw_server
from ..scripted import Carrier, Role, both_roles
from ..serving import echo, errors

pytestmark = pytest.mark.anyio

EVIL = {
    "line": "a\r\nX-Injected: b",
    "LF": "a\nX-Injected: b",
    "CR": "a\rX-Injected: b",
    "NUL": "a\0b",
    "vertical tab": "a\x0bX-Injected: b",
    "file separator": "a\x1cX-Injected: b",
    "escape": "a\x1b[2J",
    "DEL": "a\x7fb",
    "line separator": "a\u2028X-Injected: b",
}

evil_text = pytest.mark.parametrize("text", EVIL.values(), ids=EVIL)


@evil_text
@pytest.mark.parametrize(
    "place",
    [
        "headers",
        "header_names",
        "origin",
        "user_agent",
        "subprotocols",
        "cookies",
        "cookie_names",
        "path",
        "query",
        "host",
        "server_header",
        "server_subprotocols",
    ],
)
def test_application_cannot_break_a_line(place: str, text: str) -> None:
    """It is told at once, before anything is opened."""
    options: dict[str, dict[str, Any]] = {
        "headers": {"headers": {"X": text}},
        "header_names": {"headers": {text: "a"}},
        "origin": {"origin": text},
        "user_agent": {"user_agent": text},
        "subprotocols": {"subprotocols": [text]},
        "cookies": {"cookies": {"a": text}},
        "cookie_names": {"cookies": {text: "a"}},
        "server_header": {"server_header": text},
        "server_subprotocols": {"subprotocols": [text]},
    }
    uris = {
        "path": f"ws://localhost/{text}",
        "query": f"ws://localhost/?{text}",
        "host": f"ws://{text}/",
    }
    given = options.get(place, {})
    with pytest.raises((LocalProtocolError, InvalidURI, ValueError)):
        _ = (
            serve(echo, "127.0.0.1", **given)
            if place.startswith("server")
            else connect(uris.get(place, "ws://localhost/"), **given)
        )


@evil_text
async def test_redirect_cannot_break_a_line(text: str) -> None:
    """The target of a redirect becomes part of a request."""
    seen: list[str] = []

    async def script(peer: RawPeer) -> None:
        seen.append((await peer.read_head()).first_line)
        location = f"Location: /{text}".encode()
        await peer.send(b"HTTP/1.1 302 Found\r\n" + location + b"\r\nContent-Length: 0\r\n\r\n")

    async with raw_server(script) as port:
        with anyio.fail_after(LIMIT), pytest.raises(HandshakeError):
            async with connect(f"ws://127.0.0.1:{port}/", max_redirects=1):
                pass
    assert all(line.isprintable() and "Injected" not in line.split("%")[0] for line in seen)


@evil_text
@pytest.mark.parametrize("place", ["respond", "process_request", "process_response", "reason"])
async def test_hook_cannot_break_a_line(
    place: str, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is answered by 500, and the log has the traceback."""

    def answer(ws: ServerConnection, request: Request) -> Response | None:
        if place == "respond":
            return ws.respond(200, "", {"X": text})
        if place == "reason":
            return Response(200, reason_phrase=text)
        if place == "process_request":
            response = Response(200)
            response.headers["X"] = text
            return response
        return None

    def change(ws: ServerConnection, request: Request, response: Response) -> None:
        if place == "process_response":
            response.headers["X"] = text

    async with (
        serve(echo, "127.0.0.1", process_request=answer, process_response=change) as server,
        raw_client(server.port) as peer,
    ):
        head = await peer.upgrade()
        assert head.status == 500
        assert "x-injected" not in head.headers
    assert len(errors(caplog)) == 1


@both_roles
@evil_text
async def test_close_reason_cannot_break_a_line_of_the_log(
    role: Role, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """CVE-2020-7694: it may have any character (§5.5.1), and is escaped where it is logged."""
    caplog.set_level(logging.DEBUG)
    async with Carrier("tcp").scripted(role) as (ws, peer):
        await peer.send(close_frame(4000, text))
        assert await peer.receive_close() == (4000, text)
        await peer.drop()
        await ws.wait_closed()
        assert ws.close_reason == text
    messages = [record.getMessage() for record in caplog.records if record.name == "anyws"]
    assert any("4000" in message for message in messages)
    assert all(message.isprintable() for message in messages)


@pytest.mark.parametrize(
    "head",
    [
        "GET /\x1b[2J HTTP/1.1",
        "GET /%1b%0a HTTP/1.1",
        "G\x1bT / HTTP/1.1",
        "GET / HTTP/1.1\r\nUser-Agent: \x1b]0;title\x07",
        "GET / HTTP/1.1\r\nHost: \x1b[2J",
        "GET / HTTP/1.1\r\nHost: a\r\nOrigin: http://\x85evil",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \xff\x9b2J",
    ],
    ids=ascii,
)
async def test_request_cannot_break_a_line_of_the_log(
    head: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve(echo, "127.0.0.1") as server, raw_client(server.port) as peer:
        await peer.send(head.encode("iso-8859-1") + b"\r\n\r\n")
        assert (await peer.read_response()).status in (400, 426)
    messages = [record.getMessage() for record in caplog.records if record.name == "anyws"]
    assert messages
    assert all(message.isascii() and message.isprintable() for message in messages)


@pytest.mark.parametrize("text", ["\x1b[2J", "\x85", "\x9b2J", "\xff"], ids=ascii)
async def test_answer_cannot_break_a_line_of_an_error(text: str) -> None:
    """What a server says ends up in the message of an error, and that in a log."""
    answer = f"HTTP/1.1 403 {text}\r\nX: {text}\r\nContent-Length: 0\r\n\r\n"

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(answer.encode("iso-8859-1"))

    async with raw_server(script) as port:
        with anyio.fail_after(LIMIT), pytest.raises(HandshakeError) as caught:
            async with connect(f"ws://127.0.0.1:{port}/"):
                pass
    assert str(caught.value).isprintable()
