"""Step 6: the server stops when it is told to, and tells those who are connected."""

import signal

import anyio
from step3_room import handle
from step4_page import answer

from anyws import serve


async def main(port: int = 8765) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with serve(handle, "localhost", port, process_request=answer) as server:
            print(f"serving on {server.uri}", flush=True)
            async for number in signals:
                is_restart = number == signal.SIGTERM
                await server.shutdown(grace=5, code=1012 if is_restart else 1001)
                break
    print("stopped")


if __name__ == "__main__":
    anyio.run(main)
