"""`reconnect`: one connection after another, when there is another, and when it comes.

How the loop and the block are left is in test_reconnect_leaving.py, the arithmetic of delays and
the classification of errors in test_retry.py.
"""

from __future__ import annotations

import inspect
import logging
import ssl
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from typing import Any

import anyio
import pytest

from anyws import (
    ClientConnection,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    HandshakeRejected,
    Headers,
    InvalidHandshake,
    InvalidURI,
    LocalProtocolError,
    NegotiationError,
    Retry,
    State,
    connect,
    reconnect,
    serve,
)
from anyws._options import ConnectionKeywords
from anyws._reconnect import ConnectKeywords
from anyws.testing import TEXT, Frame, memory_pair

from .network import (
    AT_ONCE,
    TIMELESS,
    URI,
    Script,
    Visit,
    accept_wrongly,
    answer_garbage,
    choose_a_subprotocol,
    closing,
    end_of,
    first_message,
    ignore,
    leave,
    leave_early,
    leave_in_the_answer,
    leave_in_the_body,
    live,
    live_for,
    network,
    refusing,
    send_too_much,
    send_what_is_forbidden,
    use,
)
from .raw import closed_port
from .scripted import virtual_time
from .serving import echo

pytestmark = pytest.mark.anyio


# One after another


async def test_each_turn_has_a_connection_of_its_own() -> None:
    """R-A6b: the one before is closed when the next is opened, as the network checks."""
    async with network(live, live, live) as net:
        seen: list[ClientConnection] = []
        async with net.reconnect(retry=AT_ONCE) as attempts:
            async for ws in attempts:
                assert isinstance(ws, ClientConnection)
                assert await ws.receive() == "hello"
                assert all(before.state is State.CLOSED for before in seen)
                seen.append(ws)
                if len(seen) == 3:
                    break
        assert net.is_closed
        assert net.codes == [1000, 1000, 1000]
        assert len(set(map(id, seen))) == 3


async def test_one_server_serves_turn_after_turn() -> None:
    async with (
        serve(echo, "127.0.0.1") as server,
        reconnect(server.uri, retry=AT_ONCE) as attempts,
    ):
        for _ in range(3):
            ws = await anext(attempts)
            await ws.send("hello")
            assert await ws.receive() == "hello"


async def test_a_block_without_a_loop_opens_nothing() -> None:
    async with network() as net, net.reconnect():
        pass
    assert net.dialled == []


@virtual_time
async def test_the_first_attempt_is_made_at_once() -> None:
    async with network(live, limit=TIMELESS) as net:
        began = anyio.current_time()
        async with net.reconnect(retry=Retry(initial_delay=1000)) as attempts:
            await use(attempts)
    assert net.dialled == [began]


# What leads to another attempt


@pytest.mark.parametrize(
    "script",
    [
        *map(closing, (None, 1000, 1001, 1011, 1012, 1013, 4000)),
        leave,
        leave_early,
        leave_in_the_answer,
        leave_in_the_body,
        *map(refusing, (429, 500, 502, 503)),
        ConnectionRefusedError(),
        TimeoutError(),
    ],
)
async def test_what_may_pass_leads_to_another_attempt(script: Script | Exception) -> None:
    """R-A6d"""
    async with network(script, live) as net, net.reconnect(retry=AT_ONCE) as attempts:
        await use(attempts)
    assert len(net.dialled) == 2


@pytest.mark.parametrize(
    ("script", "kind"),
    [
        *((refusing(status), HandshakeRejected) for status in (400, 401, 403, 404, 301)),
        (answer_garbage, InvalidHandshake),
        (accept_wrongly, InvalidHandshake),
        (choose_a_subprotocol, NegotiationError),
        *(
            (closing(code), ConnectionClosedError)
            for code in (1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003)
        ),
        (send_what_is_forbidden, ConnectionClosedError),
        (send_too_much, ConnectionClosedError),
        (ValueError("of the function that gives a stream"), ValueError),
    ],
)
async def test_what_would_come_again_is_raised(
    script: Script | Exception, kind: type[Exception]
) -> None:
    """R-A6d: plain, as `connect` raises it."""
    async with network(script) as net:
        error = await end_of(net.reconnect(retry=AT_ONCE, max_size=100))
        assert type(error) is kind
        assert not hasattr(error, "__notes__")
        assert net.is_closed


async def test_a_refused_port_is_tried_again() -> None:
    """R-A6d"""
    with closed_port() as port:
        error = await end_of(reconnect(f"ws://127.0.0.1:{port}/", retry=AT_ONCE))
    assert type(error) is ConnectionRefusedError
    assert "There is no attempt after 3 attempts" in error.__notes__[0]


async def test_a_certificate_that_is_not_trusted_is_not_tried_again(
    server_ssl: ssl.SSLContext,
) -> None:
    """R-A6d"""
    asked = 0

    async def uri() -> str:
        nonlocal asked
        asked += 1
        return server.uri

    async with serve(echo, "127.0.0.1", ssl=server_ssl) as server:
        error = await end_of(reconnect(uri, retry=AT_ONCE))
    assert type(error) is HandshakeError
    assert isinstance(error.__cause__, ssl.SSLCertVerificationError)
    assert asked == 1


async def test_tls_that_the_network_breaks_is_tried_again() -> None:
    """R-A6d: that is an error of the network like any other."""

    async def hang_up(visit: Visit) -> None:
        await visit.stream.receive()

    async with network(hang_up, hang_up, hang_up) as net:
        error = await end_of(net.reconnect(uri="wss://localhost/", retry=AT_ONCE))
    assert type(error) is HandshakeError
    assert len(net.dialled) == 3


@virtual_time
async def test_a_timeout_is_tried_again() -> None:
    """R-A6d: `open_timeout` is for each attempt."""
    async with network(ignore, ignore, limit=TIMELESS) as net:
        retry = Retry(initial_delay=0, max_attempts=2)
        error = await end_of(net.reconnect(retry=retry, open_timeout=3))
    assert type(error) is TimeoutError
    assert net.waits == [pytest.approx(3)]


@pytest.mark.parametrize("code", [1000, 1002, 1008, 4000])
async def test_what_the_body_closes_itself_is_opened_again(code: int) -> None:
    """Whatever the code: the application knows what it wants."""
    async with network(live, live) as net, net.reconnect(retry=AT_ONCE) as attempts:
        ws = await anext(attempts)
        await ws.close(code)
        await use(attempts)
    assert net.codes == [code, 1000]


@pytest.mark.parametrize("verdict", [True, False])
async def test_user_decides_what_is_tried_again(verdict: bool) -> None:
    """R-A6d: against the default in both cases."""
    asked: list[Exception] = []

    def decide(error: Exception) -> bool:
        asked.append(error)
        return verdict

    retry = Retry(initial_delay=0, max_attempts=2, retry_on=decide)
    script = refusing(401) if verdict else refusing(503)
    async with network(script, script) as net:
        error = await end_of(net.reconnect(retry=retry))
    assert len(net.dialled) == (2 if verdict else 1)
    assert isinstance(error, HandshakeRejected)
    assert asked[-1] is error
    assert hasattr(error, "__notes__") is verdict


async def test_user_is_asked_about_ends_of_connections_too() -> None:
    """R-A6d: the end that this side brings about among them."""
    retry = Retry(initial_delay=0, retry_on=lambda error: not isinstance(error, ConnectionClosedOK))
    async with network(closing(1008), live) as net:
        error = await end_of(net.reconnect(retry=retry))
    assert isinstance(error, ConnectionClosedOK)
    assert (error.code, error.initiator) == (1000, "local")


async def test_what_the_users_verdict_raises_goes_through() -> None:
    error = LookupError("in retry_on")

    def decide(_: Exception) -> bool:
        raise error

    async with network(refusing(503)) as net:
        assert await end_of(net.reconnect(retry=Retry(retry_on=decide))) is error


# Rows of attempts


@pytest.mark.parametrize("limit", [1, 3])
async def test_last_error_is_raised_when_the_attempts_are_spent(limit: int) -> None:
    """R-A6c"""
    plan = [ConnectionRefusedError(f"number {number}") for number in range(1, limit + 1)]
    async with network(*plan) as net:
        error = await end_of(net.reconnect(retry=Retry(initial_delay=0, max_attempts=limit)))
    assert error is plan[-1]
    assert len(net.dialled) == limit
    (note,) = error.__notes__
    attempts = "1 attempt" if limit == 1 else f"{limit} attempts"
    assert note.startswith(f"There is no attempt after {attempts} in ")
    assert note.endswith(f": max_attempts is {limit}, max_elapsed is None")


async def test_connections_that_opened_and_ended_spend_attempts() -> None:
    """R-A6c: how the last one ended is raised."""
    async with network(closing(1012), leave, closing(1013)) as net:
        error = await end_of(net.reconnect(retry=AT_ONCE))
    assert isinstance(error, ConnectionClosedError)
    assert (error.code, error.initiator) == (1013, "remote")
    assert "There is no attempt after 3 attempts" in error.__notes__[0]


@virtual_time
async def test_delays_grow_and_are_drawn() -> None:
    """R-A6c: after a connection that ended as after one that failed, however it ended."""
    plan = (OSError(), closing(1000), closing(1012), live, live)
    async with network(*plan, limit=TIMELESS) as net:
        attempts = net.reconnect(retry=Retry(initial_delay=4, max_delay=10))
        attempts._random.seed(5)
        async with attempts:
            await use(attempts)
            await use(attempts)
    drawn = Random(5)
    assert net.waits == pytest.approx([drawn.uniform(0, limit) for limit in (4, 8, 10, 10)])


@virtual_time
async def test_a_healthy_connection_begins_a_new_row() -> None:
    """R-A6c: of attempts, delays and seconds."""
    error = OSError("the last")
    plan = (OSError(), OSError(), live_for(60), OSError(), OSError(), error)
    async with network(*plan, limit=TIMELESS) as net:
        attempts = net.reconnect(retry=Retry(initial_delay=10, max_attempts=3, max_elapsed=70))
        attempts._random.seed(5)
        assert await end_of(attempts) is error
    drawn = Random(5)
    expected = [drawn.uniform(0, limit) for limit in (10, 20, 10, 20, 40)]
    expected[2] += 60
    assert net.waits == pytest.approx(expected)
    seconds = sum(expected[2:]) - 60
    assert error.__notes__[0].startswith(f"There is no attempt after 3 attempts in {seconds:.1f} s")


@virtual_time
async def test_a_connection_that_lived_too_short_goes_on_with_the_row() -> None:
    """R-A6c: however long the body takes to come back after its end."""
    async with (
        network(live_for(59), live_for(59, 1012), limit=TIMELESS) as net,
        net.reconnect(retry=Retry(initial_delay=0, max_attempts=2)) as attempts,
    ):
        for number in (1, 2):
            ws = await anext(attempts)
            assert attempts.attempt == number
            await first_message(ws)
            await anyio.sleep(1000)
        with pytest.raises(ConnectionClosedError) as caught:
            await anext(attempts)
    assert caught.value.code == 1012


@virtual_time
async def test_a_connection_that_the_body_closes_lived_until_then() -> None:
    async with (
        network(live, live, limit=TIMELESS) as net,
        net.reconnect(retry=Retry(initial_delay=0, max_attempts=1)) as attempts,
    ):
        await use(attempts)
        await anyio.sleep(60)
        await use(attempts)
        await anyio.sleep(59)
        with pytest.raises(ConnectionClosedOK):
            await use(attempts)
    assert net.codes == [1000, 1000]


@virtual_time
async def test_seconds_of_a_row_can_be_limited() -> None:
    """R-A6c: a delay that would end beyond is not begun."""
    plan = [OSError(number) for number in range(100)]
    async with network(*plan, limit=TIMELESS) as net:
        attempts = net.reconnect(retry=Retry(initial_delay=4, factor=1, max_elapsed=10))
        attempts._random.seed(5)
        error = await end_of(attempts)
        assert anyio.current_time() == net.dialled[-1]
    drawn = Random(5)
    delays = [drawn.uniform(0, 4) for _ in net.dialled]
    assert sum(delays[:-1]) <= 10 < sum(delays)
    assert net.waits == pytest.approx(delays[:-1])
    assert error is plan[len(delays) - 1]
    assert error.__notes__ == [
        f"There is no attempt after {len(delays)} attempts in {sum(delays[:-1]):.1f} s: "
        "max_attempts is None, max_elapsed is 10"
    ]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(("value", "seconds"), [("90", 90), ("7200", 3600), ("soon", 0)])
@virtual_time
async def test_retry_after_is_waited_for(status: int, value: str, seconds: float) -> None:
    """R-A6c: up to one hour."""
    async with (
        network(refusing(status, f"Retry-After: {value}"), live, limit=TIMELESS) as net,
        net.reconnect(retry=AT_ONCE) as attempts,
    ):
        await use(attempts)
    assert net.waits == [pytest.approx(seconds)]


@virtual_time
async def test_retry_after_may_be_a_date() -> None:
    """R-A6c"""
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=1000), usegmt=True)
    async with (
        network(refusing(503, f"Retry-After: {date}"), live, limit=TIMELESS) as net,
        net.reconnect(retry=AT_ONCE) as attempts,
    ):
        await use(attempts)
    (seconds,) = net.waits
    assert 900 < seconds <= 1000


@virtual_time
async def test_retry_after_beyond_the_limit_is_not_waited_for() -> None:
    async with network(refusing(503, "Retry-After: 90"), limit=TIMELESS) as net:
        error = await end_of(net.reconnect(retry=Retry(initial_delay=0, max_elapsed=89)))
        assert isinstance(error, HandshakeRejected)
        assert anyio.current_time() == net.dialled[0]


async def test_another_loop_goes_on_after_an_error() -> None:
    """In a new row of attempts."""
    async with (
        network(refusing(503), refusing(401), refusing(503), live) as net,
        net.reconnect(retry=AT_ONCE) as attempts,
    ):
        with pytest.raises(HandshakeRejected):
            await use(attempts)
        assert attempts.attempt == 2
        await use(attempts)
        assert attempts.attempt == 2
    assert net.codes == [1000]


async def test_attempts_tell_their_number_and_the_last_error() -> None:
    error = ConnectionRefusedError()
    async with network(error, live, live) as net, net.reconnect(retry=AT_ONCE) as attempts:
        assert (attempts.attempt, attempts.last_error) == (0, None)
        await use(attempts)
        assert (attempts.attempt, attempts.last_error) == (2, error)
        await use(attempts)
        assert attempts.attempt == 3
        assert isinstance(attempts.last_error, ConnectionClosedOK)
    assert attempts.last_error is None


# Address and headers


@pytest.mark.parametrize("what", ["uri", "headers"])
async def test_address_and_headers_are_asked_for_before_each_attempt(what: str) -> None:
    """R-A6e: tokens expire."""
    n = 0

    async def give() -> Any:
        nonlocal n
        n += 1
        return f"ws://example.org/{n}" if what == "uri" else {"X-Token": str(n)}

    async with (
        network(refusing(503), live, live) as net,
        net.reconnect(retry=AT_ONCE, **{what: give}) as attempts,
    ):
        await use(attempts)
        await use(attempts)
    if what == "uri":
        lines = [request.first_line for request in net.requests]
        assert lines == ["GET /2 HTTP/1.1", "GET /3 HTTP/1.1"]
    else:
        assert [request.headers["x-token"] for request in net.requests] == ["2", "3"]


@pytest.mark.parametrize("what", ["uri", "headers"])
async def test_error_of_the_users_function_is_raised(what: str) -> None:
    """Even one that would be tried again if it were of ours."""
    error = ConnectionRefusedError("of the token server")

    async def fail() -> Any:
        raise error

    async with network() as net:
        assert await end_of(net.reconnect(retry=AT_ONCE, **{what: fail})) is error
    assert not hasattr(error, "__notes__")


async def test_error_of_the_users_function_is_tried_again_if_the_user_says_so() -> None:
    asked = 0

    async def uri() -> str:
        nonlocal asked
        asked += 1
        if asked == 1:
            raise LookupError("no token")
        return URI

    retry = Retry(initial_delay=0, retry_on=lambda error: isinstance(error, LookupError) or None)
    async with network(live) as net, net.reconnect(uri=uri, retry=retry) as attempts:
        await use(attempts)
        assert attempts.attempt == 2


async def test_an_address_that_is_no_uri_is_not_tried_again() -> None:
    """R-A6d"""
    asked = 0

    async def uri() -> str:
        nonlocal asked
        asked += 1
        return "https://example.org/"

    assert isinstance(await end_of(reconnect(uri, retry=AT_ONCE)), InvalidURI)
    assert asked == 1


@pytest.mark.parametrize(
    "new_headers",
    [
        pytest.param(lambda: {"X-Token": "abc"}, id="dict"),
        pytest.param(lambda: Headers({"X-Token": "abc"}), id="headers"),
        pytest.param(lambda: [("X-Token", "abc")], id="list"),
        pytest.param(lambda: iter([("X-Token", "abc")]), id="iterator"),
    ],
)
async def test_headers_are_the_same_for_each_attempt(new_headers: Callable[[], Any]) -> None:
    """An iterator gives its items only once; and nothing that is passed is changed."""
    headers = new_headers()
    async with (
        network(live, live) as net,
        net.reconnect(retry=AT_ONCE, headers=headers) as attempts,
    ):
        await use(attempts)
        await use(attempts)
    assert [request.headers["x-token"] for request in net.requests] == ["abc", "abc"]
    assert hasattr(headers, "__next__") or headers == new_headers()


async def test_options_hold_for_each_attempt() -> None:
    async with (
        network(live, live) as net,
        net.reconnect(retry=AT_ONCE, headers=None, origin="https://example.org") as attempts,
    ):
        await use(attempts)
        await use(attempts)
    assert [request.headers["origin"] for request in net.requests] == ["https://example.org"] * 2


# Preparing the connection


async def test_connection_is_prepared_before_the_loop_gets_it() -> None:
    prepared: list[ClientConnection] = []

    async def subscribe(ws: ClientConnection) -> None:
        await ws.send("subscribe")
        assert await ws.receive() == "subscribed"
        prepared.append(ws)

    async def confirm(visit: Visit) -> None:
        await visit.open()
        assert (await visit.receive()).payload == b"subscribe"
        await visit.send(Frame(TEXT, b"subscribed"), Frame(TEXT, b"hello"))
        await visit.send(await visit.take_close())

    async with (
        network(confirm, confirm) as net,
        net.reconnect(retry=AT_ONCE, on_connect=subscribe) as attempts,
    ):
        for n in (1, 2):
            ws = await anext(attempts)
            assert len(prepared) == n
            assert prepared[-1] is ws
            assert await ws.receive() == "hello"


async def test_connection_that_ends_while_it_is_prepared_is_tried_again() -> None:
    async def subscribe(ws: ClientConnection) -> None:
        await ws.receive()

    async with (
        network(closing(1012), leave, live) as net,
        net.reconnect(retry=AT_ONCE, on_connect=subscribe) as attempts,
    ):
        ws = await anext(attempts)
        assert ws.state is State.OPEN
        assert attempts.attempt == 3
        assert isinstance(attempts.last_error, ConnectionClosedError)


async def test_connection_that_is_closed_for_good_while_it_is_prepared_is_not() -> None:
    async def subscribe(ws: ClientConnection) -> None:
        await ws.receive()

    async with network(closing(1008)) as net:
        error = await end_of(net.reconnect(retry=AT_ONCE, on_connect=subscribe))
    assert isinstance(error, ConnectionClosedError)
    assert error.code == 1008


async def test_error_while_preparing_closes_with_1011_and_is_raised() -> None:
    error = TimeoutError("of the user")

    async def fail(_: ClientConnection) -> None:
        raise error

    async with network(live) as net, net.reconnect(retry=AT_ONCE, on_connect=fail) as attempts:
        with pytest.raises(TimeoutError) as caught:
            await anext(attempts)
        assert caught.value is error
        assert net.is_closed
        assert net.codes == [1011]


# The log


async def test_log_tells_of_each_retry_and_keeps_secrets(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "anyws")
    async with (
        network(refusing(503), OSError("no route"), TimeoutError(), closing(1012), live) as net,
        net.reconnect(retry=Retry(initial_delay=0)) as attempts,
    ):
        await use(attempts)
    records = [record for record in caplog.records if "example.org" in record.getMessage()]
    assert [record.getMessage() for record in records] == [
        "connection attempt to example.org port 80 failed (the server rejected the WebSocket "
        "handshake: HTTP 503 No); retrying in 0.0 s",
        "connection attempt to example.org port 80 failed (no route); retrying in 0.0 s",
        "connection attempt to example.org port 80 failed (TimeoutError); retrying in 0.0 s",
        "connection with example.org port 80 ended (closed by the peer: sent 1012, received "
        "1012); connecting again in 0.0 s",
    ]
    assert {record.levelno for record in records} == {logging.INFO}
    assert "secret" not in caplog.text
    assert "hidden" not in caplog.text


async def test_log_does_not_quote_what_others_say(caplog: pytest.LogCaptureFixture) -> None:
    """It may have the whole URI in it, or a token."""
    caplog.set_level(logging.INFO, "anyws")
    answers = iter(["", "http://localhost/?hidden", URI])

    async def uri() -> str:
        answer = next(answers)
        if not answer:
            raise LookupError("hidden")
        return answer

    retry = Retry(initial_delay=0, retry_on=lambda _: True)
    async with network(live) as net, net.reconnect(uri=uri, retry=retry) as attempts:
        await use(attempts)
    assert [record.getMessage() for record in caplog.records[:2]] == [
        "connection attempt to the server failed (LookupError); retrying in 0.0 s",
        "connection attempt to the server failed (InvalidURI); retrying in 0.0 s",
    ]
    assert "hidden" not in caplog.text


async def test_log_has_no_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    """R-B2: C1 ones may stand in a reason phrase (RFC 9112 §4)."""
    caplog.set_level(logging.INFO, "anyws")

    async def refuse(visit: Visit) -> None:
        await visit.read_head()
        await visit.send(b"HTTP/1.1 503 \x9b2J Bl\xfccher\r\nContent-Length: 0\r\n\r\n")
        await visit.read_rest()

    async with network(refuse, live) as net, net.reconnect(retry=AT_ONCE) as attempts:
        await use(attempts)
    assert r"HTTP 503 \x9b2J Blücher" in caplog.text


async def test_a_logger_may_be_given(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with (
        network(OSError(), live) as net,
        net.reconnect(retry=AT_ONCE, logger=logging.getLogger("mine")) as attempts,
    ):
        await use(attempts)
    ours = [record.name for record in caplog.records if record.name in ("anyws", "mine")]
    assert ours == ["mine", "mine"]


# Arguments


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"headers": {"X": "\n"}}, LocalProtocolError, "control characters"),
        ({"headers": {"Upgrade": "other"}}, LocalProtocolError, "set by the opening"),
        ({"max_size": 0}, ValueError, "max_size is 0"),
        ({"colour": "red"}, TypeError, "unknown option 'colour'"),
        ({"stream": memory_pair()[0]}, TypeError, "expected an async function"),
        ({"task_group": None}, TypeError, "task_group"),
    ],
)
@pytest.mark.parametrize("uri_is_known", [True, False])
async def test_arguments_that_cannot_be_used_are_rejected_at_once(
    uri_is_known: bool, keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    async def uri() -> str:
        raise AssertionError("no attempt is made")

    with pytest.raises(error, match=message):
        reconnect(URI if uri_is_known else uri, **keywords)


async def test_uri_that_cannot_be_used_is_rejected_at_once() -> None:
    with pytest.raises(InvalidURI, match="allowed are ws and wss"):
        reconnect("http://localhost/")


async def test_every_other_keyword_of_connect_is_there() -> None:
    own = inspect.signature(reconnect).parameters.keys()
    of_connect = inspect.signature(connect).parameters.keys() - {"task_group", "options"}
    expected = of_connect - own | ConnectionKeywords.__annotations__.keys()
    assert ConnectKeywords.__annotations__.keys() == expected
