"""Socket addresses: between the forms of the `socket` module and those of anyio."""

from __future__ import annotations

from typing import Any

__all__ = ["plain_address", "socket_address"]


def plain_address(address: Any) -> Any:
    """Bring what a socket says of itself to anyio's form: host and port, or a path."""
    if isinstance(address, tuple):
        host, port, *rest = address
        if len(rest) == 2 and rest[1]:
            host = f"{host}%{rest[1]}"
        return host, port
    if isinstance(address, bytes):
        return address.decode("utf-8", "surrogateescape")
    return address


def socket_address(address: tuple[str, int]) -> tuple[str, int] | tuple[str, int, int, int]:
    """Bring what `anyio.getaddrinfo` returns to the form that sockets take.

    A socket does not look at the scope behind the `%` of a link-local address (RFC 4007 §11): it
    wants it apart.
    """
    host, port = address
    host, _, scope = host.partition("%")
    return (host, port, 0, int(scope)) if scope else (host, port)
