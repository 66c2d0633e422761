"""Events are values: equal if alike, and not to be changed."""

from __future__ import annotations

import dataclasses

import pytest

from anyws import CloseFrame
from anyws._core.events import CloseReceived, Fragment, Ping, Pong, TooBig, Violation

EVENTS = (
    Ping(b"a"),
    Pong(b"a"),
    CloseReceived(CloseFrame(1000, "")),
    Fragment(b"a", True),
    Fragment("a", False),
    TooBig(1009, "a"),
    Violation(1009, "a"),
)

each_event = pytest.mark.parametrize("event", EVENTS, ids=repr)


@each_event
def test_event_equals_only_one_of_its_kind_with_the_same_values(event: object) -> None:
    assert [other for other in EVENTS if other == event] == [event]
    assert dataclasses.replace(event) == event  # type: ignore[type-var]  # all are dataclasses


@each_event
def test_event_cannot_be_changed(event: object) -> None:
    name = dataclasses.fields(event)[0].name  # type: ignore[arg-type]  # all are dataclasses
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(event, name, None)


@each_event
def test_event_has_no_dict(event: object) -> None:
    assert not hasattr(event, "__dict__")
