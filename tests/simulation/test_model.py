"""The model tells what is wrong with a wire, or with what an application received."""

from __future__ import annotations

import pytest

from anyws.testing import BINARY, CONTINUATION, TEXT, Frame, close_frame

from .model import Reading, Send, Way, check_sends


class World:
    """A way from the server to the client, what the client reads, and what is reported."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self.way = Way("server", False, self.problems.append)
        self.reading = Reading(self.way, self.problems.append)
        self.way.take(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")

    def arrive(self, *frames: Frame) -> None:
        self.way.take(b"".join(frame.encode() for frame in frames))

    def sent(self, *sends: Send, is_complete: bool = True) -> list[str]:
        check_sends(self.way, list(sends), is_complete=is_complete, report=self.problems.append)
        return self.problems

    def ended(self, *, is_normal: bool = True) -> None:
        self.reading.ended(is_normal=is_normal, max_size=10, max_fragments=2)


def sent(
    label: str, *, task: int = 0, called: int = 0, ended: int = 0, was_sent: bool = True
) -> Send:
    return Send(label, task, f"{label}:", called, ended, was_sent)


FIRST, SECOND = Frame(TEXT, b"s0:"), Frame(TEXT, b"s1:")


def test_all_in_order_is_fine() -> None:
    world = World()
    world.arrive(FIRST, SECOND, close_frame(1000))
    world.reading.take("s0:")
    world.reading.take("s1:")
    world.ended()
    assert world.sent(sent("s0"), sent("s1", called=1, ended=1)) == []
    assert world.way.close_code == 1000
    assert not world.way.is_torn


def test_message_of_pieces_is_one() -> None:
    world = World()
    world.arrive(Frame(TEXT, b"s0", fin=False), Frame(CONTINUATION, b":"))
    assert world.sent(sent("s0")) == []
    assert world.way.frames == [2]


@pytest.mark.parametrize(
    ("received", "problem"),
    [
        (["s1:"], "the client received 's1:' (3), expected 's0:' (3)"),
        (["s0:", "s0:"], "the client received 's0:' (3), expected 's1:' (3)"),
        (["s0:", "s1:", "s2:"], "the client received 's2:' (3), expected nothing"),
        (["s0"], "the client received 's0' (2), expected 's0:' (3)"),
        ([b"s0:"], "the client received b's0:' (3), expected 's0:' (3)"),
    ],
    ids=["lost", "repeated", "invented", "torn", "of the other kind"],
)
def test_what_was_not_next_is_told(received: list[str | bytes], problem: str) -> None:
    world = World()
    world.arrive(FIRST, SECOND)
    for message in received:
        world.reading.take(message)
    assert world.problems == [problem]


def test_message_that_was_left_may_be_gone_or_not() -> None:
    for first in ("s0:", "s1:"):
        world = World()
        world.arrive(FIRST, SECOND)
        world.reading.skip()
        world.reading.take(first)
        assert world.problems == []


def test_end_before_all_was_received_is_told() -> None:
    world = World()
    world.arrive(FIRST, SECOND)
    world.reading.take("s0:")
    world.ended()
    assert world.problems == ["the client received [1] of 2 messages"]


def test_end_is_excused_by_a_message_that_was_too_large_unless_it_was_normal() -> None:
    world = World()
    world.arrive(Frame(BINARY, bytes(11)))
    world.ended(is_normal=False)
    assert world.problems == []
    world.ended()
    assert world.problems == ["the client received [0] of 1 messages"]


def test_side_that_closes_need_not_receive() -> None:
    world = World()
    world.arrive(FIRST)
    world.reading.gave_up = True
    world.ended()
    assert world.problems == []


def test_part_of_a_message_has_to_be_its_beginning() -> None:
    for part, is_wrong in (("s0", False), ("0:", True)):
        world = World()
        world.reading.begin()
        world.reading.piece(part)
        world.reading.leave()
        world.arrive(FIRST)
        world.reading.check_left()
        assert bool(world.problems) is is_wrong


@pytest.mark.parametrize(
    ("sends", "problem"),
    [
        (
            [sent("s0"), sent("s1", task=1, was_sent=False)],
            "s1 was sent, although the call did not return",
        ),
        (
            [sent("s0"), sent("s1"), sent("s2")],
            "['s2'] were not sent, and 0 of 0 empty messages were",
        ),
        ([sent("s1")], "the server sent 's0:' (3) twice, or nobody did"),
        (
            [sent("s1"), sent("s0")],
            "a task sent ['s1', 's0'], but on the wire are ['s0', 's1']",
        ),
        (
            [sent("s1", task=1, called=0, ended=1), sent("s0", called=2, ended=3)],
            "s1 was overtaken by a message that was sent later",
        ),
    ],
    ids=["cancelled and sent", "lost", "invented", "out of order", "overtaken"],
)
def test_wire_that_does_not_fit_the_calls_is_told(sends: list[Send], problem: str) -> None:
    world = World()
    world.arrive(FIRST, SECOND)
    assert world.sent(*sends) == [problem]


def test_message_that_is_on_the_wire_twice_is_told() -> None:
    world = World()
    world.arrive(FIRST, FIRST)
    assert "the server sent 's0:' (3) twice, or nobody did" in world.sent(sent("s0"))


def test_frame_that_is_torn_by_another_is_told() -> None:
    world = World()
    world.way.take(FIRST.encode()[:2] + SECOND.encode() + FIRST.encode()[2:])
    (problem,) = world.problems
    assert problem.startswith("the server sent what it must not: ")


def test_bytes_that_end_inside_a_frame_are_torn() -> None:
    world = World()
    world.way.take(FIRST.encode()[:-1])
    assert world.way.is_torn
