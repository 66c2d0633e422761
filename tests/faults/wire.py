"""A wire on which packets are lost, delayed, duplicated and brought out of order, or that is cut.

It is a network device whose far end is this process, in a network namespace of its own, so that it
is nobody else's. Both ends of a connection are in that namespace: whoever connects to `FAR` gets to
a server that listens on `NEAR`, since the wire exchanges the two addresses of each packet. That
leaves its checksums right, which are sums of both.

Needs Linux, `ip` of iproute2, `unshare` of util-linux, and the right to make namespaces and to open
/dev/net/tun, which root has.
"""

from __future__ import annotations

import fcntl
import heapq
import os
import select
import shutil
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from random import Random
from types import TracebackType
from typing import Self

__all__ = ["FAR", "NEAR", "Weather", "Wire", "enter_namespace", "why_no_wire"]

#: Who listens does so on this address,
NEAR = "10.83.0.1"

#: and who connects does so to this one.
FAR = "10.83.0.2"

_NAME = "wire0"

# linux/if_tun.h: the request that attaches to a device, one for packets, without a header.
_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000

_LARGEST_PACKET = 65536

# Where TCP begins if there are no options of IP (RFC 791 §3.1), which nobody sets.
_TCP = 20

# Seconds by which a packet that is brought out of order is late.
_LATE = 0.02

_ENTERED = "ANYWS_IN_NAMESPACE"


def why_no_wire() -> str:
    """Say what is missing for a wire; nothing if all is there."""
    if _ENTERED in os.environ:
        return ""
    if sys.platform != "linux":
        return "there are no network namespaces"
    for program in ("ip", "unshare"):
        if shutil.which(program) is None:
            return f"{program} is not installed"
    attempt = subprocess.run(
        ["unshare", "-rn", "ip", "tuntap", "add", "dev", _NAME, "mode", "tun"],
        capture_output=True,
        text=True,
        check=False,
    )
    return attempt.stderr.strip().splitlines()[-1] if attempt.returncode else ""


def enter_namespace(module: str, arguments: list[str]) -> None:
    """Run a module again in a network namespace, unless this is one already."""
    if _ENTERED in os.environ:
        _ip("link", "set", "lo", "up")
        return
    command = ["unshare", "-rn", sys.executable, "-m", module, *arguments]
    os.execvpe(command[0], command, {**os.environ, _ENTERED: "1"})


@dataclass(frozen=True, slots=True)
class Weather:
    """What happens to packets: how likely, and how many seconds it takes.

    Attributes:
        from_port: of TCP, if it is only to those that come from there.
    """

    lost: float = 0.0
    duplicated: float = 0.0
    late: float = 0.0
    delay: float = 0.0
    is_cut: bool = False
    from_port: int | None = None


_FAIR = Weather()


class Wire:
    """The device, with a thread that passes on its packets; leaving the block removes it.

    Attributes:
        weather: may be set at any time.
        packets: what happened to them.
    """

    def __init__(self, seed: int) -> None:
        self.weather = Weather()
        self.packets: Counter[str] = Counter()
        self._chance = Random(seed)
        self._held: list[tuple[float, int, bytes]] = []
        self._count = 0
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        _ip("tuntap", "add", "dev", _NAME, "mode", "tun")
        self._device = os.open("/dev/net/tun", os.O_RDWR)
        request = struct.pack("16sH14x", _NAME.encode(), _IFF_TUN | _IFF_NO_PI)
        fcntl.ioctl(self._device, _TUNSETIFF, request)
        _ip("addr", "add", f"{NEAR}/24", "dev", _NAME)
        self.plug_in()
        self._thread.start()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        os.close(self._end)
        self._thread.join()
        os.close(self._ended)
        os.close(self._device)
        _ip("link", "delete", _NAME)

    def unplug(self) -> None:
        """Take the interface down, as the system does when a cable is pulled."""
        _ip("link", "set", _NAME, "down")

    def plug_in(self) -> None:
        _ip("link", "set", _NAME, "up")

    # In the thread

    def _run(self) -> None:
        while True:
            wait = max(0.0, self._held[0][0] - time.monotonic()) if self._held else None
            ready, _, _ = select.select([self._device, self._ended], [], [], wait)
            if self._ended in ready:
                return
            if self._device in ready:
                self._take(os.read(self._device, _LARGEST_PACKET))
            while self._held and self._held[0][0] <= time.monotonic():
                self._deliver(heapq.heappop(self._held)[2])

    def _take(self, packet: bytes) -> None:
        weather, chance = self.weather, self._chance
        if packet[0] >> 4 != 4:
            return  # what IPv6 says to whoever may be there
        packet = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
        port = int.from_bytes(packet[_TCP : _TCP + 2], "big")
        if weather.from_port not in (None, port):
            weather = _FAIR
        if weather.is_cut or chance.random() < weather.lost:
            self.packets["lost"] += 1
            return
        delay = weather.delay
        if chance.random() < weather.late:
            self.packets["late"] += 1
            delay += _LATE
        self._hold(packet, delay)
        if chance.random() < weather.duplicated:
            self.packets["duplicated"] += 1
            self._hold(packet, delay)

    def _hold(self, packet: bytes, delay: float) -> None:
        self._count += 1
        heapq.heappush(self._held, (time.monotonic() + delay, self._count, packet))

    def _deliver(self, packet: bytes) -> None:
        try:
            os.write(self._device, packet)
        except OSError:
            self.packets["lost"] += 1  # the interface is down
        else:
            self.packets["passed"] += 1


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
