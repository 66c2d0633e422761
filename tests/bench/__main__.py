"""Compare what a message costs: `python -m tests.bench --rows e100 --peers anyws-trio,...`.

Needs Linux and two cores: one for the server, which is measured, one for the load.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.goals import peers_needed, render_goals, rows_needed
from tests.bench.measure import Settings, measure_row
from tests.bench.prepare import check_system, raise_file_limit, take_own_core
from tests.bench.report import render_row
from tests.bench.results import Run, circumstances_now, read_run, write_run
from tests.bench.rows import ROWS
from tests.bench.servers import SERVERS

WARM_UP: Final = 0.2


def main(words: Sequence[str] | None = None) -> int:
    """Measure what the command line asks for, or read it, and print it."""
    arguments = _parse_arguments(words)
    if arguments.files:
        try:
            runs = [read_run(path) for path in arguments.files]
        except (OSError, ValueError) as error:
            print(error, file=sys.stderr)
            return 2
        for run in runs:
            for name in filter(ROWS.__contains__, run.rows):
                print("\n".join(render_row(ROWS[name], run.rows[name])))
    else:
        if reason := check_system():
            print(reason, file=sys.stderr)
            return 2
        runs = [_measure(arguments)]
    if arguments.goals:
        print("\n".join(render_goals(runs)))
    return 0


def _measure(arguments: argparse.Namespace) -> Run:
    goals: bool = arguments.goals
    rows = arguments.rows or (rows_needed() if goals else list(ROWS))
    peers = arguments.peers or (peers_needed() if goals else list(SERVERS))
    run = Run(circumstances_now(arguments.rounds, arguments.seconds))
    settings = Settings(arguments.rounds, arguments.seconds, WARM_UP, server_core=take_own_core())
    raise_file_limit()
    for name in rows:
        run.rows[name] = measure_row(ROWS[name], peers, settings)
        print("\n".join(render_row(ROWS[name], run.rows[name])), flush=True)
        if arguments.json is not None:
            write_run(arguments.json, run)
    return run


def _parse_arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.bench",
        description="Measure the CPU time of echo servers per message, side by side.",
        epilog=f"Rows: {', '.join(ROWS)}. Peers: {', '.join(SERVERS)}.",
    )
    parser.add_argument("--rows", type=_names_of_rows, metavar="ROWS", help="default: all")
    parser.add_argument("--peers", type=_names_of_peers, metavar="PEERS", help="default: all")
    parser.add_argument("--rounds", type=int, default=5, help="the best one counts (default: 5)")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="length of one turn (default: 1)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every turn there")
    parser.add_argument(
        "--goals",
        action="store_true",
        help="compare with the goals; by default, measure the rows and peers that have one",
    )
    parser.add_argument(
        "--from",
        type=Path,
        nargs="+",
        dest="files",
        metavar="FILE",
        help="measure nothing, take what --json wrote; of several files, the last counts",
    )
    arguments = parser.parse_args(words)
    if arguments.files and (arguments.json or arguments.rows or arguments.peers):
        parser.error("--from measures nothing: it excludes --rows, --peers and --json")
    return arguments


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
