"""One side of JSON-RPC 2.0 over a connection; both sides can call. Used by json_rpc.py."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import anyio

from anyws import Connection, ConnectionClosed


class Peer:
    """Calls the other side, and answers its calls by methods, each of which gets this first."""

    def __init__(self, ws: Connection, methods: dict[str, Callable[..., Awaitable[Any]]]) -> None:
        self.ws, self.methods = ws, methods
        self.calls: list[anyio.Event] = []
        self.answers: dict[int, dict[str, Any]] = {}

    async def call(self, method: str, *params: object) -> Any:
        """Call a method of the other side; an error there is a RuntimeError here."""
        number, answered = len(self.calls), anyio.Event()
        self.calls.append(answered)
        await self.ws.send_json(
            {"jsonrpc": "2.0", "id": number, "method": method, "params": params}
        )
        await answered.wait()
        answer = self.answers.pop(number, {"error": {"message": "the connection has ended"}})
        if "error" in answer:
            raise RuntimeError(answer["error"]["message"])
        return answer["result"]

    async def run(self) -> None:
        """Take what comes until the connection ends."""
        async with anyio.create_task_group() as tasks:
            with suppress(ConnectionClosed):
                while True:
                    item = await self.ws.receive_json()
                    if "method" in item:
                        tasks.start_soon(self.answer, item)
                    else:
                        self.answers[item["id"]] = item
                        self.calls[item["id"]].set()
            tasks.cancel_scope.cancel()
            for call in self.calls:
                call.set()

    async def answer(self, call: dict[str, Any]) -> None:
        """Answer a call, in a task of its own, unless it is a notification."""
        answer: dict[str, Any]
        if method := self.methods.get(call["method"]):
            try:
                answer = {"result": await method(self, *call.get("params", []))}
            except Exception as exc:
                answer = {"error": {"code": -32000, "message": str(exc)}}
        else:
            answer = {"error": {"code": -32601, "message": f"there is no {call['method']!r}"}}
        if "id" in call:
            await self.ws.send_json({"jsonrpc": "2.0", "id": call["id"], **answer})
