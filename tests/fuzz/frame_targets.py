"""Targets for what comes once a connection is open: frames, and what compression makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from anyws import (
    NegotiationError,
)
from anyws._core.deflate import Deflate
from anyws._core.events import CloseReceived, Event, Fragment, Ping, Pong, TooBig, Violation
from anyws._core.extensions import Extension, ExtensionCodec, agree_extensions, select_extensions
from anyws._core.grammar import (
    ExtensionParameters,
    NamedExtension,
    is_token,
    parse_extensions,
)
from anyws._core.protocol import Protocol
from anyws.testing import FrameReader

from ..builds import INSTALLED
from .reading import (
    Reader,
    WorkingReader,
    check_events,
    check_same_events,
    pieces,
    worked,
)
from .reference import Inflate
from .source import Source
from .transcripts import (
    CANCEL,
    EXTENSIONS,
    FILL,
    SLICE,
    Call,
    Script,
    new_codecs,
    transcript,
)

__all__ = ["calls", "extensions", "frames", "inflate", "read_bytes_script", "read_calls_script"]

#: What an application may be told by an exception of `Protocol`; all else is a mistake of ours.
_DOCUMENTED_ERRORS: Final = {"LocalProtocolError"}

#: Those that do not mind how their bytes are cut.
_STEADY_EXTENSIONS: Final = ("", *(names for names in EXTENSIONS if "xor" not in names))

_SIZES: Final = (1 << 20, None, 0, 1, 100, 1000)
_FRAGMENTS: Final = (1024, None, 1, 3)


# Frames


def _read_bytes(data: bytes) -> tuple[Script, list[bytes]]:
    """Return settings, and bytes in the pieces in which they arrive."""
    source = Source(data)
    script = Script(
        is_client=source.flag(),
        extensions=source.choice(_STEADY_EXTENSIONS),
        max_size=source.choice(_SIZES),
        max_fragments=source.choice(_FRAGMENTS),
        lifts=False,
        mask_seed=0,
        calls=(),
    )
    fractions = source.fractions()
    return script, pieces(source.rest(), fractions)


def read_bytes_script(data: bytes) -> Script:
    """Return what `frames` does, for both builds to do it."""
    script, chunks = _read_bytes(data)
    return replace(script, calls=[Call("receive_data", (chunk,)) for chunk in chunks])


def frames(data: bytes) -> None:
    """Give bytes of a peer to a `Protocol`: in one piece, in many, as streams, to be discarded."""
    script, chunks = _read_bytes(data)
    names = script.extensions
    stream = b"".join(chunks)

    def new() -> Protocol:
        return Protocol(
            is_client=script.is_client,
            max_size=script.max_size,
            max_fragments=script.max_fragments,
            extensions=new_codecs(names, is_client=script.is_client),
        )

    whole = new()
    events = worked(whole, [stream])
    check_events(events, whole, max_size=script.max_size)
    for cut in (chunks, [stream[i : i + 1] for i in range(len(stream))]):
        protocol = new()
        found = worked(protocol, cut)
        check_same_events(events, found, extended=bool(names))
        check_events(found, protocol, max_size=script.max_size)
    _check_streamed(WorkingReader(new(), always_streams=True), chunks, events)
    _check_discarded(new(), chunks, events)
    _check_sent_again(script.is_client, names, events)


def _check_streamed(reader: Reader, chunks: list[bytes], events: list[Event]) -> None:
    """Check that streams come to the same as whole messages, as far as these may be."""
    for chunk in chunks:
        reader.receive(chunk)
    n = len(events)
    if events and isinstance(events[-1], Violation | TooBig):
        n -= 1
        # No limit applies to a stream.
        if isinstance(events[-1], Violation):
            assert isinstance(reader.seen[n], Violation)
            assert reader.seen[n].code == events[n].code  # type: ignore[union-attr]  # both are
            assert len(reader.seen) == n + 1
    assert reader.seen[:n] == events[:n]


def _check_discarded(protocol: Protocol, chunks: list[bytes], events: list[Event]) -> None:
    """Check that control frames still count where messages do not."""
    protocol.discard()
    found = worked(protocol, chunks)
    assert not any(isinstance(event, str | bytes | Fragment | TooBig) for event in found)
    control = [event for event in events if isinstance(event, Ping | Pong | CloseReceived)]
    assert found[: len(control)] == control


def _check_sent_again(is_client: bool, names: str, events: list[Event]) -> None:
    """Check that a peer can send what was received, and that it comes out as it was."""
    sender = Protocol(
        is_client=not is_client, extensions=new_codecs(names, is_client=not is_client)
    )
    receiver = Protocol(
        is_client=is_client, max_size=None, extensions=new_codecs(names, is_client=is_client)
    )
    wire: list[bytes] = []
    expected: list[Event] = []
    for event in events:
        if isinstance(event, str | bytes):
            payload = event.encode() if isinstance(event, str) else event
            wire += sender.send_message(payload, isinstance(event, str))
        elif isinstance(event, Ping):
            wire.append(sender.send_ping(event.data))
        elif isinstance(event, Pong):
            wire.append(sender.send_pong(event.data))
        elif isinstance(event, CloseReceived):
            wire.append(sender.send_close(event.close.code, event.close.reason))
        else:
            continue
        expected.append(event)
    found = worked(receiver, [b"".join(wire)])
    assert found == expected


# Calls

_CALLS: Final = (
    "receive_data",
    FILL,
    "send_message",
    "send_fragment",
    "send_ping",
    "send_pong",
    "send_close",
    SLICE,
    CANCEL,
    "read_as_stream",
    "read_whole",
    "discard",
)
_MOST_CALLS: Final = 40
_CODES: Final = (1000, 1001, 1004, 1005, 1006, 1014, 1015, 2999, 3000, 4999, 5000, -1)


def read_calls_script(data: bytes) -> Script:
    """Return what `calls` does, for both builds to do it."""
    source = Source(data)
    script = Script(
        is_client=source.flag(),
        extensions=source.choice(("", *EXTENSIONS)),
        max_size=source.choice(_SIZES),
        max_fragments=source.choice(_FRAGMENTS),
        lifts=source.flag(),
        mask_seed=source.number(256),
        calls=(),
    )
    found: list[Call] = []
    while source and len(found) < _MOST_CALLS:
        found.append(_read_call(source))
    return replace(script, calls=found)


def _read_call(source: Source) -> Call:
    name = source.choice(_CALLS)
    if name in ("read_as_stream", "read_whole", "discard"):
        return Call(name)
    if name == "send_close":
        code = source.choice(_CODES)
        return Call(name, (code, source.some(at_most=140).decode("iso-8859-1")))
    text, final = source.flag(), source.flag()
    compress = source.choice((None, True, False))
    large = source.number(256) == 255
    payload = source.some(at_most=140) * (1000 if large else 1)
    if name == FILL:
        return Call(name, (payload, source.choice((1, 7, 5000, 1 << 20))))
    if name == SLICE:
        return Call(name, (payload, source.choice((1000, 4096, 7, 1 << 17)), text))
    if name == "send_message":
        return Call(name, (payload, text, compress))
    if name == "send_fragment":
        return Call(name, (payload,), {"text": text, "final": final, "compress": compress})
    return Call(name, (payload,))


def calls(data: bytes) -> None:
    """Call the methods of a `Protocol` in any order, and read what it sends."""
    script = read_calls_script(data)
    reserved = 0
    for rsv, _ in new_codecs(script.extensions, is_client=script.is_client):
        reserved |= rsv
    reader = FrameReader(masked=script.is_client, reserved=reserved)
    for call, entry in zip(script.calls, transcript(script, INSTALLED), strict=True):
        assert isinstance(entry, tuple)
        for result in entry[0]:
            if isinstance(result, tuple) and len(result) == 2:
                what, value = result
                assert what in _DOCUMENTED_ERRORS or isinstance(what, type), result
                if isinstance(what, type) and (call.name.startswith("send") or call.name == SLICE):
                    reader.feed(value if isinstance(value, bytes) else b"".join(value))
    assert not reader.begun


# Extensions

_DEFLATES: Final = (
    Deflate(),
    Deflate(server_max_window_bits=None, client_max_window_bits=None),
    Deflate(server_max_window_bits=9, client_max_window_bits=8, fallback=False),
    Deflate(server_no_context_takeover=True, client_no_context_takeover=True, threshold=0),
    Deflate(require_client_max_window_bits=True, server_max_window_bits=15),
)


class _Plain(Extension):
    """Does nothing, without parameters; and wants a reserved bit for it."""

    name = "x"

    def __init__(self, rsv: int) -> None:
        self.rsv = rsv

    def codec(self, agreed: ExtensionParameters, *, is_client: bool) -> ExtensionCodec:
        return ExtensionCodec()


_SUPPORTED: Final[Sequence[Sequence[Extension]]] = (
    *([deflate] for deflate in _DEFLATES),
    [_Plain(4), _DEFLATES[0]],
    [_DEFLATES[2], _DEFLATES[1], _Plain(1)],
)
_SAMPLES: Final = (b"", b"sample", bytes(5000), bytes(range(256)) * 20, b"sample" * 100)


def extensions(data: bytes) -> None:
    """Give a Sec-WebSocket-Extensions to a server, and to a client."""
    source = Source(data)
    supported = source.choice(_SUPPORTED)
    text = source.rest().decode("iso-8859-1")
    try:
        found = parse_extensions([text])
    except ValueError:
        return
    assert parse_extensions([", ".join(map(str, found))]) == found
    for name, parameters in found:
        assert is_token(name)
        assert all(is_token(n) and (v is None or is_token(v)) for n, v in parameters)
    selected = select_extensions(supported, found)
    for extension, answer in selected:
        offers = [_by_name(p) for name, p in found if name == extension.name]
        if isinstance(extension, Deflate):
            assert any(_answers(_by_name(answer.parameters), offer) for offer in offers)
    _check_agreed(selected)
    try:
        agreed = agree_extensions(supported, found)
    except NegotiationError:
        return
    assert [answer for _, answer in agreed] == found
    _check_agreed(agreed)


def _check_agreed(agreed: Sequence[tuple[Extension, NamedExtension]]) -> None:
    """Check that what was agreed on can be in use on one connection, and works."""
    names = [answer.name for _, answer in agreed]
    assert len(set(names)) == len(names)
    taken = 0
    for extension, answer in agreed:
        assert not extension.rsv & taken
        taken |= extension.rsv
        if isinstance(extension, Deflate):
            _check_codecs(extension, answer.parameters)


def _by_name(parameters: ExtensionParameters) -> dict[str, str | None] | None:
    """Return parameters by name; None if one comes twice, or is no number (RFC 7692 §7.1)."""
    by_name = dict(parameters)
    numbers = [v for n, v in parameters if n.endswith("_bits") and v is not None]
    if len(by_name) < len(parameters) or not all(map(str.isdecimal, numbers)):
        return None
    return by_name


def _answers(answer: dict[str, str | None] | None, offer: dict[str, str | None] | None) -> bool:
    """Say whether an answer fits an offer (RFC 7692 §7.1)."""
    if answer is None or offer is None:
        return False
    # §7.1.1.1
    if "server_no_context_takeover" in offer and "server_no_context_takeover" not in answer:
        return False
    # §7.1.2.1
    asked = offer.get("server_max_window_bits")
    if asked is not None and int(answer.get("server_max_window_bits") or 99) > int(asked):
        return False
    # §7.1.2.2
    if "client_max_window_bits" in answer:
        most = offer.get("client_max_window_bits", "0") or "15"
        return int(answer["client_max_window_bits"] or 99) <= int(most)
    return True


def _check_codecs(deflate: Deflate, agreed: ExtensionParameters) -> None:
    """Check that both sides can read each other, message after message."""
    client = deflate.codec(agreed, is_client=True)
    server = deflate.codec(agreed, is_client=False)
    for sender, receiver in ((client, server), (server, client)):
        for payload in _SAMPLES:
            assert _decoded(receiver, [_encoded(sender, payload)]) == payload


def _encoded(codec: ExtensionCodec, payload: bytes) -> bytes:
    rsv = codec.begin_message(text=False, size=len(payload), compress=True)
    assert rsv == Deflate.rsv
    return codec.encode(payload, flush=True, final=True)


def _decoded(codec: ExtensionCodec, chunks: list[bytes]) -> bytes:
    codec.begin_receiving(text=False, rsv=Deflate.rsv)
    found: list[bytes] = []
    for i, chunk in enumerate(chunks):
        for piece in codec.decode(chunk, final=i == len(chunks) - 1):
            assert len(piece) <= 1 << 16
            found.append(piece)
    return b"".join(found)


_MOST_INFLATED: Final = 4 << 20


def inflate(data: bytes) -> None:
    """Decompress messages of a peer, whole and in pieces; and compress them as an application's."""
    source = Source(data)
    bits = source.choice((None, "8", "9", "12", "15"))
    keeps = source.flag()
    fractions = source.fractions()
    first = source.some(at_most=255)
    messages = [message for message in (first, source.rest()) if message]
    agreed: ExtensionParameters = ()
    if bits is not None:
        agreed = (("client_max_window_bits", bits), ("server_max_window_bits", bits))
    if not keeps:
        agreed += (("client_no_context_takeover", None), ("server_no_context_takeover", None))
    deflate = Deflate(client_max_window_bits=None)
    whole, cut = (deflate.codec(agreed, is_client=True) for _ in range(2))
    reference = Inflate(int(bits or 15), keeps=keeps)
    for message in messages:
        expected = reference.decode(message)
        assert _outcome(whole, [message]) == expected
        assert _outcome(cut, pieces(message, fractions)) == expected
        if expected is None:
            break
    sender, receiver = (deflate.codec(agreed, is_client=is_client) for is_client in (True, False))
    for message in messages:
        assert _decoded(receiver, [_encoded(sender, message)]) == message
        parts = pieces(message, fractions)
        sender.begin_message(text=False, size=None, compress=True)
        encoded = [
            sender.encode(part, flush=i % 2 == 0 or i == len(parts) - 1, final=i == len(parts) - 1)
            for i, part in enumerate(parts)
        ]
        assert _decoded(receiver, encoded) == message


def _outcome(codec: ExtensionCodec, chunks: list[bytes]) -> bytes | None:
    try:
        return _decoded(codec, chunks)
    except ValueError:
        return None
