"""Every default of the package, once, with its reason, and the checks of what is given instead.

Knows nothing of the rest of the package.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, TypedDict

__all__ = [
    "DEFAULT_USER_AGENT",
    "OPEN_TIMEOUT",
    "ConnectionKeywords",
    "ConnectionOptions",
    "EncodesJSON",
    "JSONCodec",
    "LoggerLike",
    "check_count",
    "check_seconds",
    "connection_options",
]

LoggerLike = logging.Logger | logging.LoggerAdapter[Any]


class JSONCodec(Protocol):
    """What writes and reads JSON: the modules `json` and `orjson`, or an object like these."""

    # Any: only the application knows which values its codec takes and gives.
    def dumps(self, value: Any, /) -> str | bytes:
        """Return a value as JSON; bytes are UTF-8."""

    def loads(self, text: str, /) -> Any:
        """Return the value of JSON."""


class EncodesJSON(Protocol):
    """The same with the names of `msgspec.json`."""

    def encode(self, value: Any, /) -> str | bytes:
        """Return a value as JSON; bytes are UTF-8."""

    def decode(self, text: str, /) -> Any:
        """Return the value of JSON."""


#: Sent as User-Agent and as Server; no version, which would only help an attacker.
DEFAULT_USER_AGENT = "anyws"

#: 10 s over name lookup, TCP, proxy, TLS and handshake: long for a network that works, short for a
#: person.
OPEN_TIMEOUT = 10.0


@dataclass(frozen=True, slots=True)
class ConnectionOptions:
    """What an open connection needs to know; seconds and bytes."""

    #: 5 s for the whole closing handshake: two round trips and a write, with room to spare.
    close_timeout: float = 5.0
    #: 20 s: below the 30 to 60 s after which proxies and NATs forget an idle connection.
    ping_interval: float | None = 20.0
    #: 20 s more until a silent peer is given up.
    ping_timeout: float | None = 20.0
    #: 1 MiB a message: more than most applications send, less than hurts.
    max_size: int | None = 1 << 20
    #: 1,024 frames a message: a fragment costs its receiver more than its bytes.
    max_fragments: int | None = 1024
    #: 1 MiB not yet read by the application, then the peer has to wait.
    max_buffer: int = 1 << 20
    #: 64 KiB that the kernel has not taken, then `send` has to wait.
    write_limit: int = 1 << 16
    #: None: keepalive finds out a peer that does not read, and how long a send may take depends.
    send_timeout: float | None = None
    #: None: the standard library, for it is always there; others are several times faster.
    json_codec: JSONCodec | EncodesJSON | None = None
    logger: LoggerLike = logging.getLogger("anyws")  # noqa: RUF009  # one for all, on purpose

    def __post_init__(self) -> None:
        check_seconds("close_timeout", self.close_timeout)
        check_seconds("ping_interval", self.ping_interval, optional=True, positive=True)
        check_seconds("ping_timeout", self.ping_timeout, optional=True, positive=True)
        check_count("max_size", self.max_size, optional=True)
        check_count("max_fragments", self.max_fragments, optional=True)
        check_count("max_buffer", self.max_buffer)
        check_count("write_limit", self.write_limit)
        check_seconds("send_timeout", self.send_timeout, optional=True, positive=True)
        _check_json_codec(self.json_codec)
        if self.max_size is not None and self.max_buffer < self.max_size:
            # One whole message must always fit, or it could never be received.
            object.__setattr__(self, "max_buffer", self.max_size)


class ConnectionKeywords(TypedDict, total=False):
    """`ConnectionOptions` as keyword arguments of `connect` and `serve`."""

    close_timeout: float
    ping_interval: float | None
    ping_timeout: float | None
    max_size: int | None
    max_fragments: int | None
    max_buffer: int
    write_limit: int
    send_timeout: float | None
    json_codec: JSONCodec | EncodesJSON | None
    logger: LoggerLike | None


_NAMES = frozenset(ConnectionOptions.__dataclass_fields__)


def connection_options(
    given: Mapping[str, Any], base: ConnectionOptions | None = None
) -> ConnectionOptions:
    """Build options from keyword arguments; `logger=None` stands for the default one.

    Args:
        given: by name.
        base: what holds for those that are not given; None is the defaults.

    Raises:
        TypeError: an unknown name, or a value of the wrong type.
        ValueError: a value out of range.
    """
    unknown = sorted(set(given) - _NAMES)
    if unknown:
        raise TypeError(
            f"unknown option {unknown[0]!r}; known are, beside what the function itself names, "
            f"{', '.join(sorted(_NAMES))}"
        )
    wanted = {name: value for name, value in given.items() if name != "logger" or value is not None}
    return ConnectionOptions(**wanted) if base is None else replace(base, **wanted)


def check_seconds(
    name: str, value: float | None, *, optional: bool = False, positive: bool = False
) -> None:
    """Check a duration in seconds.

    Raises:
        TypeError: not a number.
        ValueError: negative, not a number, or zero where that makes no sense.
    """
    if value is None and optional:
        return
    if value is None or isinstance(value, bool | str):
        raise TypeError(f"{name} is {value!r}, expected seconds")
    if not value >= 0 or (positive and value == 0):
        limit = "above" if positive else "at least"
        raise ValueError(f"{name} is {value}, expected {limit} 0 seconds")


def check_count(name: str, value: int | None, *, optional: bool = False, at_least: int = 1) -> None:
    """Check a number of things.

    Raises:
        TypeError: not an int.
        ValueError: less than `at_least`.
    """
    if value is None and optional:
        return
    if value is None or isinstance(value, bool | str | float):
        raise TypeError(f"{name} is {value!r}, expected an int" + (" or None" * optional))
    if value < at_least:
        raise ValueError(f"{name} is {value}, expected at least {at_least}")


def _check_json_codec(value: object) -> None:
    known = (("dumps", "loads"), ("encode", "decode"))
    if value is not None and not any(all(hasattr(value, name) for name in pair) for pair in known):
        raise TypeError(
            f"json_codec is {value!r}, "
            "expected an object with dumps and loads, or with encode and decode"
        )
