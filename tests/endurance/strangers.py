"""`python -m tests.endurance.strangers`: a crowd that takes up the room of a server.

Some connect and say nothing, some send a byte each half second. Whoever is shown out comes back at
once, until a line comes on standard input; then they stay away, once they have been shown out. They
leave at once when standard input ends. In the end, what they were told is printed. Nothing of the
package is used.
"""

from __future__ import annotations

import argparse
import errno
import heapq
import json
import resource
import selectors
import socket
import sys
import time
from collections import Counter

__all__: list[str] = []

# Seconds between two bytes of one that drips.
_DRIP = 0.5

# The beginning of a request that never ends; and of a first message of TLS, which takes minutes.
_PLAIN = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "
_TLS = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"


class Crowd:
    """The strangers, and what they were told."""

    def __init__(self, port: int, beginning: bytes) -> None:
        self._where = ("127.0.0.1", port)
        self._beginning = beginning
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin, selectors.EVENT_READ)
        self._drips: list[tuple[float, int, socket.socket, int]] = []
        self._dripping: dict[socket.socket, bool] = {}
        self._answered: set[socket.socket] = set()
        self._comes_back = True
        self.told: Counter[str] = Counter()

    def run(self, silent: int, dripping: int) -> None:
        """Come, and come again, until told to stay away and shown out, or told to leave."""
        for number in range(silent + dripping):
            self._come(drips=number >= silent)
        while self._dripping or self._comes_back:
            for key, _ in self._selector.select(self._drip()):
                if isinstance(key.fileobj, socket.socket):
                    self._listen(key.fileobj)
                else:
                    self._comes_back = False
                    self._selector.unregister(key.fileobj)
                    if not sys.stdin.readline():
                        self._leave()
                        break

    def _come(self, *, drips: bool) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        problem = sock.connect_ex(self._where)
        assert problem in (0, errno.EINPROGRESS), problem
        self._dripping[sock] = drips
        self._selector.register(sock, selectors.EVENT_READ)
        if drips:
            heapq.heappush(self._drips, (time.monotonic() + _DRIP, id(sock), sock, 0))

    def _drip(self) -> float | None:
        """Send what is due, and return the seconds until more is."""
        while self._drips:
            due, number, sock, sent = self._drips[0]
            left = due - time.monotonic()
            if left > 0:
                return left
            heapq.heappop(self._drips)
            if sock not in self._dripping:
                continue
            byte = self._beginning[sent : sent + 1] or b"a"
            try:
                sent += sock.send(byte)
            except OSError:
                pass  # not connected yet, or shown out
            heapq.heappush(self._drips, (due + _DRIP, number, sock, sent))
        return None

    def _listen(self, sock: socket.socket) -> None:
        """Take note of what one is told, and of the end."""
        try:
            data = sock.recv(4096)
        except BlockingIOError:
            return
        except OSError as exc:
            data = b""
            self.told[errno.errorcode[exc.errno or 0]] += 1
        if data:
            self.told[data[9:12].decode("ascii") if data[:5] == b"HTTP/" else "an alert"] += 1
            self._answered.add(sock)
            return
        if sock in self._answered:
            self._answered.discard(sock)
        else:
            self.told["nothing"] += 1
        self._selector.unregister(sock)
        sock.close()
        drips = self._dripping.pop(sock)
        if self._comes_back:
            self._come(drips=drips)

    def _leave(self) -> None:
        for sock in self._dripping:
            sock.close()
        self._dripping.clear()


def main() -> None:
    """Do as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.endurance.strangers")
    parser.add_argument("port", type=int)
    parser.add_argument("silent", type=int)
    parser.add_argument("dripping", type=int)
    parser.add_argument("--tls", action="store_true")
    options = parser.parse_args()
    _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    crowd = Crowd(options.port, _TLS if options.tls else _PLAIN)
    crowd.run(options.silent, options.dripping)
    print(json.dumps(crowd.told))


if __name__ == "__main__":
    main()
