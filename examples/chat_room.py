"""A room of the chat: who is here, what was said last, and telling everyone. Used by chat.py."""

import json
import time
from collections import deque
from typing import TextIO, TypedDict

from anyws import Broadcaster, CloseCode, ServerConnection, broadcast


class Line(TypedDict):
    """Something said; `id` is the page's own, by which it knows the line again."""

    room: str
    id: str
    name: str
    text: str
    time: float


class Room:
    """A room. What is said goes to a file, its history, and from there to who comes later."""

    def __init__(self, name: str, history: TextIO) -> None:
        self.name, self.history = name, history
        history.seek(0)
        lines = [line for line in map(json.loads, history) if line["room"] == name]
        self.lines: deque[Line] = deque(lines, maxlen=200)
        self.names: dict[ServerConnection, str] = {}
        # A page that is 200 messages behind is closed with 1013, and comes back by itself.
        self.everyone = Broadcaster(max_queue=200)

    async def join(self, ws: ServerConnection, name: str) -> None:
        """Let one take part until the connection ends."""
        async with self.everyone.member(ws):
            # This does not wait: nothing can be said between the old lines and the new ones.
            broadcast([ws], json.dumps({"lines": list(self.lines)}))
            self.names[ws] = name
            self.everyone.publish(json.dumps({"here": sorted(self.names.values())}))
            try:
                async for message in ws:
                    id, text = map(str, json.loads(message))
                    self.say(Line(room=self.name, id=id, name=name, text=text, time=time.time()))
            except (TypeError, ValueError):
                await ws.close(CloseCode.POLICY_VIOLATION, "expected [id, text] in JSON")
            finally:
                del self.names[ws]
                self.everyone.publish(json.dumps({"here": sorted(self.names.values())}))

    def say(self, line: Line) -> None:
        """Keep a line, then tell everyone: by that the page that sent it knows it to be kept."""
        if not 0 < len(line["text"]) <= 2000:
            raise ValueError("a line has 1 to 2,000 characters")
        if all(line["id"] != other["id"] for other in self.lines):  # or else it came before
            self.history.write(json.dumps(line) + "\n")
            self.lines.append(line)
            self.everyone.publish(json.dumps({"lines": [line]}))
