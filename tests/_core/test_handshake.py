"""The rules of the opening handshake (RFC 6455 §4), both sides."""

from __future__ import annotations

import pytest

from anyws import (
    HandshakeRejected,
    Headers,
    InvalidHandshake,
    LocalProtocolError,
    NegotiationError,
    Request,
    Response,
    parse_uri,
)
from anyws._core.handshake import (
    RESERVED_FIELDS,
    accept_request,
    accept_value,
    build_request,
    check_host,
    check_request,
    check_response,
    check_subprotocols,
    check_target,
    make_key,
    refuse,
    select_subprotocol,
)

# §1.3
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

URI = parse_uri("ws://server.example.com/chat?room=1")

VALID_REQUEST = {
    "Host": "server.example.com",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": KEY,
    "Sec-WebSocket-Version": "13",
}
VALID_RESPONSE = {
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Accept": ACCEPT,
}


def changed(valid: dict[str, str], changes: dict[str, str | list[str] | None]) -> Headers:
    """Return valid fields with some replaced, repeated (a list) or left out (None)."""
    headers = Headers(valid)
    for name, value in changes.items():
        headers.discard(name)
        for one in [value] if isinstance(value, str) else value or []:
            headers.add(name, one)
    return headers


def test_key_is_16_bytes_in_base64() -> None:
    # §1.3
    assert make_key(b"the sample nonce") == KEY


def test_accept_value_is_that_of_the_rfc() -> None:
    # §1.3
    assert accept_value(KEY) == ACCEPT


@pytest.mark.parametrize("names", [(), ("chat",), ("chat", "superchat", "v1.chat")])
def test_subprotocols_are_tokens_in_order(names: tuple[str, ...]) -> None:
    assert check_subprotocols(list(names)) == names


@pytest.mark.parametrize("name", ["", "a b", "a,b", "a/b", "é", "a\r\nb"], ids=ascii)
def test_subprotocol_that_is_no_token_is_rejected(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="is not a token"):
        check_subprotocols(["chat", name])


def test_subprotocol_named_twice_is_rejected() -> None:
    with pytest.raises(LocalProtocolError, match="name one twice"):
        check_subprotocols(["chat", "superchat", "chat"])


def test_one_string_is_no_list_of_subprotocols() -> None:
    with pytest.raises(TypeError, match="is a sequence of str, not a str"):
        check_subprotocols("chat")


# The client's request


def test_request_has_what_the_rfc_asks_for_and_no_more() -> None:
    # §4.1, request 1 to 9
    request = build_request(URI, KEY)
    assert (request.method, request.path, request.http_version) == ("GET", "/chat?room=1", "1.1")
    assert request.headers == Headers(VALID_REQUEST)


def test_request_has_what_the_application_gives() -> None:
    # §4.1, request 8, 10 and 12
    request = build_request(
        URI,
        KEY,
        headers=[("Cookie", "a=1"), ("Cookie", "b=2")],
        origin="https://example.com",
        user_agent="anyws",
        subprotocols=("chat", "superchat"),
    )
    assert request.headers.multi_items()[5:] == [
        ("Sec-WebSocket-Protocol", "chat, superchat"),
        ("Origin", "https://example.com"),
        ("User-Agent", "anyws"),
        ("Cookie", "a=1"),
        ("Cookie", "b=2"),
    ]


def test_user_agent_among_the_headers_wins() -> None:
    request = build_request(URI, KEY, headers={"user-agent": "mine"}, user_agent="anyws")
    assert request.headers.get_all("User-Agent") == ["mine"]


def test_application_may_name_another_host() -> None:
    request = build_request(URI, KEY, headers={"host": "other.example"})
    # RFC 9110 §7.2: it should come first.
    assert request.headers.multi_items()[0] == ("Host", "other.example")
    assert request.headers.get_all("Host") == ["other.example"]


def test_origin_cannot_be_given_twice() -> None:
    with pytest.raises(LocalProtocolError, match="Origin is given twice"):
        build_request(URI, KEY, headers={"origin": "null"}, origin="https://example.com")


@pytest.mark.parametrize("name", sorted(RESERVED_FIELDS - {"host"}))
def test_field_of_the_handshake_itself_cannot_be_given(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="is set by the opening handshake itself"):
        build_request(URI, KEY, headers={name.title(): "value"})


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nY: b"}, {"X\r\nY": "b"}, {"X Y": "b"}], ids=["value", "name", "space"]
)
def test_invalid_field_cannot_be_given(headers: dict[str, str]) -> None:
    with pytest.raises(LocalProtocolError):
        build_request(URI, KEY, headers=headers)


@pytest.mark.parametrize("name", ["origin", "user_agent"])
def test_field_with_its_own_argument_cannot_break_the_line(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="control characters"):
        build_request(URI, KEY, **{name: "a\r\nX: b"})  # type: ignore[arg-type]  # one of two


# The client, of the server's response

ACCEPTABLE: list[tuple[str, dict[str, str | list[str] | None]]] = [
    ("plain", {}),
    ("upgrade in any case", {"Upgrade": "WebSocket"}),
    ("connection in any case", {"Connection": "upgrade"}),
    ("connection among others", {"Connection": "keep-alive, Upgrade"}),
    ("connection in two fields", {"Connection": ["keep-alive", "Upgrade"]}),
    ("no extensions", {"Sec-WebSocket-Extensions": ""}),
]

UNACCEPTABLE: list[tuple[str, dict[str, str | list[str] | None], str]] = [
    ("no upgrade", {"Upgrade": None}, "no Upgrade header, expected websocket"),
    ("other upgrade", {"Upgrade": "h2c"}, "Upgrade is 'h2c', expected websocket"),
    ("two upgrades", {"Upgrade": "websocket, h2c"}, "Upgrade is 'websocket, h2c'"),
    ("upgrade twice", {"Upgrade": ["websocket", "websocket"]}, "'websocket, websocket'"),
    ("no connection", {"Connection": None}, "no Connection header, expected Upgrade"),
    ("other connection", {"Connection": "close"}, "Connection is 'close', expected Upgrade"),
    ("no accept", {"Sec-WebSocket-Accept": None}, "no Sec-WebSocket-Accept header"),
    ("other accept", {"Sec-WebSocket-Accept": KEY}, f"expected {ACCEPT}"),
    ("accept in lower case", {"Sec-WebSocket-Accept": ACCEPT.lower()}, f"expected {ACCEPT}"),
    ("accept twice", {"Sec-WebSocket-Accept": [ACCEPT, ACCEPT]}, f"expected {ACCEPT}"),
]


@pytest.mark.parametrize(
    "changes", [row[1] for row in ACCEPTABLE], ids=[f"§4.1 {row[0]}" for row in ACCEPTABLE]
)
def test_response_is_accepted(changes: dict[str, str | list[str] | None]) -> None:
    response = Response(101, changed(VALID_RESPONSE, changes))
    assert check_response(response, KEY, ()) == (None, [])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [row[1:] for row in UNACCEPTABLE],
    ids=[f"§4.1 {row[0]}" for row in UNACCEPTABLE],
)
def test_response_is_refused_with_the_problem(
    changes: dict[str, str | list[str] | None], problem: str
) -> None:
    response = Response(101, changed(VALID_RESPONSE, changes))
    with pytest.raises(InvalidHandshake) as caught:
        check_response(response, KEY, ("chat",))
    assert problem in str(caught.value)
    assert not isinstance(caught.value, NegotiationError)


@pytest.mark.parametrize("status_code", [100, 200, 301, 401, 404, 426, 500, 503])
def test_other_status_is_a_rejection_with_the_response(status_code: int) -> None:
    # §4.1, response 1
    response = Response(status_code, Headers(VALID_RESPONSE), b"body")
    with pytest.raises(HandshakeRejected, match=f"HTTP {status_code}") as caught:
        check_response(response, KEY, ())
    assert caught.value.response is response


@pytest.mark.parametrize("chosen", ["chat", "superchat"])
def test_subprotocol_that_was_offered_is_accepted(chosen: str) -> None:
    headers = Headers({**VALID_RESPONSE, "Sec-WebSocket-Protocol": chosen})
    assert check_response(Response(101, headers), KEY, ("chat", "superchat")) == (chosen, [])


@pytest.mark.parametrize(
    ("chosen", "offered", "problem"),
    [
        (["chat"], (), "chose the subprotocol 'chat', offered: none"),
        (["other"], ("chat", "superchat"), "'other', offered: chat, superchat"),
        (["Chat"], ("chat",), "'Chat', offered: chat"),
        (["ch\xe9t"], ("chat",), "'ch\xe9t', offered: chat"),
        ([""], ("chat",), "'', offered: chat"),
        (["chat, superchat"], ("chat", "superchat"), "'chat, superchat', offered"),
        (["chat", "superchat"], ("chat", "superchat"), "'chat, superchat', offered"),
    ],
)
def test_subprotocol_that_was_not_offered_is_refused(
    chosen: list[str], offered: tuple[str, ...], problem: str
) -> None:
    # §4.1, response 6
    headers = changed(VALID_RESPONSE, {"Sec-WebSocket-Protocol": chosen})
    with pytest.raises(NegotiationError) as caught:
        check_response(Response(101, headers), KEY, offered)
    assert problem in str(caught.value)


def test_extension_that_was_not_offered_is_refused() -> None:
    # §4.1, response 5
    headers = Headers({**VALID_RESPONSE, "Sec-WebSocket-Extensions": "permessage-deflate"})
    with pytest.raises(NegotiationError, match="not offered: permessage-deflate"):
        check_response(Response(101, headers), KEY, ())


# The server, of the client's request

WELCOME: list[tuple[str, dict[str, str | list[str] | None]]] = [
    ("plain", {}),
    ("upgrade in any case", {"Upgrade": "WebSocket"}),
    ("upgrade among others", {"Upgrade": "h2c, websocket"}),
    ("connection in any case", {"Connection": "upgrade"}),
    ("connection among others", {"Connection": "keep-alive, Upgrade"}),
    ("empty body", {"Content-Length": "0"}),
    ("extensions are for the server to choose", {"Sec-WebSocket-Extensions": "x-unknown; a=b"}),
]

UNWELCOME: list[tuple[str, dict[str, str | list[str] | None], int, str]] = [
    ("no upgrade", {"Upgrade": None}, 426, "upgrade to websocket"),
    ("other upgrade", {"Upgrade": "h2c"}, 426, "upgrade to websocket"),
    ("no connection", {"Connection": None}, 426, "upgrade to websocket"),
    ("other connection", {"Connection": "keep-alive"}, 426, "upgrade to websocket"),
    ("no version", {"Sec-WebSocket-Version": None}, 426, "no Sec-WebSocket-Version header"),
    ("old version", {"Sec-WebSocket-Version": "8"}, 426, "is '8', expected 13"),
    ("two versions", {"Sec-WebSocket-Version": ["13", "8"]}, 426, "is '13, 8', expected 13"),
    ("no key", {"Sec-WebSocket-Key": None}, 400, "no Sec-WebSocket-Key header"),
    ("two keys", {"Sec-WebSocket-Key": [KEY, KEY]}, 400, "expected 16 bytes in base64"),
    ("short key", {"Sec-WebSocket-Key": make_key(bytes(15))}, 400, "expected 16 bytes"),
    ("long key", {"Sec-WebSocket-Key": make_key(bytes(17))}, 400, "expected 16 bytes"),
    ("key without padding", {"Sec-WebSocket-Key": KEY[:-1]}, 400, "expected 16 bytes"),
    ("key not base64", {"Sec-WebSocket-Key": "*" * 24}, 400, "expected 16 bytes"),
    ("key not ASCII", {"Sec-WebSocket-Key": "é" * 24}, 400, "expected 16 bytes"),
    ("subprotocol no token", {"Sec-WebSocket-Protocol": "chat, a b"}, 400, "not a token"),
    ("subprotocol not ASCII", {"Sec-WebSocket-Protocol": "é"}, 400, "not a token"),
    ("too many subprotocols", {"Sec-WebSocket-Protocol": "a," * 257}, 400, "257 members in a list"),
    ("too many upgrades", {"Upgrade": "a," * 257}, 400, "257 members in a list"),
    ("bad extensions", {"Sec-WebSocket-Extensions": "a b"}, 400, "cannot be read: comma"),
    ("body", {"Content-Length": "5"}, 400, "has no body"),
    ("body in chunks", {"Transfer-Encoding": "chunked"}, 400, "has no body"),
]


@pytest.mark.parametrize(
    "changes", [row[1] for row in WELCOME], ids=[f"§4.2.1 {row[0]}" for row in WELCOME]
)
def test_request_is_accepted(changes: dict[str, str | list[str] | None]) -> None:
    checked = check_request(Request("/", changed(VALID_REQUEST, changes)))
    assert not isinstance(checked, Response)
    assert checked[:2] == (KEY, [])


@pytest.mark.parametrize(
    ("changes", "status_code", "problem"),
    [row[1:] for row in UNWELCOME],
    ids=[f"§4.2.1 {row[0]}" for row in UNWELCOME],
)
def test_request_is_refused_with_the_problem(
    changes: dict[str, str | list[str] | None], status_code: int, problem: str
) -> None:
    refusal = check_request(Request("/", changed(VALID_REQUEST, changes)))
    assert isinstance(refusal, Response)
    assert refusal.status_code == status_code
    assert problem in refusal.body.decode()


@pytest.mark.parametrize(
    ("hosts", "problem"),
    [
        (["example.com"], None),
        (["example.com:80"], None),
        (["[::1]:8080"], None),
        ([], "exactly one Host header, this one 0"),
        (["a", "b"], "exactly one Host header, this one 2"),
        ([""], "Host is '', expected a host"),
        (["a b"], "Host is 'a b', expected a host"),
        (["user@example.com"], "expected a host"),
        (["example.com/path"], "expected a host"),
        (["example.com:port"], "expected a host"),
        (["a, b"], "expected a host"),
    ],
)
def test_host_of_any_request_is_checked(hosts: list[str], problem: str | None) -> None:
    # RFC 9112 §3.2
    refusal = check_host(Request("/", Headers([("Host", host) for host in hosts])))
    if problem is None:
        assert refusal is None
    else:
        assert refusal is not None
        assert refusal.status_code == 400
        assert problem in refusal.body.decode()


@pytest.mark.parametrize(
    ("method", "target", "is_fine"),
    [
        ("GET", "/", True),
        ("GET", "/chat?room=1", True),
        ("GET", "//", True),
        ("GET", "http://localhost/", True),
        ("GET", "ws://localhost", True),
        ("OPTIONS", "*", True),
        ("CONNECT", "localhost:443", True),
        ("GET", "*", False),
        ("GET", "localhost:443", False),
        ("GET", "chat", False),
        ("GET", "?room=1", False),
        ("GET", "1http://localhost/", False),
        ("GET", "chat/http://localhost/", False),
        ("OPTIONS", "**", False),
        ("POST", "*", False),
    ],
)
def test_target_of_any_request_is_checked(method: str, target: str, is_fine: bool) -> None:
    # RFC 9112 §3.2
    refusal = check_target(Request(target, Headers(VALID_REQUEST), method))
    assert is_fine is (refusal is None)
    assert refusal is None or refusal.status_code == 400


def test_http_1_0_needs_no_host() -> None:
    assert check_host(Request("/", Headers(), http_version="1.0")) is None


@pytest.mark.parametrize("method", ["POST", "HEAD", "PUT", "CONNECT", "get"])
def test_other_method_than_get_is_refused(method: str) -> None:
    # §4.2.1, 1; RFC 9110 §15.5.6
    refusal = check_request(Request("/", Headers(VALID_REQUEST), method))
    assert isinstance(refusal, Response)
    assert (refusal.status_code, refusal.headers["Allow"]) == (405, "GET")


@pytest.mark.parametrize("http_version", ["0.9", "1.0"])
def test_http_before_1_1_cannot_upgrade(http_version: str) -> None:
    # §4.2.1, 1; RFC 9110 §7.8
    refusal = check_request(Request("/", Headers(VALID_REQUEST), "GET", http_version))
    assert isinstance(refusal, Response)
    assert refusal.status_code == 426


@pytest.mark.parametrize("http_version", ["1.1", "2", "2.0"])
def test_http_from_1_1_on_is_accepted(http_version: str) -> None:
    request = Request("/", Headers(VALID_REQUEST), "GET", http_version)
    assert check_request(request) == (KEY, [], [])


def test_request_that_is_no_upgrade_is_told_to_upgrade() -> None:
    # RFC 9110 §15.5.22
    refusal = check_request(Request("/", Headers({"Host": "a"})))
    assert isinstance(refusal, Response)
    assert refusal.status_code == 426
    assert refusal.headers["Upgrade"] == "websocket"
    assert "Upgrade" in refusal.headers["Connection"]


def test_refused_version_is_answered_with_ours() -> None:
    # §4.4
    headers = Headers({**VALID_REQUEST, "Sec-WebSocket-Version": "25"})
    refusal = check_request(Request("/", headers))
    assert isinstance(refusal, Response)
    assert refusal.headers["Sec-WebSocket-Version"] == "13"


@pytest.mark.parametrize(
    ("fields", "offered"),
    [
        (["chat"], ["chat"]),
        (["chat, superchat"], ["chat", "superchat"]),
        (["chat", "superchat,x"], ["chat", "superchat", "x"]),
        (["chat,,", ""], ["chat"]),
    ],
)
def test_offered_subprotocols_are_returned_in_order(fields: list[str], offered: list[str]) -> None:
    # §4.2.1, 7
    headers = changed(VALID_REQUEST, {"Sec-WebSocket-Protocol": fields})
    assert check_request(Request("/", headers)) == (KEY, offered, [])


@pytest.mark.parametrize(
    ("supported", "offered", "chosen"),
    [
        ([], [], None),
        ([], ["chat"], None),
        (["chat"], [], None),
        (["chat"], ["other"], None),
        (["chat"], ["other", "chat"], "chat"),
        (["b", "a"], ["a", "b"], "b"),
    ],
)
def test_first_supported_subprotocol_that_is_offered_is_chosen(
    supported: list[str], offered: list[str], chosen: str | None
) -> None:
    # §4.2.2, 4
    assert select_subprotocol(supported, offered) == chosen


def test_answer_has_what_the_rfc_asks_for_and_no_more() -> None:
    # §4.2.2, 5
    answer = accept_request(KEY, None, (), None)
    assert answer.status_code == 101
    assert answer.headers == Headers(VALID_RESPONSE)


def test_answer_names_the_subprotocol_and_the_server() -> None:
    answer = accept_request(KEY, "chat", (), "anyws")
    assert answer.headers.multi_items()[3:] == [
        ("Sec-WebSocket-Protocol", "chat"),
        ("Server", "anyws"),
    ]


def test_client_accepts_the_answer_to_its_request() -> None:
    request = build_request(URI, KEY, subprotocols=("a", "b"))
    checked = check_request(request)
    assert not isinstance(checked, Response)
    key, offered, _ = checked
    answer = accept_request(key, select_subprotocol(["b"], offered), (), None)
    assert check_response(answer, KEY, ("a", "b")) == ("b", [])


def test_refusal_is_a_line_of_text_after_which_the_connection_closes() -> None:
    refusal = refuse(418, "käfer\n")
    assert refusal.status_code == 418
    assert refusal.body == "käfer\n".encode()
    assert refusal.headers == Headers(
        {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": "7",
            "Connection": "close",
        }
    )
