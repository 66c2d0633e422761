"""The protocol object under any bytes, any cuts, any order of calls."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from anyws import CloseFrame
from anyws._core.events import CloseReceived, Event, Ping, Pong
from anyws._core.masking import apply_mask
from anyws._core.protocol import Flow, Protocol
from anyws.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame

from .._core.wire import masked
from .reading import Reader, check_events, pieces, received

sides = st.booleans()
masks = st.binary(min_size=4, max_size=4)
# Mostly short; sometimes past a change in the form of the length.
payloads = st.one_of(
    st.binary(max_size=40),
    st.integers(120, 135).map(bytes),
    st.sampled_from([399, 400, 401, 1000]).map(bytes),
)
texts = st.one_of(
    st.text(max_size=20),
    st.text(min_size=120, max_size=130),
    st.builds(str.__mul__, st.characters(codec="utf-8"), st.integers(0, 200)),
)
messages = st.one_of(texts, payloads)
control_data = st.binary(max_size=125)
close_codes = st.one_of(st.integers(1000, 1003), st.integers(1007, 1014), st.integers(3000, 4999))
close_reasons = st.text(max_size=30)
#: Where to cut bytes, as fractions of their length: they shrink well.
cuts = st.lists(st.floats(0, 1), max_size=12)

frames = st.builds(
    Frame,
    opcode=st.one_of(
        st.sampled_from([CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG]), st.integers(0, 15)
    ),
    payload=st.one_of(payloads, texts.map(str.encode)),
    fin=st.booleans(),
    reserved=st.one_of(st.just(0), st.just(0), st.just(0), st.integers(0, 7)),
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a peer sends, and what the events of it are to be."""

    data: bytes
    events: list[Event]


@st.composite
def streams(draw: st.DrawFn, *, to_server: bool) -> bytes:
    """Bytes that begin like those of a peer, with any frames in them, or that are anything."""
    parts: list[bytes] = []
    for frame in draw(st.lists(frames, max_size=8)):
        as_agreed = draw(st.sampled_from([True, True, True, True, True, False]))
        mask = draw(masks)
        parts.append(frame.encode(mask if to_server is as_agreed else None))
    parts.append(draw(st.binary(max_size=20)))
    return b"".join(parts)


@st.composite
def conversations(draw: st.DrawFn, *, to_server: bool) -> Sent:
    """Messages that keep to the RFC, fragmented and with control frames between fragments."""
    parts: list[bytes] = []
    events: list[Event] = []

    def send(frame: Frame) -> None:
        parts.append(frame.encode(draw(masks) if to_server else None))

    def send_control() -> None:
        data = draw(control_data)
        ping = draw(st.booleans())
        send(Frame(PING if ping else PONG, data))
        events.append(Ping(data) if ping else Pong(data))

    for message in draw(st.lists(messages, max_size=6)):
        opcode, payload = (
            (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
        )
        fragments = pieces(payload, draw(st.lists(st.floats(0, 1), max_size=4)))
        for i, fragment in enumerate(fragments):
            if draw(st.integers(0, 4)) == 0:
                send_control()
            fin = i == len(fragments) - 1
            send(Frame(CONTINUATION if i else opcode, fragment, fin=fin))
        events.append(message)
    if draw(st.booleans()):
        code, reason = draw(close_codes), draw(close_reasons)
        send(Frame(CLOSE, code.to_bytes(2, "big") + reason.encode()))
        events.append(CloseReceived(CloseFrame(code, reason)))
        parts.append(draw(st.binary(max_size=10)))
    return Sent(b"".join(parts), events)


@given(st.data(), sides, cuts, st.one_of(st.none(), st.integers(1, 200)), st.integers(1, 5))
def test_any_cuts_give_the_same_events(
    data: st.DataObject,
    is_client: bool,
    fractions: list[float],
    max_size: int | None,
    max_fragments: int,
) -> None:
    stream = data.draw(streams(to_server=not is_client))

    def new() -> Protocol:
        return Protocol(is_client=is_client, max_size=max_size, max_fragments=max_fragments)

    whole, cut, single = new(), new(), new()
    events = whole.receive_data(stream)
    assert received(cut, pieces(stream, fractions)) == events
    assert received(single, [bytes([octet]) for octet in stream]) == events
    assert cut.reading is single.reading is whole.reading
    assert cut.unfinished_bytes == single.unfinished_bytes == whole.unfinished_bytes


@given(st.data(), sides, cuts)
def test_any_bytes_give_only_documented_outcomes(
    data: st.DataObject, is_client: bool, fractions: list[float]
) -> None:
    stream = data.draw(st.one_of(st.binary(max_size=200), streams(to_server=not is_client)))
    protocol = Protocol(is_client=is_client, max_size=100, max_fragments=3)
    events = received(protocol, pieces(stream, fractions))
    check_events(events, protocol, max_size=100)
    assert protocol.unfinished_bytes <= len(stream)


@given(st.data(), sides, cuts)
def test_conversation_gives_its_messages(
    data: st.DataObject, is_client: bool, fractions: list[float]
) -> None:
    sent = data.draw(conversations(to_server=not is_client))
    protocol = Protocol(is_client=is_client)
    events = received(protocol, pieces(sent.data, fractions))
    assert events == sent.events
    assert all(
        type(event) is type(expected) for event, expected in zip(events, sent.events, strict=True)
    )


@given(st.data(), sides, cuts)
def test_conversation_read_as_streams_gives_the_same_messages(
    data: st.DataObject, is_client: bool, fractions: list[float]
) -> None:
    sent = data.draw(conversations(to_server=not is_client))
    # No message would pass these limits whole.
    protocol = Protocol(is_client=is_client, max_size=1, max_fragments=1)
    reader = Reader(protocol, always_streams=True)
    for piece in pieces(sent.data, fractions):
        reader.receive(piece)
    assert reader.seen == sent.events


@given(st.data(), sides, cuts, st.integers(0, 12))
def test_conversation_discarded_gives_its_control_frames(
    data: st.DataObject, is_client: bool, fractions: list[float], from_piece: int
) -> None:
    sent = data.draw(conversations(to_server=not is_client))
    protocol = Protocol(is_client=is_client)
    events: list[Event] = []
    for i, piece in enumerate(pieces(sent.data, fractions)):
        if i == from_piece:
            events += protocol.discard()
            kept = len(events)
        events += protocol.receive_data(piece)
        if i >= from_piece:
            assert not any(isinstance(event, str | bytes) for event in events[kept:])

    def control(among: list[Event]) -> list[Event]:
        return [event for event in among if not isinstance(event, str | bytes)]

    assert control(events) == control(sent.events)


@given(st.binary(max_size=1000), masks)
def test_mask_is_that_of_the_rfc(payload: bytes, mask: bytes) -> None:
    assert apply_mask(payload, mask) == masked(payload, mask)


class Dialogue(RuleBasedStateMachine):
    """One side sends to the other over a wire that delivers as it likes.

    Checked against a list: what has been seen is always the beginning of what was sent.
    """

    @initialize(is_client=sides, max_size=st.sampled_from([None, 10, 200]))
    def begin(self, is_client: bool, max_size: int | None) -> None:
        self.sender = Protocol(is_client=is_client)
        self.reader = Reader(Protocol(is_client=not is_client, max_size=max_size, max_fragments=3))
        self.wire = b""
        self.sent: list[Event] = []
        self.fragments: list[str | bytes] = []

    def put(self, *buffers: bytes) -> None:
        self.wire += b"".join(buffers)

    def is_sending(self, flow: Flow) -> bool:
        return self.sender.writing is flow

    @precondition(lambda self: self.is_sending(Flow.OPEN))
    @rule(message=messages)
    def send_message(self, message: str | bytes) -> None:
        text = isinstance(message, str)
        payload = message.encode() if isinstance(message, str) else message
        self.put(*self.sender.send_message(payload, text))
        self.sent.append(message)

    @precondition(lambda self: self.is_sending(Flow.OPEN))
    @rule(fragment=messages)
    def begin_message(self, fragment: str | bytes) -> None:
        self.fragments = []
        self.send_fragment(fragment, final=False)

    @precondition(lambda self: self.is_sending(Flow.IN_MESSAGE))
    @rule(text=texts, payload=payloads, final=st.booleans())
    def continue_message(self, text: str, payload: bytes, final: bool) -> None:
        self.send_fragment(text if isinstance(self.fragments[0], str) else payload, final=final)
        if final:
            empty = type(self.fragments[0])()
            self.sent.append(empty.join(self.fragments))  # type: ignore[arg-type]  # all of one type

    def send_fragment(self, fragment: str | bytes, *, final: bool) -> None:
        self.fragments.append(fragment)
        payload = fragment.encode() if isinstance(fragment, str) else fragment
        text = isinstance(fragment, str)
        self.put(*self.sender.send_fragment(payload, text=text, final=final))

    @precondition(lambda self: not self.is_sending(Flow.CLOSED))
    @rule(data=control_data)
    def ping(self, data: bytes) -> None:
        self.put(self.sender.send_ping(data))
        self.sent.append(Ping(data))

    @precondition(lambda self: not self.is_sending(Flow.CLOSED))
    @rule(data=control_data)
    def pong(self, data: bytes) -> None:
        self.put(self.sender.send_pong(data))
        self.sent.append(Pong(data))

    # Late, so that most dialogues are long.
    @precondition(lambda self: not self.is_sending(Flow.CLOSED) and len(self.sent) > 5)
    @rule(code=close_codes, reason=close_reasons)
    def close(self, code: int, reason: str) -> None:
        self.put(self.sender.send_close(code, reason))
        self.sent.append(CloseReceived(CloseFrame(code, reason)))

    @rule(n=st.integers(1, 300))
    def deliver(self, n: int) -> None:
        self.reader.receive(self.wire[:n])
        self.wire = self.wire[n:]
        self.check()

    @rule()
    def stream(self) -> None:
        self.reader.stream()
        self.check()

    @rule()
    def stream_no_more(self) -> None:
        self.reader.protocol.read_whole()

    def check(self) -> None:
        seen = self.reader.seen
        assert seen == self.sent[: len(seen)]

    def teardown(self) -> None:
        if not hasattr(self, "reader"):
            return
        self.deliver(len(self.wire) + 1)
        while self.reader.held_back is not None:
            self.stream()
        assert self.reader.seen == self.sent


# One dialogue has as many steps as other examples have bytes.
Dialogue.TestCase.settings = settings(max_examples=max(10, settings().max_examples // 10))
TestDialogue = Dialogue.TestCase
