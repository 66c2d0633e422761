"""The grammar of header fields that are lists (RFC 9110 §5.6, RFC 6455 §9.1).

Owns how `Connection`, `Upgrade`, `Sec-WebSocket-Protocol`, `Sec-WebSocket-Extensions` and those of
authentication are taken apart and put together, in time linear in their length. It must not know
what they mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

__all__ = [
    "ExtensionParameters",
    "NamedExtension",
    "is_token",
    "parse_challenges",
    "parse_extensions",
    "parse_parameters",
    "quote_string",
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

# RFC 9110 §11.2, §11.3. Nothing is given back once it has matched, and each ends where a list may
# go on.
_END = r"[ \t]*+(?=,|\Z)"
_SCHEME = re.compile(rf"({_CHARACTERS}+)(?:[ \t]++|(?=,)|\Z)")
_TOKEN68 = re.compile(rf"[-._~+/0-9A-Za-z]++=*+{_END}")
_AUTH_PARAMETER = re.compile(
    rf'({_CHARACTERS}+)[ \t]*+=[ \t]*+(?:({_CHARACTERS}+)|"((?:[^"\\]|\\.)*+)"){_END}', re.DOTALL
)


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


def parse_challenges(value: str) -> list[tuple[str, dict[str, str] | None]]:
    """Parse a value of `WWW-Authenticate` (RFC 9110 §11.6.1) into schemes and their parameters.

    Schemes and names of parameters are in lower case. None stands for the parameters of a scheme
    that has others, or names one twice. What follows an error in the grammar is left out, and so is
    the challenge that has it; more than 256 parameters are an error too. No more than 256
    challenges are read.
    """
    found: list[tuple[str, dict[str, str] | None]] = []
    at = _skip_empty(value, 0)
    while at < len(value) and len(found) < _MAX_ITEMS:
        scheme = _SCHEME.match(value, at)
        if scheme is None:
            return found[:-1]
        parameters = None
        if other := _TOKEN68.match(value, scheme.end()):
            at = _skip_empty(value, other.end())
        else:
            parameters, at = _read_auth_parameters(value, scheme.end())
        found.append((scheme[1].lower(), parameters))
    return found


def parse_parameters(value: str) -> dict[str, str]:
    """Parse a value of `Authentication-Info` (RFC 9110 §11.6.3), names in lower case.

    It is empty if the grammar is not followed, or if one is named twice.
    """
    parameters, at = _read_auth_parameters(value, 0)
    return parameters or {} if at == len(value) else {}


def quote_string(text: str) -> str:
    """Return `text` as a quoted string (RFC 9110 §5.6.4)."""
    escaped = text.replace("\\", r"\\").replace('"', r"\"")
    return f'"{escaped}"'


def _read_auth_parameters(value: str, at: int) -> tuple[dict[str, str] | None, int]:
    """Return the parameters from `at` on, None if one comes twice, and where they end."""
    parameters: dict[str, str] = {}
    count = 0
    at = _skip_empty(value, at)
    while count < _MAX_ITEMS and (parameter := _AUTH_PARAMETER.match(value, at)):
        name, token, quoted = parameter.groups()
        parameters[name.lower()] = token or _unquote(quoted)
        count += 1
        at = _skip_empty(value, parameter.end())
    return parameters if len(parameters) == count else None, at


def _unquote(quoted: str) -> str:
    """Return what stands for itself within a quoted string."""
    return re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL)


def _read_parameter(name: str, value: str | None, quoted: str | None) -> tuple[str, str | None]:
    if quoted is not None:
        # §9.1: unquoted, it must be a token too.
        value = _unquote(quoted)
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
