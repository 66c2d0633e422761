"""Which proxy leads to a server: URIs, the environment's variables, the rules of NO_PROXY."""

from __future__ import annotations

import os

import pytest

from anyws import InvalidURI, parse_uri
from anyws._proxy import Proxy, choose_proxy, is_bypassed, is_loopback, parse_proxy


@pytest.mark.parametrize(
    ("uri", "proxy"),
    [
        ("http://proxy.example", Proxy("http", "proxy.example", 80)),
        ("https://proxy.example/", Proxy("https", "proxy.example", 443)),
        ("socks4://proxy.example", Proxy("socks4", "proxy.example", 1080)),
        ("socks4a://proxy.example", Proxy("socks4a", "proxy.example", 1080)),
        ("socks5://proxy.example", Proxy("socks5", "proxy.example", 1080)),
        ("SOCKS5H://Proxy.Example:9", Proxy("socks5h", "proxy.example", 9)),
        ("http://[::1]:3128", Proxy("http", "::1", 3128)),
        ("http://bücher.example:3128", Proxy("http", "xn--bcher-kva.example", 3128)),
        ("http://a:b@proxy.example", Proxy("http", "proxy.example", 80, ("a", "b"))),
        ("http://a%40b:p%3A%2F@proxy.example", Proxy("http", "proxy.example", 80, ("a@b", "p:/"))),
        ("http://a@proxy.example", Proxy("http", "proxy.example", 80, ("a", ""))),
        ("http://ä:ß@proxy.example", Proxy("http", "proxy.example", 80, ("ä", "ß"))),
        ("socks4://a@proxy.example", Proxy("socks4", "proxy.example", 1080, ("a", ""))),
        ("socks5://a:b@proxy.example", Proxy("socks5", "proxy.example", 1080, ("a", "b"))),
    ],
)
def test_a_proxy_has_the_parts_of_its_uri(uri: str, proxy: Proxy) -> None:
    """R-B8"""
    assert parse_proxy(uri) == proxy


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        (
            "ftp://hidden:secret@proxy.example",
            "'ftp://.*has no scheme of a proxy, allowed are http",
        ),
        ("socks://proxy.example", "no scheme of a proxy"),
        ("proxy.example:3128", "no scheme of a proxy"),
        ("hidden:secret@proxy.example:3128", "no scheme of a proxy"),
        ("http:proxy.example", "no scheme of a proxy"),
        ("", "no scheme of a proxy"),
        ("http://", "no host"),
        ("http://hidden:secret@", "no host"),
        ("http://proxy.example:0", "port 0"),
        ("http://hidden:secret@proxy.example:x", "a host or a port that is not valid"),
        ("http://hidden:secret@[::1", "a host or a port that is not valid"),
        ("http://xn--\udcff.example", "a host or a port that is not valid"),
        ("http://hidden:secret@proxy.example/path", "more than a host and a port"),
        ("http://proxy.example?query", "more than a host and a port"),
        ("http://proxy.example#fragment", "more than a host and a port"),
        ("http://hidden: secret@proxy.example", "spaces or control characters"),
        ("http://:secret@proxy.example", "without a user name"),
        ("http://hid%3Aden:secret@proxy.example", "a user name with a colon"),
        ("http://hidden:sec%0Aret@proxy.example", "control characters in it or in the password"),
        ("socks4://hidden:secret@proxy.example", "SOCKS4 does not know"),
        ("socks4a://hïdden@proxy.example", "not ASCII"),
        ("socks5://hidden@proxy.example", "1 to 255 ASCII characters"),
        ("socks5h://hidden:sëcret@proxy.example", "1 to 255 ASCII characters"),
        (f"socks5h://hidden:{'secret' * 43}@proxy.example", "1 to 255 ASCII characters"),
    ],
)
def test_a_uri_that_is_no_proxys_is_refused_without_its_secrets(uri: str, message: str) -> None:
    """R-B8"""
    with pytest.raises(InvalidURI, match=message) as caught:
        parse_proxy(uri)
    assert "secret" not in str(caught.value)
    assert "hidden" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "uri", ["http://hidden:secret@proxy.example", "socks5://hidden:secret@[2001:db8::1]:9"]
)
def test_a_proxy_is_shown_without_its_secrets(uri: str) -> None:
    """R-B8"""
    proxy = parse_proxy(uri)
    assert str(proxy) in ("http://proxy.example:80", "socks5://[2001:db8::1]:9")
    for text in (str(proxy), repr(proxy)):
        assert "hidden" not in text
        assert "secret" not in text


# The environment


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Take out of the environment whatever names a proxy."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.delenv("REQUEST_METHOD", raising=False)
    return monkeypatch


@pytest.mark.parametrize(
    ("variables", "uri", "proxy"),
    [
        pytest.param({}, "ws://example.org", None, id="nothing"),
        pytest.param({"http_proxy": "http://p:1"}, "ws://example.org", "http://p:1", id="ws"),
        pytest.param({"https_proxy": "http://p:1"}, "ws://example.org", None, id="ws-not-https"),
        pytest.param({"https_proxy": "http://p:1"}, "wss://example.org", "http://p:1", id="wss"),
        pytest.param({"http_proxy": "http://p:1"}, "wss://example.org", None, id="wss-not-http"),
        pytest.param({"HTTPS_PROXY": "http://p:1"}, "wss://example.org", "http://p:1", id="upper"),
        pytest.param(
            {"HTTP_PROXY": "http://p:1", "http_proxy": "http://p:2"},
            "ws://example.org",
            "http://p:2",
            id="lower-before-upper",
        ),
        pytest.param(
            {"all_proxy": "socks5://p:1"}, "wss://example.org", "socks5://p:1", id="wss-all"
        ),
        pytest.param({"ALL_PROXY": "socks5://p:1"}, "ws://a.b", "socks5://p:1", id="ws-all"),
        pytest.param(
            {"all_proxy": "http://p:1", "http_proxy": "http://p:2"},
            "ws://example.org",
            "http://p:2",
            id="scheme-before-all",
        ),
        pytest.param(
            {"http_proxy": "http://p:1", "ws_proxy": "http://p:2"},
            "ws://example.org",
            "http://p:2",
            id="ws-before-http",
        ),
        pytest.param(
            {"https_proxy": "http://p:1", "wss_proxy": "https://p:2"},
            "wss://example.org",
            "https://p:2",
            id="wss-before-https",
        ),
        pytest.param({"http_proxy": "p:1"}, "ws://example.org", "http://p:1", id="no-scheme"),
        pytest.param({"http_proxy": ""}, "ws://example.org", None, id="empty"),
        pytest.param(
            {"HTTP_PROXY": "http://p:1", "http_proxy": ""},
            "ws://example.org",
            None,
            id="turned-off",
        ),
        pytest.param(
            {"HTTP_PROXY": "http://p:1", "REQUEST_METHOD": "GET"},
            "ws://example.org",
            None,
            id="header-of-a-cgi-request",
        ),
        pytest.param(
            {"http_proxy": "http://p:1", "no_proxy": "example.org"},
            "ws://www.example.org",
            None,
            id="no_proxy",
        ),
        pytest.param(
            {"http_proxy": "http://p:1", "NO_PROXY": "example.org:81"},
            "ws://example.org:80",
            "http://p:1",
            id="no_proxy-of-another-port",
        ),
        pytest.param({"all_proxy": "http://p:1"}, "ws://localhost", None, id="localhost"),
        pytest.param({"all_proxy": "http://p:1"}, "wss://127.8.9.1", None, id="loopback"),
        pytest.param({"all_proxy": "http://p:1"}, "ws://[::1]:8000", None, id="loopback-IPv6"),
    ],
)
def test_the_environment_names_a_proxy(
    environment: pytest.MonkeyPatch, variables: dict[str, str], uri: str, proxy: str | None
) -> None:
    """R-B8"""
    for name, value in variables.items():
        environment.setenv(name, value)
    found = choose_proxy("env", parse_uri(uri))
    assert found == (None if proxy is None else parse_proxy(proxy))


def test_the_environment_is_not_looked_at_unasked(environment: pytest.MonkeyPatch) -> None:
    """R-B8"""
    environment.setenv("all_proxy", "http://proxy.example")
    assert choose_proxy(None, parse_uri("ws://example.org")) is None
    assert choose_proxy("http://other.example", parse_uri("ws://localhost")) == Proxy(
        "http", "other.example", 80
    )


def test_what_is_wrong_in_the_environment_is_named_without_its_secrets(
    environment: pytest.MonkeyPatch,
) -> None:
    environment.setenv("all_proxy", "hidden:secret@proxy.example:none")
    with pytest.raises(InvalidURI, match=r"'http://\*\*\*@proxy\.example:none'") as caught:
        choose_proxy("env", parse_uri("ws://example.org"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost.", "a.localhost", "127.0.0.1", "127.1.2.3", "::1"]
)
def test_this_machine_is_known(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "nolocalhost", "128.0.0.1", "::2", "1.org"])
def test_other_machines_are_not_this_one(host: str) -> None:
    assert not is_loopback(host)


def test_a_loopback_address_of_ipv4_may_be_written_as_ipv6() -> None:
    assert is_loopback("::ffff:127.0.0.1")


@pytest.mark.parametrize(
    ("no_proxy", "host", "bypassed"),
    [
        ("*", "example.org", True),
        ("example.org", "example.org", True),
        ("example.org", "EXAMPLE.org.", True),
        ("Example.ORG.", "example.org", True),
        ("example.org", "www.example.org", True),
        ("example.org", "badexample.org", False),
        ("example.org", "example.org.evil", False),
        (".example.org", "www.example.org", True),
        (".example.org", "example.org", True),
        ("*.example.org", "www.example.org", True),
        ("www.example.org", "example.org", False),
        ("a.example, example.org", "example.org", True),
        ("a.example example.org", "example.org", True),
        ("", "example.org", False),
        (",,.,", "example.org", False),
        ("example.org:8000", "www.example.org", True),
        ("example.org:443", "example.org", False),
        ("example.org:08000", "example.org", True),
        ("192.0.2.1", "192.0.2.1", True),
        ("192.0.2.1:8000", "192.0.2.1", True),
        ("192.0.2.1:80", "192.0.2.1", False),
        ("2.1", "192.0.2.1", False),
        ("192.0.2.0/24", "192.0.2.77", True),
        ("192.0.2.5/24", "192.0.2.77", True),
        ("192.0.2.0/24", "192.0.3.1", False),
        ("192.0.2.0/240", "192.0.2.1", False),
        ("192.0.2.0/24", "example.org", False),
        ("192.0.2.0/24", "2001:db8::1", False),
        ("2001:db8::/32", "2001:db8::1", True),
        ("2001:DB8:0::1", "2001:db8::1", True),
        ("[2001:db8::1]", "2001:db8::1", True),
        ("[2001:db8::1]:8000", "2001:db8::1", True),
        ("[2001:db8::1]:80", "2001:db8::1", False),
        ("2001:db8::2", "2001:db8::1", False),
        ("192.0.2.1", "::ffff:192.0.2.1", True),
    ],
)
def test_no_proxy_names_hosts(no_proxy: str, host: str, bypassed: bool) -> None:
    """R-B8; the port is 8000."""
    assert is_bypassed(host, 8000, no_proxy) == bypassed


def test_a_port_in_no_proxy_may_be_of_any_length() -> None:
    assert not is_bypassed("example.org", 80, "example.org:" + "9" * 10_000)
