"""`connect` at a terminal: a prompt that keeps its line while messages arrive.

The only module that knows prompt-toolkit, which runs on asyncio alone.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.application import get_app, in_terminal
from prompt_toolkit.completion import WordCompleter
from prompt_toolkit.filters import Condition
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings, KeyPressEvent
from prompt_toolkit.output import Output, create_output

from .. import ClientConnection, ConcurrencyError, ConnectionClosed, LocalProtocolError
from .commands import COMMANDS, HELP, Close, Command, Help, InvalidCommand, Ping, Send, parse
from .notes import Notes
from .running import INTERRUPTED, run_beside
from .show import Colours, indented, show_message

__all__ = ["Prompt", "open_history"]

# 200 messages that have come are shown in one go: to draw the prompt anew takes milliseconds.
_SHOWN_AT_ONCE = 200


class Prompt:
    """A conversation at a terminal.

    Args:
        options: those of the command.
        notes: tells of the end.
        keyboard, screen: None is the terminal of the process.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        notes: Notes,
        keyboard: Input | None = None,
        screen: Output | None = None,
    ) -> None:
        self._notes = notes
        self._colours: Colours = notes.colours
        self._as_json: bool | None = options.json
        self._interrupted = False
        self._screen = screen or create_output(sys.stdout)
        self._session: PromptSession[str] = PromptSession(
            history=InMemoryHistory() if options.no_history else open_history(),
            completer=WordCompleter(list(COMMANDS), sentence=True),
            complete_while_typing=False,
            key_bindings=_new_bindings(),
            input=keyboard,
            output=self._screen,
        )

    async def talk(self, ws: ClientConnection) -> int:
        """Send what is typed and show what comes, until either side has enough.

        Returns:
            The exit status.
        """
        await self._print([self._colours.faint("/help lists the commands, Ctrl+D leaves")])
        closed = await run_beside(lambda: self._ask(ws), lambda: self._show(ws))
        status = self._notes.ended(closed)
        return INTERRUPTED if self._interrupted else status

    # What comes

    async def _show(self, ws: ClientConnection) -> ConnectionClosed:
        """Show messages until the connection ends, and return how it did."""
        while True:
            try:
                messages = [await ws.receive()]
                while ws.stats.unread_messages and len(messages) < _SHOWN_AT_ONCE:
                    messages.append(await ws.receive())
            except ConnectionClosed as closed:
                # An empty prompt would be left behind.
                self._session.app.erase_when_done = not self._session.default_buffer.text
                return closed
            await self._print([self._shown(message) for message in messages])

    def _shown(self, message: str | bytes) -> str:
        width = self._screen.get_size().columns - len("< ")
        shown = show_message(message, self._colours, as_json=self._as_json, width=width)
        return indented(self._colours.good("<") + " ", shown)

    async def _print(self, texts: Sequence[str]) -> None:
        """Print above the prompt, if there is one."""
        async with in_terminal():
            self._screen.write_raw("".join(f"{text}\n" for text in texts))
            self._screen.flush()

    async def _note(self, text: str) -> None:
        await self._print([indented("  ", self._colours.faint(text))])

    async def _complain(self, text: str) -> None:
        await self._print([indented(self._colours.bad("!") + " ", text)])

    # What is typed

    async def _ask(self, ws: ClientConnection) -> None:
        """Do what is typed until the user leaves."""
        try:
            while True:
                try:
                    line = await self._session.prompt_async("> ", handle_sigint=False)
                    if line:
                        await self._perform(parse(line), ws)
                except (InvalidCommand, LocalProtocolError, ConcurrencyError) as exc:
                    await self._complain(str(exc))
        except EOFError:
            await ws.close()
        except KeyboardInterrupt:
            self._interrupted = True
            await ws.close()
        except ConnectionClosed:
            return  # whoever receives tells

    async def _perform(self, command: Command, ws: ClientConnection) -> None:
        match command:
            case Send(message):
                await ws.send(message)
            case Ping(data):
                await self._note(f"the Pong came after {await ws.ping(data) * 1000:.2f} ms")
            case Close(code, reason):
                await ws.close(code, reason)
            case Help():
                await self._note(HELP)
            case _:
                await self._note(_describe_stats(ws))


def _describe_stats(ws: ClientConnection) -> str:
    stats = ws.stats
    return (
        f"open for {stats.duration_s:.1f} s; "
        f"received {stats.received_messages:,} messages, {stats.received_bytes:,} bytes; "
        f"sent {stats.sent_messages:,} messages, {stats.sent_bytes:,} bytes"
    )


def _new_bindings() -> KeyBindings:
    """Return the keys that leave if the line is empty; Ctrl+C clears one that is not."""
    bindings = KeyBindings()
    is_empty = Condition(lambda: not get_app().current_buffer.text)

    def leave(event: KeyPressEvent, exc: type[BaseException]) -> None:
        event.app.erase_when_done = True  # there is nothing to see
        event.app.exit(exception=exc)

    bindings.add("c-c", filter=~is_empty)(lambda event: event.current_buffer.reset())
    bindings.add("c-c", filter=is_empty)(lambda event: leave(event, KeyboardInterrupt))
    bindings.add("c-d", filter=is_empty)(lambda event: leave(event, EOFError))
    return bindings


def open_history() -> History:
    """Return the history, in a file of the user's own; in memory where that cannot be written."""
    default = Path.home() / ".local" / "state"
    path = Path(os.environ.get("XDG_STATE_HOME") or default) / "anyws" / "history"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # What is typed may be secret.
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600))
    except OSError:
        return InMemoryHistory()
    return FileHistory(path)
