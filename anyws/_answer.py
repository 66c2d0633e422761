"""How the request of an opening handshake is answered (RFC 6455 §4.2.2): the order of the steps.

Owns that order: who is let in at all, the hooks of the application, the rules of the RFC, what is
chosen. It must not know how the answer gets to the peer: that is `_accept.py`.

The steps are a generator, which yields what a hook wants awaited and is sent what came of it. So
they are the same whether hooks are async or not, and where nothing has to be awaited, which is the
rule, they take no task.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any

from ._accepting import ProcessRequest
from ._admission import Admission
from ._core.extensions import Extension, select_extensions
from ._core.grammar import NamedExtension
from ._core.handshake import (
    accept_request,
    check_host,
    check_request,
    check_target,
    refuse,
    select_subprotocol,
)
from ._core.headers import Headers, Response
from ._errors import NegotiationError
from ._server_connection import ServerConnection

__all__ = ["Answer", "Steps", "answer_steps"]

# What says that the handshake has succeeded, and by which terms: not for hooks to change.
_FIXED_FIELDS = (
    "upgrade",
    "connection",
    "sec-websocket-accept",
    "sec-websocket-protocol",
    "sec-websocket-extensions",
)


@dataclass(frozen=True, slots=True)
class Answer:
    """What to answer; with status 101, by which terms the connection is open."""

    response: Response
    subprotocol: str | None = None
    extensions: Sequence[tuple[Extension, NamedExtension]] = ()


Steps = Generator[Awaitable[Any], Any, Answer]


def answer_steps(
    connection: ServerConnection,
    admission: Admission,
    handler_hook: ProcessRequest | None,
) -> Steps:
    """Find out what to answer; see the top of this file for how it is driven.

    Args:
        connection: CONNECTING.
        admission: of the server.
        handler_hook: the `process_request` of a handler that has one, a `Router` for instance.

    Returns:
        The answer. What a hook raised is logged, and answered with 500.
    """
    request = connection.request
    response = check_target(request) or check_host(request) or admission.greet(request)
    if response is not None:
        return Answer(response)
    try:
        answer = yield from _decide(connection, admission, handler_hook)
        answer = yield from _process_response(connection, answer)
    except Exception as exc:
        connection._log_hook_error(exc)
        return Answer(refuse(500, "the server failed to answer the request\n"))
    # Others may have come in while that hook was waiting.
    full = admission.refusal_if_full() if answer.response.status_code == 101 else None
    return answer if full is None else Answer(full)


def _decide(
    connection: ServerConnection,
    admission: Admission,
    handler_hook: ProcessRequest | None,
) -> Steps:
    request = connection.request
    auth = connection._accepting.auth
    response = yield from _authenticate(connection)
    for hook in (connection._accepting.process_request, handler_hook):
        if response is None and hook is not None:
            response = yield from _call(hook, connection, request)
    if response is None and connection._accepting.auth is not auth:
        response = yield from _authenticate(connection)
    if response is not None:
        if response.status_code == 101:
            raise ValueError("process_request returned 101, which the server itself answers")
        return Answer(response)
    accepting = connection._accepting
    checked = check_request(request)
    if isinstance(checked, Response):
        return Answer(checked)
    key, offered, offered_extensions = checked
    reason = accepting.origin_policy.refusal(request)
    if reason is not None:
        return Answer(refuse(403, f"{reason}\n"))
    try:
        subprotocol = _choose(connection, offered)
    except NegotiationError as exc:
        return Answer(refuse(400, f"{exc}\n"))
    selected = select_extensions(accepting.negotiable, offered_extensions)
    # Others may have come in while a hook was waiting.
    full = admission.refusal_if_full()
    if full is not None:
        return Answer(full)
    named = [each for _, each in selected]
    response = accept_request(key, subprotocol, named, accepting.server_header)
    return Answer(response, subprotocol, selected)


def _authenticate(
    connection: ServerConnection,
) -> Generator[Awaitable[Any], Any, Response | None]:
    """Find out who the client is, if that is asked; return a challenge if it does not say."""
    auth = connection._accepting.auth
    if auth is None:
        return None
    username = auth.authenticate(connection.request)
    if isinstance(username, Awaitable):
        username = yield username
    if username is None:
        return auth.challenge()
    connection.username = username
    return None


def _choose(connection: ServerConnection, offered: Sequence[str]) -> str | None:
    """Choose one of the subprotocols that are offered, or none."""
    accepting = connection._accepting
    if accepting.select_subprotocol is None:
        chosen = select_subprotocol(accepting.subprotocols, offered)
    else:
        chosen = accepting.select_subprotocol(connection, offered)
        if chosen is not None and chosen not in offered:
            raise ValueError(f"select_subprotocol chose {chosen!r}, offered are {list(offered)}")
    # A browser that brought its token as a subprotocol wants one of them in the answer.
    return chosen or connection.request._bearer_subprotocol


def _process_response(connection: ServerConnection, answer: Answer) -> Steps:
    hook = connection._accepting.process_response
    if hook is None:
        return answer
    response = answer.response
    fixed = _fixed_fields(response.headers)
    other = yield from _call(hook, connection, connection.request, response)
    if other is None:
        other = response
    if other.status_code == 101:
        if response.status_code != 101:
            raise ValueError("process_response returned 101 for a request that was refused")
        if _fixed_fields(other.headers) != fixed:
            raise ValueError("process_response changed fields that the handshake itself sets")
    return Answer(other, answer.subprotocol, answer.extensions)


def _call(
    hook: Callable[..., Response | Awaitable[Response | None] | None],
    *args: object,
) -> Generator[Awaitable[Any], Any, Response | None]:
    """Call a hook that may answer the request."""
    response = hook(*args)
    if isinstance(response, Awaitable):
        response = yield response
    if response is not None and not isinstance(response, Response):
        raise TypeError(f"{hook!r} returned {type(response).__name__}, expected a Response or None")
    return response


def _fixed_fields(headers: Headers) -> list[list[str]]:
    return [headers.get_all(name) for name in _FIXED_FIELDS]
