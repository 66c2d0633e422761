"""A transport over any `anyio.abc.ByteStream`: memory pairs, tunnels, streams of other libraries.

Owns the stream, a task that reads it and a task that writes it. Dearer than a socket of its own,
and bound to what the stream can do: a half-close where there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
from anyio.abc import ByteStream, SocketAttribute
from anyio.lowlevel import checkpoint

from .transport import READ_SIZE, Reactor, Receiver, Transport

__all__ = ["ByteStreamTransport"]

# 1 s to read what the peer sent before writing to it failed, its Close frame perhaps; and to say
# goodbye where the stream does that when it is closed.
_LAST_WORDS = 1.0

_ADDRESSES = (
    SocketAttribute.family,
    SocketAttribute.local_address,
    SocketAttribute.local_port,
    SocketAttribute.remote_address,
    SocketAttribute.remote_port,
)


class ByteStreamTransport(Transport):
    """Bytes over a stream that reads and writes by awaiting, which it owns while `run` runs."""

    __slots__ = (
        "_addresses",
        "_closed",
        "_ending",
        "_failure",
        "_out",
        "_paused",
        "_reader",
        "_reading",
        "_scope",
        "_stream",
        "_writer",
    )

    needs_task = True

    def __init__(self, reactor: Reactor, stream: ByteStream) -> None:
        super().__init__(reactor)
        self._stream = stream
        self._scope = anyio.CancelScope()
        self._closed = False
        self._failure: Exception | None = None
        # Asked for now: a closed stream may not know them any more.
        known: Mapping[Any, Callable[[], Any]] = stream.extra_attributes
        self._addresses = {name: _constant(known[name]()) for name in _ADDRESSES if name in known}

        # Reading
        self._reading = anyio.CancelScope()
        self._paused = True
        self._reader = reactor.new_waiter()

        # Writing
        self._out: deque[bytes] = deque()
        self._ending = False
        self._writer = reactor.new_waiter()

    async def run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write_on)
                    with self._reading:
                        await self._read_on()
        finally:
            self._lose()
            with suppress(Exception):  # it is gone, whatever it thinks of that
                await anyio.aclose_forcefully(self._stream)
            self._failure = None  # whose traceback leads back to this transport

    # Reading

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self.resume_reading()

    def pause_reading(self) -> None:
        self._paused = True

    def resume_reading(self) -> None:
        self._paused = False
        self._reader.wake()

    async def _read_on(self) -> None:
        while True:
            while self._paused:
                await self._reader.wait()
            try:
                data = await self._stream.receive(READ_SIZE)
            except anyio.EndOfStream:
                if not self._closed:
                    self.receiver.eof()
                return
            except Exception as exc:  # streams of others may raise anything
                self._failure = self._failure or exc
                self._scope.cancel()
                return
            if not self._closed:
                self.reactor.read_at = self.reactor.clock()
                self.receiver.feed(data)

    # Writing

    def push(self, buffers: tuple[bytes, ...]) -> None:
        if self._closed or self._ending:
            return
        self._out += buffers
        for buffer in buffers:
            self._out_bytes += len(buffer)
        if self._out_bytes >= self.low_water:
            self._was_full = True
        self._writer.wake()

    async def _write_on(self) -> None:
        out = self._out
        while True:
            while out:
                data = b"".join(out)
                out.clear()
                try:
                    await self._stream.send(data)
                except Exception as exc:
                    self._fail_writing(exc)
                    return
                if self._closed:
                    return
                self._out_bytes -= len(data)
                if self._was_full and self._out_bytes < self.low_water:
                    self._was_full = False
                    self.receiver.drained()
            if self._ending:
                await self._end()
                return
            await self._writer.wait()

    async def _end(self) -> None:
        try:
            await self._stream.send_eof()
        except NotImplementedError:
            # No half-close, TLS for one: all that is left is to close, and reading ends too.
            self._reading.cancel()
            await checkpoint()
            with anyio.move_on_after(_LAST_WORDS), suppress(Exception):
                await self._stream.aclose()
        except Exception as exc:
            self._fail_writing(exc)

    def _fail_writing(self, exc: Exception) -> None:
        """Write no more. Reading goes on for a moment, unless it is paused."""
        self._failure = exc
        self._ending = True
        self._out.clear()
        self._out_bytes = 0
        if self._paused:
            self._scope.cancel()
        else:
            self._scope.deadline = anyio.current_time() + _LAST_WORDS

    # Closing

    def write_eof(self) -> None:
        self.flush()
        self._ending = True
        self._writer.wake()

    def abort(self) -> None:
        """Close at once; the stream itself is closed by `run`, soon after."""
        self.flush()
        self._scope.cancel()
        self._lose()

    def _lose(self) -> None:
        if not self._closed:
            self._closed = True
            self._out.clear()
            self._out_bytes = 0
            self._tell_lost(self._failure)

    @property
    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return {**self._stream.extra_attributes, **self._addresses}


def _constant(value: Any) -> Callable[[], Any]:
    return lambda: value
