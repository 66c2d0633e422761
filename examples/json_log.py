"""A log in JSON that tells connections apart, and the figures of a connection.

python examples/json_log.py [--backend trio|asyncio]
"""

import argparse
import dataclasses
import json
import logging
import sys

import anyio

from anyws import ServerConnection, connect, serve


class JSONFormatter(logging.Formatter):
    """One object a line, with what `anyws` says of the connection where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line = {"level": record.levelname, "message": record.getMessage()}
        for name in ("service", "connection_id", "remote_address"):
            if hasattr(record, name):
                line[name] = getattr(record, name)
        return json.dumps(line)


async def count_words(ws: ServerConnection) -> None:
    """Answer each message with the number of its words."""
    async for message in ws:
        await ws.send(str(len(message.split())))


async def main() -> None:
    """Ask a server of our own, and show what it cost."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JSONFormatter())
    logging.getLogger("anyws").addHandler(handler)
    logging.getLogger("anyws").setLevel(logging.INFO)
    logger = logging.LoggerAdapter(logging.getLogger("anyws"), {"service": "words"})
    silent = logging.getLogger("silent")
    async with (
        serve(count_words, "localhost", 0, logger=logger) as server,
        connect(server.uri, logger=silent) as ws,
    ):
        await ws.send("as many words as these")
        print(await ws.receive())
        print(json.dumps(dataclasses.asdict(ws.stats)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Log in JSON.")
    parser.add_argument("--backend", choices=["trio", "asyncio"], default="asyncio")
    anyio.run(main, backend=parser.parse_args().backend)
