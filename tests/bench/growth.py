"""What grows with the size of messages, and with connections: `python -m tests.bench.growth`.

Each line is one server, each column a step, and at the end stands the largest figure divided by the
smallest: 1.0 is flat. All figures are CPU time of the server process, the least of the rounds.

`bytes` is nanoseconds per byte of one message, echoed on one connection, one at a time. The steps
are sizes. A quadratic path, or one that copies more the larger the message, makes it rise; what a
message costs at any size, which is divided by fewer bytes in the first steps, makes it fall.
`bare-whole` has the same messages, and does nothing with them but fill one buffer and send it:
where its cost rises or falls, the machine does that.

For connections, the steps are how many are open. There are three tables, because "a message" is
not the same work in each step:

- `each` has one message in flight on each connection. More connections mean more messages for
  each time that the process wakes up, and less of its waking on the account of each. So it falls
  steeply at first, and the last column says by how much. It is the cost under full load.
- `paced` sends a fixed number of messages per second, one after the other, to one connection after
  the other. The server falls asleep between any two, and wakes up once for each, whatever the
  number of connections. So this one is expected to be flat: it has the waking in every step, and
  shows what more connections cost by being there (larger tables, colder caches).
- `shake` opens a connection while the others are idle, exchanges one message on it and closes it,
  one after another: microseconds per connection. It should be flat as well.

With 1 and 10 connections, waking dominates `each`; keeping 100 messages in flight on a single
connection would hide it, but measure batching instead. To judge whether many connections cost more
than few, read `paced` and `shake`, and `each` from 100 on, beside the bare servers, which show how
much of it is the kernel's and the loop's.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Final

from tests.bench.load import Load, LoadError, Target, shake
from tests.bench.measure import show
from tests.bench.prepare import check_system, raise_file_limit, take_own_core
from tests.bench.process import MeasuredProcess, ProcessFailed, server_process
from tests.bench.samples import Sample
from tests.bench.servers import FLOORS, SERVERS, speaks_websocket
from tests.bench.wire import exchange_of

KIB: Final = 1024
MIB: Final = 1024 * KIB
SIZES: Final = (64 * KIB, 256 * KIB, MIB, 4 * MIB, 16 * MIB, 64 * MIB)
CONNECTIONS: Final = (1, 10, 100, 1000, 10_000)
SMALL: Final = 32
# A thousand wake-ups a second leave the slowest server asleep half of the time.
PACE: Final = 1000.0
# Of files that the processes need besides connections.
OTHER_FILES: Final = 100
WARM_UP: Final = 0.1
PEERS: Final = "anyws-trio,anyws-asyncio,anyws-uvloop,bare-whole,bare-trio,bare-asyncio,bare-uvloop"
TABLES: Final = {
    "bytes": "ns per byte of a message, by its size",
    "each": "us per message, one in flight on each of so many connections",
    "paced": f"us per message, {PACE:g} per second over so many connections",
    "shake": "us per connection opened, used once and closed beside so many idle ones",
}

# The least cost so far by table, peer and step.
Figures = dict[str, dict[str, dict[int, float]]]


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, and print it table by table."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.growth",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peers", default=PEERS, help="servers, %(default)s by default")
    parser.add_argument("--rounds", type=int, default=3, help="the best one counts (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure (default: 1)")
    parser.add_argument("--largest", type=int, default=SIZES[-1], help="message, in bytes")
    parser.add_argument("--most", type=int, default=CONNECTIONS[-1], help="connections")
    arguments = parser.parse_args(words)
    peers = arguments.peers.split(",")
    if not set(peers) <= {*SERVERS, *FLOORS}:
        parser.error(f"peers are {', '.join((*SERVERS, *FLOORS))}")
    if reason := check_system():
        print(reason, file=sys.stderr)
        return 2
    core = take_own_core()
    most = min(arguments.most, raise_file_limit() - OTHER_FILES)
    if most < arguments.most:
        print(f"no more than {most} connections: files are limited", file=sys.stderr)
    sizes = steps_up_to(arguments.largest, SIZES)
    growth = Growth(peers, core, arguments.seconds)
    failed = growth.measure(arguments.rounds, sizes, steps_up_to(most, CONNECTIONS))
    print("\n".join(render(growth.figures)))
    print("\n".join(failed), end="\n" if failed else "")
    return 1 if failed else 0


def steps_up_to(most: int, steps: Sequence[int]) -> list[int]:
    """Return the steps that are not above `most`; it takes the place of the first that is."""
    kept = [step for step in steps if step <= most]
    return kept if len(kept) == len(steps) or kept[-1:] == [most] else [*kept, most]


class Growth:
    """All figures of a run."""

    def __init__(self, peers: Sequence[str], core: int, seconds: float) -> None:
        self.figures: Figures = {table: {peer: {} for peer in peers} for table in TABLES}
        self._peers = peers
        self._core = core
        self._seconds = seconds

    def measure(self, rounds: int, sizes: Sequence[int], connections: Sequence[int]) -> list[str]:
        """Let the servers take turns; return what failed, in words."""
        failed: dict[str, str] = {}
        for n in range(rounds):
            for peer in self._peers:
                if peer not in failed:
                    show(f"round {n + 1} of {rounds}, {peer}")
                    try:
                        # Other bare servers echo before they have all: not what the load expects.
                        if speaks_websocket(peer) or peer in FLOORS:
                            self._climb_sizes(peer, sizes)
                        if peer not in FLOORS:
                            self._climb_connections(peer, connections)
                    except (ProcessFailed, LoadError, OSError) as error:
                        failed[peer] = f"{peer}: {type(error).__name__}: {error}"
        show("")
        return list(failed.values())

    def _climb_sizes(self, peer: str, sizes: Sequence[int]) -> None:
        for size in sizes:
            # A process for each size: what one allocates and frees helps or harms the next.
            with server_process(peer, core=self._core, max_size=size) as server:
                websocket = speaks_websocket(peer)
                target = Target(server.port, websocket)
                load = Load(target, exchange_of(size, websocket=websocket))
                try:
                    load.open(1)
                    load.run(WARM_UP, depth=1)
                    cost = self._cost(server, partial(load.run, self._seconds, depth=1))
                finally:
                    load.close()
            self._note("bytes", peer, size, cost / size)

    def _climb_connections(self, peer: str, steps: Sequence[int]) -> None:
        websocket = speaks_websocket(peer)
        exchange = exchange_of(SMALL, websocket=websocket)
        with server_process(peer, core=self._core) as server:
            load = Load(Target(server.port, websocket), exchange)
            try:
                shake(load.target, WARM_UP, exchange)
                for step in steps:
                    load.open(step - len(load.channels))
                    load.run(WARM_UP, depth=1)
                    self._measure_step(peer, server, load, step)
            finally:
                load.close()

    def _measure_step(self, peer: str, server: MeasuredProcess, load: Load, step: int) -> None:
        for table, run in (
            ("each", partial(load.run, self._seconds, depth=1)),
            ("paced", partial(load.run_paced, self._seconds, rate=PACE)),
            ("shake", partial(shake, load.target, self._seconds, load.exchange)),
        ):
            self._note(table, peer, step, self._cost(server, run) / 1000)

    def _cost(self, server: MeasuredProcess, run: Callable[[], Sample]) -> float:
        """Return the nanoseconds of CPU time of the server for each of what `run` counts."""
        before = server.settle()
        count = run().count
        return (server.settle() - before) / count

    def _note(self, table: str, peer: str, step: int, cost: float) -> None:
        costs = self.figures[table][peer]
        costs[step] = min(cost, costs.get(step, cost))


def render(figures: Figures) -> Iterator[str]:
    """Yield the lines of all tables."""
    for table, by_peer in figures.items():
        steps = sorted({step for costs in by_peer.values() for step in costs})
        name = _size if table == "bytes" else str
        yield f"{table}: {TABLES[table]}"
        yield f"  {'':<26}" + "".join(f"{name(step):>10}" for step in steps) + f"{'max/min':>10}"
        for peer, costs in by_peer.items():
            if not costs:
                continue
            cells = (f"{costs[step]:.2f}" if step in costs else "?" for step in steps)
            yield f"  {peer:<26}" + "".join(f"{cell:>10}" for cell in cells) + _spread(costs)


def _spread(costs: dict[int, float]) -> str:
    return f"{max(costs.values()) / min(costs.values()):>10.2f}"


def _size(size: int) -> str:
    return f"{size // MIB} MiB" if size >= MIB else f"{size // KIB} KiB"


if __name__ == "__main__":
    sys.exit(main())
