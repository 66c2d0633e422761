"""Extensions under any messages, any cuts, any order of calls; in both builds alike."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from random import Random
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule

from anyws._build import COMPILED
from anyws._core.deflate import Deflate
from anyws._core.events import Event, Violation
from anyws._core.extensions import ExtensionCodec
from anyws._core.grammar import ExtensionParameters
from anyws._core.protocol import Flow, Protocol
from anyws.testing import BINARY, CONTINUATION, TEXT, Frame

from ..builds import INSTALLED, load_pure
from .reading import WorkingReader, check_events, check_same_events, pieces, worked
from .test_builds import (
    calls_with,
    fragment_limits,
    large_payloads,
    limits,
    two_builds,
    writing_calls,
)
from .test_protocol import (
    Dialogue,
    cuts,
    frames,
    masks,
    messages,
    payloads,
    sides,
    texts,
)
from .transcripts import (
    CANCEL,
    EXTENSIONS,
    Call,
    Script,
    encode_alone,
    new_codecs,
    transcript,
)

if COMPILED:
    PURE: Final = load_pure()

# Many times what one call decodes, and some of it beyond the limit of a message.
huge_payloads = st.sampled_from([70_000, 600_000, 2_000_000]).map(bytes)
extension_names = st.sampled_from(EXTENSIONS)
compress = st.sampled_from([None, True, False])


@st.composite
def extended_bytes(draw: st.DrawFn, *, names: str, to_server: bool) -> bytes:
    """Bytes from a peer with extensions: as they should be, damaged, or with any other frames."""
    sent: list[Frame] = []
    for _ in range(draw(st.integers(0, 6))):
        kind = draw(st.sampled_from(["text", "text", "binary", "binary", "huge", "any"]))
        if kind == "any":
            sent.append(draw(frames))
            continue
        data = draw(
            {"text": texts.map(str.encode), "binary": payloads, "huge": huge_payloads}[kind]
        )
        bits, payload = encode_alone(names, data)
        if payload and draw(st.integers(0, 5)) == 0:
            at = draw(st.integers(0, len(payload) - 1))
            payload = payload[:at] + draw(st.binary(max_size=3)) + payload[at + 1 :]
        frame = Frame(TEXT if kind == "text" else BINARY, payload, reserved=bits)
        sent += _in_fragments(frame, draw(st.lists(st.floats(0, 1), max_size=3)))
    return b"".join(frame.encode(draw(masks) if to_server else None) for frame in sent)


def _in_fragments(frame: Frame, fractions: list[float]) -> Iterator[Frame]:
    fragments = pieces(frame.payload, fractions)
    for i, payload in enumerate(fragments):
        first = frame if i == 0 else Frame(CONTINUATION)
        yield replace(first, payload=payload, fin=i == len(fragments) - 1)


@st.composite
def extended_reading_scripts(draw: st.DrawFn) -> Script:
    is_client, names = draw(sides), draw(extension_names)
    calls = draw(calls_with(draw(extended_bytes(names=names, to_server=not is_client))))
    return Script(
        is_client,
        draw(limits),
        draw(fragment_limits),
        draw(st.booleans()),
        mask_seed=0,
        calls=[*calls, *[Call("receive_data", (b"",))] * 3],
        extensions=names,
        works=draw(st.booleans()),
    )


extended_writing_calls = st.one_of(
    writing_calls,
    st.builds(
        lambda payload, text, compress: Call("send_message", (payload, text, compress)),
        st.one_of(payloads, large_payloads),
        st.booleans(),
        compress,
    ),
    st.builds(
        lambda payload, final, compress: Call(
            "send_fragment", (payload,), {"text": False, "final": final, "compress": compress}
        ),
        st.one_of(payloads, large_payloads),
        st.booleans(),
        compress,
    ),
    st.builds(lambda payload: Call(CANCEL, (payload,)), st.one_of(payloads, large_payloads)),
)


@st.composite
def extended_writing_scripts(draw: st.DrawFn) -> Script:
    calls = draw(st.lists(extended_writing_calls, max_size=10))
    names = draw(extension_names)
    return Script(draw(sides), None, None, False, draw(st.integers(0)), calls, extensions=names)


@two_builds
@given(extended_reading_scripts())
def test_both_builds_read_alike_through_extensions(script: Script) -> None:
    assert transcript(script, INSTALLED) == transcript(script, PURE)


@two_builds
@given(extended_writing_scripts())
def test_both_builds_write_alike_through_extensions(script: Script) -> None:
    assert transcript(script, INSTALLED) == transcript(script, PURE)


# The protocol object itself


@given(st.data(), sides, extension_names, cuts, st.sampled_from([None, 10, 1000, 100_000]))
def test_any_cuts_give_the_same_messages(
    data: st.DataObject, is_client: bool, names: str, fractions: list[float], max_size: int | None
) -> None:
    stream = data.draw(extended_bytes(names=names, to_server=not is_client))

    def new() -> Protocol:
        codecs = new_codecs(names, is_client=is_client)
        return Protocol(is_client=is_client, max_size=max_size, max_fragments=3, extensions=codecs)

    whole, cut = new(), new()
    events = worked(whole, [stream])
    found = worked(cut, pieces(stream, fractions))
    check_same_events(events, found, extended=True)
    if not any(isinstance(event, Violation) for event in events + found):
        assert cut.reading is whole.reading


@given(st.data(), sides, extension_names, cuts, st.booleans())
def test_any_bytes_give_only_documented_outcomes(
    data: st.DataObject, is_client: bool, names: str, fractions: list[float], streaming: bool
) -> None:
    stream = data.draw(extended_bytes(names=names, to_server=not is_client))
    codecs = new_codecs(names, is_client=is_client)
    protocol = Protocol(is_client=is_client, max_size=100, max_fragments=3, extensions=codecs)
    if streaming:
        protocol.read_as_stream()
    events = worked(protocol, pieces(stream, fractions))
    # 1011 is for a codec that fails at a byte on purpose.
    own_codes = {1011} if "xor" in names else ()
    check_events(events, protocol, max_size=100, streaming=streaming, own_codes=own_codes)


# What comes off last is compression, of which no piece is larger than 64 KiB.
@given(st.data(), sides, st.sampled_from(["deflate", "alone", "xor, deflate", "alone, last"]), cuts)
def test_one_call_decodes_no_more_than_a_little_over_512_kib(
    data: st.DataObject, is_client: bool, names: str, fractions: list[float]
) -> None:
    stream = data.draw(extended_bytes(names=names, to_server=not is_client))
    codecs = new_codecs(names, is_client=is_client)
    protocol = Protocol(is_client=is_client, max_size=None, extensions=codecs)
    for piece in pieces(stream, fractions):
        chunk = piece
        while chunk or protocol.has_work:
            protocol.decoded = 0
            protocol.receive_data(chunk)
            assert protocol.decoded <= (512 + 2 * 64) * 1024
            chunk = b""


# A dialogue with compression: nothing is lost, repeated or out of order


window_bits = st.sampled_from(["8", "9", "12", "15"])


class CompressedDialogue(Dialogue):
    """The same, where one side compresses what it likes."""

    reader: WorkingReader

    @initialize(
        is_client=sides,
        max_size=st.sampled_from([None, 10, 200, 100_000]),
        bits=window_bits,
        alone=st.booleans(),
        chained=st.booleans(),
    )
    def begin(
        self, is_client: bool, max_size: int | None, bits: str, alone: bool, chained: bool
    ) -> None:
        prefix = "client" if is_client else "server"
        agreed: ExtensionParameters = ((f"{prefix}_max_window_bits", bits),)
        if alone:
            agreed += ((f"{prefix}_no_context_takeover", None),)
        deflate = Deflate(threshold=30, memory_level=1 + int(bits) % 9)

        def new(is_client: bool, max_size: int | None) -> Protocol:
            codecs: list[tuple[int, ExtensionCodec]] = []
            if chained:
                codecs += new_codecs("last", is_client=is_client)
            codecs.append((4, deflate.codec(agreed, is_client=is_client)))
            return Protocol(
                is_client=is_client, max_size=max_size, max_fragments=3, extensions=codecs
            )

        self.sender = new(is_client, None)
        self.reader = WorkingReader(new(not is_client, max_size))
        self.wire = b""
        self.last_put = 0
        self.sent: list[Event] = []
        self.fragments: list[str | bytes] = []

    @precondition(lambda self: self.is_sending(Flow.OPEN))
    @rule(message=messages, compress=compress)
    def send_as_told(self, message: str | bytes, compress: bool | None) -> None:
        payload = message.encode() if isinstance(message, str) else message
        self.put(*self.sender.send_message(payload, isinstance(message, str), compress))
        self.sent.append(message)

    @precondition(lambda self: self.is_sending(Flow.OPEN))
    @rule(size=st.sampled_from([70_000, 600_000, 1_500_000]), seed=st.integers(0, 3))
    def send_huge_one(self, size: int, seed: int) -> None:
        # Of which nothing can be found again, or nearly everything.
        message = Random(seed).randbytes(min(size, 70_000)) if seed else bytes(size)
        self.put(*self.sender.send_message(message, False))
        self.sent.append(message)

    @precondition(lambda self: self.is_sending(Flow.OPEN))
    @rule(payload=st.one_of(payloads, large_payloads), size=st.sampled_from([7, 401, 70_000]))
    def send_in_slices(self, payload: bytes, size: int) -> None:
        sender = self.sender
        bits = sender.begin_message(False, len(payload), None)
        masking = sender.new_masking()
        slices = [
            masking.apply(sender.encode(payload[at : at + size], flush=False, final=False))
            for at in range(0, len(payload), size)
        ]
        slices.append(masking.apply(sender.encode(b"", final=True)))
        self.put(*sender.send_slices(slices, masking, False, bits))
        self.sent.append(payload)

    @precondition(lambda self: self.is_sending(Flow.OPEN))
    @rule(payload=payloads, parts=st.integers(0, 3))
    def cancel_one(self, payload: bytes, parts: int) -> None:
        self.sender.begin_message(False, None, None)
        for _ in range(parts):
            self.sender.encode(payload, flush=False, final=False)
        self.sender.cancel_message()

    @rule(at_once=st.booleans())
    def change_pace(self, at_once: bool) -> None:
        self.reader.at_once = at_once

    @rule()
    def work(self) -> None:
        self.reader.work()
        self.check()

    def put(self, *buffers: bytes) -> None:
        super().put(*buffers)
        self.last_put = sum(map(len, buffers))

    @precondition(lambda self: self.wire)
    @rule(n=st.integers(0, 20))
    def deliver_up_to_the_last_frame(self, n: int) -> None:
        # And a little of it, of which nothing can be decoded yet.
        self.deliver(max(0, len(self.wire) - self.last_put) + n)

    @rule(n=st.sampled_from([5000, 50_000, 1 << 20]))
    def deliver_much(self, n: int) -> None:
        self.deliver(n)

    def teardown(self) -> None:
        if hasattr(self, "reader"):
            self.reader.at_once = True
            self.work()
        super().teardown()


CompressedDialogue.TestCase.settings = settings(max_examples=max(10, settings().max_examples // 10))
TestCompressedDialogue = CompressedDialogue.TestCase
