"""A server's part of Digest authentication (RFC 7616), to check what a client sends.

Shares no code with the client: it takes headers apart with the standard library.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, field
from urllib.parse import unquote
from urllib.request import parse_http_list, parse_keqv_list

__all__ = ["DigestVerifier"]

HASHES = {"MD5": "md5", "SHA-256": "sha256", "SHA-512-256": "sha512_256"}


@dataclass
class DigestVerifier:
    """One user's password, the nonces given out, and how often each was used.

    Attributes:
        algorithm: the name in the challenge; None leaves it out, which means MD5.
        qop: as in the challenge; None leaves it out, as in RFC 2069.
        userhash, utf8: what the challenge says of RFC 7616's own.
    """

    username: str
    password: str
    realm: str = "tests"
    algorithm: str | None = "SHA-256"
    qop: str | None = "auth"
    opaque: str | None = "of the server"
    userhash: bool = False
    utf8: bool = True
    counts: dict[str, int] = field(default_factory=dict)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def new_nonce(self) -> str:
        nonce = f'nonce "{next(self._numbers)}" \\ of {id(self):x}'
        self.counts[nonce] = 0
        return nonce

    def challenge(self, *, stale: bool = False) -> str:
        """Return a value of WWW-Authenticate with a new nonce."""
        # As an HTTP parser gives it to the client.
        realm = self.realm.encode().decode("iso-8859-1")
        quoted = {"realm": realm, "nonce": self.new_nonce()}
        if self.qop is not None:
            quoted["qop"] = self.qop
        if self.opaque is not None:
            quoted["opaque"] = self.opaque
        parts = [
            name + '="' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
            for name, value in quoted.items()
        ]
        if self.algorithm is not None:
            parts.append(f"algorithm={self.algorithm}")
        parts += ["stale=TRUE"] * stale + ["userhash=true"] * self.userhash
        parts += ["charset=UTF-8"] * self.utf8
        return "Digest " + ", ".join(parts)

    def accepts(self, value: str | None, target: str, *, method: str = "GET") -> bool:
        """Say whether a value of Authorization proves the password, by a nonce used in order."""
        if value is None or not value.startswith("Digest "):
            return False
        got = parse_keqv_list(parse_http_list(value.removeprefix("Digest ")))
        nonce = got["nonce"]
        realm = got["realm"].encode("iso-8859-1").decode()
        if nonce not in self.counts or got["uri"] != target or realm != self.realm:
            return False
        if got.get("opaque") != self.opaque or got.get("algorithm") != self.algorithm:
            return False
        expected = self.response(got, method, target)
        if not self.is_user(got) or got["response"] != expected:
            return False
        if self.qop is not None:
            count = int(got["nc"], 16)
            if len(got["nc"]) != 8 or count <= self.counts[nonce]:
                return False
            self.counts[nonce] = count
        return True

    def is_user(self, got: dict[str, str]) -> bool:
        if self.userhash:
            hashed = self.hash(f"{self.username}:{self.realm}".encode())
            return got["username"] == hashed and got["userhash"] == "true"
        if "username*" in got:
            charset, language, encoded = got["username*"].split("'")
            is_utf8 = (charset, language) == ("UTF-8", "") and self.utf8
            return is_utf8 and "username" not in got and unquote(encoded) == self.username
        return got["username"].encode("iso-8859-1") == self.username.encode()

    def response(self, got: dict[str, str], method: str, target: str) -> str:
        key = self.hash(f"{self.username}:{self.realm}:{self.password}".encode())
        if (self.algorithm or "").lower().endswith("-sess"):
            key = self.hash(f"{key}:{got['nonce']}:{got['cnonce']}".encode())
        if got.get("qop") == "auth-int":
            request = self.hash(f"{method}:{target}:{self.hash(b'')}".encode())
        else:
            request = self.hash(f"{method}:{target}".encode())
        middle = got["nonce"]
        if self.qop is not None:
            assert got["qop"] in self.qop.replace(" ", "").split(",")
            middle += f":{got['nc']}:{got['cnonce']}:{got['qop']}"
        return self.hash(f"{key}:{middle}:{request}".encode())

    def hash(self, data: bytes) -> str:
        name = (self.algorithm or "MD5").upper().removesuffix("-SESS")
        return hashlib.new(HASHES[name], data).hexdigest()
