"""What both sides of a connection of the soak are made with."""

from __future__ import annotations

from logging import Logger

from anyws._options import ConnectionKeywords

__all__ = ["options"]


def options(logger: Logger, *, is_narrow: bool = False) -> ConnectionKeywords:
    """Return the keywords of `connect` and of `serve`.

    A peer that is stopped, or cut off, is found out within 7 s; one that is slow is not.

    Args:
        logger: of the connection.
        is_narrow: whether messages are small, and few are held until they are received.
    """
    return {
        "logger": logger,
        "ping_interval": 3.0,
        "ping_timeout": 4.0,
        "max_size": (64 if is_narrow else 4096) << 10,
        "max_buffer": (64 if is_narrow else 1024) << 10,
        "write_limit": 16 << 10,
    }
