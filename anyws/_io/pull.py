"""Reading by awaiting, for the opening handshake, where there is nothing to do but wait.

Owns the bytes between the transport's push and the handshake's pull.
"""

from __future__ import annotations

from .transport import Receiver, Transport

__all__ = ["MAX_HELD", "PullReceiver"]

#: 16 KiB that nobody has taken yet, and no more is read until somebody has: most answers have less
#: than 1 KiB, and a pause takes two system calls.
MAX_HELD = 16 * 1024


class PullReceiver:
    """Takes what a transport pushes until a connection takes over."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._waiter = transport.reactor.new_waiter()
        self._data: list[bytes] = []
        self._held = 0
        self._ended = False
        self._lost = False
        self._failure: Exception | None = None

    async def receive(self) -> bytes:
        """Return the bytes that came since the last call, b"" once there will be none.

        Raises:
            OSError: the transport broke; the first call says so.

        Cancelling: nothing is lost.
        """
        self._transport.flush()
        while not self._data:
            if isinstance(self._failure, OSError):
                failure, self._failure = self._failure, None
                try:
                    raise failure
                finally:
                    del failure  # whose traceback has this frame
            if self._failure is not None:
                raise ConnectionResetError(
                    f"the byte stream broke: {self._failure!r}"
                ) from self._failure
            if self._ended:
                return b""
            await self._waiter.wait()
        return self.take()

    def take(self) -> bytes:
        """Return the bytes that came since the last call, without waiting."""
        data = b"".join(self._data)
        self._data.clear()
        if self._held >= MAX_HELD:
            self._transport.resume_reading()
        self._held = 0
        return data

    def hand_over(self, receiver: Receiver, unused: bytes) -> None:
        """Let `receiver` take over, with what the handshake left and whatever came since."""
        if not self._lost:
            self._transport.receiver = receiver
        data = unused + self.take()
        if data:
            receiver.feed(data)
        if self._lost:
            receiver.lost(self._failure)
        elif self._ended:
            receiver.eof()

    def feed(self, data: bytes) -> None:
        self._data.append(data)
        self._held += len(data)
        if self._held >= MAX_HELD:
            self._transport.pause_reading()
        self._waiter.wake()

    def eof(self) -> None:
        self._ended = True
        self._waiter.wake()

    def lost(self, exc: Exception | None) -> None:
        self._ended = True
        self._lost = True
        self._failure = exc
        self._waiter.wake()

    def drained(self) -> None:
        pass
