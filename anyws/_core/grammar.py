"""The grammar of header fields that are lists (RFC 9110 §5.6, RFC 6455 §9.1).

Owns how `Connection`, `Upgrade`, `Sec-WebSocket-Protocol` and `Sec-WebSocket-Extensions` are taken
apart and put together, in time linear in their length. It must not know what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "ExtensionParameters",
    "NamedExtension",
    "is_token",
    "parse_extensions",
    "split_tokens",
]

#: Names and values of an extension's parameters, in order; None is a parameter without a value.
ExtensionParameters = tuple[tuple[str, str | None], ...]

# 256 members of a list, parameters of extensions included; browsers send two or three.
_MAX_ITEMS = 256

# RFC 9110 §5.6.2
_CHARACTERS = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
_TOKEN = re.compile(_CHARACTERS)

# No two parts of these can match the same character, so that nothing is tried twice.
_MEMBER = re.compile(r"[^ \t,][^,]*")
_NAME = re.compile(rf"[ \t]*({_CHARACTERS})[ \t]*")
_PARAMETER = re.compile(
    rf';[ \t]*({_CHARACTERS})[ \t]*(?:=[ \t]*(?:({_CHARACTERS})|"((?:[^"\\]|\\.)*)")[ \t]*)?'
)
_EMPTY_MEMBERS = re.compile(r"[ \t,]*")


class NamedExtension(NamedTuple):
    """An extension with its parameters, as a header field names it; `str()` of it is that.

    Attributes:
        name: the registered name, `permessage-deflate` for instance.
        parameters: pairs of a name and a value, or None for a parameter without a value.
    """

    name: str
    parameters: ExtensionParameters = ()

    def __str__(self) -> str:
        return "; ".join(
            [self.name, *(n if value is None else f"{n}={value}" for n, value in self.parameters)]
        )


def is_token(text: str) -> bool:
    """Say whether `text` is a token (RFC 9110 §5.6.2)."""
    return _TOKEN.fullmatch(text) is not None


def split_tokens(values: Iterable[str]) -> list[str]:
    """Split the values of a comma-separated field into its members, empty ones left out.

    Takes time linear in the length (RFC 9110 §5.6.1).

    Raises:
        ValueError: more than 256 members.
    """
    members = [member for value in values for member in _MEMBER.findall(value)]
    if len(members) > _MAX_ITEMS:
        raise ValueError(f"{len(members)} members in a list, limit {_MAX_ITEMS}")
    return [member.rstrip(" \t") for member in members]


def parse_extensions(values: Iterable[str]) -> list[NamedExtension]:
    """Parse the values of `Sec-WebSocket-Extensions` (RFC 6455 §9.1), in order.

    Raises:
        ValueError: it does not follow the grammar, or has more than 256 members and parameters.
    """
    found: list[NamedExtension] = []
    items = 0
    for value in values:
        at = _skip_empty(value, 0)
        while at < len(value):
            name = _NAME.match(value, at)
            if name is None:
                raise ValueError(f"name of an extension expected at {_excerpt(value, at)}")
            at = name.end()
            parameters = []
            while parameter := _PARAMETER.match(value, at):
                parameters.append(_read_parameter(*parameter.groups()))
                at = parameter.end()
                items += 1
                if items > _MAX_ITEMS:
                    break
            items += 1
            if items > _MAX_ITEMS:
                raise ValueError(f"more than {_MAX_ITEMS} extensions and parameters")
            found.append(NamedExtension(name[1], tuple(parameters)))
            if at < len(value) and value[at] != ",":
                raise ValueError(
                    f"comma, or parameter of an extension, expected at {_excerpt(value, at)}"
                )
            at = _skip_empty(value, at)
    return found


def _read_parameter(name: str, value: str | None, quoted: str | None) -> tuple[str, str | None]:
    if quoted is not None:
        # §9.1: unquoted, it must be a token too.
        value = re.sub(r"\\(.)", r"\1", quoted)
        if not is_token(value):
            raise ValueError(f"value of parameter {name} is {quoted[:40]!r}, expected a token")
    return name, value


def _skip_empty(value: str, at: int) -> int:
    """Return where the next member begins (RFC 9110 §5.6.1.2: empty ones are left out)."""
    skipped = _EMPTY_MEMBERS.match(value, at)
    assert skipped is not None  # it matches nothing as well
    return skipped.end()


def _excerpt(value: str, at: int) -> str:
    return repr(value[at : at + 20]) if at < len(value) else "the end"
