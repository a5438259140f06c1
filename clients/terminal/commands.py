"""The slash commands of `longthink chat`. Rule: one method a command; its docstring is its line in /help."""

from __future__ import annotations

import inspect
import shlex
from collections.abc import Callable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from clients.terminal import choice
from clients.terminal.choice import Mistyped
from clients.terminal.session import Session
from clients.terminal.showing import replay
from clients.terminal.view import View
from clients.trace import Trace, UnreadableTrace


class Commands:
    """What a line that begins with a slash does; `edit` lets the user change a text, `quit` is set in the end."""

    def __init__(self, session: Session, edit: Callable[[str], str]) -> None:
        self._session, self._edit = session, edit
        self._print = session.console.print
        self.quit = False

    def __call__(self, line: str) -> None:
        """Do it. Raises `Mistyped`, and `OpenAIError` where the server is needed."""
        try:
            name, *words = shlex.split(line[1:], posix=True) or [""]
        except ValueError as error:
            raise Mistyped(f"{line}: {error}") from error
        method = getattr(self, f"do_{name}", None)
        if method is None:
            raise Mistyped(f"there is no command /{name}: /help lists them")
        try:
            inspect.signature(method).bind(*words)
        except TypeError:
            raise Mistyped(f"usage: {usage(name, method)}") from None
        method(*words)

    def names(self) -> list[str]:
        """All commands, for completion."""
        return ["/" + name.removeprefix("do_") for name in dir(self) if name.startswith("do_")]

    def do_help(self) -> None:
        """This list."""
        table = Table.grid(padding=(0, 2))
        for name in self.names():
            method = getattr(self, f"do_{name[1:]}")
            table.add_row(Text(usage(name[1:], method), style="cyan"), Text(inspect.getdoc(method) or ""))
        self._print(table)

    def do_decoder(self, *words: str) -> None:
        """Answer with this decoder (/decoder rc turns=8), with the server's (/decoder default), or list them."""
        if not words:
            for entry in self._session.decoders:
                self._print(Text(f"{entry['id']:<20}{entry['paper']}"), no_wrap=True, overflow="ellipsis")
        elif words == ("default",):
            self._session.decoder = None
        else:
            self._session.decoder = choice.decoder(words, self._session.decoders)
        self.do_status()

    def do_budget(self, tokens: str = "") -> None:
        """Spend so many tokens on an answer (/budget 4000), or a share (/budget high); /budget default to leave it."""
        if tokens:
            self._session.budget = None if tokens == "default" else choice.budget(tokens)
        self.do_status()

    def do_model(self, name: str = "") -> None:
        """Ask this model, or list them."""
        names = [model.id for model in self._session.client.models.list().data]
        if not name:
            self._print(*[model for model in names if ":" not in model], sep="\n", markup=False)
        elif name not in names:
            raise Mistyped(f"there is no model {name!r}: there is {', '.join(m for m in names if ':' not in m)}")
        else:
            self._session.model = name
        self.do_status()

    def do_status(self) -> None:
        """What is chosen."""
        session = self._session
        budget = "the server's default" if session.budget is None else f"{session.budget}"
        model = session.model or session.client.default_model
        alone = " · every question by itself" * session.fresh
        told = f"model {model} · decoder {choice.told(session.decoder)} · budget {budget}{alone}"
        self._print(Text(told, style="dim"))

    def do_history(self) -> None:
        """The questions so far, with their numbers for /edit."""
        for number, (_, question) in enumerate(self._session.questions(), 1):
            self._print(Text(f"{number:>3} {question}"), no_wrap=True, overflow="ellipsis")

    def do_edit(self, number: str = "") -> None:
        """Change a question (the last one without a number) and ask again; what followed it is forgotten."""
        asked = self._session.questions()
        if not asked:
            raise Mistyped("nothing has been asked yet")
        if number and not (number.isdecimal() and 0 < int(number) <= len(asked)):
            raise Mistyped(f"there is no question {number}: /history lists them")
        place, question = asked[int(number or 0) - 1]
        changed = self._edit(question).strip()
        if changed:
            kept = self._session.messages
            self._session.messages = kept[:place]
            self._session.ask(changed)
            if len(self._session.messages) == place:  # stopped
                self._session.messages = kept

    def do_clear(self) -> None:
        """Forget the conversation."""
        self._session.messages.clear()

    def do_fresh(self, switch: str = "on") -> None:
        """Every question begins a conversation of its own, for models that know only one; /fresh off to go on."""
        if switch not in ("on", "off"):
            raise Mistyped("usage: /fresh [on|off]")
        self._session.fresh = switch == "on"
        self.do_status()

    def do_steps(self) -> None:
        """All steps of the last run."""
        self._print(View(self._last().progress(), steps=1_000_000, answer=self._last().text))

    def do_save(self, file: str) -> None:
        """Save the trace of the last run."""
        try:
            self._last().save(Path(file).expanduser())
        except OSError as error:
            raise Mistyped(f"{file} cannot be written: {error.strerror}") from error
        self._print(Text(f"saved {file}", style="dim"))

    def do_load(self, file: str) -> None:
        """Go on with the conversation of a saved trace, with its decoder and budget."""
        self._session.resume(load(file))
        self.do_status()

    def do_replay(self, file: str = "", speed: str = "1") -> None:
        """Show a saved trace, or the last run, as it unfolded; /replay FILE 4 is four times as fast."""
        try:
            pace = float(speed)
        except ValueError:
            pace = 0.0
        if not pace > 0:
            raise Mistyped(f"{speed!r} is no speed: a number above 0")
        replay(self._session.console, load(file) if file else self._last(), pace)

    def do_quit(self) -> None:
        """Leave (as does Ctrl-D)."""
        self.quit = True

    def _last(self) -> Trace:
        if self._session.trace is None:
            raise Mistyped("there is no run yet: ask something, or /load a trace")
        return self._session.trace


def load(file: str) -> Trace:
    """A saved trace. Raises `Mistyped`."""
    try:
        return Trace.load(Path(file).expanduser())
    except OSError as error:
        raise Mistyped(f"{file} cannot be read: {error.strerror}") from error
    except UnreadableTrace as error:
        raise Mistyped(str(error)) from error


def usage(name: str, method: Callable[..., None]) -> str:
    """How a command is written."""
    words = [f"/{name}"]
    for parameter in inspect.signature(method).parameters.values():
        shown = parameter.name.upper()
        if parameter.kind is parameter.VAR_POSITIONAL:
            words.append("[NAME [OPTION=VALUE ...]]")
        else:
            words.append(shown if parameter.default is parameter.empty else f"[{shown}]")
    return " ".join(words)
