"""Run the Autobahn test suite against our server and our client, on several backends.

`python -m tests.autobahn.run` runs all cases four times: server and client, on trio and on
asyncio. Every case must come out as OK or INFORMATIONAL, in how the peer behaved and in
how it closed. Reports, with an `index.html` to look at, go to `.autobahn/reports/`.

Exit status: 0 all accepted; 1 something was not; 2 wrong options; 3 no `wstest`.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path
from typing import Final

from tests.autobahn.install import WstestNotFound, find_wstest
from tests.autobahn.peer import BACKENDS
from tests.autobahn.results import cases_in_log, read_results, summarize
from tests.autobahn.suite import Run, RunFailed, run_suite

CACHE: Final = Path(__file__).resolve().parents[2] / ".autobahn"
ROLES: Final = ("server", "client")
# There are no cases 8 and 11 (nor 0); 12 and 13 are about compression.
ALL_CASES: Final = "1.*,2.*,3.*,4.*,5.*,6.*,7.*,9.*,10.*,12.*,13.*"
# Without the large messages of 9.*, without two of the four that wait for 2 s each, and with few of
# those that send a thousand compressed messages.
QUICK_6: Final = ",".join(f"6.{n}.*" for n in range(1, 24) if n != 4) + ",6.4.1,6.4.3"
QUICK_12_13: Final = "12.1.3,12.4.4,13.3.3,13.5.4,13.7.3"
QUICK_CASES: Final = f"1.*,2.*,3.*,4.*,5.*,{QUICK_6},7.*,10.*,{QUICK_12_13}"
# 9.* alone may take minutes; every other case ends within a second or two.
TIMEOUT: Final = 1200.0


def main() -> int:
    """Run what the command line asks for and return the exit status."""
    arguments = _parse_arguments()
    _prepare_cache()
    try:
        wstest = find_wstest(arguments.wstest, cache=CACHE)
    except WstestNotFound as error:
        print(error, file=sys.stderr)
        return 3
    accepted = True
    for role in arguments.roles:
        for backend in arguments.backends:
            directory = CACHE / "reports" / f"{role}-{backend}"
            run = Run(role, backend, arguments.cases, wstest, directory, arguments.timeout)
            accepted = _run_and_report(run) and accepted
    print("every case is OK or INFORMATIONAL" if accepted else "NOT every case is accepted")
    return 0 if accepted else 1


def _run_and_report(run: Run) -> bool:
    shutil.rmtree(run.directory, ignore_errors=True)
    run.directory.mkdir(parents=True)
    failure = None
    started = time.monotonic()
    try:
        run_suite(run)
    except RunFailed as error:
        failure = str(error)
    seconds = time.monotonic() - started
    log = run.log.read_text(encoding="utf-8", errors="replace") if run.log.exists() else ""
    results = read_results(run.directory, cases_in_log(log))
    print(f"{run.role} on {run.backend}: {len(results)} cases in {seconds:.0f} s")
    if failure is not None:
        print(f"  the run FAILED: {failure}")
    elif not results:
        print("  no case matches")
    for line in summarize(results):
        print(line)
    sys.stdout.flush()
    return failure is None and bool(results) and all(result.accepted for result in results)


def _prepare_cache() -> None:
    """Create the cache directory, with what keeps it out of git whatever else is ignored."""
    CACHE.mkdir(exist_ok=True)
    (CACHE / ".gitignore").write_text("*\n")


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.autobahn.run",
        description="Run the Autobahn test suite against the server and the client of anyws.",
    )
    cases = parser.add_mutually_exclusive_group()
    cases.add_argument(
        "--cases", type=_split, help=f"patterns, with commas between (default: {ALL_CASES})"
    )
    cases.add_argument(
        "--quick", action="store_true", help="a selection that takes seconds, for every push"
    )
    parser.add_argument("--roles", type=_choices(ROLES), default=list(ROLES), metavar="ROLES")
    parser.add_argument(
        "--backends",
        type=_choices(tuple(BACKENDS)),
        default=["trio", "asyncio"],
        metavar="BACKENDS",
    )
    parser.add_argument("--wstest", type=Path, metavar="PATH", help="the command to use")
    parser.add_argument(
        "--timeout", type=float, default=TIMEOUT, help="seconds for each run (default: %(default)g)"
    )
    arguments = parser.parse_args()
    if arguments.cases is None:
        arguments.cases = _split(QUICK_CASES if arguments.quick else ALL_CASES)
    return arguments


def _split(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


class _choices:
    """Argument type: names with commas between, each one of `allowed`."""

    def __init__(self, allowed: tuple[str, ...]) -> None:
        self.allowed = allowed

    def __call__(self, value: str) -> list[str]:
        names = _split(value)
        wrong = [name for name in names if name not in self.allowed]
        if wrong or not names:
            raise argparse.ArgumentTypeError(
                f"{', '.join(wrong) or 'nothing'} given, allowed: {', '.join(self.allowed)}"
            )
        return names


if __name__ == "__main__":
    sys.exit(main())
