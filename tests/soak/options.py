"""What both sides of a connection of the soak are made with."""

from __future__ import annotations

from logging import Logger

from anyws._options import ConnectionKeywords

__all__ = ["options"]


def options(logger: Logger) -> ConnectionKeywords:
    """Return the keywords of `connect` and of `serve`.

    A peer that is stopped, or cut off, is found out within 7 s; one that is slow is not. The
    buffers are small, so that whoever sends has to wait for whoever reads.
    """
    return {
        "logger": logger,
        "ping_interval": 3.0,
        "ping_timeout": 4.0,
        "max_size": 8 << 20,
        "max_buffer": 1 << 20,
        "write_limit": 16 << 10,
    }
