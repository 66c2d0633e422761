"""The protocol without I/O, on blocking sockets and threads: no event loop anywhere."""

import os
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from anyws import parse_uri, sansio


def events(sock: socket.socket, protocol: sansio.Protocol, data: bytes) -> Iterator[sansio.Event]:
    """Yield what the peer sends, up to its Close frame or, without one, its end."""
    yield from protocol.receive_data(data)
    while protocol.reading is not sansio.Flow.CLOSED:
        data = b"" if protocol.has_work else sock.recv(65536)
        if not (data or protocol.has_work):
            return
        yield from protocol.receive_data(data)


def answer(sock: socket.socket) -> None:
    """Do the server's part of a connection: answer text in capitals until the peer closes."""
    http = sansio.ServerHandshake()
    while (request := http.receive_data(sock.recv(65536))) is None:
        pass
    checked = sansio.check_request(request)
    if not isinstance(checked, tuple):
        sock.sendall(http.send_response(checked))  # a refusal
        return
    sock.sendall(http.send_response(sansio.accept_request(checked[0], None, [], "sockets")))
    protocol = sansio.Protocol(is_client=False)
    for event in events(sock, protocol, http.trailing_data()):
        match event:
            case str():
                sock.sendall(b"".join(protocol.send_message(event.upper().encode(), text=True)))
            case sansio.Ping(payload):
                sock.sendall(protocol.send_pong(payload))
            case sansio.CloseReceived(close):
                sock.sendall(protocol.send_close(close.code))
            case sansio.Violation(code, reason) | sansio.TooBig(code, reason):
                sock.sendall(protocol.send_close(code, reason))
                break


def talk(sock: socket.socket) -> None:
    """Do the client's part: send one message and the Close frame, and print what comes."""
    http, key = sansio.ClientHandshake(), sansio.make_key(os.urandom(16))
    sock.sendall(http.send_request(sansio.build_request(parse_uri("ws://localhost/"), key)))
    while (response := http.receive_data(sock.recv(65536))) is None:
        pass
    sansio.check_response(response, key, [])
    protocol = sansio.Protocol(is_client=True)
    sock.sendall(b"".join(protocol.send_message(b"hello", text=True)) + protocol.send_close(1000))
    print(*events(sock, protocol, http.trailing_data()), sep="\n")


if __name__ == "__main__":
    ours, theirs = socket.socketpair()
    with ours, theirs, ThreadPoolExecutor() as threads:
        done = threads.submit(answer, theirs)
        talk(ours)
        done.result()
