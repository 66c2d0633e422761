"""Tests of `anyws._io.addresses`."""

from __future__ import annotations

import pytest

from anyws._io.addresses import plain_address, socket_address


@pytest.mark.parametrize(
    ("address", "plain"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::1", 80, 0, 0), ("::1", 80)),
        (("fe80::1", 80, 0, 4), ("fe80::1%4", 80)),
        ("/run/socket", "/run/socket"),
        ("", ""),
        (b"\0name", "\0name"),
        (b"\0\xff", "\0\udcff"),
    ],
)
def test_address_of_a_socket_becomes_host_and_port_or_a_path(
    address: object, plain: object
) -> None:
    assert plain_address(address) == plain


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        (("127.0.0.1", 80), ("127.0.0.1", 80)),
        (("::1", 80), ("::1", 80)),
        (("fe80::1%4", 80), ("fe80::1", 80, 0, 4)),
    ],
)
def test_scope_of_an_address_is_put_where_sockets_look_for_it(
    address: tuple[str, int], wanted: object
) -> None:
    assert socket_address(address) == wanted
