"""What may come of a lifetime, by RFC 6455 and by what the calls promise: an independent model.

It sees the bytes that each end receives, and what the applications called and got. Frames are
read by the strict reader of `anyws.testing`, and inflated here; nothing is asked of the package.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from anyws.testing import CLOSE, CONTINUATION, PING, PONG, TEXT, Frame, FrameReader

from .script import SideName

__all__ = ["Message", "Reading", "Report", "Send", "Way", "check_sends"]

Message = str | bytes
#: Takes what was violated.
Report = Callable[[str], None]

_LABEL = re.compile(r'"?([cs]\d+):')


@dataclass(slots=True)
class Send:
    """A message that an application sends, or tried to.

    Attributes:
        label: what it begins with, so that it is known when it arrives; not if it is empty.
        task: which one sends it.
        message: as it has to arrive.
        called: when the call began, in steps of the lifetime.
        ended: when it ended; -1 before that.
        was_sent: whether the call returned: then it is sent, and otherwise it is not.
    """

    label: str
    task: int
    message: Message
    called: int
    ended: int = -1
    was_sent: bool = False


class Way:
    """What one side sends the other, frame by frame, as far as it has arrived.

    Attributes:
        messages: those that are whole.
        frames: in how many each of them came.
        close_code: of the Close frame; 1005 if it had none, None if there was no frame.
        pings, pongs: their data.
        has_closed: whether there was a Close frame.
    """

    def __init__(self, sender: SideName, has_deflate: bool, report: Report):
        self.sender = sender
        self.messages: list[Message] = []
        self.frames: list[int] = []
        self.close_code: int | None = None
        self.pings: list[bytes] = []
        self.pongs: list[bytes] = []
        self._report = report
        self._reader = FrameReader(masked=sender == "client", reserved=4 if has_deflate else 0)
        # One for all messages, whether or not each is compressed by itself.
        self._inflate = zlib.decompressobj(-15)
        self._head: bytearray | None = bytearray()
        self._has_ended = False
        self._parts: list[bytes] = []
        self._first: Frame | None = None

    def take(self, data: bytes) -> None:
        """Take bytes that arrived, or are left over on the wire."""
        if self._has_ended:
            return
        if self._head is not None:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            # After another answer than 101 there are no frames.
            self._has_ended = self._head.startswith(b"HTTP/") and b" 101 " not in self._head[:16]
            data, self._head = bytes(self._head[end + 4 :]), None
        if self._has_ended:
            return
        try:
            for frame in self._reader.feed(data):
                self._take(frame)
        except (AssertionError, UnicodeDecodeError, zlib.error) as exc:
            self._has_ended = True
            self._report(f"the {self.sender} sent what it must not: {exc}")

    @property
    def is_torn(self) -> bool:
        """Whether the bytes end inside a frame, or inside a message."""
        return bool(self._reader.begun) or self._first is not None

    def _take(self, frame: Frame) -> None:
        if frame.opcode == PING:
            self.pings.append(frame.payload)
        elif frame.opcode == PONG:
            self.pongs.append(frame.payload)
        elif frame.opcode == CLOSE:
            self.close_code = int.from_bytes(frame.payload[:2], "big") if frame.payload else 1005
        else:
            if frame.opcode != CONTINUATION:
                self._first = frame
            self._parts.append(frame.payload)
            if frame.fin:
                self._end_message()

    def _end_message(self) -> None:
        assert self._first is not None
        payload = b"".join(self._parts)
        if self._first.reserved:
            payload = self._inflate.decompress(payload + b"\x00\x00\xff\xff")
        self.messages.append(payload.decode() if self._first.opcode == TEXT else payload)
        self.frames.append(len(self._parts))
        self._parts.clear()
        self._first = None


class Reading:
    """What an application has received of what arrived: in order, and nothing left out.

    Where a message may have been dropped, as documented, there are several places at which the
    application may be.

    Attributes:
        at: how many messages may be behind it.
        gave_up: whether this side closed, so that the rest may be dropped.
    """

    def __init__(self, way: Way, report: Report) -> None:
        self.at = {0}
        self.gave_up = False
        self._way = way
        self._report = report
        self._pieces: list[Message] = []
        self._left: list[tuple[set[int], Message]] = []  # messages of which a part was read

    def take(self, message: Message) -> None:
        """The application received a message."""
        arrived = self._way.messages
        at = {i + 1 for i in self.at if i < len(arrived) and arrived[i] == message}
        if not at:
            expected = [_shown(arrived[i]) if i < len(arrived) else "nothing" for i in self.at]
            self._report(
                f"{self._reader} received {_shown(message)}, expected {' or '.join(expected)}"
            )
            at = {max(self.at)}
        self.at = at

    def skip(self) -> None:
        """A message may have been dropped."""
        self.at = self.at | {i + 1 for i in self.at}

    def skip_all(self) -> None:
        """What has arrived may have been dropped, and what has begun to."""
        self.at = set(range(min(self.at), len(self._way.messages) + 2))

    def begin(self) -> None:
        """The application receives a message piece by piece."""
        self._pieces = []

    def piece(self, piece: Message) -> None:
        """A piece of it came."""
        if self._pieces and type(piece) is not type(self._pieces[0]):
            self._report(f"{self._reader} received pieces of text and of bytes in one message")
        else:
            self._pieces.append(piece)

    def end(self) -> None:
        """It has been received as a whole."""
        if self._pieces:
            self.take(self._so_far)
            return
        self.at = {
            i + 1 for i in self.at if i < len(self._way.messages) and not self._way.messages[i]
        }
        if not self.at:
            self._report(f"{self._reader} received an empty message that was not sent")
            self.at = {len(self._way.messages)}

    def leave(self) -> None:
        """The rest of it is dropped."""
        if self._pieces:
            self._left.append((self.at, self._so_far))
        self.at = {i + 1 for i in self.at}

    @property
    def _so_far(self) -> Message:
        first = self._pieces[0]
        if isinstance(first, str):
            return "".join(piece for piece in self._pieces if isinstance(piece, str))
        return b"".join(piece for piece in self._pieces if isinstance(piece, bytes))

    @property
    def has_more(self) -> bool:
        """Whether a whole message has arrived that the application has not received."""
        return max(self.at) < len(self._way.messages)

    def ended(self, *, is_normal: bool, max_size: int | None, max_fragments: int | None) -> None:
        """The application was told that no more will come: it must have had all that arrived.

        Args:
            is_normal: whether it was a normal closure.
            max_size, max_fragments: what comes behind a message beyond these may be dropped with
                it, if the closure was not normal.
        """
        arrived = len(self._way.messages)
        # A message of which a part was read may never have come to its end.
        if self.gave_up or not self.at.isdisjoint((arrived, arrived + 1)):
            return
        if not is_normal:
            for i in self.at:
                message = self._way.messages[i]
                size = len(message.encode()) if isinstance(message, str) else len(message)
                if max_size is not None and size > max_size:
                    return
                if max_fragments is not None and self._way.frames[i] > max_fragments:
                    return
        self._report(f"{self._reader} received {sorted(self.at)} of {arrived} messages")

    def check_left(self) -> None:
        """Check the parts that were read of messages, now that these are known."""
        for at, part in self._left:
            arrived = [self._way.messages[i] for i in at if i < len(self._way.messages)]
            if len(arrived) == len(at) and not any(_begins(each, part) for each in arrived):
                self._report(f"{self._reader} received a part {_shown(part)} of {arrived}")

    @property
    def _reader(self) -> str:
        return "the server" if self._way.sender == "client" else "the client"


def check_sends(way: Way, sends: list[Send], *, is_complete: bool, report: Report) -> None:
    """Check what is on the wire against what was sent.

    Args:
        way: with all that was ever written.
        sends: those of its sender, in the order of their calls.
        is_complete: whether all that was sent has to be there.
    """
    known = {send.label: send for send in sends if send.message}
    seen: list[Send] = []
    empty = 0
    for message in way.messages:
        if not message:
            empty += 1
            continue
        send = known.pop(_label(message), None)
        if send is None:
            report(f"the {way.sender} sent {_shown(message)} twice, or nobody did")
        elif send.message != message:
            report(f"the {way.sender} sent {_shown(message)} instead of {_shown(send.message)}")
        else:
            seen.append(send)
            if not send.was_sent:
                report(f"{send.label} was sent, although the call did not return")
    _check_order(seen, report)
    empty_sent = sum(send.was_sent and not send.message for send in sends)
    missing = [send.label for send in sends if send.label in known and send.was_sent]
    if is_complete and (missing or empty != empty_sent):
        report(f"{missing} were not sent, and {empty} of {empty_sent} empty messages were")
    if empty > empty_sent:
        report(f"the {way.sender} sent {empty} empty messages, expected {empty_sent}")
    seen = [send for send in seen if send.was_sent]
    for task in sorted({send.task for send in seen}):
        sent = [
            send.label for send in sends if send.task == task and send.was_sent and send.message
        ]
        there = [send.label for send in seen if send.task == task]
        if there != sent[: len(there)]:
            report(f"a task sent {sent}, but on the wire are {there}")


def _check_order(seen: list[Send], report: Report) -> None:
    """Check that no message overtook one whose call had ended before its own began."""
    latest = -1
    for send in seen:
        if 0 <= send.ended < latest:
            report(f"{send.label} was overtaken by a message that was sent later")
        latest = max(latest, send.called)


def _label(message: Message) -> str:
    start = message[:16] if isinstance(message, str) else message[:16].decode("latin-1")
    found = _LABEL.match(start)
    return found[1] if found else start


def _begins(whole: Message, part: Message) -> bool:
    if isinstance(whole, str):
        return isinstance(part, str) and whole.startswith(part)
    return isinstance(part, bytes) and whole.startswith(part)


def _shown(message: Message) -> str:
    """Return the beginning of a message, which says which one it is."""
    return f"{message[:20]!r} ({len(message)})"
