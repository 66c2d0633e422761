"""A byte stream with faults that are switched on and off while it is in use.

Knows nothing of WebSocket. The difficulty is a task that already waits in the stream within when a
fault begins: a cancel scope around that one wait brings it back. It may be that the wait had
succeeded already; what it received is then kept until it may be passed on.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any

import anyio
from anyio.abc import ByteStream
from anyio.lowlevel import checkpoint

from ._memory import MemoryStream

__all__ = ["FaultStream"]


class FaultStream(ByteStream):
    """A byte stream around another one, with faults; without any it does as that one does.

    Faults come and go at any time, by any task, while others wait in `receive` or `send`. What is
    given here are attributes that may be changed as well.

    Args:
        stream: connected, one end of a `memory_pair` or any other. It is closed with this one.
        split: pass on at most so many bytes at a time, in both directions; 1 splits everywhere.
            None for no limit.
        delay: seconds by which each piece is late, in both directions, on the clock of the event
            loop. With `split=1`, bytes come in drips.

    Raises:
        ValueError: `split` is less than 1.
    """

    def __init__(self, stream: ByteStream, *, split: int | None = None, delay: float = 0.0) -> None:
        if split is not None and split < 1:
            raise ValueError(f"split is {split}, expected at least 1 byte")
        self.stream = stream
        self.split = split
        self.delay = delay
        self._closed = False

        # Faults
        self._stalls_reading = False
        self._stalls_writing = False
        self._drops = False
        self._is_reset = False
        self._changed = anyio.Event()

        # Reading
        self._reading = anyio.ResourceGuard("receiving from")
        self._receiving: anyio.CancelScope | None = None
        self._arrived = bytearray()  # received or injected, and not yet passed on
        self._due = 0.0  # when that may be passed on

        # Writing
        self._writing = anyio.ResourceGuard("sending to")
        self._sending: anyio.CancelScope | None = None

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """Those of the stream within."""
        return self.stream.extra_attributes

    # Faults

    def stall_reading(self) -> None:
        """Receive nothing until `resume`.

        The stream within is not read either, so that the other end has to wait in the end; unless
        it reads ahead, as those of anyio over sockets do on asyncio.
        """
        self._stalls_reading = True
        self._interrupt_receive()

    def stall_writing(self) -> None:
        """Pass nothing on until `resume`; whoever sends waits.

        What the stream within has already been given is its business.
        """
        self._stalls_writing = True

    def drop(self) -> None:
        """Pull the cable: what is sent vanishes, nothing is received, and nobody is told.

        That goes for closing as well: the stream within stays open, so that the other end hears
        nothing of it. If it is a socket, close it by `stream.stream.aclose()`.
        """
        self._drops = True
        self._interrupt_receive()
        self._interrupt_send()

    def resume(self) -> None:
        """End stalls and drops. What was dropped is lost; what was not received waits."""
        self._stalls_reading = self._stalls_writing = self._drops = False
        self._notify()

    def reset(self) -> None:
        """Break the stream at once and for good, as a TCP reset does.

        The other end breaks too if the stream within is one end of a `memory_pair`; that of any
        other hears of it when this stream is closed.
        """
        self._is_reset = True
        if isinstance(self.stream, MemoryStream | FaultStream) and not self._drops:
            self.stream.reset()
        self._interrupt_receive()
        self._interrupt_send()

    def inject(self, garbage: bytes) -> None:
        """Receive bytes that nobody sent, before anything that has not arrived yet."""
        if not self._arrived:
            self._due = 0.0  # nobody sent them, so they have no way to go
        self._arrived += garbage
        self._interrupt_receive()

    def _interrupt_receive(self) -> None:
        self._notify()
        if self._receiving is not None:
            self._receiving.cancel()

    def _interrupt_send(self) -> None:
        self._notify()
        if self._sending is not None:
            self._sending.cancel()

    def _notify(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _check(self) -> None:
        if self._closed:
            raise anyio.ClosedResourceError
        if self._is_reset:
            raise anyio.BrokenResourceError

    async def _wait_for_change(self, until: float = float("inf")) -> None:
        """Wait until a fault changes, or until a time on the loop's clock."""
        with anyio.CancelScope(deadline=until):
            await self._changed.wait()

    # The stream

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Receive, with the faults that are in force.

        Raises:
            BrokenResourceError: the stream was reset.
            ClosedResourceError: it was closed.
            BusyResourceError: another task is receiving.
            Exception: whatever the stream within raises, `EndOfStream` for one.

        Cancelling: nothing is lost, if nothing is lost by the stream within.
        Concurrency: one task at a time.
        """
        with self._reading:
            await checkpoint()
            while True:
                self._check()
                limit = max_bytes if self.split is None else min(max_bytes, self.split)
                if self._stalls_reading or self._drops:
                    await self._wait_for_change()
                elif not self._arrived:
                    await self._fetch(limit)
                elif anyio.current_time() < self._due:
                    await self._wait_for_change(self._due)
                else:
                    return self._pass_on(limit)

    async def _fetch(self, limit: int) -> None:
        """Receive from the stream within, unless a fault comes first."""
        data = b""
        try:
            with anyio.CancelScope() as self._receiving:
                data = await self.stream.receive(limit)
        finally:
            self._receiving = None
        self._arrived += data
        self._due = anyio.current_time() + self.delay

    def _pass_on(self, limit: int) -> bytes:
        data = bytes(self._arrived[:limit])
        del self._arrived[:limit]
        self._due = anyio.current_time() + self.delay
        return data

    async def send(self, item: bytes) -> None:
        """Send, with the faults that are in force.

        Raises:
            BrokenResourceError: the stream was reset.
            ClosedResourceError: it was closed.
            BusyResourceError: another task is sending.
            Exception: whatever the stream within raises.

        Cancelling: a part may have been sent.
        Concurrency: one task at a time.
        """
        with self._writing:
            await checkpoint()
            start = 0
            while start < len(item):
                end = len(item) if self.split is None else start + self.split
                await self._let_through(partial(self.stream.send, item[start:end]))
                start = end

    async def send_eof(self) -> None:
        """End the direction in which this end sends, with the faults that are in force.

        Raises:
            Exception: as `send`.

        Cancelling: it may have been said.
        Concurrency: as `send`.
        """
        with self._writing:
            await checkpoint()
            await self._let_through(self.stream.send_eof)

    async def _let_through(self, write: Callable[[], Awaitable[None]]) -> None:
        """Call `write` when the faults let it; not at all if what is sent vanishes."""
        due = anyio.current_time() + self.delay
        while not self._drops:
            self._check()
            if self._stalls_writing:
                await self._wait_for_change()
            elif anyio.current_time() < due:
                await self._wait_for_change(due)
            else:
                try:
                    with anyio.CancelScope() as self._sending:
                        await write()
                finally:
                    self._sending = None
                break
        self._check()

    async def aclose(self) -> None:
        """Close this stream and the one within; of a cable that is pulled, only this one.

        Cancelling: both are closed even so.
        Concurrency: any task; who receives or sends gets `ClosedResourceError`.
        """
        self._closed = True
        self._notify()
        if self._drops:
            await checkpoint()
        else:
            await self.stream.aclose()
