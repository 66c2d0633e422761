"""Scripts that failed once, made smaller by `shrink`; the tests run them all.

A script draws while it runs, so a change of how trio is driven may make it harmless: what it found
has a test of its own beside the module, too.
"""

from __future__ import annotations

from .script import Fault, Part, Script, Settings, Step, Task

__all__ = ["KEPT"]

KEPT: dict[str, Script] = {
    # The response of the handshake was in the way of the first message, for ever.
    "send waits for the response to leave": Script(
        seed=9,
        client=Part(quits_at=9.25),
        server=Part(
            settings=Settings(write_limit=1),
            tasks=(Task(steps=(Step(do="send", sizes=(0,)),)),),
            quits_at=8.5,
        ),
    ),
    # The message was dropped, and the iteration ended as if none had come.
    "a large message comes after send_eof": Script(
        seed=441,
        client=Part(
            settings=Settings(max_size=4000),
            tasks=(Task(steps=(Step(do="send eof"),)), Task(steps=(Step(do="iterate"),))),
            quits_at=8.5,
        ),
        server=Part(
            settings=Settings(close_timeout=0.5, max_buffer=500, send_timeout=4.0),
            tasks=(Task(steps=(Step(do="send", sizes=(2627,), text=True),)),),
            quits_at=1.625,
        ),
        capacity=700,
    ),
    # The peer answered the latest Ping alone, and the one before it was never told.
    "a later ping is cancelled": Script(
        seed=1737,
        client=Part(
            settings=Settings(write_limit=100),
            tasks=(
                Task(steps=(Step(do="iterate"),)),
                Task(steps=(Step(do="ping"),)),
                Task(steps=(Step(do="send", sizes=(94,)), Step(do="ping", turns=5))),
            ),
            quits_at=10.75,
        ),
        server=Part(
            settings=Settings(write_limit=1),
            tasks=(Task(steps=(Step(do="send", sizes=(0,)),) * 3),),
            quits_at=8.5,
        ),
    ),
    # The Close frame behind the message brought the state back from CLOSED to CLOSING.
    "a large message is streamed after the end": Script(
        seed=2008754,
        client=Part(
            settings=Settings(ping_interval=1.0, max_size=200),
            tasks=(
                Task(steps=(Step(do="send", sizes=(84,)),)),
                Task(steps=(Step(do="sleep", pause=1.125), Step(do="receive stream"))),
            ),
            quits_at=8.625,
        ),
        server=Part(
            tasks=(Task(steps=(Step(do="send json", sizes=(92,), text=True), Step(do="close"))),),
            quits_at=8.625,
        ),
        faults=(Fault(kind="cut", side="server", after=383),),
        compression="takeover",
    ),
}
