"""What is logged, so that a log keeps secrets and nobody can forge lines in it.

Owns the escaping of what a peer says, the redaction of what it may keep to itself, and the way a
record gets its `extra`. It must not know connections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from logging import LoggerAdapter
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    from ._core.headers import Headers, Request, Response
    from ._options import LoggerLike

__all__ = ["describe_address", "describe_request", "describe_response", "escaped", "log"]

# 200 characters of a value tell what it is; a browser's User-Agent fits.
_VALUE_SHOWN = 200

# 4,000 characters of a request or a response: more than most have, less than floods a log.
_LINE_SHOWN = 4000

_REDACTED = "[redacted]"

_WORDS = "token|key|secret|passw|pwd|auth|sig|code|session|credential|jwt"

# Of a parameter, as in a query. What is taken for a secret and is none does no harm.
_SECRET_NAME = re.compile(_WORDS, re.IGNORECASE)

# Of a header field. The challenge of WWW-Authenticate is no secret, the answer to it is.
_SECRET_FIELD = re.compile(
    r"authorization|cookie|token|secret|passw|session|signature|credential|jwt|api_?key"
    r"|(?<![^-_])(?:key|auth)(?![^-_])",
    re.IGNORECASE,
)

# Browsers can send a token to a server only as a subprotocol: behind the name "bearer", or in it.
_SECRET_PROTOCOL = re.compile(f"(bearer|{_WORDS})(.*)", re.IGNORECASE | re.DOTALL)

# From its name to the end of its value. Not all agree that a semicolon ends one.
_PARAMETER = re.compile(r"([?&;#][^&=]*=)([^&]+)")

# A value may be a URI with parameters, which are encoded there; and one of those may be another.
_ENCODED_AT_MOST = 3

_USER_INFORMATION = re.compile(r"//[^/?#\s]*@")


def log(
    logger: LoggerLike,
    level: int,
    message: str,
    *args: object,
    extra: Mapping[str, object],
    exc_info: BaseException | None = None,
    stacklevel: int = 1,
) -> None:
    """Log a record with `extra`, through adapters too.

    A plain `LoggerAdapter` replaces the `extra` of each call by its own, unless it is told not to,
    for which it takes Python 3.13. Here it gets both. One with a `process` of its own decides.
    """
    while (
        isinstance(logger, LoggerAdapter)
        and type(logger).process is LoggerAdapter.process
        and type(logger).log is LoggerAdapter.log
    ):
        extra = {**(logger.extra or {}), **extra}
        logger = logger.logger
    logger.log(
        level, message, *args, extra=dict(extra), exc_info=exc_info, stacklevel=stacklevel + 1
    )


def escaped(text: str) -> str:
    """Escape what a terminal may take for a command, or a reader for the end of the line.

    Those are control characters, C1 ones too, line separators, what turns the direction of text,
    and whatever else cannot be printed. Letters of all languages stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else repr(character)[1:-1] for character in text
    )


def describe_address(address: object) -> str:
    """Name a socket's address: a Unix socket may be bound to a path with anything in its name."""
    return escaped(str(address))


def describe_request(request: Request) -> str:
    """Describe the request of an opening handshake in one line of ASCII, without its secrets."""
    target = _redact_parameters(request.path)
    first = f"{_shown(request.method)} {target} HTTP/{_shown(request.http_version)}"
    return _one_line([first, *_describe_fields(request.headers)])


def describe_response(response: Response) -> str:
    """Do the same for a response, of whose body only the size is told."""
    first = f"HTTP {response.status_code} {_shown(response.reason_phrase)}".rstrip()
    body = [f"{len(response.body)} bytes of body"] if response.body else []
    return _one_line([first, *_describe_fields(response.headers), *body])


def _describe_fields(headers: Headers) -> Iterator[str]:
    secrets_follow = False  # a list of subprotocols may be spread over several fields
    for name, value in headers.multi_items():
        lower = name.lower()
        if lower == "sec-websocket-protocol":
            shown = _REDACTED if secrets_follow else _redact_subprotocols(value)
            secrets_follow = secrets_follow or _SECRET_PROTOCOL.search(value) is not None
        elif _SECRET_FIELD.search(name) and lower != "sec-websocket-key":
            shown = _REDACTED
        else:
            shown = _redact_parameters(value)
        yield f"{_shown(name)}: {shown}"


def _redact_subprotocols(value: str) -> str:
    found = _SECRET_PROTOCOL.search(value)
    if found is None or not found[2]:
        return _shown(value)
    return _shown(value[: found.end(1)]) + _REDACTED


def _redact_parameters(text: str) -> str:
    """Redact what a URI, or whatever may have one in it, tells that is not for everybody."""
    text = _USER_INFORMATION.sub(f"//{_REDACTED}@", text)
    # Of what is cut off nothing is shown, so its names need not be known.
    shown = _PARAMETER.sub(_redact_parameter, text[:_VALUE_SHOWN])
    return _ascii(shown) + _omission(text)


def _redact_parameter(found: re.Match[str]) -> str:
    names = found[0]
    for _ in range(_ENCODED_AT_MOST):
        names = unquote(names)
    names = names.rpartition("=")[0]
    return found[1] + (_REDACTED if _SECRET_NAME.search(names) else found[2])


def _shown(text: str) -> str:
    return _ascii(text[:_VALUE_SHOWN]) + _omission(text)


def _omission(text: str) -> str:
    return f"... ({len(text)} characters)" if len(text) > _VALUE_SHOWN else ""


def _ascii(text: str) -> str:
    """Escape all but what a line of HTTP is made of."""
    return escaped(text).encode("ascii", "backslashreplace").decode("ascii")


def _one_line(parts: list[str]) -> str:
    line = " | ".join(parts)
    return line if len(line) <= _LINE_SHOWN else f"{line[:_LINE_SHOWN]}..."
