"""A price feed, and figures of it as they come: quick clients, a slow one, and a restart.

python examples/demo.py [--seconds SECONDS] [--backend trio|asyncio]

It all happens in this program, over sockets, and ends by itself. In a terminal the figures are a
table, if rich is installed; elsewhere they are lines.
"""

import argparse
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from statistics import median
from time import perf_counter

import anyio
from anyio.abc import TaskStatus

from anyws import Broadcaster, ConnectionClosed, Retry, ServerConnection, reconnect, serve

try:
    from rich import box
    from rich.console import Group
    from rich.live import Live
    from rich.table import Table
except ImportError:  # it is an extra
    HAS_RICH = False
else:
    HAS_RICH = True

RATE = 250  # prices a second
SIZE = 8192  # bytes of each: the time at which it was sent, and room for more
LOOK = 0.25  # seconds from one look at the figures to the next
QUICK = ("ada", "ben", "cleo", "dora", "emil", "fay")
SLOW = "snail"  # reads 20 prices a second

# Nobody waits for the slow one: it has a queue, and misses what that has no room for.
feed = Broadcaster(max_queue=50, slow="drop_oldest")


class Client:
    """One who reads prices.

    Attributes:
        received: prices in all.
        delays: seconds that prices took from the server to here, since the last look.
        last_delays: the same, of the time before that look.
        rates: prices a second, at each look.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.connections = 0
        self.is_back = anyio.Event()  # after the restart
        self.is_connected = False
        self.received = 0
        self.delays: list[float] = []
        self.last_delays: list[float] = []
        self.rates: list[float] = []

    async def follow(self, uri: str) -> None:
        """Read for ever, over as many connections as it takes."""
        retry = Retry(initial_delay=0.05, max_delay=0.5)
        # With a small buffer, what the slow one has not read waits in the kernel and the server.
        async with reconnect(
            f"{uri}{self.name}", retry=retry, max_size=SIZE, max_buffer=SIZE
        ) as attempts:
            async for ws in attempts:
                self.is_connected = True
                self.connections += 1
                if self.connections > 1:
                    self.is_back.set()
                with suppress(ConnectionClosed):
                    async for price in ws:
                        assert isinstance(price, bytes)
                        [sent_at] = struct.unpack_from("d", price)
                        self.received += 1
                        self.delays.append(perf_counter() - sent_at)
                        if self.name == SLOW:
                            await anyio.sleep(0.05)
                self.is_connected = False


class Demo:
    """All that happens, and what is known of it."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began = self.looked = perf_counter()
        self.clients = [Client(name) for name in (*QUICK, SLOW)]
        self.delays: list[float] = []  # of quick clients, all the time
        self.events: list[str] = []

    @property
    def elapsed(self) -> float:
        return perf_counter() - self.began

    def tell(self, what: str) -> None:
        """Take note of something that happened."""
        self.events.append(f"{self.elapsed:4.1f} s  {what}")

    async def run(self, show: Callable[["Demo"], None]) -> None:
        """Let it all happen, and have it shown at each look."""
        async with anyio.create_task_group() as tasks:
            uri = await tasks.start(self.serve_twice)
            for client in self.clients:
                tasks.start_soon(client.follow, uri)
            tasks.start_soon(self.publish)
            # However slow the machine is, the clients are seen to come back.
            while self.elapsed < self.seconds or len(self.events) < 3:
                await anyio.sleep(LOOK)
                self.look()
                show(self)
            tasks.cancel_scope.cancel()

    async def serve_twice(self, *, task_status: TaskStatus[str]) -> None:
        """Serve, and halfway stop and serve again on the same port."""
        async with serve(subscribe, "127.0.0.1", close_timeout=0.3) as server:
            self.tell(f"the server is there: {server.uri}")
            task_status.started(server.uri)
            await anyio.sleep(self.seconds / 2)
            self.tell("the server restarts: it closes all connections with code 1012")
            stopped = perf_counter()
            await server.shutdown(code=1012)
        async with serve(subscribe, "127.0.0.1", server.port):
            for client in self.clients[:-1]:
                await client.is_back.wait()
            away = (perf_counter() - stopped) * 1000
            self.tell(f"all are back, {away:.0f} ms later; the {SLOW} still reads what is old")
            await anyio.sleep_forever()

    async def publish(self) -> None:
        """Publish prices, as many in a second as there are to be."""
        published = 0
        while True:
            while published < self.elapsed * RATE:
                feed.publish(struct.pack("d", perf_counter()).ljust(SIZE))
                published += 1
            await anyio.sleep(1 / RATE)

    def look(self) -> None:
        """Take the figures of the time since the last look."""
        now = perf_counter()
        for client in self.clients:
            client.last_delays, client.delays = client.delays, []
            client.rates.append(len(client.last_delays) / (now - self.looked))
            if client.name != SLOW:
                self.delays += client.last_delays
        self.looked = now


async def subscribe(ws: ServerConnection) -> None:
    """Send what is published, until the client or the server goes."""
    async with feed.member(ws):
        await ws.wait_closed()


# What is shown


def milliseconds(delays: list[float], pick: Callable[[list[float]], float]) -> str:
    """Say how long the middle one of some took, or the longest."""
    if not delays:
        return "–"
    value = pick(delays) * 1000
    return f"{value:,.{0 if value >= 100 else 1}f} ms"


def line(demo: Demo) -> str:
    """Return the figures in one line."""
    quick = [delay for client in demo.clients[:-1] for delay in client.last_delays]
    return (
        f"{demo.elapsed:4.1f} s  {len(feed)} connected, "
        f"{sum(client.rates[-1] for client in demo.clients):,.0f} messages/s in "
        f"{milliseconds(quick, median)}, {feed.dropped} dropped for the {SLOW}"
    )


def summary(demo: Demo) -> str:
    """Return what there was in all."""
    received = sum(client.received for client in demo.clients)
    return (
        f"{received:,} messages were received in {demo.elapsed:.1f} s over "
        f"{sum(client.connections for client in demo.clients)} connections.\n"
        f"Those of quick clients took {milliseconds(demo.delays, median)} (median), "
        f"at most {milliseconds(demo.delays, max)}.\n"
        f"{feed.dropped:,} were dropped for the one that is slow, and nobody waited for it."
    )


def sparkline(rates: list[float]) -> str:
    """Draw the last rates."""
    return "".join(" ▁▂▃▄▅▆▇█"[min(8, round(8 * rate / (1.25 * RATE)))] for rate in rates[-12:])


def picture(demo: Demo) -> "Group":
    """Return the figures as a table, with what happened below it."""
    table = Table(box=box.SIMPLE_HEAD, expand=True)
    table.add_column("client", style="bold", min_width=6)
    for heading in ("per second", "latency", "at most", "received", "dropped"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("until now", style="cyan", width=12)
    for client in demo.clients:
        is_slow = client.name == SLOW
        table.add_row(
            client.name if client.is_connected else f"[red]{client.name}[/]",
            f"{client.rates[-1]:,.0f}",
            milliseconds(client.last_delays, median),
            milliseconds(client.last_delays, max),
            f"{client.received:,}",
            f"[yellow]{feed.dropped:,}[/]" if is_slow else "0",
            sparkline(client.rates),
        )
    return Group(table, line(demo), "", *demo.events)


@contextmanager
def display() -> Iterator[Callable[[Demo], None]]:
    """Yield what shows the figures: in a table where there can be one, else in lines."""
    if sys.stdout.isatty() and HAS_RICH:
        with Live(auto_refresh=False) as live:
            yield lambda demo: live.update(picture(demo), refresh=True)
        return
    shown = 0

    def show(demo: Demo) -> None:
        nonlocal shown
        print(*demo.events[shown:], sep="\n", end="\n" if demo.events[shown:] else "")
        shown = len(demo.events)
        if len(demo.clients[0].rates) % 4 == 0:
            print(line(demo), flush=True)

    yield show


async def main(seconds: float) -> None:
    """Run the demo, and tell what there was in all."""
    demo = Demo(seconds)
    with display() as show:
        await demo.run(show)
    print("\n" + summary(demo))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A price feed, and figures of it.")
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    options = parser.parse_args()
    try:
        anyio.run(main, options.seconds, backend=options.backend)
    except* KeyboardInterrupt:
        pass
