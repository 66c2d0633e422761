"""Closing a connection that has much to say still."""

from __future__ import annotations

from ..scripted import Carrier
from ..test_connection_close import close_with_unread_messages
from .figures import Figures

__all__ = ["unread"]


async def unread(messages: int) -> Figures:
    """Close while messages of a peer that cooperates are unread (R-A4b).

    Fails if that takes a second, or ends by another code than 1000 on either side.
    """
    figures: Figures = {"unread messages": messages}
    for carrier in (Carrier("memory"), Carrier("tcp")):
        for closer in ("client", "server"):
            seconds = await close_with_unread_messages(closer, carrier, messages)
            assert seconds < 1, seconds
            figures[f"seconds of the {closer} over {carrier.name}"] = seconds
    return figures
