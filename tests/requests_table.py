"""Sends the requests of `requests_rows.py`, and checks their answers.

`test_requests.py` does it with every row on every loop. `python -m tests.requests_table --backend
trio` sends them all to one server, and prints a line for each.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import logging
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import anyio
from anyio.lowlevel import checkpoint

from anyws import Request, Response, Server, ServerConnection, Serving, serve
from anyws.testing import UPGRADE, Head, RawPeer

from .requests_rows import KEY, ROWS, Row
from .serving import HELLO, echo
from .support import connect

__all__ = ["Answer", "Asked", "Witness", "ask", "check", "main", "open_place"]

# Seconds: what a row that waits for the deadline of the handshake has to wait. Long enough for the
# others on a busy machine, which go to a server with the usual one.
_HURRIED = 0.3

# Seconds for any answer.
_LIMIT = 15.0

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


async def _later(response: Response | Exception) -> Response:
    await checkpoint()
    if isinstance(response, Exception):
        raise response
    return response


async def _never() -> Response:
    await anyio.sleep_forever()
    raise AssertionError


def _answer(ws: ServerConnection, request: Request) -> Response | Awaitable[Response] | None:
    """Do as the path of a request says: the `process_request` of the server of the rows."""
    match request.path_without_query:
        case "/page" | "page:80":
            return ws.respond(200, "hello", {"X-Page": "1"})
        case "/later":
            return _later(ws.respond(200, "hello", {"X-Page": "1"}))
        case "/large":
            return Response(200, body=bytes(1_000_000))
        case "/204" | "/304" as path:
            return ws.respond(int(path[1:]))
        case "/raises":
            raise KeyError("on purpose")
        case "/raises-later":
            return _later(KeyError("on purpose"))
        case "/nonsense":
            return 42  # type: ignore[return-value]
        case "/20":
            return Response(20)
        case "/101":
            return Response(101)
        case "/injects":
            return ws.respond(200, "", {"X": "a\r\nSet-Cookie: b"})
        case "/short":
            return Response(200, ws.respond(200, "a").headers, b"more than that")
        case "/never":
            return _never()
    return None


# The place where rows are tried


class Witness(logging.Handler):
    """Keeps what is logged.

    Attributes:
        logger: to be given to a server.
    """

    def __init__(self) -> None:
        super().__init__()
        self.logger = logging.Logger("requests", logging.DEBUG)
        self.logger.addHandler(self)
        self._records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record, formatted."""
        record.getMessage()
        self._records.append(record)

    def take(self) -> list[logging.LogRecord]:
        """Return what was logged above DEBUG since the last time."""
        taken = [record for record in self._records if record.levelno > logging.DEBUG]
        self._records.clear()
        return taken


@dataclass(frozen=True, slots=True)
class Asked:
    """The servers for rows: one for those that wait for a deadline, one for the others."""

    server: Server
    hurried: Server
    witness: Witness

    def port(self, row: Row) -> int:
        """Return the port where a row is to be tried."""
        return (self.hurried if row.is_late else self.server).port


@asynccontextmanager
async def open_place() -> AsyncIterator[Asked]:
    """Start the servers."""
    witness = Witness()

    def start(open_timeout: float) -> Serving:
        return serve(
            echo,
            "127.0.0.1",
            subprotocols=["chat"],
            compression="deflate",
            process_request=_answer,
            health="/healthz",
            open_timeout=open_timeout,
            logger=witness.logger,
        )

    async with start(10) as server, start(_HURRIED) as hurried:
        yield Asked(server, hurried, witness)


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: the head if there was one, and all that was behind it."""

    head: Head | None
    body: bytes
    seconds: float


async def ask(port: int, row: Row) -> Answer:
    """Send the request of a row, and read its answer to the end.

    Raises:
        AssertionError: what came is no answer, or does not end.
    """
    began = time.perf_counter()
    peer = RawPeer(await connect(port), is_client=True)
    try:
        with anyio.fail_after(_LIMIT):
            # The server may have answered before it has read all, and be gone.
            with suppress(anyio.BrokenResourceError):
                for piece in row.pieces:
                    await peer.send(piece)
            if row.leaves:
                return Answer(None, b"", 0.0)
            if row.half_closes:
                await peer.stream.send_eof()
            if row.status is None:
                return Answer(None, await peer.read_rest(), time.perf_counter() - began)
            head = await peer.read_head()
            seconds = time.perf_counter() - began
            if head.status != 101:
                return Answer(head, await peer.read_rest(), seconds)
            await _talk(peer, row)
            return Answer(head, b"", seconds)
    finally:
        await peer.drop()


async def _talk(peer: RawPeer, row: Row) -> None:
    """Expect what the row says behind an upgrade."""
    if row.then is None:
        await peer.send(HELLO)
        await peer.expect(HELLO)
        return
    for expected in row.then:
        frame = await peer.receive()
        # Close frames have a reason too.
        assert frame.opcode == expected.opcode, frame
        assert frame.payload.startswith(expected.payload), frame
    if row.half_closes:
        await peer.read_rest()


def check(row: Row, answer: Answer, logged: Sequence[logging.LogRecord]) -> None:
    """Check an answer, and what was logged meanwhile.

    Raises:
        AssertionError: something is wrong with it.
    """
    problems = [record.getMessage() for record in logged if record.levelno >= logging.WARNING]
    assert len(problems) == row.errors, problems
    if row.status is None:
        assert (answer.head, answer.body) == (None, b"")
        return
    head = answer.head
    assert head is not None
    assert head.first_line.startswith("HTTP/1.1 ")
    assert head.status == row.status, (head, answer.body)
    for name, value in row.headers.items():
        assert head.headers.get(name) == value, (name, head)
    if row.status == 101:
        _check_upgrade(row, head)
    else:
        _check_refusal(row, head, answer.body)
        assert len(logged) == row.errors, logged


def _check_upgrade(row: Row, head: Head) -> None:
    """RFC 6455 §4.2.2."""
    digest = hashlib.sha1(KEY + _GUID).digest()
    assert head.headers["sec-websocket-accept"] == base64.b64encode(digest).decode()
    assert head.headers["upgrade"] == "websocket"
    assert head.headers["connection"] == "Upgrade"
    assert "content-length" not in head.headers


def _check_refusal(row: Row, head: Head, body: bytes) -> None:
    """RFC 9110 §6.6.1, §7.8, §8.6, §15; RFC 9112 §9.6."""
    options = [option.strip().lower() for option in head.headers["connection"].split(",")]
    assert "close" in options
    assert ("upgrade" in head.headers) == ("upgrade" in options)
    assert parsedate_to_datetime(head.headers["date"]).tzinfo is not None
    assert "transfer-encoding" not in head.headers
    if row.has_body:
        assert len(body) == int(head.headers["content-length"]) > 0
        assert row.text in body.decode()
    else:
        assert body == b""
    if row.status == 405:
        assert "allow" in head.headers
    if row.status == 426:
        assert head.headers["upgrade"] == "websocket"


# The command


async def _run() -> int:
    failed = 0
    async with open_place() as place:
        for row in ROWS:
            place.witness.take()
            try:
                answer = await ask(place.port(row), row)
                await _settle()
                check(row, answer, place.witness.take())
            except (AssertionError, TimeoutError) as exc:
                failed += 1
                print(f"{row.name:44} FAILED: {str(exc)[:300]}")
                continue
            print(f"{row.name:44}{_describe(answer)}")
        alive = Row("", (UPGRADE,), 101)
        check(alive, await ask(place.server.port, alive), ())
        print(f"{len(ROWS)} requests, {failed} answered wrongly; server alive")
    return 1 if failed else 0


async def _settle() -> None:
    for _ in range(10):
        await checkpoint()


_OF_NOTE = ("allow", "upgrade", "sec-websocket-version", "connection", "content-length")


def _describe(answer: Answer) -> str:
    if answer.head is None:
        return "none  (closed)"
    noted = [f"{n}: {answer.head.headers[n]}" for n in _OF_NOTE if n in answer.head.headers]
    return f"{answer.head.status}{answer.seconds * 1000:8.1f} ms  {'; '.join(noted)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Do as the command line says, and return the exit status."""
    from .endurance.scenarios import LOOPS

    parser = argparse.ArgumentParser(prog="python -m tests.requests_table")
    parser.add_argument("--backend", choices=LOOPS, default="trio", help="default: %(default)s")
    backend, options = LOOPS[parser.parse_args(arguments).backend]
    return anyio.run(_run, backend=backend, backend_options=options)


if __name__ == "__main__":
    sys.exit(main())
