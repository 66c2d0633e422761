"""What importing a library takes, beyond what a program has imported anyway.

For the goal that is `anyio`, which imports no event loop by itself. Beside other libraries it is
the event loop.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from time import perf_counter
from typing import Final

TIMEOUT: Final = 60.0
# Of one turn: the first has to read files that the kernel does not hold.
PROCESSES: Final = 3
PROGRAM: Final = """
import {given}
from time import process_time_ns
before = process_time_ns()
import {wanted}
print(process_time_ns() - before)
"""


class ImportFailed(Exception):
    """A library cannot be imported; the message says why."""


@dataclass(frozen=True, slots=True)
class Import:
    """Modules that one program imports, client and server, and what it has without them."""

    wanted: str
    given: str


IMPORTS: Final = {
    "anyws": Import("anyws", given="anyio"),
    "anyws-trio": Import("anyws", given="trio"),
    "anyws-asyncio": Import("anyws", given="asyncio"),
    "anyio": Import("anyio", given="asyncio"),
    "websockets": Import("websockets.asyncio.client, websockets.asyncio.server", given="asyncio"),
    "websockets-trio": Import("websockets.trio.client, websockets.trio.server", given="trio"),
    "trio-websocket": Import("trio_websocket", given="trio"),
    "picows": Import("picows", given="asyncio"),
    "picows-websockets": Import("picows.websockets", given="asyncio"),
    "aiohttp": Import("aiohttp, aiohttp.web", given="asyncio"),
}


def imports_of(peers: Iterable[str]) -> list[str]:
    """Return the imports that the servers of these names need, and anyio with `anyws`."""
    first_words = {peer.partition("-")[0] for peer in peers}
    if "anyws" in first_words:
        first_words.add("anyio")
    return [name for name in IMPORTS if name.partition("-")[0] in first_words]


def measure_import(name: str, seconds: float) -> int:
    """Return the nanoseconds of CPU time that an import takes, the least of several processes.

    Args:
        name: one of IMPORTS.
        seconds: how long to go on; never fewer than three processes.

    Raises:
        ImportFailed: it cannot be imported.
    """
    taken: list[int] = []
    deadline = perf_counter() + seconds
    while len(taken) < PROCESSES or perf_counter() < deadline:
        taken.append(_import_once(IMPORTS[name]))
    return min(taken)


def _import_once(what: Import) -> int:
    program = PROGRAM.format(given=what.given, wanted=what.wanted)
    try:
        done = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, timeout=TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise ImportFailed(f"{what.wanted} took more than {TIMEOUT:g} s") from error
    if done.returncode != 0:
        last_words = done.stderr.decode(errors="replace").strip().splitlines()[-1:]
        raise ImportFailed(f"{what.wanted}: {''.join(last_words)}")
    return int(done.stdout)
