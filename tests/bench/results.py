"""A run as a file: every turn, and what ran where."""

from __future__ import annotations

import importlib
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from tests.bench.measure import Outcome, Turn

DISTRIBUTIONS: Final = (
    "anyws-structured",
    "anyio",
    "trio",
    "uvloop",
    "websockets",
    "trio-websocket",
    "picows",
    "aiofastnet",
    "aiohttp",
)


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What ran where, and how it was measured."""

    date: str
    python: str
    processor: str
    cores: int
    kernel: str
    core_of_anyws: str
    rounds: int
    seconds: float
    versions: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Run:
    """What one run of the command found, by the names of rows."""

    circumstances: Circumstances
    rows: dict[str, list[Outcome]] = field(default_factory=dict)

    def cost(self, row: str, peer: str) -> float | None:
        """Return the least cost of a peer in a row; None if it was not measured, or failed."""
        for outcome in self.rows.get(row, ()):
            if outcome.peer == peer and outcome.failure is None and outcome.best is not None:
                return outcome.best.cost
        return None


def circumstances_now(rounds: int, seconds: float) -> Circumstances:
    """Describe this machine, what is installed, and the run that begins."""
    return Circumstances(
        date=datetime.now(UTC).isoformat(timespec="seconds"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        processor=_processor(),
        cores=os.cpu_count() or 0,
        kernel=f"{platform.system()} {platform.release()}",
        core_of_anyws=_describe_core(),
        rounds=rounds,
        seconds=seconds,
        versions=dict(_versions()),
    )


def write_run(path: Path, run: Run) -> None:
    """Write every turn, with what ran and how."""
    rows = {name: list(map(_from_outcome, outcomes)) for name, outcomes in run.rows.items()}
    document = {**asdict(run.circumstances), "rows": rows}
    path.write_text(json.dumps(document, indent=2) + "\n")


def read_run(path: Path) -> Run:
    """Read what `write_run` wrote.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is something else.
    """
    try:
        document = json.loads(path.read_text())
        rows = document.pop("rows")
        circumstances = Circumstances(**document)
        return Run(circumstances, {name: list(map(_to_outcome, rows[name])) for name in rows})
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} is not a file that --json wrote: {error}") from error


def _from_outcome(outcome: Outcome) -> dict[str, object]:
    turns = [asdict(turn) for turn in outcome.turns]
    # For those who read the file by eye, or with another program; `_to_outcome` has the turns.
    cost = outcome.best.cost if outcome.best else None
    return {"peer": outcome.peer, "cost": cost, "failure": outcome.failure, "turns": turns}


def _to_outcome(entry: Mapping[str, Any]) -> Outcome:
    # Any, because it is what JSON holds; a wrong name or type is found by `read_run`.
    turns = [Turn(**turn) for turn in entry["turns"]]
    return Outcome(entry["peer"], turns, entry["failure"])


def _describe_core() -> str:
    """Say whether the hot part of our core is compiled."""
    try:
        build = importlib.import_module("anyws._build")
    except ModuleNotFoundError:
        return "plain Python"
    return str(build.describe())


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    for line in path.read_text().splitlines() if path.exists() else ():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _versions() -> Iterator[tuple[str, str]]:
    for name in DISTRIBUTIONS:
        try:
            yield name, metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
