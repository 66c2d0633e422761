"""A process of clients, as the soak sees it."""

from __future__ import annotations

import json
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from random import Random
from typing import Any, Literal

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from ..endurance.measure import Footprint
from .conversation import Record
from .judge import Judge

__all__ = ["Crew", "Mishap", "growth"]

#: What may happen to a process in a round. One that is stopped goes on after a while.
Mishap = Literal["none", "stop", "kill"]

_MAX_LINE = 1 << 20

# Rounds of a process, after which memory is compared with that moment.
_WARM_UP = 5


class Crew:
    """A process of clients, and those that take its place when it is killed.

    Args:
        number: of it, by which its connections are known.
        judge: of what its clients tell.
        arguments: of the command line.
        chance: when a mishap comes.

    Attributes:
        killed: the name of the process that was killed in this round, if one was.
    """

    def __init__(self, number: int, judge: Judge, arguments: list[str], chance: Random) -> None:
        self._number = number
        self._judge = judge
        self._arguments = arguments
        self._chance = chance
        self._generation = 0
        self._process: Process | None = None
        self._lines: BufferedByteReceiveStream | None = None
        self._footprints: list[Footprint] = []
        self.killed: set[str] = set()

    @property
    def _name(self) -> str:
        return f"{self._number}.{self._generation}"

    async def start(self) -> None:
        """Start a process."""
        self._generation += 1
        command = [sys.executable, "-m", "tests.soak.clients", "--name", self._name]
        self._process = await anyio.open_process(command + self._arguments, stderr=None)
        assert self._process.stdout is not None
        self._lines = BufferedByteReceiveStream(self._process.stdout)
        self._footprints = [Footprint(**await self._read())]

    async def run_round(self, seconds: float, mishap: Mishap, pause: float) -> None:
        """Let clients come for so long, and meet a mishap in the middle of it."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        await process.stdin.send(f"{seconds}\n".encode())
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_round, mishap == "kill")
            if mishap == "none":
                return
            await anyio.sleep(self._chance.uniform(0.2, 0.6) * seconds)
            with suppress(ProcessLookupError):  # it has ended by itself, which is found out
                if mishap == "kill":
                    process.kill()
                    return
                process.send_signal(signal.SIGSTOP)
                await anyio.sleep(pause)
                process.send_signal(signal.SIGCONT)

    async def _read_round(self, is_killed: bool) -> None:
        """Read what a round brings, up to its end."""
        while True:
            try:
                said = await self._read()
            except (anyio.EndOfStream, anyio.IncompleteRead):
                assert is_killed, f"process {self._name} has ended"
                self.killed.add(self._name)
                return
            if "failure" in said:
                self._judge.take_failure(said["plan"], said["failure"])
            elif "plan" in said:
                self._judge.take(Record(**said))
            else:
                self._footprints.append(Footprint(**said))
                return

    async def _read(self) -> Any:
        assert self._lines is not None
        return json.loads(await self._lines.receive_until(b"\n", _MAX_LINE))

    async def end(self) -> int:
        """Wait for the end of the process, and return its status."""
        assert self._process is not None
        async with self._process as process:
            assert process.stdin is not None
            await process.stdin.aclose()
            return await process.wait()

    async def go_on(self) -> None:
        """Start another process if this one was killed."""
        if self.killed:
            self.killed.clear()
            status = await self.end()
            assert status == -signal.SIGKILL, status
            await self.start()

    def grown(self) -> Footprint:
        """Return what the process has more than before."""
        return growth(self._footprints, _WARM_UP)


def growth(footprints: list[Footprint], warm_up: int) -> Footprint:
    """Return what there is more than in the beginning, and of memory more than after a warm-up."""
    last = footprints[-1]
    warm = last - footprints[min(warm_up, len(footprints) - 1)]
    return replace(last - footprints[0], resident_kib=warm.resident_kib, objects=warm.objects)
