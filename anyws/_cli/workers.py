"""`serve` in several processes that share a port, or in one that is started anew for each change.

Owns the processes. This one binds the port, and the workers inherit it; on POSIX only. New workers
are started before old ones stop, so that somebody always answers, and one that does not start
replaces nobody. A pipe to each tells it to stop, by the close code for its clients; its end does so
too, so that no worker outlives this process.
"""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import AsyncIterator, Sequence
from functools import partial
from multiprocessing import get_context
from multiprocessing.connection import Connection as Pipe
from multiprocessing.context import SpawnProcess
from pathlib import Path
from socket import socket as Socket

import anyio
from anyio.abc import TaskGroup

from .. import serve
from .explain import explain
from .running import FAILED, OK, Failure, go_below_ctrl_c, receive_signals, run_on
from .server_log import LOGGER, announce, set_up_log
from .serving import echo, explain_listening, serve_until

__all__ = ["Worker", "bind", "supervise", "work"]

_GOING_AWAY, _RESTART = 1001, 1012

# The others are for the process that supervises, which tells its workers by their pipes.
_FOR_ALL = {signal.SIGINT, signal.SIGTERM}


async def supervise(options: argparse.Namespace) -> int:
    """Serve in other processes until a signal comes, and return the exit status.

    Raises:
        Failure: the port cannot be bound.
    """
    with receive_signals(signal.SIGINT, signal.SIGTERM, signal.SIGHUP) as signals:
        sockets = await bind(options)
        try:
            return await _Supervisor(options, sockets).run(signals)
        finally:
            for sock in sockets:
                sock.close()


async def bind(options: argparse.Namespace) -> list[Socket]:
    """Return sockets that listen where the options say."""
    try:
        # A server whose sockets are kept when it has gone: so they are bound as those of any other.
        host = None if options.host == "*" else options.host
        async with serve(echo, host, options.port) as server:
            return [sock.dup() for sock in server.sockets]
    except OSError as exc:
        raise Failure(explain_listening(exc, options)) from exc


class _Supervisor:
    """Keeps as many workers as there should be.

    Args:
        options: those of the command.
        sockets: which the workers share.
    """

    def __init__(self, options: argparse.Namespace, sockets: Sequence[Socket]) -> None:
        self._options = options
        self._sockets = sockets
        self._n: int = options.workers or 1
        self._serving: list[Worker] = []
        self._alive: set[Worker] = set()  # those that start or stop too
        self._is_stopping = False
        self._scope = anyio.CancelScope()
        # A thread looks at it: to cancel the task that watches would take five seconds.
        self._stop_watching = anyio.Event()
        self._send, self._events = anyio.create_memory_object_stream[Worker | str](1000)

    async def run(self, signals: AsyncIterator[int]) -> int:
        """Serve until a signal comes, or nobody can."""
        status = OK
        with self._send, self._events:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._obey, signals)
                if self._options.reload:
                    tasks.start_soon(self._watch)
                with self._scope:
                    status = await self._keep_serving(tasks)
                self._is_stopping = True
                self._stop_watching.set()
                self._serving.clear()
                for worker in self._alive:
                    worker.stop(_GOING_AWAY)
                while self._alive:
                    worker = next(iter(self._alive))
                    await worker.ended.wait()
                tasks.cancel_scope.cancel()
        return status

    async def _obey(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            if number == signal.SIGHUP:
                self._ask_for("SIGHUP")
            elif not self._is_stopping:
                go_below_ctrl_c(number)
                self._is_stopping = True
                self._scope.cancel()
            else:
                for worker in self._alive:
                    worker.kill()

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch  # an extra

        here = Path.cwd()
        async for changes in awatch(
            here, watch_filter=PythonFilter(), stop_event=self._stop_watching
        ):
            names = sorted({path.removeprefix(f"{here}{os.sep}") for _, path in changes})
            self._ask_for(f"{', '.join(names)} changed")

    def _ask_for(self, reason: str) -> None:
        """Ask for other workers; who does so often is heard once in a while."""
        try:
            self._send.send_nowait(reason)
        except anyio.WouldBlock:
            pass

    async def _keep_serving(self, tasks: TaskGroup) -> int:
        """Start workers, and others in their place; return only if nobody serves."""
        self._serving = await self._start(self._n, tasks)
        if self._serving:
            announce(self._serving[0].uri)
        elif self._options.reload:
            LOGGER.warning("it does not start: waiting for a change")
        while self._serving or self._options.reload:
            event = await self._events.receive()
            if isinstance(event, Worker):
                await self._make_up_for(event, tasks)
            else:
                await self._replace(event, tasks)
        return FAILED

    async def _replace(self, reason: str, tasks: TaskGroup) -> None:
        LOGGER.info("%s: starting anew", reason)
        workers = await self._start(self._n, tasks)
        if not workers:
            goes_on = "the old one goes on" if self._serving else "waiting for a change"
            LOGGER.warning("it does not start: %s", goes_on)
            return
        is_first = not self._serving
        old, self._serving = self._serving, workers
        for worker in old:
            worker.stop(_RESTART)
        if is_first:
            announce(workers[0].uri)
        LOGGER.info("started anew")

    async def _make_up_for(self, worker: Worker, tasks: TaskGroup) -> None:
        """Start another worker in the place of one that has ended unasked."""
        if worker in self._serving:
            self._serving.remove(worker)
            LOGGER.warning("worker %d has ended with status %s", worker.pid, worker.status)
            self._serving += await self._start(1, tasks)

    async def _start(self, n: int, tasks: TaskGroup) -> list[Worker]:
        """Start workers and wait until they serve; none is left if one of them does not."""
        workers = [Worker(self._options, self._sockets) for _ in range(n)]
        for worker in workers:
            self._alive.add(worker)
            tasks.start_soon(self._bury, worker)
        started = [await worker.has_started() for worker in workers]
        if all(started):
            return workers
        for worker in workers:
            worker.stop(_GOING_AWAY)
        return []

    async def _bury(self, worker: Worker) -> None:
        """Wait for the end of a worker, and tell of it."""
        await worker.wait()
        self._alive.discard(worker)
        worker.ended.set()
        if not self._is_stopping:
            await self._send.send(worker)


class Worker:
    """A process that serves.

    Args:
        options: those of the command.
        sockets: where it listens.

    Attributes:
        ended: set when it is no more.
        uri: of its server, once that has started.
        status: its exit status, once it has ended.
    """

    def __init__(self, options: argparse.Namespace, sockets: Sequence[Socket]) -> None:
        # What belongs to the parser cannot be handed on, and need not.
        settings = {k: v for k, v in vars(options).items() if k not in ("parser", "run")}
        context = get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(
            target=work, args=(argparse.Namespace(**settings), sockets, theirs), daemon=True
        )
        self.ended = anyio.Event()
        self.uri = ""
        self.status: int | None = None
        # Until it has handlers of its own: Ctrl+C comes to all processes.
        signal.pthread_sigmask(signal.SIG_BLOCK, _FOR_ALL)
        try:
            self._process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _FOR_ALL)
            theirs.close()
        self.pid: int = self._process.pid or 0

    async def has_started(self) -> bool:
        """Wait until it serves, and say whether it does."""
        await anyio.wait_readable(self._pipe.fileno())
        try:
            self.uri = self._pipe.recv()
        except (EOFError, ConnectionError):
            return False
        return True

    def stop(self, code: int) -> None:
        """Tell it to stop, and its clients by this close code; again cuts that short."""
        try:
            self._pipe.send(code)
        except OSError:
            pass  # it has ended

    def kill(self) -> None:
        """End it at once."""
        if not self.ended.is_set():
            self._process.kill()

    async def wait(self) -> None:
        """Wait for its end."""
        await anyio.wait_readable(self._process.sentinel)
        self._process.join()
        self.status = self._process.exitcode
        self._process.close()
        self._pipe.close()


# In a worker


def work(options: argparse.Namespace, sockets: Sequence[Socket], pipe: Pipe) -> None:
    """Serve until the pipe says so; the first thing that a worker does."""
    for number in _FOR_ALL:
        # A function, not SIG_IGN, which programs that the handler starts would inherit.
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _FOR_ALL)
    set_up_log(options)
    try:
        serving = partial(serve_until, options, pipe.send, sockets=sockets)
        run_on(options.backend, lambda: serving(_Orders(pipe)))
    except (Failure, ImportError) as exc:
        LOGGER.error("%s", explain(exc))
        raise SystemExit(FAILED) from None
    finally:
        for sock in sockets:
            sock.close()


class _Orders:
    """What the process that supervises wants: to stop, by a close code."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._is_orphan = False

    def __aiter__(self) -> _Orders:
        return self

    async def __anext__(self) -> int:
        if self._is_orphan:
            await anyio.sleep_forever()
        await anyio.wait_readable(self._pipe.fileno())
        try:
            code: int = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._is_orphan = True
            return _GOING_AWAY
        return code
