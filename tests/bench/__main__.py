"""Compare what a message costs: `python -m tests.bench --rows e100 --peers anyws-trio,...`.

Needs Linux and two cores: one for the server, which is measured, one for the load.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
from pathlib import Path
from typing import Final

from tests.bench.measure import Outcome, Settings, measure_row
from tests.bench.report import render_row, write_json
from tests.bench.rows import ROWS
from tests.bench.servers import SERVERS

WARM_UP: Final = 0.2


def main() -> int:
    """Measure what the command line asks for, and print it row by row."""
    arguments = _parse_arguments()
    if sys.platform != "linux":
        print("the figures come from /proc, which only Linux has", file=sys.stderr)
        return 2
    settings = Settings(arguments.rounds, arguments.seconds, WARM_UP, server_core=_take_own_core())
    # Two thousand connections are more open files than most systems allow at first.
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    results: dict[str, list[Outcome]] = {}
    for name in arguments.rows:
        results[name] = measure_row(ROWS[name], arguments.peers, settings)
        print("\n".join(render_row(ROWS[name], results[name])), flush=True)
        if arguments.json is not None:
            write_json(arguments.json, results, settings)
    return 0


def _take_own_core() -> int:
    """Pin this process, which makes the load, to one core; return the core for the servers."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        print("only one core: the load and the servers share it", file=sys.stderr)
    os.sched_setaffinity(0, {cores[0]})
    return cores[-1]


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure the CPU time of echo servers per message, side by side.",
        epilog=f"Rows: {', '.join(ROWS)}. Peers: {', '.join(SERVERS)}.",
    )
    parser.add_argument("--rows", type=_names_of_rows, default=list(ROWS), metavar="ROWS")
    parser.add_argument("--peers", type=_names_of_peers, default=list(SERVERS), metavar="PEERS")
    parser.add_argument("--rounds", type=int, default=5, help="the best one counts (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="length of one turn (default: 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn there")
    return parser.parse_args()


def _names_of_rows(value: str) -> list[str]:
    return _names(value, tuple(ROWS))


def _names_of_peers(value: str) -> list[str]:
    return _names(value, tuple(SERVERS))


def _names(value: str, allowed: tuple[str, ...]) -> list[str]:
    names = [name.strip() for name in value.split(",") if name.strip()]
    wrong = [name for name in names if name not in allowed]
    if wrong or not names:
        raise argparse.ArgumentTypeError(
            f"{', '.join(wrong) or 'nothing'} given, allowed: {', '.join(allowed)}"
        )
    return names


if __name__ == "__main__":
    sys.exit(main())
