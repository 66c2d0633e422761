"""A host with a port, as Host and Origin name it (RFC 9110 §7.2, RFC 3986 §3.2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws._core.host import ascii_host, is_host, split_host

from ..timing import HOSTILE_SIZE, is_linear

HOSTS = [
    ("example.com", "example.com", None),
    ("EXAMPLE.com", "example.com", None),
    ("example.com.", "example.com.", None),
    ("localhost", "localhost", None),
    ("a_b", "a_b", None),
    ("xn--bcher-kva.example", "xn--bcher-kva.example", None),
    ("a%20b", "a%20b", None),
    ("%aB", "%ab", None),
    ("-._~!$&'()*+,;=", "-._~!$&'()*+,;=", None),
    ("127.0.0.1:8765", "127.0.0.1", 8765),
    ("[::1]", "[::1]", None),
    ("[::1]:8765", "[::1]", 8765),
    ("[0:0:0:0:0:0:0:1]", "[::1]", None),
    ("[2001:DB8::A]", "[2001:db8::a]", None),
    ("[::ffff:127.0.0.1]", "[::ffff:7f00:1]", None),
    # RFC 3986 §3.2.3: any number of digits, maybe none
    ("a:", "a", None),
    ("a:0", "a", 0),
    ("a:000", "a", 0),
    ("a:080", "a", 80),
    ("a:65535", "a", 65535),
    ("a:" + "0" * 100 + "80", "a", 80),
]

NO_HOSTS = [
    "",
    ":",
    ":80",
    "a b",
    " a",
    "a ",
    "a\tb",
    "a\n",
    "a\0",
    "a\x7f",
    "user@a",
    "user:password@a",
    "a/",
    "a/b",
    "a?",
    "a#",
    "a\\b",
    "http://a",
    "a:b",
    "a:-1",
    "a:+1",
    "a:1:2",
    "a:65536",
    "a:100000",
    "a:" + "9" * 5000,
    "a:\u0663",
    "::1",
    "[]",
    "[:]",
    "[a]",
    "[::1",
    "::1]",
    "[::g]",
    "[::1]a",
    "[::1]80",
    "[127.0.0.1]",
    "[1::2::3]",
    "[::1%eth0]",
    "[fe80::1%25eth0]",
    "[v1.a]",
    "[[::1]]",
    "a%",
    "a%2",
    "a%2g",
    "a%%20",
    '"a"',
    "<a>",
    "b\u00fccher.example",
    "a\xa0",
]

HOSTILE = [":", "a:", ".", "%", "%2", "%20", "[", "[:", ":0", "0", "a", "[::1]", "@", "-"]


@pytest.mark.parametrize(("text", "host", "port"), HOSTS, ids=ascii)
def test_host_is_split(text: str, host: str, port: int | None) -> None:
    found = split_host(text)
    assert found is not None
    # Python 3.13 writes an IPv4 address within one of IPv6 in its own way.
    assert (found[0].replace("127.0.0.1]", "7f00:1]"), found[1]) == (host, port)
    assert is_host(text)


@pytest.mark.parametrize("text", NO_HOSTS, ids=lambda text: ascii(text[:20]))
def test_what_is_no_host_is_rejected(text: str) -> None:
    assert split_host(text) is None
    assert not is_host(text)


@pytest.mark.parametrize("end", ["", "/"])
@pytest.mark.parametrize("start", ["", "a", "a:", "["])
@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_host_is_read_in_linear_time(start: str, text: str, end: str) -> None:
    # R-C2
    value = start + text * (HOSTILE_SIZE // len(text)) + end
    assert is_linear(lambda: split_host(value))


@given(st.text(st.sampled_from("aA0.:[]%-@/ é")))
def test_host_that_was_split_is_the_same_when_put_together(text: str) -> None:
    found = split_host(text)
    if found is not None:
        host, port = found
        assert split_host(host if port is None else f"{host}:{port}") == found


def test_international_name_is_brought_to_ascii() -> None:
    # IDNA 2008
    assert ascii_host("bücher.example") == "xn--bcher-kva.example"
    assert ascii_host("BÜCHER.example") == "xn--bcher-kva.example"
    assert ascii_host("Faß.example") == "xn--fa-hia.example"


def test_name_in_ascii_is_left_as_it_is() -> None:
    assert ascii_host("a_b.EXAMPLE") == "a_b.EXAMPLE"


@pytest.mark.parametrize("host", ["é..example", "é" * 64, "\xad", "é/", "é b", "\ud800"], ids=ascii)
def test_what_is_no_domain_name_is_rejected(host: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        ascii_host(host)
