"""The core and wsproto make the same of the same bytes, but for what the RFC explains."""

from __future__ import annotations

import pytest

from anyws._core.protocol import Protocol
from anyws.testing import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, close_frame

from . import differential
from .differential import DIFFERENCES, Delivery, compare, explain, heard_by_them, heard_by_us, main
from .reference import Heard
from .test_builds import Deaf
from .transcripts import encode_alone


def delivery(*frames: Frame, extension: str = "") -> Delivery:
    """Return what a client receives in one piece."""
    return Delivery(True, extension, [b"".join(frame.encode() for frame in frames)])


def compressed(opcode: int, payload: bytes) -> Frame:
    bits, payload = encode_alone("deflate", payload)
    return Frame(opcode, payload, reserved=bits)


def in_two(frame: Frame, between: Frame) -> tuple[Frame, Frame, Frame]:
    """Return a message in two fragments, with a frame in between."""
    first = Frame(frame.opcode, frame.payload[:3], fin=False, reserved=frame.reserved)
    return first, between, Frame(CONTINUATION, frame.payload[3:])


MESSAGE = compressed(TEXT, b"Hello" * 30)
# A block of DEFLATE that is marked as the last one, and an empty one behind it.
LAST_BLOCK = b"\x4b\x04\x00\x00"

EXAMPLES = {
    "sooner": Delivery(True, "", [Frame(BINARY, bytes(200)).encode(b"mask")[:3]]),
    "later": Delivery(False, "", [Frame(BINARY, length_bytes=3).encode(b"mask")[:4]]),
    "1014": delivery(close_frame(1014)),
    "control frame in a compressed message": delivery(
        *in_two(MESSAGE, Frame(PING)), extension="deflate"
    ),
    "last block": delivery(Frame(BINARY, LAST_BLOCK * 2, reserved=4), extension="deflate"),
    "end within a block": delivery(Frame(BINARY, b"\x02", reserved=4), extension="deflate"),
    # No block of DEFLATE is of this kind.
    "order before content": delivery(
        Frame(TEXT, fin=False, reserved=4), Frame(TEXT, b"\x07", reserved=4), extension="deflate"
    ),
}


@pytest.mark.parametrize(
    ("behind", "theirs"),
    [
        pytest.param((), [], id="nothing"),
        pytest.param((Frame(3),), [("failure", 1002)], id="another error"),
        pytest.param((Frame(PONG),), [("pong", b"")], id="a control frame"),
    ],
)
def test_surrogate_that_ends_a_fragment_is_found_sooner(
    behind: tuple[Frame, ...], theirs: list[Heard]
) -> None:
    example = delivery(Frame(TEXT, b"\xed\xa0", fin=False), *behind)
    ours: list[Heard] = [("failure", 1007)]
    assert (heard_by_us(example), heard_by_them(example)) == (ours, theirs)
    assert explain(example, ours, theirs) == "sooner"


def test_code_that_wsproto_does_not_know_hides_a_bad_reason() -> None:
    example = delivery(Frame(CLOSE, (1014).to_bytes(2, "big") + b"\xff"))
    ours, theirs = heard_by_us(example), heard_by_them(example)
    assert (ours, theirs) == ([("failure", 1007)], [("failure", 1002)])
    assert explain(example, ours, theirs) == "1014"


@pytest.mark.parametrize("why", DIFFERENCES)
def test_each_difference_has_an_example(why: str) -> None:
    example = EXAMPLES[why]
    ours, theirs = heard_by_us(example), heard_by_them(example)
    assert ours != theirs
    assert explain(example, ours, theirs) == why


ALIKE = [
    pytest.param(delivery(Frame(TEXT, b"Hello"), Frame(PONG, b"x"), close_frame(1000)), id="§5.7"),
    pytest.param(delivery(*in_two(Frame(TEXT, b"Hello"), Frame(PING, b"x"))), id="§5.4"),
    pytest.param(delivery(MESSAGE, MESSAGE, extension="deflate"), id="compressed"),
    pytest.param(delivery(Frame(CONTINUATION, b"x")), id="§5.4, no message"),
    pytest.param(delivery(Frame(TEXT, b"\xff")), id="§8.1"),
    pytest.param(delivery(close_frame(1005)), id="§7.4.1"),
]


@pytest.mark.parametrize("example", ALIKE)
def test_same_bytes_give_the_same_to_both(example: Delivery) -> None:
    heard = heard_by_us(example)
    assert heard
    assert heard == heard_by_them(example)


def test_random_sequences_have_no_other_difference() -> None:
    result = compare(1500, 1)
    assert result.found is None
    assert result.sequences == 1500
    assert result.conversations == 150
    assert set(result.outcomes) == {"open", "closed", "failed with 1002", "failed with 1007"}
    assert set(result.differences) <= set(DIFFERENCES)


def test_random_sequences_find_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(differential, "Protocol", Deaf)
    result = compare(1000, 1)
    assert result.found is not None
    assert "\ngave, in wsproto: " in result.found


def test_random_conversations_find_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    class Shouting(Protocol):
        def send_ping(self, data: bytes) -> bytes:
            return super().send_ping(data.upper())

    monkeypatch.setattr(differential, "Protocol", Shouting)
    result = compare(1000, 1)
    assert result.found is not None
    assert result.found.startswith("_Us said [")


def test_program_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--sequences", "200", "--seed", "3"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("200 sequences of ")
    assert out.endswith("\nno other difference\n")


def test_program_prints_a_difference(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(differential, "Protocol", Deaf)
    assert main(["--sequences", "200", "--seed", "3"]) == 1
    assert capsys.readouterr().out.endswith("\n1 difference that nothing explains\n")
