"""A client in a program of threads."""

import sys

from anyio.from_thread import start_blocking_portal

from anyws import connect


def main(uri: str) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(connect(uri)) as ws,
    ):
        portal.call(ws.send, "hello")
        print(portal.call(ws.receive))


if __name__ == "__main__":
    main(sys.argv[1])
