"""Compression with every combination of parameters, against `websockets` and `aiohttp`.

`deflate.py` runs the same table with more messages, and with `ws` beside these two.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal

import anyws
from anyws._core.events import Event
from anyws._core.extensions import new_codecs
from anyws._core.protocol import Protocol

from . import deflate
from .deflate_cells import Ours, find_problems, run_cell
from .deflate_peers import DeflatePeer, portal_peers
from .deflate_rows import (
    CANNOT,
    CELLS,
    NOTHING,
    REFUSED,
    ROWS,
    Column,
    Expected,
    Parameters,
    Row,
)
from .deflate_traffic import Mismatch, Report, make_traffic, send_and_compare
from .node_peer import NodeNotFound, NodePeer

TRAFFIC = make_traffic(seed=7692, n=10)

POSSIBLE = [
    pytest.param(row, column, id=f"{column.name.lower()}-{row.name}")
    for row, column in CELLS
    if column.library != "ws" and row.expects(column) is not CANNOT
]

S9 = Parameters(server_max_window_bits=9)
ALL_COMPRESSED = Counter(sent=20, received=20)


@pytest.fixture(scope="module")
def peers() -> Iterator[Mapping[str, DeflatePeer]]:
    """Return the libraries by name, in a thread of their own."""
    with start_blocking_portal("asyncio") as portal:
        yield portal_peers(portal)


@pytest.mark.anyio
@pytest.mark.parametrize(("row", "column"), POSSIBLE)
async def test_cell_is_as_expected(
    peers: Mapping[str, DeflatePeer], row: Row, column: Column
) -> None:
    outcome = await run_cell(row, column, peers[column.library], TRAFFIC)
    assert outcome.problems == ()


# Whatever the table could miss


PROBLEMS: dict[str, tuple[Expected, Ours, Report, str]] = {
    "negotiated-less": (
        S9,
        Ours(Parameters(), compressed=ALL_COMPRESSED),
        Report(S9.in_effect(), None),
        "negotiated was deflate, expected S9",
    ),
    "negotiated-nothing": (
        S9,
        Ours(NOTHING, compressed=ALL_COMPRESSED),
        Report(S9.in_effect(), None),
        "negotiated was Special.NOTHING, expected S9",
    ),
    "peer-keeps-to-something-else": (
        S9,
        Ours(S9, compressed=ALL_COMPRESSED),
        Report({"server_max_window_bits": 15}, None),
        "the peer keeps to server_max_window_bits = 15, expected 9",
    ),
    "peer-does-not-compress": (
        Parameters(),
        Ours(Parameters(), compressed=ALL_COMPRESSED),
        Report(None, None),
        f"the peer keeps to None, expected {Parameters().in_effect()}",
    ),
    "peer-compresses": (
        NOTHING,
        Ours(NOTHING),
        Report({"server_max_window_bits": 15}, None),
        "the peer keeps to {'server_max_window_bits': 15}, expected None",
    ),
    "nothing-was-compressed": (
        S9,
        Ours(S9, compressed=Counter(received=20)),
        Report(S9.in_effect(), None),
        "0 of the messages sent were compressed, expected 5 or more",
    ),
    "message-compressed-for-no-reason": (
        NOTHING,
        Ours(NOTHING, compressed=Counter(sent=1)),
        Report(None, None),
        "1 of the messages sent were compressed, expected none",
    ),
    "our-problem": (S9, Ours(S9, "broke"), Report(S9.in_effect(), None), "our side: broke"),
    "problem-of-the-peer": (S9, Ours(S9), Report(S9.in_effect(), "broke"), "the peer: broke"),
    "not-refused": (
        REFUSED,
        Ours(S9, compressed=ALL_COMPRESSED),
        Report(S9.in_effect(), None),
        "expected was that the peer refuses, negotiated was S9",
    ),
}


@pytest.mark.parametrize(
    ("expected", "ours", "theirs", "problem"), PROBLEMS.values(), ids=list(PROBLEMS)
)
def test_problem_is_found(expected: Expected, ours: Ours, theirs: Report, problem: str) -> None:
    assert list(find_problems(expected, ours, theirs, TRAFFIC)) == [problem]


def test_no_problem_is_found_where_there_is_none() -> None:
    ours = Ours(S9, compressed=ALL_COMPRESSED)
    assert not list(find_problems(S9, ours, Report(S9.in_effect(), None), TRAFFIC))
    refused = Report(None, "not for me", refused=True)
    assert not list(find_problems(REFUSED, Ours(S9, "left"), refused, TRAFFIC))


@pytest.mark.anyio
@pytest.mark.parametrize("received", ["abd", b"abc", ""])
async def test_message_that_comes_back_different_is_noticed(received: str | bytes) -> None:
    async def send(message: str | bytes) -> None:
        pass

    async def receive() -> str | bytes:
        return received

    with pytest.RaisesGroup(pytest.RaisesExc(Mismatch, match="message 0: sent 3 of 'abc'")):
        await send_and_compare(["abc"], send, receive)


def test_rows_have_names_of_their_own() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_messages_are_the_same_for_the_same_seed_only() -> None:
    assert make_traffic(7692, 10) == TRAFFIC
    assert make_traffic(7693, 10) != TRAFFIC
    assert TRAFFIC.ours != TRAFFIC.theirs


def test_messages_are_of_both_types_and_of_all_sizes() -> None:
    messages = make_traffic(seed=7692, n=1_000).ours
    assert {type(message) for message in messages} == {str, bytes}
    sizes = [len(message) for message in messages]
    assert min(sizes) == 0
    assert 50_000 < max(sizes) <= 100_000
    assert sorted(sizes)[500] < 300


def test_without_node_the_command_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NodeNotFound, match="node was not found on PATH"):
        NodePeer(tmp_path, tmp_path, TRAFFIC)
    monkeypatch.setattr(sys, "argv", ["deflate", "--messages", "1"])
    assert deflate.main() == 3
    assert "node was not found on PATH" in capsys.readouterr().err


# What the table came upon


@pytest.mark.parametrize("binary", [b"abc " * 20, bytes(range(200))], ids=["fixed", "dynamic"])
def test_text_is_not_lost_behind_a_binary_message_that_came_in_two_parts(binary: bytes) -> None:
    """The first part decompresses to nothing yet, and what is held of it has to be given up."""
    text = "text " * 30
    frames = _compressed_frames(binary, text)
    for at in range(1, len(frames[0])):
        receiver = _new_protocol(is_client=True)
        events: list[Event] = []
        for part in (frames[0][:at], frames[0][at:], frames[1][:-1], frames[1][-1:]):
            events += receiver.receive_data(part)
        assert events == [binary, text], f"the first message came in parts of {at} and the rest"


def _compressed_frames(binary: bytes, text: str) -> list[bytes]:
    sender = _new_protocol(is_client=False)
    return [
        b"".join(sender.send_message(binary, text=False, compress=True)),
        b"".join(sender.send_message(text.encode(), text=True, compress=True)),
    ]


def _new_protocol(*, is_client: bool) -> Protocol:
    extension = anyws.Deflate()
    agreed = [(extension, anyws.NamedExtension(extension.name))]
    return Protocol(is_client=is_client, extensions=new_codecs(agreed, is_client=is_client))
