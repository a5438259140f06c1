"""The policy as an engine: served decoders sample from the live model. Rule: equal runs are equal bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from server.engines.embedded.backend_torch import TorchBackend
from server.engines.embedded.engine import EmbeddedEngine
from server.engines.embedded.inline import Inline
from server.engines.embedded.tokenizer import ChatTokenizer
from training.settings import Reinforcement


class InlineEngine(EmbeddedEngine):
    """The embedded engine over a transformers model that somebody else trains: prompts and drawing as in serving.

    `folder` is the checkpoint that the model came from (tokenizer, chat template, limits), `slots` how many completions
    are generated at once. Call `renew` after each change of the weights. A completion arrives whole, so decoders that
    watch one grow (`Run.generate(until=...)`) see it only then.
    """

    exact = True

    def __init__(
        self, folder: Path, live: Any, *, model: str, slots: int = 256, context_length: int | None = None
    ) -> None:
        super().__init__(folder, model=model, slots=slots, context_length=context_length)
        self._live = live
        self._slots = slots

    def _load(self) -> None:
        if self._scheduler is not None:
            return
        self._words = ChatTokenizer(self._checkpoint.folder, self._checkpoint.config.get("vocab_size"))
        context = self.context_length
        backend = TorchBackend(self._checkpoint, slots=self._slots, context=context, model=self._live)
        self.backend = "torch"
        self._scheduler = Inline(backend, self._words, prefill=_PREFILL)

    async def start(self) -> None:
        """Nothing is loaded but the tokenizer; a thread would only make the order of calls a matter of chance."""
        self._load()

    async def renew(self) -> None:
        """The weights have changed: nothing that was computed with the old ones is reused."""
        if isinstance(self._scheduler, Inline):
            self._scheduler.forget()

    async def aclose(self) -> None:
        """Take no more calls."""
        self._close()


_PREFILL = 4096
"""Prompt tokens of a step: nobody waits for a first token here."""


def start(config: Reinforcement, model: Any, name: str) -> InlineEngine:
    """See `training.engines.start`. Options: `slots`, `context_length`."""
    return InlineEngine(config.model, model, model=name, **config.engine_options)
