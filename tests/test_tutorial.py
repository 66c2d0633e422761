"""Run each step of the tutorial, on each backend.

Its programs take no arguments, to be short: here `main` gets a free port, and a backend.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import AbstractContextManager
from urllib.request import urlopen

import anyio
import pytest

from anyws import connect

from .programs import BACKENDS, EXAMPLES, PYTHON, ROOT, finish, run_python, running_python

TUTORIAL = EXAMPLES / "tutorial"

on_backends = pytest.mark.parametrize("backend", BACKENDS)

# A program imports what is beside it when it is run as a file.
_RUN = """
import sys
sys.path.insert(0, sys.argv[1])
import anyio, runpy
main = runpy.run_path(f"{sys.argv[1]}/{sys.argv[2]}")["main"]
anyio.run(main, int(sys.argv[4]) if sys.argv[4].isdigit() else sys.argv[4], backend=sys.argv[3])
"""


def command(name: str, backend: str, argument: str) -> list[str]:
    """Return the arguments of Python that run `main` of a program."""
    return ["-c", _RUN, str(TUTORIAL), name, backend, argument]


def serving(name: str, backend: str) -> AbstractContextManager[tuple[subprocess.Popen[str], str]]:
    """Run a server for a block, which gets the process and the URI."""
    return running_python(*command(name, backend, "0"))


@pytest.mark.parametrize("name", sorted(path.name for path in TUTORIAL.glob("*.*")))
def test_file_of_the_tutorial_is_short_and_in_its_pages(name: str) -> None:
    assert len((TUTORIAL / name).read_text(encoding="utf-8").splitlines()) <= 60
    pages = (ROOT / "docs" / "tutorial").glob("*.rst")
    included = f".. literalinclude:: ../../examples/tutorial/{name}\n"
    assert any(included in page.read_text(encoding="utf-8") for page in pages)


@on_backends
def test_step_1_sends_back_what_it_gets(backend: str) -> None:
    async def main() -> None:
        async with connect(uri) as ws:
            await ws.send("hello")
            assert await ws.receive() == "hello"

    with serving("step1_echo.py", backend) as (_, uri):
        anyio.run(main, backend=backend)


@on_backends
def test_step_2_sends_to_everyone_and_talk_prints_it(backend: str) -> None:
    async def main() -> None:
        async with connect(uri) as ws:
            await ws.send("one")
            assert await ws.receive() == "one"
            assert talk.stdin is not None
            talk.stdin.write("two\n")
            talk.stdin.flush()
            assert await ws.receive() == "two"
            assert talk.stdout is not None
            while talk.stdout.readline() != "two\n":
                pass  # the first one, if it was there in time

    with (
        serving("step2_everyone.py", backend) as (_, uri),
        subprocess.Popen(
            [*PYTHON, *command("talk.py", backend, uri)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as talk,
    ):
        anyio.run(main, backend=backend)
        assert finish(talk) == []


@on_backends
def test_step_3_tells_who_is_there_and_what_was_said(backend: str) -> None:
    async def main() -> None:
        async with connect(f"{uri}?name=Ada") as ada:
            assert await ada.receive_json() == {"lines": []}
            assert await ada.receive_json() == {"names": ["Ada"]}
            await ada.send("hello")
            said = {"lines": [{"name": "Ada", "text": "hello"}]}
            assert await ada.receive_json() == said
            async with connect(f"{uri}?name=Ben") as ben:
                assert await ben.receive_json() == said
                assert await ada.receive_json() == {"names": ["Ada", "Ben"]}
            assert await ada.receive_json() == {"names": ["Ada"]}

    with serving("step3_room.py", backend) as (_, uri):
        anyio.run(main, backend=backend)


@on_backends
def test_step_4_gives_its_page_to_browsers(backend: str) -> None:
    page = (TUTORIAL / "step4_page.html").read_bytes()
    with (
        serving("step4_page.py", backend) as (_, uri),
        urlopen(uri.replace("ws", "http", 1)) as answer,
    ):
        assert answer.read().rstrip() == page.rstrip()


def test_step_5_passes() -> None:
    path = TUTORIAL / "test_room.py"
    lines = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", str(path))
    assert lines[-1].startswith("4 passed in ")


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize(
    ("backend", "number", "code"),
    [("trio", signal.SIGTERM, 1012), ("asyncio", signal.SIGINT, 1001)],
)
def test_step_6_stops_on_a_signal(backend: str, number: signal.Signals, code: int) -> None:
    async def main() -> None:
        async with connect(uri) as ws:
            await ws.receive()
            process.send_signal(number)
            await ws.wait_closed()
            assert ws.close_code == code

    with serving("step6_stop.py", backend) as (process, uri):
        anyio.run(main, backend=backend)
        assert finish(process) == ["stopped"]
