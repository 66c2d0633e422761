"""Header fields: a mapping without regard to case that keeps order and repetition."""

from __future__ import annotations

import pytest

from anyws import Headers, HeadersLike, LocalProtocolError, Request, Response

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


def test_messages_do_not_share_their_headers() -> None:
    assert Request("/").headers is not Request("/").headers
    assert Response(200).headers is not Response(200).headers
