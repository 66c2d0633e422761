"""`picows`, its client: callbacks for frames, from which messages are put together here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ssl import SSLContext
from typing import cast

import picows

from ..peers import NO_CLOSE, Close, Message, Peer


class PicowsPeer(Peer):
    """A client connection of `picows`, which answers Pings and calls back with other frames."""

    tells_fragments = True

    def __init__(self, transport: picows.WSTransport) -> None:
        super().__init__()
        self._transport = transport
        self._is_text = False
        self._fragments: list[bytes] = []
        self._received = NO_CLOSE

    async def read(self) -> None:
        """Wait until the server has closed the TCP connection; `see` receives meanwhile."""
        await self._transport.wait_disconnected()
        self._finish(self._received)

    def see(self, frame: picows.WSFrame) -> None:
        """Take one frame, which is valid during the call only."""
        match frame.msg_type:
            case picows.WSMsgType.PONG:
                self._pong(frame.get_payload_as_bytes())
            case picows.WSMsgType.CLOSE:
                # The code is an integer at run time; without a reason in the frame there is None.
                code = cast(int, frame.get_close_code())
                self._received = Close(code, frame.get_close_reason() or "")
                if not self._transport.is_close_frame_sent:
                    self._transport.send_close(frame.get_close_code(), frame.get_close_message())
            case _:
                self._see_data(frame)

    def _see_data(self, frame: picows.WSFrame) -> None:
        if frame.msg_type is not picows.WSMsgType.CONTINUATION:
            self._is_text = frame.msg_type is picows.WSMsgType.TEXT
        self._fragments.append(frame.get_payload_as_bytes())
        if frame.fin:
            self._deliver(Message(self._is_text, tuple(self._fragments)))
            self._fragments.clear()

    async def _send(self, data: str | bytes) -> None:
        await self._send_fragments(Message.of(data))

    async def _send_fragments(self, message: Message) -> None:
        opcode = picows.WSMsgType.TEXT if message.is_text else picows.WSMsgType.BINARY
        *first, last = message.fragments
        for payload in first:
            self._transport.send(opcode, payload, fin=False)
            opcode = picows.WSMsgType.CONTINUATION
        self._transport.send(opcode, last)

    async def _ping(self, payload: bytes) -> None:
        self._transport.send_ping(payload)

    async def _close(self, code: int, reason: str) -> None:
        # The library takes any integer here but has names for the codes of the RFC only.
        self._transport.send_close(cast(picows.WSCloseCode, code), reason)
        await self.finished.wait()


class PicowsListener(picows.WSListener):
    """The callbacks of one connection."""

    peer: PicowsPeer

    def on_ws_connected(self, transport: picows.WSTransport) -> None:
        """Start the peer."""
        self.peer = PicowsPeer(transport)

    def on_ws_frame(self, transport: picows.WSTransport, frame: picows.WSFrame) -> None:
        """Hand the frame to the peer."""
        self.peer.see(frame)


@asynccontextmanager
async def connect_picows(uri: str, ssl: SSLContext | None) -> AsyncIterator[Peer]:
    """Connect with `picows`."""
    transport, listener = await picows.ws_connect(PicowsListener, uri, ssl_context=ssl)
    assert isinstance(listener, PicowsListener)
    try:
        async with listener.peer.reading():
            yield listener.peer
    finally:
        transport.disconnect(graceful=False)
        await transport.wait_disconnected()
