"""The log: what is said of a connection and of a handshake, and what is kept out of it."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from typing import Any
from urllib.parse import quote

import anyio
import pytest
from anyio.abc import SocketAttribute
from anyio.streams.stapled import StapledByteStream
from hypothesis import given
from hypothesis import strategies as st

from anyws import Headers, Request, Response, ServerConnection, connect, serve, wrap_server
from anyws._logging import describe_address, describe_request, describe_response, escaped, log
from anyws.testing import BINARY, TEXT, Frame, RawPeer, close_frame, memory_pair

from .raw import LIMIT, raw_client
from .scripted import MEMORY, TIMELESS, Carrier, Role, both_roles, virtual_time
from .serving import connections, echo, errors

OURS = logging.getLogger("test.logging")

#: C0 and C1 control characters, DEL, and the line separators beyond them.
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def ours(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.name == OURS.name]


def extra(record: logging.LogRecord) -> tuple[object, object]:
    return record.__dict__["connection_id"], record.__dict__["remote_address"]


# The end of a connection


@both_roles
@pytest.mark.anyio
async def test_the_end_is_one_line_that_tells_all(
    role: Role, carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    """R-B2"""
    caplog.set_level(logging.INFO)
    async with carrier.scripted(role, logger=OURS) as (ws, peer):
        await peer.send(Frame(TEXT, b"hello"), Frame(BINARY, b"!"))
        await ws.receive()
        await ws.send("hello")
        await peer.send(close_frame(1000, "bye"))
        await peer.expect(Frame(TEXT, b"hello"), close_frame(1000, "bye"))
        await peer.drop()
        await ws.wait_closed()
        stats = ws.stats
        (record,) = ours(caplog)
        assert record.levelno == logging.INFO
        assert extra(record) == (str(ws.id), ws.remote_address)
        assert record.module == "_connection"
        assert record.getMessage() == (
            f"connection {ws.id} with {ws.remote_address} ended after {stats.duration_s:.1f} s: "
            "closed by the peer: sent 1000 'bye', received 1000 'bye'; "
            f"received 2 messages, {stats.received_bytes} bytes; "
            f"sent 1 messages, {stats.sent_bytes} bytes"
        )


@both_roles
@virtual_time
async def test_the_end_tells_how_long_the_connection_lived(
    role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with TIMELESS.scripted(role, logger=OURS, ping_interval=None) as (ws, peer):
        await anyio.sleep(12.34)
        await peer.drop()
        await ws.wait_closed()
    (record,) = ours(caplog)
    assert re.fullmatch(
        r"connection [0-9a-f-]{36} with None ended after 12\.3 s: "
        r"the byte stream ended: sent no Close frame, received no Close frame; "
        r"received 0 messages, 0 bytes; sent 0 messages, 0 bytes",
        record.getMessage(),
    )


@both_roles
@pytest.mark.anyio
async def test_a_reason_is_escaped(role: Role, caplog: pytest.LogCaptureFixture) -> None:
    """R-C2: a peer that writes to terminals, or forges lines."""
    caplog.set_level(logging.INFO)
    async with MEMORY.scripted(role, logger=OURS) as (ws, peer):
        await peer.send(close_frame(4000, "\x1b[2J\r\nforged\x00\x7f\x9b\u2028é"))
        await peer.receive_close()
        await peer.drop()
        await ws.wait_closed()
    (record,) = ours(caplog)
    assert not CONTROL.search(record.getMessage())
    assert r"received 4000 '\x1b[2J\r\nforged\x00\x7f\x9b\u2028é'" in record.getMessage()


@both_roles
@pytest.mark.anyio
async def test_nothing_is_made_for_a_log_that_is_off(
    role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with MEMORY.scripted(role, logger=OURS) as (ws, peer):
        await peer.drop()
        await ws.wait_closed()
        assert ws._id is None
    assert ours(caplog) == []


class FromStrangePath(StapledByteStream):
    """A stream whose peer is bound to a path that nobody would choose."""

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {SocketAttribute.remote_address: lambda: "/tmp/\x1b[2J\n\x9b"}


@pytest.mark.anyio
async def test_an_address_is_escaped(caplog: pytest.LogCaptureFixture) -> None:
    """A Unix socket may be bound to any path."""
    caplog.set_level(logging.INFO)
    stream, theirs = memory_pair()
    peer = RawPeer(theirs, is_client=True)
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(peer.shake_hands)
            async with wrap_server(FromStrangePath(stream, stream), logger=OURS) as ws:
                await peer.ready.wait()
                await peer.drop()
                await ws.wait_closed()
    (record,) = ours(caplog)
    assert r" with /tmp/\x1b[2J\n\x9b ended " in record.getMessage()
    assert extra(record)[1] == r"/tmp/\x1b[2J\n\x9b"


@both_roles
@virtual_time
async def test_the_warning_of_keepalive_tells_which_connection_too(
    role: Role, caplog: pytest.LogCaptureFixture
) -> None:
    async with TIMELESS.scripted(
        role, logger=OURS, max_size=10, max_buffer=10, ping_interval=10, ping_timeout=5
    ) as (ws, peer):
        await peer.send(Frame(BINARY, bytes(10)))
        await anyio.sleep(60)
        (record,) = errors(caplog)
        assert record.levelno == logging.WARNING
        assert record.module == "_keepalive"
        assert extra(record) == (str(ws.id), None)


# Loggers


class Naming(logging.LoggerAdapter[logging.Logger]):
    """An adapter that does it by itself."""

    def process(
        self, msg: Any, kwargs: MutableMapping[str, Any]
    ) -> tuple[Any, MutableMapping[str, Any]]:
        return f"[{kwargs['extra']['connection_id']}] {msg}", kwargs


class Silent(logging.LoggerAdapter[logging.Logger]):
    """An adapter that logs elsewhere."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        pass


async def end(logger: logging.LoggerAdapter[Any]) -> str:
    """Let a connection end, and return its id."""
    async with MEMORY.scripted("server", logger=logger) as (ws, peer):
        await peer.drop()
        await ws.wait_closed()
        return str(ws.id)


@pytest.mark.anyio
async def test_a_plain_adapter_adds_to_what_tells_connections_apart(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """By itself, it would put its own in the place of that."""
    caplog.set_level(logging.INFO)
    inner = logging.LoggerAdapter(OURS, {"service": "feed", "shard": 1})
    identity = await end(logging.LoggerAdapter(inner, {"shard": 2}))
    (record,) = ours(caplog)
    assert extra(record) == (identity, None)
    assert (record.__dict__["service"], record.__dict__["shard"]) == ("feed", 2)
    assert record.module == "_connection"


@pytest.mark.anyio
async def test_an_adapter_without_extra_will_do(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    identity = await end(logging.LoggerAdapter(OURS))
    (record,) = ours(caplog)
    assert extra(record) == (identity, None)


@pytest.mark.anyio
async def test_an_adapter_may_process_by_itself(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    identity = await end(Naming(OURS))
    (record,) = ours(caplog)
    assert record.getMessage().startswith(f"[{identity}] connection {identity} with ")


@pytest.mark.anyio
async def test_an_adapter_may_log_elsewhere(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    await end(Silent(OURS))
    assert ours(caplog) == []


def test_an_exception_is_logged_with_its_traceback(caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("of the handler")
    adapter = logging.LoggerAdapter(OURS, {"connection_id": "of another"})
    log(adapter, logging.ERROR, "raised %d", 1, extra={"connection_id": "x"}, exc_info=error)
    (record,) = ours(caplog)
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert record.getMessage() == "raised 1"
    assert record.__dict__["connection_id"] == "x"
    assert record.funcName == "test_an_exception_is_logged_with_its_traceback"


# A clean run


@pytest.mark.parametrize("carrier", ["tcp", "tls"], indirect=True)
@pytest.mark.anyio
async def test_a_clean_run_logs_nothing_above_info(
    carrier: Carrier, caplog: pytest.LogCaptureFixture
) -> None:
    """R-B2: a client that talks and closes, clients that drop, a port scan, a plain GET."""
    caplog.set_level(logging.DEBUG)

    async def receive_for_ever(ws: ServerConnection) -> None:
        while True:
            await ws.send(await ws.receive())

    async with serve(receive_for_ever, "127.0.0.1", ssl=carrier.server_ssl) as server:
        async with connect(server.uri, ssl=carrier.client_ssl) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
        async with raw_client(server.port, ssl=carrier.client_ssl) as peer:
            await peer.upgrade()
            await peer.send(Frame(TEXT, b"hello"))
            await peer.expect(Frame(TEXT, b"hello"))
        async with raw_client(server.port):
            pass
        async with raw_client(server.port, ssl=carrier.client_ssl) as peer:
            await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert (await peer.read_response()).status == 426
        with anyio.fail_after(LIMIT):
            await connections(server, 0)
    assert errors(caplog) == []


# Escapes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain text", "plain text"),
        ("grüße, 你好", "grüße, 你好"),
        ("\x1b[2J", r"\x1b[2J"),
        ("a\r\nb\tc", r"a\r\nb\tc"),
        ("\x00\x07\x7f", r"\x00\x07\x7f"),
        ("\x85\x9b31m", r"\x85\x9b31m"),
        ("\u2028\u2029", r"\u2028\u2029"),
        ("\u202egpj.exe\u2066", r"\u202egpj.exe\u2066"),
        ("\ud800", r"\ud800"),
        ("", ""),
    ],
)
def test_what_a_terminal_may_obey_is_escaped(text: str, shown: str) -> None:
    assert escaped(text) == shown


@given(st.text())
def test_nothing_that_cannot_be_printed_is_left(text: str) -> None:
    assert escaped(text).isprintable()
    assert escaped(text) == text or not text.isprintable()


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        (("127.0.0.1", 80), "('127.0.0.1', 80)"),
        ("/run/\x1b", r"/run/\x1b"),
        (None, "None"),
    ],
)
def test_addresses_are_named(address: object, shown: str) -> None:
    assert describe_address(address) == shown


# Handshakes


def request(path: str = "/", *fields: tuple[str, str], method: str = "GET") -> str:
    return describe_request(Request(path, Headers(fields), method))


def test_a_request_is_described_in_one_line() -> None:
    assert request("/chat?room=1", ("Host", "localhost"), ("Upgrade", "websocket")) == (
        "GET /chat?room=1 HTTP/1.1 | Host: localhost | Upgrade: websocket"
    )


def test_a_response_is_described_in_one_line() -> None:
    response = Response(101, Headers({"Upgrade": "websocket"}))
    assert describe_response(response) == "HTTP 101 Switching Protocols | Upgrade: websocket"
    refusal = Response(404, body=b"secret\n")
    assert describe_response(refusal) == "HTTP 404 Not Found | 7 bytes of body"
    assert describe_response(Response(299)) == "HTTP 299"


@pytest.mark.parametrize(
    "name",
    [
        "Authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "X-Api-Key",
        "X-APIKey",
        "Api_Key",
        "X-Auth",
        "X-Auth-Token",
        "X-CSRF-Token",
        "X-Amz-Signature",
        "Session-Id",
        "Client-Secret",
        "X-Password",
        "Key",
    ],
)
def test_fields_with_secrets_are_redacted(name: str) -> None:
    assert request("/", (name, "Basic hidden")) == f"GET / HTTP/1.1 | {name}: [redacted]"
    assert "hidden" not in describe_response(Response(200, Headers({name: "hidden"})))


@pytest.mark.parametrize(
    "name",
    ["Sec-WebSocket-Key", "Sec-WebSocket-Accept", "WWW-Authenticate", "Origin", "Keyboard", "Host"],
)
def test_other_fields_are_shown(name: str) -> None:
    assert request("/", (name, "shown")) == f"GET / HTTP/1.1 | {name}: shown"


@pytest.mark.parametrize(
    ("target", "shown"),
    [
        ("/?token=hidden", "/?token=[redacted]"),
        ("/?a=1&access_token=hidden&b=2", "/?a=1&access_token=[redacted]&b=2"),
        ("/?API-KEY=hidden", "/?API-KEY=[redacted]"),
        ("/?%74oken=hidden", "/?%74oken=[redacted]"),
        ("/?sig=hidden&code=hidden", "/?sig=[redacted]&code=[redacted]"),
        ("/;jsessionid=hidden?a=1", "/;jsessionid=[redacted]"),
        ("/?a=1;password=hidden", "/?a=[redacted]"),
        ("/?token=hidden=hidden", "/?token=[redacted]"),
        ("/?next=https%3A%2F%2Fa%2F%3Fsecret%3Dhidden", "/?next=[redacted]"),
        ("/?a=https%3A%2F%2Fa%2F%3Fa%3D%2F%253Fsecret%253Dhidden", "/?a=[redacted]"),
        ("/?token=", "/?token="),
        ("/?token", "/?token"),
        ("/token/1?a=b", "/token/1?a=b"),
    ],
)
def test_parameters_with_secrets_are_redacted(target: str, shown: str) -> None:
    assert request(target) == f"GET {shown} HTTP/1.1"
    assert request("/", ("Referer", target)) == f"GET / HTTP/1.1 | Referer: {shown}"


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://me:hidden@a/", "https://[redacted]@a/"),
        ("https://me:hid@den@a/@b", "https://[redacted]@a/@b"),
        ("https://a/#id_token=hidden", "https://a/#id_token=[redacted]"),
        ("https://" + "hidden" * 100 + "@a/", "https://[redacted]@a/"),
    ],
)
def test_uris_in_fields_are_redacted(location: str, shown: str) -> None:
    response = Response(302, Headers({"Location": location}))
    assert describe_response(response) == f"HTTP 302 Found | Location: {shown}"


@pytest.mark.parametrize(
    ("values", "shown"),
    [
        (["chat, v2"], ["chat, v2"]),
        (["bearer"], ["bearer"]),
        (["chat, bearer, hidden"], ["chat, bearer[redacted]"]),
        (["Bearer.hidden, chat"], ["Bearer[redacted]"]),
        (["base64url.bearer.authorization.k8s.io.hidden"], ["base64url.bearer[redacted]"]),
        (["access_token, hidden"], ["access_token[redacted]"]),
        (["chat", "bearer", "hidden", "hidden"], ["chat", "bearer", "[redacted]", "[redacted]"]),
    ],
)
def test_tokens_among_subprotocols_are_redacted(values: list[str], shown: list[str]) -> None:
    name = "Sec-WebSocket-Protocol"
    described = request("/", *((name, value) for value in values))
    assert described == " | ".join(["GET / HTTP/1.1", *(f"{name}: {value}" for value in shown)])


def test_long_values_are_shortened() -> None:
    assert request("/" + "x" * 999) == f"GET /{'x' * 199}... (1000 characters) HTTP/1.1"
    field = ("X", "y" * 500)
    assert request("/", field) == f"GET / HTTP/1.1 | X: {'y' * 200}... (500 characters)"
    many = request("/", *[field] * 100)
    assert len(many) == 4003
    assert many.endswith("...")


def test_a_secret_that_is_cut_is_redacted() -> None:
    described = request("/?" + "a" * 150 + "&token=" + "hidden" * 50)
    assert "hid" not in described


@pytest.mark.parametrize("text", ["\x1b[2J", "\x9b", "é", "\u2028"])
def test_what_is_no_ascii_is_escaped(text: str) -> None:
    described = request(text, method=text)
    assert described.isascii()
    assert described.isprintable()
    assert describe_response(Response(200, reason_phrase=text)).isprintable()


latin = st.text(st.characters(max_codepoint=255))
secrets = st.text("0123456789", min_size=12).map("S3CRET".__add__)
names = st.sampled_from(
    ["token", "Access_Token", "api-key", "client_secret", "passwd", "oauth", "code", "session_id"]
)


@st.composite
def spellings(draw: st.DrawFn) -> str:
    """A name of a parameter, parts of it encoded."""
    name = draw(names)
    encoded = draw(st.lists(st.booleans(), min_size=len(name), max_size=len(name)))
    return "".join(
        f"%{ord(character):02X}" if encode else character
        for character, encode in zip(name, encoded, strict=True)
    )


def headers_of(*fields: tuple[str, str]) -> Headers:
    """Build header fields as a parser that checks nothing would."""
    return Headers.from_wire([(name.encode(), value.encode("latin-1")) for name, value in fields])


def descriptions(text: str, headers: Headers) -> Iterable[str]:
    yield describe_request(Request(text, headers, text, text))
    yield describe_response(Response(200, headers, text.encode(), text))


@given(st.text(), st.lists(st.tuples(st.sampled_from(["X", "Cookie", "Location"]), latin)))
def test_no_peer_can_write_control_characters(text: str, fields: list[tuple[str, str]]) -> None:
    for described in descriptions(text, headers_of(*fields)):
        assert described.isascii()
        assert described.isprintable()


@given(secrets, latin, latin, spellings())
def test_no_secret_gets_into_the_log(secret: str, before: str, after: str, name: str) -> None:
    encoded = quote(f"https://a/?{name}={secret}", safe="")
    targets = [f"{before}{mark}{name}={secret}{after}" for mark in "?&;"] + [
        f"{before}?next={encoded}",
        f"{before}?a=b;{name}={secret}",
    ]
    headers = headers_of(
        ("Authorization", f"{before} {secret}{after}"),
        ("Proxy-Authorization", secret),
        ("Cookie", f"{before}; session={secret}"),
        ("Set-Cookie", f"session={secret}; {after}"),
        ("X-Api-Key", secret),
        ("Location", f"{before}//me:{secret}@{after}"),
        ("Sec-WebSocket-Protocol", f"{before}, bearer, {secret}{after}"),
        ("Sec-WebSocket-Protocol", f"{secret}"),
        *(("Referer", target) for target in targets),
    )
    for target in targets:
        assert "S3CRET" not in describe_request(Request(target, headers))
    assert "S3CRET" not in describe_response(Response(302, headers, secret.encode()))


@pytest.mark.anyio
async def test_an_opening_handshake_is_logged_at_debug_without_its_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-B2"""
    caplog.set_level(logging.DEBUG)
    headers = {"Authorization": "Bearer s3cret", "Cookie": "id=s3cret", "X-Plain": "seen"}
    async with (
        serve(echo, "127.0.0.1", logger=OURS) as server,
        connect(f"{server.uri}?token=s3cret", headers=headers),
    ):
        await connections(server, 1)
    (record,) = [each for each in ours(caplog) if each.levelno == logging.DEBUG]
    message = record.getMessage()
    assert message.startswith("GET /?token=[redacted] HTTP/1.1 | Host: 127.0.0.1:")
    assert "X-Plain: seen" in message
    assert "HTTP 101 Switching Protocols" in message
    assert "s3cret" not in caplog.text


@pytest.mark.anyio
async def test_a_request_that_is_refused_is_logged_at_debug(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """R-B2"""
    caplog.set_level(logging.DEBUG)
    with anyio.fail_after(LIMIT):
        async with serve(echo, "127.0.0.1", logger=OURS) as server:
            async with raw_client(server.port) as peer:
                await peer.send(b"GET /\x1b[2J HTTP/1.1\r\n\r\n")
                assert (await peer.read_response()).status == 400
            async with raw_client(server.port) as peer:
                await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert (await peer.read_response()).status == 426
    assert {record.levelno for record in ours(caplog)} == {logging.DEBUG}
    assert "GET / HTTP/1.1 | Host: localhost: HTTP 426" in caplog.text
    assert "\x1b" not in caplog.text
