"""What runs beside what, and until which signal."""

from __future__ import annotations

import os
import signal
import sys

import anyio
import pytest

from anyws._cli.running import BACKENDS, check_extra, run_beside, run_on, until_signal

from ..loops import current_loop
from ..scripted import settle

needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


@pytest.mark.anyio
async def test_end_of_the_foreground_is_that_of_both() -> None:
    cancelled = anyio.Event()

    async def background() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            cancelled.set()

    async def foreground() -> str:
        await settle()
        return "done"

    assert await run_beside(background, foreground) == "done"
    assert cancelled.is_set()


@pytest.mark.anyio
async def test_error_of_the_foreground_leaves_as_it_was_raised() -> None:
    error = ValueError("it failed")

    async def foreground() -> None:
        await settle()
        raise error

    with pytest.raises(ValueError, match="it failed") as raised:
        await run_beside(anyio.sleep_forever, foreground)
    assert raised.value is error


@pytest.mark.anyio
async def test_foreground_goes_on_when_the_background_has_ended() -> None:
    async def background() -> None:
        pass

    async def foreground() -> str:
        await settle()
        return "done"

    assert await run_beside(background, foreground) == "done"


@needs_signals
@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_signal_cancels(number: signal.Signals) -> None:
    async def wait() -> None:
        os.kill(os.getpid(), number)
        await anyio.sleep_forever()

    assert await until_signal(wait) == number


@needs_signals
@pytest.mark.anyio
async def test_without_a_signal_there_is_no_number() -> None:
    assert await until_signal(settle) is None


@needs_signals
@pytest.mark.anyio
async def test_error_leaves_through_the_wait_for_a_signal() -> None:
    async def fail() -> None:
        raise ValueError("it failed")

    with pytest.raises(ValueError, match="it failed"):
        await until_signal(fail)


@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_is_that_of_the_name(backend: str) -> None:
    async def loop() -> str:
        return current_loop()

    assert run_on(backend, loop) == backend


def test_missing_module_is_named() -> None:
    with pytest.raises(ImportError) as raised:
        check_extra("the thing", "no_such_module", "extra", "no-such-module")
    assert str(raised.value) == (
        "the thing needs no-such-module, an extra: in a checkout, pip install '.[extra]'"
    )
