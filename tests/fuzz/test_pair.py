"""Two protocol objects that talk to each other, with a model of what each may do and must see.

`test_protocol.Dialogue` lets one side speak. Here both do, at once, and both may close; what a side
may not do in its state is tried too.
"""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from anyws import CloseFrame, LocalProtocolError
from anyws._core.events import CloseReceived, Event, Ping, Pong
from anyws._core.protocol import Flow, Protocol

from .reading import WorkingReader
from .test_protocol import close_codes, close_reasons, control_data, messages, payloads, texts
from .transcripts import new_codecs

ends = st.integers(0, 1)


class End:
    """One side, and what the model knows of it.

    Attributes:
        expected: what it has to see, in order, as far as it was sent.
        fragments: those of the message that it is sending.
        writing: where this direction is.
        discards: it closed, and takes no messages any more.
        wire: bytes on their way to it.
    """

    def __init__(self, protocol: Protocol) -> None:
        self.protocol = protocol
        self.reader = WorkingReader(protocol)
        self.expected: list[Event] = []
        self.fragments: list[str | bytes] = []
        self.writing = Flow.OPEN
        self.discards = False
        self.wire = b""

    def expect(self, event: Event) -> None:
        """Take note of what its peer sent."""
        if not (self.discards and isinstance(event, str | bytes)):
            self.expected.append(event)

    def discard(self) -> None:
        """Do as a connection does behind its own Close frame."""
        self.discards = True
        seen = len(self.reader.seen)
        rest = [event for event in self.expected[seen:] if not isinstance(event, str | bytes)]
        self.expected[seen:] = rest
        self.reader.discard()


class Pair(RuleBasedStateMachine):
    """What a side sees is what the other one has sent, in order, up to what is still under way."""

    @initialize(
        names=st.sampled_from(["", "deflate", "alone", "alone, last"]),
        max_size=st.sampled_from([None, 10, 200]),
    )
    def begin(self, names: str, max_size: int | None) -> None:
        self.ends = [
            End(
                Protocol(
                    is_client=is_client,
                    max_size=max_size,
                    max_fragments=3,
                    extensions=new_codecs(names, is_client=is_client),
                )
            )
            for is_client in (True, False)
        ]

    def put(self, at: int, event: Event | None, *buffers: bytes) -> None:
        """Put what an end sent on the wire to the other one."""
        peer = self.ends[1 - at]
        peer.wire += b"".join(buffers)
        if event is not None:
            peer.expect(event)

    @rule(at=ends, message=messages)
    def send_message(self, at: int, message: str | bytes) -> None:
        end = self.ends[at]
        payload = message.encode() if isinstance(message, str) else message
        text = isinstance(message, str)
        if end.writing is Flow.OPEN:
            self.put(at, message, *end.protocol.send_message(payload, text))
        else:
            with pytest.raises(LocalProtocolError):
                end.protocol.send_message(payload, text)

    @rule(at=ends, text=texts, payload=payloads, is_text=st.booleans(), final=st.booleans())
    def send_fragment(self, at: int, text: str, payload: bytes, is_text: bool, final: bool) -> None:
        end = self.ends[at]
        if end.writing is Flow.CLOSED:
            with pytest.raises(LocalProtocolError):
                end.protocol.send_fragment(payload, text=False, final=final)
            return
        if end.writing is Flow.OPEN:
            end.fragments = []
        else:
            is_text = isinstance(end.fragments[0], str)
        end.fragments.append(text if is_text else payload)
        data = text.encode() if is_text else payload
        message = type(end.fragments[0])().join(end.fragments) if final else None  # type: ignore[arg-type]  # all of one type
        self.put(at, message, *end.protocol.send_fragment(data, text=is_text, final=final))
        end.writing = Flow.OPEN if final else Flow.IN_MESSAGE

    @rule(at=ends, data=control_data, is_ping=st.booleans())
    def send_control(self, at: int, data: bytes, is_ping: bool) -> None:
        end = self.ends[at]
        send = end.protocol.send_ping if is_ping else end.protocol.send_pong
        if end.writing is Flow.CLOSED:
            with pytest.raises(LocalProtocolError):
                send(data)
        else:
            self.put(at, Ping(data) if is_ping else Pong(data), send(data))

    @rule(at=ends, excess=st.integers(1, 100))
    def send_too_much_control_data(self, at: int, excess: int) -> None:
        with pytest.raises(LocalProtocolError):
            self.ends[at].protocol.send_ping(bytes(125 + excess))

    # Late, so that most conversations are long.
    @precondition(lambda self: sum(len(end.expected) for end in self.ends) > 8)
    @rule(at=ends, code=close_codes, reason=close_reasons, discards=st.booleans())
    def send_close(self, at: int, code: int, reason: str, discards: bool) -> None:
        end = self.ends[at]
        if end.writing is Flow.CLOSED:
            with pytest.raises(LocalProtocolError):
                end.protocol.send_close(code, reason)
            return
        close = CloseReceived(CloseFrame(code, reason))
        self.put(at, close, end.protocol.send_close(code, reason))
        end.writing = Flow.CLOSED
        if discards:
            end.discard()

    @rule(at=ends, n=st.one_of(st.integers(1, 300), st.just(1 << 20)))
    def deliver(self, at: int, n: int) -> None:
        end = self.ends[at]
        end.reader.receive(end.wire[:n])
        end.wire = end.wire[n:]

    @rule(at=ends)
    def stream(self, at: int) -> None:
        self.ends[at].reader.stream()

    @rule(at=ends)
    def stream_no_more(self, at: int) -> None:
        self.ends[at].protocol.read_whole()

    @invariant()
    def each_end_has_seen_the_beginning_of_what_was_sent(self) -> None:
        for end in getattr(self, "ends", ()):
            seen = end.reader.seen
            assert seen == end.expected[: len(seen)]

    @invariant()
    def each_end_is_where_the_model_is(self) -> None:
        for end in getattr(self, "ends", ()):
            assert end.protocol.writing is end.writing
            closed = any(isinstance(event, CloseReceived) for event in end.reader.seen)
            assert (end.protocol.reading is Flow.CLOSED) is closed

    def teardown(self) -> None:
        for at, end in enumerate(getattr(self, "ends", ())):
            self.deliver(at, len(end.wire) + 1)
            while end.reader.held_back is not None:
                self.stream(at)
            assert end.reader.seen == end.expected
        self.each_end_is_where_the_model_is()


Pair.TestCase.settings = settings(max_examples=max(10, settings().max_examples // 10))
TestPair = Pair.TestCase
