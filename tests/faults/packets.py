"""What a network does to packets, and cables that are pulled; needs a wire."""

from __future__ import annotations

import functools

import anyio

from anyws import ConnectionClosed, Retry, connect, reconnect, serve

from ..serving import echo
from .faults import fault
from .seen import NOTHING, Seen, broken, given_up, nothing, raised
from .stage import LOGGER, Stage
from .wire import FAR, NEAR, Weather, Wire

__all__: list[str] = []

# Seconds of bad weather.
_BAD = 3.0

# Seconds that keepalive waits where the weather is to be lived through: TCP doubles its waits.
_PATIENT = 20.0

# A cable that is out for so long is not noticed by keepalive of so much patience, though TCP tries
# again only some time after the cable is back.
_OUT = 1.0
_PATIENCE = 4.0

_OPEN_TIMEOUT = 1.0

# Seconds that a line is dead, longer than keepalive waits; and at most between two attempts.
_LONG = 3.0
_DELAY = 0.5

_WEATHERS = {
    "5 % of packets are lost": Weather(lost=0.05),
    "30 % of packets are lost": Weather(lost=0.3),
    "packets take 0.3 s each way": Weather(delay=0.3),
    "30 % of packets come twice": Weather(duplicated=0.3),
    "30 % of packets come late, behind others": Weather(late=0.3),
    "all of these at once": Weather(lost=0.05, duplicated=0.2, late=0.2, delay=0.05),
}


async def _bear(weather: Weather, stage: Stage) -> Seen:
    async with stage.joined(patience=_PATIENT) as pair:
        before = _wire(stage).packets.copy()

        async def worsen() -> None:
            _wire(stage).weather = weather
            await anyio.sleep(_BAD)

        seen = await pair.live_through(worsen)
        packets = _wire(stage).packets - before
        assert packets["passed"] or seen.what != NOTHING
        return seen


for _name, _weather in _WEATHERS.items():
    fault(_name, nothing(), needs_wire=True)(functools.partial(_bear, _weather))


def _wire(stage: Stage) -> Wire:
    assert stage.wire is not None
    return stage.wire


async def _cut(stage: Stage, from_port: int | None = None) -> None:
    """Lose every packet from now on; or every one that comes from this port."""
    _wire(stage).weather = Weather(is_cut=True, from_port=from_port)


async def _unplug(stage: Stage) -> None:
    """Let the system know that the cable is out."""
    await anyio.to_thread.run_sync(_wire(stage).unplug)


@fault("the line is dead for 1 s, both send", nothing(), needs_wire=True)
async def dead_for_a_while(stage: Stage) -> Seen:
    async def die() -> None:
        await _cut(stage)
        await anyio.sleep(_OUT)
        _wire(stage).weather = Weather()

    async with stage.joined(patience=_PATIENCE) as pair:
        return await pair.live_through(die)


@fault("the interface is down for 1 s, both send", nothing(), needs_wire=True)
async def down_for_a_while(stage: Stage) -> Seen:
    async def go_down() -> None:
        await _unplug(stage)
        await anyio.sleep(_OUT)
        await anyio.to_thread.run_sync(_wire(stage).plug_in)

    async with stage.joined(patience=_PATIENCE) as pair:
        return await pair.live_through(go_down)


@fault("the line is dead, nobody sends", given_up(1, 2), needs_wire=True)
async def dead_and_idle(stage: Stage) -> Seen:
    async with stage.joined(talks=False) as pair:
        return await pair.end_by(lambda: _cut(stage))


@fault("the line is dead, both send", given_up(1, 2, "is silent", "does not read"), needs_wire=True)
async def dead(stage: Stage) -> Seen:
    async with stage.joined() as pair:
        return await pair.end_by(lambda: _cut(stage))


@fault(
    "the line is dead for what the peer sends, both send",
    given_up(1, 2, "is silent", "does not read"),
    needs_wire=True,
)
async def deaf(stage: Stage) -> Seen:
    async with stage.joined() as pair:
        return await pair.end_by(lambda: _cut(stage, pair.ports[1]))


@fault(
    "the line is dead for what this side sends, both send",
    raised("ConnectionClosedError", soonest=1.0, latest=2.0),
    needs_wire=True,
)
async def mute(stage: Stage) -> Seen:
    """Whoever finds out first: the peer hears nothing, and nobody tells it what has arrived."""
    async with stage.joined() as pair:
        return await pair.end_by(lambda: _cut(stage, pair.ports[0]))


@fault(
    "the interface is down, both send",
    given_up(1, 2, "is silent", "does not read"),
    needs_wire=True,
)
async def down(stage: Stage) -> Seen:
    async with stage.joined() as pair:
        return await pair.end_by(lambda: _unplug(stage))


@fault(
    "the peer's machine is gone without a word",
    given_up(1, 2, "is silent", "does not read"),
    needs_wire=True,
)
async def gone(stage: Stage) -> Seen:
    async with stage.joined() as pair:

        async def vanish() -> None:
            await _cut(stage)
            await pair.peer.kill()

        return await pair.end_by(vanish)


@fault(
    "the peer's machine is gone, and back without its process; no keepalive yet",
    broken("EOFError", "ConnectionResetError", "BrokenPipeError"),
    needs_wire=True,
)
async def back_again(stage: Stage) -> Seen:
    async with stage.joined(interval=60.0) as pair:

        async def vanish() -> None:
            await _cut(stage)
            await pair.peer.kill()
            _wire(stage).weather = Weather()

        return await pair.end_by(vanish)


@fault(
    "the line is dead for 3 s, then back: `reconnect` is connected again",
    client=nothing(latest=_OPEN_TIMEOUT + _DELAY),
    needs_wire=True,
)
async def reconnecting(stage: Stage) -> Seen:
    """The seconds are those since the line is back."""
    wire = _wire(stage)
    ends: list[str] = []
    began = 0.0

    async def die() -> None:
        nonlocal began
        await _cut(stage)
        await anyio.sleep(_LONG)
        wire.weather = Weather()
        began = anyio.current_time()

    async with (
        serve(echo, NEAR, ping_interval=1.0, ping_timeout=1.0, logger=LOGGER) as server,
        reconnect(
            f"ws://{FAR}:{server.port}/",
            retry=Retry(initial_delay=_DELAY / 2, max_delay=_DELAY),
            open_timeout=_OPEN_TIMEOUT,
            ping_interval=1.0,
            ping_timeout=1.0,
            logger=LOGGER,
        ) as attempts,
        anyio.create_task_group() as tasks,
    ):
        async for ws in attempts:
            await ws.send("hello")
            assert await ws.receive() == "hello"
            if ends:
                break
            tasks.start_soon(die)
            try:
                await ws.receive()
            except ConnectionClosed as closed:
                ends.append(str(closed))
        seconds = anyio.current_time() - began
    return Seen(NOTHING, seconds, note=f"before that: {ends[0]}")


@fault(
    "connecting on a dead line, open_timeout 1 s",
    client=raised("TimeoutError", soonest=_OPEN_TIMEOUT, latest=_OPEN_TIMEOUT),
    needs_wire=True,
)
async def connecting_on_a_dead_line(stage: Stage) -> Seen:
    await _cut(stage)
    return await _connect(stage)


@fault("connecting while the interface is down", client=raised("OSError"), needs_wire=True)
async def connecting_while_down(stage: Stage) -> Seen:
    await _unplug(stage)
    return await _connect(stage)


async def _connect(stage: Stage) -> Seen:
    began = anyio.current_time()
    try:
        async with connect(f"ws://{stage.far}:9/", open_timeout=_OPEN_TIMEOUT, logger=LOGGER):
            raise AssertionError("somebody was there")
    except OSError as exc:
        return Seen.of(exc, anyio.current_time() - began)
