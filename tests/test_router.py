"""Tests of `anyws._router`: which handler a path leads to, and what is answered otherwise."""

from __future__ import annotations

import gc
import re
import sys
import weakref
from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urljoin
from uuid import UUID

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st
from werkzeug.routing import BaseConverter, Map, Rule, Submount, ValidationError

from anyws import (
    BasicAuth,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeRejected,
    Headers,
    HeadersLike,
    LocalProtocolError,
    Request,
    Response,
    Router,
    ServerConnection,
    connect,
    serve,
    wrap_client,
    wrap_server,
)
from anyws.testing import UPGRADE, Head, memory_pair, run_handler

from .raw import LIMIT, raw_client
from .serving import connections, echo
from .timing import HOSTILE_SIZE, is_linear

pytestmark = pytest.mark.anyio


async def tell(ws: ServerConnection, **arguments: object) -> None:
    """Send the arguments that the path gave, sorted by name."""
    await ws.send(repr(sorted(arguments.items())))


async def tell_room(ws: ServerConnection, room: str) -> None:
    await ws.send(f"room {room!r}")


async def tell_home(ws: ServerConnection) -> None:
    await ws.send("home")


def chat_router(url_map: Map | None = None) -> Router:
    router = Router(url_map)
    router.add("/", tell_home, name="home")
    router.add("/chat/<room>", tell_room, name="chat")
    return router


async def hear(
    router: Router, target: str, host: str = "localhost", headers: HeadersLike = (), **client: Any
) -> str:
    """Return the first message of the handler that a target leads to."""
    headers = Headers(headers)
    headers["Host"] = host
    with anyio.fail_after(LIMIT):
        async with run_handler(
            router, uri="ws://localhost" + target, client={"headers": headers, **client}
        ) as ws:
            return await ws.receive_text()


async def ask(router: Router, *targets: str, host: str = "localhost") -> list[Response | None]:
    """Return what a router answers to each target, within one opening handshake."""
    answers: list[Response | None] = []

    def process_request(connection: ServerConnection, _: Request) -> Response:
        for target in targets:
            request = Request(target, Headers({"Host": host}))
            answers.append(router.process_request(connection, request))
        return connection.respond(403)

    with anyio.fail_after(LIMIT), pytest.raises(HandshakeRejected):
        async with run_handler(echo, server={"process_request": process_request}):
            pytest.fail("the handshake was refused")
    return answers


async def redirect(router: Router, target: str, host: str = "localhost") -> str:
    """Return where a router redirects a target to."""
    [response] = await ask(router, target, host=host)
    assert response is not None
    assert response.status_code == 308
    assert response.headers["Content-Type"].startswith("text/plain")
    return response.headers["Location"]


async def statuses(router: Router, *targets: str, host: str = "localhost") -> set[int | None]:
    """Return the statuses that a router answers with; None is that it has a handler."""
    answers = await ask(router, *targets, host=host)
    return {None if answer is None else answer.status_code for answer in answers}


# Over sockets


async def test_router_serves_each_path_by_its_handler() -> None:
    with anyio.fail_after(LIMIT):
        async with serve(chat_router(), "127.0.0.1", on_handler_error="raise") as server:
            for path, message in (("/", "home"), ("/chat/tea", "room 'tea'")):
                async with connect(urljoin(server.uri, path)) as ws:
                    assert await ws.receive() == message
                    with pytest.raises(ConnectionClosedOK):
                        await ws.receive()


async def raw_answer(router: Router, request: bytes, **options: Any) -> Head:
    """Return how a server with this router answers a request."""
    with anyio.fail_after(LIMIT):
        async with serve(router, "127.0.0.1", **options) as server, raw_client(server.port) as peer:
            await peer.send(request)
            return await peer.read_response()


async def test_unknown_path_is_answered_with_404_that_names_it() -> None:
    head = await raw_answer(chat_router(), UPGRADE.replace(b" / ", b" /nothing?token=x "))
    assert head.status == 404
    assert head.headers["content-type"] == "text/plain; charset=utf-8"
    assert head.body == b"there is nothing at /nothing\n"


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET / HTTP/1.1", 426),  # no upgrade is asked for
        ("HEAD / HTTP/1.1", 405),
        ("POST /chat/tea HTTP/1.1", 405),
        ("OPTIONS / HTTP/1.1", 405),
        ("OPTIONS * HTTP/1.1", 404),
        ("GET * HTTP/1.1", 400),
        ("GET /nothing HTTP/1.1", 404),
        ("HEAD /nothing HTTP/1.1", 404),
        ("POST /nothing HTTP/1.1", 404),
        ("CONNECT localhost:80 HTTP/1.1", 404),
        ("GET chat/tea HTTP/1.1", 400),
        ("GET http://localhost/chat/tea HTTP/1.1", 426),
        ("GET http://localhost/nothing HTTP/1.1", 404),
        ("GET http://localhost HTTP/1.1", 426),
        ("GET ?/chat/tea HTTP/1.1", 400),
    ],
)
async def test_any_request_is_answered(request_line: str, status: int) -> None:
    request = f"{request_line}\r\nHost: localhost\r\n\r\n".encode()
    with anyio.fail_after(LIMIT):
        async with (
            serve(chat_router(), "127.0.0.1") as server,
            raw_client(server.port) as peer,
        ):
            await peer.send(request)
            # Without the body, which the answer to HEAD does not have.
            assert (await peer.read_head()).first_line.split()[1] == str(status)


async def test_redirect_is_relative_and_keeps_the_query() -> None:
    router = Router()
    router.add("/rooms/", tell_home)
    head = await raw_answer(
        router,
        b"GET /rooms?a=1&b=//c HTTP/1.1\r\nHost: evil.example\r\n\r\n",
    )
    assert head.status == 308
    assert head.headers["location"] == "/rooms/?a=1&b=//c"
    assert b"evil" not in head.body


async def test_process_request_of_the_server_goes_first() -> None:
    def refuse(connection: ServerConnection, request: Request) -> Response | None:
        return connection.respond(418) if request.path == "/tea" else None

    for path, status in ((b"/tea", 418), (b"/", 101), (b"/nothing", 404)):
        request = UPGRADE.replace(b" / ", b" " + path + b" ")
        head = await raw_answer(chat_router(), request, process_request=refuse)
        assert head.status == status


async def test_health_check_needs_no_route() -> None:
    request = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert (await raw_answer(chat_router(), request, health="/health")).status == 200


# Paths and arguments


@pytest.mark.parametrize(
    ("target", "room"),
    [
        ("/chat/tea", "tea"),
        ("/chat/tea?room=coffee", "tea"),
        ("//chat/tea", "tea"),
        ("/chat/a%20b%3Fc%23d", "a b?c#d"),
        ("/chat/b%C3%B6b%E2%98%83", "böb☃"),
        ("/chat/%25C3", "%C3"),
        ("/chat/%zz", "%zz"),
        ("/chat/a+b", "a+b"),
        ("/chat/..", ".."),
        ("/chat/%2e%2e", ".."),
        ("/chat/a%0D%0Ab", "a\r\nb"),
        ("/chat/%00", "\0"),
        ("/%63hat/tea", "tea"),
        ("/chat%2Ftea", "tea"),
    ],
)
async def test_path_is_decoded_before_it_is_matched(target: str, room: str) -> None:
    assert await hear(chat_router(), target) == f"room {room!r}"


@pytest.mark.parametrize(
    "target",
    [
        "/chat",
        "/chat/",
        "/chat/tea/",
        "/chat/tea/../x",
        "/chat/..%2Fx",
        "/chat/a%2Fb",
        "/Chat/tea",
        "/chat/../",
        "/../chat/tea",
        "/chat/%FF",
        "/chat/%C3",
        "/chat/%ED%A0%80",
        "/%FF",
        "*",
        "chat/tea",
        "localhost:80",
    ],
)
async def test_path_that_does_not_fit_is_404(target: str) -> None:
    assert await statuses(chat_router(), target) == {404}


async def test_converters_make_the_arguments() -> None:
    router = Router()
    router.add("/<int:n>/<float:x>/<uuid:i>/<any(a,b):either>/<path:rest>", tell)
    uuid = UUID(int=1)
    assert await hear(router, f"/12/0.5/{uuid}/b/c/d") == repr(
        [("either", "b"), ("i", uuid), ("n", 12), ("rest", "c/d"), ("x", 0.5)]
    )
    assert await statuses(router, f"/12/0.5/{uuid}/c/d", f"/-1/0.5/{uuid}/a/d") == {404}


async def test_pattern_with_most_that_is_fixed_goes_first() -> None:
    router = Router()
    router.add("/<path:anything>", tell)
    router.add("/<room>/new", tell_room)
    router.add("/chat/new", tell_home)
    assert await hear(router, "/chat/new") == "home"
    assert await hear(router, "/tea/new") == "room 'tea'"
    assert await hear(router, "/tea/old") == "[('anything', 'tea/old')]"


async def test_number_of_too_many_digits_is_404() -> None:
    router = Router()
    router.add("/<int:n>", tell)
    assert await statuses(router, "/" + "9" * 5000, "/" + "%D9%A1" * 5000) == {404}


async def test_path_in_the_refusal_is_escaped_and_short() -> None:
    [response] = await ask(Router(), "/<script>'\"&%0A%1B[31m\xff" + "x" * 1000)
    assert response is not None
    body = response.body.decode("ascii")
    assert re.fullmatch(r"there is nothing at /%3Cscript%3E[-\w/%.]+\n", body)
    assert len(body) < 300


@pytest.mark.parametrize("text", ["/", "a/", "//a", "%2F", "a", "%", "%C3", "..", "1"])
@pytest.mark.parametrize("begin", ["/", "/chat/", "/files/", "/n/"])
async def test_hostile_path_is_looked_up_in_linear_time(begin: str, text: str) -> None:
    router = chat_router()
    router.add("/files/<path:name>/edit", tell)
    router.add("/n/<int:n>", tell)
    target = begin + text * (HOSTILE_SIZE // len(text))
    took: list[bool] = []

    def process_request(connection: ServerConnection, _: Request) -> Response:
        took.append(is_linear(lambda: router.process_request(connection, Request(target))))
        return connection.respond(403)

    with pytest.raises(HandshakeRejected):
        async with run_handler(echo, server={"process_request": process_request}):
            pytest.fail("the handshake was refused")
    assert took == [True]


# Redirects


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/rooms", "/rooms/"),
        ("/rooms?a=b?c", "/rooms/?a=b?c"),
        ("/rooms?a=%0d%0a", "/rooms/?a=%0d%0a"),
        ("http://evil.example/rooms", "/rooms/"),
        ("/rooms//", "/rooms/"),
        ("/a//b", "/a/b"),
        ("/a%2F%2Fb", "/a/b"),
        ("/old/tea", "/chat/tea"),
        ("/old/tea?x=1", "/chat/tea?x=1"),
        ("/older?x=1", "/rooms/?from=older"),
        ("/old/%0d%0aX:y", "/chat/%0D%0AX:y"),
        ("/bare/tea", "/tea"),
        ("/bare/%5C%5Cevil.example", "/%5C%5Cevil.example"),
        ("/dots/evil.example", "/evil.example"),
        ("/call/evil.example", "/evil.example"),
        ("/call/%5C%5Cevil.example", "/%5C%5Cevil.example"),
        ("/call/%E2%98%83%01%20%25?x", "/%E2%98%83%01%20%?x"),
    ],
)
async def test_redirect_stays_on_the_host(target: str, location: str) -> None:
    router = Router(
        Map(
            [
                Rule("/rooms/", endpoint=tell_home),
                Rule("/a/b", endpoint=tell_home),
                Rule("/old/<room>", redirect_to="chat/<room>"),
                Rule("/older", redirect_to="rooms/?from=older"),
                Rule("/bare/<path:rest>", redirect_to="<rest>"),
                Rule("/dots/<rest>", redirect_to="a/..//<rest>"),
                Rule("/call/<rest>", redirect_to=lambda adapter, rest: "/.//" + rest),
            ]
        )
    )
    assert await redirect(router, target, host="evil.example") == location


@pytest.mark.parametrize(
    "target",
    [
        "/bare/https://evil.example/",
        "/bare/https:evil.example",
        "/bare/javascript:alert(1)",
        "/slash/evil.example",
        "/away",
    ],
)
async def test_redirect_to_another_host_is_404(target: str) -> None:
    router = Router(
        Map(
            [
                Rule("/bare/<path:rest>", redirect_to="<rest>"),
                Rule("/slash/<rest>", redirect_to="//<rest>"),
                Rule("/away", redirect_to="https://evil.example/"),
            ]
        )
    )
    assert await statuses(router, target) == {404}


@given(
    st.lists(
        st.text(st.sampled_from("/\\%.:@?#;+aroms25CF0dA\x7f\xff*[]<>")).map(
            lambda text: text if text.startswith("*") else "/" + text
        ),
        min_size=20,
    )
)
async def test_any_target_is_answered_and_no_redirect_leaves_the_host(targets: list[str]) -> None:
    router = Router(
        Map(
            [
                Rule("/a/", endpoint=tell_home),
                Rule("/r/<path:rest>", redirect_to="<rest>"),
                Rule("/o/<rest>", redirect_to="//<rest>"),
                Rule("/<x>/<path:rest>/", endpoint=tell),
            ]
        )
    )
    for answer in await ask(router, *targets):
        if answer is not None and answer.status_code != 404:
            assert answer.status_code == 308
            assert re.fullmatch(r"/(?![/\\])[^\x00-\x20]*", answer.headers["Location"])


async def test_default_and_alias_are_redirected_to_the_path_that_counts() -> None:
    router = Router(
        Map(
            [
                Rule("/all/", endpoint=tell, defaults={"page": 1}),
                Rule("/all/<int:page>", endpoint=tell),
                Rule("/home", endpoint=tell_home),
                Rule("/start", endpoint=tell_home, alias=True),
            ]
        )
    )
    assert await redirect(router, "/all/1?x") == "/all/?x"
    assert await redirect(router, "/start") == "/home"
    assert await hear(router, "/all/") == "[('page', 1)]"


async def test_map_may_do_without_redirects() -> None:
    router = Router(Map(strict_slashes=False, merge_slashes=False))
    router.add("/all/rooms/", tell_home)
    assert await hear(router, "/all/rooms") == "home"
    assert await statuses(router, "/all//rooms") == {404}


# Options of a route


async def test_options_are_for_one_route_alone() -> None:
    router = Router()
    router.add("/open", tell_home, origins="*")
    router.add("/", tell_home)
    assert await hear(router, "/open", origin="https://other.example") == "home"
    with pytest.raises(HandshakeRejected) as caught:
        await hear(router, "/", origin="https://other.example")
    assert caught.value.response.status_code == 403


async def test_authentication_of_a_route() -> None:
    router = Router()

    auth = BasicAuth("ann", "secret")

    @router.route("/private", auth=auth)
    async def private(ws: ServerConnection) -> None:
        await ws.send(f"hello, {ws.username}")

    router.add("/", tell_home)
    headers = {"Authorization": auth.header_value()}
    assert await hear(router, "/private", headers=headers) == "hello, ann"
    assert await hear(router, "/") == "home"
    with pytest.raises(HandshakeRejected) as caught:
        await hear(router, "/private")
    assert caught.value.response.status_code == 401


async def test_subprotocols_and_response_of_a_route() -> None:
    router = Router()

    def choose(ws: ServerConnection, offered: object) -> str:
        return "last"

    def mark(ws: ServerConnection, request: Request, response: Response) -> None:
        response.headers["X-Route"] = "b"

    router.add("/a", echo, subprotocols=["soap"], compression="deflate")
    router.add("/b", echo, select_subprotocol=choose, process_response=mark)
    options: dict[str, Any] = {
        "subprotocols": ["first", "soap", "last"],
        "compression": "deflate",
    }
    for path, chosen, count in (("/a", "soap", 1), ("/b", "last", 0)):
        async with run_handler(router, uri="ws://localhost" + path, client=options) as ws:
            assert ws.subprotocol == chosen
            assert len(ws.extensions) == count
            assert ws.response is not None
            assert ws.response.headers.get("X-Route") == ("b" if path == "/b" else None)


async def test_limits_of_a_route() -> None:
    router = Router()
    router.add("/small", echo, max_size=10)
    router.add("/", echo)
    async with run_handler(router) as ws:
        await ws.send(bytes(11))
        assert await ws.receive() == bytes(11)
    async with run_handler(router, uri="ws://localhost/small") as ws:
        await ws.send(bytes(11))
        with pytest.raises(ConnectionClosedError) as caught:
            await ws.receive()
        assert caught.value.code == 1009


async def test_connections_of_a_route_share_its_settings() -> None:
    router = Router()
    router.add("/", echo, max_size=10)
    with anyio.fail_after(LIMIT):
        async with (
            serve(router, "127.0.0.1", write_limit=100) as server,
            connect(server.uri),
            connect(server.uri),
        ):
            await connections(server, 2)
            first, second = server.connections
            assert first._accepting is second._accepting
            assert (first._options.max_size, first._options.write_limit) == (10, 100)


async def test_options_are_put_upon_those_of_each_server() -> None:
    router = Router()
    router.add("/", echo, max_size=10)
    for limit in (100, 200, 100):
        with anyio.fail_after(LIMIT):
            async with (
                serve(router, "127.0.0.1", write_limit=limit) as server,
                connect(server.uri),
            ):
                await connections(server, 1)
                [connection] = server.connections
                assert connection._options.write_limit == limit


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"max_sise": 1}, TypeError),
        ({"process_request": None}, TypeError),
        ({"open_timeout": 1}, TypeError),
        ({"max_size": "1"}, TypeError),
        ({"max_size": 0}, ValueError),
        ({"subprotocols": ["a b"]}, LocalProtocolError),
        ({"origins": ["nonsense"]}, ValueError),
        ({"auth": "ann:secret"}, TypeError),
    ],
    ids=str,
)
async def test_option_that_cannot_be_used_is_refused_when_it_is_given(
    options: dict[str, Any], error: type[Exception]
) -> None:
    router = Router()
    with pytest.raises(error):
        router.add("/", tell_home, **options)
    assert await statuses(router, "/") == {404}


# Adding


def test_decorator_leaves_the_function_as_it_is() -> None:
    router = Router()
    assert router.route("/")(tell_home) is tell_home
    assert router.path_for(tell_home) == "/"


async def no_arguments(ws: ServerConnection) -> None:
    pass


@pytest.mark.parametrize(
    ("pattern", "handler", "error"),
    [
        ("chat", tell, ValueError),
        ("", tell, ValueError),
        ("/<", tell, ValueError),
        ("/<nothing:x>", tell, LookupError),
        ("/<int(:x>", tell, ValueError),
        ("/<a>/<a>", tell, ValueError),
        ("/<room>", no_arguments, TypeError),
        ("/", tell_room, TypeError),
        ("/<rooms>", tell_room, TypeError),
        ("/<ws>", tell, TypeError),
        ("/", None, TypeError),
        ("/", "echo", TypeError),
    ],
)
async def test_what_cannot_be_added_is_not(
    pattern: str, handler: Any, error: type[Exception]
) -> None:
    router = chat_router()
    before = len(list(router.url_map.iter_rules()))
    with pytest.raises(error):
        router.add(pattern, handler)
    assert len(list(router.url_map.iter_rules())) == before
    assert await hear(router, "/chat/tea") == "room 'tea'"


def test_callable_that_does_not_tell_its_arguments_is_taken_at_its_word() -> None:
    router = Router()
    opaque: Any = max
    router.add("/<room>", opaque)
    assert router.path_for(opaque, room="tea") == "/tea"


def test_name_is_for_one_route_only() -> None:
    router = chat_router()
    with pytest.raises(ValueError, match="a route called 'chat' already"):
        router.add("/talk", tell_home, name="chat")
    router.add("/talk", tell_home)
    router.add("/speak", tell_home)


async def test_handler_may_be_any_callable_that_gives_something_to_await() -> None:
    class Greeter:
        async def greet(self, ws: ServerConnection, name: str) -> None:
            await ws.send(f"hello, {name}")

        async def __call__(self, ws: ServerConnection, name: str) -> None:
            await ws.send(f"goodbye, {name}")

    router, greeter = Router(), Greeter()
    router.add("/in/<name>", greeter.greet)
    router.add("/out/<name>", greeter)
    assert await hear(router, "/in/ann") == "hello, ann"
    assert await hear(router, "/out/ann") == "goodbye, ann"
    assert router.path_for(greeter.greet, name="ann") == "/in/ann"


async def test_router_with_routes_that_come_later() -> None:
    router = Router()
    assert await statuses(router, "/") == {404}
    router.add("/", tell_home)
    assert await hear(router, "/") == "home"


# Maps


class EvenConverter(BaseConverter):
    regex = r"\d+"

    def to_python(self, value: str) -> int:
        if int(value) % 2:
            raise ValidationError
        return int(value)


async def test_map_brings_converters_of_its_own() -> None:
    router = Router(Map([Rule("/a/<even:n>", endpoint=tell)], converters={"even": EvenConverter}))
    router.add("/b/<even:n>", tell)
    for path in ("/a/", "/b/"):
        assert await hear(router, path + "4") == "[('n', 4)]"
        assert await statuses(router, path + "5") == {404}


@pytest.mark.parametrize("websocket", [False, True])
async def test_rules_of_a_map_may_be_of_either_kind(websocket: bool) -> None:
    rules = [Submount("/chat", [Rule("/<room>", endpoint=tell_room)])]
    router = Router(Map(rules))
    router.url_map.add(Rule("/tea", endpoint=tell_home, websocket=websocket, methods=["GET"]))
    assert await hear(router, "/chat/tea") == "room 'tea'"
    assert await hear(router, "/tea") == "home"
    assert router.path_for(tell_home) == "/tea"
    # The methods of a rule say nothing about a WebSocket.
    request = b"POST /tea HTTP/1.1\r\nHost: localhost\r\n\r\n"
    assert (await raw_answer(router, request)).status == 405


async def test_rule_for_another_method_is_never_found() -> None:
    router = Router(Map([Rule("/", endpoint=tell_home, methods=["POST"])]))
    assert await statuses(router, "/") == {404}


@pytest.mark.parametrize("endpoint", ["name", None, tell_room, 1])
def test_endpoint_that_is_no_handler_is_refused(endpoint: object) -> None:
    with pytest.raises(TypeError, match="the handler of '/x'"):
        Router(Map([Rule("/x", endpoint=endpoint)]))


def test_rule_that_leads_to_no_handler_needs_none() -> None:
    router = Router(
        Map([Rule("/a", redirect_to="b"), Rule("/b", endpoint="static", build_only=True)])
    )
    assert router.url_map.is_endpoint_expecting("static") is True


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("a.example", "home"),
        ("A.Example", "home"),
        ("a.example:80", "home"),
        ("a.example:443", "home"),
        ("b.example:8080", "[('name', 'b')]"),
    ],
)
async def test_map_with_host_matching_looks_at_the_host(host: str, message: str) -> None:
    assert await hear(host_router(), "/", host=host) == message


def host_router() -> Router:
    return Router(
        Map(
            [
                Rule("/", endpoint=tell_home, host="a.example"),
                Rule("/", endpoint=tell, host="<name>.example:8080"),
                Rule("/x/", endpoint=tell_home, host="a.example"),
            ],
            host_matching=True,
        )
    )


@pytest.mark.parametrize(
    "host", ["a.example:8080x", "b.example", "example", "", "[::1]", "[::1]:80", "a..b", "a" * 64]
)
async def test_unknown_host_is_404(host: str) -> None:
    assert await statuses(host_router(), "/", host=host) == {404}


async def test_redirect_by_host_is_relative_all_the_same() -> None:
    assert await redirect(host_router(), "/x", host="a.example") == "/x/"


async def test_route_may_have_a_host_or_a_subdomain() -> None:
    by_host = Router(Map(host_matching=True))
    by_host.add("/", tell_home, host="a.example", name="home")
    by_host.route("/<x>", host="<y>.example", max_size=10, name="x")(tell)
    assert await hear(by_host, "/", host="a.example") == "home"
    assert await hear(by_host, "/1", host="b.example") == "[('x', '1'), ('y', 'b')]"
    assert by_host.path_for("x", x="1", y="b") == "/1"

    by_subdomain = Router(server_name="Chat.Example")
    by_subdomain.add("/", tell_home)
    by_subdomain.add("/", tell, subdomain="<x>", name="x")
    assert await hear(by_subdomain, "/", host="chat.example") == "home"
    assert await hear(by_subdomain, "/", host="ann.chat.example") == "[('x', 'ann')]"


def test_host_that_makes_no_difference_is_refused() -> None:
    with pytest.raises(ValueError, match="does not look at it"):
        Router().add("/", tell_home, host="a.example")
    with pytest.raises(ValueError, match="needs one"):
        Router(Map(host_matching=True)).add("/", tell_home)
    with pytest.raises(ValueError, match="needs one"):
        Router(Map(host_matching=True)).mount("/chat", chat_router())
    with pytest.raises(ValueError, match="has no server_name"):
        Router().add("/", tell_home, subdomain="a")


def subdomain_router() -> Router:
    return Router(
        Map(
            [
                Rule("/", endpoint=tell_home),
                Rule("/", endpoint=tell, subdomain="<name>"),
                Rule("/x/", endpoint=tell, subdomain="<name>"),
                Rule("/old", redirect_to="x/", subdomain="<old>"),
            ]
        ),
        server_name="chat.example",
    )


async def test_map_with_a_server_name_tells_subdomains_apart() -> None:
    router = subdomain_router()
    assert await hear(router, "/", host="chat.example") == "home"
    assert await hear(router, "/", host="ann.CHAT.example:80") == "[('name', 'ann')]"
    assert await redirect(router, "/x", host="ann.chat.example") == "/x/"
    assert await redirect(router, "/old", host="ann.chat.example") == "/x/"
    for host in ("evilchat.example", "chat.example.evil", "example", "localhost", ""):
        assert await statuses(router, "/", host=host) == {404}


# Mounting


async def test_mounted_router_is_behind_its_prefix() -> None:
    inner = Router()
    inner.add("/", tell, name="index")
    inner.add("/users/<name>", tell, max_size=10, name="user")
    router = chat_router()
    router.mount("/admin/<int:site>", inner)
    inner.add("/later", tell_home)
    assert await hear(router, "/admin/1/") == "[('site', 1)]"
    assert await hear(router, "/admin/1/users/ann") == "[('name', 'ann'), ('site', 1)]"
    assert await hear(router, "/chat/tea") == "room 'tea'"
    assert await statuses(router, "/users/ann", "/admin/1/later") == {404}
    assert router.path_for("user", site=1, name="ann") == "/admin/1/users/ann"
    assert inner.path_for("user", name="ann") == "/users/ann"


async def test_mounted_routes_keep_their_options() -> None:
    inner, router = Router(), Router()
    inner.add("/small", echo, max_size=10)
    router.mount("/deep/", inner)
    outermost = Router()
    outermost.mount("/very", router)
    async with run_handler(outermost, uri="ws://localhost/very/deep/small") as ws:
        await ws.send(bytes(11))
        with pytest.raises(ConnectionClosedError):
            await ws.receive()
        assert ws.close_code == 1009


@pytest.mark.parametrize(
    ("prefix", "build", "error"),
    [
        ("admin", chat_router, ValueError),
        ("/<tenant>", lambda: named("x"), TypeError),  # its second handler does not take it
        ("/talk", lambda: named("chat"), ValueError),
        ("/<nothing:x>", lambda: named("x"), LookupError),
    ],
)
def test_what_cannot_be_mounted_is_not(
    prefix: str, build: Callable[[], Router], error: type[Exception]
) -> None:
    router = chat_router()
    with pytest.raises(error):
        router.mount(prefix, build())
    assert len(list(router.url_map.iter_rules())) == 2


def named(name: str) -> Router:
    router = Router()
    router.add("/first", tell)
    router.add("/second", tell_home, name=name)
    return router


def test_router_is_no_handler_of_another() -> None:
    with pytest.raises(TypeError, match="mount"):
        Router().add("/", Router())


# Paths


@pytest.mark.parametrize(
    "room", ["tea", "a b", "böb☃", "a?b#c", "%2F", "a+b", "a;b=c", "\r\n", "@:"]
)
async def test_path_that_was_made_leads_to_its_handler(room: str) -> None:
    router = chat_router()
    path = router.path_for("chat", room=room)
    assert path.isascii()
    assert router.path_for(tell_room, room=room) == path
    assert await hear(router, path) == f"room {room!r}"


@given(st.text())
def test_path_has_the_value_as_one_segment_or_is_refused(room: str) -> None:
    router = chat_router()
    try:
        path = router.path_for("chat", room=room)
    except ValueError:
        assert room in {"", ".", ".."} or "/" in room or not encodable(room)
    else:
        assert re.fullmatch(r"/chat/[-\w.~%!$&'()*+,:;=@]+", path, re.ASCII)


def encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@pytest.mark.parametrize("room", ["", ".", "..", "a/b", "../admin", "/", "/x", "//evil.example"])
def test_value_that_cannot_be_in_a_path_is_refused(room: str) -> None:
    with pytest.raises(ValueError, match="does not lead to 'chat'"):
        chat_router().path_for("chat", room=room)


def test_value_that_another_pattern_takes_is_refused() -> None:
    router = chat_router()
    router.add("/chat/new", tell_home)
    with pytest.raises(ValueError, match="'/chat/new' does not lead to 'chat'"):
        router.path_for("chat", room="new")


@pytest.mark.parametrize("name", ["a/../b", "a/.", "/a", "a//../b", ""])
def test_path_with_segments_of_dots_is_refused(name: str) -> None:
    router = Router()
    router.add("/files/<path:name>", tell, name="file")
    assert router.path_for("file", name="a/b..c/...") == "/files/a/b..c/..."
    with pytest.raises(ValueError, match="does not lead to 'file'"):
        router.path_for("file", name=name)


@pytest.mark.parametrize(
    "arguments", [{}, {"rooms": "tea"}, {"room": "tea", "page": 1}, {"room": None}]
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=re.escape("'chat' takes ['room']")):
        chat_router().path_for("chat", **arguments)


def test_value_that_a_converter_refuses_is_a_value_error() -> None:
    router = Router()
    router.add("/<any(a,b):x>/<int:n>", tell, name="x")
    assert router.path_for("x", x="a", n="7") == "/a/7"
    for x, n in (("c", 1), ("a", "b"), ("a", -1)):
        with pytest.raises(ValueError, match=r"."):
            router.path_for("x", x=x, n=n)


@pytest.mark.parametrize("target", ["rooms", tell, ""])
def test_unknown_route_is_a_lookup_error(target: Any) -> None:
    with pytest.raises(LookupError, match="there is no route to"):
        chat_router().path_for(target)


def test_first_pattern_that_takes_the_arguments_counts() -> None:
    router = Router()
    router.add("/", tell)
    router.add("/<room>", tell)
    router.add("/<room>/<int:page>", tell)
    assert router.path_for(tell) == "/"
    assert router.path_for(tell, room="a") == "/a"
    assert router.path_for(tell, room="a", page=2) == "/a/2"
    with pytest.raises(ValueError, match="takes"):
        router.path_for(tell, page=2)


def test_arguments_may_have_any_name() -> None:
    router = Router()
    router.add("/<self>/<target>", tell, name="x")
    assert router.path_for("x", self="a", target="b") == "/a/b"


def test_path_is_without_the_host_where_a_map_has_hosts() -> None:
    assert host_router().path_for(tell, name="b") == "/"
    assert subdomain_router().path_for(tell, name="ann") == "/"


def test_static_part_is_encoded() -> None:
    router = Router()
    router.add("/böb ?/<x>", tell, name="x")
    assert router.path_for("x", x="a") == f"/{quote('böb ?')}/a"


# Without a server


async def test_router_works_with_wrap_server() -> None:
    router = chat_router()
    ours, theirs = memory_pair()
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:

            async def serve_one() -> None:
                async with wrap_server(ours, process_request=router.process_request) as ws:
                    await router(ws)

            tasks.start_soon(serve_one)
            async with wrap_client(theirs, "ws://localhost/chat/tea") as ws:
                assert await ws.receive() == "room 'tea'"


async def test_connection_is_handled_once_and_only_if_its_request_was_seen() -> None:
    router = chat_router()
    caught: list[str] = []

    async def handler(ws: ServerConnection) -> None:
        for _ in range(2):
            try:
                await router(ws)
            except LookupError as exc:
                caught.append(str(exc))

    async with run_handler(handler, server={"process_request": router.process_request}) as ws:
        assert await ws.receive() == "home"
        await ws.wait_closed()
    assert len(caught) == 1
    async with run_handler(handler) as ws:
        await ws.wait_closed()
    assert len(caught) == 3


async def test_run_handler_asks_the_process_request_of_the_server_first() -> None:
    seen: list[str] = []

    async def process_request(ws: ServerConnection, request: Request) -> None:
        await checkpoint()
        seen.append(request.path)

    async with run_handler(
        chat_router(), uri="ws://localhost/chat/x", server={"process_request": process_request}
    ) as ws:
        assert await ws.receive() == "room 'x'"
    assert seen == ["/chat/x"]
    with pytest.raises(HandshakeRejected) as caught:
        await hear(chat_router(), "/nothing")
    assert caught.value.response.status_code == 404


async def test_too_late_a_request_is_refused() -> None:
    router = Router()
    router.add("/", echo, max_size=10)
    caught: list[Exception] = []

    async def handler(ws: ServerConnection) -> None:
        try:
            router.process_request(ws, ws.request)
        except LocalProtocolError as exc:
            caught.append(exc)

    async with run_handler(handler) as ws:
        await ws.wait_closed()
    assert len(caught) == 1


async def test_nothing_is_kept_of_a_connection() -> None:
    router = chat_router()
    kept: list[weakref.ref[ServerConnection]] = []

    def refuse(ws: ServerConnection, request: Request, response: Response) -> Response:
        kept.append(weakref.ref(ws))
        return ws.respond(403)

    with pytest.raises(HandshakeRejected):
        async with run_handler(router, server={"process_response": refuse}):
            pytest.fail("the handshake was refused")
    assert await hear(router, "/chat/tea") == "room 'tea'"
    gc.collect()
    assert [ref() for ref in kept] == [None]
    assert len(router._matches) == 0


def test_router_without_werkzeug_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "werkzeug", None)
    with pytest.raises(ImportError, match=re.escape("pip install '.[routing]'")):
        Router()
