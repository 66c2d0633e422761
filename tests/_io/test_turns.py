"""One attempt at a time for each address: who waits for whom."""

from __future__ import annotations

import gc

import anyio
import pytest

from anyws._io import turns
from anyws._io.turns import Turn

from ..scripted import settle

pytestmark = pytest.mark.anyio


async def order_of(*wanted: Turn) -> list[str]:
    """Return what happens when each one is wanted, and given up once all the others wait."""
    events: list[str] = []
    releases = [anyio.Event() for _ in wanted]

    async def take(n: int) -> None:
        async with wanted[n]:
            events.append(f"{n} in")
            await releases[n].wait()
            events.append(f"{n} out")

    async with anyio.create_task_group() as tasks:
        for n in range(len(wanted)):
            tasks.start_soon(take, n)
            await settle()
        for release in releases:
            release.set()
            await settle()
    return events


IN_TURN = ["0 in", "0 out", "1 in", "1 out"]
AT_ONCE = ["0 in", "1 in", "0 out", "1 out"]


def turn(host: str, port: int = 80) -> Turn:
    """Return one for a host that is not looked up, which takes no thread."""
    return Turn(host, port, is_looked_up=False)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        (("a.invalid", 80), ("a.invalid", 80), IN_TURN),
        (("a.invalid", 80), ("a.invalid", 81), AT_ONCE),
        (("a.invalid", 80), ("b.invalid", 80), AT_ONCE),
    ],
    ids=["same", "port", "host"],
)
async def test_who_wants_the_same_address_has_to_wait(
    first: tuple[str, int], second: tuple[str, int], expected: list[str]
) -> None:
    """RFC 6455 §4.1, 2"""
    with anyio.fail_after(10):
        assert await order_of(turn(*first), turn(*second)) == expected


async def is_taken(wanted: Turn) -> bool:
    """Say whether somebody else has the turn; give it up again if not."""
    taken = True

    async def try_it() -> None:
        nonlocal taken
        async with wanted:
            taken = False

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(try_it)
        await settle()
        tasks.cancel_scope.cancel()
    return taken


@pytest.mark.parametrize(("name", "address"), [("localhost", "127.0.0.1"), ("a.invalid",) * 2])
async def test_a_name_stands_for_its_addresses_if_it_has_any(name: str, address: str) -> None:
    with anyio.fail_after(10):
        async with Turn(name, 80):
            assert await is_taken(turn(address))
        assert not await is_taken(turn(address))


async def test_whoever_is_cancelled_while_it_waits_takes_no_turn() -> None:
    with anyio.fail_after(10):
        async with turn("c.invalid"):
            assert await is_taken(turn("c.invalid"))
        assert not await is_taken(turn("c.invalid"))


async def test_no_lock_is_kept_for_an_address_that_nobody_wants() -> None:
    def locks() -> int:
        return sum(host == "d.invalid" for _, host, _ in turns._locks)

    async with turn("d.invalid"):
        assert locks() == 1
    gc.collect()
    assert locks() == 0
