"""Whom a client asks, with what, and where the answers lead; recorded at servers of our own.

`python -m tests.redirects` prints the matrix of redirects as a table.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from http.cookiejar import CookieJar
from typing import Any

import anyio
import pytest
import trustme

from anyws import (
    BasicAuth,
    DigestAuth,
    HandshakeError,
    HandshakeRejected,
    LocalProtocolError,
    Request,
    Response,
    ServerConnection,
    TooManyRedirects,
    connect,
    serve,
    wrap_client,
)
from anyws._cookies import CookieSource
from anyws._core.headers import Headers
from anyws._core.uri import parse_uri
from anyws._visit import Asking, Visit
from anyws.testing import RawPeer, memory_pair

from .network import TIMELESS, Script, ignore, live, network
from .network import Visit as NetworkVisit
from .raw import LIMIT, raw_server
from .redirects import CASES, SECRETS, Case, Places
from .scripted import settle, virtual_time
from .serving import echo, wait

pytestmark = pytest.mark.anyio

# The matrix


@pytest.mark.parametrize("case", CASES, ids=str)
async def test_a_redirect_takes_no_credentials_to_another_origin(
    case: Case, certificate_authority: trustme.CA
) -> None:
    """R-B7c: what was sent to whom is seen at the servers."""
    with anyio.fail_after(LIMIT):
        async with Places(certificate_authority) as places:
            outcome = await places.visit(case)
            assert outcome.result == case.expected
            first, *others = outcome.requests
            if case.credentials == "none":
                assert not SECRETS & first.secrets
            else:
                assert first.secrets
            for request in others:
                if case.target == "same":
                    assert request.secrets == first.secrets
                else:
                    assert request.secrets == set()


# By single steps


def redirect(location: str, status: int = 302) -> Response:
    return Response(status, Headers({"Location": location}))


def visit(uri: str = "ws://example.com/a/b?q=1", **asking: Any) -> Visit:
    asking.setdefault("max_redirects", 2)
    return Visit(parse_uri(uri), Asking(**asking))


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    """RFC 9110 §15.4"""
    v = visit()
    assert v.take_answer(redirect("ws://other.example/", status))
    assert v.uri == parse_uri("ws://other.example/")
    assert not v.is_at_home


@pytest.mark.parametrize("status", [200, 304, 305, 306, 400, 401, 404, 503])
def test_other_statuses_lead_nowhere(status: int) -> None:
    v = visit()
    assert not v.take_answer(redirect("ws://other.example/", status))
    assert v.is_at_home


def test_a_redirect_without_a_location_leads_nowhere() -> None:
    assert not visit().take_answer(Response(300))


def test_redirects_are_followed_only_if_that_is_asked_for() -> None:
    assert not visit(max_redirects=0).take_answer(redirect("ws://other.example/"))


@pytest.mark.parametrize(
    ("location", "expected"),
    [
        ("/c", "ws://example.com/c"),
        ("c?d", "ws://example.com/a/c?d"),
        ("?d", "ws://example.com/a/b?d"),
        ("../c", "ws://example.com/c"),
        ("//other.example/c", "ws://other.example/c"),
        ("ws://other.example", "ws://other.example/"),
        ("http://other.example/", "ws://other.example/"),
        ("HTTP://Other.Example/", "ws://other.example/"),
        ("https://other.example/", "wss://other.example/"),
        ("wss://other.example:444/", "wss://other.example:444/"),
        ("ws://other.example/#part", "ws://other.example/"),
        ("ws://name:secret@other.example/", "ws://other.example/"),
        ("/ü", "ws://example.com/%C3%BC"),
        ("/a%20b", "ws://example.com/a%20b"),
    ],
)
def test_locations_are_resolved(location: str, expected: str) -> None:
    """RFC 9110 §10.2.2, RFC 3986 §5.2; a server does not say who the user is."""
    v = visit()
    assert v.take_answer(redirect(location))
    assert v.uri == parse_uri(expected)


@pytest.mark.parametrize(
    ("location", "problem"),
    [
        ("ftp://other.example/", "no WebSocket URI"),
        ("mailto:a@b.example", "no WebSocket URI"),
        ("ws://", "no WebSocket URI"),
        ("ws://a b/", "no WebSocket URI"),
        ("ws://other.example:port/", "no WebSocket URI"),
        ("http://[::1/", "no WebSocket URI"),
    ],
)
def test_locations_that_are_no_websocket_uris_are_errors(location: str, problem: str) -> None:
    with pytest.raises(HandshakeError, match=problem):
        visit().take_answer(redirect(location))


@pytest.mark.parametrize("location", ["ws://example.com/", "http://example.com/?secret"])
def test_tls_is_not_given_up(location: str) -> None:
    with pytest.raises(HandshakeError, match=r"from wss to ws://example\.com/, which") as caught:
        visit("wss://example.com/").take_answer(redirect(location))
    assert "secret" not in str(caught.value)


def test_redirects_are_limited() -> None:
    v = visit()
    assert v.take_answer(redirect("/1"))
    assert v.take_answer(redirect("/2"))
    last = redirect("/3?secret")
    with pytest.raises(TooManyRedirects, match="more than 2 redirects, the last one to") as caught:
        v.take_answer(last)
    assert caught.value.response is last
    assert "secret" not in str(caught.value)


def test_redirects_in_a_circle_are_found_out() -> None:
    v = visit(max_redirects=10)
    assert v.take_answer(redirect("/1"))
    with pytest.raises(TooManyRedirects, match=r"in a circle, to ws://example\.com/a/b again"):
        v.take_answer(redirect("/a/b?q=1"))


def test_a_circle_with_a_cookie_jar_is_none() -> None:
    """Many sites set a cookie and ask to come again."""
    uri = parse_uri("ws://example.com/a/b?q=1")
    v = visit(cookies=CookieSource(CookieJar(), uri))
    assert v.take_answer(redirect("/a/b?q=1"))


@pytest.mark.parametrize(
    ("offered", "elsewhere"),
    [
        (("chat",), "chat"),
        (("bearer", "secret"), None),
        (("chat", "Bearer", "secret", "soap"), "chat, soap"),
        (("chat", "bearer"), "chat"),
    ],
)
async def test_a_token_among_the_subprotocols_stays_at_home(
    offered: tuple[str, ...], elsewhere: str | None
) -> None:
    v = visit(subprotocols=offered)
    request = await v.next_request()
    assert request.headers["Sec-WebSocket-Protocol"] == ", ".join(offered)
    assert v.take_answer(redirect("ws://other.example/"))
    request = await v.next_request()
    assert request.headers.get("Sec-WebSocket-Protocol") == elsewhere
    assert v.subprotocols == (tuple(elsewhere.split(", ")) if elsewhere else ())


@pytest.mark.parametrize("asked_at_home", [False, True])
async def test_a_challenge_of_another_origin_is_not_answered(asked_at_home: bool) -> None:
    """R-B7c: the answer would be enough to guess the password at leisure."""
    challenge = 'Digest realm="r", nonce="n", qop="auth"'
    refusal = Response(401, Headers({"WWW-Authenticate": challenge}))
    v = visit(auth=DigestAuth("Ada", "x"))
    if asked_at_home:
        assert v.take_answer(refusal)
        assert (await v.next_request()).headers["Authorization"].startswith("Digest ")
    assert v.take_answer(redirect("ws://other.example/"))
    assert "Authorization" not in (await v.next_request()).headers
    assert not v.take_answer(refusal)
    assert "Authorization" not in (await v.next_request()).headers


async def test_coming_home_again_the_credentials_are_given_again() -> None:
    v = visit(auth=BasicAuth("Ada", "x"), headers=Headers({"X-Key": "1"}))
    assert v.take_answer(redirect("ws://other.example/"))
    assert "X-Key" not in (await v.next_request()).headers
    assert v.take_answer(redirect("ws://example.com/c"))
    headers = (await v.next_request()).headers
    assert headers["X-Key"] == "1"
    assert headers["Authorization"].startswith("Basic ")


async def test_another_origin_gets_the_headers_that_tell_nothing_and_no_other() -> None:
    """R-B7c: by names, so that one that nobody has thought of stays at home."""
    kept = {"Accept-Language": "fr", "User-Agent": "mine"}
    v = visit(headers=Headers({**kept, "Host": "front.example", "Accept": "x", "X-Unknown": "1"}))
    assert v.take_answer(redirect("ws://other.example/"))
    headers = (await v.next_request()).headers
    assert set(headers) == {
        "host",
        "upgrade",
        "connection",
        "sec-websocket-key",
        "sec-websocket-version",
        "accept-language",
        "user-agent",
    }
    assert headers["Host"] == "other.example"
    assert {name: headers[name] for name in kept} == kept


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"X-Token": "a\r\nY: b"}, "control characters"),
        ({"Sec-WebSocket-Key": "x"}, "set by the opening handshake itself"),
    ],
)
async def test_header_fields_of_the_function_are_checked(
    given: dict[str, str], problem: str
) -> None:
    """R-C2: CVE-2020-7695, CVE-2026-1527"""

    async def token() -> dict[str, str]:
        return given

    with pytest.raises(LocalProtocolError, match=problem):
        await visit(auth=token).next_request()


async def test_each_request_has_a_key_of_its_own() -> None:
    v = visit()
    first = await v.next_request()
    assert first.headers["Sec-WebSocket-Key"] == v.key
    second = await v.next_request()
    assert second.headers["Sec-WebSocket-Key"] == v.key != first.headers["Sec-WebSocket-Key"]


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"headers": {"Authorization": "x"}, "auth": ("a", "b")}, "Authorization is given twice"),
        ({"headers": {"Cookie": "x=y"}, "cookies": {"a": "b"}}, "Cookie is given twice"),
        ({"uri": "ws://a:b@localhost/", "headers": {"authorization": "x"}}, "given twice"),
        ({"headers": {"Upgrade": "x"}}, "set by the opening handshake itself"),
        ({"auth": ("a:b", "c")}, "colon"),
        ({"cookies": {"a;b": "c"}}, "cookie name"),
    ],
)
def test_what_contradicts_itself_is_refused_at_once(given: dict[str, Any], problem: str) -> None:
    with pytest.raises(LocalProtocolError, match=problem):
        _ = connect(**{"uri": "ws://localhost/", **given})


@pytest.mark.parametrize(
    ("auth", "error", "problem"),
    [
        ("ann:secret", TypeError, "auth is str, expected a name and a password, a BasicAuth"),
        (["ann", "secret"], TypeError, "auth is list, expected"),
        (BasicAuth(users={"ann": "secret"}), ValueError, "a client sends one name and password"),
    ],
    ids=["str", "list", "of-a-server"],
)
def test_what_says_not_who_the_user_is_is_refused_at_once(
    auth: Any, error: type[Exception], problem: str
) -> None:
    """R-B7a: a request without credentials would be the silent alternative."""
    with pytest.raises(error, match=problem) as caught:
        _ = connect("ws://localhost/", auth=auth)
    assert "secret" not in str(caught.value)


# Over real sockets


async def who(ws: ServerConnection) -> None:
    await ws.send(f"{ws.username}")


@pytest.mark.parametrize("given", ["tuple", "object", "uri"])
async def test_a_password_is_sent_at_once(given: str) -> None:
    """R-B7a"""
    async with serve(who, "127.0.0.1", auth=BasicAuth("Ada", "pä:ss")) as server:
        uri = server.uri
        keywords: dict[str, Any] = {}
        if given == "uri":
            uri = uri.replace("://", "://Ada:p%C3%A4%3Ass@")
        else:
            pair = ("Ada", "pä:ss")
            keywords = {"auth": pair if given == "tuple" else BasicAuth(*pair)}
        async with connect(uri, **keywords) as ws:
            assert await ws.receive() == "Ada"
        with pytest.raises(HandshakeRejected):
            await connect(server.uri, auth=("Ada", "wrong")).__aenter__()


async def test_credentials_may_come_from_an_async_function() -> None:
    """R-A6e"""
    asked = 0

    async def token() -> dict[str, str]:
        nonlocal asked
        asked += 1
        await anyio.lowlevel.checkpoint()
        return {"Authorization": f"Bearer {asked}"}

    seen: list[str | None] = []

    def look(ws: ServerConnection, request: Request) -> Response | None:
        seen.append(request.bearer_token())
        if request.path == "/":
            return ws.respond(302, "", {"Location": "/next"})
        return None

    async with (
        serve(wait, "127.0.0.1", process_request=look) as server,
        connect(server.uri, auth=token, max_redirects=1),
    ):
        pass
    assert seen == ["1", "2"]


async def test_cookies_go_out_and_come_in() -> None:
    """R-B7a: by a jar of the standard library."""
    jar = CookieJar()
    seen: list[dict[str, str]] = []

    def look(ws: ServerConnection, request: Request) -> Response | None:
        seen.append(request.cookies)
        if request.path == "/login":
            cookies = [("Set-Cookie", "a=1; Path=/"), ("Set-Cookie", "b=2; Path=/; HttpOnly")]
            return ws.respond(302, "", [*cookies, ("Location", "/")])
        return None

    def set_another(_: ServerConnection, __: Request, response: Response) -> None:
        if response.status_code == 101:
            response.headers.add("Set-Cookie", "c=3; Path=/")

    async with serve(
        wait, "localhost", process_request=look, process_response=set_another
    ) as server:
        uri = f"ws://localhost:{server.port}"
        async with connect(f"{uri}/login", cookies=jar, max_redirects=1):
            pass
        async with connect(f"{uri}/", cookies=jar):
            pass
        async with connect(f"{uri}/", cookies={"d": "4"}):
            pass
    assert seen == [
        {},
        {"a": "1", "b": "2"},
        {"a": "1", "b": "2", "c": "3"},
        {"d": "4"},
    ]


@pytest.mark.parametrize(
    ("lead", "message", "expected"),
    [
        (lambda path: path + "a", "more than 3 redirects", ["/", "/a", "/aa", "/aaa"]),
        (lambda _: "/b", "in a circle", ["/", "/b"]),
    ],
    ids=["limit", "circle"],
)
async def test_a_server_that_leads_on_and_on_is_left(
    lead: Callable[[str], str], message: str, expected: list[str]
) -> None:
    """R-B7c"""
    paths: list[str] = []

    def look(ws: ServerConnection, request: Request) -> Response:
        paths.append(request.path)
        return ws.respond(302, "", {"Location": lead(request.path)})

    with anyio.fail_after(LIMIT):
        async with serve(wait, "127.0.0.1", process_request=look) as server:
            with pytest.raises(TooManyRedirects, match=message) as caught:
                await connect(server.uri, max_redirects=3).__aenter__()
    assert caught.value.response.status_code == 302
    assert paths == expected


async def test_no_redirect_is_followed_unasked() -> None:
    """R-B7c"""
    paths: list[str] = []

    def look(ws: ServerConnection, request: Request) -> Response:
        paths.append(request.path)
        return ws.respond(302, "", {"Location": "/there"})

    async with serve(wait, "127.0.0.1", process_request=look) as server:
        with pytest.raises(HandshakeRejected, match="HTTP 302") as caught:
            await connect(server.uri).__aenter__()
    assert caught.value.response.headers["Location"] == "/there"
    assert paths == ["/"]


def leading_to(path: str, seconds: float = 0) -> Script:
    """Redirect, after a while; the body comes by itself."""

    async def script(peer: NetworkVisit) -> None:
        await peer.read_head()
        await anyio.sleep(seconds)
        head = f"HTTP/1.1 302 Found\r\nLocation: {path}\r\nContent-Length: 5\r\n\r\n"
        await peer.send(head.encode())
        await settle()
        await peer.send(b"moved")
        await peer.read_rest()

    return script


async def test_a_stream_is_closed_before_the_one_for_the_next_request_is_asked_for() -> None:
    """As the network checks."""
    async with network(leading_to("/a"), leading_to("/b"), live) as net:
        async with connect("ws://example.org/", stream=net.dial, max_redirects=2) as ws:
            assert await ws.receive() == "hello"
            assert ws.request.path == "/b"
        assert net.is_closed
        assert len(net.dialled) == 3


@virtual_time
async def test_open_timeout_is_one_deadline_for_all_redirects() -> None:
    plan = (leading_to("/a", 4), leading_to("/b", 4), ignore)
    async with network(*plan, limit=TIMELESS) as net:
        began = anyio.current_time()
        message = "the opening handshake with example.org port 80 took too long: open_timeout is 10"
        with pytest.raises(TimeoutError, match=message):
            await connect("ws://example.org/", stream=net.dial, max_redirects=9).__aenter__()
        assert anyio.current_time() - began == pytest.approx(10)
        assert net.waits == [pytest.approx(4), pytest.approx(4)]
        assert net.is_closed


async def test_a_name_for_the_certificate_is_for_the_server_that_was_named(
    certificate_authority: trustme.CA, client_ssl: ssl.SSLContext
) -> None:
    """R-B9: another origin has to prove its own name."""
    named = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    certificate_authority.issue_cert("named.example").configure_cert(named)

    def lead(ws: ServerConnection, request: Request) -> Response | None:
        return None if request.path == "/there" else ws.respond(302, "", {"Location": target})

    async with (
        serve(wait, "127.0.0.1", ssl=named, process_request=lead) as server,
        serve(wait, "127.0.0.1", ssl=named, process_request=lead) as other,
    ):
        keywords: dict[str, Any] = {
            "ssl": client_ssl,
            "server_hostname": "named.example",
            "max_redirects": 1,
        }
        target = "/there"
        async with connect(server.uri, **keywords) as ws:
            assert ws.request.path == "/there"
        target = other.uri + "there"
        with pytest.raises(HandshakeError, match=r"handshake with 127\.0\.0\.1 failed: .*mismatch"):
            await connect(server.uri, **keywords).__aenter__()


async def test_a_stream_leads_to_one_request_only() -> None:
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, is_client=False)

    async def answer() -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 302 Found\r\nLocation: /there\r\nContent-Length: 0\r\n\r\n")

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(answer)
        with pytest.raises(HandshakeRejected) as caught:
            await connect("ws://localhost/", stream=ours, max_redirects=1).__aenter__()
        assert "does not lead" in caught.value.__notes__[0]


async def test_a_unix_socket_leads_to_the_server_that_was_named(tmp_path: Any) -> None:
    path = tmp_path / "socket"

    def lead(ws: ServerConnection, request: Request) -> Response | None:
        to = {"/": "/here", "/away": "ws://other.example/"}.get(request.path)
        return ws.respond(302, "", {"Location": to}) if to else None

    async with serve(echo, path=path, process_request=lead):
        async with connect("ws://localhost/", path=path, max_redirects=1) as ws:
            assert ws.request.path == "/here"
        with pytest.raises(HandshakeRejected) as caught:
            await connect("ws://localhost/away", path=path, max_redirects=1).__aenter__()
        assert "does not lead" in caught.value.__notes__[0]


@pytest.mark.parametrize(
    ("framing", "body"),
    [
        (b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", b"hello"),
        (b"Connection: close\r\n\r\nhello", b"hello"),
        (b"Content-Length: 50\r\n\r\nhello", b"hello"),
        (b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n", b"hello"),
        (b"Content-Length: 200000\r\n\r\n" + b"x" * 200_000, b"x" * 65536),
        (b"\r\n", b""),
    ],
    ids=["length", "chunked", "to the end", "cut", "bad chunk", "large", "empty"],
)
async def test_a_refusal_has_as_much_of_its_body_as_came(framing: bytes, body: bytes) -> None:
    """R-B6d: whatever the framing."""

    async def script(peer: RawPeer) -> None:
        await peer.read_head()
        await peer.send(b"HTTP/1.1 403 Forbidden\r\nX-Reason: none\r\n" + framing)
        await peer.stream.send_eof()

    with anyio.fail_after(LIMIT):
        async with raw_server(script) as port:
            with pytest.raises(HandshakeRejected) as caught:
                await connect(f"ws://127.0.0.1:{port}/").__aenter__()
    response = caught.value.response
    assert (response.status_code, response.headers["X-Reason"]) == (403, "none")
    assert response.body == body


async def test_a_refusal_whose_body_does_not_end_is_one_at_the_deadline() -> None:
    """R-B6d: in `open_timeout`."""
    ours, theirs = memory_pair()
    peer = RawPeer(theirs, is_client=False)
    async with anyio.create_task_group() as tasks:

        async def answer() -> None:
            await peer.read_head()
            await peer.send(b"HTTP/1.1 503 Busy\r\nContent-Length: 50\r\n\r\nwait")
            await peer.read_rest()

        tasks.start_soon(answer)
        with pytest.raises(HandshakeRejected) as caught:
            await wrap_client(ours, "ws://localhost/", open_timeout=0.05).__aenter__()
    assert (caught.value.response.status_code, caught.value.response.body) == (503, b"wait")


# One at a time


async def test_one_attempt_at_a_time_goes_to_one_address() -> None:
    """RFC 6455 §4.1, 2: under whatever name."""
    under_way = most = 0
    release = anyio.Event()

    async def slow(_: ServerConnection, __: Request) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await release.wait()
        under_way -= 1

    async with serve(wait, "127.0.0.1", process_request=slow) as server:

        async def go(host: str, one_at_a_time: bool) -> None:
            async with connect(f"ws://{host}:{server.port}/", one_at_a_time=one_at_a_time):
                pass

        with anyio.fail_after(LIMIT):
            async with anyio.create_task_group() as tasks:
                for host in ("127.0.0.1", "localhost", "127.0.0.1"):
                    tasks.start_soon(go, host, True)
                while not under_way:
                    await anyio.lowlevel.checkpoint()
                for _ in range(100):
                    await anyio.lowlevel.checkpoint()
                assert under_way == 1
                # Others do not care.
                tasks.start_soon(go, "127.0.0.1", False)
                while under_way < 2:
                    await anyio.lowlevel.checkpoint()
                release.set()
    assert most == 2


async def test_whoever_is_cancelled_gives_its_turn_away() -> None:
    entered = anyio.Event()

    async def never(_: ServerConnection, __: Request) -> None:
        entered.set()
        await anyio.sleep_forever()

    with anyio.fail_after(LIMIT):
        async with serve(wait, "127.0.0.1", process_request=never) as server:
            for _ in range(2):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(connect(server.uri, one_at_a_time=True).__aenter__)
                    await entered.wait()
                    entered = anyio.Event()
                    tasks.cancel_scope.cancel()


async def test_waiting_for_a_turn_is_inside_open_timeout() -> None:
    """The error says that nobody was asked yet."""
    asked = anyio.Event()

    async def read_on(peer: RawPeer) -> None:
        await peer.read_head()
        asked.set()
        await peer.read_rest()

    with anyio.fail_after(LIMIT):
        async with raw_server(read_on) as port, anyio.create_task_group() as tasks:
            uri = f"ws://127.0.0.1:{port}/"
            tasks.start_soon(connect(uri, one_at_a_time=True).__aenter__)
            await asked.wait()
            message = "waiting for another attempt to connect to 127.0.0.1 port"
            with pytest.raises(TimeoutError, match=message):
                await connect(uri, one_at_a_time=True, open_timeout=0.02).__aenter__()
            tasks.cancel_scope.cancel()


# Digest


@pytest.mark.parametrize("password", ["right", "wrong"])
async def test_digest_authentication_takes_one_more_request(password: str) -> None:
    """RFC 7616, against a server that only looks at the form; see `test_digest.py`."""
    asked: list[str | None] = []

    async def script(peer: RawPeer) -> None:
        head = await peer.read_head()
        authorization = head.headers.get("authorization")
        asked.append(authorization)
        if authorization is None or password == "wrong":
            await peer.send(
                b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\n"
                b'WWW-Authenticate: Digest realm="r", nonce="n", qop="auth", algorithm=SHA-256\r\n'
                b"Connection: close\r\n\r\n"
            )
        else:
            await peer.send(head.switch())
            await peer.answer_close()

    auth = DigestAuth("Ada", password)
    with anyio.fail_after(LIMIT):
        async with raw_server(script) as port:
            uri = f"ws://127.0.0.1:{port}/"
            if password == "wrong":
                with pytest.raises(HandshakeRejected) as caught:
                    await connect(uri, auth=auth).__aenter__()
                assert caught.value.response.status_code == 401
                assert len(asked) == 2
                return
            async with connect(uri, auth=auth):
                pass
            # The next connection answers before it is asked, and counts on.
            async with connect(uri, auth=auth):
                pass
    assert asked[0] is None
    assert asked[1] is not None
    assert asked[2] is not None
    assert "nc=00000001" in asked[1]
    assert "nc=00000002" in asked[2]
    assert len(asked) == 3
