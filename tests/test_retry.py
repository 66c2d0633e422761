"""The policy of `reconnect`: its arithmetic and its classification. Nothing is waited for."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import FrozenInstanceError
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from random import Random
from socket import gaierror
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anyws import (
    CloseFrame,
    ConcurrencyError,
    ConnectionClosed,
    ConnectionClosedError,
    ConnectionClosedOK,
    HandshakeError,
    HandshakeRejected,
    Headers,
    InvalidHandshake,
    InvalidURI,
    NegotiationError,
    ProxyError,
    RemoteProtocolError,
    Response,
    Retry,
)
from anyws._errors import Initiator
from anyws._retry import Row, is_transient, retry_after


class FullJitter(Random):
    """Draws the largest number each time."""

    def random(self) -> float:
        return 1.0


def row(**policy: Any) -> Row:
    """Return a row of attempts, of which one has failed at the time 0."""
    row = Row(Retry(**policy), FullJitter())
    row.attempts = 1
    row.fail(0.0)
    return row


def delays(row: Row, n: int) -> list[float | None]:
    return [row.next_delay(OSError(), 0.0) for _ in range(n)]


def response(status: int, **headers: str) -> Response:
    fields = Headers([(name.replace("_", "-"), value) for name, value in headers.items()])
    return Response(status, fields)


def rejected(status: int, **headers: str) -> HandshakeRejected:
    return HandshakeRejected(response(status, **headers))


def refused_by_proxy(status: int, **headers: str) -> ProxyError:
    return ProxyError("http://proxy.example:80", "CONNECT", "no", response(status, **headers))


def socks_reply(code: int) -> ProxyError:
    return ProxyError("socks5://proxy.example:1080", "SOCKS", "no", None, code)


def caused(error: HandshakeError, cause: BaseException | None) -> HandshakeError:
    error.__cause__ = cause
    return error


def closed(
    code: int | None, initiator: Initiator = "remote", *, cause: Exception | None = None
) -> ConnectionClosed:
    """Return the end of a connection with this code, received by this side and echoed."""
    frame = None if code is None else CloseFrame(code, "")
    kind = ConnectionClosedOK if code in (1000, 1001, 1005) else ConnectionClosedError
    error = kind(frame, frame, initiator)
    error.__cause__ = cause
    return error


# Retry


def test_defaults_are_the_documented_ones() -> None:
    assert Retry() == Retry(
        initial_delay=0.5,
        max_delay=60,
        factor=2,
        max_attempts=None,
        max_elapsed=None,
        reset_after=60,
        retry_on=None,
    )


def test_policy_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Retry().max_delay = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("policy", "error", "message"),
    [
        ({"initial_delay": -1}, ValueError, "initial_delay is -1, expected at least 0 seconds"),
        ({"initial_delay": None}, TypeError, "initial_delay is None, expected seconds"),
        ({"max_delay": float("nan")}, ValueError, "max_delay is nan"),
        ({"max_delay": "60"}, TypeError, "max_delay is '60', expected seconds"),
        ({"max_elapsed": -0.1}, ValueError, "max_elapsed is -0.1"),
        ({"reset_after": -1}, ValueError, "reset_after is -1"),
        ({"reset_after": None}, TypeError, "reset_after is None"),
        ({"factor": 0.9}, ValueError, "factor is 0.9, expected a finite number of at least 1"),
        ({"factor": float("inf")}, ValueError, "factor is inf"),
        ({"factor": float("nan")}, ValueError, "factor is nan"),
        ({"factor": "2"}, TypeError, "factor is '2', expected a number"),
        ({"factor": True}, TypeError, "factor is True, expected a number"),
        ({"max_attempts": 0}, ValueError, "max_attempts is 0, expected at least 1"),
        ({"max_attempts": 2.0}, TypeError, "max_attempts is 2.0, expected an int or None"),
        ({"max_attempts": True}, TypeError, "max_attempts is True"),
        ({"retry_on": OSError()}, TypeError, "retry_on is OSError(), expected a function"),
    ],
)
def test_policy_that_makes_no_sense_is_rejected(
    policy: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error) as caught:
        Retry(**policy)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("answer", "default", "expected"),
    [
        (True, False, True),
        (False, True, False),
        (None, True, True),
        (None, False, False),
    ],
)
def test_user_overrides_the_default_unless_the_answer_is_none(
    answer: bool | None, default: bool, expected: bool
) -> None:
    asked = []

    def decide(error: Exception) -> bool | None:
        asked.append(error)
        return answer

    error = OSError()
    assert Retry(retry_on=decide).allows(error, default=default) is expected
    assert asked == [error]


@pytest.mark.parametrize("default", [True, False])
def test_default_holds_where_nobody_is_asked(default: bool) -> None:
    assert Retry().allows(OSError(), default=default) is default


# Delays


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        pytest.param({}, [0.5, 1, 2, 4, 8, 16, 32, 60, 60], id="default"),
        pytest.param({"initial_delay": 3, "factor": 1}, [3, 3, 3], id="constant"),
        pytest.param({"initial_delay": 1, "max_delay": 5, "factor": 1.5}, [1, 1.5, 2.25], id="1.5"),
        pytest.param({"initial_delay": 9, "max_delay": 5}, [5, 5], id="capped-at-once"),
        pytest.param({"initial_delay": 0}, [0, 0, 0], id="none"),
    ],
)
def test_limit_of_the_delay_grows_up_to_its_maximum(
    policy: dict[str, Any], expected: list[float]
) -> None:
    assert delays(row(**policy), len(expected)) == expected


def test_limit_of_the_delay_never_overflows() -> None:
    assert delays(row(factor=1e200), 2000)[-1] == 60


def test_every_delay_is_drawn_between_zero_and_its_limit() -> None:
    """R-A6c: full jitter, in the first delay too."""
    limits = [0.5, 1, 2, 4]
    drawn = Random(7)
    subject = Row(Retry(), Random(7))
    subject.fail(0.0)
    assert delays(subject, 4) == [drawn.uniform(0, limit) for limit in limits]


@pytest.mark.parametrize(("attempts", "allowed"), [(1, True), (2, True), (3, False), (4, False)])
def test_attempts_of_a_row_can_be_limited(attempts: int, allowed: bool) -> None:
    subject = row(max_attempts=3)
    subject.attempts = attempts
    assert (subject.next_delay(OSError(), 0.0) is not None) is allowed


def test_seconds_count_from_the_first_failure_and_include_the_delay() -> None:
    subject = row(initial_delay=1, factor=1, max_elapsed=10)
    subject.fail(5.0)
    assert subject.next_delay(OSError(), 9.0) == 1
    assert subject.next_delay(OSError(), 9.1) is None


def test_no_time_at_all_allows_no_second_attempt() -> None:
    assert row(max_elapsed=0).next_delay(OSError(), 0.0) is None


@pytest.mark.parametrize(
    ("attempts", "summary"), [(1, "1 attempt in 12.3 s"), (7, "7 attempts in 12.3 s")]
)
def test_summary_counts_attempts_and_seconds(attempts: int, summary: str) -> None:
    subject = row()
    subject.attempts = attempts
    assert subject.summary(12.345) == summary


# Retry-After


def in_seconds(n: float) -> str:
    """Return the date of HTTP that comes so many seconds from now."""
    return format_datetime(datetime.now(UTC) + timedelta(seconds=n), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0),
        ("7", 7),
        (" 120 ", 120),
        ("3600", 3600),
        ("3601", 3600),
        ("9" * 400, 3600),
        ("-5", 0),
        ("1.5", 0),
        ("\xb2", 0),
        ("soon", 0),
        ("", 0),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0),
        ("Wed, 21 Oct 2015 07:28:00 -0000", 0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 3600),
        ("Wed, 21 Oct 9999 07:28:00 -0000", 3600),
        ("Wed, 21 Oct 99999999999999999999 07:28:00 GMT", 0),
        ("Wed, 32 Oct 2015 07:28:00 GMT", 0),
    ],
)
def test_retry_after_is_taken_where_it_is_valid_up_to_an_hour(
    status: int, value: str, seconds: float
) -> None:
    """R-A6c, RFC 9110 §10.2.3."""
    assert retry_after(rejected(status, Retry_After=value)) == seconds


def test_retry_after_of_a_proxy_is_taken_too() -> None:
    assert retry_after(refused_by_proxy(503, Retry_After="7")) == 7


def test_retry_after_may_be_a_date() -> None:
    """R-A6c; a date of HTTP has whole seconds, and a busy machine takes some."""
    assert 900 < retry_after(rejected(503, Retry_After=in_seconds(1000))) <= 1000


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(rejected(500, Retry_After="7"), id="another-status"),
        pytest.param(rejected(503), id="no-header"),
        pytest.param(OSError(), id="another-error"),
    ],
)
def test_retry_after_of_nobody_is_zero(error: Exception) -> None:
    assert retry_after(error) == 0


@given(st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"])))
def test_retry_after_of_any_text_is_a_number_in_range(value: str) -> None:
    assert 0 <= retry_after(rejected(503, Retry_After=value)) <= 3600


def test_delay_comes_on_top_of_retry_after() -> None:
    """R-A6c: a date is one moment for all clients, who would come all at once."""
    subject = row(initial_delay=2, max_elapsed=20)
    assert subject.next_delay(rejected(503, Retry_After="10"), 0.0) == 12
    assert subject.next_delay(rejected(503, Retry_After="19"), 0.0) is None


# Classification

CERTIFICATE = ssl.SSLCertVerificationError(1, "certificate verify failed")

on_network_errors = pytest.mark.parametrize(
    "error",
    [
        OSError(),
        ConnectionRefusedError(),
        ConnectionResetError(),
        FileNotFoundError(),
        gaierror(),
        TimeoutError(),
        EOFError(),
    ],
    ids=repr,
)


@on_network_errors
def test_network_errors_are_worth_another_attempt(error: Exception) -> None:
    """R-A6d"""
    assert is_transient(error)


@on_network_errors
@pytest.mark.parametrize("kind", [HandshakeError, InvalidHandshake])
def test_handshakes_that_the_network_broke_are_worth_another_attempt(
    kind: Callable[[str], HandshakeError], error: Exception
) -> None:
    assert is_transient(caused(kind("broke"), error))


@pytest.mark.parametrize("status", [429, 500, 501, 502, 503, 504, 599])
def test_busy_or_broken_servers_are_worth_another_attempt(status: int) -> None:
    """R-A6d"""
    assert is_transient(rejected(status))


@pytest.mark.parametrize("error", [*map(refused_by_proxy, (429, 500, 502, 503, 504))], ids=repr)
def test_proxies_that_cannot_reach_the_server_are_worth_another_attempt(error: Exception) -> None:
    """R-B8"""
    assert is_transient(error)


@pytest.mark.parametrize("code", [1, 3, 4, 5, 6, 91])
def test_replies_of_socks_that_may_pass_are_worth_another_attempt(code: int) -> None:
    assert is_transient(socks_reply(code))


@on_network_errors
def test_proxies_that_cannot_be_reached_are_worth_another_attempt(error: Exception) -> None:
    kind = ProxyError("http://proxy.example:80", "connecting to the proxy", "it broke")
    assert is_transient(caused(kind, error))


@pytest.mark.parametrize("code", [1000, 1001, 1005, 1011, 1012, 1013, 1014, 3008, 4000, 4999])
def test_ends_that_may_pass_are_worth_another_attempt(code: int) -> None:
    """R-A6d"""
    assert is_transient(closed(code))


@pytest.mark.parametrize("initiator", ["transport", "local"])
def test_ends_without_a_close_frame_are_worth_another_attempt(initiator: Initiator) -> None:
    """R-A6d: 1006, of a broken stream or of a peer that fell silent."""
    assert is_transient(closed(None, initiator, cause=ConnectionResetError()))


@pytest.mark.parametrize("code", [1000, 1002, 1008, 1009, 3000, 4000])
def test_what_this_side_closed_may_be_opened_again(code: int) -> None:
    assert is_transient(closed(code, "local"))


@pytest.mark.parametrize("code", [1002, 1003, 1007, 1008, 1009, 1010, 3000, 3003])
def test_ends_for_a_lasting_reason_are_not(code: int) -> None:
    """R-A6d"""
    assert not is_transient(closed(code))


@pytest.mark.parametrize("code", [1002, 1007, 1009])
def test_failing_the_connection_for_what_the_peer_sent_is_not(code: int) -> None:
    """R-A6d: it would send that again."""
    assert not is_transient(closed(code, "local", cause=RemoteProtocolError("bad frame")))


@pytest.mark.parametrize(
    "error",
    [
        *map(rejected, (200, 301, 400, 401, 403, 404, 408, 426, 600)),
        *map(refused_by_proxy, (302, 400, 403, 407)),
        *map(socks_reply, (2, 7, 8, 92, 93, 99)),
        ProxyError("socks5://proxy.example:1080", "authentication", "wrong password"),
        CERTIFICATE,
        caused(HandshakeError("TLS"), CERTIFICATE),
        caused(HandshakeError("TLS"), ssl.SSLError(1, "wrong version number")),
        caused(InvalidHandshake("TLS 1.3"), ssl.SSLError(1, "alert certificate required")),
        InvalidHandshake("no Upgrade header"),
        caused(InvalidHandshake("garbage"), ValueError()),
        NegotiationError("no subprotocol"),
        InvalidURI("no host"),
        ConcurrencyError("two"),
        ValueError(),
        RuntimeError(),
    ],
    ids=repr,
)
def test_disagreement_and_mistakes_are_not(error: Exception) -> None:
    """R-A6d"""
    assert not is_transient(error)
