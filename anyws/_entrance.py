"""The way in: from a listening socket to an open connection.

Owns the listeners, and those who were accepted and are not in yet. Who may come in is said by
`_admission.py`, and how an opening handshake goes by `_accept.py`. It must not know handlers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from logging import DEBUG
from math import inf
from socket import socket as Socket
from typing import TYPE_CHECKING

import anyio

from ._accept import Opening, StartTask, start_tls
from ._accepting import Accepting, ProcessRequest
from ._admission import PATIENCE, Admission, Arrival
from ._core.headers import Response
from ._errors import InvalidHandshake
from ._io.listen import Listener
from ._io.reactors import uninterrupted
from ._io.socket_transport import SocketTransport
from ._io.transport import Reactor, Timer, Transport
from ._logging import describe_request, describe_response, escaped
from ._server_connection import ServerConnection

if TYPE_CHECKING:
    import ssl as stdlib_ssl

__all__ = ["Entrance"]

# 60 s: a lack of files that comes and goes, or stays, is one line of the log a minute.
_QUIET = 60.0

# 64 handshakes at most make room when files run out: as many as are accepted in one turn.
_CUT_AT_ONCE = 64


class Entrance:
    """Accepts connections, and opens them.

    Args:
        sockets: bound; it owns them.
        are_borrowed: others have them too, and accept what the kernel holds for them.
        reactor: that of the server.
        ssl: for TLS.
        accepting: how to answer.
        admission: of the server.
        handler_hook: the `process_request` of a handler that has one.
        start_task: runs an async function in a task.
        entered: called with each open connection; may not raise.
        left: called when somebody has not come in, with what was answered instead, if anything
            was; may not raise.
    """

    def __init__(
        self,
        sockets: Sequence[Socket],
        are_borrowed: bool,
        reactor: Reactor,
        ssl: stdlib_ssl.SSLContext | None,
        accepting: Accepting,
        admission: Admission,
        handler_hook: ProcessRequest | None,
        *,
        start_task: StartTask,
        entered: Callable[[ServerConnection], None],
        left: Callable[[Response | None], None],
    ) -> None:
        self._are_borrowed = are_borrowed
        self._reactor = reactor
        self._ssl = ssl
        self._accepting = accepting
        self._admission = admission
        self._handler_hook = handler_hook
        self._start_task = start_task
        self._entered = entered
        self._left = left
        self._logger = accepting.connection.logger
        self._reported_at = -inf  # when it was last said that files or memory had run out
        self._room_timer: Timer | None = None  # until the oldest arrival has to make room
        self._listeners = [
            Listener(reactor, sock, self._accept, self._report_failure) for sock in sockets
        ]

    @property
    def is_open(self) -> bool:
        """Whether anybody is accepted."""
        return bool(self._listeners)

    def close(self) -> None:
        """Accept nobody any more, and turn away those who are not in. Idempotent."""
        for listener in self._listeners:
            if not self._are_borrowed:
                listener.accept_rest()
            listener.close()
        self._listeners.clear()  # they hold this
        self.turn_away()

    def turn_away(self) -> None:
        """Refuse those who have come and are not in."""
        for arrival in tuple(self._admission.arrivals):
            arrival.is_unwanted = True
            if arrival.stage is not None:
                arrival.stage.cancel()

    def let_go(self) -> None:
        """Tell the server nothing any more: it has ended, and the two would hold each other."""
        self._entered = self._left = _ignore

    # From an accepted socket to an open connection

    def _accept(self, sock: Socket) -> None:
        transport = SocketTransport(self._reactor, sock)
        arrival = self._admission.arrive(self._reactor.clock(), transport.remote_address)
        objection = self._admission.objection(arrival)
        arrival.is_unwanted = self._admission.is_stopping and not self._listeners
        context = self._ssl
        if context is None:
            opening = self._shake_hands(transport, arrival)
            if objection is not None and self._is_under_way(arrival):
                opening.cut_short(objection)
        elif objection is None:
            self._start_task(self._start_tls, transport, context, arrival)
        else:
            transport.abort()
            self._depart(arrival, objection, None)
        self._make_room()

    def _is_under_way(self, arrival: Arrival) -> bool:
        return arrival in self._admission.arrivals

    def _make_room(self) -> None:
        """Where too many have come who are not in, let the oldest go, or the next ones wait."""
        if not self._admission.is_crowded():
            return
        oldest = self._admission.oldest()
        patience = oldest.began + PATIENCE - self._reactor.clock()
        if patience <= 0:
            self._cut_short(oldest)
            if not self._admission.is_crowded():
                return  # over TLS it takes a moment
        elif self._room_timer is None:
            self._room_timer = self._reactor.call_later(patience, self._make_room_now)
        for listener in self._listeners:
            listener.pause()

    def _make_room_now(self) -> None:
        self._room_timer = None
        self._make_room()

    def _cut_short(self, arrival: Arrival) -> None:
        stage = arrival.stage
        if isinstance(stage, Opening):
            stage.cut_short("too many handshakes are under way, and others have come")
        else:
            arrival.is_unwanted = True
            if stage is not None:
                stage.cancel()

    @uninterrupted
    async def _start_tls(
        self, transport: Transport, context: stdlib_ssl.SSLContext, arrival: Arrival
    ) -> None:
        """Do the TLS handshake; the opening handshake has what is left of the time."""
        tls: Transport | None = None
        reason = "the TLS handshake took too long"
        try:
            with anyio.move_on_after(self._accepting.open_timeout) as arrival.stage:
                if arrival.is_unwanted:
                    arrival.stage.cancel()
                tls = await start_tls(transport, context)
        except (InvalidHandshake, OSError) as exc:
            reason = str(exc)
        finally:
            if tls is None:
                transport.abort()
                self._depart(arrival, reason, None)
        if tls is not None:
            self._shake_hands(tls, arrival)

    def _shake_hands(self, transport: Transport, arrival: Arrival) -> Opening:
        """Begin the opening handshake, which may be over when this returns."""
        opening = arrival.stage = Opening(
            transport,
            self._accepting,
            partial(self._take_result, arrival),
            self._start_task,
            self._admission,
            self._handler_hook,
        )
        seconds = self._accepting.open_timeout
        left = None if seconds is None else arrival.began + seconds - self._reactor.clock()
        opening.start(left)
        if arrival.is_unwanted:
            opening.cancel()
        return opening

    def _take_result(
        self, arrival: Arrival, opening: Opening, result: ServerConnection | Exception
    ) -> None:
        """Pass on an open connection; called when an opening handshake has ended."""
        arrival.stage = None  # which holds this
        response = result.response if isinstance(result, ServerConnection) else opening.refusal
        if opening.connection is not None and response and self._logger.isEnabledFor(DEBUG):
            opening.connection._log(
                DEBUG,
                "%s: %s",
                describe_request(opening.connection.request),
                describe_response(response),
            )
        if isinstance(result, ServerConnection):
            self._admission.enter(arrival, result)
            self._entered(result)
            self._let_come()
        else:
            self._depart(arrival, str(result), opening.refusal)

    def _depart(self, arrival: Arrival, reason: str, refusal: Response | None) -> None:
        """Take note that somebody has not come in."""
        if self._logger.isEnabledFor(DEBUG):
            self._logger.debug("opening handshake failed: %s", escaped(reason))
        self._admission.depart(arrival)
        self._let_come()
        self._left(refusal)

    def _let_come(self) -> None:
        """Accept again, if there is room for those who come."""
        if self._admission.is_crowded():
            return
        if self._room_timer is not None:
            self._room_timer.cancel()
            self._room_timer = None
        for listener in self._listeners:
            listener.resume()

    def _report_failure(self, exc: OSError) -> None:
        """Make room, for want of which nobody could be accepted, and say so once a minute."""
        now = self._reactor.clock()
        if now - self._reported_at >= _QUIET:
            self._reported_at = now
            self._logger.error("cannot accept connections for a moment: %s", exc)
        for arrival in tuple(self._admission.arrivals)[:_CUT_AT_ONCE]:
            if now - arrival.began >= PATIENCE:
                self._cut_short(arrival)


def _ignore(_: object) -> None:
    pass
