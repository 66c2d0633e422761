"""The way through a proxy of SOCKS, against scripted ones (RFC 1928, RFC 1929, SOCKS4, 4a).

python-socks does the handshake; what is tested is what we make of it, on every event loop.
"""

from __future__ import annotations

import socket as stdlib_socket
import ssl as stdlib_ssl
import sys
from collections.abc import Callable

import anyio
import pytest
from anyio.abc import SocketAttribute

from anyws import ProxyError, connect, reconnect
from anyws._retry import is_transient
from anyws.testing import RawPeer

from .raw import LIMIT, Script, raw_server
from .serving import HELLO
from .test_client import enter
from .test_tunnel import secured

pytestmark = pytest.mark.anyio

#: A name that nobody but the proxy looks up.
URI = "ws://server.invalid:8765/feed"

PORT = (8765).to_bytes(2, "big")

# What a client says first: without authentication, or with a user name and a password.
GREETING = b"\5\1\0"
GREETING_WITH_PASSWORD = b"\5\2\0\2"
NO_AUTHENTICATION = b"\5\0"
NAMED = b"\5\1\0\3\x0eserver.invalid" + PORT
GRANTED = b"\5\0\0\1\0\0\0\0\0\0"

NAMED_4A = b"\4\1" + PORT + b"\0\0\0\1\0server.invalid\0"
GRANTED_4 = b"\0\x5a\0\0\0\0\0\0"


async def say_hello(peer: RawPeer) -> None:
    await peer.accept(then=(HELLO,))
    await peer.answer_close()


def socks5(request: bytes, answer: bytes = GRANTED, piecemeal: bool = False) -> Script:
    """Be a proxy without authentication: expect this request, and answer it so."""

    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING)
        await peer.send(NO_AUTHENTICATION)
        await peer.expect(request)
        for part in [bytes([byte]) for byte in answer] if piecemeal else [answer]:
            await peer.send(part)
        if answer[1] == 0:
            await say_hello(peer)
        else:
            await peer.expect_end()

    return script


def socks4(request: bytes, answer: bytes = GRANTED_4) -> Script:
    async def script(peer: RawPeer) -> None:
        await peer.expect(request)
        await peer.send(answer)
        if answer[1] == 0x5A:
            await say_hello(peer)
        else:
            await peer.expect_end()

    return script


@pytest.mark.parametrize(
    ("scheme", "uri", "script"),
    [
        pytest.param("socks5h", URI, socks5(NAMED), id="5h"),
        pytest.param("socks5h", URI, socks5(NAMED, piecemeal=True), id="5h-byte-by-byte"),
        pytest.param(
            "socks5h",
            URI,
            socks5(NAMED, b"\5\0\0\3\4here\0\0"),
            id="5h-answered-by-a-name",
        ),
        pytest.param(
            "socks5h",
            "ws://192.0.2.1:8765",
            socks5(b"\5\1\0\1\xc0\0\2\1" + PORT, b"\5\0\0\4" + bytes(18)),
            id="5h-address",
        ),
        pytest.param(
            "socks5",
            "ws://[2001:db8::1]:8765",
            socks5(b"\5\1\0\4\x20\1\x0d\xb8" + bytes(11) + b"\1" + PORT),
            id="5-IPv6",
        ),
        pytest.param(
            "socks5", "ws://192.0.2.1:8765", socks5(b"\5\1\0\1\xc0\0\2\1" + PORT), id="5-address"
        ),
        pytest.param("socks4a", URI, socks4(NAMED_4A), id="4a"),
        pytest.param(
            "socks4a",
            "ws://192.0.2.1:8765",
            socks4(b"\4\1" + PORT + b"\xc0\0\2\1\0"),
            id="4a-address",
        ),
        pytest.param(
            "socks4",
            "ws://192.0.2.1:8765",
            socks4(b"\4\1" + PORT + b"\xc0\0\2\1\0"),
            id="4-address",
        ),
        # Looked up here; there is no other name that every machine knows.
        pytest.param(
            "socks4",
            "ws://localhost:8765",
            socks4(b"\4\1" + PORT + b"\x7f\0\0\1\0"),
            id="4-name",
        ),
    ],
)
async def test_names_are_looked_up_by_the_proxy_for_4a_and_5h_and_here_for_4_and_5(
    scheme: str, uri: str, script: Script
) -> None:
    """R-B8"""
    async with (
        raw_server(script) as port,
        connect(uri, proxy=f"{scheme}://127.0.0.1:{port}") as ws,
    ):
        assert await ws.receive() == "hello"
        assert ws.remote_address == ("127.0.0.1", port)  # the proxy's


async def test_socks5_looks_up_a_name_here() -> None:
    found = (await anyio.getaddrinfo("localhost", 8765, type=stdlib_socket.SOCK_STREAM))[0]
    kind, address = {
        stdlib_socket.AF_INET: (b"\1", stdlib_socket.inet_aton("127.0.0.1")),
        stdlib_socket.AF_INET6: (b"\4", bytes(15) + b"\1"),
    }[found[0]]
    script = socks5(b"\5\1\0" + kind + address + PORT)
    async with (
        raw_server(script) as port,
        connect("ws://localhost:8765", proxy=f"socks5://127.0.0.1:{port}") as ws,
    ):
        assert await ws.receive() == "hello"


@pytest.mark.parametrize("scheme", ["socks4", "socks5"])
async def test_a_name_that_cannot_be_looked_up_here_is_no_error_of_the_proxy(scheme: str) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect_end()

    async with raw_server(script) as port:
        with pytest.raises(OSError) as caught:  # noqa: PT011  # its kind is checked below
            await enter(connect(f"ws://{'a' * 64}.invalid", proxy=f"{scheme}://127.0.0.1:{port}"))
    assert isinstance(caught.value, stdlib_socket.gaierror)


async def test_a_user_name_and_a_password_are_sent() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING_WITH_PASSWORD)
        await peer.send(b"\5\2")
        await peer.expect(b"\1\7Aladdin\x0bopen sesame")
        await peer.send(b"\1\0")
        await peer.expect(NAMED)
        await peer.send(GRANTED)
        await say_hello(peer)

    async with raw_server(script) as port:
        await enter(connect(URI, proxy=f"socks5h://Aladdin:open%20sesame@127.0.0.1:{port}"))


async def test_a_user_name_is_sent_to_socks4() -> None:
    script = socks4(b"\4\1" + PORT + b"\0\0\0\1Aladdin\0server.invalid\0")
    async with raw_server(script) as port:
        await enter(connect(URI, proxy=f"socks4a://Aladdin@127.0.0.1:{port}"))


async def test_tls_goes_through_socks(
    server_ssl: stdlib_ssl.SSLContext, client_ssl: stdlib_ssl.SSLContext
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING)
        await peer.send(NO_AUTHENTICATION)
        await peer.expect(b"\5\1\0\3\x09localhost" + PORT)
        await peer.send(GRANTED)
        await say_hello(await secured(peer.stream, server_ssl))

    async with (
        raw_server(script) as port,
        connect("wss://localhost:8765", ssl=client_ssl, proxy=f"socks5h://127.0.0.1:{port}") as ws,
    ):
        assert await ws.receive() == "hello"


# What goes wrong


@pytest.mark.parametrize(
    ("code", "text", "transient"),
    [
        (1, "failure: the proxy could not reach server.invalid:8765", True),
        (2, "not allowed by ruleset: the proxy refuses to connect to server.invalid:8765", False),
        (3, "Network unreachable: the proxy could not reach", True),
        (4, "Host unreachable: the proxy could not reach", True),
        (5, "refused by destination host: the proxy could not reach", True),
        (6, "TTL expired: the proxy could not reach", True),
        (7, "the proxy refuses", False),
        (8, "the proxy refuses", False),
    ],
)
async def test_a_refusal_says_what_it_means(code: int, text: str, transient: bool) -> None:
    """R-B8: RFC 1928 §6"""
    script = socks5(NAMED, bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match=text) as caught:
            await enter(connect(URI, proxy=f"socks5h://127.0.0.1:{port}"))
    error = caught.value
    assert (error.proxy, error.step) == (f"socks5h://127.0.0.1:{port}", "SOCKS")
    assert (error.socks_reply, error.response) == (code, None)
    assert is_transient(error) == transient


@pytest.mark.parametrize(
    ("code", "text", "transient"),
    [
        (91, "the proxy could not reach server.invalid:8765", True),
        (92, "the proxy refuses to connect to server.invalid:8765", False),
        (93, "the proxy refuses", False),
    ],
)
async def test_a_refusal_of_socks4_says_what_it_means(
    code: int, text: str, transient: bool
) -> None:
    script = socks4(NAMED_4A, bytes([0, code, 0, 0, 0, 0, 0, 0]))
    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match=text) as caught:
            await enter(connect(URI, proxy=f"socks4a://127.0.0.1:{port}"))
    assert (caught.value.step, caught.value.socks_reply) == ("SOCKS", code)
    assert is_transient(caught.value) == transient


async def test_a_wrong_password_fails_in_authentication() -> None:
    """R-B8: RFC 1929 §2; it is not shown."""

    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING_WITH_PASSWORD)
        await peer.send(b"\5\2")
        await peer.expect(b"\1\6hidden\6secret")
        await peer.send(b"\1\1")
        await peer.expect_end()

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match="authentication failure") as caught:
            await enter(connect(URI, proxy=f"socks5h://hidden:secret@127.0.0.1:{port}"))
    assert (caught.value.step, caught.value.socks_reply) == ("authentication", None)
    assert "hidden" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert not is_transient(caught.value)


@pytest.mark.parametrize("method", [b"\5\xff", b"\5\2", b"\5\1", b"\5\x80"])
async def test_a_password_that_is_wanted_and_not_given_fails_in_authentication(
    method: bytes,
) -> None:
    """RFC 1928 §3: none of the methods offered, or one that was not."""

    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING)
        await peer.send(method)
        await peer.expect_end()

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match="asks for a user name and a password") as caught:
            await enter(connect(URI, proxy=f"socks5h://127.0.0.1:{port}"))
    assert caught.value.step == "authentication"
    assert not is_transient(caught.value)


@pytest.mark.parametrize(
    "script",
    [
        pytest.param(socks5(NAMED, b"\5\x63\0\1\0\0\0\0\0\0"), id="reply"),
        pytest.param(socks5(NAMED, b"\4\1\0\1\0\0\0\0\0\0"), id="version-of-the-reply"),
    ],
)
async def test_an_answer_that_is_not_socks_says_so(script: Script) -> None:
    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match=r"reply code|version number") as caught:
            await enter(connect(URI, proxy=f"socks5h://127.0.0.1:{port}"))
    assert (caught.value.step, caught.value.socks_reply) == ("SOCKS", None)
    assert not is_transient(caught.value)


@pytest.mark.parametrize(
    "answer", [b"\5\0\1\1\0\0\0\0\0\0", b"\5\0\0\2\0\0\0\0\0\0", b"\5\0\0\3\2\xff\xff\0\0"]
)
async def test_a_grant_that_is_not_valid_is_refused(answer: bytes) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING)
        await peer.send(NO_AUTHENTICATION)
        await peer.expect(NAMED)
        await peer.send(answer)
        await peer.expect_end()

    async with raw_server(script) as port:
        with pytest.raises(ProxyError) as caught:
            await enter(connect(URI, proxy=f"socks5h://127.0.0.1:{port}"))
    assert (caught.value.step, caught.value.socks_reply) == ("SOCKS", None)


async def test_a_proxy_of_http_is_told_from_one_of_socks() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING)
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await peer.read_rest()

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match="version number: 72") as caught:
            await enter(connect(URI, proxy=f"socks5h://127.0.0.1:{port}"))
    assert caught.value.step == "SOCKS"


@pytest.mark.parametrize("answer", [b"", b"\5", b"\5\0", b"\5\0\5\0", b"\5\0" + GRANTED[:-1]])
@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_an_answer_that_ends_early_is_worth_another_attempt(
    answer: bytes, reset: bool
) -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING)
        if len(answer) >= 2:
            await peer.send(answer[:2])
            await peer.expect(NAMED)
        await peer.send(answer[2:] if len(answer) >= 2 else answer)
        if reset:
            sock = peer.stream.extra(SocketAttribute.raw_socket)
            sock.setsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match=r"closed|broke") as caught:
            await enter(connect(URI, proxy=f"socks5h://127.0.0.1:{port}"))
    assert caught.value.step == "SOCKS"
    assert isinstance(caught.value.__cause__, EOFError | ConnectionResetError)
    assert is_transient(caught.value)


async def test_a_name_that_socks_cannot_carry_is_refused() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect(GREETING)
        await peer.send(NO_AUTHENTICATION)
        await peer.expect_end()

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match="cannot be named to the proxy") as caught:
            await enter(connect(f"ws://{'a' * 64}.invalid", proxy=f"socks5h://127.0.0.1:{port}"))
    assert caught.value.step == "SOCKS"


async def test_socks4_has_no_ipv6() -> None:
    async def script(peer: RawPeer) -> None:
        await peer.expect_end()

    async with raw_server(script) as port:
        with pytest.raises(ProxyError, match="SOCKS4 has no IPv6"):
            await enter(connect("ws://[2001:db8::1]", proxy=f"socks4://127.0.0.1:{port}"))


async def silent_at_once(peer: RawPeer) -> None:
    await peer.read_rest()


async def silent_before_the_grant(peer: RawPeer) -> None:
    await peer.expect(GREETING)
    await peer.send(NO_AUTHENTICATION)
    await peer.read_rest()


@pytest.mark.parametrize("script", [silent_at_once, silent_before_the_grant])
async def test_a_silent_proxy_ends_in_a_timeout_that_names_the_step(script: Script) -> None:
    """R-B8; the socket is closed, or the script would not end."""
    async with raw_server(script) as port:
        proxy = f"socks5h://127.0.0.1:{port}"
        message = f"SOCKS through proxy {proxy} took too long: open_timeout is 0.3 s"
        with anyio.fail_after(LIMIT), pytest.raises(TimeoutError, match=message):
            await enter(connect(URI, proxy=proxy, open_timeout=0.3))


@pytest.mark.parametrize("open_timeout", [10.0, None])
async def test_cancelling_closes_the_socket(open_timeout: float | None) -> None:
    """At each of the places where python-socks waits; the leak check sees to the rest."""
    for n in range(3):
        scope = anyio.CancelScope()

        async def script(peer: RawPeer, n: int = n, scope: anyio.CancelScope = scope) -> None:
            if n > 0:
                await peer.expect(GREETING)
            if n > 1:
                await peer.send(NO_AUTHENTICATION)
                await peer.expect(NAMED)
            scope.cancel()
            await peer.read_rest()

        async with raw_server(script) as port:
            with anyio.fail_after(LIMIT), scope:
                await enter(
                    connect(URI, proxy=f"socks5h://127.0.0.1:{port}", open_timeout=open_timeout)
                )
            assert scope.cancelled_caught


@pytest.mark.parametrize("function", [connect, reconnect], ids=["connect", "reconnect"])
async def test_without_python_socks_the_error_says_at_once_how_to_get_it(
    monkeypatch: pytest.MonkeyPatch, function: Callable[..., object]
) -> None:
    monkeypatch.setitem(sys.modules, "python_socks", None)
    message = r"socks5://proxy.example:1080 needs .* pip install '\.\[socks\]'"
    with pytest.raises(ImportError, match=message):
        _ = function(URI, proxy="socks5://proxy.example")
