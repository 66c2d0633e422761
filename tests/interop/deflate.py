"""Compression with every combination of parameters, against implementations of others.

`python -m tests.interop.deflate` prints a table: a row for each combination, a column for each of
`websockets`, `aiohttp` and `ws` (Node.js) as a server of our client and as a client of our server.
A cell says what was negotiated, and `ok` if that is what `deflate_rows.py` expects, on both sides
as far as the peer tells, and if all random messages of each side came back identical. That file
also says why some cells are empty, "-".

Exit status: 0 all as expected; 1 something was not; 2 wrong options; 3 no Node.js.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import anyio
from anyio.from_thread import start_blocking_portal

from .deflate_cells import Outcome, run_cell
from .deflate_peers import DeflatePeer, portal_peers
from .deflate_rows import CANNOT, CELLS, ROWS, Column, Row
from .deflate_traffic import Traffic, describe, make_traffic
from .node_peer import NodeNotFound, NodePeer

CACHE: Final = Path(__file__).resolve().parents[2] / ".interop"
BACKENDS: Final[dict[str, tuple[str, dict[str, bool]]]] = {
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
    "trio": ("trio", {}),
}
MESSAGES: Final = 1_000
LEGEND: Final = """\
S9, C9: server_max_window_bits=9, client_max_window_bits=9; Sn, Cn: server_no_context_takeover,
client_no_context_takeover; deflate: compression without parameters; none: no compression;
refused: the peer refuses the handshake, as it has to; -: a side cannot be told to do this."""
NAME_WIDTH: Final = max(len(row.name) for row in ROWS) + 2
CELL_WIDTH: Final = 16


def main() -> int:
    """Run the table that the command line asks for and return the exit status."""
    arguments = _parse_arguments()
    traffic = make_traffic(arguments.seed, arguments.messages)
    with TemporaryDirectory() as scratch:
        try:
            node = NodePeer(CACHE, Path(scratch), traffic)
        except NodeNotFound as exc:
            print(exc, file=sys.stderr)
            return 3
        print(
            f"{arguments.messages} messages each way, seed {arguments.seed}, "
            f"on {arguments.backend}",
            flush=True,
        )
        backend, options = BACKENDS[arguments.backend]
        with start_blocking_portal("asyncio") as portal:
            peers = {**portal_peers(portal), "ws": node}
            problems = anyio.run(
                _run_table, peers, traffic, backend=backend, backend_options=options
            )
    print(LEGEND)
    for problem in problems:
        print(problem)
    cells = sum(row.expects(column) is not CANNOT for row, column in CELLS)
    print(f"{cells} cells, " + (f"{len(problems)} PROBLEMS" if problems else "all as expected"))
    return 1 if problems else 0


async def _run_table(peers: Mapping[str, DeflatePeer], traffic: Traffic) -> list[str]:
    """Run and print the table row by row; return what is wrong with it."""
    problems: list[str] = []
    for line in _header():
        print(line)
    for row in ROWS:
        print(row.name.ljust(NAME_WIDTH), end="", flush=True)
        for column in Column:
            cell = CANNOT.value
            if row.expects(column) is not CANNOT:
                outcome = await _run_cell(row, column, peers[column.library], traffic)
                cell = f"{outcome.found} {'FAILED' if outcome.problems else 'ok'}"
                problems += _name_problems(row, column, outcome)
            print(cell.ljust(CELL_WIDTH), end="", flush=True)
        print(flush=True)
    return problems


async def _run_cell(row: Row, column: Column, peer: DeflatePeer, traffic: Traffic) -> Outcome:
    try:
        return await run_cell(row, column, peer, traffic)
    except (OSError, anyio.IncompleteRead, ExceptionGroup) as exc:
        # A peer that hangs or dies costs its own cell only; a TimeoutError is an OSError.
        return Outcome("?", (describe(exc),))


def _header() -> Iterator[str]:
    roles = ("our client, with a server of", "our server, with a client of")
    yield " " * NAME_WIDTH + "".join(role.ljust(3 * CELL_WIDTH) for role in roles).rstrip()
    names = (column.library.ljust(CELL_WIDTH) for column in Column)
    yield " " * NAME_WIDTH + "".join(names).rstrip()


def _name_problems(row: Row, column: Column, outcome: Outcome) -> Iterator[str]:
    role = "client" if column.is_client else "server"
    for problem in outcome.problems:
        yield f"{row.name}, our {role} with {column.library}: {problem}"


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.interop.deflate",
        description="Compress with every combination of parameters, with libraries of others.",
    )
    parser.add_argument(
        "--messages",
        type=_positive,
        default=MESSAGES,
        metavar="N",
        help="so many each way in each cell (default: %(default)s)",
    )
    parser.add_argument(
        "--backend",
        choices=tuple(BACKENDS),
        default="asyncio",
        help="what our side runs on (default: %(default)s)",
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=random.SystemRandom().randrange(2**32),
        metavar="N",
        help="of the messages (default: another one each time; it is printed)",
    )
    return parser.parse_args()


def _positive(value: str) -> int:
    n = int(value)
    if n < 1:
        raise argparse.ArgumentTypeError(f"{n} given, expected at least 1")
    return n


if __name__ == "__main__":
    sys.exit(main())
