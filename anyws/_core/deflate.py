"""permessage-deflate (RFC 7692): compression of messages, as an extension.

Owns its parameters, their negotiation, and the contexts of zlib. It must not know frames, and it
uses nothing that another extension could not use.

The end of a message. A sender flushes its compressor, whose output then ends with an empty block
of four known bytes, and leaves these out (§7.2.1); the receiver puts them back (§7.2.2). zlib does
not say whether a stream that it has been given stopped between two blocks or inside of one, where
the four bytes mean something else and all that follows is garbage. So a last block is tried on the
stream, or on a copy of it where the stream is still needed: between two blocks it ends it.

A block that is marked as the last one is legal too, anywhere (§7.2.1, §7.2.3.4). What follows
begins anew at the next byte, and refers to nothing before: that is what compressors do. So that
tiny blocks cannot keep us busy, a message may have so many of them and no more.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterable, Iterator, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from .._errors import NegotiationError
from .extensions import Extension, ExtensionCodec, check_extensions
from .grammar import ExtensionParameters, NamedExtension

if TYPE_CHECKING:
    from zlib import _Compress, _Decompress

__all__ = ["Deflate", "with_compression"]

_SERVER_NO_TAKEOVER = "server_no_context_takeover"
_CLIENT_NO_TAKEOVER = "client_no_context_takeover"
_SERVER_BITS = "server_max_window_bits"
_CLIENT_BITS = "client_max_window_bits"

_BITS = {str(bits): bits for bits in range(8, 16)}
_MOST_BITS = 15

# §7.2.1: what a flush ends with, and what is left out of it.
_TAIL = b"\x00\x00\xff\xff"
# An empty block that is marked as the last one.
_LAST_BLOCK = b"\x01" + _TAIL

# 256 blocks of a message that are marked as the last one: each costs some microseconds.
_MAX_RESTARTS = 256

# 16 KiB of input, and 64 KiB of output: under 0.3 ms at a time. zlib copies what it has not used of
# its input, so that large pieces of it would be copied over and over.
_INPUT = 16 * 1024
_OUTPUT = 64 * 1024

_RSV1 = 4


class Deflate(Extension):
    """Compression of messages: permessage-deflate (RFC 7692).

    Pass it to `connect` or `serve` as `compression`, or among the `extensions`; "deflate" stands
    for `Deflate()`. The same object serves clients and servers, any number of connections.

    A compressor that goes on from message to message (context takeover) finds repetitions in
    what went before, and keeps memory for that: with the defaults 33 KiB to send and 12 KiB to
    receive, from the first compressed message on. A context is made when it is first needed.

    Args:
        server_no_context_takeover: the server compresses each message by itself. A client
            demands it; a server does so.
        client_no_context_takeover: the client compresses each message by itself. A server demands
            it; a client does so.
        server_max_window_bits: the server looks back 2**n bytes at most, 8 to 15; None is any.
            A client asks for it; a server does so.
        client_max_window_bits: the same for the client. A server asks for it, if the client says
            that it can; a client does so. For a client, None does not offer the choice.
        require_client_max_window_bits: a server declines clients that do not offer to limit
            their window.
        fallback: a client also offers compression without limits on windows, for servers that
            decline those.
        threshold: messages of fewer bytes are sent as they are.
        level: of zlib, 0 to 9: more is smaller and slower.
        memory_level: of zlib, 1 to 9: more is larger and faster.
        engine: a module with the interface of `zlib`, `zlib_ng.zlib_ng` for instance.

    Raises:
        ValueError: an argument is out of range.
    """

    name = "permessage-deflate"
    rsv = _RSV1

    def __init__(
        self,
        *,
        server_no_context_takeover: bool = False,
        client_no_context_takeover: bool = False,
        server_max_window_bits: int | None = 12,
        client_max_window_bits: int | None = 12,
        require_client_max_window_bits: bool = False,
        fallback: bool = True,
        threshold: int = 128,
        level: int = 4,
        memory_level: int = 5,
        engine: ModuleType = zlib,
    ) -> None:
        _check(_SERVER_BITS, server_max_window_bits, 8, 15, optional=True)
        _check(_CLIENT_BITS, client_max_window_bits, 8, 15, optional=True)
        _check("threshold", threshold, 0)
        _check("level", level, 0, 9)
        _check("memory_level", memory_level, 1, 9)
        self._server_no_takeover = server_no_context_takeover
        self._client_no_takeover = client_no_context_takeover
        self._server_bits = server_max_window_bits
        self._client_bits = client_max_window_bits
        self._require_client_bits = require_client_max_window_bits
        self._fallback = fallback
        self.threshold: int = threshold
        self.level: int = level
        self.memory_level: int = memory_level
        self.engine: ModuleType = engine

    def offers(self) -> Iterable[ExtensionParameters]:
        """Return what a client offers (§7.1): with limits on the windows, and without."""
        demands: ExtensionParameters = ()
        if self._server_no_takeover:
            demands += ((_SERVER_NO_TAKEOVER, None),)
        if self._client_no_takeover:
            demands += ((_CLIENT_NO_TAKEOVER, None),)
        limits: ExtensionParameters = ()
        if self._server_bits is not None:
            limits += ((_SERVER_BITS, str(self._server_bits)),)
        if self._client_bits is not None:
            limits += ((_CLIENT_BITS, str(self._client_bits)),)
        yield demands + limits
        if limits and self._fallback:
            yield demands

    def accept(self, offered: ExtensionParameters) -> ExtensionParameters | None:
        """Answer one offer of a client, or decline it (§7.1)."""
        try:
            offer = _parse(offered)
        except ValueError:
            # §7: an offer that makes no sense is declined, and the next one may.
            return None
        answer: ExtensionParameters = ()
        if self._server_no_takeover or _SERVER_NO_TAKEOVER in offer:
            answer += ((_SERVER_NO_TAKEOVER, None),)
        if self._client_no_takeover or _CLIENT_NO_TAKEOVER in offer:
            answer += ((_CLIENT_NO_TAKEOVER, None),)
        bits = _smaller(self._server_bits, offer.get(_SERVER_BITS))
        if bits is not None:
            answer += ((_SERVER_BITS, str(bits)),)
        if _CLIENT_BITS in offer:
            bits = _smaller(self._client_bits, offer[_CLIENT_BITS])
            if bits is not None:
                answer += ((_CLIENT_BITS, str(bits)),)
        elif self._require_client_bits:
            return None
        return answer

    def check_answer(self, chosen: ExtensionParameters) -> None:
        """Check what the server has made of the offers (§7.1)."""
        answer = NamedExtension(self.name, chosen)
        try:
            given = _parse(chosen, is_answer=True)
        except ValueError as exc:
            raise NegotiationError(f"the server answered {answer}: {exc}") from exc
        if self._server_no_takeover and _SERVER_NO_TAKEOVER not in given:
            raise NegotiationError(f"the server answered {answer}, without {_SERVER_NO_TAKEOVER}")
        bits = given.get(_SERVER_BITS)
        if not self._fallback and _exceeds(bits, self._server_bits):
            raise NegotiationError(
                f"the server answered {answer}, asked for was {_SERVER_BITS}={self._server_bits}"
            )
        # §7.1.2.2: more than was offered is no limit at all; some servers answer so.
        if _CLIENT_BITS in given and self._client_bits is None:
            raise NegotiationError(f"the server answered {answer}, which was not offered")

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        """Return what compresses and decompresses the messages of one connection."""
        given = _parse(agreed, is_answer=True)
        server_bits = given.get(_SERVER_BITS)
        client_bits = given.get(_CLIENT_BITS)
        server_keeps = _SERVER_NO_TAKEOVER not in given
        client_keeps = _CLIENT_NO_TAKEOVER not in given
        if is_client:
            client_keeps = client_keeps and not self._client_no_takeover
            # No limit was agreed on, but a smaller window is always legal.
            client_bits = _smaller(client_bits, self._client_bits)
            return _DeflateCodec(self, client_bits, client_keeps, server_bits, server_keeps)
        return _DeflateCodec(self, server_bits, server_keeps, client_bits, client_keeps)


def with_compression(
    extensions: Sequence[Extension], compression: Literal["deflate"] | Deflate | None
) -> tuple[Extension, ...]:
    """Return the extensions with compression behind them, as `connect` and `serve` take both.

    Raises:
        TypeError: one of them is not an `Extension`.
        ValueError: `compression` is something else.
        LocalProtocolError: an extension cannot be negotiated.
    """
    if compression is None:
        return check_extensions(extensions)
    if compression == "deflate":
        compression = Deflate()
    if not isinstance(compression, Deflate):
        raise ValueError(f"compression is {compression!r}, expected 'deflate', a Deflate or None")
    return check_extensions((*extensions, compression))


class _DeflateCodec(ExtensionCodec):
    """Compresses what one side of a connection sends, and decompresses what it receives."""

    __slots__ = (
        "_compressor",
        "_decompressor",
        "_deflate",
        "_keeps_in",
        "_keeps_out",
        "_restarts",
        "_unsent",
        "_window_in",
        "_window_out",
    )

    def __init__(
        self,
        deflate: Deflate,
        bits_out: int | None,
        keeps_out: bool,
        bits_in: int | None,
        keeps_in: bool,
    ) -> None:
        self._deflate = deflate

        # Sending
        # zlib cannot compress within 2**8 bytes, but within 2**9 it looks back 250 at most.
        self._window_out = max(bits_out or _MOST_BITS, 9)
        self._keeps_out = keeps_out
        self._compressor: _Compress | None = None
        self._unsent: _Compress | None = None  # of the message that has begun

        # Receiving
        self._window_in = bits_in or _MOST_BITS
        self._keeps_in = keeps_in
        self._decompressor: _Decompress | None = None
        self._restarts = 0  # blocks of the current message that were marked as the last one

    def begin_message(self, *, text: bool, size: int | None, compress: bool | None) -> int | None:
        if compress is None:
            compress = size is None or size >= self._deflate.threshold
        return _RSV1 if compress else None

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        compressor = self._unsent
        if compressor is None:
            compressor = self._compressor or self._new_compressor()
            if not final and self._keeps_out:
                # A message that is cancelled has to leave the context as it was.
                compressor = compressor.copy()
        encoded = compressor.compress(data)
        if flush or final:
            encoded += compressor.flush(zlib.Z_SYNC_FLUSH)
        if not final:
            self._unsent = compressor
            return encoded
        self._unsent = None
        self._compressor = compressor if self._keeps_out else None
        # §7.2.3.6: an empty message is one byte. zlib says nothing if nothing came since a flush.
        return encoded[:-4] or b"\x00"

    def same_encoding(self) -> Hashable | None:
        if self._keeps_out:
            return None
        deflate = self._deflate
        return (
            deflate.engine,
            deflate.level,
            deflate.memory_level,
            deflate.threshold,
            self._window_out,
        )

    def cancel_message(self) -> None:
        self._unsent = None

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        if not final or len(data) > _INPUT:
            return self._decode_slices(data, final)
        piece = self._inflate(data + _TAIL)
        inflate = self._decompressor
        assert inflate is not None
        if len(piece) == _OUTPUT or inflate.eof:
            return self._decode_rest(piece)
        self._end_message()
        return (piece,)

    def largest_encoded(self, size: int) -> int:
        # What cannot be compressed is stored, in small blocks if there is little memory for it.
        return size + size // 8 + 1024

    def _new_compressor(self) -> _Compress:
        deflate = self._deflate
        compressor: _Compress = deflate.engine.compressobj(
            deflate.level, zlib.DEFLATED, -self._window_out, deflate.memory_level
        )
        return compressor

    def _decode_slices(self, data: bytes, final: bool) -> Iterator[bytes]:
        for at in range(0, len(data), _INPUT):
            yield from self._drain(self._inflate(data[at : at + _INPUT]))
        if final:
            yield from self._decode_rest(self._inflate(_TAIL))

    def _decode_rest(self, piece: bytes) -> Iterator[bytes]:
        """Yield what the end of a message comes to, of which `piece` is the first."""
        yield from self._drain(piece)
        self._end_message()

    def _drain(self, piece: bytes) -> Iterator[bytes]:
        """Yield `piece`, and whatever more there is in what zlib was given."""
        yield piece
        while True:
            inflate = self._decompressor
            assert inflate is not None
            if inflate.eof:
                self._restart()
                rest = inflate.unused_data
                if not rest:
                    return
            else:
                rest = inflate.unconsumed_tail
                if not rest and len(piece) < _OUTPUT:
                    return
            piece = self._inflate(rest)
            yield piece

    def _inflate(self, data: bytes) -> bytes:
        """Return at most `_OUTPUT` bytes of what `data` decompresses to."""
        inflate = self._decompressor
        if inflate is None:
            inflate = self._decompressor = self._deflate.engine.decompressobj(-self._window_in)
        try:
            return inflate.decompress(data, _OUTPUT)
        except self._deflate.engine.error as exc:
            raise ValueError(f"compressed data is broken: {exc}") from exc

    def _restart(self) -> None:
        """Begin anew behind a block that was marked as the last one."""
        self._decompressor = None
        self._restarts += 1
        if self._restarts > _MAX_RESTARTS:
            raise ValueError(f"compressed data ends more than {_MAX_RESTARTS} times")

    def _end_message(self) -> None:
        """Check that the message ends where a block does, and keep the context if it is to be."""
        self._restarts = 0
        inflate = self._decompressor
        if inflate is None:
            return
        if self._keeps_in:
            inflate = inflate.copy()
        else:
            self._decompressor = None
        try:
            rest = inflate.decompress(_LAST_BLOCK, 1)
        except self._deflate.engine.error:
            rest = b"x"
        if rest or not inflate.eof or inflate.unused_data:
            raise ValueError("compressed data ends within a block")


def _parse(parameters: ExtensionParameters, *, is_answer: bool = False) -> dict[str, int | None]:
    """Return the parameters by name (§7.1), with the bits of a window, or None without any.

    Raises:
        ValueError: one is unknown, comes twice, or has a value that it cannot have.
    """
    given: dict[str, int | None] = {}
    for name, value in parameters:
        if name in given:
            raise ValueError(f"{name} comes twice")
        if name in (_SERVER_NO_TAKEOVER, _CLIENT_NO_TAKEOVER):
            if value is not None:
                raise ValueError(f"{name} has the value {value}, expected none")
            given[name] = None
        elif name == _CLIENT_BITS and value is None and not is_answer:
            given[name] = None
        elif name in (_SERVER_BITS, _CLIENT_BITS):
            if value not in _BITS:
                raise ValueError(f"{name} has the value {value}, expected 8 to 15")
            given[name] = _BITS[value]
        else:
            raise ValueError(f"unknown parameter {name}")
    return given


def _smaller(one: int | None, other: int | None) -> int | None:
    """Return the smaller of two limits, where None is no limit."""
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)


def _exceeds(bits: int | None, limit: int | None) -> bool:
    """Say whether a window is larger than a limit, where None is none at all."""
    return limit is not None and (bits or _MOST_BITS) > limit


def _check(
    name: str, value: int | None, least: int, most: int | None = None, *, optional: bool = False
) -> None:
    if value is None and optional:
        return
    expected = f"{least} to {most}" if most is not None else f"at least {least}"
    if value is None or isinstance(value, bool | str | float):
        raise TypeError(f"{name} is {value!r}, expected an int, {expected}")
    if value < least or (most is not None and value > most):
        raise ValueError(f"{name} is {value}, expected {expected}")
