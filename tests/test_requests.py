"""Every request of `requests_rows.py`, raw, over real sockets, and how it is answered."""

from __future__ import annotations

import anyio
import pytest
import trio

from anyws import InvalidHandshake, Request, Response, ServerConnection, wrap_server
from anyws._accepting import ProcessRequest
from anyws.testing import UPGRADE, RawPeer, memory_pair

from .requests_rows import ROWS, Row
from .requests_table import ask, check, main, open_place
from .scripted import settle, virtual_time
from .serving import check_alive


@pytest.mark.anyio
@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_request_is_answered_and_the_server_lives(row: Row) -> None:
    """R-A2e, R-B6c, R-B6e: with a whole response in time, and nothing in the log."""
    async with open_place() as place:
        answer = await ask(place.port(row), row)
        await settle()
        check(row, answer, place.witness.take())
        await check_alive(place.server)


def test_names_of_requests_are_unique() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("backend", ["trio", "asyncio"])
def test_one_server_answers_them_all(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    """R-A2e: as `python -m tests.requests_table` prints it."""
    assert main(["--backend", backend]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == len(ROWS)
    assert last == f"{len(ROWS)} requests, 0 answered wrongly; server alive"


# The deadline, with a clock that jumps


async def never(_: ServerConnection, __: Request) -> Response | None:
    await anyio.sleep_forever()
    return None


async def late_answer(sent: bytes, hook: ProcessRequest | None = None) -> tuple[int, float]:
    """Return the status with which `wrap_server` answers, and the seconds that it takes."""
    ours, theirs = memory_pair()
    answers = []

    async def visit() -> None:
        began = trio.current_time()
        if sent:
            await theirs.send(sent)
        head = await RawPeer(theirs, is_client=True).read_response()
        answers.append((head.status, round(trio.current_time() - began, 3)))
        await theirs.aclose()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(visit)
        with pytest.raises((InvalidHandshake, TimeoutError)):
            await wrap_server(ours, process_request=hook).__aenter__()
    return answers[0]


@pytest.mark.parametrize("sent", [b"", UPGRADE[:70], UPGRADE[:-1]], ids=["nothing", "half", "most"])
def test_unfinished_request_is_answered_at_the_deadline(sent: bytes) -> None:
    """R-C4"""

    @virtual_time
    async def run() -> None:
        assert await late_answer(sent) == (408, 10.0)

    run()


@virtual_time
async def test_hook_that_never_ends_is_answered_for_at_the_deadline() -> None:
    """R-B6c"""
    assert await late_answer(UPGRADE, never) == (503, 10.0)


@virtual_time
async def test_request_that_is_dripped_is_answered_at_the_deadline() -> None:
    """R-C4: the deadline counts from the beginning, whatever comes."""
    ours, theirs = memory_pair()
    answers = []

    async def drip() -> None:
        for byte in UPGRADE:
            await theirs.send(bytes([byte]))
            await anyio.sleep(0.5)

    async def visit() -> None:
        began = trio.current_time()
        head = await RawPeer(theirs, is_client=True).read_response()
        answers.append((head.status, round(trio.current_time() - began, 3)))
        tasks.cancel_scope.cancel()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drip)
        tasks.start_soon(visit)
        with pytest.raises(TimeoutError, match="answered with 408"):
            await wrap_server(ours).__aenter__()
    assert answers == [(408, 10.0)]
