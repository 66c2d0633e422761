"""Attacks a victim with a flood, and says what it came to.

`python -m tests.hostile floods` does it with every flood, role and loop, in full size;
`test_floods.py` with less of each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

import anyio
import trio

from anyws._build import COMPILED
from anyws.testing import CLOSE, RawPeer, close_frame

from ..scripted import Role
from ..support import SocketStream, accept, connect, listen
from .attacks import KIB, Flood
from .victim import Figures, Order

__all__ = ["Measured", "Outcome", "Victim", "attack", "bound", "measure", "problems", "victim"]

_ENDED = (anyio.BrokenResourceError, anyio.EndOfStream)

#: What is not the flood's doing: the connection itself, its task, the error that it ends with.
_CONNECTION = 64 * KIB

# 64 KiB are read at a time: the bytes themselves, the same behind what was left of the read before,
# and what a step of the work on them comes to, which is up to 64 KiB decompressed, or 2,048 small
# messages of 64 bytes in memory each.
_ONE_READ = (64 + 64 + 128) * KIB

#: Seconds of CPU time for a byte: a system call and a turn of the loop, if bytes come one by one,
#: on a machine that is busy. And for what does not depend on the bytes.
MOST_SECONDS_A_BYTE = 20e-6
MOST_SECONDS = 0.5

# Seconds for all of it.
_LIMIT = 300.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a flood came to.

    Attributes:
        figures: of the victim.
        end: as `Flood.ends` has it.
        taken: bytes that the attacked side has read of the connection; of an opening handshake,
            bytes that the peer could send.
    """

    figures: Figures
    end: str
    taken: int


class Victim:
    """A process to be attacked; see `victim`."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def order(self, order: Order) -> None:
        assert self._process.stdin is not None
        print(json.dumps(asdict(order)), file=self._process.stdin, flush=True)

    def say(self) -> object:
        """Return what it says next."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the victim has died"
        return json.loads(line)


@contextmanager
def victim(loop: str) -> Iterator[Victim]:
    """Start a process on this loop, and end it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hostile.victim", loop],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            started = Victim(process)
            assert started.say() == "ready"
            yield started
        finally:
            process.kill()


@dataclass(frozen=True, slots=True)
class Measured:
    """What a flood came to, once with its memory traced and once as fast as it goes."""

    flood: Flood
    traced: Outcome
    fast: Outcome

    @property
    def seconds_a_byte(self) -> float:
        """CPU time."""
        return self.fast.figures.seconds / max(1, self.fast.taken)

    def problems(self) -> list[str]:
        """Say what is wrong with it."""
        most = MOST_SECONDS + MOST_SECONDS_A_BYTE * self.fast.taken
        seconds = self.fast.figures.seconds
        too_slow = f"{seconds:.1f} s of CPU time, at most {most:.1f} were expected"
        return [
            *problems(self.flood, self.traced),
            *problems(self.flood, self.fast),
            *([too_slow] if seconds > most else ()),
        ]


def measure(loop: str, flood: Flood, role: Role) -> Measured:
    """Attack two new victims with a flood in full size."""
    outcomes = []
    for traces in (True, False):
        with victim(loop) as attacked:
            outcomes.append(attack(attacked, flood, role, flood.many, traces=traces))
    return Measured(flood, *outcomes)


def attack(attacked: Victim, flood: Flood, role: Role, n: int, *, traces: bool) -> Outcome:
    """Attack a victim in this role with `n` units of a flood."""
    peer = _Peer(attacked, flood, role, n)
    options = dict(flood.options)

    async def attack_server() -> None:
        attacked.order(Order(None, flood.application, options, traces))
        port = attacked.say()
        assert isinstance(port, int)
        await peer.run(await connect(port))

    async def attack_client() -> None:
        with listen() as listener:
            port = listener.getsockname()[1]
            attacked.order(Order(port, flood.application, options, traces))
            await peer.run(await accept(listener))

    async def main() -> None:
        with trio.fail_after(_LIMIT):
            await (attack_server() if role == "server" else attack_client())

    trio.run(main)
    said = peer.said or attacked.say()
    assert isinstance(said, dict)
    figures = Figures(**said)
    return Outcome(figures, figures.end or peer.status, figures.received or peer.sent)


class _Peer:
    """The hostile one.

    Attributes:
        said: what the victim has said meanwhile, if it has.
        sent: bytes.
        status: of the response, to a flood of that.
    """

    def __init__(self, attacked: Victim, flood: Flood, role: Role, n: int) -> None:
        self._attacked = attacked
        self._flood = flood
        self._pieces = flood.attack(role, n)
        self._role = role
        self.said: object = None
        self.sent = 0
        self.status = ""

    async def run(self, stream: SocketStream) -> None:
        """Send all, or as much as the other side lets us."""
        raw = RawPeer(stream, is_client=self._role == "server")
        try:
            if self._flood.application == "handshake":
                await self._talk_http(raw)
            else:
                await self._shake_hands(raw)
                await self._talk(raw)
                if not self._flood.reads:
                    await stream.send_eof()
                    # Only reading would tell when the other side has gone.
                    self.said = self._attacked.say()
        finally:
            await raw.drop()

    async def _talk_http(self, raw: RawPeer) -> None:
        if self._role == "client":
            await raw.read_head()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._read_answer, raw, tasks.cancel_scope)
            await self._send_all(raw)

    async def _read_answer(self, raw: RawPeer, scope: anyio.CancelScope) -> None:
        if self._role == "server":
            head = await raw.read_response()
            self.status = str(head.status)
        await raw.read_rest()
        scope.cancel()

    async def _shake_hands(self, raw: RawPeer) -> None:
        fields: tuple[str, ...] = ()
        if "compression" in self._flood.options:
            fields = ("Sec-WebSocket-Extensions: permessage-deflate",)
        if self._role == "server":
            assert (await raw.upgrade(*fields)).status == 101
        else:
            await raw.accept(*fields)

    async def _talk(self, raw: RawPeer) -> None:
        if not self._flood.reads:
            await self._send_all(raw)
            return
        async with anyio.create_task_group() as tasks:
            if not self._flood.stays:
                tasks.start_soon(self._read_to_close, raw, tasks.cancel_scope)
            if await self._send_all(raw):
                if self._flood.ends == "gone":
                    tasks.cancel_scope.cancel()
                with suppress(*_ENDED):
                    await raw.send(close_frame(1000))

    async def _read_to_close(self, raw: RawPeer, scope: anyio.CancelScope) -> None:
        with suppress(*_ENDED):
            while (await raw.receive()).opcode != CLOSE:
                pass
        scope.cancel()

    async def _send_all(self, raw: RawPeer) -> bool:
        try:
            for piece in self._pieces:
                await raw.send(piece)
                self.sent += len(piece)
        except _ENDED:
            return False
        return True


def problems(flood: Flood, outcome: Outcome) -> list[str]:
    """Say what is wrong with an outcome."""
    found = []
    if outcome.end != flood.ends:
        found.append(f"ended by {outcome.end}, expected was {flood.ends}")
    if outcome.figures.peak > bound(flood):
        found.append(f"{outcome.figures.peak} bytes of memory, the bound is {bound(flood)}")
    return found


def bound(flood: Flood) -> int:
    """Return how many bytes a flood may make the attacked side take."""
    # Without a compiler, a message is copied when it is complete.
    return flood.limits * (1 if COMPILED else 2) + _CONNECTION + _ONE_READ
