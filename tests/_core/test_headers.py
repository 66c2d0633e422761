"""Header fields: a mapping without regard to case that keeps order and repetition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import Headers, HeadersLike, LocalProtocolError, Request, Response

from ..timing import HOSTILE_SIZE, is_linear

TOKEN_CHARACTERS = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

BAD_NAMES = ["", " ", "a b", "a:", "a\r\n", "a\0", "é", "(a)", "a,b", "a\x7f"]
# R-C2: nothing that a parser on the way could take for the end of a line, or of a string.
BAD_VALUES = ["a\rb", "a\nb", "a\r\nX: b", "a\0b", "\x0b", "\x0c", "\x1b[2J", "\x7f"]


@pytest.fixture
def headers() -> Headers:
    return Headers([("Host", "a"), ("Cookie", "b=1"), ("X-Trace", "c"), ("cookie", "d=2")])


@pytest.mark.parametrize("name", ["Cookie", "cookie", "COOKIE"])
def test_names_are_compared_without_regard_to_case(headers: Headers, name: str) -> None:
    assert name in headers
    assert headers[name] == "b=1, d=2"
    assert headers.get_all(name) == ["b=1", "d=2"]


def test_absent_name_has_no_value(headers: Headers) -> None:
    assert "Absent" not in headers
    assert headers.get_all("Absent") == []
    assert headers.get("Absent") is None
    with pytest.raises(KeyError, match="Absent"):
        headers["Absent"]


def test_what_is_no_str_is_no_name(headers: Headers) -> None:
    assert headers.__contains__(1) is False


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["Host", "host", "X-Host", "Hos", "Cookie", "A"]),
            st.text(
                st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f")
            ),
        )
    ),
    st.sampled_from(["host", "HOST", "cookie", "a", "hos", "absent", "é"]),
)
def test_values_are_found_in_lines_as_in_fields(fields: list[tuple[str, str]], name: str) -> None:
    expected = Headers(fields)
    found = Headers.from_lines(expected.to_lines())
    assert found.get_all(name) == expected.get_all(name)
    assert found == expected


def test_names_come_once_in_order_and_in_lower_case(headers: Headers) -> None:
    assert list(headers) == ["host", "cookie", "x-trace"]
    assert len(headers) == 3


def test_fields_are_listed_as_they_came(headers: Headers) -> None:
    assert headers.multi_items() == [
        ("Host", "a"),
        ("Cookie", "b=1"),
        ("X-Trace", "c"),
        ("cookie", "d=2"),
    ]


def test_list_of_fields_is_a_copy(headers: Headers) -> None:
    headers.multi_items().clear()
    assert len(headers) == 3


def test_assignment_replaces_all_fields_of_the_name(headers: Headers) -> None:
    headers["COOKIE"] = "e=3"
    assert headers.get_all("Cookie") == ["e=3"]
    assert len(headers) == 3


def test_assignment_of_a_new_name_adds_it(headers: Headers) -> None:
    headers["New"] = "value"
    assert headers["new"] == "value"


def test_deletion_removes_all_fields_of_the_name(headers: Headers) -> None:
    del headers["cookie"]
    assert headers.multi_items() == [("Host", "a"), ("X-Trace", "c")]


def test_deletion_of_an_absent_name_is_an_error(headers: Headers) -> None:
    with pytest.raises(KeyError, match="Absent"):
        del headers["Absent"]


def test_discard_says_whether_there_was_anything(headers: Headers) -> None:
    assert headers.discard("cookie")
    assert not headers.discard("cookie")


@pytest.mark.parametrize(
    "fields",
    [
        {"A": "1", "B": "2"},
        [("A", "1"), ("B", "2")],
        (pair for pair in (("A", "1"), ("B", "2"))),
        Headers([("A", "1"), ("B", "2")]),
    ],
    ids=["mapping", "list", "iterator", "Headers"],
)
def test_headers_are_built_from(fields: HeadersLike) -> None:
    assert Headers(fields).multi_items() == [("A", "1"), ("B", "2")]


def test_copy_keeps_repeated_fields_and_is_independent(headers: Headers) -> None:
    copy = Headers(headers)
    assert copy == headers
    copy.add("New", "value")
    assert copy != headers


def test_headers_from_the_wire_are_kept_as_they_came() -> None:
    headers = Headers.from_wire([(b"X-Name", b"caf\xe9"), (b"x-name", b"2")])
    assert headers.multi_items() == [("X-Name", "café"), ("x-name", "2")]


LINES = b"A: 1\r\nb:\r\na:  caf\xe9 \r\n"


def test_headers_of_lines_are_what_the_lines_say() -> None:
    # RFC 9112 §5
    headers = Headers.from_lines(LINES)
    assert headers.grouped() == {"a": ["1", "caf\xe9"], "b": [""]}
    assert headers.to_lines() == LINES
    assert headers.multi_items() == [("A", "1"), ("b", ""), ("a", "caf\xe9")]
    assert headers.grouped() == {"a": ["1", "caf\xe9"], "b": [""]}
    assert headers.to_lines() == b"A: 1\r\nb: \r\na: caf\xe9\r\n"


def test_headers_of_lines_can_be_changed() -> None:
    headers = Headers.from_lines(LINES)
    headers["a"] = "2"
    headers.add("C", "3")
    assert headers == Headers([("b", ""), ("a", "2"), ("C", "3")])
    assert headers.to_lines() == b"b: \r\na: 2\r\nC: 3\r\n"


def test_there_may_be_no_lines() -> None:
    assert Headers.from_lines(b"") == Headers()
    assert Headers().to_lines() == b""


def test_equality_takes_order_and_value_but_not_case_of_names_into_account() -> None:
    assert Headers([("A", "1"), ("B", "2")]) == Headers([("a", "1"), ("b", "2")])
    assert Headers([("A", "1"), ("B", "2")]) != Headers([("B", "2"), ("A", "1")])
    assert Headers([("A", "b")]) != Headers([("A", "B")])
    assert Headers({"A": "1"}) != {"A": "1"}


def test_headers_are_not_hashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Headers())


def test_repr_shows_the_fields() -> None:
    assert repr(Headers({"A": "1"})) == "Headers([('A', '1')])"


def test_white_space_around_a_value_is_dropped() -> None:
    # RFC 9110 §5.5
    assert Headers({"A": " \tb c\t "})["A"] == "b c"


@pytest.mark.parametrize("value", ["", "a\tb", '"quoted"', "caf\xe9", "\x80\xff"], ids=ascii)
def test_value_of_visible_characters_tabs_and_iso_8859_1_is_taken(value: str) -> None:
    assert Headers({"A": value})["A"] == value


@pytest.mark.parametrize("name", BAD_NAMES, ids=ascii)
def test_name_that_is_no_token_is_rejected(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="is not a token"):
        Headers({name: "value"})


@pytest.mark.parametrize("value", BAD_VALUES, ids=ascii)
def test_value_with_control_characters_is_rejected(value: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^value of header Name has control characters$"):
        Headers({"Name": value})


@pytest.mark.parametrize("value", ["\u0100", "\u2028", "\ud800"], ids=ascii)
def test_value_outside_iso_8859_1_is_rejected(value: str) -> None:
    with pytest.raises(LocalProtocolError, match="Name has characters outside ISO-8859-1"):
        Headers({"Name": value})


@pytest.mark.parametrize(("name", "value"), [("Cookie", "a\r\nb"), ("Co okie", "a")])
def test_rejected_assignment_changes_nothing(headers: Headers, name: str, value: str) -> None:
    before = headers.multi_items()
    with pytest.raises(LocalProtocolError):
        headers[name] = value
    assert headers.multi_items() == before


def test_rejected_addition_changes_nothing(headers: Headers) -> None:
    before = headers.multi_items()
    with pytest.raises(LocalProtocolError):
        headers.add("Cookie", "a\r\nb")
    assert headers.multi_items() == before


def test_request_is_a_get_over_http_1_1_by_default() -> None:
    request = Request("/path")
    assert (request.method, request.http_version) == ("GET", "1.1")
    assert request.headers == Headers()


@pytest.mark.parametrize(
    ("status_code", "given", "phrase"),
    [
        (101, "", "Switching Protocols"),
        (404, "", "Not Found"),
        (404, "Gone?", "Gone?"),
        (499, "", ""),
    ],
)
def test_response_has_the_usual_reason_phrase_unless_given(
    status_code: int, given: str, phrase: str
) -> None:
    assert Response(status_code, reason_phrase=given).reason_phrase == phrase


# What a request brings


def request(**fields: str | list[str]) -> Request:
    """Return a request with these fields, which HTTP has checked; "_" stands for "-"."""
    return Request(
        "/",
        Headers.from_wire(
            (name.replace("_", "-").encode(), value.encode("iso-8859-1"))
            for name, values in fields.items()
            for value in ([values] if isinstance(values, str) else values)
        ),
    )


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/", "/", {}),
        ("/a/b", "/a/b", {}),
        ("/a?", "/a", {}),
        ("/a?b", "/a", {"b": [""]}),
        ("/a?b=1&c=2&b=3", "/a", {"b": ["1", "3"], "c": ["2"]}),
        ("/a?b=c=d&&=e&f=", "/a", {"b": ["c=d"], "": ["e"], "f": [""]}),
        ("/a?b=1?2/3", "/a", {"b": ["1?2/3"]}),
        ("/a%2Fb?c%3D=d%26+e", "/a%2Fb", {"c=": ["d& e"]}),
        ("/?a=%C3%A9%ff%", "/", {"a": ["\xe9\ufffd%"]}),
        ("//a/b?c=d", "//a/b", {"c": ["d"]}),
        ("/http://a/b", "/http://a/b", {}),
        # RFC 9112 §3.2.2: proxies are asked so, and a server must understand it too.
        ("http://host/a?b=c", "/a", {"b": ["c"]}),
        ("HTTPS://user@host:1/a//b", "/a//b", {}),
        ("http://host", "/", {}),
        ("http://host?a=/b", "/", {"a": ["/b"]}),
        ("ws://[::1]:80/a", "/a", {}),
        # §3.2.3, §3.2.4: they have no path.
        ("host:80", "host:80", {}),
        ("*", "*", {}),
        ("", "/", {}),
    ],
)
def test_target_is_split_into_path_and_query(
    target: str, path: str, query: dict[str, list[str]]
) -> None:
    request = Request(target)
    assert request.path == target
    assert request.path_without_query == path
    assert request.query == query


@pytest.mark.parametrize(
    ("lines", "cookies"),
    [
        ([], {}),
        ([""], {}),
        (["a=1"], {"a": "1"}),
        (["a=1; b=2;c=3 ;\td = 4"], {"a": "1", "b": "2", "c": "3", "d": "4"}),
        (["a=1; b=2", "c=3"], {"a": "1", "b": "2", "c": "3"}),
        # Of two with one name a browser sends the one with the longer path first.
        (["a=1; a=2", "a=3"], {"a": "1"}),
        (["a=1; A=2"], {"a": "1", "A": "2"}),
        (["a="], {"a": ""}),
        (["a=b=c=="], {"a": "b=c=="}),
        (['a="b c"; d=""; e="; f="g'], {"a": "b c", "d": "", "e": '"', "f": '"g'}),
        (["a={b, c}; d=\xe9"], {"a": "{b, c}", "d": "\xe9"}),
        (["; ;a; =b; = ;c=1;"], {"c": "1"}),
        (["__Host-a=1; $Version=1"], {"__Host-a": "1", "$Version": "1"}),
    ],
)
def test_cookies_are_read_leniently(lines: list[str], cookies: dict[str, str]) -> None:
    # RFC 6265 §5.4
    assert request(Cookie=lines).cookies == cookies


TOKEN = "eyJh.eyJz_-.~SflK"


@pytest.mark.parametrize(
    ("value", "token"),
    [
        (f"Bearer {TOKEN}", TOKEN),
        (f"bearer {TOKEN}", TOKEN),
        (f"BEARER   {TOKEN}", TOKEN),
        ("Bearer a+/b==", "a+/b=="),
        ("Bearer", None),
        ("Bearer ", None),
        ("Bearer a b", None),
        ("Bearer a, b", None),
        ("Bearer =a", None),
        ("Bearer a=b", None),
        ('Bearer "a"', None),
        ("Bearer \xe9", None),
        ("Bearer\ta", None),
        ("Bearera", None),
        ("Basic a", None),
        ("a", None),
        ("", None),
    ],
)
def test_token_is_read_from_authorization(value: str, token: str | None) -> None:
    # RFC 6750 §2.1
    asked = request(Authorization=value)
    assert asked.bearer_token() == token
    assert asked._bearer_subprotocol is None


def test_two_tokens_are_none() -> None:
    assert request(Authorization=["Bearer a", "Bearer b"]).bearer_token() is None


@pytest.mark.parametrize(
    ("values", "token", "name"),
    [
        ([f"bearer, {TOKEN}"], TOKEN, "bearer"),
        ([f"Bearer,{TOKEN}"], TOKEN, "Bearer"),
        ([f"chat, bearer, {TOKEN}, superchat"], TOKEN, "bearer"),
        (["chat, bearer", TOKEN], TOKEN, "bearer"),
        (["bearer, a, bearer, b"], "a", "bearer"),
        (["bearer, bearer"], "bearer", "bearer"),
        (["bearer"], None, None),
        (["chat, superchat"], None, None),
        ([f"{TOKEN}, bearer"], None, None),
        (["bearer.a, b"], None, None),
        (["bearer, a!"], None, None),
        (["bearer, \xe9"], None, None),
        (["bearer, a b"], None, None),
        (["bearer, a" + ", b" * 255], None, None),
        ([""], None, None),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_token_is_read_from_the_subprotocols(
    values: list[str], token: str | None, name: str | None
) -> None:
    asked = request(Sec_WebSocket_Protocol=values)
    assert asked.bearer_token() == token
    # What the server may answer with, spelled as it was offered (RFC 6455 §4.1).
    assert asked._bearer_subprotocol == name


def test_token_in_authorization_comes_first() -> None:
    asked = request(Authorization="Bearer a", Sec_WebSocket_Protocol="bearer, b")
    assert asked.bearer_token() == "a"
    assert asked._bearer_subprotocol is None


def test_other_authorization_does_not_hide_a_token_among_the_subprotocols() -> None:
    asked = request(Authorization="Basic YTpi", Sec_WebSocket_Protocol="bearer, b")
    assert asked.bearer_token() == "b"


def test_reading_a_token_changes_nothing_that_can_be_seen() -> None:
    asked = request(Sec_WebSocket_Protocol="bearer, b")
    shown = repr(asked)
    asked.bearer_token()
    assert asked == request(Sec_WebSocket_Protocol="bearer, b")
    assert repr(asked) == shown


HOSTILE = [
    "a",
    "=",
    ";",
    "a=",
    '"',
    'a="',
    " ",
    "; ",
    ",",
    "bearer,",
    "bearer ",
    "&",
    "%",
    "/",
    ":",
]


@pytest.mark.parametrize("start", ["", "bearer ", "bearer,", "a", "a://"])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_request_is_read_in_linear_time(start: str, text: str) -> None:
    # R-C2
    value = start + text * (HOSTILE_SIZE // len(text)) + "\xe9"
    asked = request(Cookie=value, Authorization=value, Sec_WebSocket_Protocol=value)
    asked.path = value

    def read_all() -> None:
        asked.bearer_token()
        assert isinstance(asked.cookies, dict)
        assert isinstance(asked.query, dict)
        assert asked.path_without_query

    assert is_linear(read_all)


@given(st.text(st.characters(max_codepoint=255)))
def test_any_text_can_be_read(text: str) -> None:
    asked = request(Cookie=text, Authorization=text, Sec_WebSocket_Protocol=text)
    asked.path = text
    assert all(name and ";" not in name + value for name, value in asked.cookies.items())
    token = asked.bearer_token()
    assert token is None or token.isascii()
    assert text.startswith(asked.path_without_query) or "://" in text or text[:1] in ("", "?")
    assert all(asked.query.values())


def test_messages_do_not_share_their_headers() -> None:
    assert Request("/").headers is not Request("/").headers
    assert Response(200).headers is not Response(200).headers
