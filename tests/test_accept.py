"""The server's part of the opening handshake, in `serve` and in `wrap_server`.

The clients are scripted, or ours where only the server matters.
"""

from __future__ import annotations

import logging
import socket as stdlib_socket
import ssl as stdlib_ssl
from typing import Any

import anyio
import pytest
import trio
import trio.testing
import trustme
from anyio.abc import ByteReceiveStream, SocketAttribute
from anyio.streams.stapled import StapledByteStream
from anyio.streams.tls import TLSAttribute, TLSStream

from anyws import (
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    InvalidHandshake,
    ServerConnection,
    connect,
    serve,
    wrap_server,
)
from anyws.testing import TEXT, UPGRADE, Frame, RawPeer, close_frame, memory_pair

from .http_requests import PLAIN_GET, request
from .raw import LIMIT, raw_client
from .scripted import settle
from .serving import HELLO, check_alive, connections, echo, errors, levels, wait

pytestmark = pytest.mark.anyio

# The opening handshake


async def test_the_answer_says_what_the_rfc_asks_for() -> None:
    """RFC 6455 §4.2.2, with the key of §1.3."""
    async with serve(wait, "127.0.0.1") as server, raw_client(server.port) as peer:
        head = await peer.upgrade()
        await connections(server, 1)
        assert head.first_line == "HTTP/1.1 101 Switching Protocols"
        assert head.headers == {
            "upgrade": "websocket",
            "connection": "Upgrade",
            "sec-websocket-accept": "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "server": "anyws",
        }
        (ws,) = server.connections
        assert (ws.request.path, ws.request.headers["host"]) == ("/", "localhost")
        assert ws.response.status_code == 101
        assert ws.remote_address == peer.stream.extra(SocketAttribute.local_address)
        assert ws.local_address == ("127.0.0.1", server.port)
    assert server.connections == frozenset()


@pytest.mark.parametrize(("given", "sent"), [("mine/1", "mine/1"), (None, None)])
async def test_the_server_header_may_be_chosen(given: str | None, sent: str | None) -> None:
    async with (
        serve(wait, "127.0.0.1", server_header=given) as server,
        raw_client(server.port) as peer,
    ):
        assert (await peer.upgrade()).headers.get("server") == sent


@pytest.mark.parametrize(
    ("supported", "offered", "chosen"),
    [
        (["soap", "wamp"], ["wamp", "soap"], "soap"),
        (["wamp"], ["soap", "wamp"], "wamp"),
        (["mqtt"], ["soap"], None),
        ([], ["soap"], None),
        (["soap"], [], None),
    ],
)
async def test_the_first_subprotocol_of_the_server_that_is_offered_is_chosen(
    supported: list[str], offered: list[str], chosen: str | None
) -> None:
    """RFC 6455 §4.2.2."""
    seen = []

    async def note(ws: ServerConnection) -> None:
        seen.append(ws.subprotocol)

    async with (
        serve(note, "127.0.0.1", subprotocols=supported) as server,
        connect(server.uri, subprotocols=offered) as ws,
    ):
        await ws.wait_closed()
    assert [ws.subprotocol, *seen] == [chosen, chosen]


@pytest.mark.parametrize("at_once", [True, False])
async def test_frames_behind_the_request_are_not_lost(at_once: bool) -> None:
    """R-A2e: in the segment of the request, or right behind it."""
    async with serve(echo, "127.0.0.1") as server, raw_client(server.port) as peer:
        if at_once:
            await peer.upgrade(then=(HELLO,))
        else:
            await peer.send(UPGRADE)
            await peer.send(HELLO)
            await peer.read_head()
        await peer.expect(HELLO)


async def test_a_request_may_come_byte_by_byte() -> None:
    async with serve(echo, "127.0.0.1") as server, raw_client(server.port) as peer:
        for byte in UPGRADE:
            await peer.send(bytes([byte]))
        assert (await peer.read_head()).status == 101


async def test_a_large_request_is_answered_before_it_is_whole() -> None:
    """R-A2e: 431 once the limit is passed, although the peer goes on writing."""
    async with serve(echo, "127.0.0.1") as server, raw_client(server.port) as peer:
        await peer.send(request(X="x" * 20_000)[:18_000])
        assert (await peer.read_head()).status == 431
        await peer.send(b"x" * 10_000)


async def test_plain_http_on_a_tls_port_is_survived(
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-A2e"""
    caplog.set_level(logging.DEBUG)
    async with serve(echo, "127.0.0.1", ssl=server_ssl) as server:
        async with raw_client(server.port) as peer:
            await peer.send(UPGRADE)
            await peer.read_rest()
        assert levels(caplog) == []
        async with connect(server.uri, ssl=client_ssl) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


def reset(peer: RawPeer) -> None:
    """Let closing be a TCP reset."""
    sock = peer.stream.extra(SocketAttribute.raw_socket)
    sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("secure", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("resets", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("sent", [b"", UPGRADE[:40], PLAIN_GET], ids=["nothing", "half", "refused"])
async def test_a_peer_that_drops_is_survived(
    secure: bool,
    resets: bool,
    sent: bytes,
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-A2e, R-B6e: as a port scan or a health check does; nothing above DEBUG."""
    caplog.set_level(logging.DEBUG)
    async with serve(echo, "127.0.0.1", ssl=server_ssl if secure else None) as server:
        async with raw_client(server.port) as peer:
            if sent:
                await peer.send(sent)
            if resets:
                reset(peer)
        assert levels(caplog) == []
        async with connect(server.uri, ssl=client_ssl if secure else None) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"


@pytest.mark.parametrize(
    ("frames", "code"),
    [
        pytest.param((Frame(TEXT, b"\xff"),), 1007, id="bad-UTF-8"),
        pytest.param((Frame(TEXT, b"hello", reserved=4),), 1002, id="RSV1"),
        pytest.param((Frame(3, b""),), 1002, id="opcode-3"),
    ],
)
async def test_a_frame_that_will_not_do_is_answered_and_the_server_lives(
    frames: tuple[Frame, ...], code: int, caplog: pytest.LogCaptureFixture
) -> None:
    """R-A2e, R-A2b: the handler's ConnectionClosed is no error."""
    caplog.set_level(logging.DEBUG)
    async with serve(echo, "127.0.0.1") as server:
        async with raw_client(server.port) as peer:
            await peer.upgrade(then=frames)
            assert (await peer.receive_close())[0] == code
        await check_alive(server)
    assert errors(caplog) == []


async def test_a_slow_request_is_answered_with_408() -> None:
    """R-A2e, R-C4: the deadline counts from the start, whatever trickles in."""
    # Not too short for the client that comes afterwards, even on a busy machine.
    async with serve(echo, "127.0.0.1", open_timeout=0.3) as server:
        async with raw_client(server.port) as peer:
            await peer.send(UPGRADE[:-2])
            head = await peer.read_response()
        assert (head.status, head.body) == (408, b"the request took too long\n")
        await check_alive(server)


async def test_without_open_timeout_a_request_has_any_time() -> None:
    async with (
        serve(echo, "127.0.0.1", open_timeout=None) as server,
        raw_client(server.port) as peer,
    ):
        await peer.send(UPGRADE[:-2])
        await settle()
        await peer.send(UPGRADE[-2:])
        assert (await peer.read_head()).status == 101


async def test_a_slow_tls_handshake_is_cut(server_ssl: stdlib_ssl.SSLContext) -> None:
    """R-B9: TLS is inside `open_timeout` on the server too."""
    async with (
        serve(echo, "127.0.0.1", ssl=server_ssl, open_timeout=0.05) as server,
        raw_client(server.port) as peer,
    ):
        assert await peer.read_rest() == b""


async def test_a_silent_tls_client_blocks_nobody(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B9"""
    async with serve(echo, "127.0.0.1", ssl=server_ssl) as server, raw_client(server.port):
        with anyio.fail_after(LIMIT):
            async with connect(server.uri, ssl=client_ssl) as ws:
                await ws.send("hello")
                assert await ws.receive() == "hello"


async def test_a_tls_client_that_refuses_the_certificate_is_survived(
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    async with serve(echo, "127.0.0.1", ssl=server_ssl) as server:
        with pytest.raises(stdlib_ssl.SSLCertVerificationError):
            async with raw_client(server.port, ssl=stdlib_ssl.create_default_context()):
                pass
        async with connect(server.uri, ssl=client_ssl):
            pass
    assert errors(caplog) == []


async def test_the_certificate_of_the_peer_can_be_read(
    certificate_authority: trustme.CA, server_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B9: mutual TLS."""
    mutual = stdlib_ssl.create_default_context(stdlib_ssl.Purpose.CLIENT_AUTH)
    certificate_authority.issue_cert("127.0.0.1").configure_cert(mutual)
    certificate_authority.configure_trust(mutual)
    mutual.verify_mode = stdlib_ssl.CERT_REQUIRED
    known = stdlib_ssl.create_default_context()
    certificate_authority.configure_trust(known)
    certificate_authority.issue_cert("alice@example.org").configure_cert(known)
    seen: list[Any] = []

    async def note(ws: ServerConnection) -> None:
        certificate = ws.extra(TLSAttribute.peer_certificate)
        assert certificate is not None
        seen.append(certificate["subjectAltName"])

    async with serve(note, "127.0.0.1", ssl=mutual) as server:
        async with connect(server.uri, ssl=known) as ws:
            await ws.wait_closed()
            assert ws.extra(TLSAttribute.tls_version).startswith("TLSv1")
        assert seen == [(("email", "alice@example.org"),)]
        stranger = stdlib_ssl.create_default_context()
        certificate_authority.configure_trust(stranger)
        with pytest.raises(InvalidHandshake, match="broke before the server answered"):
            await connect(server.uri, ssl=stranger).__aenter__()
    assert len(seen) == 1


@pytest.mark.parametrize("polite", [True, False])
async def test_a_peer_may_skip_the_goodbye_of_tls(
    polite: bool, server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B9: without close_notify, a Close frame makes a clean end, and its absence 1006."""
    ends = []

    async def note(ws: ServerConnection) -> None:
        try:
            await ws.receive()
        except ConnectionClosed as closed:
            ends.append((type(closed), closed.code))

    async with (
        serve(note, "127.0.0.1", ssl=server_ssl) as server,
        raw_client(server.port, ssl=client_ssl) as peer,
    ):
        await peer.upgrade()
        if polite:
            await peer.send(close_frame(1000))
            await peer.expect(close_frame(1000))
        assert isinstance(peer.stream, TLSStream)
        await peer.stream.transport_stream.aclose()
    assert ends == [(ConnectionClosedOK, 1000) if polite else (ConnectionClosedError, 1006)]


# wrap_server


async def test_a_byte_stream_may_be_served() -> None:
    """R-B5c: the stream is closed with the connection."""
    ours, theirs = memory_pair()

    async def visit() -> None:
        peer = RawPeer(theirs, is_client=True)
        head = await peer.upgrade("Sec-WebSocket-Protocol: soap", then=(HELLO,))
        assert head.headers["sec-websocket-protocol"] == "soap"
        assert head.headers["server"] == "mine"
        assert await peer.answer_close() == (1000, "")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit)
        async with wrap_server(ours, subprotocols=["soap"], server_header="mine") as ws:
            assert ws.subprotocol == "soap"
            assert (ws.local_address, ws.remote_address) == (None, None)
            assert await ws.receive() == "hello"
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


async def test_a_wrapping_object_serves_once() -> None:
    ours, theirs = memory_pair()
    wrapped = wrap_server(ours)
    await theirs.aclose()
    for error in (OSError, RuntimeError):
        with pytest.raises(error):
            await wrapped.__aenter__()


async def test_a_refused_request_over_a_stream_is_an_invalid_handshake() -> None:
    ours, theirs = memory_pair()
    statuses = []

    async def visit() -> None:
        await theirs.send(PLAIN_GET)
        statuses.append((await RawPeer(theirs, is_client=True).read_response()).status)
        await theirs.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit)
        with pytest.raises(InvalidHandshake, match="answered with 426 Upgrade Required: this is a"):
            await wrap_server(ours).__aenter__()
    assert statuses == [426]


async def test_a_refused_peer_may_break_the_stream() -> None:
    ours, theirs = memory_pair()

    async def visit() -> None:
        await theirs.send(PLAIN_GET)
        await RawPeer(theirs, is_client=True).read_response()
        theirs.reset()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit)
        with pytest.raises(InvalidHandshake, match="answered with 426"):
            await wrap_server(ours).__aenter__()


@pytest.mark.parametrize("given", [{}, {"open_timeout": 3}])
def test_a_slow_request_over_a_stream_is_a_timeout(given: dict[str, Any]) -> None:
    """The peer has a second to read the answer."""

    async def main() -> None:
        ours, theirs = memory_pair()
        await theirs.send(UPGRADE[:40])
        began = trio.current_time()
        with pytest.raises(TimeoutError, match="answered with 408"):
            await wrap_server(ours, **given).__aenter__()
        assert trio.current_time() - began == pytest.approx(given.get("open_timeout", 10) + 1)
        assert (await RawPeer(theirs, is_client=True).read_response()).status == 408

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_request_that_comes_with_the_deadline_is_too_late() -> None:
    """R-C4: it has come, but the time is up when it is looked at."""
    clock = trio.testing.MockClock(autojump_threshold=0)

    class LateStream(ByteReceiveStream):
        async def receive(self, max_bytes: int = 65536) -> bytes:
            data = await ours.receive(max_bytes)
            clock.jump(10)
            return data

        async def aclose(self) -> None:
            await ours.aclose()

    async def main() -> None:
        await theirs.send(UPGRADE)
        with pytest.raises(TimeoutError, match="answered with 408"):
            await wrap_server(StapledByteStream(ours, LateStream())).__aenter__()
        assert (await RawPeer(theirs, is_client=True).read_response()).status == 408

    ours, theirs = memory_pair()
    trio.run(main, clock=clock)


@pytest.mark.parametrize(
    ("sent", "resets", "expected"),
    [
        (b"", False, ConnectionResetError),
        (b"", True, OSError),
        # There is an answer to this one, for which the peer may have left its side open.
        (UPGRADE[:40], False, InvalidHandshake),
        (UPGRADE[:40], True, OSError),
    ],
)
async def test_a_stream_that_ends_before_a_request_is_a_plain_error(
    sent: bytes, resets: bool, expected: type[Exception]
) -> None:
    """R-B1: no exception of anyio comes out."""
    ours, theirs = memory_pair()

    async def visit() -> None:
        if sent:
            await theirs.send(sent)
        await settle()
        if resets:
            theirs.reset()
        else:
            await theirs.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit)
        with pytest.raises(expected):
            await wrap_server(ours).__aenter__()


async def test_cancelling_the_handshake_closes_the_stream() -> None:
    ours, _ = memory_pair()
    with anyio.move_on_after(0.02) as scope:
        await wrap_server(ours).__aenter__()
    assert scope.cancelled_caught
    with pytest.raises(anyio.ClosedResourceError):
        await ours.receive()


def test_arguments_of_wrap_server_are_checked_at_once() -> None:
    ours, _ = memory_pair()
    with pytest.raises(ValueError, match="open_timeout is -1"):
        wrap_server(ours, open_timeout=-1)
