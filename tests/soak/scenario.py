"""The soak: its servers are here, its clients and its bad network in other processes."""

from __future__ import annotations

import functools
import gc
import json
import logging
import resource
import ssl
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random, randrange

import anyio
import trustme
from anyio.abc import TaskGroup
from anyio.streams.buffered import BufferedByteReceiveStream

from anyws import Broadcaster, Server, ServerConnection, serve

from ..endurance.figures import Figures
from ..endurance.measure import Footprint, take_footprint
from ..loops import current_loop
from .conversation import Conversation, Feed
from .crew import Crew, Mishap, growth
from .judge import Judge
from .options import options
from .plan import Plan

__all__ = ["soak"]

# Seconds in which the last connection ends once no more come: of one that is stalled.
_LIMIT = 60.0

# What memory may grow by after the warm-up: a heap that large messages come and go in is not tidy.
_RESIDENT_KIB = 16 << 10
_OBJECTS = 4000


@dataclass(frozen=True, slots=True)
class _Pace:
    """How a soak of so many seconds goes.

    Attributes:
        processes: of clients.
        round_seconds: after which all connections have to end.
        share: of a processor, for each process of clients.
        stops: seconds for which a process of clients is stopped,
        stall: and at most for which the relay lets nothing pass. Either is longer than keepalive
            has patience, if there is the time.
    """

    processes: int
    round_seconds: float
    share: float
    stops: tuple[float, ...]
    stall: float

    @classmethod
    def of(cls, seconds: int) -> _Pace:
        if seconds < 60:
            return cls(1, float(seconds), share=0.3, stops=(0.1, 0.3), stall=0.3)
        return cls(2, 30.0, share=0.032, stops=(0.5, 2.0, 10.0), stall=12.0)


class _Alarm(logging.Handler):
    """Keeps what is logged above INFO, but for the end of those that are too slow for a group."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        if "messages published to it are queued" not in record.getMessage():
            self.heard.append(self.format(record))


class _Place:
    """The servers, and what is published on them."""

    def __init__(self, judge: Judge, tasks: TaskGroup) -> None:
        self._judge = judge
        self._tasks = tasks
        self._feeds = [
            Feed(Broadcaster(4, slow)) for slow in ("close", "drop_oldest", "drop_newest")
        ]
        self.servers: list[Server] = []
        self.conversations: set[Conversation] = set()
        self.alarm = _Alarm()
        self.logger = logging.Logger("soak", logging.WARNING)
        self.logger.addHandler(self.alarm)

    @asynccontextmanager
    async def open(self, context: ssl.SSLContext) -> AsyncIterator[None]:
        serve_here = functools.partial(
            serve, self._handle, "127.0.0.1", compression="deflate", **options(self.logger)
        )
        async with serve_here() as plain, serve_here(ssl=context) as secure:
            self.servers = [plain, secure]
            for feed in self._feeds:
                self._tasks.start_soon(feed.run)
            yield

    async def _handle(self, ws: ServerConnection) -> None:
        plan = Plan.of(ws.request.path)
        feed = plan.chance("server").choice(self._feeds)
        conversation = Conversation(ws, plan, "server", feed=feed)
        self._tasks.start_soon(self._record, conversation)
        await conversation.run()

    async def _record(self, conversation: Conversation) -> None:
        self.conversations.add(conversation)
        self._judge.take(await conversation.record())
        self.conversations.discard(conversation)

    async def take_footprint(self) -> Footprint:
        """Count what is there while nobody is connected."""
        entrances = [server._entrance for server in self.servers]
        with anyio.fail_after(_LIMIT):
            while any(  # noqa: ASYNC110  # as long as the relay, or open_timeout, has it
                server.connections or server._admission.arrivals for server in self.servers
            ):
                await anyio.sleep(0.01)
        gc.collect()
        return await take_footprint(*(entrance._reactor for entrance in entrances))


async def soak(seconds: int) -> Figures:
    """Let clients come, talk and leave for so long, in a network that is bad (R-D2, R-D4).

    Fails if a message is lost that had to arrive, or comes twice, late or torn; if a connection
    does not end, or only one side knows of it; if anything is logged above INFO; or if memory,
    files or tasks grow, here or in a process of clients. Prints how far it has come each minute, if
    it takes that long.
    """
    pace = _Pace.of(seconds)
    seed = randrange(1 << 32)
    chance = Random(seed)
    judge = Judge()
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with tempfile.TemporaryDirectory() as directory:
        path = str(Path(directory) / "authority.pem")
        authority.cert_pem.write_to_path(path)
        async with anyio.create_task_group() as tasks:
            place = _Place(judge, tasks)
            async with place.open(context), _relay(place, seed, pace) as relay:
                ports = [server.port for server in place.servers] + relay.ports
                arguments = ["--loop", current_loop(), "--authority", path]
                arguments += ["--share", str(pace.share), *map(str, ports)]
                crews = [
                    Crew(number, judge, arguments, Random(chance.random()))
                    for number in range(pace.processes)
                ]
                run = _Run(pace, judge, place, crews, chance, f"seed {seed}")
                figures = await run.run(seconds)
            tasks.cancel_scope.cancel()
    return {"seed": seed, **figures, "faults of the relay": dict(relay.faults)}


class _RelayProcess:
    """The relay, as the soak sees it."""

    ports: list[int]
    faults: Counter[str]


@asynccontextmanager
async def _relay(place: _Place, seed: int, pace: _Pace) -> AsyncIterator[_RelayProcess]:
    """Put a relay in front of the servers."""
    found = _RelayProcess()
    ports = [str(server.port) for server in place.servers]
    command = [sys.executable, "-m", "tests.soak.relay", *ports]
    command += ["--seed", str(seed), "--stall", str(pace.stall)]
    async with await anyio.open_process(command, stderr=None) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        lines = BufferedByteReceiveStream(process.stdout)
        found.ports = json.loads(await lines.receive_until(b"\n", 1000))
        yield found
        await process.stdin.aclose()
        found.faults = Counter(json.loads(await lines.receive_until(b"\n", 1000)))
        assert await process.wait() == 0


class _Run:
    """One soak: its rounds, and what is looked at after each."""

    def __init__(
        self,
        pace: _Pace,
        judge: Judge,
        place: _Place,
        crews: list[Crew],
        chance: Random,
        name: str,
    ) -> None:
        self._pace = pace
        self._judge = judge
        self._place = place
        self._crews = crews
        self._chance = chance
        self._name = name
        self._rounds = 0
        self._mishaps: Counter[str] = Counter()
        self._footprints: list[Footprint] = []

    async def run(self, seconds: int) -> Figures:
        for crew in self._crews:
            await crew.start()
        self._footprints.append(await self._place.take_footprint())
        began = last = time.monotonic()
        while (left := began + seconds - time.monotonic()) > 0:
            try:
                await self._run_round(min(self._pace.round_seconds, left))
            except Exception as exc:
                exc.add_note("\n".join([self._name, *map(str, self._place.conversations)]))
                raise
            if time.monotonic() > last + 60:
                last = time.monotonic()
                self._print(last - began)
        for crew in self._crews:
            assert await crew.end() == 0
        return self._figures(time.monotonic() - began)

    async def _run_round(self, seconds: float) -> None:
        self._rounds += 1
        async with anyio.create_task_group() as tasks:
            for number, crew in enumerate(self._crews):
                # Of several, the first one is never killed, so that its memory can be watched.
                may_die = number or len(self._crews) == 1
                mishaps: tuple[Mishap, ...] = ("none", "stop", "kill" if may_die else "none")
                mishap = self._chance.choice(mishaps)
                self._mishaps[mishap] += mishap != "none"
                pause = self._chance.choice(self._pace.stops)
                tasks.start_soon(crew.run_round, seconds, mishap, pause)
        killed = set().union(*(crew.killed for crew in self._crews))
        for crew in self._crews:
            await crew.go_on()
        self._footprints.append(await self._place.take_footprint())
        self._judge.finish_round(killed)
        problems = self._judge.problems + self._place.alarm.heard + self._find_growth()
        assert not problems, "\n".join(problems[:20])

    @property
    def _grown(self) -> Footprint:
        """What there is more than before; the warm-up is a sixth of the rounds so far, or 15."""
        return growth(self._footprints, max(1, min(15, self._rounds // 6)))

    def _find_growth(self) -> list[str]:
        names = ["the servers", *(f"client process {n}" for n in range(len(self._crews)))]
        grown = [self._grown, *(crew.grown() for crew in self._crews)]
        return [
            f"{name} has more than before: {more}"
            for name, more in zip(names, grown, strict=True)
            if more.files
            or more.tasks
            or more.timers
            or more.objects > _OBJECTS
            or more.resident_kib > _RESIDENT_KIB
        ]

    def _figures(self, seconds: float) -> Figures:
        last, grown = self._footprints[-1], self._grown
        judge = self._judge
        failures = sum(judge.failures.values())
        used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return {
            "seconds": seconds,
            "rounds": self._rounds,
            **judge.counts,
            "lost, repeated, late, torn": 0,
            "could not connect": f"{failures}: {dict(judge.failures)}",
            "ends": dict(judge.ends.most_common()),
            "processes of clients stopped, killed": (self._mishaps["stop"], self._mishaps["kill"]),
            "files, tasks, timers more": (grown.files, grown.tasks, grown.timers),
            "objects more": grown.objects,
            "KiB, and more than after the warm-up": (last.resident_kib, grown.resident_kib),
            "seconds of processors": sum(each.ru_utime + each.ru_stime for each in used),
        }

    def _print(self, seconds: float) -> None:
        counts, last, grown = self._judge.counts, self._footprints[-1], self._grown
        messages = counts["messages received and checked"]
        print(
            f"{current_loop()}, {seconds:.0f} s: {messages} messages "
            f"on {counts['connections']} connections, {counts['closed cleanly']} closed cleanly, "
            f"{sum(self._judge.failures.values())} could not connect; processes stopped "
            f"{self._mishaps['stop']}, killed {self._mishaps['kill']}; {last.resident_kib} KiB "
            f"({grown.resident_kib:+}), {last.files} files ({grown.files:+}), {last.tasks} tasks "
            f"({grown.tasks:+}), {last.objects} objects ({grown.objects:+})",
            flush=True,
        )
