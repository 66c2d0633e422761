"""A soak that finds nothing is worth as much as what it would have found."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ..scripted import Role
from .conversation import Record
from .judge import Judge
from .plan import Ending, Plan

PROCESS = "0.1"


def plan(ending: Ending = "agreed", closer: Role = "client") -> str:
    return Plan(f"{PROCESS}-7", "mixed", ending, closer, 5, False, False, False, False).target


def record(side: Role, sent: int, received: int, target: str, *, is_clean: bool = True) -> Record:
    return Record(target, side, "sent 1000, received 1000", is_clean, sent, received, 0, [])


def judge(*records: Record, killed: frozenset[str] = frozenset()) -> Judge:
    """Return what judges these records of one round."""
    found = Judge()
    for each in records:
        found.take(each)
    found.finish_round(set(killed))
    return found


def test_what_arrived_is_counted() -> None:
    found = judge(record("client", 5, 3, plan()), record("server", 3, 5, plan()))
    assert found.problems == []
    assert found.counts["messages that had to arrive"] == 8
    assert found.counts["closed cleanly"] == 1


@pytest.mark.parametrize(("sent", "received"), [(5, 2), (6, 3)])
def test_message_that_is_missing_after_a_clean_end_is_lost(sent: int, received: int) -> None:
    found = judge(record("client", sent, received, plan()), record("server", 3, 5, plan()))
    assert [problem.partition(":")[0] for problem in found.problems] == ["lost"]


def test_who_leaves_in_the_middle_need_not_get_everything() -> None:
    target = plan("at_once", "client")
    found = judge(record("client", 5, 1, target), record("server", 3, 5, target))
    assert found.problems == []
    found = judge(record("client", 5, 1, target), record("server", 3, 4, target))
    assert len(found.problems) == 1


def test_broken_connection_may_lose_what_was_on_its_way() -> None:
    client = record("client", 5, 1, plan(), is_clean=False)
    assert judge(client, record("server", 3, 2, plan())).problems == []


def test_more_than_was_sent_is_a_problem_on_a_broken_connection_too() -> None:
    client = record("client", 5, 1, plan(), is_clean=False)
    # One more may have been cut off in `send`, and arrived.
    assert judge(client, record("server", 3, 6, plan())).problems == []
    assert len(judge(client, record("server", 3, 7, plan())).problems) == 1


def test_connection_that_only_one_side_knows_is_a_problem() -> None:
    assert len(judge(record("client", 5, 1, plan())).problems) == 1
    broken = record("server", 3, 2, plan(), is_clean=False)
    assert len(judge(broken).problems) == 1
    assert judge(broken, killed=frozenset({PROCESS})).problems == []
    assert len(judge(replace(broken, plan="/1.1-7/mixed/agreed/client/5/0/0/0/0")).problems) == 1


def test_client_that_could_not_connect_need_not_know() -> None:
    found = Judge()
    found.take(record("server", 0, 0, plan(), is_clean=False))
    found.take_failure(plan(), "TimeoutError")
    found.finish_round(set())
    assert found.problems == []
    assert found.failures == {"TimeoutError": 1}


def test_what_a_side_found_is_a_problem() -> None:
    client = replace(record("client", 5, 3, plan()), problems=["torn"])
    found = judge(client, record("server", 3, 5, plan()))
    assert len(found.problems) == 1


def test_connection_that_comes_twice_is_a_problem() -> None:
    client = record("client", 5, 3, plan())
    assert len(judge(client, client, record("server", 3, 5, plan())).problems) == 1


def test_rounds_do_not_mix() -> None:
    found = judge(record("client", 5, 3, plan()), record("server", 3, 5, plan()))
    found.finish_round(set())
    assert found.problems == []
    assert found.counts["connections"] == 1
