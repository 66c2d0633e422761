"""The cookies of a client (RFC 6265), without a connection."""

from __future__ import annotations

import subprocess
import sys
from collections import UserDict
from collections.abc import Iterator, MutableMapping
from http.cookiejar import Cookie, CookieJar, DefaultCookiePolicy

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import Headers, LocalProtocolError, Request, Response, parse_uri
from anyws._cookies import CookieSource

from .timing import HOSTILE_SIZE, is_linear

URI = parse_uri("wss://example.org/chat/room")
PLAIN = parse_uri("ws://example.org/chat/room")


def response(*values: str, status_code: int = 101) -> Response:
    """Return a response with these values of Set-Cookie."""
    return Response(status_code, Headers([("Set-Cookie", value) for value in values]))


def jar_of(*values: str, uri: str = "wss://example.org/chat/room") -> CookieJar:
    """Return a jar with what a server at `uri` set."""
    jar = CookieJar()
    parsed = parse_uri(uri)
    CookieSource(jar, parsed).take(parsed, response(*values))
    return jar


def sent(jar: CookieJar, uri: str) -> str | None:
    """Return what a jar sends to `uri`."""
    parsed = parse_uri(uri)
    return CookieSource(jar, parsed).header_for(parsed)


# A mapping


@pytest.mark.parametrize("cookies", [None, {}, UserDict()], ids=["None", "dict", "mapping"])
def test_without_cookies_there_is_no_header(cookies: dict[str, str] | None) -> None:
    source = CookieSource(cookies, URI)
    assert source.header_for(URI) is None
    source.take(URI, response("a=b"))
    assert source.header_for(URI) is None


def test_values_of_a_mapping_are_one_header() -> None:
    # RFC 6265 §4.2.1, §5.4
    source = CookieSource({"session": "abc=", "b": "", "c": '"quoted"'}, URI)
    assert source.header_for(URI) == 'session=abc=; b=; c="quoted"'
    assert source.header_for(parse_uri("wss://EXAMPLE.org:443/")) == source.header_for(URI)


def test_mapping_is_copied_and_never_changed() -> None:
    cookies = {"a": "b"}
    source = CookieSource(cookies, URI)
    source.take(URI, response("c=d"))
    assert cookies == {"a": "b"}
    cookies["e"] = "f"
    assert source.header_for(URI) == "a=b"


@pytest.mark.parametrize(
    "uri",
    [
        "ws://example.org/chat/room",
        "wss://example.org:444/chat/room",
        "wss://sub.example.org/",
        "wss://org/",
    ],
)
def test_mapping_is_for_one_origin(uri: str) -> None:
    assert CookieSource({"a": "b"}, URI).header_for(parse_uri(uri)) is None


ALLOWED = (
    "!#$%&'()*+-./:<=>?@[]^_`{|}~"
    + "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
)


def is_value(value: str) -> bool:
    try:
        CookieSource({"a": value}, URI)
    except LocalProtocolError:
        return False
    return True


def test_a_value_has_the_characters_that_the_rfc_allows() -> None:
    # RFC 6265 §4.1.1
    assert {chr(code) for code in range(0x180) if is_value(chr(code))} == set(ALLOWED)
    assert {chr(code) for code in range(0x180) if is_value(f'"{chr(code)}"')} == set(ALLOWED)


@pytest.mark.parametrize(
    "value",
    ['secret"', '"secret', 'a"secret"', "secret b", "secret;b", "secret\r\nb: c", "secret\n"],
    ids=ascii,
)
def test_value_that_is_not_allowed_is_rejected_and_not_shown(value: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^the value of cookie name has cha") as caught:
        CookieSource({"ok": "b", "name": value}, URI)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "a b", "a=", "a;", "a\n", "é", '"a"', "a,b"], ids=ascii)
def test_name_that_is_no_token_is_rejected(name: str) -> None:
    with pytest.raises(LocalProtocolError, match=r"^cookie name .* is not a token"):
        CookieSource({name: "b"}, URI)


@given(st.dictionaries(st.text("abc!#_~", min_size=1, max_size=3), st.text(ALLOWED, max_size=9)))
def test_server_reads_what_a_client_sends(cookies: dict[str, str]) -> None:
    value = CookieSource(cookies, URI).header_for(URI)
    headers = Headers() if value is None else Headers({"Cookie": value})
    assert Request("/", headers).cookies == cookies


@pytest.mark.parametrize("cookies", ["a=b", [("a", "b")], b"a=b", 1])
def test_something_else_is_rejected(cookies: object) -> None:
    message = rf"^cookies is {type(cookies).__name__}, expected a mapping or an http.cookiejar.Cook"
    with pytest.raises(TypeError, match=message):
        CookieSource(cookies, URI)  # type: ignore[arg-type]


# A jar


def test_jar_keeps_what_a_server_sets_and_sends_it_again() -> None:
    jar = CookieJar()
    source = CookieSource(jar, URI)
    assert source.header_for(URI) is None
    source.take(URI, response("session=abc; HttpOnly", "b=c, d"))
    assert {(cookie.name, cookie.value) for cookie in jar} == {("session", "abc"), ("b", "c, d")}
    assert source.header_for(URI) == "session=abc; b=c, d"
    source.take(URI, response("session=new"))
    assert source.header_for(URI) == "session=new; b=c, d"


@pytest.mark.parametrize("status_code", [101, 302, 401, 503])
def test_cookies_of_any_response_are_kept(status_code: int) -> None:
    # RFC 6265 §3
    jar = CookieJar()
    CookieSource(jar, URI).take(URI, response("a=b", status_code=status_code))
    assert sent(jar, "wss://example.org/chat/") == "a=b"


def test_response_without_cookies_changes_nothing() -> None:
    jar = jar_of("a=b")
    CookieSource(jar, URI).take(URI, Response(101, Headers({"Cookie": "c=d"})))
    assert [cookie.name for cookie in jar] == ["a"]


def test_each_field_is_a_cookie_of_its_own() -> None:
    # RFC 6265 §3: a date has a comma.
    expires = "expires=Fri, 31-Dec-2099 23:59:59 GMT"
    jar = jar_of(f"a=1; {expires}; path=/", f"b=2; {expires}; path=/")
    assert sent(jar, "wss://example.org/") == "a=1; b=2"


@pytest.mark.parametrize(
    ("set_cookie", "uri", "expected"),
    [
        # path
        ("a=b", "wss://example.org/chat/other", "a=b"),
        ("a=b", "wss://example.org/other", None),
        ("a=b; Path=/", "wss://example.org/other?query", "a=b"),
        ("a=b; Path=/chat/room", "wss://example.org/chat/", None),
        # domain
        ("a=b; Domain=example.org", "wss://sub.example.org/chat/", "a=b"),
        ("a=b; Domain=example.org", "wss://badexample.org/chat/", None),
        ("a=b; Domain=example.com", "wss://example.com/chat/", None),
        ("a=b; Domain=sub.example.org", "wss://sub.example.org/chat/", None),
        ("a=b; Domain=org", "wss://example.org/chat/", None),
        # scheme and port
        ("a=b", "ws://example.org/chat/", "a=b"),
        ("a=b", "wss://example.org:8443/chat/", "a=b"),
        ("a=b; Secure", "ws://example.org/chat/", None),
        ("a=b; Secure", "wss://example.org/chat/", "a=b"),
        # expiry
        ("a=b; Max-Age=1000", "wss://example.org/chat/", "a=b"),
        ("a=b; Max-Age=0", "wss://example.org/chat/", None),
        ("a=b; Expires=Thu, 01 Jan 1970 00:00:01 GMT", "wss://example.org/chat/", None),
        ("a=b; HttpOnly; SameSite=Strict", "wss://example.org/chat/", "a=b"),
    ],
)
def test_jar_decides_what_is_sent_where(set_cookie: str, uri: str, expected: str | None) -> None:
    assert sent(jar_of(set_cookie), uri) == expected


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1:8765", "[::1]:8765", "bücher.de"])
def test_any_host_has_its_cookies(host: str) -> None:
    jar = jar_of("a=b", uri=f"ws://{host}/")
    assert sent(jar, f"ws://{host}/") == "a=b"
    assert sent(jar, "ws://example.org/") is None


def test_cookies_of_a_web_client_are_those_of_ours() -> None:
    jar = CookieJar()
    jar.set_cookie(
        Cookie(
            version=0, name="login", value="abc", port=None, port_specified=False,
            domain="example.org", domain_specified=False, domain_initial_dot=False, path="/",
            path_specified=True, secure=True, expires=None, discard=True, comment=None,
            comment_url=None, rest={},
        )
    )  # fmt: skip
    assert sent(jar, "wss://example.org/chat") == "login=abc"
    assert sent(jar, "ws://example.org/chat") is None


@pytest.mark.parametrize("value", ["a\r\nX: y", "a\0", "☃"], ids=ascii)
def test_cookie_that_cannot_stand_in_a_header_is_rejected(value: str) -> None:
    jar = jar_of("a=b")
    next(iter(jar)).value = value
    with pytest.raises(LocalProtocolError, match=r"^value of header Cookie has "):
        sent(jar, "wss://example.org/chat/")


def test_bytes_that_a_server_sets_come_back_as_they_were() -> None:
    value = "☃".encode().decode("iso-8859-1")
    # Not all of them are characters that a jar keeps: U+0085, for one, is white space.
    assert sent(jar_of(f"a={value}"), "wss://example.org/chat/") == f"a={value}"


def test_policy_of_the_jar_decides() -> None:
    jar = CookieJar(DefaultCookiePolicy(blocked_domains=["example.org"]))
    source = CookieSource(jar, URI)
    source.take(URI, response("a=b"))
    assert len(jar) == 0
    # One that knows the schemes of HTTP and no other.
    jar = CookieJar(DefaultCookiePolicy(secure_protocols=["https"]))
    source = CookieSource(jar, URI)
    source.take(URI, response("a=b; secure"))
    assert source.header_for(URI) == "a=b"
    assert source.header_for(PLAIN) is None
    # One that does not send to hosts below that which set it.
    strict = DefaultCookiePolicy(strict_ns_domain=DefaultCookiePolicy.DomainStrictNonDomain)
    jar = CookieJar(strict)
    CookieSource(jar, URI).take(URI, response("a=b"))
    assert sent(jar, "wss://example.org/chat/") == "a=b"
    assert sent(jar, "wss://sub.example.org/chat/") is None


class MappingJar(CookieJar, MutableMapping[str, str]):  # type: ignore[misc]  # as that of requests
    """A jar that is a mapping too."""

    def __getitem__(self, name: str) -> str:
        return next(
            cookie.value or "" for cookie in CookieJar.__iter__(self) if cookie.name == name
        )

    def __setitem__(self, name: str, value: str) -> None:
        raise NotImplementedError

    def __delitem__(self, name: str) -> None:
        raise NotImplementedError


def test_jar_that_is_a_mapping_too_is_a_jar() -> None:
    jar = MappingJar()
    source = CookieSource(jar, URI)
    source.take(URI, response("a=b; path=/other"))
    assert jar["a"] == "b"
    assert source.header_for(URI) is None


@pytest.mark.parametrize("status_code", [101, 401])
@pytest.mark.parametrize(
    "value", ["", "=", ";", "a", "a=b; Max-Age=x", "a=b; Max-Age=" + "9" * 5000, "a=b; Expires=x"]
)
def test_malformed_cookies_do_no_harm(value: str, status_code: int) -> None:
    jar = CookieJar()
    CookieSource(jar, URI).take(URI, response(value, "ok=1", status_code=status_code))
    assert "ok=1" in (sent(jar, "wss://example.org/chat/") or "")


@pytest.mark.parametrize(
    "attribute",
    [
        "Max-Age",
        "max-age ",
        "\xa0MAX-AGE\x85",
        "Expires=Wed, 21 Ocd 2037 07:28:00 GMT",
        'expires = "Wed, 21 Ocd 2037 07:28:00 GMT"',
        "Expires=Wed, 21 Oct 20370 07:28:00 GMT",
        f"Expires=Wed, 21 Oct {'2' * 30} 07:28:00 GMT",
        f"Expires=Wed, 21 Oct {'2' * 5000} 07:28:00 GMT",
    ],
    ids=lambda attribute: attribute[:30],
)
def test_attribute_that_is_none_is_ignored(attribute: str) -> None:
    # RFC 6265 §5.2; a jar by itself warns of a mistake of its own, and drops all cookies.
    jar = jar_of(f"a=b;{attribute};Path=/chat", f"c=d;{attribute}")
    assert sent(jar, "wss://example.org/chat/room") == "a=b; c=d"
    assert sent(jar, "wss://example.org/") is None


@pytest.mark.parametrize("text", [" ", ";", "a=b;", "=", '"', "\\", "a=b, ", "\t;", "Expires=1 "])
@pytest.mark.parametrize("start", ["", "a=b; ", 'a="', "a=b; Expires=Fri, 1"])
def test_hostile_cookie_is_read_in_linear_time(start: str, text: str) -> None:
    value = start + text * (HOSTILE_SIZE // len(text))
    assert is_linear(lambda: jar_of(value))


def loaded_by(program: str) -> Iterator[str]:
    """Yield the modules that a program loads."""
    program += "\nimport sys; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    )
    yield from done.stdout.split()


def test_module_of_jars_is_loaded_by_those_who_have_one() -> None:
    program = "from anyws import *; from anyws._cookies import CookieSource\n"
    program += "CookieSource({'a': 'b'}, parse_uri('ws://h/'))"
    assert "http.cookiejar" not in loaded_by(program)
