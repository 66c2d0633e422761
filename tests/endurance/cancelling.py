"""Many cancellations of the calls that wait most, one after another."""

from __future__ import annotations

import time

from ..scripted import Carrier
from ..test_connection_receive import check_cancelled_receives
from ..test_connection_send import measure_cancelled_sends
from .figures import Figures

__all__ = ["cancelled_receives", "cancelled_sends"]

_CARRIERS = (Carrier("memory", time_limit=3600.0), Carrier("tcp", time_limit=3600.0))

# A send that had left its 64 KiB anywhere would show with the first one.
_BYTES = 50_000


async def cancelled_receives(cancellations: int) -> Figures:
    """Cancel `receive`, then iteration, at random while messages arrive (R-A8a, R-A8b).

    Fails if a message is lost, repeated or out of order.
    """
    figures: Figures = {"cancellations each": cancellations}
    for carrier in _CARRIERS:
        for iterate in (False, True):
            began = time.monotonic()
            messages = await check_cancelled_receives("client", iterate, carrier, cancellations)
            what = f"{'iteration' if iterate else 'receive'} over {carrier.name}"
            figures[what] = f"{messages} messages, {time.monotonic() - began:.0f} s"
    return figures


async def cancelled_sends(cancellations: int) -> Figures:
    """Cancel sends of 64 KiB to a peer that does not read (R-A1d).

    Fails if memory grows.
    """
    figures: Figures = {"cancellations each": cancellations}
    for carrier in _CARRIERS:
        grown = await measure_cancelled_sends(carrier, cancellations)
        assert grown < _BYTES, f"memory grew by {grown} bytes over {carrier.name}"
        figures[f"bytes more over {carrier.name}"] = grown
    return figures
