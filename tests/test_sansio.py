"""`anyws.sansio` as somebody uses it who brings sockets and threads, against another library."""

from __future__ import annotations

import os
import runpy
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import pytest
from websockets.exceptions import ConnectionClosed, ConnectionClosedOK
from websockets.sync.client import connect
from websockets.sync.server import ServerConnection, serve

from anyws import Deflate, Headers, Request, parse_uri, sansio

EXAMPLE: Final = Path(__file__).parents[1] / "examples" / "sansio_sockets.py"

# Seconds until the other side counts as stuck.
TIMEOUT: Final = 30


@pytest.fixture
def answered() -> Iterator[socket.socket]:
    """A socket whose other end is answered by the example's server, in a thread."""
    answer: Callable[[socket.socket], None] = runpy.run_path(str(EXAMPLE))["answer"]
    ours, theirs = socket.socketpair()
    ours.settimeout(TIMEOUT)
    theirs.settimeout(TIMEOUT)

    def answer_and_close() -> None:
        with theirs:
            answer(theirs)

    with ours, ThreadPoolExecutor(1) as threads, theirs:
        done = threads.submit(answer_and_close)
        yield ours
        done.result(TIMEOUT)


def test_server_answers_the_client_of_another_library(answered: socket.socket) -> None:
    with connect("ws://localhost/", sock=answered, close_timeout=TIMEOUT, compression=None) as ws:
        ws.send("grün")
        assert ws.recv() == "GRÜN"
        assert ws.ping(b"there?").wait(TIMEOUT)
        ws.send(["in ", "pieces"])
        assert ws.recv() == "IN PIECES"
    with pytest.raises(ConnectionClosedOK) as caught:
        ws.recv()
    assert caught.value.rcvd is not None
    assert caught.value.rcvd.code == 1000


def test_server_says_what_broke_the_protocol(answered: socket.socket) -> None:
    with connect("ws://localhost/", sock=answered, close_timeout=TIMEOUT, compression=None) as ws:
        ws.send(b"\xff" * 3, text=True)
        with pytest.raises(ConnectionClosed) as caught:
            ws.recv()
        assert caught.value.rcvd is not None
        assert caught.value.rcvd.code == 1007


def test_server_refuses_what_is_no_websocket(answered: socket.socket) -> None:
    answered.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answered.recv(65536).startswith(b"HTTP/1.1 426 ")


def test_client_talks_with_the_server_of_another_library_compressed() -> None:
    def echo(ws: ServerConnection) -> None:
        for message in ws:
            ws.send(message)

    with serve(echo, "localhost", 0) as server, ThreadPoolExecutor(1) as threads:
        done = threads.submit(server.serve_forever)
        address = server.socket.getsockname()
        with socket.create_connection(address[:2], timeout=TIMEOUT) as sock:
            assert exchange(sock, b"over and over and " * 1000) == "over and over and " * 1000
        server.shutdown()
        done.result(TIMEOUT)


def exchange(sock: socket.socket, message: bytes) -> object:
    """Shake hands with compression, send a text, close, and return what was answered."""
    http, key = sansio.ClientHandshake(), sansio.make_key(os.urandom(16))
    deflate = Deflate()
    request = sansio.build_request(parse_uri("ws://localhost/"), key, extensions=[deflate])
    sock.sendall(http.send_request(request))
    while (response := http.receive_data(sock.recv(65536))) is None:
        pass
    _, agreed = sansio.check_response(response, key, [], [deflate])
    assert agreed
    protocol = sansio.Protocol(is_client=True, extensions=sansio.new_codecs(agreed, is_client=True))
    frame = b"".join(protocol.send_message(message, text=True))
    assert len(frame) < len(message)
    sock.sendall(frame)
    events: list[sansio.Event] = []
    data = http.trailing_data()
    while protocol.reading is not sansio.Flow.CLOSED:
        new = protocol.receive_data(data)
        if new and protocol.writing is not sansio.Flow.CLOSED:
            sock.sendall(protocol.send_close(1000))
        events += new
        data = b"" if protocol.has_work else sock.recv(65536)
    answer, close = events
    assert isinstance(close, sansio.CloseReceived)
    assert close.close.code == 1000
    return answer


def test_server_chooses_a_subprotocol_and_an_extension() -> None:
    client, server = sansio.ClientHandshake(), sansio.ServerHandshake()
    key, deflate = sansio.make_key(bytes(16)), Deflate()
    sent = client.send_request(
        sansio.build_request(
            parse_uri("ws://localhost/"), key, subprotocols=["b", "a"], extensions=[deflate]
        )
    )
    request = server.receive_data(sent)
    assert request is not None
    assert sansio.check_host(request) is sansio.check_target(request) is None
    checked = sansio.check_request(request)
    assert isinstance(checked, tuple)
    theirs, subprotocols, extensions = checked
    chosen = sansio.select_extensions([deflate], extensions)
    response = sansio.accept_request(
        theirs,
        sansio.select_subprotocol(["a", "b"], subprotocols),
        [named for _, named in chosen],
        None,
    )
    received = client.receive_data(server.send_response(response))
    assert received is not None
    subprotocol, agreed = sansio.check_response(received, key, ["b", "a"], [deflate])
    assert (subprotocol, [extension for extension, _ in agreed]) == ("a", [deflate])


def test_request_that_cannot_be_read_says_how_to_refuse_it() -> None:
    server = sansio.ServerHandshake()
    with pytest.raises(sansio.BadRequest) as caught:
        server.receive_data(b"nonsense\r\n\r\n")
    answer = server.send_response(sansio.refuse(caught.value.status_code, "what?\n"))
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_target_and_host_are_checked_for_requests_of_any_kind() -> None:
    refused = sansio.check_target(Request("*", Headers({"Host": "localhost"})))
    assert refused is not None
    assert refused.status_code == 400
    refused = sansio.check_host(Request("/", Headers()))
    assert refused is not None
    assert refused.status_code == 400
