"""Addresses and sockets for the tests of dialling and listening."""

from __future__ import annotations

import os
import resource
import socket as stdlib_socket
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from socket import socket as Socket
from typing import TypeAlias

import anyio
import pytest
from anyio.lowlevel import current_token

__all__ = [
    "Found",
    "black_hole",
    "forget_no_scope",
    "found",
    "full",
    "link_local_address",
    "no_more_files",
    "open_files",
    "refusing",
    "resolve_to",
    "tcp_server",
]

#: What `anyio.getaddrinfo` returns for one address.
Found: TypeAlias = tuple[int, int, int, str, tuple[str, int]]


def found(address: tuple[str, int]) -> Found:
    family = stdlib_socket.AF_INET6 if ":" in address[0] else stdlib_socket.AF_INET
    return family, stdlib_socket.SOCK_STREAM, stdlib_socket.IPPROTO_TCP, "", address


def resolve_to(
    monkeypatch: pytest.MonkeyPatch,
    addresses: Sequence[tuple[str, int]],
    **others: Sequence[tuple[str, int]],
) -> None:
    """Let every name have these addresses, but for those that are named."""

    async def getaddrinfo(host: str | None, *_: object, **__: object) -> list[Found]:
        return [found(address) for address in others.get(host or "", addresses)]

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)


@contextmanager
def tcp_server(host: str = "127.0.0.1", backlog: int = 10) -> Iterator[Socket]:
    """Give a socket that listens."""
    family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
    with stdlib_socket.create_server((host, 0), family=family, backlog=backlog) as listening:
        yield listening


@contextmanager
def refusing(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Give an address that refuses connections, and is nobody else's meanwhile."""
    family = stdlib_socket.AF_INET6 if ":" in host else stdlib_socket.AF_INET
    with Socket(family) as bound:
        bound.bind((host, 0))
        yield host, bound.getsockname()[1]


@contextmanager
def black_hole(host: str = "127.0.0.1") -> Iterator[tuple[str, int]]:
    """Give an address that does not answer: that of a socket whose backlog is full."""
    with tcp_server(host, backlog=0) as listening, full(listening):
        yield host, listening.getsockname()[1]


@contextmanager
def full(listening: Socket) -> Iterator[None]:
    """Fill the backlog of a listening socket."""
    with ExitStack() as stack:
        for _ in range(4):
            client = stack.enter_context(Socket(listening.family))
            client.setblocking(False)
            client.connect_ex(listening.getsockname())
        yield


def link_local_address() -> str:
    """Return an IPv6 address of this machine that needs a scope (RFC 4007 §11)."""
    try:
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        digits, _, _, scope, _, interface = line.split()
        if scope == "20":
            address = stdlib_socket.inet_ntop(stdlib_socket.AF_INET6, bytes.fromhex(digits))
            return f"{address}%{interface}"
    pytest.skip("no interface has a link-local address")


def forget_no_scope() -> None:
    """Skip the test where the resolver of the loop forgets the scope of an address."""
    loop = current_token().native_token
    if type(loop).__module__.startswith("uvloop"):
        pytest.skip("the resolver of uvloop forgets the scope of an address")


def open_files() -> int:
    """Count the files that this process has open."""
    return len(os.listdir("/proc/self/fd"))


@contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file."""
    lowest_free = os.dup(0)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
