"""A transport over any `anyio.abc.ByteStream`: memory pairs, tunnels, streams of other libraries.

Owns the stream, a task that reads it and a task that writes it. Dearer than a socket of its own,
and bound to what the stream can do: a half-close where there is one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import anyio
from anyio.abc import ByteStream

from .transport import READ_SIZE, Reactor, Receiver, Transport

__all__ = ["ByteStreamTransport"]


class ByteStreamTransport(Transport):
    """Bytes over a stream that reads and writes by awaiting."""

    __slots__ = (
        "_closed",
        "_ending",
        "_failure",
        "_out",
        "_out_bytes",
        "_paused",
        "_reader",
        "_scope",
        "_stream",
        "_was_full",
        "_writer",
    )

    needs_task = True

    def __init__(self, reactor: Reactor, stream: ByteStream) -> None:
        super().__init__(reactor)
        self._stream = stream
        self._scope = anyio.CancelScope()
        self._closed = False
        self._failure: Exception | None = None

        # Reading
        self._paused = True
        self._reader = reactor.new_waiter()

        # Writing
        self._out: deque[bytes] = deque()
        self._out_bytes = 0
        self._was_full = False
        self._ending = False
        self._writer = reactor.new_waiter()

    async def run(self) -> None:
        try:
            with self._scope:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._write_on)
                    await self._read_on()
        finally:
            self._lose()
            await anyio.aclose_forcefully(self._stream)

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
                self.receiver.eof()
                return
            except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as exc:
                self._fail(exc)
                return
            if not self._closed:
                self.receiver.feed(data)

    # Writing

    @property
    def unsent(self) -> int:
        return self._out_bytes + self._held_bytes

    def push(self, buffers: Sequence[bytes]) -> None:
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
                except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as exc:
                    self._fail(exc)
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
            await self._stream.aclose()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, OSError) as exc:
            self._fail(exc)

    # Closing

    def write_eof(self) -> None:
        self.flush()
        self._ending = True
        self._writer.wake()

    def abort(self) -> None:
        self._scope.cancel()
        self._lose()

    def _fail(self, exc: Exception) -> None:
        self._failure = exc
        self._scope.cancel()

    def _lose(self) -> None:
        if not self._closed:
            self._closed = True
            self._out.clear()
            self._out_bytes = 0
            self.receiver.lost(self._failure)

    @property
    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        return self._stream.extra_attributes
