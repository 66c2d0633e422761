# cython: language_level=3, annotation_typing=False, boundscheck=False, auto_pickle=False
"""One side of an open WebSocket connection (RFC 6455 §5 to §7), without I/O.

Owns the order of frames in both directions, the assembly of messages and the limits on them.
It must not know bytes streams, clocks or tasks: bytes come in by `receive_data`, what happened
comes out as its return value, and what is to be sent is the return value of the `send_` methods.
"""

from __future__ import annotations

import codecs
import enum
from collections.abc import Callable, Hashable, Iterator, Sequence

from .._errors import LocalProtocolError
from .events import CloseReceived, Event, Fragment, Ping, Pong, TooBig, Violation
from .extensions import ExtensionCodec
from .frames import (
    MAX_CONTROL_PAYLOAD,
    SHORT_HEADERS,
    CloseCode,
    decode_close_payload,
    encode_close_payload,
    encode_frame,
    encode_frame_header,
)
from .masking import (
    GrowingBuffer,
    GrowingText,
    Masking,
    apply_mask,
    join_frame,
    mask_source,
    turn_mask,
    unmask,
    unmask_text,
)

__all__ = ["TRANSITIONS", "Flow", "Protocol", "Step"]


class Flow(enum.Enum):
    """Where one direction of a connection is."""

    OPEN = "open"
    IN_MESSAGE = "in a message"
    CLOSED = "closed"


class Step(enum.Enum):
    """What a frame does to its direction."""

    WHOLE = "an unfragmented message"
    FIRST = "the first fragment of a message"
    MIDDLE = "a continuation"
    LAST = "the last fragment of a message"
    CONTROL = "a Ping or Pong"
    CLOSE = "a Close"


#: §5.4, §5.5: which frames may follow which, alike in both directions.
TRANSITIONS: dict[Flow, dict[Step, Flow]] = {
    Flow.OPEN: {
        Step.WHOLE: Flow.OPEN,
        Step.FIRST: Flow.IN_MESSAGE,
        Step.CONTROL: Flow.OPEN,
        Step.CLOSE: Flow.CLOSED,
    },
    Flow.IN_MESSAGE: {
        Step.MIDDLE: Flow.IN_MESSAGE,
        Step.LAST: Flow.OPEN,
        Step.CONTROL: Flow.IN_MESSAGE,
        Step.CLOSE: Flow.CLOSED,
    },
    Flow.CLOSED: {},
}

# Plain integers for the inner loop, where looking up members of an enum costs as much as the
# comparison itself.
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
_OPEN, _CLOSED = Flow.OPEN, Flow.CLOSED
_FIN = 0x80
_RSV = 0x70
_MASKED = 0x80
_KNOWN_OPCODES = frozenset({_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG})

# The largest payload with a length of two bytes.
_STRAIGHT = 65535

# 4 KiB of payload to come: from here on reading them straight into the message pays.
_ROOM_FROM = 4 * 1024

# 64 KiB at least, and 1 MiB at most, are read straight into a message at a time; in between as
# much as there is of it already, so that memory follows what has come.
_ROOM_AT_LEAST = 64 * 1024
_ROOM_AT_MOST = 1024 * 1024

# 512 KiB that extensions have made of what came: 1 to 2 ms, and then others have their turn.
_WORK_AT_MOST = 512 * 1024

# 2,048 plain messages, or 512 other frames: 1 to 2 ms if all are Pings, which are answered, and
# then others have their turn. A read of 64 KiB may hold 32,768 frames, and take 3 MiB as events.
_FRAMES_A_CALL = 2048
_FRAMES_OF_ANOTHER = 4

# What stands for no more pieces: a codec cannot give it.
_END = object()

# 16 bytes that each fragment of an encoded message may add: a flush of DEFLATE takes 5 and more.
_OF_FRAGMENT = 16

# More bytes than there can be, where no limit is known.
_UNKNOWN = 1 << 62

# A message decoded in one go counts as 2 KiB at least, and a piece of another one as 32 KiB, even
# if nothing comes of it: a hostile 16 KiB of input can keep zlib busy for 0.3 ms.
_WORK_OF_MESSAGE = 2 * 1024
_WORK_OF_PIECE = 32 * 1024

_new_utf8_decoder = codecs.getincrementaldecoder("utf-8")


class Protocol:
    """One side of a connection whose opening handshake is done (RFC 6455 §5 to §7).

    Args:
        is_client: a client masks what it sends and refuses masked frames; a server the reverse
            (§5.1).
        max_size: the largest message taken whole, in bytes; None for no limit.
        max_fragments: the largest number of frames in a message taken whole; None for no limit.
        next_mask: gives four unpredictable bytes for each frame that a client sends (§5.3).
        extensions: the reserved bits of each extension, and what it does to messages, in the order
            of the server's answer (§9.1).

    Attributes:
        reading, writing: where the two directions are.
        has_work: bytes that came are not decoded yet: call `receive_data(b"")` when others have
            had their turn, and nothing else before.
        decoded: bytes that extensions have made of what came, since whoever counts them set it to
            zero.
    """

    __slots__ = (
        "_bits",
        "_buffer",
        "_decoded",
        "_decoder",
        "_decoders",
        "_discarding",
        "_encoders",
        "_expected_mask_bit",
        "_extensions",
        "_fin",
        "_fragments",
        "_held",
        "_held_back",
        "_left",
        "_mask",
        "_max_fragments",
        "_max_size",
        "_next_mask",
        "_on_wire",
        "_pending",
        "_pieces",
        "_rsv",
        "_straight",
        "_stream_next",
        "_streaming",
        "_text",
        "_work",
        "decoded",
        "has_work",
        "reading",
        "writing",
    )

    def __init__(
        self,
        *,
        is_client: bool,
        max_size: int | None = 1 << 20,
        max_fragments: int | None = 1024,
        next_mask: Callable[[], bytes] | None = None,
        extensions: Sequence[tuple[int, ExtensionCodec]] = (),
    ) -> None:
        self._max_size = max_size
        self._straight = _STRAIGHT if max_size is None else min(_STRAIGHT, max_size)
        self._extensions = tuple(extensions)
        self._rsv = 0  # the reserved bits that a first frame may have
        for rsv, _ in extensions:
            self._rsv |= rsv << 4
            if not rsv:
                # It has a part in every message.
                self._straight = -1
        self._max_fragments = max_fragments

        # Reading
        self.reading: Flow = Flow.OPEN
        self._expected_mask_bit = 0 if is_client else _MASKED
        self._pending = b""  # of a frame whose header, or control payload, is not complete
        self._held_back = False  # is `_pending` what a `TooBig` holds back
        self._left = 0  # bytes of the current frame's payload still to come
        self._fin = True  # of the current frame
        self._mask = b""  # of the current frame, turned so that its first byte comes next
        self._text = False  # is the current message text
        self._held = 0  # bytes held of the current message: in one of the next two
        self._buffer: GrowingBuffer | None = None
        self._decoded: GrowingText | None = None
        self._decoder: codecs.IncrementalDecoder | None = None  # of the current message
        self._fragments = 0  # of the current message, so far
        self._streaming = False  # the current message, or else the next one
        self._stream_next = False  # the one behind a current message that is streamed
        self._discarding = False
        self._decoders: tuple[ExtensionCodec, ...] | None = None  # of the current message
        self._pieces: Iterator[bytes] | None = None  # what the last bytes are decoded to
        self._bits = -1  # the reserved bits of a message that the decoders know nothing of yet
        self._on_wire = 0  # bytes of the current message before they are decoded
        self._work = 0  # bytes decoded in this call
        self.has_work: bool = False
        self.decoded: int = 0

        # Writing
        self.writing: Flow = Flow.OPEN
        self._encoders: tuple[ExtensionCodec, ...] = ()  # of the message that has begun
        self._next_mask = (next_mask or mask_source.next) if is_client else None

    @property
    def has_extensions(self) -> bool:
        """Whether any extension may change messages."""
        return bool(self._extensions)

    @property
    def unfinished_bytes(self) -> int:
        """Bytes held for a message, or a frame, that is not complete."""
        return len(self._pending) + self._held

    # Reading

    def receive_data(self, data: bytes) -> list[Event]:
        """Take bytes from the peer and return what they complete, in order.

        A whole message is its `str` or `bytes`. After a `CloseReceived` or a `Violation`
        everything further is ignored; after a `TooBig` it is kept until `read_as_stream` or
        `discard` is called, or `reading` is over.
        """
        events: list[Event] = []
        self._work = 0
        self.has_work = False
        if self._pending:
            data = self._pending + data
            self._pending = b""
        if self._held_back or (self._pieces is not None and not self._take_pieces(events)):
            self._keep(data)
            return events
        end = len(data)
        at = 0
        if self._left:
            at = self._receive_payload(data, 0, events)
            if self._pieces is not None:
                self._keep(data[at:])
                return events
        mask_bit = self._expected_mask_bit
        header_size = 6 if mask_bit else 2
        limit = self._straight_limit()
        frames = _FRAMES_A_CALL
        while end - at >= 2 and frames > 0:
            frames -= 1
            # The straight line: an unfragmented, complete message of up to 64 KiB. Whatever is not
            # plain goes below: lengths in eight bytes, or not in their shortest form, for instance.
            # `n` has its top bit set if the frame is masked against the rule.
            first_byte = data[at]
            n = data[at + 1] ^ mask_bit
            start = at + header_size
            if n == 126 and end - at >= 4:
                n = data[at + 2] << 8 | data[at + 3]
                start = start + 2 if n >= 126 else end + 1
            elif n >= 126:
                start = end + 1
            if n <= limit and start + n <= end and (first_byte == 0x82 or first_byte == 0x81):
                at = start + n
                if first_byte == 0x82:
                    events.append(unmask(data, start, at) if mask_bit else data[start:at])
                    continue
                try:
                    events.append(
                        unmask_text(data, start, at) if mask_bit else str(data[start:at], "utf-8")
                    )
                except UnicodeDecodeError as exc:
                    self._violate(events, *_bad_text(exc))
                    return events
            else:
                if self.reading is _CLOSED:
                    return events
                frames -= _FRAMES_OF_ANOTHER - 1
                at = self._receive_frame(data, at, events)
                if at < 0:
                    return events
                if self._pieces is not None or self._work >= _WORK_AT_MOST:
                    self._keep(data[at:])
                    self._note_work()
                    return events
                limit = self._straight_limit()
        self._keep(data[at:])
        if frames <= 0:
            self._note_work()
        return events

    def _note_work(self) -> None:
        more = self._pieces is not None or bool(self._pending)
        self.has_work = more and not self._held_back

    def _keep(self, data: bytes) -> None:
        """Keep what cannot be taken yet."""
        if self.reading is not _CLOSED:
            self._pending = data

    def wants_room(self) -> bool:
        """Say whether the next bytes are best written to `payload_room`: a large binary frame's."""
        return (
            self._buffer is not None
            and self._left >= _ROOM_FROM
            and not (self._discarding or self._streaming or self._decoders)
        )

    def payload_room(self) -> memoryview | None:
        """Return where the next bytes are to be written, or None if `receive_data` wants them.

        It is in the message itself. The view must be released, and `payload_filled` called, before
        anything else.
        """
        if not self.wants_room():
            return None
        buffer = self._buffer
        assert buffer is not None
        size = min(self._left, max(_ROOM_AT_LEAST, min(len(buffer), _ROOM_AT_MOST)))
        return buffer.room(size, self._left)

    def payload_filled(self, n: int) -> list[Event]:
        """Take `n` bytes that were written to `payload_room`, and do as `receive_data`."""
        buffer = self._buffer
        assert buffer is not None
        buffer.filled(n, self._mask)
        self._held += n
        self._take_payload(n)
        if self._left or not self._fin:
            return []
        return [self._give_up_held()]

    def _straight_limit(self) -> int:
        """Return the largest payload that can go the straight line, -1 if none can."""
        if self.reading is _OPEN and not (self._discarding or self._streaming):
            return self._straight
        return -1

    def read_as_stream(self) -> list[Event]:
        """Report the current message, or else the next one, as `Fragment` events as it arrives.

        The next one too, if the current one is reported so already. No limit applies to it.
        Returns what is there already, and whatever was held back behind a `TooBig`.
        """
        in_message = self._is_in_message()
        if in_message and self._streaming:
            self._stream_next = True
            return []
        self._streaming = True
        self._held_back = False
        events: list[Event] = []
        if in_message:
            piece = self._give_up_held()
            if piece:
                events.append(Fragment(piece, False))
            if self._text and self._decoder is None:
                self._decoder = _new_utf8_decoder()
        return events + self.receive_data(b"")

    def read_whole(self) -> bool:
        """Undo `read_as_stream`; say whether a message has begun, which is finished as a stream."""
        self._stream_next = False
        if self._is_in_message():
            return True
        self._streaming = False
        return False

    def _is_in_message(self) -> bool:
        return self.reading is Flow.IN_MESSAGE or self._left > 0 or self._pieces is not None

    def discard(self) -> list[Event]:
        """Drop data frames from now on, unread: only control frames still count (§7.1.1).

        For the time between our Close frame and the peer's. Returns what was held back behind a
        `TooBig`, control frames only.
        """
        self._discarding = True
        self._held_back = False
        self._drop_held()
        return self.receive_data(b"")

    def _receive_frame(self, data: bytes, at: int, events: list[Event]) -> int:
        """Take the frame that starts at `at`; return where the next one does.

        Return -1 if its header (or, for a control frame, the whole frame) is not complete or
        held back, or if it breaks the protocol.
        """
        first_byte = data[at]
        opcode = first_byte & 0x0F
        second_byte = data[at + 1]
        # What two bytes can tell is told before waiting for more.
        problem = self._check_header(first_byte, second_byte)
        if problem is not None:
            self._violate(events, CloseCode.PROTOCOL_ERROR, problem)
            return -1
        start = at + 2
        n = second_byte & 0x7F
        if n == 126:
            start += 2
            n = int.from_bytes(data[at + 2 : start], "big")
        elif n == 127:
            start += 8
            n = int.from_bytes(data[at + 2 : start], "big")
        key_at = start
        if second_byte & _MASKED:
            start += 4
        if start > len(data):
            self._pending = data[at:]
            return -1
        problem = _check_length(second_byte & 0x7F, n)
        if problem is not None:
            self._violate(events, CloseCode.PROTOCOL_ERROR, problem)
            return -1
        if opcode >= _CLOSE:
            if start + n > len(data):
                self._pending = data[at:]
                return -1
            end = start + n
            payload = unmask(data, start, end) if start > key_at else data[start:end]
            self._receive_control(opcode, payload, events)
            return end
        if not self._begin_data_frame(first_byte, n, events):
            self._keep(data[at:])
            self._held_back = True
            return -1
        self.reading = TRANSITIONS[self.reading][_step(first_byte)]
        self._fin = first_byte >= _FIN
        self._left = n
        self._mask = data[key_at:start]
        return self._receive_payload(data, start, events)

    def _check_header(self, first_byte: int, second_byte: int) -> str | None:
        """Say what is wrong with the first two bytes of a frame, or None."""
        opcode = first_byte & 0x0F
        if first_byte & _RSV:
            bits = f"reserved bits {(first_byte & _RSV) >> 4:03b} set"
            if not self._rsv:
                return f"{bits}, no extension negotiated"
            if opcode not in (_TEXT, _BINARY):
                # RFC 7692 §6.1: only the first frame of a message tells of what was done to it.
                return f"{bits} in a frame with opcode {opcode}"
            if first_byte & _RSV & ~self._rsv:
                return f"{bits}, negotiated are {self._rsv >> 4:03b}"
        if opcode not in _KNOWN_OPCODES:
            return f"unknown opcode {opcode}"
        if (second_byte & _MASKED) != self._expected_mask_bit:
            # §5.1
            return "frame not masked" if self._expected_mask_bit else "frame masked"
        if opcode >= _CLOSE:
            # §5.5
            if first_byte < _FIN:
                return "fragmented control frame"
            if second_byte & 0x7F > MAX_CONTROL_PAYLOAD:
                return "control frame with more than 125 bytes"
        elif _step(first_byte) not in TRANSITIONS[self.reading]:
            if opcode == _CONTINUATION:
                return "continuation frame outside a message"
            return "new message inside a fragmented one"
        return None

    def _begin_data_frame(self, first_byte: int, n: int, events: list[Event]) -> bool:
        """Count a data frame against the limits; False, and a `TooBig`, if it passes them."""
        if self._discarding:
            return True
        opcode = first_byte & 0x0F
        if opcode != _CONTINUATION:
            self._fragments = 0
            self._on_wire = 0
            self._decoders = None
            if self._extensions:
                self._choose_decoders(first_byte)
        if not self._streaming:
            try:
                problem = self._check_limits(n)
            except Exception as exc:
                self._violate(events, *_bad_encoding(exc))
                return False
            if problem is not None:
                events.append(problem)
                return False
        self._fragments += 1
        self._on_wire += n
        if opcode != _CONTINUATION:
            self._text = opcode == _TEXT
            if self._streaming and self._text:
                self._decoder = _new_utf8_decoder()
            self._bits = (first_byte & _RSV) >> 4
        return True

    def _choose_decoders(self, first_byte: int) -> None:
        """Find out which extensions have a part in a message; §9.1: the last one comes first."""
        bits = (first_byte & _RSV) >> 4
        decoders = [codec for rsv, codec in reversed(self._extensions) if rsv & bits or not rsv]
        self._decoders = tuple(decoders) or None

    def _check_limits(self, n: int) -> TooBig | None:
        """Say which limit `n` more bytes of payload pass, or None."""
        limit = self._max_size
        if limit is not None:
            held = self._held
            if self._decoders:
                held = self._on_wire
                for decoder in reversed(self._decoders):
                    limit = decoder.largest_encoded(limit)
                limit += _OF_FRAGMENT * (self._fragments + 1)
            if held + n > limit:
                read = f" after {held}" if held else ""
                return TooBig(
                    CloseCode.MESSAGE_TOO_BIG,
                    f"incoming frame of {n} bytes{read}, limit {limit} a message",
                )
        if self._max_fragments is not None and self._fragments >= self._max_fragments:
            return TooBig(
                CloseCode.POLICY_VIOLATION,
                f"incoming message of more than {self._max_fragments} fragments",
            )
        return None

    def _receive_payload(self, data: bytes, start: int, events: list[Event]) -> int:
        """Take what is there of the current frame's payload; return where it ends."""
        n = min(self._left, len(data) - start)
        end = start + n
        last = self._fin and n == self._left
        if self._discarding:
            self._left -= n
        elif self._decoders is not None:
            chunk = data[start:end]
            if self._mask:
                chunk = apply_mask(chunk, self._mask)
            self._take_payload(n)
            self._decode(chunk, last, events)
        elif self._text or self._streaming:
            chunk = data[start:end]
            if self._mask:
                chunk = apply_mask(chunk, self._mask)
            self._take_payload(n)
            if self._streaming:
                self._stream(chunk, last, events)
            else:
                self._assemble_text(chunk, last, events, n + self._left)
        else:
            if self._buffer is None:
                self._buffer = GrowingBuffer()
            self._buffer.append(data, start, end, self._mask, self._left)
            self._held += n
            self._take_payload(n)
            if last:
                events.append(self._give_up_held())
        return end

    def _take_payload(self, n: int) -> None:
        """Count bytes of the current frame that have come, and turn its mask for the next ones."""
        self._left -= n
        if n & 3:
            self._mask = turn_mask(self._mask, n)

    def _decode(self, chunk: bytes, last: bool, events: list[Event]) -> None:
        """Let the extensions decode a piece of a message (§9.1), and take what they make of it."""
        decoders = self._decoders
        assert decoders is not None
        try:
            if self._bits >= 0:
                for decoder in decoders:
                    decoder.begin_receiving(text=self._text, rsv=self._bits)
                self._bits = -1
            if len(decoders) == 1:
                pieces = decoders[0].decode(chunk, final=last)
            else:
                pieces = _decode_all(decoders, chunk, last)
            if last and type(pieces) is tuple and len(pieces) == 1 and self._takes_whole(pieces[0]):
                self._take_whole(pieces[0], events)
                return
            self._pieces = iter(pieces)
        except Exception as exc:
            self._violate(events, *_bad_encoding(exc))
            return
        self._take_pieces(events)

    def _takes_whole(self, piece: bytes) -> bool:
        """Say whether a piece that has been decoded is a message, as most are."""
        return (
            self._fragments == 1
            and self._buffer is None
            and self._decoder is None
            and not self._streaming
            and type(piece) is bytes
            and (self._max_size is None or len(piece) <= self._max_size)
        )

    def _take_whole(self, message: bytes, events: list[Event]) -> None:
        n = len(message)
        self.decoded += n
        self._work += max(n, _WORK_OF_MESSAGE)
        if not self._text:
            events.append(message)
            return
        try:
            events.append(str(message, "utf-8"))
        except UnicodeDecodeError as exc:
            self._violate(events, *_bad_text(exc))

    def _take_pieces(self, events: list[Event]) -> bool:
        """Take what the last bytes are decoded to; False if that has to wait, or cannot be."""
        pieces = self._pieces
        assert pieces is not None
        while True:
            try:
                piece = next(pieces, _END)
                if piece is _END:
                    break
                if not isinstance(piece, bytes):
                    raise TypeError(f"decode gave {type(piece).__name__}, expected bytes")
            except Exception as exc:
                self._violate(events, *_bad_encoding(exc))
                return False
            self._take_decoded(piece, events)
            if self._held_back or self.reading is _CLOSED:
                return False
            self._work += max(len(piece), _WORK_OF_PIECE)
            if self._work >= _WORK_AT_MOST:
                self.has_work = True
                return False
        self._pieces = None
        if self._fin and not self._left:
            self._end_decoded(events)
        return self.reading is not _CLOSED

    def _take_decoded(self, piece: bytes, events: list[Event]) -> None:
        """Take a piece of a message that has been decoded."""
        n = len(piece)
        if not n:
            return
        self.decoded += n
        if self._streaming:
            self._stream(piece, False, events)
            return
        limit = _UNKNOWN if self._max_size is None else self._max_size
        at_most = n + max(0, limit - self._held - n)
        if self._text:
            self._assemble_text(piece, False, events, at_most)
        else:
            if self._buffer is None:
                self._buffer = GrowingBuffer()
            self._buffer.append(piece, 0, n, b"", at_most)
            self._held += n
        if self._held > limit:
            self._held_back = True
            events.append(
                TooBig(
                    CloseCode.MESSAGE_TOO_BIG,
                    f"incoming message of {self._held} bytes or more, limit {limit}",
                )
            )

    def _end_decoded(self, events: list[Event]) -> None:
        """End a message that has been decoded."""
        if self._streaming:
            self._stream(b"", True, events)
        elif self._text:
            self._assemble_text(b"", True, events, 0)
        else:
            events.append(self._give_up_held())

    def _assemble_text(self, chunk: bytes, last: bool, events: list[Event], at_most: int) -> None:
        """Decode the next piece of a text at once: bad text fails here, and none is kept twice.

        `at_most` bytes of it are still to come, these included.
        """
        try:
            if last and self._decoder is None:
                events.append(str(chunk, "utf-8"))
                return
            if self._decoder is None:
                self._decoder = _new_utf8_decoder()
            piece = _decode(self._decoder, chunk, last)
        except UnicodeDecodeError as exc:
            self._violate(events, *_bad_text(exc))
            return
        decoded = self._decoded
        if decoded is None:
            decoded = self._decoded = GrowingText()
        decoded.append(piece, at_most)
        self._held += len(chunk)
        if last:
            self._decoder = None
            events.append(self._give_up_held())

    def _give_up_held(self) -> str | bytes:
        """Hold nothing of the current message any more; return what it was."""
        self._held = 0
        held = self._decoded if self._buffer is None else self._buffer
        self._buffer = self._decoded = None
        return b"" if held is None else held.take()

    def _drop_held(self) -> None:
        """Hold nothing of the current message any more: nobody wants it."""
        self._held = 0
        self._buffer = self._decoded = None
        self._pieces = None
        self._decoder = None

    def _stream(self, chunk: bytes, final: bool, events: list[Event]) -> None:
        """Report a piece of a message that is read as a stream."""
        piece: str | bytes = chunk
        if self._decoder is not None:
            try:
                piece = _decode(self._decoder, chunk, final)
            except UnicodeDecodeError as exc:
                self._violate(events, *_bad_text(exc))
                return
        if final:
            self._streaming = self._stream_next
            self._stream_next = False
            self._decoder = None
        if piece or final:
            events.append(Fragment(piece, final))

    def _receive_control(self, opcode: int, payload: bytes, events: list[Event]) -> None:
        if opcode == _PING:
            events.append(Ping(payload))
        elif opcode == _PONG:
            events.append(Pong(payload))
        else:
            try:
                close = decode_close_payload(payload)
            except UnicodeDecodeError:
                self._violate(events, CloseCode.INVALID_DATA, "close reason is not UTF-8")
            except ValueError as exc:
                self._violate(events, CloseCode.PROTOCOL_ERROR, str(exc))
            else:
                self._stop_reading()
                events.append(CloseReceived(close))

    def _violate(self, events: list[Event], code: int, reason: str) -> None:
        self._stop_reading()
        events.append(Violation(code, reason))

    def _stop_reading(self) -> None:
        self.reading = Flow.CLOSED
        self.has_work = False
        self._left = 0
        self._pending = b""
        self._drop_held()

    # Writing

    def send_message(
        self, payload: bytes, text: bool, compress: bool | None = None
    ) -> tuple[bytes, ...]:
        """Return the buffers of an unfragmented message (§5.6).

        Args:
            payload: for text, UTF-8; not checked again.
            text: the kind of message.
            compress: what the application wants; None leaves it to the extension.

        Raises:
            LocalProtocolError: a fragmented message is unfinished, or the Close frame is out.
        """
        if self.writing is not _OPEN:
            self._advance(Step.WHOLE)
        first_byte = 0x81 if text else 0x82
        if self._extensions:
            first_byte |= self.begin_message(text, len(payload), compress)
            payload = self.encode(payload, final=True)
        if self._next_mask is not None:
            return encode_frame(first_byte, payload, self._next_mask())
        n = len(payload)
        if n < 126 and first_byte <= 0x82:
            return (join_frame(SHORT_HEADERS[first_byte][n], payload, None),)
        return encode_frame(first_byte, payload, None)

    def frame_key(self) -> Hashable | None:
        """Return what two sides have in common whose frames of one message are the same.

        None if no other frame is like ours: a client's has a masking key of its own (§5.3), and
        that of an extension may depend on the messages before.
        """
        if self._next_mask is not None:
            return None
        if not self._extensions:
            return ()
        keys = []
        for rsv, codec in self._extensions:
            key = codec.same_encoding()
            if key is None:
                return None
            keys.append((rsv, key))
        return tuple(keys)

    def begin_message(self, text: bool, size: int | None, compress: bool | None) -> int:
        """Ask the extensions which of them have a part in a message; return its reserved bits.

        The bits are where the first byte of a frame has them. `encode` goes through those
        extensions until the message ends.
        """
        encoders = []
        bits = 0
        for _, codec in self._extensions:
            rsv = codec.begin_message(text=text, size=size, compress=compress)
            if rsv is not None:
                bits |= rsv << 4
                encoders.append(codec)
        self._encoders = tuple(encoders)
        return bits

    @property
    def is_encoding(self) -> bool:
        """Whether any extension has a part in the message that has begun."""
        return bool(self._encoders)

    def encode(self, payload: bytes, *, flush: bool = True, final: bool) -> bytes:
        """Let the extensions encode the next piece of the message that has begun (§9.1)."""
        for encoder in self._encoders:
            payload = encoder.encode(payload, flush=flush, final=final)
        return payload

    def cancel_message(self) -> None:
        """Let the extensions forget a message of which nothing was sent."""
        for encoder in self._encoders:
            encoder.cancel_message()

    def new_masking(self) -> Masking:
        """Return the masking of a message that is to be sent by `send_slices`."""
        return Masking(None if self._next_mask is None else self._next_mask())

    def send_slices(
        self, slices: Sequence[bytes], masking: Masking, text: bool, bits: int = 0
    ) -> tuple[bytes, ...]:
        """Do as `send_message`, for a payload that is encoded and masked already, in slices.

        Args:
            slices, masking, text: as said.
            bits: what `begin_message` returned.
        """
        if self.writing is not _OPEN:
            self._advance(Step.WHOLE)
        n = sum(map(len, slices))
        first_byte = (0x81 if text else 0x82) | bits
        return (encode_frame_header(first_byte, n, masking.key), *slices)

    def send_fragment(
        self, payload: bytes, *, text: bool, final: bool, compress: bool | None = None
    ) -> tuple[bytes, ...]:
        """Return the buffers of the next frame of a fragmented message (§5.4).

        The first call begins the message, and that with `final` ends it.
        """
        bits = 0
        if self.writing is Flow.IN_MESSAGE:
            opcode = _CONTINUATION
            self._advance(Step.LAST if final else Step.MIDDLE)
        else:
            opcode = _TEXT if text else _BINARY
            self._advance(Step.WHOLE if final else Step.FIRST)
            bits = self.begin_message(text, None, compress)
        payload = self.encode(payload, final=final)
        mask = None if self._next_mask is None else self._next_mask()
        return encode_frame(opcode | bits | (_FIN if final else 0), payload, mask)

    def send_ping(self, data: bytes) -> bytes:
        """Return a Ping frame with at most 125 bytes of data (§5.5.2)."""
        return self._send_control(_PING, data, Step.CONTROL)

    def send_pong(self, data: bytes) -> bytes:
        """Return a Pong frame with at most 125 bytes of data (§5.5.3)."""
        return self._send_control(_PONG, data, Step.CONTROL)

    def send_close(self, code: int, reason: str = "") -> bytes:
        """Return the Close frame, the last frame of this direction (§5.5.1); 1005: an empty one.

        Raises:
            LocalProtocolError: `code` or `reason` is out of range, or a Close frame is out.
        """
        return self._send_control(_CLOSE, encode_close_payload(code, reason), Step.CLOSE)

    def _send_control(self, opcode: int, data: bytes, step: Step) -> bytes:
        if len(data) > MAX_CONTROL_PAYLOAD:
            raise LocalProtocolError(
                f"control frame of {len(data)} bytes, limit 125 (RFC 6455 §5.5)"
            )
        self._advance(step)
        mask = None if self._next_mask is None else self._next_mask()
        return encode_frame(opcode | _FIN, data, mask)[0]

    def _advance(self, step: Step) -> None:
        """Take a step in the writing direction, as the table has it."""
        following = TRANSITIONS[self.writing].get(step)
        if following is None:
            raise LocalProtocolError(
                f"cannot send {step.value}: this direction is {self.writing.value}"
            )
        self.writing = following


def _step(first_byte: int) -> Step:
    """Say what a data frame does to its direction."""
    if first_byte & 0x0F == _CONTINUATION:
        return Step.LAST if first_byte >= _FIN else Step.MIDDLE
    return Step.WHOLE if first_byte >= _FIN else Step.FIRST


def _check_length(coded: int, n: int) -> str | None:
    """Say what is wrong with an extended length (§5.2: shortest form, 63 bits), or None."""
    if coded == 126 and n < 126:
        return f"length {n} is not in its shortest form"
    if coded == 127:
        if n < 65536:
            return f"length {n} is not in its shortest form"
        if n >= 1 << 63:
            return f"length {n} has its highest bit set"
    return None


def _decode(
    decoder: codecs.IncrementalDecoder, chunk: bytes | bytearray, final: bool = False
) -> str:
    """Decode a piece of a text; fail at the first byte that no text can have (§8.1)."""
    piece = decoder.decode(chunk, final)
    held = decoder.getstate()[0]
    if held[:1] == b"\xed":
        # The decoder waits for the third byte of a surrogate, but the second one tells already:
        # a character begins like this if some third byte completes it.
        str(held.ljust(3, b"\x80"), "utf-8")
    return piece


def _decode_all(decoders: Sequence[ExtensionCodec], data: bytes, final: bool) -> Iterator[bytes]:
    """Decode a piece of a payload by one extension after the other."""
    if len(decoders) == 1:
        yield from decoders[0].decode(data, final=final)
        return
    *others, last = decoders
    for piece in _decode_all(others, data, final):
        yield from last.decode(piece, final=False)
        yield b""  # work was done, even if nothing has come of it so far
    if final:
        yield from last.decode(b"", final=True)


def _bad_encoding(exc: Exception) -> tuple[int, str]:
    if isinstance(exc, ValueError):
        return CloseCode.INVALID_DATA, str(exc)
    return CloseCode.INTERNAL_ERROR, f"an extension failed: {exc!r}"


def _bad_text(exc: UnicodeDecodeError) -> tuple[int, str]:
    return CloseCode.INVALID_DATA, f"text is not UTF-8: {exc.reason}"
