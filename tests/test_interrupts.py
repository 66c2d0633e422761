"""Ctrl+C in every state that a program can be in: one KeyboardInterrupt, and soon (R-A4d, R-D4).

The programs are those of `interrupted.py`, in processes of their own. This test brings each into
its state by playing the peer, and interrupts it. Since starting a process takes more time than all
the rest, one process runs one program after another, several processes run at once, and the tests
look at how the programs ended.
"""

from __future__ import annotations

import signal
import ssl
import sys
import traceback
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from socket import socket as Socket

import anyio
import pytest
import trustme
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

from anyws.testing import TEXT, UPGRADE, Frame, RawPeer, close_frame

from .conftest import UVLOOP_MISSING
from .interrupted import END_OF_COMPLAINTS, RUNS
from .serving import HELLO
from .support import accept, connect, listen

# A signal on Windows ends the process there and then.
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")

# Seconds for what takes little more than one; what ends by its own timeout would take 600.
LIMIT = 50.0

# Of each loop at once: they do not keep the machine busy, but wait for the grace of 1 s.
PROCESSES = 3

LOOPS = ("asyncio", "trio") if UVLOOP_MISSING else ("asyncio", "trio", "uvloop")

ROOT = Path(__file__).parents[1]

GOING_AWAY = (1001, "")

# What nobody wants to read after Ctrl+C.
NOISE = ("never retrieved", "never awaited", "Warning", "ignored", "destroyed", "unhandled")

Check = Callable[[], Awaitable[object]]


class Program:
    """A program of `interrupted.py` that runs, and those who talk to it.

    Args:
        process: where it runs.
        listener: where it connects to if it is a client.
    """

    def __init__(self, process: RunningProcess, listener: Socket) -> None:
        self._process = process
        self._listener = listener
        self._port = 0
        self._peers: list[RawPeer] = []

    async def read_line(self) -> str:
        """Read what the program says next."""
        return await self._process.read_line()

    async def visit(self) -> RawPeer:
        """Connect to the program, which is a server."""
        if not self._port:
            self._port = int((await self.read_line()).removeprefix("ready "))
        self._peers.append(RawPeer(await connect(self._port), is_client=True))
        return self._peers[-1]

    async def upgrade(self) -> RawPeer:
        """Open a connection to the program."""
        peer = await self.visit()
        await peer.shake_hands()
        return peer

    async def wait_for_client(self) -> RawPeer:
        """Wait until the program connects, as a client."""
        self._peers.append(RawPeer(await accept(self._listener), is_client=False))
        return self._peers[-1]

    async def hang_up(self) -> None:
        for peer in self._peers:
            await peer.drop()


# What brings a program into its state, and returns what to check after Ctrl+C.


async def nothing() -> None:
    """There is nobody to tell."""


async def leave_alone(program: Program) -> Check:
    await program.read_line()
    return nothing


async def ask_by_halves(program: Program) -> Check:
    """Send half of a request; that another one is answered tells that this one is waited for."""
    slow = await program.visit()
    await slow.send(UPGRADE[:-2])
    quick = await program.upgrade()
    await greet(quick)

    async def check() -> None:
        assert await quick.answer_close() == GOING_AWAY
        assert (await slow.read_response()).status == 503

    return check


async def begin_tls(program: Program) -> Check:
    """Begin TLS and say no more; another connection does more."""
    slow = await program.visit()
    await slow.send(b"\x16\x03\x01")
    quick = await program.visit()
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    secure = RawPeer(
        await TLSStream.wrap(
            quick.stream, hostname="localhost", ssl_context=context, standard_compatible=False
        ),
        is_client=True,
    )
    await secure.shake_hands()
    await greet(secure)

    async def check() -> None:
        assert await secure.answer_close() == GOING_AWAY
        await slow.expect_end()

    return check


async def open_20(program: Program) -> Check:
    peers = [await program.upgrade() for _ in range(20)]
    for peer in peers:
        await greet(peer)

    async def check() -> None:
        for peer in peers:
            assert await peer.receive_close() == GOING_AWAY

    return check


async def greet(peer: RawPeer) -> None:
    """Hear from a handler, then wait until its task waits for something."""
    await peer.send(HELLO)
    await peer.expect(HELLO)
    assert await peer.round_trip() == []


async def visit_other_handlers(program: Program) -> Check:
    peers = {word: await program.upgrade() for word in ("sleep", "wait", "close", "send")}
    for word, peer in peers.items():
        await peer.send(Frame(TEXT, word.encode()))
        await peer.expect(Frame(TEXT, word.encode()))
    await peers["close"].expect(close_frame(1000))
    assert await program.read_line() == "full"
    await peers["wait"].round_trip()

    async def check() -> None:
        for word in ("sleep", "wait"):
            assert await peers[word].receive_close() == GOING_AWAY

    return check


async def make_it_compute(program: Program) -> Check:
    peer = await program.upgrade()
    await peer.send(Frame(TEXT))
    assert await program.read_line() == "computing"

    async def check() -> None:
        assert await peer.receive_close() == GOING_AWAY

    return check


async def answer_nothing(program: Program) -> Check:
    peer = await program.wait_for_client()
    await peer.read_head()
    return peer.expect_end


async def answer_no_tls(program: Program) -> Check:
    peer = await program.wait_for_client()
    await peer.expect(b"\x16\x03\x01")
    return nothing


async def send_away(program: Program) -> Check:
    """Let the program come again in an hour, to which it agrees by closing the connection."""
    peer = await program.wait_for_client()
    await peer.read_head()
    await peer.send(
        b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\nContent-Length: 0\r\n\r\n"
    )
    await peer.expect_end()
    return nothing


async def let_it_wait(program: Program) -> RawPeer:
    """Open a connection and wait until the program waits for a message."""
    peer = await program.wait_for_client()
    await peer.shake_hands()
    await peer.expect(Frame(TEXT, b"here"))
    # Only now that its task waits does it answer.
    assert await peer.round_trip() == []
    return peer


async def stay_silent(program: Program) -> Check:
    peer = await let_it_wait(program)

    async def check() -> None:
        assert await peer.receive_close() == GOING_AWAY

    return check


async def say_goodbye(program: Program) -> Check:
    peer = await let_it_wait(program)

    async def check() -> None:
        assert await peer.answer_close() == GOING_AWAY

    return check


async def read_nothing(program: Program) -> Check:
    peer = await program.wait_for_client()
    await peer.shake_hands()
    assert await program.read_line() == "full"
    return nothing


async def answer_no_close(program: Program) -> Check:
    peer = await program.wait_for_client()
    await peer.shake_hands()
    await peer.expect(close_frame(1000))
    return nothing


@dataclass(frozen=True)
class Case:
    """A state to be interrupted in.

    Attributes:
        name: of the state.
        program: a function of `interrupted.py`.
        bring: what brings it into the state.
        signals: how many to send; a second one when what follows the first has been checked.
        argument: of the function; port and certificate are filled in.
        loops: where to run.
        in_group: whether the program has a task group of its own, of which trio makes a group.
    """

    name: str
    program: str
    bring: Callable[[Program], Awaitable[Check]]
    signals: int = 1
    argument: str = ""
    loops: Sequence[str] = LOOPS
    in_group: bool = False


WS = "ws://127.0.0.1:{port}/"
WSS = "wss://127.0.0.1:{port}/"

CASES = [
    Case("server", "serve_echo", leave_alone),
    Case("awaited server", "await_serve", leave_alone),
    Case("request", "serve_echo", ask_by_halves),
    Case("TLS of a server", "serve_tls", begin_tls, argument="{certificate}"),
    Case("20 connections", "serve_echo", open_20),
    # A second one on asyncio raises KeyboardInterrupt wherever the loop is, in anyio too.
    Case("20 connections, twice", "serve_echo", open_20, loops=["trio"], signals=2),
    Case("handlers", "serve_in_other_ways", visit_other_handlers),
    Case("handlers, twice", "serve_in_other_ways", visit_other_handlers, loops=["trio"], signals=2),
    # asyncio cancels the main task and leaves alone what computes, until the second Ctrl+C.
    Case("computing handler", "serve_computing", make_it_compute, loops=["trio"]),
    Case("response", "open_connection", answer_nothing, argument=WS),
    Case("TLS", "open_connection", answer_no_tls, argument=WSS),
    Case("receive", "receive", say_goodbye, argument=WS),
    Case("receive, silent peer", "receive", stay_silent, argument=WS),
    Case("receive, twice", "receive", stay_silent, argument=WS, loops=["trio"], signals=2),
    Case("iteration", "iterate", say_goodbye, argument=WS),
    Case("stalled send", "send", read_nothing, argument=WS),
    Case("stalled send, twice", "send", read_nothing, argument=WS, loops=["trio"], signals=2),
    Case("end of the block", "leave_the_block", answer_no_close, argument=WS),
    Case(
        "end of the block, twice",
        "leave_the_block",
        answer_no_close,
        argument=WS,
        loops=["trio"],
        signals=2,
    ),
    Case("close", "close", answer_no_close, argument=WS),
    Case("aclose", "aclose", answer_no_close, argument=WS),
    Case("task group", "connect_into_a_task_group", say_goodbye, argument=WS, in_group=True),
    Case("reconnect, receive", "reconnect_and_receive", say_goodbye, argument=WS),
    Case("reconnect, response", "reconnect_in_vain", answer_nothing, argument=WS),
    Case("reconnect, delay", "reconnect_in_vain", send_away, argument=WS),
]


@dataclass(frozen=True)
class Outcome:
    """How a program ended.

    Attributes:
        said: its last word.
        complaints: what it wrote to standard error, apart from that.
        problem: what kept this test from bringing it into its state, or to its end.
    """

    said: str = ""
    complaints: str = ""
    problem: str = ""


MATRIX = [(case, loop) for case in CASES for loop in case.loops]


class RunningProcess:
    """A process that runs programs of `interrupted.py` as it is told."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self._process = process
        self._stdin = process.stdin
        self._stdout = BufferedByteReceiveStream(process.stdout)
        self._stderr = BufferedByteReceiveStream(process.stderr)

    @classmethod
    async def start(cls, loop: str) -> RunningProcess:
        # A process started with SIGINT ignored, as shells do for jobs in the background, would
        # hand that on; a handler is not handed on.
        previous = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            command = [sys.executable, "-X", "dev", "-W", "error", "-m", "tests.interrupted", loop]
            return cls(await anyio.open_process(command, cwd=ROOT))
        finally:
            signal.signal(signal.SIGINT, previous)

    async def run(self, *words: str) -> None:
        """Let it run a program."""
        await self._stdin.send(" ".join(words).encode() + b"\n")

    async def read_line(self) -> str:
        return (await self._stdout.receive_until(b"\n", 1000)).decode()

    async def read_complaints(self) -> str:
        """Return what the program that has ended wrote to standard error."""
        return (await self._stderr.receive_until(END_OF_COMPLAINTS.encode(), 1 << 20)).decode()

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    async def wait(self) -> tuple[int, str, str]:
        """Wait for its end; return the status, and what it said to the last."""
        status = await self._process.wait()
        stdout, stderr = [
            b"".join([chunk async for chunk in stream]).decode()
            for stream in (self._stdout, self._stderr)
        ]
        await self._process.aclose()
        return status, stdout, stderr

    async def finish(self) -> tuple[int, str, str]:
        """Let it end when it has run all programs."""
        await self._stdin.aclose()
        return await self.wait()

    async def abort(self) -> str:
        """End it at once, and return where it was."""
        self._process.send_signal(signal.SIGABRT)  # `-X dev` makes it tell
        return (await self.wait())[2]


async def interrupt(case: Case, process: RunningProcess, certificate: Path) -> Outcome:
    """Run a program, bring it into its state, interrupt it, and see what comes of it.

    If it does not get so far, the process is ended.
    """
    with listen() as listener:
        program = Program(process, listener)
        argument = case.argument.format(port=listener.getsockname()[1], certificate=certificate)
        try:
            with anyio.fail_after(LIMIT):
                await process.run(case.program, argument)
                check = await case.bring(program)
                process.interrupt()
                await check()
                if case.signals == 2:
                    process.interrupt()
                said = await process.read_line()
                return Outcome(said, await process.read_complaints())
        except Exception:
            return Outcome(problem=f"{traceback.format_exc()}\n{await process.abort()}")
        finally:
            await program.hang_up()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and its certificate."""
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    trustme.CA().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(path)
    return path


Outcomes = dict[tuple[str, str], Outcome]


@pytest.fixture(scope="module")
def outcomes(certificate: Path) -> Outcomes:
    """Run all programs."""
    found: Outcomes = {}

    async def run(loop: str, cases: list[Case]) -> None:
        process: RunningProcess | None = None
        while cases:
            case = cases.pop()
            process = process or await RunningProcess.start(loop)
            found[case.name, loop] = await interrupt(case, process, certificate)
            if found[case.name, loop].problem:
                process = None
        if process is not None:
            await process.finish()

    async def main() -> None:
        async with anyio.create_task_group() as tasks:
            for loop in LOOPS:
                cases = [case for case in CASES if loop in case.loops]
                for _ in range(PROCESSES):
                    tasks.start_soon(run, loop, cases)

    anyio.run(main, backend="trio")
    return found


@pytest.mark.parametrize(
    ("case", "loop"), [pytest.param(*pair, id=f"{pair[0].name}-{pair[1]}") for pair in MATRIX]
)
def test_ctrl_c_ends_the_program_with_one_keyboard_interrupt(
    case: Case, loop: str, outcomes: Outcomes
) -> None:
    outcome = outcomes[case.name, loop]
    assert not outcome.problem, outcome.problem
    in_group = case.in_group and loop == "trio"
    assert outcome.said == ("interrupted in a group" if in_group else "interrupted")
    assert not outcome.complaints


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_that_nobody_catches_ends_the_process_by_the_signal(loop: str) -> None:
    async def main() -> tuple[int, str, str]:
        process = await RunningProcess.start(loop)
        await process.run("uncaught", "serve_echo")
        assert (await process.read_line()).startswith("ready ")
        process.interrupt()
        with anyio.fail_after(LIMIT):
            return await process.wait()

    status, stdout, stderr = anyio.run(main, backend="trio")
    assert (status, stdout) == (-signal.SIGINT, "")
    assert stderr.splitlines()[-1] == "KeyboardInterrupt"
    assert not [word for word in NOISE if word in stderr], stderr


@pytest.mark.parametrize("loop", LOOPS)
def test_ctrl_c_at_any_moment_ends_the_program_with_one_keyboard_interrupt(loop: str) -> None:
    async def main() -> tuple[int, str, str]:
        process = await RunningProcess.start(loop)
        await process.run("talk")
        with anyio.fail_after(LIMIT):
            return await process.finish()

    assert anyio.run(main, backend="trio") == (0, "interrupted\n" * RUNS, "")
