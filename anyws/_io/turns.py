"""One attempt at a time for each address (RFC 6455 §4.1): who waits for whom.

Owns the locks, which are there only as long as somebody holds or wants one. It must not know what
is done meanwhile.
"""

from __future__ import annotations

import socket as stdlib_socket
from types import TracebackType
from weakref import WeakValueDictionary

import anyio
from anyio.lowlevel import current_token

__all__ = ["Turn"]

# By event loop and address.
_locks: WeakValueDictionary[tuple[object, str, int], anyio.Lock] = WeakValueDictionary()


class Turn:
    """A block for which no other one runs on this loop with any of the addresses of a host.

    Use it as `async with Turn(host, port)`.

    Args:
        host, port: where to.
        is_looked_up: whether this side looks up the addresses of the host. One whose addresses are
            not known stands for itself (RFC 6455 §4.1, 2).

    Cancelling: no turn is taken.
    """

    def __init__(self, host: str, port: int, *, is_looked_up: bool = True) -> None:
        self._host = host
        self._port = port
        self._is_looked_up = is_looked_up
        self._held: list[anyio.Lock] = []

    async def __aenter__(self) -> None:
        loop = current_token()
        # In one order, lest two wait for each other.
        for address in sorted(await self._addresses()):
            key = (loop, address, self._port)
            lock = _locks.get(key)
            if lock is None:
                lock = _locks[key] = anyio.Lock()
            try:
                await lock.acquire()
            except BaseException:
                self._release()
                raise
            self._held.append(lock)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._release()

    async def _addresses(self) -> set[str]:
        if not self._is_looked_up:
            return {self._host}
        try:
            found = await anyio.getaddrinfo(self._host, self._port, type=stdlib_socket.SOCK_STREAM)
        except OSError:
            return {self._host}
        return {str(address[0]) for _, _, _, _, address in found}

    def _release(self) -> None:
        while self._held:
            self._held.pop().release()
