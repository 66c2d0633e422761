"""Run every program of examples/, and that of the README, as a user would: by itself.

Each runs on every backend that it offers.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import runpy
import signal
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from anyws import HandshakeRejected, Retry, connect, reconnect, wrap_server
from anyws.testing import TEXT, Frame, RawPeer, memory_pair

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
BACKENDS = ("trio", "asyncio")
# Seconds until a program counts as stuck: far above what any takes on a busy machine.
TIMEOUT = 60.0
# Warnings are errors in the examples too; unbuffered, so that a line can be waited for.
PYTHON = (sys.executable, "-W", "error", "-u")

on_backends = pytest.mark.parametrize("backend", BACKENDS)
# A signal on Windows ends the process there and then, so its farewell cannot be seen.
needs_signals = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")


def run(name: str, *arguments: str) -> list[str]:
    """Run an example to its end and return the lines that it printed."""
    return run_python(str(EXAMPLES / name), *arguments)


def run_python(*arguments: str) -> list[str]:
    done = subprocess.run(
        [*PYTHON, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=TIMEOUT,
        env=environment(),
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@contextmanager
def running(name: str, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start an example that serves; yield its process and the URI that it printed."""
    # A process started with SIGINT ignored, as shells do for jobs in the background, would
    # hand that on; a handler is not handed on.
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen(
            [*PYTHON, str(EXAMPLES / name), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment(),
        )
    finally:
        signal.signal(signal.SIGINT, previous)
    with process:
        try:
            assert process.stdout is not None
            first_line = process.stdout.readline()
            assert first_line.startswith("serving on ws://"), first_line + stderr_of(process)
            yield process, first_line.removeprefix("serving on ").strip()
        finally:
            process.kill()


def finish(process: subprocess.Popen[str]) -> list[str]:
    """Wait for a program, check that it ended well, and return what it printed last."""
    stdout, stderr = process.communicate(timeout=TIMEOUT)
    assert (process.returncode, stderr) == (0, "")
    return stdout.splitlines()


def stderr_of(process: subprocess.Popen[str]) -> str:
    """Return what a program that failed to start had to say."""
    process.kill()
    return process.communicate(timeout=TIMEOUT)[1]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONIOENCODING": "utf-8"}


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.name)
def test_example_has_at_most_64_lines_and_a_test(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 64
    assert f'"{path.name}"' in Path(__file__).read_text(encoding="utf-8")


@on_backends
def test_program_in_the_readme_prints_its_echo(backend: str) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    program, _, _ = readme.partition("```python\n")[2].partition("```")
    alternative = 'anyio.run(main, backend="trio")'
    assert alternative in program
    if backend == "trio":
        program = program.replace("anyio.run(main)  # or: ", "")
    assert run_python("-c", program) == ["hello"]


@on_backends
def test_demo_serves_three_clients_and_stops(backend: str) -> None:
    lines = run("demo.py", "--backend", backend)
    assert lines[0].startswith("serving on ws://")
    assert lines[-1] == "stopped"
    for name in ("ada", "ben", "cleo"):
        assert f"{name}: 'goodbye' was answered with 'GOODBYE'" in lines
        assert f"{name}: closed with code 1000" in lines
    assert "ben: b'bytes from ben' was answered with b'neb morf setyb'" in lines


@on_backends
def test_reconnecting_feed_misses_nothing(backend: str) -> None:
    lines = run("reconnecting_feed.py", "--backend", backend)
    assert lines[3] == lines[7] == "the server went away with code 1012"
    assert lines[:3] + lines[4:7] + lines[8:] == [f"event {number}" for number in range(1, 9)]


@on_backends
def test_routing_finds_each_handler_by_its_path(backend: str) -> None:
    assert run("routing.py", "--backend", backend) == [
        "this way: /chat/Tea%20&%20Cake",
        "in Tea & Cake: 'hello'",
        "42",
        "404 there is nothing at /double/trouble",
    ]


@on_backends
def test_slow_client_misses_what_is_counted_and_the_quick_one_nothing(backend: str) -> None:
    lines = run("broadcast_slow_clients.py", "--backend", backend)
    assert {"quick got 200 of 200", "/quick: 0 dropped"} < set(lines)
    [got] = [line for line in lines if line.startswith("slow got ")]
    [dropped] = [line for line in lines if line.startswith("/slow: ")]
    missed = int(dropped.split()[1])
    assert missed > 0
    assert got == f"slow got {200 - missed} of 200"


@on_backends
def test_custom_extension_is_agreed_on_and_passes_messages(backend: str) -> None:
    assert run("custom_extension.py", "--backend", backend) == [
        "Hello, 'Ada'! x-checksum permessage-deflate"
    ]


AUTHENTICATED = """\
header: hello, ada
cookie: hello, ada
subprotocol: hello, ada
password: hello, ben
old token: 401 this token is not known, or no longer
nothing: 401 a user name and a password are needed (Basic authentication)"""


@on_backends
def test_authentication_knows_who_connects(backend: str) -> None:
    assert run("authentication.py", "--backend", backend) == AUTHENTICATED.splitlines()


@on_backends
def test_proxy_lets_through_who_has_the_password(backend: str) -> None:
    greeting, refusal = run("proxy.py", "--backend", backend)
    assert greeting == "hello through the proxy"
    assert refusal.startswith("authentication failed, via proxy http://127.0.0.1:")
    assert "HTTP 407" in refusal


@on_backends
def test_outbox_keeps_messages_until_they_are_stored(backend: str) -> None:
    lines = run("outbox.py", "--backend", backend)
    assert lines[2] == "closed with 1012"
    assert lines[:2] + lines[3:] == [f"stored message {number}" for number in range(4)]


@on_backends
def test_tls_lets_in_whom_it_knows(backend: str) -> None:
    greeting, pinned, stranger, unknown = run("tls.py", "--backend", backend)
    assert (greeting, pinned) == ("hello, ada@example.org", "pinned: True")
    assert stranger.startswith("HandshakeError: the TLS handshake with localhost failed: ")
    assert unknown.startswith("InvalidHandshake: ")


@pytest.mark.anyio
async def test_custom_extension_refuses_a_message_with_another_checksum() -> None:
    namespace = runpy.run_path(str(EXAMPLES / "custom_extension.py"))
    ours, theirs = memory_pair()
    async with anyio.create_task_group() as tasks:
        peer = RawPeer(theirs, is_client=True)
        tasks.start_soon(peer.shake_hands, "Sec-WebSocket-Extensions: x-checksum")
        async with wrap_server(ours, extensions=[namespace["Checksum"]()]) as ws:
            await peer.ready.wait()
            await peer.send(Frame(TEXT, b"Ada" + zlib.crc32(b"Ada").to_bytes(4, "big")))
            assert await ws.receive() == "Ada"
            await peer.send(Frame(TEXT, b"Ada\x00\x00\x00\x00"))
            expected = zlib.crc32(b"Ada").to_bytes(4, "big").hex()
            assert await peer.answer_close() == (
                1007,
                f"checksum is 00000000, expected {expected}",
            )
            await peer.drop()


@on_backends
def test_streaming_file_arrives_whole(backend: str, tmp_path: Path) -> None:
    content = bytes(range(256)) * 12_345
    path = tmp_path / "three megabytes"
    path.write_bytes(content)
    told = f"{len(content)} bytes, SHA-256 {hashlib.sha256(content).hexdigest()}"
    assert run("streaming_file.py", "--backend", backend, str(path)) == [
        f"sent     {told}",
        f"received {told}",
    ]


@on_backends
def test_tcp_tunnel_passes_bytes_both_ways(backend: str) -> None:
    lines = run("tcp_tunnel.py", "--backend", backend)
    assert lines == ["hello through the tunnel"]


def test_asyncio_program_gets_the_results_of_its_jobs() -> None:
    lines = []
    for name, number in itertools.product(("ada", "ben", "cleo"), range(3)):
        digest = hashlib.sha256(f"job {number} of {name}".encode()).hexdigest()
        lines.append(f"{name}, job {number}: {digest:.16}")
    assert sorted(run("asyncio_program.py")) == lines


def test_sansio_sockets_talk_without_an_event_loop() -> None:
    close = "CloseReceived(close=CloseFrame(code=1000, reason=''))"
    assert run("sansio_sockets.py") == ["HELLO", close]


@on_backends
def test_echo_client_prints_what_echo_server_sends_back(backend: str) -> None:
    other = BACKENDS[1 - BACKENDS.index(backend)]
    with running("echo_server.py", "--port", "0", "--backend", backend) as (_, uri):
        for client in (backend, other):
            assert run("echo_client.py", "--backend", client, uri, "one", "zwölf") == [
                "one",
                "zwölf",
            ]


@on_backends
def test_json_log_tells_of_the_end_of_the_connection(backend: str) -> None:
    answer, stats, line = run("json_log.py", "--backend", backend)
    assert answer == "5"
    assert json.loads(stats)["sent_bytes"] == 2 + 4 + len("as many words as these")
    record = json.loads(line)
    assert (record["level"], record["service"]) == ("INFO", "words")
    assert record["message"].startswith(f"connection {record['connection_id']} with ")
    assert type(record["remote_address"][1]) is int


@needs_signals
@on_backends
def test_echo_server_stops_on_ctrl_c(backend: str) -> None:
    with running("echo_server.py", "--port", "0", "--backend", backend) as (process, _):
        process.send_signal(signal.SIGINT)
        assert finish(process) == []


@on_backends
def test_echo_client_names_the_uri_that_refused(backend: str) -> None:
    # Nothing can listen on port 0, and nothing can take it between two runs.
    uri = "ws://127.0.0.1:0/"
    done = subprocess.run(
        [*PYTHON, str(EXAMPLES / "echo_client.py"), "--backend", backend, uri, "hello"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.startswith(f"{uri}: ")
    assert "Traceback" not in done.stderr


@needs_signals
@pytest.mark.anyio
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
async def test_nursery_server_answers_ticks_and_stops_on_a_signal(number: signal.Signals) -> None:
    with running("nursery_server.py", "--port", "0") as (process, uri):
        async with connect(uri) as ws:
            await ws.send("hello")
            assert {await ws.receive(), await ws.receive()} == {"tick 0", "you said 'hello'"}
            process.send_signal(number)
            async for _ in ws:
                pass  # a tick that was already on its way
            assert ws.close_code == 1001
        assert finish(process) == [f"stopping on {number.name}", "stopped"]


@needs_signals
@pytest.mark.anyio
@on_backends
async def test_live_counter_counts_and_notices_who_leaves(backend: str) -> None:
    with running("live_counter.py", "--port", "0", "--backend", backend) as (process, uri):
        async with connect(uri) as first:
            assert await first.receive() == "1 here"
            async with connect(uri) as second:
                assert await second.receive() == "2 here"
                assert await first.receive() == "2 here"
                await second.send("nobody asked")
            assert await first.receive() == "1 here"
        process.send_signal(signal.SIGINT)
        lines = finish(process)
        assert lines[0] == "one left: closed by the peer: sent 1000, received 1000"


@needs_signals
@pytest.mark.anyio
@on_backends
@pytest.mark.parametrize(
    ("number", "code", "lines"),
    [
        (signal.SIGTERM, 1012, ["draining 1 connections", "stopped"]),
        (signal.SIGINT, 1001, ["stopped"]),
    ],
    ids=["drain", "stop"],
)
async def test_graceful_shutdown_says_goodbye(
    backend: str, number: signal.Signals, code: int, lines: list[str]
) -> None:
    arguments = ("--port", "0", "--over", "0.05", "--backend", backend)
    with running("graceful_shutdown.py", *arguments) as (process, uri):
        async with connect(uri) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"
            process.send_signal(number)
            await ws.wait_closed()
            assert ws.close_code == code
        assert finish(process) == lines


@needs_signals
@pytest.mark.anyio
@on_backends
async def test_deployed_server_drains_and_ends(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PORT", "0")
    monkeypatch.setenv("DRAIN_SECONDS", "0.05")
    with running("deployed_server.py", "--backend", backend) as (process, uri):
        async with connect(uri) as ws:
            with pytest.raises(HandshakeRejected) as caught:
                await connect(f"{uri}healthz").__aenter__()
            assert caught.value.response.status_code == 200
            process.send_signal(signal.SIGTERM)
            await ws.wait_closed()
            assert ws.close_code == 1012
        stdout, stderr = process.communicate(timeout=TIMEOUT)
        assert (process.returncode, stdout) == (0, "stopped\n")
        assert "closed by this side: sent 1012" in stderr


@needs_signals
@pytest.mark.anyio
@on_backends
async def test_several_workers_are_replaced_and_their_clients_come_back(backend: str) -> None:
    arguments = ("--port", "0", "--backend", backend)
    with running("several_workers.py", *arguments) as (process, uri):
        async with reconnect(uri, retry=Retry(initial_delay=0)) as attempts:
            ws = await anext(attempts)
            await ws.send("hello")
            first = await ws.receive_text()
            assert first.startswith("'hello' from ")
            process.send_signal(signal.SIGHUP)
            await ws.wait_closed()
            assert ws.close_code == 1012
            assert process.stdout is not None
            assert await to_thread.run_sync(process.stdout.readline) == "replaced all workers\n"
            ws = await anext(attempts)
            await ws.send("hello")
            assert await ws.receive() != first
        process.send_signal(signal.SIGTERM)
        assert finish(process) == []


@pytest.mark.parametrize(
    ("name", "passed"), [("testing_a_handler.py", 3), ("testing_with_a_raw_peer.py", 2)]
)
def test_tests_among_the_examples_pass(name: str, passed: int) -> None:
    lines = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(EXAMPLES / name))
    assert lines[-1].startswith(f"{passed} passed in ")
