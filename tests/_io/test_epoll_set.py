"""Tests of `anyws._io.epoll_set`; most of it is in the contract of the reactors."""

from __future__ import annotations

from anyws._io.epoll_set import EpollSet

from .reactor_conformance import socket_pair


def test_set_that_is_closed_takes_sockets_and_calls_nobody() -> None:
    called = []
    with socket_pair() as (ours, theirs):
        sockets = EpollSet()
        sockets.add_reader(ours, lambda: called.append("reader"))
        sockets.close()
        sockets.close()
        sockets.add_writer(ours, lambda: called.append("writer"))
        theirs.send(b"x")
        sockets.dispatch()
        assert called == []
        sockets.remove_reader(ours)
        assert not sockets.is_empty
        sockets.remove_writer(ours)
        assert sockets.is_empty


def test_set_closed_by_a_callback_is_left_in_peace() -> None:
    with socket_pair() as (ours, theirs):
        sockets = EpollSet()
        sockets.add_reader(ours, sockets.close)
        theirs.send(b"x")
        sockets.dispatch()
        sockets.dispatch()


def test_hang_up_is_told_to_reader_and_writer() -> None:
    called = []
    with socket_pair() as (ours, theirs):
        sockets = EpollSet()
        sockets.add_reader(ours, lambda: called.append("reader"))
        sockets.add_writer(theirs, lambda: called.append("writer"))
        ours.shutdown(2)
        sockets.dispatch()
        sockets.close()
    assert sorted(called) == ["reader", "writer"]
