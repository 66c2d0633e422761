"""Every scenario there is."""

from __future__ import annotations

from . import blocks, closing, lives, receiving, sending, serving
from .sweep import Scenario

__all__ = ["SCENARIOS"]

SCENARIOS: list[Scenario] = [
    *receiving.SCENARIOS,
    *sending.SCENARIOS,
    *closing.SCENARIOS,
    *blocks.SCENARIOS,
    *serving.SCENARIOS,
    *lives.SCENARIOS,
]
