"""Digest authentication (RFC 7616): a client proves a password without sending it.

Owns which challenge is answered, and how. It must not know when a request is sent.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from ._auth import encode_text
from ._core.grammar import parse_challenges, parse_parameters, quote_string, split_tokens
from ._core.headers import Response
from ._core.uri import URI

__all__ = ["Challenge", "DigestAuth", "DigestExchange", "best_challenge"]

# RFC 7616 §6.1, the strongest first: to the names that hashlib has for them.
_ALGORITHMS = {"sha-512-256": "sha512_256", "sha-256": "sha256", "md5": "md5"}
_STRENGTH = list(_ALGORITHMS.values())

# A server that finds each fresh nonce stale is given up after as many requests with credentials:
# one for a nonce from an earlier connection, one for a fresh one, one in reserve.
_MAX_ANSWERS = 3


class DigestAuth:
    """A name and a password for Digest authentication (RFC 7616), for a client.

    The password itself is not sent, but whoever listens can try passwords until one fits: use it
    over TLS all the same. Of several challenges that with the strongest algorithm is answered:
    SHA-512-256, SHA-256 or MD5. Names and passwords are UTF-8, in Normalization Form C (§4).

    One object may serve any number of connections, at once too. It remembers for each server what
    was asked last, so that later connections need no request more.

    Args:
        username: of the user.
        password: of the user.

    Raises:
        LocalProtocolError: control characters or lone surrogates.
    """

    __slots__ = ("_challenges", "_password", "_username")

    def __init__(self, username: str, password: str) -> None:
        self._username = encode_text(f"user name {username!r}", username)
        self._password = encode_text("the password", password)
        # By the origin of the server. `domain` (§3.3), which may name others, extends none of
        # them: what is for one origin is for no other.
        self._challenges: dict[str, Challenge] = {}

    def __repr__(self) -> str:
        return f"<DigestAuth: {self._username.decode()!r}>"


class DigestExchange:
    """The requests of one opening handshake to one origin, until the server is content.

    `header_value` before each request, `take_response` after it, and again as long as that says
    so. A redirect to another origin begins an exchange of its own, if it may have credentials.
    """

    __slots__ = ("_answers", "_auth", "_challenge", "_own", "_uri")

    def __init__(self, auth: DigestAuth, uri: URI) -> None:
        self._auth = auth
        self._uri = uri
        self._challenge = auth._challenges.get(uri.origin)
        # Whether that is from this exchange, not from an earlier one.
        self._own = False
        self._answers = 0

    def header_value(self) -> str | None:
        """Return the value of Authorization, None as long as the server has asked for nothing."""
        if self._challenge is None:
            return None
        self._answers += 1
        return self._challenge.answer(self._auth._username, self._auth._password, self._uri.path)

    def take_response(self, response: Response) -> bool:
        """Learn from any response; say whether the same request is worth another attempt.

        It is after a status of 401 with a challenge that can be answered, unless the answer to a
        fresh one has been refused already.
        """
        if response.status_code != 401:
            self._take_next_nonce(response)
            return False
        challenge = best_challenge(response)
        if challenge is None or not self._is_worth(challenge):
            # The next connection begins anew, unless another one knows more by now.
            if self._auth._challenges.get(self._uri.origin) is self._challenge:
                self._auth._challenges.pop(self._uri.origin, None)
            return False
        self._auth._challenges[self._uri.origin] = self._challenge = challenge
        self._own = True
        return True

    def _is_worth(self, challenge: Challenge) -> bool:
        # Not every server says that a nonce from before its restart is stale.
        return not self._own or (challenge.stale and self._answers < _MAX_ANSWERS)

    def _take_next_nonce(self, response: Response) -> None:
        # §3.5
        if self._challenge is not None:
            for value in response.headers.get_all("Authentication-Info"):
                nonce = parse_parameters(value).get("nextnonce")
                if nonce:
                    self._challenge.nonce = nonce
                    self._challenge.count = 0


@dataclass(slots=True)
class Challenge:
    """What a server asks for (§3.3), and how often its nonce has been used.

    Text is what came in the header, one character for each byte.

    Attributes:
        realm: what the password is for.
        nonce: of the server.
        algorithm: as hashlib calls it.
        named_algorithm: as the server calls it, if it does.
        session_nonce: the nonce with which a session began, if the algorithm is one of sessions.
        qop: "auth", "auth-int", or None as in RFC 2069.
        opaque: to be sent back.
        stale: the credentials were right but for their nonce.
        userhash: the name is to be hashed.
        utf8: the server said so, and knows RFC 7616 then.
        count: of requests with the nonce.
        cnonce: of this client.
    """

    realm: str
    nonce: str
    algorithm: str
    named_algorithm: str | None
    session_nonce: str | None
    qop: str | None
    opaque: str | None
    stale: bool
    userhash: bool
    utf8: bool
    count: int = 0
    # One for all requests with the nonce, which differ by their count: servers disagree on whether
    # the key of a session (§3.4.2) is made with that of the first request or of each.
    cnonce: str = field(default_factory=lambda: os.urandom(16).hex())

    def answer(self, username: bytes, password: bytes, target: str) -> str:
        """Return the value of Authorization for a GET request without a body (§3.4)."""
        self.count += 1
        values = {
            "realm": self.realm,
            "nonce": self.nonce,
            "uri": target,
            "response": self._response(username, password, target),
        }
        if self.opaque is not None:
            values["opaque"] = self.opaque
        if self.qop is not None:
            values["cnonce"] = self.cnonce
        fields = [self._name(username)]
        fields += [f"{name}={quote_string(value)}" for name, value in values.items()]
        # §3.4: these are never quoted.
        if self.qop is not None:
            fields += [f"qop={self.qop}", f"nc={self.count:08x}"]
        if self.named_algorithm is not None:
            fields.append(f"algorithm={self.named_algorithm}")
        if self.userhash:
            fields.append("userhash=true")
        return "Digest " + ", ".join(fields)

    def _name(self, username: bytes) -> str:
        if self.userhash:
            # §3.4.4
            return f'username="{self._hash(username, self.realm)}"'
        if self.utf8 and not username.isascii():
            from urllib.parse import quote

            # RFC 8187 §3.2.1. Servers of RFC 2617 do not know it, and take the bytes.
            return f"username*=UTF-8''{quote(username, safe='!#$&+^`|')}"
        return f"username={quote_string(username.decode('iso-8859-1'))}"

    def _response(self, username: bytes, password: bytes, target: str) -> str:
        # §3.4.1 to §3.4.3
        key = self._hash(username, self.realm, password)
        if self.session_nonce is not None:
            key = self._hash(key, self.session_nonce, self.cnonce)
        request = ["GET", target]
        if self.qop == "auth-int":
            request.append(self._hash(""))
        what = self._hash(*request)
        if self.qop is None:
            return self._hash(key, self.nonce, what)
        return self._hash(key, self.nonce, f"{self.count:08x}", self.cnonce, self.qop, what)

    def _hash(self, *parts: str | bytes) -> str:
        # Imported late: OpenSSL's part of it takes 2 ms.
        from hashlib import new

        data = b":".join(
            part if isinstance(part, bytes) else part.encode("iso-8859-1") for part in parts
        )
        return new(self.algorithm, data, usedforsecurity=False).hexdigest()


def best_challenge(response: Response) -> Challenge | None:
    """Return the challenge with the strongest algorithm, the first among equals (§3.7).

    None if no challenge can be answered.
    """
    challenges = [
        challenge
        for value in response.headers.get_all("WWW-Authenticate")
        for scheme, parameters in parse_challenges(value)
        if scheme == "digest" and parameters and (challenge := _read_challenge(parameters))
    ]
    return min(challenges, key=lambda one: _STRENGTH.index(one.algorithm), default=None)


def _read_challenge(parameters: Mapping[str, str]) -> Challenge | None:
    """Return the challenge with these parameters, None if it cannot be answered."""
    from hashlib import algorithms_available

    named = parameters.get("algorithm") or None
    algorithm = (named or "MD5").lower()
    is_session = algorithm.endswith("-sess")
    algorithm = _ALGORITHMS.get(algorithm.removesuffix("-sess"), "")
    nonce = parameters.get("nonce")
    if algorithm not in algorithms_available or not nonce or "realm" not in parameters:
        return None
    try:
        qops = [qop.lower() for qop in split_tokens([parameters.get("qop", "")])]
    except ValueError:  # too many
        return None
    qop = next((qop for qop in ("auth", "auth-int") if qop in qops), None)
    # The key of a session has the client's nonce, which RFC 2069 has no place for.
    if qop is None and (qops or is_session):
        return None
    return Challenge(
        realm=parameters["realm"],
        nonce=nonce,
        algorithm=algorithm,
        named_algorithm=named,
        session_nonce=nonce if is_session else None,
        qop=qop,
        opaque=parameters.get("opaque"),
        stale=parameters.get("stale", "").lower() == "true",
        userhash=parameters.get("userhash", "").lower() == "true",
        utf8=parameters.get("charset", "").lower() == "utf-8",
    )
