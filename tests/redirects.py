"""Redirects of every kind, and what was sent to whom: the matrix, as cases and as a table.

`python -m tests.redirects [--backend trio|asyncio]` prints it. The servers are ours, and record
what they are asked; the cases say what a client may send.
"""

from __future__ import annotations

import argparse
import base64
import ssl
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import product
from types import TracebackType
from typing import Any, Literal

import anyio
import trustme

from anyws import HandshakeError, Request, Response, Server, ServerConnection, connect, serve

__all__ = ["CASES", "SECRETS", "Case", "Outcome", "Places"]

Scheme = Literal["ws", "wss"]
Target = Literal["same", "port", "host", "scheme"]
Credentials = Literal["none", "userinfo", "auth", "headers", "cookies", "subprotocol", "function"]

STATUSES = (300, 301, 302, 303, 307, 308)

_TOKEN = "s3cret-token"
_BASIC = base64.b64encode(b"ada:s3cret-word").decode()

#: What must not be seen by another origin, wherever it is in a request.
SECRETS = frozenset({_TOKEN, _BASIC})

# Names that the resolver knows for this machine, and that are different origins.
_HERE, _ELSEWHERE = "127.0.0.1", "localhost"


@dataclass(frozen=True, slots=True)
class Case:
    """One redirect.

    Attributes:
        scheme: of the first server.
        target: what is different about the origin of the second.
        status: of the redirect.
        credentials: how the user gave them.
        expected: "open", or how the error begins.
    """

    scheme: Scheme
    target: Target
    status: int
    credentials: Credentials
    expected: str = "open"

    def __str__(self) -> str:
        return f"{self.scheme}-{self.target}-{self.status}-{self.credentials}"


def _cases() -> Iterator[Case]:
    schemes: tuple[Scheme, ...] = ("ws", "wss")
    targets: tuple[Target, ...] = ("same", "port", "host", "scheme")
    kinds: tuple[Credentials, ...] = (
        *("none", "userinfo", "auth", "headers", "cookies", "subprotocol", "function"),
    )
    for scheme, target, credentials in product(schemes, targets, kinds):
        # TLS is not given up.
        downgrade = (scheme, target) == ("wss", "scheme")
        expected = "the server redirects from wss to ws" if downgrade else "open"
        # What a status means is the same for all; each is there for one way to give credentials.
        statuses = STATUSES if credentials == "headers" else (302,)
        for status in statuses:
            yield Case(scheme, target, status, credentials, expected)


CASES = tuple(_cases())


@dataclass(frozen=True, slots=True)
class Seen:
    """A request at a server: to whom, and which secrets were in it."""

    place: str
    secrets: set[str]


@dataclass(slots=True)
class Outcome:
    """What came of a case."""

    result: str
    requests: list[Seen] = field(default_factory=list)


class Places:
    """Two servers of each scheme, on ports of their own; the first of each redirects.

    Use it as `async with Places(authority) as places`.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self._server_ssl = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert(_HERE, _ELSEWHERE).configure_cert(self._server_ssl)
        self._client_ssl = ssl.create_default_context()
        authority.configure_trust(self._client_ssl)
        self._stack = AsyncExitStack()
        self._servers: dict[tuple[str, str], Server] = {}
        self._requests: list[Seen] = []
        self._answer = Response(500)

    async def __aenter__(self) -> Places:
        for scheme, name in product(("ws", "wss"), ("first", "second")):
            context = self._server_ssl if scheme == "wss" else None
            server = serve(
                _wait,
                _HERE,
                ssl=context,
                origins="*",
                process_request=_Recorder(self, f"{scheme} {name}"),
            )
            self._servers[scheme, name] = await self._stack.enter_async_context(server)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._stack.aclose()

    async def visit(self, case: Case) -> Outcome:
        """Connect as a case says, and return what came of it."""
        self._requests.clear()
        first = self._uri(case.scheme, "first", _HERE)
        other: Scheme = "wss" if case.scheme == "ws" else "ws"
        target = {
            "same": "/there",
            "port": self._uri(case.scheme, "second", _HERE) + "there",
            "host": self._uri(case.scheme, "first", _ELSEWHERE) + "there",
            "scheme": self._uri(other, "second", _HERE).replace("ws", "http", 1) + "there",
        }[case.target]
        self._answer = Response(case.status)
        self._answer.headers["Location"] = target
        uri, keywords = _give(case.credentials, first)
        try:
            async with connect(uri, ssl=self._client_ssl, max_redirects=1, **keywords):
                result = "open"
        except HandshakeError as exc:
            result = str(exc)
            if result.startswith(case.expected):
                result = case.expected
        return Outcome(result, list(self._requests))

    def record(self, place: str, request: Request) -> Response | None:
        """Take note of a request; answer it by the redirect unless it is the second one."""
        text = f"{request.path} {request.headers.multi_items()}"
        self._requests.append(Seen(place, {secret for secret in SECRETS if secret in text}))
        return None if request.path == "/there" else self._answer

    def _uri(self, scheme: Scheme, name: str, host: str) -> str:
        return f"{scheme}://{host}:{self._servers[scheme, name].port}/"


class _Recorder:
    def __init__(self, places: Places, place: str) -> None:
        self._places = places
        self._place = place

    def __call__(self, _: ServerConnection, request: Request) -> Response | None:
        return self._places.record(self._place, request)


def _give(credentials: Credentials, uri: str) -> tuple[str, dict[str, Any]]:
    """Return the URI and the keywords of `connect` by which credentials are given."""
    if credentials == "userinfo":
        return uri.replace("://", "://ada:s3cret-word@"), {}
    if credentials == "auth":
        return uri, {"auth": ("ada", "s3cret-word")}
    if credentials == "headers":
        return uri, {
            "headers": {
                "Authorization": f"Bearer {_TOKEN}",
                "Cookie": f"id={_TOKEN}",
                "X-Api-Key": _TOKEN,
            }
        }
    if credentials == "cookies":
        return uri, {"cookies": {"id": _TOKEN}}
    if credentials == "subprotocol":
        return uri, {"subprotocols": ["bearer", _TOKEN]}
    if credentials == "function":
        return uri, {"auth": _fetch_token}
    return uri, {}


async def _fetch_token() -> dict[str, str]:
    return {"Authorization": f"Bearer {_TOKEN}"}


async def _wait(ws: ServerConnection) -> None:
    await ws.wait_closed()


async def _print_matrix() -> None:
    async with Places(trustme.CA()) as places:
        leaks = wrong = 0
        print(f"{'case':38} {'first asked':12} {'then asked':12} {'secrets there':14} result")
        for case in CASES:
            outcome = await places.visit(case)
            first, *others = outcome.requests
            then = others[0] if others else None
            leaks += bool(then and then.secrets and case.target != "same")
            wrong += outcome.result != case.expected
            there = "-" if then is None else str(len(then.secrets))
            place = "-" if then is None else then.place
            print(f"{case!s:38} {first.place:12} {place:12} {there:14} {outcome.result}")
        print(f"{len(CASES)} cases, {leaks} leaks, {wrong} not as expected")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Print what was sent to whom.")
    parser.add_argument("--backend", choices=("trio", "asyncio"), default="trio")
    anyio.run(_print_matrix, backend=parser.parse_args().backend)
