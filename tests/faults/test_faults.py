"""The faults that need neither other processes nor time; `python -m tests.faults` has them all."""

from __future__ import annotations

import pytest
import trustme

from ..scripted import Role
from .faults import Fault
from .seen import NOTHING, Promise, Seen, broken, clean, given_up, nothing, raised
from .stage import Stage
from .table import FAULTS

CASES = [
    pytest.param(fault, role, id=f"{fault.name}-{role}")
    for fault in FAULTS
    if fault.is_quick
    for role in fault.promises
]

SILENT = (1011, "keepalive ping timeout: the peer is silent")
ALIVE = Seen(NOTHING, 1.0)
GIVEN_UP = Seen("ConnectionClosedError", 2.0, 1006, SILENT, "local", "TimeoutError")
BROKEN = Seen("ConnectionClosedError", 0.0, 1006, None, "transport", "EOFError")
CLEAN = Seen("ConnectionClosedOK", 0.0, 1000, (1000, ""), "remote")
RAISED = Seen("TimeoutError", 1.0)

PROMISES = [
    (nothing(), ALIVE),
    (given_up(1, 2), GIVEN_UP),
    (broken("EOFError"), BROKEN),
    (clean(), CLEAN),
    (raised("TimeoutError", latest=1.0), RAISED),
]


@pytest.mark.anyio
@pytest.mark.parametrize(("fault", "role"), CASES)
async def test_fault_is_seen_as_promised(
    fault: Fault, role: Role, certificate_authority: trustme.CA
) -> None:
    """How long it took is left to the table: machines differ."""
    seen = await fault.run(Stage(role, certificate_authority))
    assert fault.promises[role].holds(seen), seen


@pytest.mark.parametrize(("promise", "kept"), PROMISES)
def test_promise_tells_what_keeps_it_from_what_does_not(promise: Promise, kept: Seen) -> None:
    assert [seen for _, seen in PROMISES if promise.is_kept(seen)] == [kept]


@pytest.mark.parametrize("seconds", [0.5, 6.0])
def test_promise_is_not_kept_at_another_time(seconds: float) -> None:
    seen = Seen("ConnectionClosedError", seconds, 1006, SILENT, "local", "TimeoutError")
    assert given_up(1, 2).holds(seen)
    assert not given_up(1, 2).is_kept(seen)
