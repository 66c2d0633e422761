# cython: language_level=3, annotation_typing=False, boundscheck=False, auto_pickle=False
"""An epoll set, and what is to be called for each socket in it.

One descriptor stands for all sockets of a reactor: a loop is told once for all that are ready, not
once for each. asyncio and uvloop watch it as they watch a socket, and trio's reactor waits for it.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from socket import socket as Socket

__all__ = ["EpollSet"]

# 64 sockets a turn, since the tasks of the loop that have nothing to do with these want theirs.
_READY_AT_ONCE = 64

# Plain integers, which compile to a comparison.
_READABLE, _WRITABLE = 0x001, 0x004  # EPOLLIN, EPOLLOUT


class EpollSet:
    """Watches sockets; its own descriptor is readable when there is something to `dispatch`."""

    __slots__ = ("_epoll", "_readers", "_writers")

    def __init__(self) -> None:
        self._epoll: select.epoll | None = select.epoll()
        self._readers: dict[int, Callable[[], None]] = {}
        self._writers: dict[int, Callable[[], None]] = {}

    def fileno(self) -> int:
        """Return the descriptor to watch."""
        assert self._epoll is not None
        return self._epoll.fileno()

    @property
    def is_empty(self) -> bool:
        """Whether there is no socket to watch."""
        return not (self._readers or self._writers)

    def close(self) -> None:
        """Watch nothing any more; sockets may still be added and removed."""
        if self._epoll is not None:
            self._epoll.close()
            self._epoll = None

    def dispatch(self) -> None:
        """Call back for sockets that are ready."""
        if self._epoll is None:
            return
        readers, writers = self._readers, self._writers
        for fd, happened in self._epoll.poll(0, _READY_AT_ONCE):
            # Both callbacks find out by themselves what an error or a hang-up was. Each is looked
            # up just before it is called: the one before it may have closed the socket.
            if happened != _WRITABLE:
                callback = readers.get(fd)
                if callback is not None:
                    callback()
            if happened != _READABLE:
                callback = writers.get(fd)
                if callback is not None:
                    callback()

    def add_reader(self, sock: Socket, callback: Callable[[], None]) -> None:
        """Call `callback` when `sock` is readable."""
        self._register(sock.fileno(), self._readers, callback)

    def remove_reader(self, sock: Socket) -> None:
        """Undo `add_reader`."""
        self._unregister(sock.fileno(), self._readers)

    def add_writer(self, sock: Socket, callback: Callable[[], None]) -> None:
        """Call `callback` when `sock` is writable."""
        self._register(sock.fileno(), self._writers, callback)

    def remove_writer(self, sock: Socket) -> None:
        """Undo `add_writer`."""
        self._unregister(sock.fileno(), self._writers)

    def _register(
        self, fd: int, callbacks: dict[int, Callable[[], None]], callback: Callable[[], None]
    ) -> None:
        known = fd in self._readers or fd in self._writers
        callbacks[fd] = callback
        if self._epoll is not None:
            (self._epoll.modify if known else self._epoll.register)(fd, self._interest(fd))

    def _unregister(self, fd: int, callbacks: dict[int, Callable[[], None]]) -> None:
        del callbacks[fd]
        if self._epoll is None:
            return
        interest = self._interest(fd)
        if interest:
            self._epoll.modify(fd, interest)
        else:
            self._epoll.unregister(fd)

    def _interest(self, fd: int) -> int:
        reading = _READABLE if fd in self._readers else 0
        return reading | (_WRITABLE if fd in self._writers else 0)
