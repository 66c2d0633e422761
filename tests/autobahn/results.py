"""What a run of the suite found: read its reports, count them, name what is not right."""

from __future__ import annotations

import html
import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ACCEPTED: Final = frozenset({"OK", "INFORMATIONAL"})
# wstest prints the cases it resolved as a Python 2 list: Cases = ['1.1.1', u'1.1.2'].
CASES_LINE: Final = re.compile(r"^Cases = \[(.*)\]$", re.MULTILINE)
CASE_ID: Final = re.compile(r"\d+(?:\.\d+)+")
MISSING: Final = "MISSING"
LINE_LIMIT: Final = 200


@dataclass(frozen=True, slots=True)
class CaseResult:
    """The verdict on one case, with the suite's words on it."""

    case: str
    behavior: str
    behavior_close: str
    expectation: str
    result: str
    result_close: str
    wanted: str
    received: str

    @property
    def accepted(self) -> bool:
        """Whether both verdicts are OK or INFORMATIONAL."""
        return self.behavior in ACCEPTED and self.behavior_close in ACCEPTED


def cases_in_log(log: str) -> list[str]:
    """Return the identifiers of the cases that wstest said it will run."""
    line = CASES_LINE.search(log)
    return CASE_ID.findall(line.group(1)) if line else []


def reports_complete(directory: Path) -> bool:
    """Say whether the suite has written its index and the report of every case in it."""
    try:
        index = _read_index(directory)
    except (OSError, ValueError):
        return False
    return all(_is_json(directory / entry["reportfile"]) for entry in index.values())


def read_results(directory: Path, expected: list[str]) -> list[CaseResult]:
    """Return one result for each expected case, in order; one that was not run is MISSING."""
    try:
        index = _read_index(directory)
    except (OSError, ValueError):
        index = {}
    return [_read_case(directory, case, index.get(case)) for case in expected]


def summarize(results: list[CaseResult]) -> Iterator[str]:
    """Yield the two lines of counts, and the lines on each case that is not accepted."""
    yield f"  behavior:      {_counts(result.behavior for result in results)}"
    yield f"  behaviorClose: {_counts(result.behavior_close for result in results)}"
    missing = [result.case for result in results if result.behavior == MISSING]
    if missing:
        yield f"  not run: {_shorten(', '.join(missing))}"
    for result in results:
        if not result.accepted and result.behavior != MISSING:
            yield from _describe(result)


def _describe(result: CaseResult) -> Iterator[str]:
    yield f"  case {result.case}: {result.behavior}, behaviorClose {result.behavior_close}"
    if result.expectation:
        yield f"    expected: {result.expectation}"
    if result.behavior not in ACCEPTED:
        yield f"    found:    {result.result}"
        yield f"    strictly: {result.wanted}"
        yield f"    received: {result.received}"
    if result.behavior_close not in ACCEPTED:
        yield f"    closing:  {result.result_close}"


def _counts(verdicts: Iterator[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in Counter(verdicts).most_common()) or "-"


def _read_index(directory: Path) -> dict[str, dict[str, str]]:
    agents = json.loads((directory / "index.json").read_text(encoding="utf-8"))
    # One agent per run; none at all if no case was run.
    for index in agents.values():
        return dict(index)
    return {}


def _read_case(directory: Path, case: str, entry: dict[str, str] | None) -> CaseResult:
    if entry is None:
        return CaseResult(case, MISSING, MISSING, "", "", "", "", "")
    try:
        report = json.loads((directory / entry["reportfile"]).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        report = {}
    return CaseResult(
        case,
        entry["behavior"],
        entry["behaviorClose"],
        _plain(report.get("expectation", "")),
        _plain(report.get("result", "")),
        _plain(report.get("resultClose", "")),
        _events(report.get("expected", {}).get("OK", [])),
        _events(report.get("received", [])),
    )


def _events(events: list[list[object]]) -> str:
    """Return what happened in a case as one line: [["timeout", "A"]] is `timeout 'A'`."""
    described = (" ".join([str(name), *map(repr, values)]) for name, *values in events)
    return _shorten("; ".join(described)) or "nothing"


def _shorten(text: str) -> str:
    return text if len(text) <= LINE_LIMIT else f"{text[:LINE_LIMIT]} ..."


def _plain(text: str) -> str:
    """Return the suite's HTML as one line of text."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", text)).split())


def _is_json(path: Path) -> bool:
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True
