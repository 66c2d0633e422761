"""Which web pages may connect (RFC 6455 §10.2, R-C3)."""

from __future__ import annotations

import re
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import Headers, Origins, Request
from anyws._core.origins import OriginPolicy

from ..timing import HOSTILE_SIZE, is_linear

#: Every kind of rule, and whose own host "same-host" is.
EVERY_RULE: Origins = [
    "https://example.com",
    "same-host",
    "null",
    re.compile(r"https://[a-z]+\.example\.net"),
]


def request(*origins: str, host: str = "example.com") -> Request:
    """Return a request with these values of Origin, as an HTTP parser passes them on."""
    fields = [(b"Host", host.encode())]
    fields += [(b"Origin", origin.encode("iso-8859-1")) for origin in origins]
    return Request("/", Headers.from_wire(fields))


def allows(origins: Origins, origin: str, host: str = "example.com") -> bool:
    return OriginPolicy(origins).refusal(request(origin, host=host)) is None


def test_proxy_that_ends_tls_makes_no_difference() -> None:
    # The page is on https, the request reaches the server without TLS, and Host has no port.
    assert allows("same-host", "https://example.com", "example.com")


SAME_HOST = [
    ("https://example.com", "example.com"),
    ("http://example.com", "example.com"),
    ("https://EXAMPLE.com", "example.COM"),
    ("HTTPS://example.com", "example.com"),
    ("http://example.com:8080", "example.com:8080"),
    # The port of the scheme, on either side or none: a proxy that ends TLS makes no difference.
    ("https://example.com", "example.com:443"),
    ("https://example.com:443", "example.com"),
    ("http://example.com", "example.com:80"),
    ("http://example.com", "example.com:"),
    ("ws://example.com", "example.com:80"),
    ("wss://example.com", "example.com:443"),
    ("http://localhost:3000", "localhost:3000"),
    ("http://127.0.0.1:3000", "127.0.0.1:3000"),
    ("http://[::1]:3000", "[::1]:3000"),
    ("http://[0:0::1]", "[::1]"),
    ("https://example.com.", "example.com."),
    ("https://xn--bcher-kva.example", "xn--bcher-kva.example"),
]

OTHER_HOST = [
    # Confusion of one name with the end, or the beginning, of another
    ("https://evil-example.com", "example.com"),
    ("https://evilexample.com", "example.com"),
    ("https://evil.example.com", "example.com"),
    ("https://example.com.evil", "example.com"),
    ("https://example.com", "www.example.com"),
    ("https://example.co", "example.com"),
    ("https://evil.com", "example.com"),
    ("https://example.com.", "example.com"),
    ("https://example.com", "example.com."),
    ("https://evil/example.com", "example.com"),
    ("https://evil?example.com", "example.com"),
    ("https://evil#example.com", "example.com"),
    ("https://evil\\example.com", "example.com"),
    ("https://example.com%00.evil", "example.com"),
    # Ports
    ("http://example.com:8080", "example.com"),
    ("http://example.com", "example.com:8080"),
    ("http://example.com:8080", "example.com:8081"),
    ("https://example.com", "example.com:80"),
    ("http://example.com", "example.com:443"),
    ("https://example.com:0", "example.com"),
    ("https://example.com:65979", "example.com"),  # 443 + 65536
    # Not the origin of a page on the web
    ("null", "example.com"),
    ("null", "null"),
    ("", "example.com"),
    ("", ""),
    ("https://", ""),
    ("file://", ""),
    ("*", "*"),
    ("example.com", "example.com"),
    ("//example.com", "example.com"),
    ("https:example.com", "example.com"),
    ("https:/example.com", "example.com"),
    ("capacitor://localhost", "localhost"),
    ("chrome-extension://example.com", "example.com"),
    # Not an origin
    ("https://example.com/", "example.com"),
    ("https://example.com/path", "example.com"),
    ("https://example.com?", "example.com"),
    ("https://user@example.com", "example.com"),
    ("https://example.com@evil", "example.com"),
    ("https://example.com:443@evil", "example.com"),
    ("https://example.com, https://evil", "example.com"),
    ("https://evil https://example.com", "example.com"),
    ("https://example.com ", "example.com"),
    (" https://example.com", "example.com"),
    ("https://example.com\n", "example.com"),
    ("https://example.com\0", "example.com"),
    ("https://example.com\x0b", "example.com"),
    ("ht\ttps://example.com", "example.com"),
    ("1https://example.com", "example.com"),
    ("https://b\xfccher.example", "xn--bcher-kva.example"),
    # Not a Host
    ("https://example.com", ""),
    ("https://example.com", "user@example.com"),
    ("https://example.com", "example.com/"),
    ("https://example.com", "example.com, example.com"),
]


@pytest.mark.parametrize("policy", ["same-host", ["same-host"]], ids=["alone", "in a list"])
@pytest.mark.parametrize(("origin", "host"), SAME_HOST, ids=ascii)
def test_page_of_the_same_host_is_allowed(policy: Origins, origin: str, host: str) -> None:
    assert allows(policy, origin, host)


@pytest.mark.parametrize("policy", ["same-host", ["same-host"]], ids=["alone", "in a list"])
@pytest.mark.parametrize(("origin", "host"), OTHER_HOST, ids=ascii)
def test_page_of_another_host_is_refused(policy: Origins, origin: str, host: str) -> None:
    assert not allows(policy, origin, host)


@pytest.mark.parametrize("hosts", [(), ("example.com", "example.com")])
def test_request_without_exactly_one_host_has_no_host(hosts: tuple[str, ...]) -> None:
    headers = Headers([("Origin", "https://example.com"), *(("Host", host) for host in hosts)])
    assert OriginPolicy("same-host").refusal(Request("/", headers)) is not None


def is_never_called(origin: str, request: Request) -> bool:
    raise AssertionError(origin)


@pytest.mark.parametrize(
    "origins",
    ["same-host", "*", [], EVERY_RULE, pytest.param(is_never_called, id="function")],
    ids=str,
)
def test_request_without_an_origin_is_allowed(origins: Origins) -> None:
    assert OriginPolicy(origins).refusal(request()) is None


@pytest.mark.parametrize(
    "origins",
    ["same-host", "*", [], EVERY_RULE, pytest.param(is_never_called, id="function")],
    ids=str,
)
def test_request_with_several_origins_is_refused(origins: Origins) -> None:
    refusal = OriginPolicy(origins).refusal(request("https://example.com", "https://example.com"))
    assert refusal == "a request has at most one Origin header, this one has 2"


@pytest.mark.parametrize("origin", ["https://evil", "null", "", "a b", "https://example.com/"])
def test_star_allows_any_page(origin: str) -> None:
    assert allows("*", origin)


LISTED = [
    ("https://example.com", "https://example.com"),
    ("https://example.com", "https://example.com:443"),
    ("https://example.com:443", "https://example.com"),
    ("HTTPS://Example.COM", "https://example.com"),
    ("https://example.com", "https://EXAMPLE.com"),
    ("http://example.com:8080", "http://example.com:8080"),
    ("http://[::1]:80", "http://[::1]"),
    ("https://bücher.example", "https://xn--bcher-kva.example"),
    ("https://BÜCHER.example:443", "https://xn--bcher-kva.example"),
    ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
    ("null", "null"),
    ("chrome-extension://abc", "chrome-extension://abc"),
    ("moz-extension://0a1b-2c3d", "moz-extension://0a1b-2c3d"),
    ("capacitor://localhost", "capacitor://localhost"),
    ("app://.", "app://."),
    ("app://a:1", "app://a:1"),
    ("file://", "file://"),
]

NOT_LISTED = [
    ("https://example.com", "http://example.com"),
    ("https://example.com", "https://example.com:80"),
    ("https://example.com", "https://example.com:8443"),
    ("https://example.com:8443", "https://example.com"),
    ("https://example.com", "https://example.com."),
    ("https://example.com", "https://evil-example.com"),
    ("https://example.com", "https://evil.example.com"),
    ("https://example.com", "https://example.com.evil"),
    ("https://example.com", "https://example.com/"),
    ("https://example.com", "https://user@example.com"),
    ("https://example.com", "null"),
    ("https://bücher.example", "https://b\xfccher.example"),
    ("https://bücher.example", "https://bucher.example"),
    ("null", "NULL"),
    ("null", "null "),
    ("null", "http://null"),
    ("chrome-extension://abc", "chrome-extension://abcd"),
    ("chrome-extension://abc", "moz-extension://abc"),
    ("app://a:80", "app://a"),
    ("file://", "file:///"),
    ("file://", "https://"),
]


@pytest.mark.parametrize(("listed", "origin"), LISTED, ids=ascii)
def test_listed_origin_is_allowed(listed: str, origin: str) -> None:
    assert allows(["https://other", listed], origin)
    assert allows((listed,), origin)


@pytest.mark.parametrize(("listed", "origin"), NOT_LISTED, ids=ascii)
def test_origin_that_is_not_listed_is_refused(listed: str, origin: str) -> None:
    assert not allows(["https://other", listed], origin)


def test_own_host_is_not_allowed_unless_listed() -> None:
    assert not allows(["https://other"], "https://example.com", "example.com")
    assert allows(["https://other", "same-host"], "https://example.com", "example.com")


@pytest.mark.parametrize("origin", ["https://example.com", "null", ""])
def test_empty_list_allows_no_page(origin: str) -> None:
    assert not allows([], origin)


PATTERN = re.compile(r"https://([a-z]+\.)?example\.com")


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://example.com", True),
        ("https://www.example.com", True),
        ("https://www.example.com.evil", False),
        ("https://evil/https://example.com", False),
        # As it was sent
        ("https://example.com:443", False),
        ("https://EXAMPLE.com", False),
        ("https://example.com\n", False),
    ],
)
def test_pattern_matches_the_whole_origin_as_it_was_sent(origin: str, expected: bool) -> None:
    assert allows([PATTERN], origin) is expected


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil/.example.com",
        "https://evil?.example.com",
        "https://evil#.example.com",
        "https://www.example.com@evil",
        "https://b\xfccher.example",
        "https://a b",
        "",
    ],
    ids=ascii,
)
def test_pattern_is_not_asked_about_what_is_no_origin(origin: str) -> None:
    assert not allows([re.compile(r".*")], origin)


def test_pattern_may_match_null() -> None:
    assert allows([re.compile(r"null|file://")], "null")
    assert not allows([PATTERN], "null")


def test_function_decides_by_the_origin_as_it_was_sent_and_the_request() -> None:
    asked: list[tuple[str, Request]] = []

    def is_allowed(origin: str, request: Request) -> bool:
        asked.append((origin, request))
        return origin == "null"

    policy = OriginPolicy(is_allowed)
    first, second = request("null"), request("HTTPS://a/ b")
    assert policy.refusal(first) is None
    assert policy.refusal(second) == "the origin 'HTTPS://a/ b' is not allowed"
    assert asked == [("null", first), ("HTTPS://a/ b", second)]


def test_what_a_function_raises_is_raised() -> None:
    with pytest.raises(AssertionError, match=r"^null$"):
        OriginPolicy(is_never_called).refusal(request("null"))


def test_function_that_returns_no_bool_allows_nothing() -> None:
    policy = OriginPolicy(lambda origin, request: re.match("h", origin))  # type: ignore[arg-type, return-value]
    with pytest.raises(TypeError, match=r"returned <re\.Match .*>, expected a bool"):
        policy.refusal(request("https://evil"))


def test_function_cannot_be_async() -> None:
    async def is_allowed(origin: str, request: Request) -> bool:
        return False

    policy = OriginPolicy(is_allowed)  # type: ignore[arg-type]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the coroutine was not awaited
        with pytest.raises(TypeError, match=r"returned <coroutine .*>, expected a bool"):
            policy.refusal(request("https://evil"))


@pytest.mark.parametrize(
    ("origins", "problem"),
    [
        ("https://example.com", "for one origin give a list: ['https://example.com']"),
        ("", 'origins is \'\', as a str it is "same-host" or "*"'),
        ("Same-Host", 'as a str it is "same-host" or "*"'),
        ("null", "for one origin give a list: ['null']"),
        (["*"], 'to allow all, give "*" by itself'),
        (["https://*.example.com"], "for several origins give a compiled pattern"),
        (["https://example.com/"], "a list of origins has 'https://example.com/', expected"),
        (["https://example.com/path"], "without a path"),
        (["https://user@example.com"], "has 'https://user@example.com', expected"),
        (["https://example.com:65536"], "has 'https://example.com:65536', expected"),
        (["https://example.com:é"], "expected"),
        (["example.com"], "has 'example.com', expected"),
        (["//example.com"], "has '//example.com', expected"),
        (["https://"], "has 'https://', expected"),
        (["https://a b"], "has 'https://a b', expected"),
        (["NULL"], "has 'NULL', expected"),
        ([""], "has '', expected"),
        (["https://é..example"], "which is no host name"),
        (["https://bücher.example/"], "which is no host name"),
        (["https://\ud800"], "which is no host name"),
        (["bücher.example"], "expected"),
    ],
    ids=ascii,
)
def test_wrong_value_is_rejected_at_once(origins: Origins, problem: str) -> None:
    with pytest.raises(ValueError, match=re.escape(problem)):
        OriginPolicy(origins)


@pytest.mark.parametrize(
    ("origins", "problem"),
    [
        (None, "origins is None, expected"),
        (True, "origins is True, expected"),
        (PATTERN, "origins is re.compile"),
        ([None], "a list of origins has None, expected"),
        ([b"https://example.com"], "a list of origins has b'https://example.com', expected"),
        (b"https://example.com", "a list of origins has 104, expected"),
        ([re.compile(rb"null")], "a list of origins has re.compile(b'null'), expected"),
        ([["https://example.com"]], "a list of origins has ['https://example.com'], expected"),
    ],
    ids=ascii,
)
def test_wrong_type_is_rejected_at_once(origins: Origins, problem: str) -> None:
    with pytest.raises(TypeError, match=re.escape(problem)):
        OriginPolicy(origins)


@pytest.mark.parametrize(
    ("origin", "shown"),
    [
        ("https://evil", "'https://evil'"),
        ("a\x1b[2J\r\nb", r"'a\x1b[2J\r\nb'"),
        ("\xe9", r"'\xe9'"),
        ("", "''"),
        ("a" * 100, f"'{'a' * 100}'"),
        ("a" * 101, f"'{'a' * 100}...'"),
    ],
    ids=lambda text: ascii(text[:20]),
)
def test_refusal_shows_the_origin_escaped_and_cut(origin: str, shown: str) -> None:
    assert (
        OriginPolicy("same-host").refusal(request(origin)) == f"the origin {shown} is not allowed"
    )


HOSTILE = ["a", ":", "/", "://", "a://", "https://", ".", "%", "%2", "[", "[:", "0", "@", "\\", "-"]


@pytest.mark.parametrize("end", ["", "/", " "])
@pytest.mark.parametrize("start", ["", "a", "https://", "https://a:", "https://["])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_origin_is_refused_in_linear_time(start: str, text: str, end: str) -> None:
    # R-C2
    policy = OriginPolicy(EVERY_RULE)
    hostile = request(start + text * (HOSTILE_SIZE // len(text)) + end)
    assert policy.refusal(hostile) is not None
    assert is_linear(lambda: policy.refusal(hostile))


near_misses = st.one_of(
    st.text(st.characters(max_codepoint=255)),
    st.text(st.sampled_from("htps:/exampl.co@#?%[]\\0 \t\r\n*")),
    st.builds(
        lambda before, between, after: f"{before}https://{between}example.com{after}",
        *[st.text(st.characters(max_codepoint=255), max_size=3)] * 3,
    ),
)


# In any case, and with the port of its scheme or an empty one, it is the same.
SAME = re.compile(
    r"(http|ws)://example\.com(:(0*80)?)?|(https|wss)://example\.com(:(0*443)?)?",
    re.ASCII | re.IGNORECASE,
)


@given(near_misses)
def test_any_other_text_than_the_origin_is_refused(origin: str) -> None:
    refusal = OriginPolicy("same-host").refusal(request(origin))
    assert (refusal is None) == (SAME.fullmatch(origin) is not None)
    assert refusal is None or (refusal.isascii() and refusal.isprintable())


@given(st.text(st.characters(exclude_categories=()), max_size=30))
def test_any_text_in_a_list_stands_for_itself_or_is_rejected(entry: str) -> None:
    try:
        policy = OriginPolicy([entry, "https://example.com"])
    except ValueError:
        return
    if entry.isascii() and entry != "same-host":
        assert policy.refusal(request(entry)) is None
