"""How long a large message holds the event loop: `python -m tests.bench.held`.

A client sends one message, masked, and the server echoes it; both are ours, on the same loop. In
both processes a task takes one turn of the loop after the other, and notes when its turn comes
late. The figures are the longest delays in each direction, the median of the rounds: milliseconds
of CPU time of the loop's thread, with wall time behind it, which other processes lengthen. A loop
that is held longer than the limit keeps every other connection waiting; such a figure is marked.

The kinds that begin with "deflate" go compressed: text that shrinks to less than a hundredth,
records in JSON that shrink to a third, and characters at random that hardly shrink at all.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from statistics import median
from typing import Final

from tests.bench.held_ends import KINDS, LOOPS, Held
from tests.bench.measure import show

SIZE: Final = 64 * 1024 * 1024
LIMIT_MS: Final = 10.0
TIMEOUT: Final = 120.0
NAME_WIDTH: Final = 24
COLUMNS: Final = (
    ("client", "sends"),
    ("server", "receives"),
    ("server", "sends"),
    ("client", "receives"),
)

# By end and direction.
Delays = dict[tuple[str, str], Held]


class EndFailed(Exception):
    """One of the two processes failed; the message is what it said last."""


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, and print it line by line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench.held",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--loops", default=",".join(LOOPS), help="default: %(default)s")
    parser.add_argument("--kinds", default=",".join(KINDS), help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=3, help="the median counts (default: 3)")
    parser.add_argument("--size", type=int, default=SIZE, help="of the message, in bytes")
    arguments = parser.parse_args(words)
    loops, kinds = arguments.loops.split(","), arguments.kinds.split(",")
    if not set(loops) <= set(LOOPS) or not set(kinds) <= set(KINDS):
        parser.error(f"loops are {', '.join(LOOPS)}; kinds are {', '.join(KINDS)}")
    print("\n".join(header(arguments.size)), flush=True)
    for loop in loops:
        for kind in kinds:
            show(f"{loop}, {kind}")
            try:
                rounds = [exchange(loop, kind, arguments.size) for _ in range(arguments.rounds)]
            except EndFailed as error:
                print(f"{loop}, {kind}: {error}", file=sys.stderr)
                return 1
            show("")
            print(line(f"{loop}, {kind}", middle(rounds)), flush=True)
    return 0


def exchange(loop: str, kind: str, size: int) -> Delays:
    """Send one message there and back; return the longest delays.

    Raises:
        EndFailed: a process did not end as it should.
    """
    with _start("server", loop, kind, size) as server:
        try:
            assert server.stdout is not None
            port = server.stdout.readline().strip()
            if not port:
                raise EndFailed(_last_words(server.communicate(timeout=TIMEOUT)[1]))
            with _start("client", loop, kind, size, "--port", port) as client:
                try:
                    return {**_finish("client", client), **_finish("server", server)}
                finally:
                    client.kill()
        finally:
            server.kill()


def _start(end: str, loop: str, kind: str, size: int, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.bench.held_ends", end, loop]
    options = ["--kind", kind, "--size", str(size), *more]
    return subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def _finish(end: str, process: subprocess.Popen[str]) -> Delays:
    try:
        out, errors = process.communicate(timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise EndFailed(f"the {end} had not ended after {TIMEOUT:g} s") from error
    if process.returncode != 0:
        raise EndFailed(f"{end}: {_last_words(errors)}")
    return {(end, direction): Held(**held) for direction, held in json.loads(out).items()}


def _last_words(errors: str) -> str:
    return "".join(errors.strip().splitlines()[-1:]) or "it wrote nothing to standard error"


def middle(rounds: Sequence[Delays]) -> Delays:
    """Return the medians over the rounds."""
    return {
        column: Held(
            int(median(delays[column].cpu_ns for delays in rounds)),
            int(median(delays[column].wall_ns for delays in rounds)),
        )
        for column in COLUMNS
    }


def header(size: int) -> Iterator[str]:
    """Yield the lines above the figures."""
    yield f"longest the loop was held by a message of {size} bytes, there and back:"
    yield f"ms of cpu (of wall) time; ! is above the limit of {LIMIT_MS:g} ms of cpu time"
    yield f"{'':<{NAME_WIDTH}}" + "".join(f"{' '.join(column):>22}" for column in COLUMNS)


def line(name: str, delays: Delays) -> str:
    """Return the line of one loop and one kind of message."""
    return f"{name:<{NAME_WIDTH}}" + "".join(f"{_cell(delays[column]):>22}" for column in COLUMNS)


def _cell(held: Held) -> str:
    cpu, wall = held.cpu_ns / 1e6, held.wall_ns / 1e6
    return f"{'!' if cpu > LIMIT_MS else ''}{cpu:.1f} ({wall:.1f})"


if __name__ == "__main__":
    sys.exit(main())
