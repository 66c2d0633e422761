"""What is read before a connection is open: any bytes, any fields, any URI."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from anyws import (
    Headers,
    LocalProtocolError,
)
from anyws._core.grammar import is_token, split_tokens
from anyws._core.handshake import (
    accept_value,
)

from .reading import (
    KEY,
    check_request_bytes,
    check_response_bytes,
    check_uri,
    not_empty,
    read_request,
    read_response,
)
from .test_protocol import cuts

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


@given(requests, cuts)
@example(b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", [])
def test_any_request_is_refused_or_answered(data: bytes, fractions: list[float]) -> None:
    check_request_bytes(data, fractions)


@given(requests)
def test_any_request_that_ends_is_refused_or_answered(data: bytes) -> None:
    request, _ = read_request([*not_empty([data]), b""])
    assert request is not None


@given(responses, cuts)
def test_any_response_is_accepted_or_a_handshake_error(data: bytes, fractions: list[float]) -> None:
    check_response_bytes(data, fractions)


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
    check_uri(text)
