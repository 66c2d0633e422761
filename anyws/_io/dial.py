"""Connecting sockets: TCP over IPv4 and IPv6 by happy eyeballs, and Unix sockets.

Owns the way to a connected, non-blocking socket. It must not know what is said over it.
"""

from __future__ import annotations

import errno
import os
import socket as stdlib_socket
from collections.abc import Sequence
from itertools import chain, zip_longest
from socket import socket as Socket
from typing import Any

import anyio

from .addresses import socket_address

__all__ = ["dial_tcp", "dial_unix"]

# 10 ms between looks at a Unix socket whose backlog is full.
_BACKLOG_PAUSE = 0.01

# family, type, protocol, canonical name, address
_Address = tuple[int, int, int, str, Any]


async def dial_tcp(
    host: str, port: int, *, local_host: str | None = None, happy_eyeballs_delay: float = 0.25
) -> Socket:
    """Connect to the first address of `host` that answers (RFC 8305).

    Args:
        host: a name or an address.
        port: 1-65535.
        local_host: an address of this machine to connect from.
        happy_eyeballs_delay: seconds that one attempt has before the next begins beside it.

    Raises:
        OSError: no address, or none that can be reached; of the kind that all attempts share,
            with an ExceptionGroup of them as cause where there were several.

    Cancelling: every socket of an attempt is closed.
    """
    addresses = _in_turns(await anyio.getaddrinfo(host, port, type=stdlib_socket.SOCK_STREAM))
    local = (
        await anyio.getaddrinfo(local_host, 0, type=stdlib_socket.SOCK_STREAM)
        if local_host is not None
        else None
    )
    if len(addresses) == 1:
        return await _connect(addresses[0], local)
    return await _race(addresses, local, happy_eyeballs_delay, f"{host} port {port}")


async def _race(
    addresses: Sequence[_Address],
    local: Sequence[_Address] | None,
    delay: float,
    target: str,
) -> Socket:
    """Start an attempt whenever the last one has failed or had its time; the first to win, wins.

    The attempts are children of one task group, which ends before this returns: whoever loses
    the race is cancelled and closes its socket.
    """
    winner: Socket | None = None
    failures: list[OSError] = []

    async def attempt(address: _Address, failed: anyio.Event) -> None:
        nonlocal winner
        try:
            sock = await _connect(address, local)
        except OSError as exc:
            failures.append(exc)
            failed.set()
            return
        if winner is None:
            winner = sock
            tasks.cancel_scope.cancel()
        else:
            sock.close()  # two won in one turn of the loop

    try:
        async with anyio.create_task_group() as tasks:
            for address in addresses:
                failed = anyio.Event()
                tasks.start_soon(attempt, address, failed)
                with anyio.move_on_after(delay):
                    await failed.wait()
    except BaseException:
        if winner is not None:
            winner.close()
        raise
    if winner is not None:
        return winner
    group = ExceptionGroup(f"cannot connect to {target}", failures)
    numbers = {failure.errno for failure in failures}
    number = numbers.pop() if len(numbers) == 1 else None
    attempts = "; ".join(str(failure) for failure in failures)
    message = f"all {len(failures)} addresses of {target} failed: {attempts}"
    failures.clear()  # the tracebacks of the failures have it
    raise (OSError(message) if number is None else OSError(number, message)) from group


async def _connect(address: _Address, local: Sequence[_Address] | None) -> Socket:
    family, kind, protocol, _, where = address
    sock = Socket(family, kind, protocol)
    try:
        sock.setblocking(False)
        if local is not None:
            mine = [candidate[4] for candidate in local if candidate[0] == family]
            if not mine:
                raise OSError(errno.EAFNOSUPPORT, f"no local address of the family of {where}")
            sock.bind(socket_address(mine[0]))
        await _finish(sock, sock.connect_ex(socket_address(where)), where)
    except BaseException:
        sock.close()
        raise
    return sock


async def dial_unix(path: str | bytes | os.PathLike[str]) -> Socket:
    """Connect to a Unix socket; a path that begins with a NUL is an abstract name (Linux).

    Raises:
        OSError: there is none, or it does not answer.

    Cancelling: the socket is closed.
    """
    sock = Socket(stdlib_socket.AF_UNIX, stdlib_socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        name = os.fspath(path)
        # EAGAIN: the backlog of the listener is full, and no event tells when it is not.
        while (result := sock.connect_ex(name)) == errno.EAGAIN:  # noqa: ASYNC110
            await anyio.sleep(_BACKLOG_PAUSE)
        await _finish(sock, result, name)
    except BaseException:
        sock.close()
        raise
    return sock


async def _finish(sock: Socket, result: int, where: Any) -> None:
    if result in (errno.EINPROGRESS, errno.EWOULDBLOCK):
        await anyio.wait_writable(sock)
        result = sock.getsockopt(stdlib_socket.SOL_SOCKET, stdlib_socket.SO_ERROR)
    if result:
        raise OSError(result, f"cannot connect to {where!r}: {os.strerror(result)}")


def _in_turns(found: Sequence[Any]) -> list[_Address]:
    """Order addresses by turns of family, the resolver's first choice first (RFC 8305 §4)."""
    addresses: list[_Address] = list(dict.fromkeys(found))
    first = [address for address in addresses if address[0] == addresses[0][0]]
    others = [address for address in addresses if address[0] != addresses[0][0]]
    pairs = chain.from_iterable(zip_longest(first, others))
    return [address for address in pairs if address is not None]
