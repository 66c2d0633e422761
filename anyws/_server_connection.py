"""The server's end of a connection, from the moment there is a request.

Owns what hooks may do while the opening handshake goes on. What they are asked, and when, is the
business of `_answer.py`.
"""

from __future__ import annotations

from logging import ERROR
from typing import Unpack

from ._accepting import Accepting, ConfigureKeywords
from ._connection import Connection, State
from ._core.handshake import refuse
from ._core.headers import Headers, HeadersLike, Request, Response
from ._errors import LocalProtocolError
from ._io.transport import Transport
from ._logging import describe_address

__all__ = ["ServerConnection"]


class ServerConnection(Connection):
    """The server's end of a WebSocket connection; made by `serve`.

    Hooks such as `process_request` get it before it is open: `request`, `id`, addresses and
    `extra` are there then, `response` is not, and nothing can be sent or received.

    Attributes:
        username: who the client is by `auth` of `serve`, or whoever a hook says it is; else None.
    """

    __slots__ = ("_accepting", "username")

    _is_client = False

    def __init__(self, transport: Transport, accepting: Accepting, request: Request) -> None:
        super().__init__(transport, accepting.connection, request)
        self._accepting = accepting
        self.username: str | None = None

    def respond(self, status: int, text: str = "", headers: HeadersLike = ()) -> Response:
        """Return a plain text response, for a hook to answer a request with.

        Args:
            status: an HTTP status code, not 101: 403 for instance.
            text: the body; a line end is put behind it.
            headers: more fields; they replace those of the same name.

        Raises:
            ValueError: `status` is not one of a final response.
            LocalProtocolError: a field cannot be put on the wire.
        """
        if not 200 <= status <= 999:
            raise ValueError(f"status is {status}, expected that of a final response, 200-999")
        response = refuse(status, f"{text}\n" if text else "")
        for name in (given := Headers(headers)):
            response.headers.discard(name)
        for name, value in given.multi_items():
            response.headers.add(name, value)
        return response

    def configure(self, **options: Unpack[ConfigureKeywords]) -> None:
        """Change for this connection what `serve` was given; for `process_request`.

        Args:
            options: `subprotocols`, `select_subprotocol`, `extensions`, `compression`, `origins`,
                `auth`, `process_response`, and those of `ConnectionOptions`.

        Raises:
            LocalProtocolError: it is too late, the request has been answered; or an option cannot
                be used.
            TypeError, ValueError: an option cannot be used.
        """
        self._use(self._accepting.configured(options))

    def _use(self, accepting: Accepting) -> None:
        """Answer the request by other settings, which connections may share.

        Raises:
            LocalProtocolError: it is too late.
        """
        if self._state is not State.CONNECTING:
            raise LocalProtocolError("the request has been answered: it is too late to configure")
        self._accepting = accepting
        self._options = accepting.connection
        self._logger = accepting.connection.logger

    def _log_hook_error(self, exc: Exception) -> None:
        self._log(
            ERROR,
            "a hook raised in the opening handshake with %s",
            describe_address(self.remote_address),
            exc_info=exc,
        )
