"""The tasks of handlers: started by a reactor, cancelled and waited for together."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar, copy_context

import anyio
import pytest
from anyio.lowlevel import checkpoint

from anyws._io.reactors import new_reactor
from anyws._lifetime import Background
from anyws._tasks import Cancellable, HandlerTasks, new_handler_tasks

from .raw import LIMIT
from .scripted import settle

pytestmark = pytest.mark.anyio


class Fatal(BaseException):
    """What no handler's error is."""


@asynccontextmanager
async def running() -> AsyncIterator[HandlerTasks]:
    """Yield tasks, held as a server holds them, and end them with the block."""
    background = Background()
    try:
        group = await background.open()
        handlers = new_handler_tasks()
        group.start_soon(handlers.run)
        await settle()
        with anyio.fail_after(LIMIT):
            yield handlers
    finally:
        await background.aclose()


async def test_tasks_run_side_by_side_and_end_by_themselves() -> None:
    ends: list[int] = []

    async def run(n: int) -> None:
        await checkpoint()
        ends.append(n)

    async with running() as tasks:
        for n in range(3):
            tasks.start(run, n)
        while len(ends) < 3:
            await checkpoint()
    assert sorted(ends) == [0, 1, 2]


async def test_tasks_may_be_cancelled_before_they_are_run() -> None:
    """A server may be interrupted as soon as it has begun."""
    handlers = new_handler_tasks()
    stopped: list[bool] = []
    handlers.when_cancelled = lambda: stopped.append(True)
    handlers.cancel()
    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as group:
            group.start_soon(handlers.run)
            await settle()
            group.cancel_scope.cancel()
    assert stopped == [True]


async def test_tasks_may_be_started_from_a_callback() -> None:
    """As by a reactor, where there is no task on asyncio."""
    variable: ContextVar[str] = ContextVar("variable", default="of the reactor")
    seen: list[str] = []

    async def run() -> None:
        with anyio.move_on_after(LIMIT):
            await checkpoint()
        seen.append(variable.get())

    background = Background()
    reactor = new_reactor()
    await background.start(reactor)
    context = copy_context()
    variable.set("of the server")
    try:
        async with running() as tasks:
            reactor.call_later(0, lambda: context.run(tasks.start, run))
            while not seen:
                await checkpoint()
    finally:
        await background.aclose()
    assert seen == ["of the server"]


async def test_leaving_cancels_the_tasks_and_waits_for_them() -> None:
    steps: list[str] = []

    async def run() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await settle()
            steps.append("ended")

    async with running() as tasks:
        tasks.when_cancelled = lambda: steps.append("told")
        tasks.start(run)
        await settle()
        tasks.start(run)  # whose first step comes when it is cancelled
    assert steps == ["told", "ended", "ended"]


async def test_a_task_that_goes_on_is_cancelled_again() -> None:
    """As by a cancel scope, and not once as by asyncio."""
    cancellations = 0

    async def run() -> None:
        nonlocal cancellations
        for _ in range(3):
            try:
                await anyio.sleep_forever()
            except anyio.get_cancelled_exc_class():
                cancellations += 1
        await anyio.sleep_forever()

    async with running() as tasks:
        tasks.start(run)
        await settle()
        tasks.cancel()
        while cancellations < 3:
            await checkpoint()


async def test_tasks_that_have_yet_to_begin_are_cancelled_too() -> None:
    steps: list[str] = []

    async def run() -> None:
        steps.append("begun")
        await anyio.sleep_forever()

    async with running() as tasks:
        tasks.start(run)
        tasks.cancel()
        while not steps:
            await checkpoint()


async def test_what_is_no_error_ends_all() -> None:
    """It comes out where the tasks are held, as the same object."""
    fatal = Fatal()
    cancelled = anyio.Event()

    async def wait() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async def fail() -> None:
        raise fatal

    async def run() -> None:
        async with running() as tasks:
            tasks.start(wait)
            await settle()
            tasks.start(fail)
            with anyio.CancelScope(shield=True):
                await cancelled.wait()

    with pytest.raises(Fatal) as caught:
        await run()
    assert caught.value is fatal


async def test_what_is_no_error_may_come_while_all_are_cancelled() -> None:
    async def fail() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            raise Fatal

    async def run() -> None:
        async with running() as tasks:
            tasks.start(fail)
            await settle()

    with pytest.raises(Fatal):
        await run()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_may_cancel_itself_the_way_of_asyncio() -> None:
    steps: list[str] = []

    async def cancel_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await asyncio.sleep(0)
        finally:
            steps.append("cancelled")

    async def run() -> None:
        await settle()
        steps.append("ended")

    async with running() as tasks:
        tasks.start(cancel_itself)
        tasks.start(run)
        while len(steps) < 2:
            await checkpoint()
    assert steps == ["cancelled", "ended"]


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_a_task_that_waits_for_what_nobody_holds_is_kept() -> None:
    """asyncio forgets such a task, and its handler would end without a word."""
    ended = anyio.Event()

    async def run() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            ended.set()

    async with running() as tasks:
        tasks.start(run)
        await settle()
        gc.collect()
        await settle()
        assert not ended.is_set()


async def test_what_runs_in_tasks_of_others_can_be_cancelled() -> None:
    cancellable = Cancellable()
    steps: list[str] = []

    async def run(name: str) -> None:
        steps.append(f"{name} begins")
        await anyio.sleep_forever()

    with anyio.fail_after(LIMIT):
        async with anyio.create_task_group() as group:
            group.start_soon(cancellable.run, run, "first")
            await settle()
            group.start_soon(cancellable.run, run, "second")
            cancellable.cancel()
    assert steps == ["first begins", "second begins"]


async def test_one_that_ends_by_itself_is_no_more_cancelled() -> None:
    cancellable = Cancellable()

    async def run() -> None:
        pass

    await cancellable.run(run)
    cancellable.cancel()
    await checkpoint()
