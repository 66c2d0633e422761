"""What a protocol object answers to a list of calls, so that two builds of it can be compared.

A transcript is of plain values: the classes of two builds differ, their names and fields must not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from random import Random
from typing import NamedTuple

from anyws._core.protocol import Protocol

from ..builds import Build

__all__ = ["FILL", "SLICE", "Call", "Script", "difference", "transcript"]

#: The name of a call that writes bytes to `payload_room` as long as there is some, at most so many
#: at a time, and hands the rest to `receive_data`.
FILL = "fill"

#: The name of a call that masks a payload in slices of so many bytes, for `send_slices`.
SLICE = "slice"


class Call(NamedTuple):
    """A call of a method of `Protocol`, FILL or SLICE."""

    name: str
    arguments: tuple[object, ...] = ()
    keywords: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class Script:
    """One protocol object and what is done to it.

    Attributes:
        lifts: whether each `TooBig` is answered by `read_as_stream`.
        mask_seed: what the masking keys follow from.
    """

    is_client: bool
    max_size: int | None
    max_fragments: int | None
    lifts: bool
    mask_seed: int
    calls: Sequence[Call]

    def __str__(self) -> str:
        """Return it as a program would have it, one call a line."""
        settings = f"is_client={self.is_client}, max_size={self.max_size}"
        settings += f", max_fragments={self.max_fragments}"
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
    )
    entries: list[object] = []
    for call in script.calls:
        results: list[object] = []
        try:
            if call.name == FILL:
                _fill(protocol, results, *call.arguments)  # type: ignore[arg-type]  # bytes, int
            elif call.name == SLICE:
                results += _slice(protocol, *call.arguments)  # type: ignore[arg-type]  # bytes, int, bool
            else:
                results += _plain(getattr(protocol, call.name)(*call.arguments, **call.keywords))
            last = results
            while script.lifts and last and _is_too_big(last[-1]):
                last = _plain(protocol.read_as_stream())
                results += last
        except Exception as exc:
            results.append((type(exc).__name__, str(exc)))
        entries.append(
            (
                results,
                protocol.wants_room(),
                protocol.unfinished_bytes,
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
    masking = protocol.new_masking()
    slices = [masking.apply(payload[at : at + size]) for at in range(0, len(payload), size)]
    return _plain(protocol.send_slices(slices, masking, text))


def _plain(result: object) -> list[object]:
    """Return what a call returned: of events, whole messages as they are, and how others look."""
    if isinstance(result, list):
        return [event if type(event) in (str, bytes) else (repr(event),) for event in result]
    # Not by its value alone: True is equal to 1, and a bytearray to bytes.
    return [(type(result), result)]


def _is_too_big(result: object) -> bool:
    return isinstance(result, tuple) and str(result[0]).startswith("TooBig(")
