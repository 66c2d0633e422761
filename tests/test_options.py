"""Options: their defaults, as documented, and what is refused."""

from __future__ import annotations

import json
import logging
import math
from typing import Any

import pytest

from anyws import ConnectionOptions
from anyws._options import check_seconds, connection_options

DEFAULTS = {
    "close_timeout": 5.0,
    "ping_interval": 20.0,
    "ping_timeout": 20.0,
    "max_size": 1024 * 1024,
    "max_fragments": 1024,
    "max_buffer": 1024 * 1024,
    "write_limit": 64 * 1024,
    "send_timeout": None,
    "json_codec": None,
    "logger": logging.getLogger("anyws"),
}


def values(options: ConnectionOptions) -> dict[str, Any]:
    return {name: getattr(options, name) for name in ConnectionOptions.__dataclass_fields__}


def test_defaults_are_those_of_the_documentation() -> None:
    assert values(ConnectionOptions()) == DEFAULTS
    assert values(connection_options({})) == DEFAULTS


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("close_timeout", 0),
        ("close_timeout", 1.5),
        ("close_timeout", math.inf),
        ("ping_interval", 0.1),
        ("ping_interval", None),
        ("ping_timeout", 1),
        ("ping_timeout", None),
        ("max_size", 1),
        ("max_size", None),
        ("max_fragments", 1),
        ("max_fragments", None),
        ("max_buffer", 1 << 30),
        ("write_limit", 1),
        ("send_timeout", 0.5),
        ("send_timeout", None),
        ("json_codec", json),
        ("json_codec", None),
        ("logger", logging.LoggerAdapter(logging.getLogger("other"))),
    ],
)
def test_values_in_range_are_taken(name: str, value: object) -> None:
    assert values(connection_options({name: value})) == DEFAULTS | {name: value}


def test_no_logger_is_the_default_one() -> None:
    assert connection_options({"logger": None}).logger is logging.getLogger("anyws")


@pytest.mark.parametrize(
    ("max_buffer", "max_size", "effective"),
    [(10, 100, 100), (100, 100, 100), (1000, 100, 1000), (10, None, 10)],
)
def test_the_buffer_always_has_room_for_one_message(
    max_buffer: int, max_size: int | None, effective: int
) -> None:
    assert ConnectionOptions(max_buffer=max_buffer, max_size=max_size).max_buffer == effective


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("close_timeout", -1, "close_timeout is -1, expected at least 0 seconds"),
        ("close_timeout", math.nan, "close_timeout is nan, expected at least 0 seconds"),
        ("ping_interval", 0, "ping_interval is 0, expected above 0 seconds"),
        ("ping_timeout", -0.5, "ping_timeout is -0.5, expected above 0 seconds"),
        ("max_size", 0, "max_size is 0, expected at least 1"),
        ("max_fragments", -1, "max_fragments is -1, expected at least 1"),
        ("max_buffer", 0, "max_buffer is 0, expected at least 1"),
        ("write_limit", 0, "write_limit is 0, expected at least 1"),
    ],
)
def test_a_value_out_of_range_is_a_value_error(name: str, value: float, message: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011  # the message is compared below
        connection_options({name: value})
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("close_timeout", None, "close_timeout is None, expected seconds"),
        ("close_timeout", True, "close_timeout is True, expected seconds"),
        ("ping_interval", "20", "ping_interval is '20', expected seconds"),
        ("max_size", 1e6, "max_size is 1000000.0, expected an int or None"),
        ("max_size", "1", "max_size is '1', expected an int or None"),
        ("max_fragments", False, "max_fragments is False, expected an int or None"),
        ("max_buffer", None, "max_buffer is None, expected an int"),
        ("write_limit", None, "write_limit is None, expected an int"),
        (
            "max_message_size",
            1,
            "unknown option 'max_message_size'; known are, beside what the function itself "
            "names, close_timeout, json_codec, logger, "
            "max_buffer, max_fragments, max_size, ping_interval, ping_timeout, send_timeout, "
            "write_limit",
        ),
    ],
)
def test_a_value_of_another_type_or_an_unknown_name_is_a_type_error(
    name: str, value: object, message: str
) -> None:
    with pytest.raises(TypeError) as caught:
        connection_options({name: value})
    assert str(caught.value) == message


def test_durations_are_optional_only_where_that_is_said() -> None:
    check_seconds("open_timeout", None, optional=True)
    with pytest.raises(TypeError, match="shutdown_timeout is None"):
        check_seconds("shutdown_timeout", None)
