"""The event loops by name, for programs that run on each of them."""

from __future__ import annotations

import sniffio
from anyio.lowlevel import current_token

__all__ = ["LOOPS", "current_loop"]

#: The loops by name, with the options of `anyio.run`.
LOOPS: dict[str, tuple[str, dict[str, bool]]] = {
    "trio": ("trio", {}),
    "asyncio": ("asyncio", {"use_uvloop": False}),
    "uvloop": ("asyncio", {"use_uvloop": True}),
}


def current_loop() -> str:
    """Return the name of the loop that runs."""
    is_uvloop = type(current_token().native_token).__module__.startswith("uvloop")
    return "uvloop" if is_uvloop else sniffio.current_async_library()
