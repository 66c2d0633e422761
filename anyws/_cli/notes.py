"""What a client's user is told of the connection: that it is open, and how it ended."""

from __future__ import annotations

from typing import TextIO

from .. import ClientConnection, ConnectionClosed, ConnectionClosedOK
from .._logging import escaped
from .explain import explain_close
from .running import FAILED, OK
from .show import Colours

__all__ = ["Notes"]


class Notes:
    """Tells the user what happens to a connection.

    Args:
        stream: where to.
        quiet: tell of what went wrong only.
    """

    def __init__(self, stream: TextIO, *, quiet: bool = False) -> None:
        self.colours: Colours = Colours.of(stream)
        self._stream = stream
        self._quiet = quiet

    def opened(self, ws: ClientConnection, where: str) -> None:
        """Tell where the connection leads, and what was agreed on."""
        agreed = [f"subprotocol {escaped(ws.subprotocol)}"] if ws.subprotocol else []
        agreed += [escaped(extension.name) for extension in ws.extensions]
        if not self._quiet:
            self._print(self.colours.faint(", ".join([f"connected to {where}", *agreed])))

    def ended(self, closed: ConnectionClosed) -> int:
        """Tell how the connection ended, and return the exit status."""
        # With whatever code the user closed it.
        is_ours = closed.initiator == "local" and closed.__cause__ is None
        if not (is_ours or isinstance(closed, ConnectionClosedOK)):
            self._print(f"{self.colours.bad('error:')} {explain_close(closed)}")
            return FAILED
        if not self._quiet:
            self._print(self.colours.faint(explain_close(closed)))
        return OK

    def _print(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
