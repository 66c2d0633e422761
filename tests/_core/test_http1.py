"""The opening handshake on HTTP/1.1 (RFC 9112): bytes to values, values to bytes."""

from __future__ import annotations

import pytest

from anyws import Headers, InvalidHandshake, LocalProtocolError, Request, Response
from anyws._core.h11_http1 import MAX_BODY, H11Client
from anyws._core.handshake import BadRequest
from anyws._core.http1 import ClientHandshake, ServerHandshake
from anyws._core.plain_http1 import MAX_HEAD

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

REQUEST = Request(
    "/chat?room=1",
    Headers(
        {
            "Host": "server.example.com",
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Key": KEY,
            "Sec-WebSocket-Version": "13",
        }
    ),
)
REQUEST_BYTES = (
    b"GET /chat?room=1 HTTP/1.1\r\n"
    b"Host: server.example.com\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Version: 13\r\n"
    b"\r\n"
)
RESPONSE = Response(
    101,
    Headers({"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": ACCEPT}),
)
RESPONSE_BYTES = (
    b"HTTP/1.1 101 Switching Protocols\r\n"
    b"Upgrade: websocket\r\n"
    b"Connection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    b"\r\n"
)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"

# Bytes behind the handshake are the first of the WebSocket connection.
TAIL = b"\x81\x05Hello"

in_pieces = pytest.mark.parametrize("size", [1, 7, 1 << 20], ids=["byte by byte", "7", "whole"])


def new_client() -> ClientHandshake:
    """Return a client that has sent its request."""
    client = ClientHandshake()
    client.send_request(REQUEST)
    return client


def client_receives(data: bytes, size: int = 1 << 20) -> Response | None:
    """Return what a client makes of bytes that come `size` at a time."""
    client = new_client()
    response: Response | None = None
    for at in range(0, len(data), size):
        assert response is None, "complete before its end"
        response = client.receive_data(data[at : at + size])
    return response


def server_receives(data: bytes, size: int = 1 << 20) -> Request | None:
    """Return what a server makes of bytes that come `size` at a time."""
    server = ServerHandshake()
    request: Request | None = None
    for at in range(0, len(data), size):
        assert request is None, "complete before its end"
        request = server.receive_data(data[at : at + size])
    return request


def answered(response: Response, request: bytes = GET) -> bytes:
    """Return the bytes with which a server answers a request."""
    server = ServerHandshake()
    assert server.receive_data(request) is not None
    return server.send_response(response)


def padded(start: bytes, n: int) -> bytes:
    """Return a head of `n` bytes that starts like this."""
    return start + b"X: " + b"a" * (n - len(start) - 7) + b"\r\n\r\n"


# The request


def test_request_is_put_on_the_wire() -> None:
    # §4.1, request 1 to 3
    assert ClientHandshake().send_request(REQUEST) == REQUEST_BYTES


@in_pieces
def test_request_is_read_off_the_wire(size: int) -> None:
    assert server_receives(REQUEST_BYTES, size) == REQUEST


def test_bytes_behind_the_request_are_kept() -> None:
    server = ServerHandshake()
    assert server.receive_data(REQUEST_BYTES + TAIL) == REQUEST
    assert server.trailing_data() == TAIL


def test_no_bytes_behind_the_request() -> None:
    server = ServerHandshake()
    server.receive_data(REQUEST_BYTES)
    assert server.trailing_data() == b""


@pytest.mark.parametrize("n", range(0, len(REQUEST_BYTES), 20))
def test_unfinished_request_is_waited_for(n: int) -> None:
    assert server_receives(REQUEST_BYTES[:n]) is None


def test_method_and_version_are_reported() -> None:
    request = server_receives(b"HEAD /health HTTP/1.0\r\n\r\n")
    assert request == Request("/health", Headers(), "HEAD", "1.0")


def test_body_is_not_part_of_the_request() -> None:
    server = ServerHandshake()
    request = server.receive_data(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello")
    assert request is not None
    assert request.method == "POST"


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: b", "/\0", "/é", "", "/\ud800"], ids=ascii)
def test_request_target_that_breaks_the_line_is_rejected(path: str) -> None:
    # R-C2
    with pytest.raises(LocalProtocolError, match="request"):
        ClientHandshake().send_request(Request(path, REQUEST.headers))


BAD_REQUESTS = [
    pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="TLS"),
    pytest.param(b"\x16\x03\x01\x02\x00\x01", 400, id="TLS, unfinished"),
    pytest.param(b"garbage\r\n\r\n", 400, id="RFC 9112 §3"),
    pytest.param(b"GET / HTTP/1.1\r\n\r\n", 400, id="RFC 9112 §3.2 no Host"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, id="RFC 9112 §3.2 two"),
    pytest.param(b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="RFC 9112 §3.2 space"),
    pytest.param(b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400, id="RFC 9112 §5.1 space"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 400, id="RFC 9110 §5.5 NUL"),
    pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n", 400, id="§6.2"),
    pytest.param(b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, id="RFC 9110 §15.6.6"),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", 501, id="RFC 9112 §6.1"
    ),
    pytest.param(
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        400,
        id="RFC 9112 §6.1 two lengths",
    ),
]


@pytest.mark.parametrize(("data", "status_code"), BAD_REQUESTS)
@in_pieces
def test_what_is_no_request_is_refused(data: bytes, status_code: int, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        server_receives(data, size)
    assert caught.value.status_code == status_code


CONTROLS = [n for n in (*range(0x20), 0x7F) if n not in b"\t"]


@pytest.mark.parametrize("n", CONTROLS, ids=hex)
@in_pieces
def test_control_characters_in_a_field_are_refused(n: int, size: int) -> None:
    # RFC 9110 §5.5: h11 lets most of them pass.
    with pytest.raises(BadRequest) as caught:
        server_receives(b"GET / HTTP/1.1\r\nHost: a\r\nX: b%cc\r\n\r\n" % n, size)
    assert caught.value.status_code == 400


@in_pieces
def test_tabs_and_bytes_beyond_ascii_in_a_field_are_accepted(size: int) -> None:
    request = server_receives(b"GET / HTTP/1.1\r\nHost: a\r\nX: \t b\tc\x85\xff \r\n\r\n", size)
    assert request is not None
    assert request.headers["X"] == "b\tc\x85\xff"


def test_end_before_a_request_is_an_error() -> None:
    with pytest.raises(BadRequest, match=r"^the connection ended before a request$"):
        ServerHandshake().receive_data(b"")


def test_end_within_a_request_is_an_error() -> None:
    server = ServerHandshake()
    server.receive_data(REQUEST_BYTES[:-1])
    with pytest.raises(BadRequest, match="closed connection"):
        server.receive_data(b"")


def test_bad_request_can_be_answered() -> None:
    server = ServerHandshake()
    with pytest.raises(BadRequest):
        server.receive_data(b"garbage\r\n\r\n")
    assert server.send_response(Response(400)).startswith(b"HTTP/1.1 400 Bad Request\r\n")


# Pieces of 4,096 do not divide the longest head that is one too long.
in_reads = pytest.mark.parametrize("size", [4096, 1 << 20], ids=["in pieces", "whole"])


@in_reads
def test_head_of_a_request_of_16_kib_is_accepted(size: int) -> None:
    head = padded(b"GET / HTTP/1.1\r\nHost: a\r\n", MAX_HEAD)
    assert len(head) == MAX_HEAD
    assert server_receives(head, size) is not None


@in_reads
@pytest.mark.parametrize("n", [MAX_HEAD + 1, 200_000])
def test_head_of_a_request_over_16_kib_is_refused(n: int, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        server_receives(padded(b"GET / HTTP/1.1\r\nHost: a\r\n", n), size)
    assert caught.value.status_code == 431


@in_reads
@pytest.mark.parametrize("behind", [b"", b" HTTP/1.1\r\nHost: a", b" HTTP/1.1\r\nHost: a\r\n\r\n"])
def test_first_line_over_16_kib_is_refused_as_such(behind: bytes, size: int) -> None:
    # RFC 9110 §15.5.15
    with pytest.raises(BadRequest) as caught:
        server_receives(b"GET /" + b"a" * MAX_HEAD + behind, size)
    assert caught.value.status_code == 414


POST = b"POST / HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"


@in_reads
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(POST + b"Content-Length: %d\r\n\r\n" % (MAX_BODY + 1), id="said"),
        pytest.param(CHUNKED + (b"1000\r\n" + bytes(4096) + b"\r\n") * 16, id="chunks"),
        pytest.param(CHUNKED + (b"1;" + b"a" * 10_000 + b"\r\nb\r\n") * 8, id="extensions"),
    ],
)
def test_body_of_a_request_over_64_kib_is_refused(data: bytes, size: int) -> None:
    # R-B6a; RFC 9110 §15.5.14. What chunks are wrapped in counts too.
    with pytest.raises(BadRequest) as caught:
        server_receives(data, size)
    assert caught.value.status_code == 413


@in_reads
def test_body_of_a_request_of_64_kib_is_accepted(size: int) -> None:
    data = POST + b"Content-Length: %d\r\n\r\n" % MAX_BODY + bytes(MAX_BODY)
    assert server_receives(data, size) is not None


LONG = b"a" * MAX_HEAD
wrapped = pytest.mark.parametrize(
    "body",
    [b"0\r\nX: " + LONG + b"\r\n\r\n", b"1;x=" + LONG + b"\r\na\r\n0\r\n\r\n"],
    ids=["trailer", "chunk extension"],
)


@in_reads
@wrapped
def test_what_a_body_is_wrapped_in_is_limited_however_it_comes(body: bytes, size: int) -> None:
    with pytest.raises(BadRequest) as caught:
        server_receives(CHUNKED + body, size)
    assert caught.value.status_code == 431


@in_reads
@wrapped
def test_body_of_a_refusal_ends_where_its_wrapping_is_too_large(body: bytes, size: int) -> None:
    head = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n"
    client, data = new_client(), head + body
    answers = [client.receive_data(data[at : at + size]) for at in range(0, len(data), size)]
    response = next(filter(None, answers))
    assert (response.status_code, response.body) == (403, b"no")


def test_body_that_waits_to_be_asked_for_is_not_waited_for() -> None:
    # RFC 9110 §10.1.1
    data = POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n"
    assert server_receives(data) is not None


@in_pieces
def test_upgrade_may_expect_to_be_asked_for_a_body(size: int) -> None:
    server = ServerHandshake()
    data = REQUEST_BYTES[:-2] + b"Expect: 100-continue\r\n\r\n"
    for at in range(0, len(data), size):
        request = server.receive_data(data[at : at + size])
    assert request is not None
    assert server.send_response(RESPONSE) == RESPONSE_BYTES


def test_bytes_behind_the_request_do_not_count_as_its_head() -> None:
    server = ServerHandshake()
    assert server.receive_data(REQUEST_BYTES + bytes(MAX_HEAD)) == REQUEST


# The response


def test_answer_is_put_on_the_wire() -> None:
    # §4.2.2
    assert answered(RESPONSE, REQUEST_BYTES) == RESPONSE_BYTES


@in_pieces
def test_answer_is_read_off_the_wire(size: int) -> None:
    assert client_receives(RESPONSE_BYTES, size) == RESPONSE


def test_bytes_behind_the_answer_are_kept() -> None:
    client = new_client()
    assert client.receive_data(RESPONSE_BYTES + TAIL) == RESPONSE
    assert client.trailing_data() == TAIL


@pytest.mark.parametrize("n", range(0, len(RESPONSE_BYTES), 20))
def test_unfinished_answer_is_waited_for(n: int) -> None:
    assert client_receives(RESPONSE_BYTES[:n]) is None


@in_pieces
def test_interim_responses_are_skipped(size: int) -> None:
    # RFC 9110 §15.2
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
    assert client_receives(interim + RESPONSE_BYTES, size) == RESPONSE


REFUSALS = [
    pytest.param(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbody", b"body", id="RFC 9112 §6.2"
    ),
    pytest.param(
        b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nbo\r\n2\r\ndy\r\n0\r\n\r\n",
        b"body",
        id="RFC 9112 §7.1",
    ),
    pytest.param(b"HTTP/1.1 403 \r\nContent-Length: 0\r\n\r\n", b"", id="empty"),
    pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", b"", id="RFC 9112 §6.3 no body"),
]


def proxy_answers(data: bytes, size: int = 1 << 20) -> tuple[Response | None, bytes]:
    """Ask a proxy for a tunnel; return its answer, and what is behind that."""
    client = H11Client("the proxy")
    request = Request("a:443", Headers({"Host": "a:443"}), method="CONNECT")
    assert client.send_request(request) == b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n"
    response = None
    for start in range(0, len(data), size):
        if response is not None:
            return response, client.trailing_data() + data[start:]
        response = client.receive_data(data[start : start + size])
    return response, client.trailing_data()


@in_pieces
@pytest.mark.parametrize(
    "fields", [b"", b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"]
)
def test_success_of_connect_has_no_body(fields: bytes, size: int) -> None:
    """RFC 9110 §9.3.6: what follows its head is the tunnel's."""
    data = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 299 Fine\r\n" + fields + b"\r\n" + TAIL
    response, tail = proxy_answers(data, size)
    assert response is not None
    assert (response.status_code, response.body, tail) == (299, b"", TAIL)


@in_pieces
@pytest.mark.parametrize(("data", "body"), REFUSALS[:3])
def test_refusal_of_connect_has_its_whole_body(data: bytes, body: bytes, size: int) -> None:
    response, _ = proxy_answers(data, size)
    assert response is not None
    assert (response.status_code, response.body) == (403, body)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "the proxy's answer is not a valid response"),
        (b"SSH-2.0\r\n\r\n", "the proxy's answer is not a valid response"),
        (
            b"HTTP/1.1 200 Fine\r\nX: " + b"x" * MAX_HEAD + b"\r\n\r\n",
            f"the proxy's answer has more than {MAX_HEAD} bytes",
        ),
    ],
)
def test_what_is_no_answer_to_connect_is_an_error(data: bytes, message: str) -> None:
    with pytest.raises(InvalidHandshake, match=message):
        proxy_answers(data)


@in_pieces
@pytest.mark.parametrize(("data", "body"), REFUSALS)
def test_refusal_has_its_whole_body(data: bytes, body: bytes, size: int) -> None:
    response = client_receives(data, size)
    assert response is not None
    assert response.status_code in (204, 403)
    assert response.body == body


def test_refusal_without_a_length_ends_with_the_connection() -> None:
    # RFC 9112 §6.3, 8
    client = new_client()
    assert client.receive_data(b"HTTP/1.0 503 Busy\r\n\r\nbo") is None
    assert client.receive_data(b"dy") is None
    response = client.receive_data(b"")
    assert response == Response(503, Headers(), b"body", "Busy")


@in_reads
def test_body_of_a_refusal_is_cut_at_64_kib(size: int) -> None:
    client = new_client()
    client.receive_data(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 1000000\r\n\r\n")
    response = None
    sent = 0
    while response is None:
        response = client.receive_data(b"a" * size)
        sent += size
    assert len(response.body) == MAX_BODY
    assert sent == max(MAX_BODY, size)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"garbage\r\n\r\n", id="RFC 9112 §4"),
        pytest.param(b"\x15\x03\x03\x00\x02\x02\x46\r\n\r\n", id="TLS"),
        pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", id="SSH"),
        pytest.param(b"HTTP/1.1 1 OK\r\n\r\n", id="RFC 9112 §4 status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n", id="RFC 9112 §5.1"),
    ],
)
@in_pieces
def test_what_is_no_response_is_an_error(data: bytes, size: int) -> None:
    with pytest.raises(InvalidHandshake, match=r"^the server's answer is not a valid response: "):
        client_receives(data, size)


def test_end_before_an_answer_is_an_error() -> None:
    with pytest.raises(
        InvalidHandshake, match=r"^the server closed the connection before it answered$"
    ):
        new_client().receive_data(b"")


def test_end_after_an_interim_response_is_an_error() -> None:
    client = new_client()
    client.receive_data(b"HTTP/1.1 100 Continue\r\n\r\n")
    with pytest.raises(
        InvalidHandshake, match=r"^the server closed the connection before it answered$"
    ):
        client.receive_data(b"")


def test_end_within_the_head_of_an_answer_is_an_error() -> None:
    client = new_client()
    assert client.receive_data(RESPONSE_BYTES[:-1]) is None
    with pytest.raises(InvalidHandshake, match=r"not a valid response: peer .*closed connection"):
        client.receive_data(b"")


@in_pieces
def test_body_that_goes_wrong_is_one_that_was_cut(size: int) -> None:
    # RFC 9112 §7.1
    client = new_client()
    head = b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n"
    data = head + b"2\r\nbo\r\nx\r\n"
    answers = [client.receive_data(data[at : at + size]) for at in range(0, len(data), size)]
    response = answers[-1]
    assert response is not None
    assert (response.status_code, response.body, client.is_cut) == (403, b"bo", False)


def test_end_within_a_body_is_told() -> None:
    client = new_client()
    data = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nbo"
    assert client.receive_data(data) is None
    assert client.refusal is not None
    assert (client.refusal.body, client.is_cut) == (b"bo", False)
    response = client.receive_data(b"")
    assert response is client.refusal
    assert client.is_cut


@in_reads
@pytest.mark.parametrize("status", [b"101 Switching Protocols", b"403 Forbidden"])
def test_head_of_an_answer_over_16_kib_is_an_error(status: bytes, size: int) -> None:
    with pytest.raises(InvalidHandshake, match=r"more than 16384 bytes|too long"):
        client_receives(padded(b"HTTP/1.1 " + status + b"\r\n", MAX_HEAD + 1), size)


@in_reads
def test_interim_responses_without_end_are_an_error(size: int) -> None:
    with pytest.raises(InvalidHandshake, match="more than 16384 bytes"):
        client_receives(b"HTTP/1.1 102 Processing\r\n\r\n" * 1000 + RESPONSE_BYTES, size)


def test_body_of_a_refusal_does_not_count_as_its_head() -> None:
    response = client_receives(
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 20000\r\n\r\n" + bytes(20000)
    )
    assert response is not None
    assert len(response.body) == 20000


@pytest.mark.parametrize("body", [b"", b"body"])
def test_content_length_is_added_to_a_refusal(body: bytes) -> None:
    data = answered(Response(403, Headers({"Connection": "close"}), body))
    assert data == (
        b"HTTP/1.1 403 Forbidden\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
        + body
    )


def test_content_length_that_is_given_is_not_repeated() -> None:
    data = answered(Response(403, Headers({"content-length": "4"}), b"body"))
    assert data.lower().count(b"content-length") == 1


def test_chunks_are_sent_where_they_are_asked_for() -> None:
    data = answered(Response(403, Headers({"Transfer-Encoding": "chunked"}), b"body"))
    assert data.endswith(b"\r\n\r\n4\r\nbody\r\n0\r\n\r\n")
    assert b"Content-Length" not in data


def test_answer_to_head_has_the_length_of_the_body_but_no_body() -> None:
    # RFC 9110 §9.3.2
    response = Response(405, Headers({"Connection": "close"}), b"body")
    data = answered(response, b"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n")
    assert data.endswith(b"Content-Length: 4\r\n\r\n")


@pytest.mark.parametrize("status_code", [204, 304])
def test_status_without_a_body_is_sent_without_it(status_code: int) -> None:
    # RFC 9110 §15.3.5, §15.4.5
    data = answered(Response(status_code, Headers({"Connection": "close"}), b"body"))
    assert data.endswith(b"Connection: close\r\n\r\n")


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(Response(400, reason_phrase="a\r\nX: b"), id="reason phrase, CR LF"),
        pytest.param(Response(400, reason_phrase="a\0"), id="reason phrase, NUL"),
        pytest.param(Response(400, reason_phrase="\u0100"), id="reason phrase, not ISO-8859-1"),
        pytest.param(Response(20), id="status below 100"),
        pytest.param(Response(100), id="status that is no answer"),
        pytest.param(Response(1000), id="status above 999"),
        pytest.param(Response(101), id="upgrade that was not asked for"),
        pytest.param(Response(400, Headers({"Content-Length": "3"}), b"body"), id="length short"),
        pytest.param(Response(400, Headers({"Content-Length": "5"}), b"body"), id="length long"),
        pytest.param(Response(400, Headers({"Content-Length": "x"}), b"body"), id="no length"),
        pytest.param(Response(400, Headers({"Transfer-Encoding": "gzip"})), id="encoding"),
    ],
)
def test_response_that_cannot_be_sent_is_rejected(response: Response) -> None:
    with pytest.raises(LocalProtocolError, match="response"):
        answered(response)


@pytest.mark.parametrize(
    ("method", "bad", "body"),
    [
        (b"GET", Response(500, Headers({"Content-Length": "3"}), b"body"), b"oops"),
        (b"GET", Response(101), b"oops"),
        (b"CONNECT", Response(200, body=b"body"), b"oops"),
        (b"HEAD", Response(500, Headers({"Transfer-Encoding": "gzip"})), b""),
    ],
)
def test_another_response_may_follow_one_that_cannot_be_sent(
    method: bytes, bad: Response, body: bytes
) -> None:
    server = ServerHandshake()
    assert server.receive_data(GET.replace(b"GET", method)) is not None
    for _ in range(2):
        with pytest.raises(LocalProtocolError, match="response cannot be sent"):
            server.send_response(bad)
        bad = Response(20)
    assert server.send_response(Response(500, body=b"oops")) == (
        b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\n\r\n" + body
    )


@pytest.mark.parametrize("status_code", [204, 304])
def test_content_length_is_left_out_where_there_is_no_body(status_code: int) -> None:
    # RFC 9110 §8.6
    response = Response(status_code, Headers({"content-length": "0"}))
    assert b"content-length" not in answered(response).lower()


def test_reason_phrase_is_sent_in_iso_8859_1() -> None:
    # RFC 9112 §4: obs-text
    assert answered(Response(400, reason_phrase="käfer")).startswith(b"HTTP/1.1 400 k\xe4fer\r\n")


def test_client_reads_what_the_server_sends() -> None:
    client, server = ClientHandshake(), ServerHandshake()
    assert server.receive_data(client.send_request(REQUEST)) == REQUEST
    assert client.receive_data(server.send_response(RESPONSE)) == RESPONSE


# Both ways


def test_what_is_no_part_of_a_line_is_refused_either_way() -> None:
    server = ServerHandshake()
    assert server.receive_data(REQUEST_BYTES) == REQUEST
    with pytest.raises(LocalProtocolError, match="control characters"):
        server.send_response(Response(101, RESPONSE.headers, reason_phrase="a\r\nb: c"))
    with pytest.raises(LocalProtocolError, match="cannot be sent"):
        ClientHandshake().send_request(Request("/ HTTP/1.1\r\na: b", REQUEST.headers))


@pytest.mark.parametrize("request_bytes", [b"", REQUEST_BYTES], ids=["before it came", "plain"])
def test_a_request_of_any_kind_can_be_refused(request_bytes: bytes) -> None:
    server = ServerHandshake()
    if request_bytes:
        assert server.receive_data(request_bytes) == REQUEST
    assert server.send_response(Response(503, body=b"later")) == (
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nlater"
    )


def test_a_plain_request_may_have_an_answer_that_is_not() -> None:
    server = ServerHandshake()
    assert server.receive_data(REQUEST_BYTES + TAIL) == REQUEST
    response = Response(101, Headers({"Upgrade": "websocket", "A": "caf\xe9"}))
    assert server.send_response(response) == (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nA: caf\xe9\r\n\r\n"
    )
    assert server.trailing_data() == TAIL
