"""The side under test: an echo server, or a client that echoes what the suite sends.

`python -m tests.autobahn.peer server --backend trio` prints its port and runs until it is
terminated; `... client --backend trio --uri ws://127.0.0.1:9001` runs every case that the
fuzzing server at that URI offers and then has it write its reports.
"""

from __future__ import annotations

import argparse
import functools
import sys
from typing import Final

import anyio

import anyws

AGENT: Final = "anyws"
BACKENDS: Final[dict[str, tuple[str, dict[str, bool]]]] = {
    "trio": ("trio", {}),
    "asyncio": ("asyncio", {}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
}
# 9.1.6 and 9.2.6 send 16 MiB; 9.3.1 and 9.4.1 send 4 MiB in fragments of 64 bytes.
MAX_SIZE: Final = 2**26
MAX_FRAGMENTS: Final = 2**20
# The suite itself ends any case within 120 s (9.7 and 9.8 are given that long).
CASE_TIMEOUT: Final = 150.0
FAILURE_LIMIT: Final = 3


async def echo(connection: anyws.Connection) -> None:
    """Send every message back, until the connection ends."""
    async for message in connection:
        await connection.send(message)


async def run_server() -> None:
    """Serve `echo` on a free port, which goes to standard output, until terminated."""
    async with anyws.serve(
        echo,
        "127.0.0.1",
        0,
        max_size=MAX_SIZE,
        max_fragments=MAX_FRAGMENTS,
        ping_interval=None,
        compression="deflate",
    ) as server:
        print(server.port, flush=True)
        await anyio.sleep_forever()


async def run_client(uri: str) -> None:
    """Run all cases of the fuzzing server at `uri` and have it write its reports."""
    count = int(await ask(f"{uri}/getCaseCount"))
    failures = 0
    for n in range(1, count + 1):
        failures = 0 if await run_case(uri, n) else failures + 1
        if failures == FAILURE_LIMIT:
            sys.exit(f"gave up after {failures} cases in a row that could not be run")
    # Answered once the result of the last case is recorded: only then is the report whole.
    await ask(f"{uri}/getCaseStatus?case={count}&agent={AGENT}")
    await ask(f"{uri}/updateReports?agent={AGENT}")


async def run_case(uri: str, n: int) -> bool:
    """Echo through one case. Return False if it could not be run, which is then told.

    That the connection fails is what many cases are for: the suite judges how.
    """
    try:
        with anyio.fail_after(CASE_TIMEOUT):
            async with connect(f"{uri}/runCase?case={n}&agent={AGENT}") as connection:
                await echo(connection)
    except anyws.ConnectionClosed:
        pass
    except (anyws.WebSocketError, TimeoutError, OSError) as error:
        print(f"case number {n}: {error!r}", file=sys.stderr, flush=True)
        return False
    return True


async def ask(uri: str) -> str:
    """Return the last message of a connection to `uri`, or "" if there was none."""
    answer: str | bytes = ""
    with anyio.fail_after(CASE_TIMEOUT):
        async with connect(uri) as connection:
            async for message in connection:
                answer = message
    return answer if isinstance(answer, str) else answer.decode()


connect = functools.partial(
    anyws.connect,
    max_size=MAX_SIZE,
    max_fragments=MAX_FRAGMENTS,
    ping_interval=None,
    compression="deflate",
)


def main() -> None:
    """Run the side that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m tests.autobahn.peer")
    parser.add_argument("role", choices=("server", "client"))
    parser.add_argument("--backend", choices=tuple(BACKENDS), required=True)
    parser.add_argument("--uri", help="the fuzzing server, for the client")
    arguments = parser.parse_args()
    backend, options = BACKENDS[arguments.backend]
    if arguments.role == "server":
        anyio.run(run_server, backend=backend, backend_options=options)
    elif arguments.uri is None:
        parser.error("the client needs --uri")
    else:
        anyio.run(run_client, arguments.uri, backend=backend, backend_options=options)


if __name__ == "__main__":
    main()
