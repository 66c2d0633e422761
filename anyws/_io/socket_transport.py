# cython: language_level=3, annotation_typing=False, boundscheck=False, auto_pickle=False
"""A transport over a non-blocking socket: one `recv` when readable, one `sendmsg` at once.

Owns the reads, the writes and what the kernel has not taken. Which loop tells readiness is the
reactor's affair, so this one class serves asyncio, uvloop and trio.
"""

from __future__ import annotations

import socket as stdlib_socket
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from socket import socket as Socket
from typing import Any

from anyio.abc import SocketAttribute

from .addresses import plain_address
from .transport import READ_SIZE, Reactor, Receiver, Transport

__all__ = ["SocketTransport"]

# IOV_MAX is 1024 on the systems there are; 64 buffers in one call are plenty.
_BUFFERS_A_CALL = 64

_HAS_SENDMSG = hasattr(Socket, "sendmsg")

# Linux: more follows, so that the last bytes and the end of the stream leave as one segment.
_MORE_FOLLOWS: int = getattr(stdlib_socket, "MSG_MORE", 0)


class SocketTransport(Transport):
    """Bytes over a connected, non-blocking stream socket, which it owns.

    Args:
        reactor: that of the running loop.
        sock: connected.
        remote_address: as `accept` gave it; asked for if that was nothing.
    """

    __slots__ = (
        "_closed",
        "_ending",
        "_failure",
        "_flags",
        "_local_address",
        "_out",
        "_read_ended",
        "_reading",
        "_remote_address",
        "_sock",
        "_writing",
    )

    def __init__(self, reactor: Reactor, sock: Socket, remote_address: Any = None) -> None:
        super().__init__(reactor)
        self._sock = sock
        self._local_address: Any = None  # asked for when somebody wants it, or before it is gone
        # After a reset the kernel does not know it any more.
        self._remote_address = remote_address or _ask(sock.getpeername)
        self._closed = False

        # Reading
        self._reading = False
        self._read_ended = False

        # Writing
        self._out: deque[bytes | memoryview] | None = None  # what the kernel has not taken
        self._writing = False  # is the reactor watching for writability
        self._ending = False  # shut down for writing once everything is sent
        self._failure: OSError | None = None  # what ended the writing
        self._flags = 0
        sock.setblocking(False)
        if sock.family in (stdlib_socket.AF_INET, stdlib_socket.AF_INET6):
            with suppress(OSError):  # macOS, of a peer that is gone; reading finds that out
                sock.setsockopt(stdlib_socket.IPPROTO_TCP, stdlib_socket.TCP_NODELAY, 1)

    # Reading

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.resume_reading()

    def pause_reading(self) -> None:
        if self._reading:
            self._reading = False
            self.reactor.remove_reader(self._sock)
            if self._failure is not None:
                self._lose_soon()

    def resume_reading(self) -> None:
        if not (self._reading or self._closed or self._read_ended):
            self._reading = True
            self.reactor.add_reader(self._sock, self._on_readable)

    def _on_readable(self) -> None:
        try:
            direct = self.direct
            room = None if direct is None else direct.room()
            if direct is None or room is None:
                data = self._sock.recv(READ_SIZE)
            else:
                with room:
                    n = self._sock.recv_into(room)
                if n:
                    direct.filled(n)
                    return
                data = b""
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._lose(exc)
            return
        if data:
            self.receiver.feed(data)
        else:
            self.pause_reading()
            self._read_ended = True
            self.receiver.eof()

    # Writing

    def push(self, buffers: tuple[bytes, ...]) -> None:
        if self._closed or self._ending:
            return
        sent = 0
        if self._out is None:
            try:
                if len(buffers) == 1:
                    sent = self._sock.send(buffers[0], self._flags)
                    if sent == len(buffers[0]):
                        return
                elif _HAS_SENDMSG:
                    sent = self._sock.sendmsg(buffers[:_BUFFERS_A_CALL])
                else:
                    sent = self._sock.send(buffers[0])
            except (BlockingIOError, InterruptedError):
                pass
            except OSError as exc:
                self._fail_writing(exc)
                return
        for buffer in buffers:
            self._out_bytes += len(buffer)
        if sent < self._out_bytes:
            if self._out is None:
                self._out = deque()
            self._out += buffers
            self._sent(self._out, sent)
            if self._out_bytes >= self.low_water:
                self._was_full = True
        else:
            self._out_bytes = 0

    def _sent(self, out: deque[bytes | memoryview], n: int) -> None:
        """Forget `n` bytes that the kernel took, and watch for room if some are left."""
        self._out_bytes -= n
        while out and n >= len(out[0]):
            n -= len(out.popleft())
        if n:
            out[0] = memoryview(out[0])[n:]
        if out and not self._writing:
            self._writing = True
            self.reactor.add_writer(self._sock, self._on_writable)
        elif not out:
            self._drop_unsent()

    def _on_writable(self) -> None:
        out = self._out
        assert out is not None
        try:
            if _HAS_SENDMSG:
                some = [out[at] for at in range(min(len(out), _BUFFERS_A_CALL))]
                sent = self._sock.sendmsg(some)
            else:
                sent = self._sock.send(out[0])
        except (BlockingIOError, InterruptedError):
            return
        except OSError as exc:
            self._fail_writing(exc)
            return
        self._sent(out, sent)
        if self._ending and self._out is None:
            self._shut_down()
        if self._was_full and self._out_bytes < self.low_water:
            self._was_full = False
            self.receiver.drained()

    def _fail_writing(self, exc: OSError) -> None:
        """Write no more, and report it from the loop: a writer is in the middle of something.

        What the peer sent before it went away, its Close frame perhaps, is still to be read. So
        reading goes on, to the end, unless it is paused.
        """
        # Without the traceback, whose frames are those of whoever writes.
        self._failure = exc.with_traceback(None)
        self._ending = True
        self._drop_unsent()
        if not self._reading:
            self._lose_soon()

    def _drop_unsent(self) -> None:
        self._out = None
        self._out_bytes = 0
        if self._writing:
            self._writing = False
            self.reactor.remove_writer(self._sock)

    # Closing

    def write_eof(self) -> None:
        self._flags = _MORE_FOLLOWS
        self.flush()
        if self._closed or self._ending:
            return
        self._ending = True
        if self._out is None:
            self._shut_down()

    def _shut_down(self) -> None:
        try:
            self._sock.shutdown(stdlib_socket.SHUT_WR)
        except OSError:
            pass  # gone already, which reading finds out

    def abort(self) -> None:
        self.flush()
        self._lose(None)

    def _lose_soon(self) -> None:
        self.reactor.call_soon(partial(self._lose, self._failure))

    def _lose(self, exc: Exception | None) -> None:
        if self._closed:
            return
        self._closed = True
        self.pause_reading()
        self._drop_unsent()
        self._local_address = self._find_local_address()
        self._sock.close()
        self._tell_lost(exc)

    # Attributes

    @property
    def remote_address(self) -> Any:
        """The peer's address as the socket has it; None if it was gone before it was asked."""
        return self._remote_address

    def _find_local_address(self) -> Any:
        if self._local_address is None:
            self._local_address = _ask(self._sock.getsockname)
        return self._local_address

    @property
    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        local, remote = self._find_local_address(), self._remote_address
        found: dict[Any, Any] = {
            SocketAttribute.family: self._sock.family,
            SocketAttribute.local_address: plain_address(local),
        }
        if not self._closed:
            found[SocketAttribute.raw_socket] = self._sock
        if remote is not None:
            found[SocketAttribute.remote_address] = plain_address(remote)
        if isinstance(local, tuple):
            found[SocketAttribute.local_port] = local[1]
        if isinstance(remote, tuple):
            found[SocketAttribute.remote_port] = remote[1]
        return {name: partial(_same, value) for name, value in found.items()}


def _ask(address: Callable[[], Any]) -> Any:
    """Return an address, or None if the connection is gone already."""
    try:
        return address()
    except OSError:
        return None


def _same(value: Any) -> Any:
    return value
