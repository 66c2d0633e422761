"""`connect` and `wrap_client`: from a URI to an open connection, against scripted servers.

How the block is left is in test_lifetime.py.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import socket as stdlib_socket
import ssl as stdlib_ssl
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
import trio.testing
import trustme
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint, current_token
from anyio.streams.tls import TLSStream

from anyws import (
    ClientConnection,
    Connecting,
    ConnectionClosedError,
    Deflate,
    HandshakeError,
    HandshakeRejected,
    InvalidHandshake,
    InvalidURI,
    LocalProtocolError,
    NegotiationError,
    ServerConnection,
    connect,
    serve,
    wrap_client,
)
from anyws.testing import (
    PING,
    PONG,
    TEXT,
    Frame,
    Head,
    MemoryStream,
    RawPeer,
    close_frame,
    memory_pair,
)

from ._io.network import black_hole, resolve_to
from .raw import LIMIT, Script, closed_port, full_listener, raw_server

pytestmark = pytest.mark.anyio

HELLO = Frame(TEXT, b"hello")

needs_unix = pytest.mark.skipif(not hasattr(stdlib_socket, "AF_UNIX"), reason="needs Unix sockets")


async def echo(ws: ServerConnection) -> None:
    async for message in ws:
        await ws.send(message)


async def enter(connecting: Connecting) -> None:
    """Open and leave at once: for what fails before that."""
    async with connecting:
        pass


def answering(*parts: bytes) -> Callable[[RawPeer], Coroutine[Any, Any, None]]:
    """Answer the request with these bytes, and close when the client has."""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        for part in parts:
            await peer.send(part)
        await peer.read_rest()

    return script


def ending_after(*parts: bytes) -> Script:
    """Answer the request with these bytes, and close."""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        for part in parts:
            await peer.send(part)

    return script


async def greet_in_plaintext(peer: RawPeer) -> None:
    await peer.send(b"220 ready\r\n" * 10)
    await peer.read_rest()


async def be_silent(peer: RawPeer) -> None:
    await peer.read_rest()


async def answer_close(peer: RawPeer) -> None:
    await peer.accept()
    await peer.answer_close()


# The two forms


async def test_a_task_group_may_hold_the_connection() -> None:
    """R-A12c: closing is the caller's, after which nothing is left in the group."""
    codes = []

    async def script(peer: RawPeer) -> None:
        await peer.accept(then=(HELLO,))
        codes.append((await peer.answer_close())[0])

    async with raw_server(script) as port, anyio.create_task_group() as tasks:
        ws = await connect(f"ws://127.0.0.1:{port}/", task_group=tasks)
        assert isinstance(ws, ClientConnection)
        assert await ws.receive() == "hello"
        await ws.aclose()
    assert codes == [1000]


async def test_a_connection_that_the_peer_closes_leaves_its_task_group() -> None:
    """R-A12c"""

    async def script(peer: RawPeer) -> None:
        await peer.accept(then=(close_frame(1001),))
        await peer.expect(close_frame(1001))

    async with raw_server(script) as port, anyio.create_task_group() as tasks:
        ws = await connect(f"ws://127.0.0.1:{port}/", task_group=tasks)
    assert ws.close_code == 1001


async def test_a_cancelled_task_group_closes_the_connection_with_1001() -> None:
    """R-A12c"""
    codes = []

    async def script(peer: RawPeer) -> None:
        await peer.accept()
        codes.append((await peer.answer_close())[0])

    async with raw_server(script) as port:
        async with anyio.create_task_group() as tasks:
            ws = await connect(f"ws://127.0.0.1:{port}/", task_group=tasks)
            tasks.cancel_scope.cancel()
        assert ws.state.value == "closed"
    assert codes == [1001]


def test_a_nursery_of_trio_may_hold_the_connection() -> None:
    """R-A12c"""

    async def main() -> None:
        async with serve(echo, "127.0.0.1") as server, trio.open_nursery() as nursery:
            ws = await connect(server.uri, task_group=nursery)
            await ws.send("hello")
            assert await ws.receive() == "hello"
            await ws.aclose()
            with closed_port() as port, pytest.raises(ConnectionRefusedError):
                await connect(f"ws://127.0.0.1:{port}/", task_group=nursery)

    trio.run(main)


async def test_connecting_in_a_task_group_fails_plainly_and_leaves_it_usable() -> None:
    """R-A3c, R-A12c"""
    async with anyio.create_task_group() as tasks:
        with closed_port() as port, pytest.raises(ConnectionRefusedError):
            await connect(f"ws://127.0.0.1:{port}/", task_group=tasks)
        await checkpoint()


async def test_awaiting_without_a_task_group_names_both_ways() -> None:
    with pytest.raises(RuntimeError, match=r"async with connect.*task_group=tg"):
        await connect("ws://localhost/")


async def test_a_connecting_object_serves_once() -> None:
    async with raw_server(answer_close) as port:
        connecting = connect(f"ws://127.0.0.1:{port}/")
        await enter(connecting)
    with pytest.raises(RuntimeError, match="for one connection only"):
        await enter(connecting)


async def test_looping_over_connect_names_reconnect() -> None:
    # As users of websockets are used to write it.
    connecting: Any = connect("ws://localhost/")
    with pytest.raises(TypeError, match=r"async with reconnect\(...\) as attempts"):
        async for _ in connecting:
            pass


async def test_a_connecting_object_does_not_serve_again_in_a_task_group() -> None:
    async with raw_server(answer_close) as port, anyio.create_task_group() as tasks:
        connecting = connect(f"ws://127.0.0.1:{port}/", task_group=tasks)
        await (await connecting).aclose()
        with pytest.raises(RuntimeError, match="for one connection only"):
            await connecting


# The request


async def test_the_request_says_what_the_rfc_asks_for() -> None:
    """RFC 6455 §4.1."""
    requests: list[Head] = []

    async def script(peer: RawPeer) -> None:
        requests.append(await peer.accept("Sec-WebSocket-Protocol: soap", "Server: test"))
        await peer.answer_close()

    async with (
        raw_server(script) as port,
        connect(
            f"ws://127.0.0.1:{port}/chat?room=1",
            headers={"X-Token": "abc"},
            origin="https://example.org",
            user_agent="test/1",
            subprotocols=["wamp", "soap"],
        ) as ws,
    ):
        assert ws.subprotocol == "soap"
        assert ws.request.path == "/chat?room=1"
        assert ws.request.headers["x-token"] == "abc"
        assert (ws.response.status_code, ws.response.headers["server"]) == (101, "test")
        assert ws.remote_address == ("127.0.0.1", port)
    (request,) = requests
    assert request.first_line == "GET /chat?room=1 HTTP/1.1"
    key = request.headers.pop("sec-websocket-key")
    assert len(key) == 24
    assert request.headers == {
        "host": f"127.0.0.1:{port}",
        "upgrade": "websocket",
        "connection": "Upgrade",
        "sec-websocket-version": "13",
        "sec-websocket-protocol": "wamp, soap",
        "origin": "https://example.org",
        "user-agent": "test/1",
        "x-token": "abc",
    }


@pytest.mark.parametrize(
    ("options", "user_agent"),
    [
        ({}, "anyws"),
        ({"user_agent": None}, None),
        ({"headers": {"User-Agent": "mine"}}, "mine"),
        ({"headers": None}, "anyws"),
    ],
)
async def test_the_user_agent_is_ours_unless_it_is_given(
    options: dict[str, Any], user_agent: str | None
) -> None:
    requests: list[Head] = []

    async def script(peer: RawPeer) -> None:
        requests.append(await peer.accept())
        await peer.answer_close()

    async with raw_server(script) as port:
        await enter(connect(f"ws://127.0.0.1:{port}/", **options))
    assert requests[0].headers.get("user-agent") == user_agent
    assert "sec-websocket-protocol" not in requests[0].headers


async def test_nothing_that_is_given_is_changed(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """It may serve for another connection."""
    extension = Deflate()
    headers = {"X-Token": "abc", "User-Agent": "mine"}
    cookies = {"id": "1"}
    subprotocols = ["wamp", "soap"]
    extensions = [extension]

    def settings_of(ssl: stdlib_ssl.SSLContext) -> tuple[object, ...]:
        return ssl.verify_mode, ssl.check_hostname, ssl.options, ssl.minimum_version

    settings = settings_of(client_ssl)
    async with raw_server(answer_close, ssl=server_ssl) as port:
        await enter(
            connect(
                f"wss://127.0.0.1:{port}/",
                ssl=client_ssl,
                headers=headers,
                cookies=cookies,
                subprotocols=subprotocols,
                extensions=extensions,
                auth=("a", "b"),
            )
        )
    assert (headers, cookies) == ({"X-Token": "abc", "User-Agent": "mine"}, {"id": "1"})
    assert (subprotocols, extensions) == (["wamp", "soap"], [extension])
    assert settings_of(client_ssl) == settings


async def test_options_reach_the_connection() -> None:
    """A message above `max_size` closes with 1009."""

    async def script(peer: RawPeer) -> None:
        await peer.accept(then=(HELLO,))
        assert (await peer.receive_close())[0] == 1009

    async with (
        raw_server(script) as port,
        connect(f"ws://127.0.0.1:{port}/", max_size=4) as ws,
    ):
        with pytest.raises(ConnectionClosedError, match="1009"):
            await ws.receive()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"uri": "http://localhost/"}, InvalidURI, "allowed are ws and wss"),
        ({"ssl": stdlib_ssl.create_default_context()}, ValueError, "ssl is for wss URIs"),
        ({"path": "here", "stream": memory_pair}, ValueError, "exclude each other"),
        ({"open_timeout": -1}, ValueError, "open_timeout is -1"),
        ({"happy_eyeballs_delay": None}, TypeError, "happy_eyeballs_delay is None"),
        ({"max_size": 0}, ValueError, "max_size is 0"),
        ({"max_message_size": 1}, TypeError, "unknown option 'max_message_size'"),
        ({"subprotocols": "chat"}, TypeError, "not a str"),
        ({"subprotocols": ["a b"]}, LocalProtocolError, "not a token"),
        ({"headers": {"Upgrade": "h2c"}}, LocalProtocolError, "Upgrade is set by the opening"),
        ({"headers": {"X": "a\r\nY: b"}}, LocalProtocolError, "control characters"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused_at_once(
    arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        _ = connect(**{"uri": "ws://localhost/"} | arguments)


def test_a_password_in_the_uri_is_in_no_message_about_other_arguments() -> None:
    """R-B7a"""
    context = stdlib_ssl.create_default_context()
    with pytest.raises(ValueError, match=r"not for ws://localhost:8000$"):
        _ = connect("ws://hidden:secret@localhost:8000/?token=secret", ssl=context)


async def refuse(peer: RawPeer) -> None:
    await peer.read_head()
    await peer.send(b"HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")


@pytest.mark.parametrize(
    ("scheme", "script"),
    [
        pytest.param("ws", None, id="refused"),
        pytest.param("ws", refuse, id="rejected"),
        pytest.param("ws", answering(b"garbage\r\n\r\n"), id="garbage"),
        pytest.param("ws", be_silent, id="timeout"),
        pytest.param("wss", be_silent, id="timeout-in-tls"),
        pytest.param("wss", greet_in_plaintext, id="no-tls"),
    ],
)
async def test_a_password_in_the_uri_is_in_no_error(
    scheme: str, script: Script | None, caplog: pytest.LogCaptureFixture
) -> None:
    """R-B7a: nor in the log, whatever goes wrong."""
    caplog.set_level(logging.DEBUG)
    async with AsyncExitStack() as stack:
        if script is None:
            port = stack.enter_context(closed_port())
        else:
            port = await stack.enter_async_context(raw_server(script))
        uri = f"{scheme}://hidden:secret@127.0.0.1:{port}/"
        with pytest.raises((OSError, HandshakeError)) as caught:
            await enter(connect(uri, open_timeout=0.1 if script is be_silent else LIMIT))
    shown = "".join(traceback.format_exception_only(caught.value)) + caplog.text
    assert "secret" not in shown
    assert "hidden" not in shown


# The answer


async def test_interim_responses_are_skipped() -> None:
    """RFC 9110 §15.2; each in a segment of its own, and all in one."""

    async def script(peer: RawPeer) -> None:
        request = await peer.read_head()
        hints = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n"
        await peer.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await peer.send(hints)
        await peer.send(hints, request.switch(), HELLO)
        await peer.answer_close()

    async with raw_server(script) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
        assert ws.response.status_code == 101
        assert await ws.receive() == "hello"


async def test_frames_in_the_segment_of_the_answer_are_not_lost() -> None:
    """A Ping among them is answered, and a Close is the end."""

    async def script(peer: RawPeer) -> None:
        await peer.accept(then=(HELLO, Frame(PING, b"data"), HELLO, close_frame(1000)))
        await peer.expect(Frame(PONG, b"data"), close_frame(1000))

    async with raw_server(script) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
        assert [message async for message in ws] == ["hello", "hello"]


async def test_the_end_in_the_segment_of_the_answer_is_not_lost() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.accept(then=(HELLO,))

    async with raw_server(script) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
        assert await ws.receive() == "hello"
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
    assert caught.value.initiator == "transport"


async def test_an_answer_may_have_many_fields() -> None:
    """R-C2: CVE-2024-37890; the limit is for their bytes."""

    async def script(peer: RawPeer) -> None:
        await peer.accept(*(f"X-{n}: {n}" for n in range(1000)))
        await peer.answer_close()

    async with raw_server(script) as port, connect(f"ws://127.0.0.1:{port}/") as ws:
        assert ws.response.headers["X-999"] == "999"


async def test_an_answer_may_come_byte_by_byte() -> None:
    async def script(peer: RawPeer) -> None:
        request = await peer.read_head()
        for byte in request.switch():
            await peer.send(bytes([byte]))
        await peer.answer_close()

    async with raw_server(script) as port:
        await enter(connect(f"ws://127.0.0.1:{port}/"))


@pytest.mark.parametrize(
    ("status", "answer", "body"),
    [
        pytest.param(
            403, b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever", b"never", id="length"
        ),
        pytest.param(
            401,
            b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"4\r\nwho \r\n8\r\nare you?\r\n0\r\n\r\n",
            b"who are you?",
            id="chunked",
        ),
        pytest.param(302, b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\nmoved", b"moved", id="eof"),
        pytest.param(200, b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"", id="empty"),
        pytest.param(204, b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="no-body"),
        pytest.param(503, b"HTTP/1.0 503 Busy\r\nRetry-After: 5\r\n\r\n", b"", id="http-1.0"),
        pytest.param(
            500,
            b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 70_000,
            b"x" * 65_536,
            id="cut-at-64-KiB",
        ),
    ],
)
async def test_a_rejection_carries_the_response(status: int, answer: bytes, body: bytes) -> None:
    """R-A3c, R-B6d: plain, with status, headers and bounded body."""
    async with raw_server(ending_after(answer)) as port:
        with pytest.raises(HandshakeRejected, match=f"HTTP {status}") as caught:
            await enter(connect(f"ws://127.0.0.1:{port}/"))
    response = caught.value.response
    assert (response.status_code, response.body) == (status, body)
    head = answer.partition(b"\r\n\r\n")[0].decode().split("\r\n")
    assert [f"{name}: {value}" for name, value in response.headers.multi_items()] == head[1:]


async def test_a_body_of_a_rejection_ends_with_its_length_not_with_the_connection() -> None:
    """R-B6d: the server keeps the connection open."""
    script = answering(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nnever")
    async with raw_server(script) as port:
        with anyio.fail_after(LIMIT), pytest.raises(HandshakeRejected):
            await enter(connect(f"ws://127.0.0.1:{port}/", open_timeout=None))


def without(name: str) -> Callable[[Head], bytes]:
    def answer(request: Head) -> bytes:
        lines = request.switch().split(b"\r\n")
        return b"\r\n".join(line for line in lines if not line.startswith(f"{name}:".encode()))

    return answer


def instead(name: str, value: str) -> Callable[[Head], bytes]:
    def answer(request: Head) -> bytes:
        return without(name)(request)[:-2] + f"{name}: {value}\r\n\r\n".encode()

    return answer


def plus(*fields: str) -> Callable[[Head], bytes]:
    return lambda request: request.switch(*fields)


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        pytest.param(without("Upgrade"), InvalidHandshake, "no Upgrade header", id="no-upgrade"),
        pytest.param(
            instead("Upgrade", "h2c"),
            InvalidHandshake,
            "Upgrade is 'h2c', expected websocket",
            id="upgrade",
        ),
        pytest.param(
            without("Connection"), InvalidHandshake, "no Connection header", id="no-connection"
        ),
        pytest.param(
            instead("Connection", "keep-alive"),
            InvalidHandshake,
            "Connection is 'keep-alive', expected Upgrade",
            id="connection",
        ),
        pytest.param(
            without("Sec-WebSocket-Accept"),
            InvalidHandshake,
            "no Sec-WebSocket-Accept header",
            id="no-accept",
        ),
        pytest.param(
            instead("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
            InvalidHandshake,
            "Sec-WebSocket-Accept is 's3pPLMBiTxaQ9kYGzzhZRbK",
            id="accept-of-another-key",
        ),
        pytest.param(
            plus("Sec-WebSocket-Protocol: superchat"),
            NegotiationError,
            "chose the subprotocol 'superchat', offered: chat",
            id="subprotocol",
        ),
        pytest.param(
            lambda request: plus("Sec-WebSocket-Protocol: ch?t")(request).replace(b"?", b"\xe9"),
            NegotiationError,
            "chose the subprotocol 'ch\xe9t', offered: chat",
            id="subprotocol-outside-ascii",
        ),
        pytest.param(
            lambda request: plus("Sec-WebSocket-Extensions: x?")(request).replace(b"?", b"\xe9"),
            InvalidHandshake,
            "the response cannot be read: comma, or parameter of an extension",
            id="extension-outside-ascii",
        ),
        pytest.param(
            plus("Sec-WebSocket-Extensions: permessage-deflate"),
            NegotiationError,
            "an extension that was not offered: permessage-deflate",
            id="extension",
        ),
        pytest.param(
            lambda _: b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
            InvalidHandshake,
            "not a valid response",
            id="garbage",
        ),
        pytest.param(
            lambda _: b"HTTP/1.1 101 Fine\r\nX: " + b"x" * 20_000,
            InvalidHandshake,
            "not a valid response",
            id="head-above-16-KiB",
        ),
        pytest.param(lambda _: b"", InvalidHandshake, "closed the connection", id="end"),
        pytest.param(
            lambda _: b"HTTP/1.1 101 Swit", InvalidHandshake, "not a valid response", id="cut"
        ),
        pytest.param(
            lambda _: b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nne",
            HandshakeRejected,
            "HTTP 403 Forbidden",
            id="cut-in-the-body",
        ),
    ],
)
async def test_an_answer_that_will_not_do_says_what_is_wrong(
    answer: Callable[[Head], bytes], error: type[HandshakeError], message: str
) -> None:
    """R-A3c: RFC 6455 §4.1; the connection is closed."""

    async def script(peer: RawPeer) -> None:
        data = answer(await peer.read_head())
        await peer.send(data)
        if not data.endswith(b"\r\n\r\n"):
            await peer.stream.send_eof()
        assert await peer.read_rest() == b""

    async with raw_server(script) as port:
        with pytest.raises(HandshakeError, match=message) as caught:
            await enter(connect(f"ws://127.0.0.1:{port}/", subprotocols=["chat"]))
    assert type(caught.value) is error


async def test_a_reset_before_the_answer_is_an_invalid_handshake() -> None:
    """R-A3c"""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        sock = peer.stream.extra(SocketAttribute.raw_socket)
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with raw_server(script) as port:
        with pytest.raises(InvalidHandshake, match="broke before the server answered") as caught:
            await enter(connect(f"ws://127.0.0.1:{port}/"))
    assert isinstance(caught.value.__cause__, ConnectionResetError)


# Reaching the server


async def test_a_refused_connection_is_plain() -> None:
    """R-A3c"""
    with closed_port() as port, pytest.raises(ConnectionRefusedError, match=r"127\.0\.0\.1"):
        await enter(connect(f"ws://127.0.0.1:{port}/"))


async def test_a_name_that_cannot_be_resolved_is_plain() -> None:
    """R-A3c: a label of 64 characters is known to be none without asking a name server."""
    with pytest.raises(OSError) as caught:  # noqa: PT011  # its kind is checked below
        await enter(connect(f"ws://{'a' * 64}.invalid/"))
    assert isinstance(caught.value, stdlib_socket.gaierror)


@pytest.mark.skipif(sys.platform == "darwin", reason="there is one loopback address only")
async def test_a_local_address_may_be_chosen() -> None:
    async with (
        serve(echo, "127.0.0.1") as server,
        connect(server.uri, local_host="127.0.0.2") as ws,
    ):
        assert ws.local_address[0] == "127.0.0.2"


@pytest.mark.parametrize("delay", [0, 3600.0])
async def test_the_next_address_has_to_wait_for_its_delay(
    delay: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R-B10: longer than the time there is, where the delay is an hour."""
    async with raw_server(answer_close) as port:
        with black_hole("127.0.0.2") as silent:
            resolve_to(monkeypatch, [silent, ("127.0.0.1", port)])
            # More than the default, so that one that is not passed on is found out.
            connecting = connect(
                "ws://example.org/",
                happy_eyeballs_delay=delay,
                open_timeout=0.4 if delay else LIMIT,
            )
            if delay:
                with pytest.raises(TimeoutError, match=r"connecting to example\.org port 80"):
                    await enter(connecting)
            else:
                await enter(connecting)


@needs_unix
async def test_a_unix_socket_is_reached_by_its_path(tmp_path: Path) -> None:
    """R-B10: the URI still gives Host and path."""
    requests = []

    async def note(ws: ServerConnection) -> None:
        requests.append(ws.request)

    path = tmp_path / "socket"
    async with serve(note, path=path), connect("ws://example.org/chat", path=path) as ws:
        assert ws.remote_address == str(path)
        await ws.wait_closed()
    assert (requests[0].headers["host"], requests[0].path) == ("example.org", "/chat")


@needs_unix
async def test_a_unix_socket_that_is_not_there_is_plain(tmp_path: Path) -> None:
    """R-A3c"""
    with pytest.raises(FileNotFoundError):
        await enter(connect("ws://localhost/", path=tmp_path / "socket"))


# TLS


@pytest.fixture
def idna_ssl(certificate_authority: trustme.CA) -> stdlib_ssl.SSLContext:
    """Return a server context whose certificate names bücher.example."""
    context = stdlib_ssl.create_default_context(stdlib_ssl.Purpose.CLIENT_AUTH)
    certificate_authority.issue_cert("xn--bcher-kva.example").configure_cert(context)
    return context


async def test_tls_encrypts_and_verifies(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B9"""
    async with (
        serve(echo, "127.0.0.1", ssl=server_ssl) as server,
        connect(server.uri, ssl=client_ssl) as ws,
    ):
        assert server.uri.startswith("wss://")
        await ws.send("hello")
        assert await ws.receive() == "hello"


@pytest.mark.skipif(not stdlib_socket.has_ipv6, reason="needs IPv6")
async def test_the_certificate_of_an_ipv6_address_is_verified(
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
    idna_ssl: stdlib_ssl.SSLContext,
) -> None:
    """R-B9"""
    async with serve(echo, "::1", ssl=server_ssl) as server:
        assert server.uri == f"wss://[::1]:{server.port}/"
        async with connect(server.uri, ssl=client_ssl) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
    async with serve(echo, "::1", ssl=idna_ssl) as server:
        with pytest.raises(HandshakeError, match="IP address mismatch"):
            await enter(connect(server.uri, ssl=client_ssl))


async def test_the_default_context_verifies(server_ssl: stdlib_ssl.SSLContext) -> None:
    """R-B9: nobody vouches for the tests' authority. R-A3c: the failure is plain."""
    async with serve(echo, "127.0.0.1", ssl=server_ssl) as server:
        with pytest.raises(HandshakeError, match="certificate verify failed") as caught:
            await enter(connect(server.uri))
    assert type(caught.value) is HandshakeError
    assert isinstance(caught.value.__cause__, stdlib_ssl.SSLCertVerificationError)


async def test_a_certificate_for_another_name_is_refused_unless_that_name_is_given(
    client_ssl: stdlib_ssl.SSLContext, idna_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B9: `server_hostname` overrides the URI's host."""
    async with serve(echo, "127.0.0.1", ssl=idna_ssl) as server:
        with pytest.raises(HandshakeError, match="mismatch"):
            await enter(connect(server.uri, ssl=client_ssl))
        name = "xn--bcher-kva.example"
        async with connect(server.uri, ssl=client_ssl, server_hostname=name) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


@needs_unix
async def test_an_international_host_matches_its_certificate(
    client_ssl: stdlib_ssl.SSLContext, idna_ssl: stdlib_ssl.SSLContext, tmp_path: Path
) -> None:
    """R-B9"""
    hosts = []

    async def note(ws: ServerConnection) -> None:
        hosts.append(ws.request.headers["host"])

    path = tmp_path / "socket"
    async with serve(note, path=path, ssl=idna_ssl):
        async with connect("wss://bücher.example/", ssl=client_ssl, path=path) as ws:
            await ws.wait_closed()
        with pytest.raises(HandshakeError, match="mismatch"):
            await enter(connect("wss://bucher.example/", ssl=client_ssl, path=path))
    assert hosts == ["xn--bcher-kva.example"]


async def leave_in_the_middle(peer: RawPeer) -> None:
    await peer.stream.receive()


@pytest.mark.parametrize("script", [greet_in_plaintext, leave_in_the_middle])
async def test_tls_that_fails_is_a_plain_handshake_error(
    script: Script, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-A3c"""
    async with raw_server(script) as port:
        with pytest.raises(HandshakeError, match=r"the TLS handshake with 127\.0\.0\.1") as caught:
            await enter(connect(f"wss://127.0.0.1:{port}/", ssl=client_ssl))
    assert type(caught.value) is HandshakeError
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize("polite", [True, False])
async def test_a_peer_may_skip_the_goodbye_of_tls(
    polite: bool, server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B9: without close_notify, a Close frame makes a clean end, and its absence 1006."""

    async def script(peer: RawPeer) -> None:
        await peer.accept()
        if polite:
            await peer.send(close_frame(1000))
            await peer.expect(close_frame(1000))
        assert isinstance(peer.stream, TLSStream)
        await peer.stream.transport_stream.aclose()

    async with (
        raw_server(script, ssl=server_ssl) as port,
        connect(f"wss://127.0.0.1:{port}/", ssl=client_ssl) as ws,
    ):
        if polite:
            assert [message async for message in ws] == []
            assert (ws.close_code, ws.state.value) == (1000, "closed")
        else:
            with pytest.raises(ConnectionClosedError) as caught:
                await ws.receive()
            assert caught.value.code == 1006


# Time and cancellation


async def never(*_: object, **__: object) -> Any:
    await anyio.sleep_forever()


class SilentResolver(trio.abc.HostnameResolver):
    async def getaddrinfo(self, *_: object) -> Any:
        await never()

    async def getnameinfo(self, *_: object) -> Any:
        await never()


@pytest.fixture
def silent_resolver(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Return a function that lets name lookups of the running loop take for ever."""

    def silence() -> None:
        loop = current_token().native_token
        if isinstance(loop, asyncio.AbstractEventLoop):
            monkeypatch.setattr(loop, "getaddrinfo", never)
        else:
            trio.socket.set_custom_hostname_resolver(SilentResolver())

    return silence


async def test_open_timeout_covers_the_name_lookup(silent_resolver: Callable[[], None]) -> None:
    silent_resolver()
    message = r"connecting to example\.org port 80 took too long: open_timeout is 0\.02 s"
    with pytest.raises(TimeoutError, match=message):
        await enter(connect("ws://example.org/", open_timeout=0.02))


@needs_unix
async def test_open_timeout_covers_connecting(tmp_path: Path) -> None:
    path = str(tmp_path / "socket")
    with full_listener(path), pytest.raises(TimeoutError, match="connecting to localhost port 80"):
        await enter(connect("ws://localhost/", path=path, open_timeout=0.02))


@pytest.mark.parametrize(
    ("scheme", "step"), [("wss", "the TLS handshake with"), ("ws", "the opening handshake with")]
)
async def test_open_timeout_covers_the_handshakes(scheme: str, step: str) -> None:
    """R-B9: that of TLS too. The socket is closed before the exception comes."""
    async with raw_server(be_silent) as port:
        with pytest.raises(TimeoutError, match=f"{step} 127.0.0.1 port {port} took too long"):
            await enter(connect(f"{scheme}://127.0.0.1:{port}/", open_timeout=0.05))


@pytest.mark.parametrize(("given", "expected"), [({}, 10.0), ({"open_timeout": 3}, 3.0)])
def test_open_timeout_is_one_deadline_for_all(given: dict[str, Any], expected: float) -> None:
    """A byte of the answer now and then does not put it off."""

    async def drip(stream: MemoryStream) -> None:
        with suppress(anyio.BrokenResourceError):
            for byte in b"HTTP/1.1 101 Switching Protocols":
                await stream.send(bytes([byte]))
                await trio.sleep(0.7)

    async def main() -> None:
        ours, theirs = memory_pair()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(drip, theirs)
            began = trio.current_time()
            with pytest.raises(TimeoutError):
                await enter(wrap_client(ours, "ws://localhost/", **given))
            assert trio.current_time() - began == pytest.approx(expected)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def test_cancelling_works_during_the_name_lookup(
    silent_resolver: Callable[[], None],
) -> None:
    silent_resolver()
    with anyio.move_on_after(0.02) as scope:
        await enter(connect("ws://example.org/"))
    assert scope.cancelled_caught


@needs_unix
async def test_cancelling_while_connecting_closes_the_socket(tmp_path: Path) -> None:
    """An open one would be reported when it is collected."""
    path = str(tmp_path / "socket")
    with full_listener(path), anyio.move_on_after(0.02) as scope:
        await enter(connect("ws://localhost/", path=path))
    assert scope.cancelled_caught


@pytest.mark.parametrize(
    ("scheme", "answer"),
    [
        pytest.param("wss", b"", id="tls"),
        pytest.param("ws", b"", id="opening-handshake"),
        pytest.param("ws", b"HTTP/1.1 101 Swi", id="half-an-answer"),
        pytest.param("ws", b"HTTP/1.1 403 No\r\n\r\nnev", id="half-a-rejection"),
    ],
)
async def test_cancelling_in_a_handshake_closes_the_socket(scheme: str, answer: bytes) -> None:
    async with raw_server(lambda peer: script(peer)) as port:

        async def script(peer: RawPeer) -> None:
            await peer.stream.receive()
            if answer:
                await peer.send(answer)
            scope.cancel()
            await peer.read_rest()

        with anyio.CancelScope() as scope:
            await enter(connect(f"{scheme}://127.0.0.1:{port}/"))
        assert scope.cancelled_caught


async def test_cancelling_a_task_group_that_connects_closes_the_socket() -> None:
    async with raw_server(lambda peer: script(peer)) as port:

        async def script(peer: RawPeer) -> None:
            await peer.read_head()
            tasks.cancel_scope.cancel()
            assert await peer.read_rest() == b""

        async with anyio.create_task_group() as tasks:
            await connect(f"ws://127.0.0.1:{port}/", task_group=tasks)
        assert tasks.cancel_scope.cancelled_caught


# Streams


async def shake_hands_and_close(peer: RawPeer) -> None:
    await peer.accept(then=(HELLO,))
    await peer.answer_close()


def giving(stream: ByteStream) -> Callable[[], Coroutine[Any, Any, ByteStream]]:
    """Return an async function that gives this stream."""

    async def give() -> ByteStream:
        await checkpoint()
        return stream

    return give


@pytest.mark.parametrize(
    "opening",
    [
        pytest.param(lambda stream: connect("ws://localhost/", stream=stream), id="connect"),
        pytest.param(
            lambda stream: connect("ws://localhost/", stream=giving(stream)), id="function"
        ),
        pytest.param(lambda stream: wrap_client(stream, "ws://localhost/"), id="wrap_client"),
        pytest.param(lambda stream: wrap_client(stream, "wss://localhost/"), id="as-if-secure"),
    ],
)
async def test_any_byte_stream_will_do(opening: Callable[[ByteStream], Connecting]) -> None:
    """R-B5c: it is closed with the connection. R-B10: addresses are None, and raise nothing."""
    ours, theirs = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake_hands_and_close, RawPeer(theirs, is_client=False))
        async with opening(ours) as ws:
            assert await ws.receive() == "hello"
            assert (ws.local_address, ws.remote_address) == (None, None)
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


async def test_wrap_client_asks_for_what_it_is_told_to() -> None:
    ours, theirs = memory_pair()
    requests: list[Head] = []

    async def script(peer: RawPeer) -> None:
        requests.append(await peer.accept("Sec-WebSocket-Protocol: soap", then=(HELLO,)))
        assert (await peer.answer_close())[0] == 1009

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(script, RawPeer(theirs, is_client=False))
        async with wrap_client(
            ours,
            "ws://example.org/chat",
            headers={"X-Token": "abc"},
            origin="https://example.org",
            user_agent="test/1",
            auth=("ann", "secret"),
            cookies={"id": "1"},
            subprotocols=["soap"],
            compression="deflate",
            max_size=4,
        ) as ws:
            assert ws.subprotocol == "soap"
            with pytest.raises(ConnectionClosedError, match="1009"):
                await ws.receive()
    fields = requests[0].headers
    assert requests[0].first_line == "GET /chat HTTP/1.1"
    assert {name: fields[name] for name in ("host", "x-token", "origin", "user-agent")} == {
        "host": "example.org",
        "x-token": "abc",
        "origin": "https://example.org",
        "user-agent": "test/1",
    }
    assert (fields["authorization"], fields["cookie"]) == ("Basic YW5uOnNlY3JldA==", "id=1")
    assert fields["sec-websocket-extensions"].startswith("permessage-deflate")


def test_wrap_client_has_the_keywords_of_connect_that_make_sense() -> None:
    of_connect = inspect.signature(connect).parameters
    own = inspect.signature(wrap_client).parameters
    missing = of_connect.keys() - own.keys()
    assert missing == {
        *("ssl", "server_hostname", "proxy", "proxy_ssl", "path", "local_host"),
        *("happy_eyeballs_delay", "one_at_a_time", "max_redirects"),
    }
    assert [own[name].default for name in own.keys() - {"stream"}] == [
        of_connect[name].default for name in own.keys() - {"stream"}
    ]


async def test_tls_runs_over_a_stream_that_is_given(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B9: through a tunnel, for instance."""
    ours, theirs = memory_pair()

    async def script() -> None:
        stream = await TLSStream.wrap(
            theirs, ssl_context=server_ssl, server_side=True, standard_compatible=False
        )
        await shake_hands_and_close(RawPeer(stream, is_client=False))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(script)
        async with connect("wss://localhost/", stream=ours, ssl=client_ssl) as ws:
            assert await ws.receive() == "hello"


async def test_a_stream_is_closed_if_the_handshake_fails() -> None:
    ours, theirs = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answering(b"garbage\r\n\r\n"), RawPeer(theirs, is_client=False))
        with pytest.raises(InvalidHandshake):
            await enter(wrap_client(ours, "ws://localhost/"))
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


@pytest.mark.parametrize("given", ["socket", "function"])
@pytest.mark.parametrize("secure", [False, True], ids=["ws", "wss"])
async def test_a_socket_that_is_connected_will_do(
    given: str,
    secure: bool,
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
) -> None:
    """R-B10: it may block, as sockets do at first; it is closed with the connection."""
    scheme = "wss" if secure else "ws"
    async with serve(echo, "127.0.0.1", ssl=server_ssl if secure else None) as server:
        sock = stdlib_socket.create_connection(("127.0.0.1", server.port))
        assert sock.gettimeout() is None

        async def give() -> stdlib_socket.socket:
            await checkpoint()
            return sock

        async with connect(
            f"{scheme}://localhost/chat",
            stream=sock if given == "socket" else give,
            ssl=client_ssl if secure else None,
        ) as ws:
            assert ws.extra(SocketAttribute.raw_socket) is sock
            assert ws.remote_address == ("127.0.0.1", server.port)
            assert ws.request.headers["host"] == "localhost"
            await ws.send("hello")
            assert await ws.receive() == "hello"
        assert ws.close_code == 1000
        assert sock.fileno() == -1


@pytest.mark.parametrize("when", ["no credentials", "answer"])
async def test_a_socket_that_was_given_is_closed_if_that_fails(when: str) -> None:
    """R-B10"""
    async with raw_server(answering(b"garbage\r\n\r\n") if when == "answer" else hang_up) as port:
        sock = stdlib_socket.create_connection(("127.0.0.1", port))
        auth = fail_to_give if when == "no credentials" else None
        with pytest.raises((InvalidHandshake, LookupError)):
            await enter(connect("ws://localhost/", stream=sock, auth=auth))
        assert sock.fileno() == -1


async def hang_up(peer: RawPeer) -> None:
    assert await peer.read_rest() == b""


async def fail_to_give(*_: object) -> Any:
    raise LookupError("no token")


@pytest.mark.parametrize(
    ("auth", "error"),
    [(fail_to_give, LookupError), (never, TimeoutError)],
    ids=["error", "timeout"],
)
async def test_a_stream_is_closed_if_there_are_no_credentials(
    auth: Callable[[], Any], error: type[Exception]
) -> None:
    ours, _ = memory_pair()
    seconds = 0.02 if auth is never else LIMIT
    with pytest.raises(error) as caught:
        await enter(connect("ws://localhost/", stream=ours, auth=auth, open_timeout=seconds))
    if error is TimeoutError:
        assert "asking for the credentials for localhost port 80 took too" in str(caught.value)
    with anyio.fail_after(LIMIT), pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


async def test_a_stream_is_closed_if_asking_for_the_credentials_is_cancelled() -> None:
    ours, _ = memory_pair()
    with anyio.move_on_after(0.02) as scope:
        await enter(connect("ws://localhost/", stream=ours, auth=never))
    assert scope.cancelled_caught
    with anyio.fail_after(LIMIT), pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


async def test_a_stream_that_breaks_before_the_answer_is_an_invalid_handshake() -> None:
    """R-B1, R-A3c: no exception of anyio comes out."""
    ours, theirs = memory_pair()

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        theirs.reset()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(script, RawPeer(theirs, is_client=False))
        with pytest.raises(InvalidHandshake, match="broke before the server answered"):
            await enter(wrap_client(ours, "ws://localhost/"))


async def test_tls_over_a_stream_that_breaks_is_a_plain_handshake_error(
    client_ssl: stdlib_ssl.SSLContext,
) -> None:
    """R-B1, R-A3c: no exception of anyio comes out."""
    ours, theirs = memory_pair()

    async def script() -> None:
        await theirs.receive()
        theirs.reset()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(script)
        with pytest.raises(HandshakeError, match="the byte stream broke") as caught:
            await enter(connect("wss://localhost/", stream=ours, ssl=client_ssl))
    assert type(caught.value) is HandshakeError
    assert isinstance(caught.value.__cause__, ConnectionResetError)


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 101 Swi", b"HTTP/1.1 404 No\r\nContent-Length"])
async def test_an_answer_that_ends_early_is_caused_by_the_end(answer: bytes) -> None:
    """So that it can be told from an answer that is wrong."""
    async with raw_server(ending_after(answer)) as port:
        with pytest.raises(InvalidHandshake) as caught:
            await enter(connect(f"ws://127.0.0.1:{port}/"))
    assert isinstance(caught.value.__cause__, EOFError)


async def test_what_the_function_raises_that_should_give_a_stream_goes_through() -> None:
    error = LookupError("no tunnel")

    async def fail() -> ByteStream:
        raise error

    with pytest.raises(LookupError) as caught:
        await enter(connect("ws://localhost/", stream=fail))
    assert caught.value is error


async def test_open_timeout_covers_the_function_that_gives_a_stream() -> None:
    with pytest.raises(TimeoutError, match="connecting to localhost port 80 took too long"):
        await enter(connect("ws://localhost/", stream=never, open_timeout=0.02))


# Somebody else's task group


async def test_a_block_may_use_a_task_group_too() -> None:
    """It is entered and left in any scope then, and leaves nothing in the group."""
    ours, theirs = memory_pair()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(shake_hands_and_close, RawPeer(theirs, is_client=False))
        block = wrap_client(ours, "ws://localhost/", task_group=tasks)
        with anyio.CancelScope():
            ws = await block.__aenter__()
        assert await ws.receive() == "hello"
        with anyio.CancelScope():
            await block.__aexit__(None, None, None)
        with pytest.raises(anyio.ClosedResourceError):
            await ours.receive()
    assert ws.close_code == 1000


def test_a_block_may_use_a_nursery_of_trio() -> None:
    async def main() -> None:
        async with serve(echo, "127.0.0.1") as server, trio.open_nursery() as nursery:
            stream = await anyio.connect_tcp("127.0.0.1", server.port)
            async with wrap_client(stream, server.uri, task_group=nursery) as ws:
                assert nursery.child_tasks
                await ws.send("hello")
                assert await ws.receive() == "hello"
            assert not nursery.child_tasks

    trio.run(main)


async def test_a_block_that_cannot_be_opened_leaves_nothing_in_the_task_group() -> None:
    async with anyio.create_task_group() as tasks:
        with closed_port() as port, pytest.raises(ConnectionRefusedError):
            await enter(connect(f"ws://127.0.0.1:{port}/", task_group=tasks))
        with anyio.move_on_after(0.02) as scope:
            await enter(connect("ws://localhost/", stream=never, task_group=tasks))
        assert scope.cancelled_caught
