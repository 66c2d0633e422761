"""A slice of the lifetimes, the scripts that were kept, and the simulation held to its own word."""

from __future__ import annotations

import logging
import random
from dataclasses import replace

import pytest
from trio._core import _run as trio_run

from . import script as vocabulary
from .__main__ import main
from .draw import draw
from .figures import run_many
from .kept import KEPT
from .lifetime import Outcome, run
from .planted import PLANTED, Bug, find
from .script import Fault, Part, Script, Step, Task
from .shrink import shrink


def test_lifetimes_violate_nothing() -> None:
    tally = run_many(range(200))
    assert not tally.failed, shrink(tally.failed[0]).text
    assert not tally.leaks
    assert tally.lifetimes == 200
    assert tally.counts["send: returned"] > 500
    assert tally.counts["end: 1000 1000"] > 20, "some are to end well"


@pytest.mark.parametrize("name", KEPT)
def test_script_that_failed_once_fails_no_more(name: str) -> None:
    assert run(KEPT[name]).violations == []


def test_seed_replays_exactly() -> None:
    def digests() -> list[str]:
        return [run(draw(seed)).digest for seed in range(25)]

    first = digests()
    assert digests() == first
    assert len(set(first)) == 25, "no two are alike"


def test_seed_orders_tasks() -> None:
    """Four tasks send at once; who is first depends on the seed of the script alone."""
    task = Task((Step("send", sizes=(20,)),))
    tasks = Script(0, client=Part(tasks=(task,) * 4))
    orders = [
        tuple(event[2] for event in run(replace(tasks, seed=seed)).trace if event[3] == "send")
        for seed in range(20)
    ]
    assert len(set(orders)) > 5


def test_script_can_be_kept_by_its_repr() -> None:
    for seed in range(50):
        script = draw(seed)
        assert eval(repr(script), vars(vocabulary)) == script


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_planted_bug_is_found(bug: Bug) -> None:
    """Within a hundred lifetimes mostly, so that a thousand are ample."""
    found = find(bug, range(1000))
    assert found is not None
    assert run(draw(found.lifetimes - 1)).violations == [], "it is the bug that was found"


def test_failing_script_is_made_smaller() -> None:
    torn = PLANTED[1]
    with torn.planted():
        failing = next(script for script in map(draw, range(1000)) if run(script).violations)
        shrunk = shrink(failing, tries=150)
        assert run(shrunk.script).violations == shrunk.outcome.violations != []
    assert len(repr(shrunk.script)) < len(repr(failing)) / 2
    assert repr(shrunk.script) in shrunk.text
    assert shrunk.outcome.violations[0] in shrunk.text


def test_shrinking_ends_with_what_fails() -> None:
    """Of three tasks and a fault, only a message of 10 bytes or more matters."""

    def run_toy(script: Script) -> Outcome:
        steps = [step for task in script.client.tasks for step in task.steps]
        fails = any(step.do == "send" and sum(step.sizes) >= 10 for step in steps)
        return Outcome(violations=["it is large"] if fails else [])

    noise = Task((Step("receive"), Step("sleep", pause=1.0)), cancelled_at=1.0)
    large = Task((Step("ping", turns=3), Step("send", sizes=(5000,), text=True, within=1.0)))
    script = Script(
        1,
        client=Part(tasks=(noise, large, noise), cancelled_at=7.0),
        server=Part(tasks=(noise,)),
        faults=(Fault("reset", "client"),),
        delay=0.5,
    )
    smallest = shrink(script, run_toy).script
    (task,) = smallest.client.tasks
    (step,) = task.steps
    assert step == Step("send", sizes=step.sizes)
    assert 10 <= step.sizes[0] < 20
    assert smallest == Script(1, client=Part(tasks=(task,)))


def test_wait_that_does_not_end_is_told() -> None:
    """A script may ask for what the limit does not allow: a pause longer than the lifetime."""
    script = Script(0, client=Part(tasks=(Task((Step("sleep", pause=100.0),)),), quits_at=50.0))
    assert run(script).violations[0] == "client: sleep still waits after 58.0 s"


def test_command_prints_figures(capsys: pytest.CaptureFixture[str]) -> None:
    level = logging.getLogger("anyws").level
    try:
        assert main(["--lifetimes", "20"]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith("20 lifetimes in ")
        assert "; 0 with violations\n" in printed
        assert "    send: returned: " in printed
        with PLANTED[2].planted():
            assert main(["--lifetimes", "20", "--show", "1", "--tries", "20"]) == 1
        assert "to be kept in tests/simulation/kept.py:" in capsys.readouterr().out
    finally:
        logging.getLogger("anyws").setLevel(level)


def test_random_numbers_of_others_are_left_alone() -> None:
    before = random.getstate(), trio_run._r.getstate()
    run(draw(5))
    assert (random.getstate(), trio_run._r.getstate()) == before
