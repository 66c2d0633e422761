"""Whatever becomes of a message, the ledger tells."""

from __future__ import annotations

import pytest

from .ledger import HEAD_SIZE, Ledger, compose, compose_json

each_kind = pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])


def found(*messages: str | bytes, has_gaps: bool = False) -> list[str]:
    """Return the kinds of problems with what came."""
    ledger = Ledger(has_gaps=has_gaps)
    for message in messages:
        ledger.take(message)
    return [problem.partition(":")[0] for problem in ledger.problems]


@each_kind
@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_messages_in_order_are_no_problem(text: bool, size: int) -> None:
    assert found(*(compose(n, size, text=text) for n in range(3))) == []


@each_kind
@pytest.mark.parametrize(
    ("numbers", "problems"),
    [
        ([0, 2], ["lost or early"]),
        ([0, 0], ["repeated or late"]),
        ([1, 0], ["lost or early", "repeated or late"]),
    ],
)
def test_numbers_out_of_order_are_found(
    text: bool, numbers: list[int], problems: list[str]
) -> None:
    assert found(*(compose(n, 10, text=text) for n in numbers)) == problems


def test_gaps_may_be_allowed_and_repetitions_are_not() -> None:
    messages = [compose(n, 10, text=True) for n in (3, 7, 7)]
    assert found(*messages, has_gaps=True) == ["repeated or late"]


@each_kind
def test_torn_messages_are_found(text: bool) -> None:
    message = compose(0, 50, text=text)
    assert found(message[:-1]) == ["torn"]
    assert found(message[: HEAD_SIZE - 1]) == ["torn"]
    assert found(message[1:]) == ["torn"]


def test_altered_message_is_found() -> None:
    message = bytearray(compose(0, 50, text=False))  # type: ignore[arg-type]  # it is binary
    message[-1] ^= 1
    assert found(bytes(message)) == ["torn"]


@each_kind
def test_beginning_of_a_message_counts_if_it_is_said_to_be_one(text: bool) -> None:
    ledger = Ledger()
    ledger.take(compose(0, 50, text=text)[: HEAD_SIZE + 3], is_whole=False)
    assert (ledger.received, ledger.problems) == (1, [])


def test_message_behind_the_last_one_is_found() -> None:
    messages = [compose(0, 1, text=True, last=True), compose(1, 1, text=True)]
    assert len(found(*messages)) == 1


def test_json_is_checked_too() -> None:
    ledger = Ledger()
    ledger.take_json(compose_json(0, 10))
    ledger.take_json(compose_json(1, 10, last=True))
    assert (ledger.received, ledger.has_all, ledger.problems) == (2, True, [])
    ledger.take_json({"number": 2})
    number, size, check, last, body = compose_json(2, 10)
    Ledger().take_json([number, size, check, last, body])
    other = Ledger()
    other.take_json([0, size, check, last, f"{body}x"])
    assert len(ledger.problems) == len(other.problems) == 1
