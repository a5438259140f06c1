"""Lines from the user, with editing, history and completion where Python has readline. Rule: it only reads."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

try:
    import readline
except ImportError:  # Windows
    readline = None  # type: ignore[assignment]

_LINES = 1000


class Prompt:
    """Reads lines; the history of earlier sessions is kept in the user's state directory."""

    def __init__(self, words: Sequence[str]) -> None:
        state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
        self._file = Path(state) / "longthink" / "chat-history"
        self._words = sorted(words)
        if readline is not None:
            with suppress(OSError):
                readline.read_history_file(self._file)
            readline.set_history_length(_LINES)
            readline.set_completer(self._complete)
            readline.set_completer_delims(" ")
            readline.parse_and_bind("tab: complete")

    def read(self, prompt: str = "> ") -> str:
        """The next line. Raises `EOFError` at the end, `KeyboardInterrupt` on Ctrl-C."""
        return input(prompt)

    def edit(self, text: str) -> str:
        """A line that begins as this text, for the user to change; Ctrl-C leaves it empty."""
        if readline is None:
            return input(f"{text}\n> ")
        readline.set_startup_hook(lambda: readline.insert_text(text))
        try:
            return self.read()
        except (EOFError, KeyboardInterrupt):
            return ""
        finally:
            readline.set_startup_hook()

    def close(self) -> None:
        """Keep the history."""
        if readline is not None:
            with suppress(OSError):
                self._file.parent.mkdir(parents=True, exist_ok=True)
                readline.write_history_file(self._file)

    def _complete(self, text: str, state: int) -> str | None:
        found = [word for word in self._words if text and word.startswith(text)]
        return found[state] + " " if state < len(found) else None
