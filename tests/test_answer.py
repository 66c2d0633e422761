"""What a server answers to a request: hooks, authentication, origins, subprotocols.

The clients are scripted, or ours where only the server matters.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws import (
    BasicAuth,
    HandshakeRejected,
    Headers,
    InvalidHandshake,
    LocalProtocolError,
    NegotiationError,
    Request,
    Response,
    Server,
    ServerConnection,
    State,
    connect,
    serve,
    wrap_server,
)
from anyws._accept import Opening
from anyws.testing import PING, TEXT, UPGRADE, Frame, Head, RawPeer, memory_pair

from .http_requests import PLAIN_GET, request
from .raw import LIMIT, raw_client
from .scripted import settle, virtual_time
from .serving import HELLO, check_alive, connections, echo, errors, wait

pytestmark = pytest.mark.anyio

Hook = Callable[[ServerConnection, Request], Any]


async def ask(server: Server, data: bytes) -> Head:
    """Send a request and read the whole answer, then the end."""
    with anyio.fail_after(LIMIT):
        async with raw_client(server.port) as peer:
            await peer.send(data)
            is_head = data.startswith(b"HEAD ")
            response = await (peer.read_head() if is_head else peer.read_response())
            await peer.expect_end()
            return response


def teapot(ws: ServerConnection, _: Request) -> Response:
    return ws.respond(418, "short and stout", {"X-Pot": "tea"})


async def async_teapot(ws: ServerConnection, request: Request) -> Response:
    await checkpoint()
    return teapot(ws, request)


async def async_teapot_at_once(ws: ServerConnection, request: Request) -> Response:
    return teapot(ws, request)


class Teapot:
    async def __call__(self, ws: ServerConnection, request: Request) -> Response:
        return teapot(ws, request)


each_teapot = pytest.mark.parametrize(
    "hook",
    [teapot, async_teapot, async_teapot_at_once, Teapot(), partial(async_teapot)],
    ids=["sync", "async", "async-at-once", "object", "partial"],
)


def let_pass(_: ServerConnection, __: Request) -> None:
    return None


async def async_let_pass(_: ServerConnection, __: Request) -> None:
    await checkpoint()


each_pass = pytest.mark.parametrize("hook", [let_pass, async_let_pass], ids=["sync", "async"])

# process_request


@each_teapot
@pytest.mark.parametrize(
    ("data", "body"),
    [
        (UPGRADE, b"short and stout\n"),
        (PLAIN_GET, b"short and stout\n"),
        (request("HEAD / HTTP/1.1", Upgrade=None), b""),
        (request("POST / HTTP/1.1", Upgrade=None, Content_Length="5") + b"12345", b"short"),
        (b"GET / HTTP/1.0\r\n\r\n", b"short"),
        (b"BREW /pot HTTP/1.1\r\nHost: localhost\r\n\r\n", b"short"),
    ],
    ids=["upgrade", "GET", "HEAD", "POST", "HTTP-1.0", "BREW"],
)
async def test_a_hook_may_answer_any_request(hook: Hook, data: bytes, body: bytes) -> None:
    """R-B6a"""
    async with serve(wait, "127.0.0.1", process_request=hook) as server:
        response = await ask(server, data)
        assert response.status == 418
        assert response.body.startswith(body)
        assert response.headers["x-pot"] == "tea"
        assert response.headers["content-length"] == "16"
        assert response.headers["connection"] == "close"
        assert response.headers["server"] == "anyws"
        assert response.headers["date"].endswith(" GMT")
        assert server.connections == frozenset()


async def test_a_response_may_be_sent_again_and_again() -> None:
    shared = Response(200, Headers({"X": "1"}), b"hello\n")
    async with serve(wait, "127.0.0.1", process_request=lambda *_: shared) as server:
        for _ in range(2):
            assert (await ask(server, PLAIN_GET)).body == b"hello\n"
    assert shared.headers.multi_items() == [("X", "1")]


@each_pass
async def test_a_hook_may_let_the_handshake_go_on(hook: Hook) -> None:
    async with serve(echo, "127.0.0.1", process_request=hook) as server:
        await check_alive(server)
        assert (await ask(server, PLAIN_GET)).status == 426


async def test_a_hook_sees_the_request_and_who_sent_it() -> None:
    seen: list[tuple[object, ...]] = []

    def look(ws: ServerConnection, request: Request) -> None:
        assert request is ws.request
        seen.append((ws.state, request.path, ws.id, ws.remote_address, ws.username))

    async with (
        serve(wait, "127.0.0.1", process_request=look) as server,
        connect(f"{server.uri}path?query") as ws,
    ):
        await connections(server, 1)
        (ours,) = server.connections
        assert seen == [(State.CONNECTING, "/path?query", ours.id, ws.local_address, None)]


async def test_a_hook_may_keep_what_it_finds_on_the_connection() -> None:
    def recognise(ws: ServerConnection, request: Request) -> None:
        ws.username = request.cookies.get("name")

    async def greet(ws: ServerConnection) -> None:
        await ws.send(f"hello {ws.username}")

    async with (
        serve(greet, "127.0.0.1", process_request=recognise) as server,
        connect(server.uri, headers={"Cookie": "name=Ada"}) as ws,
    ):
        assert await ws.receive() == "hello Ada"


NOT_YET: dict[str, Callable[[ServerConnection], Awaitable[object]]] = {
    "receive": ServerConnection.receive,
    "receive as bytes": lambda ws: ws.byte_stream().receive(),
    "receive as stream": lambda ws: ws.receive_stream().__aenter__(),
    "send": lambda ws: ws.send("hello"),
    "send fragments": lambda ws: ws.send(["hello"]),
    "ping": ServerConnection.ping,
    "pong": ServerConnection.pong,
    "close": ServerConnection.close,
}


@pytest.mark.parametrize("name", NOT_YET)
async def test_nothing_can_be_done_with_a_connection_before_it_is_open(name: str) -> None:
    raised: list[Exception] = []

    async def hurry(ws: ServerConnection, _: Request) -> None:
        try:
            await NOT_YET[name](ws)
        except LocalProtocolError as exc:
            raised.append(exc)

    async with serve(echo, "127.0.0.1", process_request=hurry) as server:
        await check_alive(server)
    (error,) = raised
    assert "is not open yet" in str(error)


async def test_a_connection_that_is_refused_has_ended() -> None:
    kept: list[ServerConnection] = []

    def keep(ws: ServerConnection, _: Request) -> Response:
        kept.append(ws)
        return ws.respond(403)

    async with serve(wait, "127.0.0.1", process_request=keep) as server:
        assert (await ask(server, UPGRADE)).body == b""
        (ws,) = kept
        with anyio.fail_after(LIMIT):
            await ws.wait_closed()
        assert (ws.state, ws.close_code) == (State.CLOSED, 1006)


class Broken(Exception):
    pass


def fail(*_: object) -> None:
    raise Broken


async def async_fail(*_: object) -> None:
    await checkpoint()
    raise Broken


def answer_101(*_: object) -> Response:
    return Response(101)


def answer_nonsense(*_: object) -> str:
    return "no"


async def async_answer_nonsense(*_: object) -> str:
    return "no"


def answer_with_line_end(*_: object) -> Response:
    return Response(200, reason_phrase="fine\r\nX-Injected: 1")


def answer_with_wrong_length(*_: object) -> Response:
    return Response(200, Headers({"Content-Length": "7"}), b"12345")


@pytest.mark.parametrize("setting", ["process_request", "process_response"])
@pytest.mark.parametrize(
    ("hook", "error"),
    [
        (fail, Broken),
        (async_fail, Broken),
        (answer_nonsense, TypeError),
        (async_answer_nonsense, TypeError),
        (answer_with_line_end, LocalProtocolError),
        (answer_with_wrong_length, LocalProtocolError),
    ],
)
async def test_a_hook_that_fails_is_answered_with_500_and_logged_once(
    setting: str, hook: Hook, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(echo, "127.0.0.1", **{setting: hook}) as server:  # type: ignore[arg-type]
        response = await ask(server, UPGRADE)
        assert (response.status, response.body) == (
            500,
            b"the server failed to answer the request\n",
        )
    (record,) = errors(caplog)
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is error


async def test_process_request_cannot_open_the_connection_itself(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve(wait, "127.0.0.1", process_request=answer_101) as server:
        assert (await ask(server, UPGRADE)).status == 500
    assert "process_request returned 101" in caplog.text


async def test_a_handler_may_have_a_hook_of_its_own_which_comes_second() -> None:
    class Doorman:
        def __init__(self) -> None:
            self.seen: list[str] = []

        def process_request(self, ws: ServerConnection, request: Request) -> Response | None:
            self.seen.append(request.path)
            return ws.respond(404) if request.path == "/missing" else None

        async def __call__(self, ws: ServerConnection) -> None:
            await echo(ws)

    def first(ws: ServerConnection, request: Request) -> Response | None:
        return ws.respond(403) if request.path == "/secret" else None

    doorman = Doorman()
    async with serve(doorman, "127.0.0.1", process_request=first) as server:
        await check_alive(server)
        assert (await ask(server, request("GET /missing HTTP/1.1"))).status == 404
        assert (await ask(server, request("GET /secret HTTP/1.1"))).status == 403
    assert doorman.seen == ["/", "/missing"]


# While a hook waits


class Slow:
    """A hook that waits until it is told what to return.

    Attributes:
        entered: set when it waits.
        left: how it was left, by the name of the exception.
    """

    def __init__(self) -> None:
        self.entered = anyio.Event()
        self.released = anyio.Event()
        self.left = ""
        self.response: Response | None = None

    async def __call__(self, _: ServerConnection, __: Request) -> Response | None:
        self.entered.set()
        try:
            await self.released.wait()
        except BaseException as exc:
            self.left = type(exc).__name__
            raise
        self.left = "normally"
        return self.response


@asynccontextmanager
async def waiting(then: Sequence[bytes] = ()) -> AsyncIterator[tuple[Server, RawPeer, Slow]]:
    """Give a server whose hook waits, and the peer that it waits for, which sends more behind."""
    hook = Slow()
    with anyio.fail_after(LIMIT):
        async with (
            serve(echo, "127.0.0.1", process_request=hook) as server,
            raw_client(server.port) as peer,
        ):
            await peer.send(UPGRADE, *then)
            await hook.entered.wait()
            yield server, peer, hook


async def test_other_clients_do_not_wait_for_a_hook() -> None:
    async with waiting() as (server, peer, hook):
        hook.entered = anyio.Event()
        async with raw_client(server.port) as other:
            await other.send(UPGRADE)
            await hook.entered.wait()
            hook.released.set()
            assert (await other.read_head()).status == 101
        assert (await peer.read_head()).status == 101


async def test_frames_that_come_while_a_hook_waits_are_not_lost() -> None:
    async with waiting() as (_, peer, hook):
        await peer.send(HELLO)
        await settle()
        await peer.send(HELLO)
        await settle()
        hook.released.set()
        assert (await peer.read_head()).status == 101
        await peer.expect(HELLO, HELLO)


async def test_frames_that_come_while_a_hook_waits_are_bounded() -> None:
    """A peer that sends on and on has to wait, and loses nothing."""
    flood = [Frame(TEXT, b"x" * 60_000)] * 200
    async with waiting() as (server, peer, hook), anyio.create_task_group() as tasks:
        tasks.start_soon(peer.send, *flood)
        await settle()
        (arrival,) = server._admission.arrivals
        assert isinstance(arrival.stage, Opening)
        assert arrival.stage._early is not None
        assert len(arrival.stage._early) < 200_000
        hook.released.set()
        assert (await peer.read_head()).status == 101
        await peer.expect(*flood)


async def test_a_peer_that_breaks_off_while_a_hook_waits_cancels_the_hook() -> None:
    hook = Slow()
    ours, theirs = memory_pair()
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:

            async def visit() -> None:
                await theirs.send(UPGRADE)
                await hook.entered.wait()
                theirs.reset()

            tasks.start_soon(visit)
            with pytest.raises(OSError):  # noqa: PT011  # what kind is up to the stream
                await wrap_server(ours, process_request=hook).__aenter__()
    assert hook.left.startswith("Cancel")


async def test_a_peer_that_has_ended_its_side_still_gets_the_answer_of_a_hook() -> None:
    hook = Slow()
    hook.response = Response(200, body=b"done\n")
    with anyio.fail_after(LIMIT):
        async with (
            serve(echo, "127.0.0.1", process_request=hook) as server,
            raw_client(server.port) as peer,
        ):
            await peer.send(PLAIN_GET)
            await peer.stream.send_eof()
            await hook.entered.wait()
            await settle()
            hook.released.set()
            response = await peer.read_response()
            assert (response.status, response.body) == (200, b"done\n")


@pytest.mark.parametrize("how", ["drain", "shutdown"])
async def test_a_server_that_stops_does_not_wait_for_hooks(how: str) -> None:
    async with waiting() as (server, peer, hook):
        await getattr(server, how)()
        response = await peer.read_response()
        assert (response.status, response.body) == (503, b"the server is stopping\n")
        while not hook.left:
            await checkpoint()
        assert hook.left.startswith("Cancel")


async def test_a_server_that_is_cancelled_cancels_hooks() -> None:
    hook = Slow()
    async with anyio.create_task_group() as tasks:
        server = await tasks.start(partial(serve, process_request=hook), echo, "127.0.0.1")
        async with raw_client(server.port) as peer:
            await peer.send(UPGRADE)
            await hook.entered.wait()
            tasks.cancel_scope.cancel()
    assert hook.left.startswith("Cancel")


@virtual_time
async def test_a_hook_that_takes_too_long_is_answered_with_503() -> None:
    """R-B6c: within the deadline of the handshake, all of it together."""
    hook = Slow()
    ours, theirs = memory_pair()
    began = anyio.current_time()

    async def visit() -> None:
        await anyio.sleep(4)
        await theirs.send(UPGRADE)
        response = await RawPeer(theirs, is_client=True).read_response()
        assert (response.status, anyio.current_time() - began) == (503, 10)
        await theirs.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit)
        with pytest.raises(InvalidHandshake, match="answered with 503"):
            await wrap_server(ours, process_request=hook).__aenter__()
    assert hook.left == "Cancelled"


async def test_cancelling_wrap_server_cancels_its_hook() -> None:
    hook = Slow()
    ours, theirs = memory_pair()
    await theirs.send(UPGRADE)
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wrap_server(ours, process_request=hook).__aenter__)
            await hook.entered.wait()
            tasks.cancel_scope.cancel()
    assert hook.left.startswith("Cancel")


@each_pass
async def test_wrap_server_has_hooks_too(hook: Hook) -> None:
    ours, theirs = memory_pair()
    await theirs.send(UPGRADE)
    async with wrap_server(ours, process_request=hook) as ws:
        assert ws.state is State.OPEN
        peer = RawPeer(theirs, is_client=True)
        assert (await peer.read_head()).status == 101
        await peer.send(Frame(PING, b""))
        await theirs.aclose()


# A large answer


@virtual_time
async def test_a_slow_reader_gets_all_of_a_large_answer() -> None:
    """It has what is left of the time for the handshake."""
    body = b"x" * 100_000
    ours, theirs = memory_pair(capacity=10_000)

    async def visit() -> None:
        await theirs.send(PLAIN_GET)
        answer = b""
        with suppress(anyio.EndOfStream):
            while True:
                await anyio.sleep(0.5)
                answer += await theirs.receive(10_000)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert answer.endswith(body)
        await theirs.aclose()

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visit)
            with pytest.raises(InvalidHandshake, match="answered with 200"):
                await wrap_server(
                    ours, process_request=lambda *_: Response(200, body=body)
                ).__aenter__()


@virtual_time
async def test_a_peer_that_does_not_read_a_large_answer_is_cut_off() -> None:
    ours, theirs = memory_pair(capacity=10_000)
    await theirs.send(PLAIN_GET)
    began = anyio.current_time()
    with pytest.raises(InvalidHandshake, match="answered with 200"):
        await wrap_server(
            ours, process_request=lambda *_: Response(200, body=b"x" * 100_000)
        ).__aenter__()
    assert anyio.current_time() - began == pytest.approx(10)


# process_response


async def test_a_hook_may_add_to_a_response() -> None:
    def add(_: ServerConnection, __: Request, response: Response) -> None:
        response.headers["X-Seen"] = str(response.status_code)

    async with serve(echo, "127.0.0.1", process_response=add) as server:
        async with connect(server.uri) as ws:
            assert ws.response.headers["X-Seen"] == "101"
        assert (await ask(server, PLAIN_GET)).headers["x-seen"] == "426"


async def test_a_hook_may_replace_a_response() -> None:
    async def refuse(ws: ServerConnection, request: Request, _: Response) -> Response:
        await checkpoint()
        return ws.respond(403, f"not {request.path}")

    async with serve(echo, "127.0.0.1", process_response=refuse) as server:
        with pytest.raises(HandshakeRejected) as caught:
            await connect(server.uri).__aenter__()
    assert caught.value.response.status_code == 403
    assert caught.value.response.body == b"not /\n"


async def test_a_hook_may_replace_the_response_that_accepts_by_a_like_one() -> None:
    def replace(_: ServerConnection, __: Request, response: Response) -> Response:
        return Response(101, Headers([*response.headers.multi_items(), ("X-New", "1")]))

    async with (
        serve(echo, "127.0.0.1", process_response=replace) as server,
        connect(server.uri) as ws,
    ):
        assert ws.response.headers["X-New"] == "1"
        await ws.send("hello")
        assert await ws.receive() == "hello"


@pytest.mark.parametrize(
    ("data", "problem"),
    [(UPGRADE, "fields that the handshake itself sets"), (PLAIN_GET, "that was refused")],
)
async def test_a_hook_cannot_change_the_terms_of_the_handshake(
    data: bytes, problem: str, caplog: pytest.LogCaptureFixture
) -> None:
    def change(_: ServerConnection, __: Request, ___: Response) -> Response:
        return Response(101, Headers({"Sec-WebSocket-Accept": "x"}))

    async with serve(wait, "127.0.0.1", process_response=change) as server:
        assert (await ask(server, data)).status == 500
    assert problem in caplog.text


# Subprotocols


async def test_a_function_may_select_the_subprotocol() -> None:
    def select(ws: ServerConnection, offered: Sequence[str]) -> str | None:
        return {"/last": offered[-1], "/none": None}[ws.request.path]

    async with serve(wait, "127.0.0.1", subprotocols=["a"], select_subprotocol=select) as server:
        for path, expected in (("last", "c"), ("none", None)):
            async with connect(server.uri + path, subprotocols=["a", "b", "c"]) as ws:
                assert ws.subprotocol == expected


async def test_a_function_may_refuse_the_subprotocols() -> None:
    def select(_: ServerConnection, offered: Sequence[str]) -> str | None:
        raise NegotiationError(f"none of {', '.join(offered)} will do")

    async with serve(wait, "127.0.0.1", select_subprotocol=select) as server:
        response = await ask(server, request(Sec_WebSocket_Protocol="a, b"))
    assert (response.status, response.body) == (400, b"none of a, b will do\n")


async def test_only_a_subprotocol_that_is_offered_can_be_selected(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with serve(wait, "127.0.0.1", select_subprotocol=lambda *_: "x") as server:
        assert (await ask(server, request(Sec_WebSocket_Protocol="a, b"))).status == 500
    assert "select_subprotocol chose 'x', offered are ['a', 'b']" in caplog.text


@pytest.mark.parametrize(
    ("subprotocols", "offered", "chosen"),
    [
        ([], "bearer, to.ken", "bearer"),
        ([], "Bearer, to.ken, chat", "Bearer"),
        (["chat"], "bearer, to.ken, chat", "chat"),
    ],
)
async def test_a_token_may_come_as_a_subprotocol(
    subprotocols: list[str], offered: str, chosen: str
) -> None:
    """R-B7b: a browser fails the connection if none of what it offers is chosen."""
    tokens: list[str | None] = []

    def look(_: ServerConnection, request: Request) -> None:
        tokens.append(request.bearer_token())

    async with serve(wait, "127.0.0.1", subprotocols=subprotocols, process_request=look) as server:
        async with raw_client(server.port) as peer:
            await peer.send(request(Sec_WebSocket_Protocol=offered))
            assert (await peer.read_head()).headers["sec-websocket-protocol"] == chosen
        await connections(server, 0)
    assert tokens == ["to.ken"]


async def test_a_token_that_nobody_asked_for_is_no_subprotocol() -> None:
    async with serve(wait, "127.0.0.1") as server, raw_client(server.port) as peer:
        await peer.send(request(Sec_WebSocket_Protocol="bearer, token"))
        assert "sec-websocket-protocol" not in (await peer.read_head()).headers


# Who may connect


async def name(ws: ServerConnection) -> None:
    await ws.send(f"{ws.username}")


def allow_ada(username: str, password: str) -> bool:
    return (username, password) == ("Ada", "pässword")


async def async_allow_ada(username: str, password: str) -> bool:
    await checkpoint()
    return allow_ada(username, password)


@pytest.mark.parametrize(
    "auth",
    [
        BasicAuth("Ada", "pässword"),
        BasicAuth(check=allow_ada),
        BasicAuth(check=async_allow_ada),
    ],
    ids=["pair", "sync", "async"],
)
async def test_basic_authentication_says_who_may_connect(auth: BasicAuth) -> None:
    """R-B7b"""
    right = BasicAuth("Ada", "pässword").header_value()
    wrong = BasicAuth("Ada", "password").header_value()
    async with serve(name, "127.0.0.1", auth=auth) as server:
        async with connect(server.uri, headers={"Authorization": right}) as ws:
            assert await ws.receive() == "Ada"
        for given in (None, wrong, "Basic =", "Bearer x"):
            response = await ask(server, request(Authorization=given))
            assert response.status == 401
            assert response.headers["www-authenticate"] == 'Basic realm="", charset="UTF-8"'


async def test_authentication_comes_before_every_hook() -> None:
    auth = BasicAuth("Ada", "x")
    seen: list[str | None] = []

    def look(ws: ServerConnection, _: Request) -> None:
        seen.append(ws.username)

    async with serve(wait, "127.0.0.1", auth=auth, process_request=look) as server:
        assert (await ask(server, PLAIN_GET)).status == 401
        authorized = request(Upgrade=None, Authorization=auth.header_value())
        assert (await ask(server, authorized)).status == 426
    assert seen == ["Ada"]


async def test_a_check_that_fails_lets_nobody_in(caplog: pytest.LogCaptureFixture) -> None:
    auth = BasicAuth("Ada", "x").header_value()
    async with serve(wait, "127.0.0.1", auth=BasicAuth(check=fail)) as server:  # type: ignore[arg-type]
        assert (await ask(server, request(Authorization=auth))).status == 500
    assert len(errors(caplog)) == 1


@pytest.mark.parametrize(
    ("origins", "origin", "status"),
    [
        (None, None, 101),
        (None, "http://localhost", 101),
        (None, "https://localhost", 101),
        (None, "http://evil.example", 403),
        (None, "http://localhost.evil.example", 403),
        (None, "null", 403),
        ("*", "http://evil.example", 101),
        (["https://good.example"], "https://good.example", 101),
        (["https://good.example"], "http://localhost", 403),
        (lambda origin, _: origin == "x:y", "x:y", 101),
        (lambda origin, _: origin == "x:y", "http://localhost", 403),
        (fail, "http://localhost", 500),
    ],
)
async def test_a_page_of_another_site_may_not_connect(
    origins: Any, origin: str | None, status: int
) -> None:
    """R-C3"""
    given = {} if origins is None else {"origins": origins}
    async with serve(wait, "127.0.0.1", **given) as server, raw_client(server.port) as peer:
        await peer.send(request(Origin=origin))
        response = await peer.read_head()
        assert response.status == status


# configure


async def test_a_hook_may_set_options_for_one_connection() -> None:
    def configure(ws: ServerConnection, request: Request) -> None:
        if request.path == "/large":
            ws.configure(max_size=100, subprotocols=["large"], compression="deflate")

    async with serve(echo, "127.0.0.1", max_size=10, process_request=configure) as server:
        async with connect(
            f"{server.uri}large", subprotocols=["large"], compression="deflate"
        ) as ws:
            assert ws.subprotocol == "large"
            assert [each.name for each in ws.extensions] == ["permessage-deflate"]
            await ws.send("x" * 100)
            assert await ws.receive() == "x" * 100
        async with connect(server.uri, subprotocols=["large"], compression="deflate") as ws:
            assert (ws.subprotocol, ws.extensions) == (None, ())
            await ws.send("x" * 100)
            await ws.wait_closed()
            assert ws.close_code == 1009


async def test_a_hook_may_ask_for_authentication_and_another_origin() -> None:
    auth = BasicAuth("Ada", "x")

    def configure(ws: ServerConnection, _: Request) -> None:
        ws.configure(auth=auth, origins=["https://partner.example"])

    async with serve(wait, "127.0.0.1", process_request=configure) as server:
        assert (await ask(server, UPGRADE)).status == 401
        authorized = partial(request, Authorization=auth.header_value())
        assert (await ask(server, authorized(Origin="http://localhost"))).status == 403
        async with raw_client(server.port) as peer:
            await peer.send(authorized(Origin="https://partner.example"))
            assert (await peer.read_head()).status == 101
