"""TLS over any transport: one `ssl.SSLObject` between two memory buffers.

Owns the TLS state. Since all of it happens in `write` and `feed`, records are made and sent in the
order of the writes, no cancellation can cut one, and it is the same on every loop.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Mapping
from typing import Any

from anyio.streams.tls import TLSAttribute

from .transport import READ_SIZE, Receiver, Transport

__all__ = ["TLSTransport"]


class TLSTransport(Transport):
    """A TLS session over `inner`, which it owns.

    Args:
        inner: a transport that is not started, unless `handshake` is told how to take it over.
        context: settings and certificates.
        server_hostname: for SNI and the check of the certificate; None on the server.
    """

    __slots__ = (
        "_failure",
        "_incoming",
        "_inner",
        "_object",
        "_open",
        "_outgoing",
        "_plain",
        "_plain_bytes",
        "_waiter",
    )

    def __init__(
        self, inner: Transport, context: ssl.SSLContext, server_hostname: str | None = None
    ) -> None:
        super().__init__(inner.reactor)
        self._inner = inner
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._object = context.wrap_bio(
            self._incoming,
            self._outgoing,
            server_side=server_hostname is None,
            server_hostname=server_hostname,
        )
        self._open = False
        self._failure: Exception | None = None
        self._waiter = inner.reactor.new_waiter()
        self._plain: list[bytes] = []  # written while TLS wants to read first
        self._plain_bytes = 0

    async def handshake(self, begin: Callable[[Receiver], None] | None = None) -> None:
        """Do the TLS handshake.

        Args:
            begin: makes this the receiver of an inner transport that is started already, and feeds
                it what has come; None starts the inner transport.

        Raises:
            ssl.SSLError: the peer, its certificate or its bytes will not do.
            OSError: the inner transport broke or ended.

        Cancelling: the transport is of no further use and must be aborted.
        """
        (begin or self._inner.start)(self)
        while True:
            try:
                self._object.do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLEOFError):
                self._push_outgoing()
                if isinstance(self._failure, OSError):
                    failure, self._failure = self._failure, None
                    try:
                        raise failure from None
                    finally:
                        del failure  # whose traceback has this frame
                if self._failure is not None:
                    raise ConnectionResetError(
                        f"the byte stream broke: {self._failure!r}"
                    ) from self._failure
                await self._waiter.wait()
            except ssl.SSLError:
                self._push_outgoing()  # an alert tells the peer why
                raise
            else:
                break
        self._push_outgoing()
        # Nothing is read until `start`: what has come stays in the buffer.
        self._inner.pause_reading()

    # Reading

    def start(self, receiver: Receiver) -> None:
        self.receiver = receiver
        self._open = True
        self.resume_reading()
        # What came with the handshake's last bytes is there already, and no event will tell.
        self.reactor.call_soon(self._read)

    def pause_reading(self) -> None:
        self._inner.pause_reading()

    def resume_reading(self) -> None:
        if self._open:
            self._inner.resume_reading()

    def feed(self, data: bytes) -> None:
        self._incoming.write(data)
        if self._open:
            self._read()
        else:
            self._waiter.wake()

    def _read(self) -> None:
        """Decrypt all that has come, then push it in one go.

        From within `feed` the receiver may pause reading, end the session or abort. OpenSSL gives
        out nothing more once a session is ended with bytes left to decrypt.
        """
        if not self._open:
            return
        pieces: list[bytes] = []
        ended = False
        failure: ssl.SSLError | None = None
        try:
            while piece := self._object.read(READ_SIZE):
                pieces.append(piece)
            ended = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            ended = True
        except ssl.SSLError as exc:
            # Bytes that end without a goodbye end the session both ways: nothing can be written.
            ended = isinstance(exc, ssl.SSLEOFError)
            failure = exc.with_traceback(None)  # which has this frame, and that the transport
        if self._plain:
            self._push_kept()
        else:
            self._push_outgoing()
        if pieces and self._open:
            self.receiver.feed(b"".join(pieces))
        if ended:
            self._end_reading()
        if failure is not None:
            self._failure = failure
            self._inner.abort()

    def _end_reading(self) -> None:
        """The peer said that it is done, or its bytes ended."""
        if self._open:
            self._open = False
            self._inner.pause_reading()
            self.receiver.eof()

    def eof(self) -> None:
        self._incoming.write_eof()
        if self._open:
            # Whether the peer said goodbye does not matter here: a WebSocket connection that
            # ends without a Close frame is abnormal in either case (RFC 6455 §7.1.5).
            self._read()
        else:
            self._fail_handshake(ConnectionResetError("the peer ended the TLS handshake"))

    def lost(self, exc: Exception | None) -> None:
        self._fail_handshake(exc or ConnectionAbortedError("the transport was closed"))
        self._open = False
        self._tell_lost(exc if exc is not None else self._cause())

    def _fail_handshake(self, exc: Exception) -> None:
        if not self._open and self._failure is None:
            self._failure = exc
            self._waiter.wake()

    def _cause(self) -> Exception | None:
        return self._failure if isinstance(self._failure, ssl.SSLError) else None

    # Writing

    @property
    def unsent(self) -> int:
        return self._held_bytes + self._plain_bytes + self._inner.unsent

    def has_room(self, limit: int) -> bool:
        return self.unsent < limit

    def push(self, buffers: tuple[bytes, ...]) -> None:
        self._plain += buffers
        for at, buffer in enumerate(self._plain):
            try:
                if buffer:
                    self._object.write(buffer)
            except ssl.SSLWantReadError:
                # TLS 1.2 in a renegotiation: goes on when the peer's part has come.
                self._plain = self._plain[at:]
                break
            except ssl.SSLError:
                # The session is over (closed by us, or failed): writes are ignored.
                self._plain = []
                break
        else:
            self._plain = []
        self._plain_bytes = sum(map(len, self._plain))
        self._push_outgoing()

    def _push_kept(self) -> None:
        """Push what had to wait for the peer's part of a handshake."""
        was_full = self.unsent >= self.low_water
        self.push(())
        if was_full and self.unsent < self.low_water:
            self.receiver.drained()

    def _push_outgoing(self) -> None:
        if self._outgoing.pending:
            self._inner.push((self._outgoing.read(),))

    def drained(self) -> None:
        self.receiver.drained()

    def set_low_water(self, n: int) -> None:
        super().set_low_water(n)
        self._inner.set_low_water(n)

    # Closing

    def write_eof(self) -> None:
        self.flush()
        try:
            self._object.unwrap()
        except ssl.SSLError:
            pass  # the peer's goodbye is not there yet, or never will be
        self._push_outgoing()
        self._inner.write_eof()

    def abort(self) -> None:
        self.flush()
        self._inner.abort()

    # Tasks

    @property
    def needs_task(self) -> bool:  # type: ignore[override]  # a constant elsewhere
        return self._inner.needs_task

    async def run(self) -> None:
        await self._inner.run()

    @property
    def attributes(self) -> Mapping[Any, Callable[[], Any]]:
        tls = self._object
        return {
            **self._inner.attributes,
            TLSAttribute.alpn_protocol: tls.selected_alpn_protocol,
            TLSAttribute.channel_binding_tls_unique: tls.get_channel_binding,
            TLSAttribute.cipher: tls.cipher,
            TLSAttribute.peer_certificate: lambda: tls.getpeercert(False),
            TLSAttribute.peer_certificate_binary: lambda: tls.getpeercert(True),
            TLSAttribute.server_side: lambda: tls.server_side,
            TLSAttribute.shared_ciphers: tls.shared_ciphers,
            TLSAttribute.ssl_object: lambda: tls,
            TLSAttribute.standard_compatible: lambda: False,
            TLSAttribute.tls_version: tls.version,
        }
