"""What a protocol object answers to a list of calls, so that two builds of it can be compared.

A transcript is of plain values: the classes of two builds differ, their names and fields must not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import NamedTuple

from anyws._core.deflate import Deflate
from anyws._core.extensions import ExtensionCodec
from anyws._core.grammar import ExtensionParameters
from anyws._core.protocol import Protocol

from ..builds import Build

__all__ = [
    "CANCEL",
    "EXTENSIONS",
    "FILL",
    "SLICE",
    "Call",
    "Script",
    "difference",
    "encode_alone",
    "new_codecs",
    "transcript",
]

#: The name of a call that writes bytes to `payload_room` as long as there is some, at most so many
#: at a time, and hands the rest to `receive_data`.
FILL = "fill"

#: The name of a call that masks a payload in slices of so many bytes, for `send_slices`.
SLICE = "slice"

#: The name of a call that begins a message, has a payload encoded, and cancels it.
CANCEL = "cancel"


class Xor(ExtensionCodec):
    """Turns over every bit, some of them one by one; refuses what was 0xFF, and fails at 0xFE."""

    rsv = 2

    def begin_message(self, *, text: bool, size: int | None, compress: bool | None) -> int | None:
        return None if size == 0 else self.rsv

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        return bytes(octet ^ 0xFF for octet in data)

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        if data[:1] == b"\xff":
            raise ValueError("this is 0x00")
        if len(data) > 20:
            return (bytes(octet ^ 0xFF for octet in data),)
        return self._decode(data)

    def _decode(self, data: bytes) -> Iterable[bytes]:
        for octet in data:
            if octet == 0xFE:
                raise RuntimeError("this is 0x01")
            yield bytes([octet ^ 0xFF])


class Last(ExtensionCodec):
    """Puts the number of pieces, modulo 256, behind each message; it has no reserved bits."""

    def __init__(self) -> None:
        self._sent = self._received = 0
        self._kept = b""

    def encode(self, data: bytes, *, flush: bool, final: bool) -> bytes:
        self._sent += 1
        if not final:
            return data
        pieces, self._sent = self._sent, 0
        return data + bytes([pieces & 0xFF])

    def cancel_message(self) -> None:
        self._sent = 0

    def begin_receiving(self, *, text: bool, rsv: int) -> None:
        self._kept = b""

    def decode(self, data: bytes, *, final: bool) -> Iterable[bytes]:
        data = self._kept + data
        if final and not data:
            raise ValueError("nothing at all")
        self._kept = data[-1:]
        return (data[:-1],)


_DEFLATE = Deflate(server_max_window_bits=None, client_max_window_bits=None, threshold=20)
_ALONE: ExtensionParameters = (
    ("server_no_context_takeover", None),
    ("client_no_context_takeover", None),
    ("server_max_window_bits", "9"),
    ("client_max_window_bits", "9"),
)

#: Names of sets of extensions, in the order of the server's answer.
EXTENSIONS = ("deflate", "alone", "xor", "last", "xor, deflate", "alone, last", "last, xor")


def new_codecs(names: str, *, is_client: bool) -> list[tuple[int, ExtensionCodec]]:
    """Return the extensions of one connection that are named, with their reserved bits."""
    codecs: dict[str, tuple[int, ExtensionCodec]] = {
        "deflate": (4, _DEFLATE.codec((), is_client=is_client)),
        "alone": (4, _DEFLATE.codec(_ALONE, is_client=is_client)),
        "xor": (2, Xor()),
        "last": (0, Last()),
    }
    return [codecs[name] for name in names.split(", ") if name]


def encode_alone(names: str, payload: bytes) -> tuple[int, bytes]:
    """Return the reserved bits and the payload of a message that refers to no other one."""
    bits = 0
    for _, codec in new_codecs(names, is_client=True):
        rsv = codec.begin_message(text=False, size=len(payload), compress=None)
        if rsv is not None:
            bits |= rsv
            payload = codec.encode(payload, flush=True, final=True)
    return bits, payload


class Call(NamedTuple):
    """A call of a method of `Protocol`, FILL, SLICE or CANCEL."""

    name: str
    arguments: tuple[object, ...] = ()
    keywords: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Script:
    """One protocol object and what is done to it.

    Attributes:
        lifts: whether each `TooBig` is answered by `read_as_stream`.
        mask_seed: what the masking keys follow from.
        extensions: names of extensions, as `new_codecs` takes them.
        works: whether all the work that a call leaves is done behind it.
    """

    is_client: bool
    max_size: int | None
    max_fragments: int | None
    lifts: bool
    mask_seed: int
    calls: Sequence[Call]
    extensions: str = ""
    works: bool = True

    def __str__(self) -> str:
        """Return it as a program would have it, one call a line."""
        settings = f"is_client={self.is_client}, max_size={self.max_size}"
        settings += f", max_fragments={self.max_fragments}"
        if self.extensions:
            settings += f", extensions=[{self.extensions}], {'' if self.works else 'not '}working"
        masks = (
            f"masks of Random({self.mask_seed}), a TooBig is {'' if self.lifts else 'not '}lifted"
        )
        return "\n".join([f"Protocol({settings})  # {masks}", *map(_as_code, self.calls)])


def _as_code(call: Call) -> str:
    keywords = (f"{name}={value!r}" for name, value in call.keywords.items())
    return f"    .{call.name}({', '.join([*map(repr, call.arguments), *keywords])})"


def transcript(script: Script, build: Build) -> list[object]:
    """Return what each call gave or raised, and the state that it left."""
    protocol = build.new_protocol(
        is_client=script.is_client,
        max_size=script.max_size,
        max_fragments=script.max_fragments,
        next_mask=partial(Random(script.mask_seed).randbytes, 4),
        extensions=new_codecs(script.extensions, is_client=script.is_client),
    )
    entries: list[object] = []
    for call in script.calls:
        results: list[object] = []
        try:
            if call.name == FILL:
                _fill(protocol, results, *call.arguments)  # type: ignore[arg-type]  # bytes, int
            elif call.name == SLICE:
                results += _slice(protocol, *call.arguments)  # type: ignore[arg-type]  # bytes, int, bool
            elif call.name == CANCEL:
                results += _cancel(protocol, *call.arguments)  # type: ignore[arg-type]  # bytes
            else:
                results += _plain(getattr(protocol, call.name)(*call.arguments, **call.keywords))
            last = results
            while (script.lifts and last and _is_too_big(last[-1])) or (
                script.works and protocol.has_work
            ):
                if protocol.has_work:
                    last = _plain(protocol.receive_data(b""))
                else:
                    last = _plain(protocol.read_as_stream())
                results += last
        except Exception as exc:
            results.append((type(exc).__name__, str(exc)))
        entries.append(
            (
                results,
                protocol.wants_room(),
                protocol.unfinished_bytes,
                protocol.decoded,
                protocol.has_work,
                protocol.reading.name,
                protocol.writing.name,
            )
        )
    return entries


def difference(script: Script, builds: tuple[Build, Build]) -> str | None:
    """Say where two builds differ, with the calls up to there; None if they do not."""
    first, second = (transcript(script, build) for build in builds)
    if first == second:
        return None
    at = next(i for i, pair in enumerate(zip(first, second, strict=True)) if pair[0] != pair[1])
    return "\n".join(
        [
            str(replace(script, calls=script.calls[: at + 1])),
            f"gave, in {builds[0].name}: {first[at]}",
            f"gave, in {builds[1].name}: {second[at]}",
        ]
    )


def _fill(protocol: Protocol, results: list[object], data: bytes, at_most: int) -> None:
    while data and (room := protocol.payload_room()) is not None:
        with room:
            results.append(len(room))
            n = min(len(room), len(data), at_most)
            room[:n] = data[:n]
        results += _plain(protocol.payload_filled(n))
        data = data[n:]
    results += _plain(protocol.receive_data(data))


def _slice(protocol: Protocol, payload: bytes, size: int, text: bool) -> list[object]:
    bits = protocol.begin_message(text, len(payload), None)
    masking = protocol.new_masking()
    slices = [
        masking.apply(protocol.encode(payload[at : at + size], flush=False, final=False))
        for at in range(0, len(payload), size)
    ]
    if protocol.is_encoding:
        slices.append(masking.apply(protocol.encode(b"", final=True)))
    return _plain(protocol.send_slices(slices, masking, text, bits))


def _cancel(protocol: Protocol, payload: bytes) -> list[object]:
    bits = protocol.begin_message(False, len(payload), None)
    encoded = protocol.encode(payload, flush=False, final=False)
    protocol.cancel_message()
    return [bits, encoded]


def _plain(result: object) -> list[object]:
    """Return what a call returned: of events, whole messages as they are, and how others look."""
    if isinstance(result, list):
        return [event if type(event) in (str, bytes) else (repr(event),) for event in result]
    # Not by its value alone: True is equal to 1, and a bytearray to bytes.
    return [(type(result), result)]


def _is_too_big(result: object) -> bool:
    return isinstance(result, tuple) and str(result[0]).startswith("TooBig(")
