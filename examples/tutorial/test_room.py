"""Step 5: tests of the room, without a network.

pytest examples/tutorial/test_room.py
"""

from functools import partial

import anyio
import pytest
from step3_room import Room

from anyws.testing import run_handler

on_both = pytest.mark.parametrize("backend", ["trio", "asyncio"])


@on_both
def test_one_hears_the_other(backend: str) -> None:
    async def main() -> None:
        room = Room()
        async with (
            run_handler(partial(room.join, name="Ada")) as ada,
            run_handler(partial(room.join, name="Ben")) as ben,
        ):
            assert await ada.receive_json() == {"lines": []}
            assert await ada.receive_json() == {"names": ["Ada"]}
            assert await ada.receive_json() == {"names": ["Ada", "Ben"]}
            await ben.send("hello")
            assert await ada.receive_json() == {"lines": [{"name": "Ben", "text": "hello"}]}
        assert room.names == []

    anyio.run(main, backend=backend)


@on_both
def test_newcomer_gets_what_was_said(backend: str) -> None:
    async def main() -> None:
        room = Room()
        room.say("Ada", "is anybody here?")
        async with run_handler(partial(room.join, name="Ben")) as ben:
            said = {"name": "Ada", "text": "is anybody here?"}
            assert await ben.receive_json() == {"lines": [said]}

    anyio.run(main, backend=backend)
