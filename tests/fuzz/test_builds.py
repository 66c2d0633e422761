"""What runs compiled does what its sources say, for any bytes and any calls."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws._build import COMPILED, describe
from anyws._core.events import Event, Ping
from anyws._core.protocol import Protocol
from anyws.testing import BINARY, CONTINUATION, Frame

from ..builds import INSTALLED, Build, load_pure
from . import builds
from .builds import compare, main
from .reading import pieces
from .test_protocol import conversations, cuts, masks, payloads, sides, streams, texts
from .transcripts import FILL, SLICE, Call, Script, difference, transcript

if TYPE_CHECKING:
    from anyws._core.masking import GrowingBuffer

two_builds = pytest.mark.skipif(
    not COMPILED, reason=f"there is one build only: what is installed is {describe()}"
)

if COMPILED:
    PURE: Final = load_pure()


def patterned(n: int) -> bytes:
    """Return so many bytes, no two neighbours of which are alike."""
    return (bytes(range(251)) * (n // 251 + 1))[:n]


# Past what is on the stack, read straight into the message, or in one buffer with its header.
large_payloads = st.sampled_from([4095, 4096, 4097, 16_384, 65_535, 65_536, 150_000]).map(patterned)
data_sizes = st.one_of(st.integers(0, 40), st.integers(390, 410), st.integers(4090, 4110))
limits = st.one_of(st.none(), st.integers(0, 200), st.just(1 << 20))
fragment_limits = st.one_of(st.none(), st.integers(1, 4))

writing_calls = st.one_of(
    st.builds(
        lambda payload, text: Call("send_message", (payload, text)),
        st.one_of(payloads, large_payloads),
        st.booleans(),
    ),
    st.builds(
        lambda payload, size, text: Call(SLICE, (payload, size, text)),
        st.one_of(payloads, large_payloads),
        st.sampled_from([7, 401, 4096, 1 << 17]),
        st.booleans(),
    ),
    st.builds(
        lambda payload, text, final: Call(
            "send_fragment", (payload,), {"text": text, "final": final}
        ),
        st.one_of(payloads, large_payloads),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(
        lambda name, data: Call(name, (data,)),
        st.sampled_from(["send_ping", "send_pong"]),
        st.one_of(payloads, st.just(bytes(126))),
    ),
    st.builds(
        lambda code, reason: Call("send_close", (code, reason)),
        st.one_of(st.integers(999, 1016), st.integers(2999, 5000), st.integers()),
        st.one_of(texts, st.just("\ud800")),
    ),
)
reading_calls = st.sampled_from([Call("read_as_stream"), Call("read_whole"), Call("discard")])


@st.composite
def received_bytes(draw: st.DrawFn, *, to_server: bool) -> bytes:
    """Bytes from a peer: as they should be, nearly so, large, or hostile."""
    kind = draw(st.sampled_from(["valid", "damaged", "hostile", "large"]))
    if kind == "hostile":
        return draw(st.one_of(streams(to_server=to_server), st.binary(max_size=100)))
    data = draw(conversations(to_server=to_server)).data
    if kind == "large":
        fin = draw(st.booleans())
        large = Frame(BINARY, draw(large_payloads), fin=fin)
        frames = [large] if fin else [large, Frame(CONTINUATION, draw(large_payloads))]
        data = b"".join(f.encode(draw(masks) if to_server else None) for f in frames) + data
    if kind == "damaged" and data:
        at = draw(st.integers(0, len(data) - 1))
        data = data[:at] + draw(st.binary(max_size=2)) + data[at + 1 :]
    return data


@st.composite
def calls_with(draw: st.DrawFn, data: bytes) -> list[Call]:
    """Calls that bring `data` in pieces, with others in between."""
    calls: list[Call] = []
    for piece in pieces(data, draw(cuts)):
        calls += draw(st.lists(reading_calls, max_size=1))
        at_most = draw(st.sampled_from([None, 1000, 5000, 1 << 20]))
        if at_most is None:
            calls.append(Call("receive_data", (piece,)))
        else:
            calls.append(Call(FILL, (piece, at_most)))
    return calls


@st.composite
def reading_scripts(draw: st.DrawFn) -> Script:
    """Bytes in any pieces, by either way in, and calls in between that change how they are read."""
    is_client = draw(sides)
    calls = draw(calls_with(draw(received_bytes(to_server=not is_client))))
    return Script(
        is_client,
        draw(limits),
        draw(fragment_limits),
        draw(st.booleans()),
        mask_seed=0,
        calls=calls,
    )


@st.composite
def writing_scripts(draw: st.DrawFn) -> Script:
    calls = draw(st.lists(writing_calls, max_size=10))
    return Script(draw(sides), None, None, lifts=False, mask_seed=draw(st.integers(0)), calls=calls)


@two_builds
@given(reading_scripts())
def test_both_builds_read_alike(script: Script) -> None:
    assert transcript(script, INSTALLED) == transcript(script, PURE)


@two_builds
@given(writing_scripts())
def test_both_builds_write_alike(script: Script) -> None:
    assert transcript(script, INSTALLED) == transcript(script, PURE)


# What masking.py gives


@two_builds
def test_each_compiled_name_has_its_twin() -> None:
    from anyws._core import _speedups, masking

    twins = {name for name in vars(_speedups) if not name.startswith("_")} & set(masking.__all__)
    assert twins == {
        "GrowingBuffer",
        "GrowingText",
        "apply_mask",
        "join_frame",
        "unmask",
        "unmask_text",
    }
    for name in twins:
        assert getattr(masking, name) is getattr(_speedups, name)
        assert getattr(PURE.masking, name) is not getattr(_speedups, name)


@two_builds
@given(data_sizes, st.integers(0, 40), st.binary(max_size=9), masks)
def test_both_builds_mask_alike(n: int, before: int, behind: bytes, mask: bytes) -> None:
    payload = patterned(n)
    data = bytes(before) + mask + payload + behind
    start = before + 4
    one, other = INSTALLED.masking, PURE.masking
    assert one.apply_mask(payload, mask) == other.apply_mask(payload, mask)
    assert one.unmask(data, start, start + n) == other.unmask(data, start, start + n)
    for key in (mask, None):
        assert one.join_frame(behind, payload, key) == other.join_frame(behind, payload, key)


@two_builds
@given(
    st.one_of(st.binary(max_size=30), texts.map(str.encode)), data_sizes, st.integers(0, 9), masks
)
def test_both_builds_unmask_texts_alike(text: bytes, times: int, before: int, mask: bytes) -> None:
    text = (text * (times // (len(text) + 1) + 1)) or text
    data = bytes(before) + mask + PURE.masking.apply_mask(text, mask)
    assert decoded(INSTALLED, data, before + 4) == decoded(PURE, data, before + 4)


def decoded(build: Build, data: bytes, start: int) -> str | tuple[object, ...]:
    """Return the text that ends the data, or what the error says."""
    try:
        return build.masking.unmask_text(data, start, len(data))
    except UnicodeDecodeError as exc:
        return exc.args


@two_builds
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("append"), data_sizes, st.integers(0, 9)),
            st.tuples(st.just("room"), st.integers(1, 5000), st.integers(0, 5000)),
            st.tuples(st.just("take"), st.just(0), st.just(0)),
        ),
        max_size=12,
    ),
    st.one_of(masks, st.just(b"")),
)
def test_both_builds_gather_alike(steps: list[tuple[str, int, int]], mask: bytes) -> None:
    one, other = (build.masking.GrowingBuffer() for build in (INSTALLED, PURE))
    for step in steps:
        assert gathered(one, *step, mask=mask) == gathered(other, *step, mask=mask)
        assert len(one) == len(other)
    assert one.take() == other.take()


def gathered(buffer: GrowingBuffer, step: str, n: int, m: int, *, mask: bytes) -> object:
    """Take a step, and return what it gives."""
    if step == "append":
        buffer.append(patterned(n + m), m, n + m, mask, 2 * n)
        return None
    if step == "take":
        return buffer.take()
    with buffer.room(n, n + m) as room:
        filled = min(m, len(room))
        room[:filled] = patterned(filled)
        size = len(room)
    buffer.filled(filled, mask)
    return size


@two_builds
@given(st.lists(st.one_of(texts, st.integers(0, 5000).map(lambda n: "é" * n), st.none())))
def test_both_builds_gather_texts_alike(pieces: list[str | None]) -> None:
    one, other = (build.masking.GrowingText() for build in (INSTALLED, PURE))
    for piece in [*pieces, None]:
        if piece is None:
            text = one.take()
            assert text == other.take()
            # The text is one of its own: it takes no more memory than its characters need.
            assert sys.getsizeof(text) <= sys.getsizeof(text.encode().decode())
        else:
            one.append(piece, 3 * len(piece))
            other.append(piece, 3 * len(piece))


# The comparison itself


class Deaf(Protocol):
    """Does not hear the Pings that come last in a piece."""

    def receive_data(self, data: bytes) -> list[Event]:
        events = super().receive_data(data)
        return events[:-1] if events and isinstance(events[-1], Ping) else events


def deaf() -> Build:
    build = Build("anyws")
    build.name = "deaf"
    build.new_protocol = Deaf
    return build


def test_difference_is_named_with_the_calls_up_to_it() -> None:
    ping = Frame(9, b"data").encode()
    calls = [Call("receive_data", (b"\x82\x00",)), *[Call("receive_data", (ping,))] * 2]
    script = Script(True, None, 7, lifts=True, mask_seed=5, calls=calls)
    assert difference(script, (INSTALLED, INSTALLED)) is None
    found = difference(script, (INSTALLED, deaf()))
    assert found is not None
    assert found.splitlines() == [
        "Protocol(is_client=True, max_size=None, max_fragments=7)"
        "  # masks of Random(5), a TooBig is lifted",
        r"    .receive_data(b'\x82\x00')",
        r"    .receive_data(b'\x89\x04data')",
        "gave, in anyws: ([(\"Ping(data=b'data')\",)], False, 0, 0, False, 'OPEN', 'OPEN')",
        "gave, in deaf: ([], False, 0, 0, False, 'OPEN', 'OPEN')",
    ]


def test_random_streams_find_a_difference() -> None:
    result = compare(100_000, 1, (INSTALLED, deaf()))
    assert result.difference is not None
    assert result.frames < 100_000


def test_random_streams_follow_from_the_seed() -> None:
    first, again, other = (builds.scripts(seed) for seed in (1, 1, 2))
    assert next(first) == next(again) != next(other)


@two_builds
def test_program_compares_the_builds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--frames", "20_000", "--seed", "3"]) == 0
    assert capsys.readouterr().out.endswith(" s, seed 3: 0 differences\n")


@two_builds
def test_program_prints_a_difference(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "load_pure", deaf)
    assert main(["--frames", "100_000", "--seed", "3"]) == 1
    out = capsys.readouterr().out
    assert "\ngave, in deaf: " in out
    assert out.endswith(" s, seed 3: 1 difference\n")


def test_program_needs_two_builds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(builds, "COMPILED", False)
    with pytest.raises(SystemExit, match="2"):
        main([])
    assert "there is nothing to compare" in capsys.readouterr().err
