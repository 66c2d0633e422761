"""Basic authentication (RFC 7617): a name and a password in the header of a request.

Owns what a client sends and how a server checks it. It must not know when either happens.
"""

from __future__ import annotations

import re
from binascii import a2b_base64, b2a_base64
from collections.abc import Awaitable, Callable, Mapping
from typing import overload

from ._core.handshake import refuse
from ._core.headers import Request, Response, credentials
from ._errors import LocalProtocolError

__all__ = ["BasicAuth"]

# RFC 7617 §2: neither a name nor a password has control characters.
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PRINTABLE = re.compile(r"[ -~]*")


class BasicAuth:
    """Names and passwords of Basic authentication (RFC 7617), for a client or a server.

    A password travels all but in the clear: use it over TLS. A server compares in constant time,
    those of unknown users too. Names and passwords are UTF-8, in Normalization Form C (§2.1).

    Args:
        username: of the only user; a client needs this form.
        password: of the only user.
        users: the passwords of several users, by their names. It is copied.
        check: a function of a name and a password, sync or async, that says whether they are right.
            It is the place for passwords that are stored as hashes, and must itself take the same
            time for unknown users.
        realm: what the password is for, in printable ASCII; some clients show it.

    Raises:
        LocalProtocolError: a name with a colon, control characters in a name or a password, lone
            surrogates, or a realm that is not printable ASCII.
        TypeError: none of the three forms, or more than one.
    """

    __slots__ = ("_check", "_digests", "_pair", "_realm", "_users")

    @overload
    def __init__(self, username: str, password: str, *, realm: str = "") -> None: ...

    @overload
    def __init__(self, *, users: Mapping[str, str], realm: str = "") -> None: ...

    @overload
    def __init__(
        self, *, check: Callable[[str, str], bool | Awaitable[bool]], realm: str = ""
    ) -> None: ...

    def __init__(
        self,
        username: str | None = None,
        password: str | None = None,
        *,
        users: Mapping[str, str] | None = None,
        check: Callable[[str, str], bool | Awaitable[bool]] | None = None,
        realm: str = "",
    ) -> None:
        forms = [username is not None or password is not None, users is not None, check is not None]
        if sum(forms) != 1 or (username is None) != (password is None):
            raise TypeError("BasicAuth takes a user name and a password, or users, or check")
        if not _PRINTABLE.fullmatch(realm):
            raise LocalProtocolError(f"realm is {realm!r}, expected printable ASCII")
        self._check = check
        self._realm = realm
        self._pair: bytes | None = None
        if username is not None and password is not None:
            users = {username: password}
            self._pair = b":".join(_encode_pair(username, password))
        self._users = dict(_encode_pair(*pair) for pair in (users or {}).items())
        self._digests: dict[bytes, bytes] | None = None

    def __repr__(self) -> str:
        if self._check is not None:
            return "<BasicAuth: by a function>"
        if self._pair is None:
            return f"<BasicAuth: {len(self._users)} users>"
        return f"<BasicAuth: {next(iter(self._users)).decode()!r}>"

    # Of a client

    def header_value(self) -> str:
        """Return the value of Authorization for the only user.

        Raises:
            ValueError: it was not made from a user name and a password.
        """
        if self._pair is None:
            raise ValueError(
                "a client sends one name and password: give BasicAuth(username, password)"
            )
        return "Basic " + b2a_base64(self._pair, newline=False).decode("ascii")

    # Of a server

    def authenticate(self, request: Request) -> str | Awaitable[str | None] | None:
        """Return who sent a request, maybe "", or None if that is not proved.

        The result is to be awaited only where `check` is async. Whatever is wrong with the header
        means None.

        Raises:
            TypeError: `check` returned what is not a bool.
            Exception: what `check` raises.
        """
        pair = _decode_pair(credentials(request.headers, "basic"))
        if pair is None:
            return None
        name, password = pair
        if self._check is None:
            return name if self._is_right(name.encode(), password.encode()) else None
        verdict = self._check(name, password)
        if isinstance(verdict, Awaitable):
            return _wait_for(verdict, name)
        return _admitted(verdict, name)

    def challenge(self) -> Response:
        """Return the answer to a request that is not authenticated (§2)."""
        realm = self._realm.replace("\\", r"\\").replace('"', r"\"")
        response = refuse(401, "a user name and a password are needed (Basic authentication)\n")
        response.headers["WWW-Authenticate"] = f'Basic realm="{realm}", charset="UTF-8"'
        return response

    def _is_right(self, name: bytes, password: bytes) -> bool:
        # Imported late: OpenSSL's part of it takes 2 ms.
        from hashlib import sha256
        from hmac import compare_digest

        # Digests are all of one length, which a comparison need not hide.
        if self._digests is None:
            self._digests = {n: sha256(p).digest() for n, p in self._users.items()}
        expected = self._digests.get(name)
        is_equal = compare_digest(sha256(password).digest(), expected or bytes(32))
        return is_equal and expected is not None


async def _wait_for(verdict: Awaitable[bool], name: str) -> str | None:
    return _admitted(await verdict, name)


def _admitted(verdict: bool, name: str) -> str | None:
    # What is merely true, such as a coroutine that was not awaited, lets nobody in.
    if not isinstance(verdict, bool):
        raise TypeError(f"check of BasicAuth returned {type(verdict).__name__}, expected a bool")
    return name if verdict else None


def _encode_pair(name: str, password: str) -> tuple[bytes, bytes]:
    """Check and encode what an application gives; no message has the password."""
    if ":" in name:
        raise LocalProtocolError(f"user name {name!r} has a colon (RFC 7617 §2)")
    return _encode(f"user name {name!r}", name), _encode("the password", password)


def _encode(what: str, text: str) -> bytes:
    if _CONTROL.search(text):
        raise LocalProtocolError(f"{what} has control characters (RFC 7617 §2)")
    if not text.isascii():
        from unicodedata import normalize  # its tables

        text = normalize("NFC", text)
    # Not left to the encoder, whose error would hold the text.
    if _SURROGATE.search(text):
        raise LocalProtocolError(f"{what} has lone surrogates")
    return text.encode()


def _decode_pair(encoded: str | None) -> tuple[str, str] | None:
    """Return the name and the password that a client sent, None if they cannot be read."""
    try:
        text = a2b_base64(encoded or "", strict_mode=True).decode()
    except ValueError:  # not base64, or not UTF-8
        return None
    name, colon, password = text.partition(":")
    return (name, password) if colon and not _CONTROL.search(text) else None
