"""A reply that several calls write: each continues, in the assistant's one turn, the text of those before it.

Rule: `text` is what the next call continues; words in it that no model generated are never counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from decoders.core.errors import BudgetExhausted, ContextOverflow
from decoders.core.messages import Prompt
from decoders.core.run import Run
from decoders.core.thinking import CLOSE, OPEN, ThinkingSplitter, split
from decoders.core.trace import Completion


@dataclass(frozen=True, slots=True)
class Draft:
    """What has been written so far, and by which calls."""

    text: str = ""
    calls: tuple[Completion, ...] = ()

    @property
    def tokens(self) -> int:
        """Tokens generated so far."""
        return sum(call.completion_tokens for call in self.calls)

    @property
    def thinking(self) -> bool:
        """Whether the text ends inside the thinking block."""
        splitter = ThinkingSplitter(inside=self._opened)
        splitter.feed(self.text)
        return splitter.channel == "reasoning"

    async def extend(self, prompt: Prompt, run: Run, *, role: str, **call: Any) -> Draft:
        """The draft with what one more call adds to it; further keywords are those of `Run.generate`.

        Raises `BudgetExhausted` also where the draft fills the model's context.
        """
        try:
            return self.plus(await run.generate(replace(prompt, prefix=self.text), role=role, **call))
        except ContextOverflow as error:
            if not self.calls:
                raise
            raise BudgetExhausted("the draft fills the context") from error

    def plus(self, call: Completion) -> Draft:
        """The draft with a completion that continues it."""
        return Draft(self.text + call.text, (*self.calls, call))

    def put(self, words: str) -> Draft:
        """The draft with words that the model is made to have said, set apart by a space where nothing else does."""
        apart = " " if words and self.text and not (self.text[-1].isspace() or words[0].isspace()) else ""
        return replace(self, text=self.text + apart + words)

    def closed(self) -> Draft:
        """The draft with its thinking block closed."""
        return replace(self, text=f"{self.text.rstrip()}\n{CLOSE}\n\n")

    def ended(self, closing: str) -> Draft:
        """The draft where its thinking is cut and an answer that begins with `closing` is asked for."""
        return (self.closed() if self.thinking else self).put(closing)

    def completion(self) -> Completion:
        """The reply as far as it has come, as if one call had written it."""
        return joined(self.calls, self.text, opened=self._opened)

    @property
    def _opened(self) -> bool:
        """Whether the chat template has opened the thinking block: there is reasoning, but no mark in front of it."""
        begin = self.text.lstrip()
        return not begin.startswith(OPEN) and (any(c.reasoning for c in self.calls) or begin.startswith(CLOSE))


def joined(calls: Sequence[Completion], text: str, *, opened: bool) -> Completion:
    """One completion of what several calls wrote; the prompt's tokens are those before the reply began."""
    reasoning, answer = split(text, inside=opened)
    first, last = calls[0], calls[-1]
    return Completion(
        text=text,
        reasoning=reasoning,
        answer=answer,
        token_ids=tuple(id for call in calls for id in call.token_ids),
        prompt_tokens=first.prompt_tokens,
        cached_tokens=first.cached_tokens,
        completion_tokens=sum(call.completion_tokens for call in calls),
        answer_tokens=sum(call.answer_tokens for call in calls),
        finish=last.finish,
    )
