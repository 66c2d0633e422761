"""What a connection counts, as values to be looked at.

Knows nothing of the rest of the package.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ConnectionStats"]


@dataclass(frozen=True, slots=True)
class ConnectionStats:
    """Figures of a connection at one moment; see `Connection.stats`."""

    #: Seconds in which nothing was read because the application did not receive.
    receive_paused_s: float = 0.0
