"""What is read before a connection is open: any bytes, any fields, any URI."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from anyws import (
    HandshakeError,
    Headers,
    InvalidHandshake,
    InvalidURI,
    LocalProtocolError,
    Request,
    Response,
    parse_uri,
)
from anyws._core.grammar import is_token, split_tokens
from anyws._core.h11_http1 import MAX_BODY
from anyws._core.handshake import (
    BadRequest,
    accept_request,
    accept_value,
    build_request,
    check_request,
    check_response,
    make_key,
    select_subprotocol,
)
from anyws._core.http1 import ClientHandshake, ServerHandshake

from .test_protocol import cuts, pieces

KEY = make_key(b"the sample nonce")
REQUEST = build_request(parse_uri("ws://host/"), KEY)

CRLF = b"\r\n"
# Every character, lone surrogates among them.
any_text = st.text(st.characters(exclude_categories=()), max_size=30)

line_ends = st.sampled_from([CRLF, CRLF, CRLF, CRLF, b"\n", b"\r", b"\r\n ", b"\0\r\n", b""])
names = st.sampled_from(
    [
        b"Host",
        b"Upgrade",
        b"Connection",
        b"Sec-WebSocket-Key",
        b"Sec-WebSocket-Version",
        b"Sec-WebSocket-Protocol",
        b"Sec-WebSocket-Accept",
        b"Sec-WebSocket-Extensions",
        b"Content-Length",
        b"Transfer-Encoding",
        b"X",
    ]
)
values = st.one_of(
    st.sampled_from(
        [
            b"host",
            b"websocket",
            b"Upgrade",
            b"keep-alive, Upgrade",
            b"13",
            KEY.encode(),
            accept_value(KEY).encode(),
            b"chat, superchat",
            b"0",
            b"5",
            b"chunked",
            b"",
        ]
    ),
    st.binary(max_size=10),
)
fields = st.builds(lambda name, value: name + b": " + value, names, values)
RIGHT = (
    b"Host: host",
    b"Upgrade: websocket",
    b"Connection: Upgrade",
    b"Sec-WebSocket-Key: " + KEY.encode(),
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Accept: " + accept_value(KEY).encode(),
)
request_lines = st.one_of(
    st.sampled_from(
        [
            b"GET / HTTP/1.1",
            b"GET /chat?a=b HTTP/1.1",
            b"HEAD / HTTP/1.1",
            b"POST / HTTP/1.1",
            b"CONNECT host:1 HTTP/1.1",
            b"GET / HTTP/1.0",
        ]
    ),
    st.binary(max_size=20),
)
status_lines = st.one_of(
    st.sampled_from(
        [
            b"HTTP/1.1 101 Switching Protocols",
            b"HTTP/1.1 200 OK",
            b"HTTP/1.0 403 Forbidden",
            b"HTTP/1.1 204 No Content",
            b"HTTP/1.1 100 Continue",
            b"HTTP/1.1 426 ",
        ]
    ),
    st.binary(max_size=20),
)


@st.composite
def heads(draw: st.DrawFn, first_lines: st.SearchStrategy[bytes]) -> bytes:
    """A head that is nearly right, or not at all, and something behind it."""
    lines = [draw(first_lines)]
    lines += draw(st.permutations(RIGHT))[: draw(st.integers(0, 6))]
    lines += draw(st.lists(fields, max_size=3))
    if draw(st.booleans()):
        return CRLF.join([*lines, b"", draw(st.binary(max_size=10))])
    return b"".join(line + draw(line_ends) for line in lines) + draw(st.sampled_from([CRLF, b""]))


requests = st.one_of(st.binary(max_size=60), heads(request_lines))
responses = st.one_of(st.binary(max_size=60), heads(status_lines))


def read_request(chunks: list[bytes]) -> tuple[Request | int | None, bytes]:
    """Return the request, or the status that refuses it; and what came behind it."""
    server = ServerHandshake()
    for i, chunk in enumerate(chunks):
        try:
            request = server.receive_data(chunk)
        except BadRequest as exc:
            return exc.status_code, b""
        if request is not None:
            return request, server.trailing_data() + b"".join(chunks[i + 1 :])
    return None, b""


def read_response(chunks: list[bytes]) -> tuple[Response | type[Exception] | None, bytes]:
    """Return the response, or the kind of error that it is; and what came behind it."""
    client = ClientHandshake()
    client.send_request(REQUEST)
    for i, chunk in enumerate(chunks):
        try:
            response = client.receive_data(chunk)
        except InvalidHandshake as exc:
            return type(exc), b""
        if response is not None:
            rest = client.trailing_data() if response.status_code == 101 else b""
            return response, rest + b"".join(chunks[i + 1 :]) * (response.status_code == 101)
    return None, b""


def not_empty(chunks: list[bytes]) -> list[bytes]:
    """Leave out empty pieces: they stand for the end of the bytes."""
    return [chunk for chunk in chunks if chunk]


@given(requests, cuts)
@example(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", [])
def test_any_request_is_refused_or_answered(data: bytes, fractions: list[float]) -> None:
    whole = read_request([data] if data else [])
    assert read_request(not_empty(pieces(data, fractions))) == whole
    request = whole[0]
    if isinstance(request, int):
        assert request in (400, 431, 501)
        return
    if request is None:
        return
    server = ServerHandshake()
    server.receive_data(data)
    checked = check_request(request)
    if isinstance(checked, Response):
        assert checked.status_code in (400, 405, 426)
        sent = server.send_response(checked)
    else:
        key, offered, extensions = checked
        assert all(map(is_token, offered))
        chosen = select_subprotocol(offered, offered)
        sent = server.send_response(accept_request(key, chosen, extensions, None))
    # What a client makes of it, which asked for the same.
    response, _ = read_response([sent])
    if request.method != "HEAD":
        assert isinstance(response, Response)


@given(requests)
def test_any_request_that_ends_is_refused_or_answered(data: bytes) -> None:
    request, _ = read_request([*not_empty([data]), b""])
    assert request is not None


@given(responses, cuts)
def test_any_response_is_accepted_or_a_handshake_error(data: bytes, fractions: list[float]) -> None:
    whole = read_response([data] if data else [])
    assert read_response(not_empty(pieces(data, fractions))) == whole
    response = whole[0]
    if isinstance(response, Response):
        assert len(response.body) <= MAX_BODY
        try:
            chosen, agreed = check_response(response, KEY, ("chat",))
        except HandshakeError:
            return
        assert chosen in (None, "chat")
        assert agreed == []


@given(responses)
def test_any_response_that_ends_is_complete_or_a_handshake_error(data: bytes) -> None:
    response, _ = read_response([*not_empty([data]), b""])
    assert response is not None


@given(st.lists(st.tuples(any_text, any_text), max_size=4))
def test_headers_hold_exactly_what_one_line_can_carry(fields: list[tuple[str, str]]) -> None:
    headers = Headers()
    kept: list[tuple[str, str]] = []
    for name, value in fields:
        try:
            headers.add(name, value)
        except LocalProtocolError:
            continue
        kept.append((name, value.strip(" \t")))
    assert headers.multi_items() == kept
    assert all(is_token(name) for name, _ in kept)
    assert not any(set(value) & {"\r", "\n", "\0"} for _, value in kept)
    wire = [(name.encode("ascii"), value.encode("iso-8859-1")) for name, value in kept]
    assert Headers.from_wire(wire) == headers


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["add", "set", "discard"]),
            st.sampled_from(["A", "a", "B", "b", "C"]),
            st.sampled_from(["1", "2", "3"]),
        )
    )
)
def test_headers_are_a_list_of_fields(calls: list[tuple[str, str, str]]) -> None:
    headers = Headers()
    model: list[tuple[str, str]] = []
    for call, name, value in calls:
        if call != "add":
            model = [field for field in model if field[0].lower() != name.lower()]
        if call == "add":
            headers.add(name, value)
        elif call == "set":
            headers[name] = value
        else:
            headers.discard(name)
        if call != "discard":
            model.append((name, value))
    assert headers.multi_items() == model
    assert list(headers) == list(dict.fromkeys(name.lower() for name, _ in model))
    for name in headers:
        assert headers.get_all(name) == [v for n, v in model if n.lower() == name]


@given(st.lists(st.text(st.sampled_from("ab, \t"), max_size=20), max_size=3))
def test_members_of_a_list_have_no_commas_and_no_white_space_around(values: list[str]) -> None:
    members = split_tokens(values)
    assert all(member and member == member.strip(" \t") for member in members)
    assert "".join(members).replace(" ", "").replace("\t", "") == "".join(values).translate(
        dict.fromkeys(map(ord, ", \t"))
    )


hosts = st.one_of(
    st.sampled_from(["host", "[::1]", "127.0.0.1", "bücher.example", "[", "a..b", ""]), any_text
)
uris = st.one_of(
    any_text,
    st.builds(
        lambda scheme, user, host, port, path: f"{scheme}://{user}{host}{port}{path}",
        st.sampled_from(["ws", "wss", "WS", "http", ""]),
        st.one_of(st.just(""), any_text.map(lambda user: user + "@")),
        hosts,
        st.one_of(st.just(""), st.sampled_from([":80", ":", ":0", ":65536"]), any_text),
        st.one_of(st.just(""), any_text.map(lambda path: "/" + path)),
    ),
)


@given(uris)
@example("ws://host/\ud800")
def test_any_uri_is_usable_or_invalid(text: str) -> None:
    try:
        uri = parse_uri(text)
    except InvalidURI as exc:
        str(exc).encode()
        return
    assert uri.host.isascii()
    assert 0 < uri.port < 65536
    request = build_request(uri, KEY)
    data = ClientHandshake().send_request(request)
    received, rest = read_request([data])
    assert isinstance(received, Request)
    assert (received.path, rest) == (uri.path, b"")
    assert received.headers["Host"] == uri.host_header
    # Put together again it is the same.
    scheme = "wss" if uri.secure else "ws"
    again = parse_uri(f"{scheme}://{uri.host_header}{uri.path}")
    assert (again.host, again.port, again.path) == (uri.host, uri.port, uri.path)
