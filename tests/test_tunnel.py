"""The way through a proxy that speaks HTTP, against scripted ones; for SOCKS see test_socks.py.

Behind the answer to CONNECT, the same script is the server.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl as stdlib_ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSAttribute, TLSStream

from anyws import (
    ConnectionClosedError,
    HandshakeError,
    HandshakeRejected,
    InvalidHandshake,
    InvalidURI,
    ProxyError,
    Retry,
    connect,
    reconnect,
)
from anyws.testing import RawPeer, memory_pair

from .raw import LIMIT, Script, closed_port, raw_server
from .serving import HELLO
from .test_client import enter

pytestmark = pytest.mark.anyio

ESTABLISHED = b"HTTP/1.1 200 Connection established\r\n\r\n"

#: A name that nobody but the proxy looks up.
URI = "ws://server.invalid:8765/feed"

needs_unix = pytest.mark.skipif(not hasattr(stdlib_socket, "AF_UNIX"), reason="needs Unix sockets")


async def say_hello(peer: RawPeer) -> None:
    """Be a server that says hello and answers the Close frame."""
    await peer.accept(then=(HELLO,))
    await peer.answer_close()


async def secured(stream: ByteStream, context: stdlib_ssl.SSLContext) -> RawPeer:
    """Be a server with TLS in the tunnel."""
    inner = await TLSStream.wrap(stream, ssl_context=context, standard_compatible=False)
    return RawPeer(inner, is_client=False)


def answering(*parts: bytes) -> Script:
    """Answer CONNECT with these bytes, and close when the client has."""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        for part in parts:
            await peer.send(part)
        assert await peer.read_rest() == b""

    return script


def ending_after(answer: bytes) -> Script:
    """Answer CONNECT with these bytes, and end the stream."""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(answer)
        await peer.stream.send_eof()
        assert await peer.read_rest() == b""

    return script


# What is sent


@pytest.mark.parametrize(
    ("uri", "user_info", "options", "authority", "fields"),
    [
        ("ws://server.invalid/", "", {}, "server.invalid:80", {"user-agent": "anyws"}),
        ("ws://u:p@server.invalid:8765/", "", {"user_agent": None}, "server.invalid:8765", {}),
        (
            "ws://[2001:db8::1]/",
            "",
            {"user_agent": "test/1"},
            "[2001:db8::1]:80",
            {"user-agent": "test/1"},
        ),
        (
            "ws://server.invalid/",
            "Aladdin:open%20sesame@",
            {"user_agent": None, "headers": {"Authorization": "Bearer t", "Host": "other.example"}},
            "server.invalid:80",
            {"proxy-authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
        ),
    ],
)
async def test_a_tunnel_is_asked_for_by_connect(
    uri: str, user_info: str, options: dict[str, Any], authority: str, fields: dict[str, str]
) -> None:
    """R-B8, RFC 9110 §9.3.6: nothing that is meant for the server goes to the proxy."""

    async def script(peer: RawPeer) -> None:
        request = await peer.read_head()
        assert request.first_line == f"CONNECT {authority} HTTP/1.1"
        assert request.headers == {"host": authority, **fields}
        await peer.send(ESTABLISHED)
        inner = await peer.accept()
        assert "proxy-authorization" not in inner.headers
        await peer.answer_close()

    async with raw_server(script) as port:
        proxy = f"http://{user_info}127.0.0.1:{port}"
        await enter(connect(uri, proxy=proxy, **options))


async def test_an_https_server_gets_its_port_explicitly(client_ssl: stdlib_ssl.SSLContext) -> None:
    async def script(peer: RawPeer) -> None:
        request = await peer.read_head()
        assert request.first_line == "CONNECT server.invalid:443 HTTP/1.1"

    async with raw_server(script) as port:
        with pytest.raises(ProxyError):
            await enter(
                connect("wss://server.invalid", ssl=client_ssl, proxy=f"http://127.0.0.1:{port}")
            )


# What comes back


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ESTABLISHED, id="200"),
        pytest.param(b"HTTP/1.0 200 Connection established\r\n\r\n", id="http-1.0"),
        pytest.param(b"HTTP/1.1 200\r\n\r\n", id="no-reason"),
        pytest.param(b"HTTP/1.1 204 Fine\r\nVia: somebody\r\n\r\n", id="204"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", id="length-without-meaning"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", id="chunked-too"),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nA: b\r\n\r\n" + ESTABLISHED,
            id="interim",
        ),
    ],
)
@pytest.mark.parametrize("piecemeal", [False, True], ids=["whole", "byte-by-byte"])
async def test_any_success_opens_the_tunnel(answer: bytes, piecemeal: bool) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        for part in [bytes([byte]) for byte in answer] if piecemeal else [answer]:
            await peer.send(part)
        await say_hello(peer)

    async with (
        raw_server(script) as port,
        connect(URI, proxy=f"http://127.0.0.1:{port}") as ws,
    ):
        assert await ws.receive() == "hello"
        assert ws.remote_address == ("127.0.0.1", port)  # the proxy's


async def test_bytes_behind_the_answer_belong_to_the_server() -> None:
    """The server refuses before it is asked, in the segment of the proxy's answer."""
    early = b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy"

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED, early)
        await peer.read_rest()

    async with raw_server(script) as port:
        with pytest.raises(HandshakeRejected) as caught:
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}"))
    assert caught.value.response.body == b"busy"


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_a_tunnel_that_ends_at_once_is_noticed(reset: bool) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        if reset:
            sock = peer.stream.extra(SocketAttribute.raw_socket)
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with raw_server(script) as port:
        with anyio.fail_after(LIMIT), pytest.raises(InvalidHandshake):
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}", open_timeout=None))


async def test_a_server_that_refuses_behind_the_proxy_is_no_error_of_the_proxy() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        await peer.read_head()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
        await peer.read_rest()

    async with raw_server(script) as port:
        with pytest.raises(HandshakeRejected, match="HTTP 403"):
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize(
    ("status", "answer", "step", "message"),
    [
        pytest.param(
            403,
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno",
            "CONNECT",
            "HTTP 403 Forbidden: the proxy refuses to connect to server.invalid:8765",
            id="403",
        ),
        pytest.param(
            302,
            b"HTTP/1.1 302 Found\r\nLocation: http://login.example\r\nContent-Length: 2\r\n\r\nno",
            "CONNECT",
            "HTTP 302 Found: the proxy refuses",
            id="redirect",
        ),
        pytest.param(
            502,
            b"HTTP/1.1 502 Bad Gateway\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            "CONNECT",
            "HTTP 502 Bad Gateway: the proxy could not reach server.invalid:8765",
            id="502-chunked",
        ),
        pytest.param(
            503,
            b"HTTP/1.0 503 Unavailable\r\nContent-Length: 2\r\n\r\nno",
            "CONNECT",
            "HTTP 503 Unavailable: the proxy could not reach",
            id="503",
        ),
        pytest.param(
            504,
            b"HTTP/1.1 504 Gateway Timeout\r\nContent-Length: 2\r\n\r\nno",
            "CONNECT",
            "HTTP 504 Gateway Timeout: the proxy could not reach",
            id="504",
        ),
        pytest.param(
            407,
            b"HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 2\r\n\r\nno",
            "authentication",
            r"HTTP 407 Who\?: the proxy asks for a user name and a password",
            id="407",
        ),
        pytest.param(
            401,
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno",
            "authentication",
            r"HTTP 401 Unauthorized: the proxy asks for a user name and a password",
            id="401",
        ),
        pytest.param(
            500,
            b"HTTP/1.1 500 Unable to connect\r\nContent-Length: 2\r\n\r\nno",
            "CONNECT",
            "HTTP 500 Unable to connect: the proxy could not reach",
            id="500",
        ),
    ],
)
async def test_a_refusal_carries_the_answer_and_says_what_it_means(
    status: int, answer: bytes, step: str, message: str
) -> None:
    """R-B8: which proxy, which step, and whose fault; the proxy keeps the connection open."""
    async with raw_server(answering(answer)) as port:
        with anyio.fail_after(LIMIT), pytest.raises(ProxyError, match=message) as caught:
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}", open_timeout=None))
    error = caught.value
    assert error.response is not None
    assert (error.response.status_code, error.response.body) == (status, b"no")
    assert (error.proxy, error.step) == (f"http://127.0.0.1:{port}", step)
    assert str(error).startswith(f"{step} failed, via proxy http://127.0.0.1:{port}: ")


async def test_a_wrong_password_is_told_from_none_and_not_shown() -> None:
    """R-B8"""
    answer = b"HTTP/1.1 407 Authentication Required\r\nContent-Length: 0\r\n\r\n"
    async with raw_server(answering(answer)) as port:
        with pytest.raises(ProxyError, match="does not take this user name") as caught:
            await enter(connect(URI, proxy=f"http://hidden:secret@127.0.0.1:{port}"))
    for text in (str(caught.value), repr(caught.value)):
        assert "hidden" not in text
        assert "secret" not in text


async def test_the_body_of_a_refusal_is_cut_at_64_kib() -> None:
    head = b"HTTP/1.1 500 Oops\r\nContent-Length: 1000000\r\n\r\n"
    async with raw_server(answering(head, b"x" * 70_000)) as port:
        with pytest.raises(ProxyError, match="HTTP 500 Oops") as caught:
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}"))
    assert caught.value.response is not None
    assert caught.value.response.body == b"x" * 65_536


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(b"", "the proxy closed the connection before it answered", id="end"),
        pytest.param(b"HTTP/1.1 200 Conn", "the proxy's answer is not a valid", id="cut"),
        pytest.param(
            b"HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\nne",
            "HTTP 403 Forbidden",
            id="cut-in-the-body",
        ),
    ],
)
async def test_an_answer_that_ends_early_is_worth_another_attempt(
    answer: bytes, message: str
) -> None:
    async with raw_server(ending_after(answer)) as port:
        with pytest.raises(ProxyError, match=message) as caught:
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}"))
    assert caught.value.step == "CONNECT"
    assert (caught.value.response is None) is not answer.endswith(b"ne")
    assert isinstance(caught.value.__cause__, EOFError)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "is not a valid response", id="garbage"),
        pytest.param(
            b"HTTP/1.1 200 Fine\r\nX: " + b"x" * 20_000, "is not a valid response", id="long-head"
        ),
        pytest.param(
            b"HTTP/1.1 200 Fine\r\nX: " + b"x" * 20_000 + b"\r\n\r\n",
            "has more than 16384 bytes",
            id="long-whole-head",
        ),
        pytest.param(
            b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 9_000 + b"\r\n\r\n"
            b"HTTP/1.1 100 Continue\r\nX: " + b"x" * 9_000 + b"\r\n\r\n",
            "has more than 16384 bytes",
            id="many-interim-answers",
        ),
        pytest.param(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
            "is not a valid response",
            id="101",
        ),
    ],
)
async def test_an_answer_that_is_not_http_says_so(answer: bytes, message: str) -> None:
    async with raw_server(answering(answer)) as port:
        with pytest.raises(ProxyError, match=f"the proxy's answer {message}") as caught:
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}"))
    assert (caught.value.step, caught.value.response) == ("CONNECT", None)
    assert isinstance(caught.value.__cause__, InvalidHandshake)


async def test_a_reset_before_the_answer_is_of_the_network() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        sock = peer.stream.extra(SocketAttribute.raw_socket)
        sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match="broke before the proxy answered") as caught:
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}"))
    assert isinstance(caught.value.__cause__, ConnectionResetError)


# Reaching the proxy


async def test_a_proxy_that_is_not_there_is_named() -> None:
    """R-B8"""
    with closed_port() as port:
        proxy = f"http://hidden:secret@127.0.0.1:{port}"
        with pytest.raises(ProxyError, match="connecting to the proxy failed, via") as caught:
            await enter(connect(URI, proxy=proxy))
    assert caught.value.proxy == f"http://127.0.0.1:{port}"
    assert "secret" not in str(caught.value)
    assert isinstance(caught.value.__cause__, ConnectionRefusedError)


@pytest.mark.skipif(sys.platform == "darwin", reason="there is one loopback address only")
async def test_the_local_address_is_that_of_the_way_to_the_proxy() -> None:
    async def script(peer: RawPeer) -> None:
        assert peer.stream.extra(SocketAttribute.remote_address)[0] == "127.0.0.2"
        await peer.read_head()
        await peer.send(ESTABLISHED)
        await say_hello(peer)

    async with (
        raw_server(script) as port,
        connect(URI, proxy=f"http://127.0.0.1:{port}", local_host="127.0.0.2") as ws,
    ):
        assert ws.local_address[0] == "127.0.0.2"


@pytest.mark.parametrize(
    ("context", "scheme", "step"),
    [
        pytest.param(False, "https", "the TLS handshake with proxy", id="tls"),
        pytest.param(False, "http", "CONNECT through proxy", id="connect"),
        pytest.param(True, "https", "CONNECT through proxy", id="connect-over-tls"),
    ],
)
async def test_a_silent_proxy_ends_in_a_timeout_that_names_the_step(
    context: bool,
    scheme: str,
    step: str,
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
) -> None:
    """R-B8: all of it is inside `open_timeout`. The socket is closed."""

    async def script(peer: RawPeer) -> None:
        await peer.read_rest()

    async with raw_server(script, ssl=server_ssl if context else None) as port:
        proxy = f"{scheme}://127.0.0.1:{port}"
        message = f"{step} {proxy} took too long: open_timeout is 0.3 s"
        with anyio.fail_after(LIMIT), pytest.raises(TimeoutError, match=message):
            await enter(
                connect(
                    URI,
                    proxy=proxy,
                    proxy_ssl=client_ssl if scheme == "https" else None,
                    open_timeout=0.3,
                )
            )


async def test_a_silent_server_behind_a_proxy_is_told_from_a_silent_proxy() -> None:
    async with raw_server(answering_and_reading(ESTABLISHED)) as port:
        message = (
            f"the opening handshake with server.invalid port 8765 "
            f"through proxy http://127.0.0.1:{port} took too long"
        )
        with anyio.fail_after(LIMIT), pytest.raises(TimeoutError, match=message):
            await enter(connect(URI, proxy=f"http://127.0.0.1:{port}", open_timeout=0.3))


def answering_and_reading(answer: bytes) -> Script:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(answer)
        await peer.read_rest()

    return script


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_cancelling_closes_the_socket(
    scheme: str, server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """In CONNECT; the leak check sees to the rest."""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        scope.cancel()
        await peer.expect_end()

    options: dict[str, Any] = {"proxy_ssl": client_ssl} if scheme == "https" else {}
    scope = anyio.CancelScope()
    async with raw_server(script, ssl=server_ssl if scheme == "https" else None) as port:
        with anyio.fail_after(LIMIT), scope:
            await enter(connect(URI, proxy=f"{scheme}://127.0.0.1:{port}", **options))
        assert scope.cancelled_caught


# TLS


async def test_tls_with_the_server_goes_through_the_tunnel(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B8: verified against the server's name."""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        await say_hello(await secured(peer.stream, server_ssl))

    async with (
        raw_server(script) as port,
        connect("wss://localhost/", ssl=client_ssl, proxy=f"http://127.0.0.1:{port}") as ws,
    ):
        assert await ws.receive() == "hello"
        assert ws.extra(TLSAttribute.tls_version)


async def test_a_certificate_of_the_server_is_verified_through_the_tunnel(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        with pytest.raises(stdlib_ssl.SSLError):
            await secured(peer.stream, server_ssl)

    async with raw_server(script) as port:
        proxy = f"http://127.0.0.1:{port}"
        message = f"handshake with server.invalid through proxy {proxy} failed: .*mismatch"
        with pytest.raises(HandshakeError, match=message) as caught:
            await enter(connect("wss://server.invalid/", ssl=client_ssl, proxy=proxy))
    assert type(caught.value) is HandshakeError


@pytest.mark.parametrize("ended", [False, True], ids=["reset", "end"])
async def test_a_tunnel_that_breaks_in_the_tls_handshake_is_plain(
    client_ssl: stdlib_ssl.SSLContext, ended: bool
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        if ended:
            await peer.stream.send_eof()
            await peer.read_rest()

    async with raw_server(script) as port:
        proxy = f"http://127.0.0.1:{port}"
        with anyio.fail_after(LIMIT), pytest.raises(HandshakeError, match="through proxy"):
            await enter(connect("wss://localhost/", ssl=client_ssl, proxy=proxy, open_timeout=None))


async def test_tls_with_the_proxy_hides_the_request_for_the_tunnel(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B8: `proxy_ssl` is for the proxy alone."""

    async def script(peer: RawPeer) -> None:
        request = await peer.read_head()
        assert request.headers["proxy-authorization"] == "Basic YTpi"
        await peer.send(ESTABLISHED)
        await say_hello(peer)

    async with (
        raw_server(script, ssl=server_ssl) as port,
        connect(URI, proxy=f"https://a:b@localhost:{port}", proxy_ssl=client_ssl) as ws,
    ):
        assert await ws.receive() == "hello"


@pytest.mark.parametrize("proxy_ssl", [False, True], ids=["default", "other-name"])
async def test_the_certificate_of_the_proxy_is_verified(
    proxy_ssl: bool,
    certificate_authority: trustme.CA,
    server_ssl: stdlib_ssl.SSLContext,
    client_ssl: stdlib_ssl.SSLContext,
) -> None:
    """R-B8: against the proxy's name, and by the default context if there is no other."""
    context = stdlib_ssl.create_default_context(stdlib_ssl.Purpose.CLIENT_AUTH)
    certificate_authority.issue_cert("elsewhere.example").configure_cert(context)
    wrong = context if proxy_ssl else server_ssl
    async with raw_server(answering(), ssl=wrong) as port:
        with pytest.raises(ProxyError, match="certificate verify failed") as caught:
            await enter(
                connect(
                    URI,
                    proxy=f"https://127.0.0.1:{port}",
                    proxy_ssl=client_ssl if proxy_ssl else None,
                )
            )
    assert caught.value.step == "the TLS handshake with the proxy"
    assert isinstance(caught.value.__cause__, stdlib_ssl.SSLCertVerificationError)


async def test_a_proxy_without_tls_is_told_from_one_with_it(
    client_ssl: stdlib_ssl.SSLContext,
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.stream.receive()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.read_rest()

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match="TLS handshake with the proxy failed") as caught:
            await enter(connect(URI, proxy=f"https://127.0.0.1:{port}", proxy_ssl=client_ssl))
    assert isinstance(caught.value.__cause__, stdlib_ssl.SSLError)


async def test_tls_goes_through_tls(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    """R-B8: messages of a size that takes many records, in both directions, and a clean end."""
    data = bytes(range(256)) * 4096

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        inner = await secured(peer.stream, server_ssl)
        await inner.accept()
        await inner.send(await inner.receive())
        await inner.answer_close()

    async with raw_server(script, ssl=server_ssl) as port:
        async with connect(
            "wss://localhost/",
            ssl=client_ssl,
            proxy=f"https://127.0.0.1:{port}",
            proxy_ssl=client_ssl,
        ) as ws:
            await ws.send(data)
            assert await ws.receive() == data
        assert (ws.close_code, ws.remote_address) == (1000, ("127.0.0.1", port))


@pytest.mark.parametrize("ended", [False, True], ids=["drop", "end"])
async def test_the_end_of_tls_in_tls_reaches_the_connection(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext, ended: bool
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        inner = await secured(peer.stream, server_ssl)
        await inner.accept(then=(HELLO,))
        if ended:
            await inner.stream.aclose()
        else:
            await peer.drop()

    async with raw_server(script, ssl=server_ssl) as port:
        async with connect(
            "wss://localhost/",
            ssl=client_ssl,
            proxy=f"https://127.0.0.1:{port}",
            proxy_ssl=client_ssl,
        ) as ws:
            with anyio.fail_after(LIMIT):
                assert await ws.receive() == "hello"
                with pytest.raises(ConnectionClosedError) as caught:
                    await ws.receive()
        assert caught.value.initiator == "transport"


async def test_a_handshake_of_tls_in_tls_that_fails_is_plain(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        await peer.stream.receive()
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.read_rest()

    async with raw_server(script, ssl=server_ssl) as port:
        with pytest.raises(HandshakeError, match="handshake with localhost through") as caught:
            await enter(
                connect(
                    "wss://localhost/",
                    ssl=client_ssl,
                    proxy=f"https://127.0.0.1:{port}",
                    proxy_ssl=client_ssl,
                )
            )
    assert type(caught.value) is HandshakeError


# What is asked for


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"proxy": "ftp://proxy.example"}, InvalidURI, "no scheme of a proxy"),
        ({"proxy": "http://p", "path": "here"}, ValueError, "proxy and path exclude each other"),
        ({"proxy": "http://p", "stream": memory_pair}, ValueError, "so do proxy and stream"),
        ({"proxy": "http://p", "proxy_ssl": True}, ValueError, "not for http://p:80"),
        ({"proxy": "socks5://p", "proxy_ssl": True}, ValueError, "not for socks5://p:1080"),
        ({"proxy_ssl": True}, ValueError, "proxy_ssl is for https proxies, not for None"),
    ],
)
@pytest.mark.parametrize("function", [connect, reconnect], ids=["connect", "reconnect"])
async def test_proxies_that_cannot_be_used_are_refused_at_once(
    function: Callable[..., object],
    arguments: dict[str, Any],
    error: type[Exception],
    message: str,
    client_ssl: stdlib_ssl.SSLContext,
) -> None:
    if "proxy_ssl" in arguments:
        arguments = {**arguments, "proxy_ssl": client_ssl}
    with pytest.raises(error, match=message):
        _ = function("ws://localhost/", **arguments)


async def test_the_environment_names_the_proxy_if_it_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R-B8"""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(ESTABLISHED)
        await say_hello(peer)

    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    async with raw_server(script) as port:
        monkeypatch.setenv("ws_proxy", f"http://127.0.0.1:{port}")
        async with connect(URI, proxy="env") as ws:
            assert await ws.receive() == "hello"


async def test_the_environment_is_ignored_unasked_and_for_this_machine(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """R-B8"""
    with closed_port() as closed:
        for name in ("ws_proxy", "http_proxy", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{closed}")
        async with raw_server(say_hello) as port:
            for proxy in (None, "env"):
                async with connect(f"ws://127.0.0.1:{port}/", proxy=proxy) as ws:
                    assert await ws.receive() == "hello"


@needs_unix
async def test_unix_sockets_and_streams_are_not_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """R-B8"""
    with closed_port() as closed:
        monkeypatch.setenv("all_proxy", f"http://127.0.0.1:{closed}")
        with pytest.raises(FileNotFoundError):
            await enter(connect(URI, proxy="env", path=tmp_path / "socket"))
        ours, theirs = memory_pair()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(say_hello, RawPeer(theirs, is_client=False))
            async with connect(URI, proxy="env", stream=ours) as ws:
                assert await ws.receive() == "hello"


async def test_reconnect_tries_again_what_may_pass_and_raises_what_does_not() -> None:
    """The proxy cannot reach the server, then ends, then works, then wants a password."""
    answers = [
        b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n",
        b"",
        ESTABLISHED,
        b"HTTP/1.1 407 Who?\r\nContent-Length: 0\r\n\r\n",
    ]

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        answer = answers.pop(0)
        if not answer:
            return
        await peer.send(answer)
        if answer is ESTABLISHED:
            await say_hello(peer)
        else:
            await peer.read_rest()

    heard = []
    async with (
        raw_server(script) as port,
        reconnect(URI, proxy=f"http://127.0.0.1:{port}", retry=Retry(initial_delay=0)) as attempts,
    ):
        with anyio.fail_after(LIMIT):
            heard.append(await (await anext(attempts)).receive())
            with pytest.raises(ProxyError, match="HTTP 407"):
                await anext(attempts)
    assert (heard, answers) == (["hello"], [])
