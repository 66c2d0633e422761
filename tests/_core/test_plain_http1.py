"""The straight path of the opening handshake: what it takes is what h11 takes, and the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import Headers, Request, Response
from anyws._core.h11_http1 import H11Client, H11Server
from anyws._core.handshake import accept_request
from anyws._core.plain_http1 import (
    MAX_HEAD,
    read_request,
    read_upgrade,
    write_request,
    write_upgrade,
)

GET = b"GET /chat?room=1 HTTP/1.1\r\n"
FIELDS = b"Host: server.example.com\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
PLAIN_REQUEST = GET + FIELDS + b"\r\n"
PLAIN_UPGRADE = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n"
TAIL = b"\x81\x05Hello"

Said = tuple[object, ...]


def said_by_request(request: Request) -> Said:
    """Return all that a request says, with its fields exactly as they are."""
    return request.method, request.path, request.http_version, request.headers.multi_items()


def said_by_response(response: Response) -> Said:
    return response.status_code, response.reason_phrase, response.headers.multi_items()


def check_request_against_h11(data: bytes) -> bool:
    """Say whether the straight path takes bytes; if so, h11 must, and understand the same."""
    found = read_request(data)
    if found is None:
        return False
    request, head_bytes = found
    server = H11Server()
    expected = server.receive_data(data)
    assert expected is not None
    assert said_by_request(request) == said_by_request(expected)
    assert data[head_bytes:] == server.trailing_data()
    return True


def check_upgrade_against_h11(data: bytes) -> bool:
    """Do the same with a response."""
    found = read_upgrade(data)
    if found is None:
        return False
    response, head_bytes = found
    client = H11Client()
    client.send_request(Request("/", Headers({"Host": "a", "Upgrade": "websocket"})))
    expected = client.receive_data(data)
    assert expected is not None
    assert said_by_response(response) == said_by_response(expected)
    assert data[head_bytes:] == client.trailing_data()
    return True


# Tables


def with_fields(fields: bytes) -> bytes:
    return GET + FIELDS + fields + b"\r\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(PLAIN_REQUEST, id="shortest"),
        pytest.param(PLAIN_REQUEST + TAIL, id="bytes behind it"),
        pytest.param(PLAIN_REQUEST + PLAIN_REQUEST, id="another one behind it"),
        pytest.param(PLAIN_REQUEST.replace(b"websocket", b"WebSocket"), id="case of a token"),
        pytest.param(PLAIN_REQUEST.replace(b"Host", b"hOST"), id="case of a name"),
        pytest.param(PLAIN_REQUEST.replace(b"Host: ", b"Host:"), id="no space"),
        pytest.param(with_fields(b"A:   b  \r\n"), id="spaces around a value"),
        pytest.param(with_fields(b"A:\r\nB: \r\n"), id="no value"),
        pytest.param(with_fields(b'Cookie: a=b; c="d"\r\nCookie: e\r\n'), id="repeated"),
        pytest.param(with_fields(b"X-Content-Length: 5\r\n"), id="name that ends like another"),
        pytest.param(with_fields(b"Content-Lengthy: 5\r\n"), id="name that begins like another"),
    ],
)
def test_a_plain_request_goes_straight(data: bytes) -> None:
    assert check_request_against_h11(data)


UNUSUAL = [
    pytest.param(b"", id="nothing"),
    pytest.param(PLAIN_REQUEST[:-1], id="incomplete"),
    pytest.param(b"\r\n" + PLAIN_REQUEST, id="blank line before it"),
    pytest.param(PLAIN_REQUEST.replace(b"GET", b"POST"), id="another method"),
    pytest.param(PLAIN_REQUEST.replace(b"GET", b"get"), id="method in lower case"),
    pytest.param(PLAIN_REQUEST.replace(b"1.1", b"1.0"), id="HTTP/1.0"),
    pytest.param(PLAIN_REQUEST.replace(b"GET ", b"GET  "), id="two spaces"),
    pytest.param(PLAIN_REQUEST.replace(b"room", b"\xe9"), id="target beyond ASCII"),
    pytest.param(PLAIN_REQUEST.replace(b"\r\n", b"\n"), id="bare LF"),
    pytest.param(PLAIN_REQUEST.replace(b"Host: ", b"Host : "), id="space before the colon"),
    pytest.param(PLAIN_REQUEST.replace(b"Host: server.example.com\r\n", b""), id="no Host"),
    pytest.param(PLAIN_REQUEST.replace(b"Upgrade: websocket\r\n", b""), id="no Upgrade"),
    pytest.param(with_fields(b"host: b\r\n"), id="two Hosts"),
    pytest.param(with_fields(b"Content-Length: 0\r\n"), id="Content-Length"),
    pytest.param(with_fields(b"transfer-ENCODING: chunked\r\n"), id="Transfer-Encoding"),
    pytest.param(with_fields(b"A: b\r\n c\r\n"), id="folded line"),
    pytest.param(with_fields(b"A: b\tc\r\n"), id="tab"),
    pytest.param(with_fields(b"A: caf\xe9\r\n"), id="value beyond ASCII"),
    pytest.param(with_fields(b"A: b\0\r\n"), id="NUL"),
    pytest.param(with_fields(b"A: b\rC: d\r\n"), id="bare CR"),
    pytest.param(with_fields(b"A b: c\r\n"), id="name that is no token"),
    pytest.param(with_fields(b": c\r\n"), id="no name"),
    pytest.param(with_fields(b"A\r\n"), id="no colon"),
    pytest.param(with_fields(b"A: " + b"b" * MAX_HEAD + b"\r\n"), id="too long"),
]


@pytest.mark.parametrize("data", UNUSUAL)
def test_anything_else_is_left_to_h11(data: bytes) -> None:
    assert read_request(data) is None


@pytest.mark.parametrize("excess", [0, 1])
def test_a_request_of_16_kib_goes_straight(excess: int) -> None:
    rest = MAX_HEAD - len(with_fields(b"A: \r\n"))
    data = with_fields(b"A: " + b"b" * (rest + excess) + b"\r\n") + TAIL
    assert check_request_against_h11(data) is (excess == 0)


@pytest.mark.parametrize(
    ("data", "straight"),
    [
        (PLAIN_UPGRADE, True),
        (PLAIN_UPGRADE + TAIL, True),
        (PLAIN_UPGRADE.replace(b"Switching Protocols", b""), True),
        (PLAIN_UPGRADE.replace(b"Upgrade: websocket\r\n", b""), True),
        (PLAIN_UPGRADE.replace(b" Switching Protocols", b""), False),
        (PLAIN_UPGRADE.replace(b"Switching", b"Wechsl\xfcng"), False),
        (PLAIN_UPGRADE.replace(b"101", b"200"), False),
        (PLAIN_UPGRADE.replace(b"1.1", b"1.0"), False),
        (PLAIN_UPGRADE.replace(b"Upgrade", b"Content-Length"), False),
        (PLAIN_UPGRADE[:-1], False),
        (b"", False),
    ],
    ids=str,
)
def test_a_plain_upgrade_goes_straight(data: bytes, straight: bool) -> None:
    assert check_upgrade_against_h11(data) is straight


def test_requests_that_are_not_plain_are_not_written() -> None:
    plain = {"Host": "a", "Upgrade": "websocket"}
    unusual = [
        Request("/", Headers(plain), method="POST"),
        Request("/caf\xe9", Headers(plain)),
        Request("/ ", Headers(plain)),
        Request("", Headers(plain)),
        Request("/", Headers({"Upgrade": "websocket", "Host": "a"})),
        Request("/", Headers({"Host": "a"})),
        Request("/", Headers({**plain, "A": "caf\xe9"})),
        Request("/", Headers({**plain, "A": "b" * MAX_HEAD})),
        # What would be taken for more than the target.
        Request("/ HTTP/1.1\r\nA: b", Headers(plain)),
        Request("/ HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n", Headers(plain)),
    ]
    assert write_request(Request("/", Headers(plain))) is not None
    assert [write_request(request) for request in unusual] == [None] * len(unusual)


def test_responses_that_are_not_plain_are_not_written() -> None:
    unusual = [
        Response(200),
        Response(101, reason_phrase="caf\xe9"),
        Response(101, reason_phrase="a\r\nb: c"),
        Response(101, reason_phrase="a\r\n\r\n"),
        Response(101, Headers({"Content-Length": "0"})),
        Response(101, Headers({"A": "a\tb"})),
        Response(101, Headers({"A": "b" * MAX_HEAD})),
    ]
    assert write_upgrade(accept_request("key", "chat", (), "anyws")) is not None
    assert [write_upgrade(response) for response in unusual] == [None] * len(unusual)


# Any bytes

ends = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n ", b"\r\n\t", b"\0\r\n", b"\r\r\n"])
names = st.sampled_from(
    [
        b"Host",
        b"hOST",
        b"Upgrade",
        b"Connection",
        b"Content-Length",
        b"transfer-encoding",
        b"Expect",
        b"X",
        b"!#$%&'*+-.^_`|~",
        b"a b",
        b"",
    ]
)
colons = st.sampled_from([b": "] * 6 + [b":", b":  ", b" : ", b":\t", b""])
values = st.one_of(
    st.sampled_from(
        [b"websocket", b"Upgrade", b"a, b", b"0", b"chunked", b"100-continue", b"", b" a  ", b"a:b"]
    ),
    st.binary(max_size=4),
    st.text("!~ \t\x7f\x80\xff\x0b\x0c\x1c", max_size=4).map(lambda text: text.encode("latin-1")),
)
fields = st.builds(lambda *parts: b"".join(parts), names, colons, values, ends)
plain_fields = st.builds(
    lambda name, value: name + b":" + value + b"\r\n",
    st.sampled_from([b"A", b"Expect", b"Connection", b"Content-Lengthy", b"!#$%&'*+-.^_`|~"]),
    st.text("!~ :a,", max_size=4).map(str.encode),
)
# Of a head in which anything may be odd, something nearly always is.
blocks = st.lists(plain_fields, max_size=4).map(b"".join) | st.lists(fields, max_size=4).map(
    b"".join
)
hosts = st.sampled_from([b"Host: a\r\n"] * 4 + [b"", b"host: a\r\n", b"Host:\r\n", b" Host: a\r\n"])
upgrades = st.sampled_from([b"Upgrade: websocket\r\n"] * 4 + [b"", b"upgrade:  WebSocket \r\n"])
methods = st.sampled_from([b"GET "] * 8 + [b"GET  ", b"HEAD ", b"get ", b"GET\t", b"\r\nGET "])
targets = st.sampled_from([b"/", b"/chat?a=b", b"*", b"http://a/", b"", b"/ /", b"/\x7f", b"\xe9"])
versions = st.sampled_from([b" HTTP/1.1\r\n"] * 8 + [b" HTTP/1.0\r\n", b"  HTTP/1.1\r\n", b"\r\n"])
tails = st.sampled_from([b"\r\n"] * 4 + [b"", b"\r\n" + TAIL, b"\n", b"\r\n\r\n", b"\r\nGET / "])
reasons = st.one_of(st.sampled_from([b"", b"Switching Protocols"]), st.binary(max_size=3))


@given(
    st.builds(
        lambda *parts: b"".join(parts),
        methods,
        targets,
        versions,
        blocks,
        hosts,
        upgrades,
        blocks,
        tails,
    )
)
def test_what_goes_straight_is_a_request_to_h11_too(data: bytes) -> None:
    check_request_against_h11(data)


@given(blocks, reasons, blocks, tails)
def test_what_goes_straight_is_an_upgrade_to_h11_too(
    before: bytes, reason: bytes, block: bytes, tail: bytes
) -> None:
    check_upgrade_against_h11(b"HTTP/1.1 101 " + reason + b"\r\n" + before + block + tail)


@given(st.integers(0, len(PLAIN_REQUEST) - 1), st.integers(0, 255))
def test_any_byte_of_a_plain_request_may_be_another(at: int, byte: int) -> None:
    check_request_against_h11(PLAIN_REQUEST[:at] + bytes([byte]) + PLAIN_REQUEST[at + 1 :] + TAIL)


@given(st.integers(0, len(PLAIN_UPGRADE) - 1), st.integers(0, 255))
def test_any_byte_of_a_plain_upgrade_may_be_another(at: int, byte: int) -> None:
    check_upgrade_against_h11(PLAIN_UPGRADE[:at] + bytes([byte]) + PLAIN_UPGRADE[at + 1 :] + TAIL)


# Anything that can be said

any_value = st.text(
    st.characters(min_codepoint=0x20, max_codepoint=0x7E) | st.sampled_from("\t\xa0\xff"),
    max_size=3,
)
any_name = st.sampled_from(["A", "Upgrade", "Sec-WebSocket-Accept", "Content-Length"])
any_fields = st.lists(st.tuples(any_name, any_value), max_size=4)


@given(st.text("!~ /?\r\n\xe9\u0100", max_size=4), any_fields)
def test_a_request_is_written_as_h11_writes_it(path: str, rest: list[tuple[str, str]]) -> None:
    headers = Headers([("Host", "a"), ("Upgrade", "websocket"), *rest])
    request = Request("/" + path, headers)
    data = write_request(request)
    if data is not None:
        assert data == H11Client().send_request(request)


@given(any_value, any_fields)
def test_an_upgrade_is_written_as_h11_writes_it(reason: str, rest: list[tuple[str, str]]) -> None:
    response = Response(101, Headers(rest), reason_phrase=reason)
    data = write_upgrade(response)
    if data is not None:
        server = H11Server()
        server.receive_data(PLAIN_REQUEST)
        assert data == server.send_response(response)
