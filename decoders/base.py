"""What a decoder is: a strategy with its options in one frozen object, and a coroutine over a `Run`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, WithJsonSchema
from pydantic_core import PydanticCustomError

from decoders.core.engine import Feature
from decoders.core.errors import BudgetExhausted
from decoders.core.messages import Prompt
from decoders.core.progress import Progress
from decoders.core.run import Run
from decoders.core.task import Task
from decoders.core.trace import Completion

__all__ = ["Completion", "Decoder", "Honour", "Inner", "Iterative", "Prompt", "Run", "Solving", "Task"]

Honour = Literal["environment", "images", "logprobs", "prompt", "stop", "structure", "tools"]
"""What a request may ask beside a reply to a conversation; "prompt" is to complete a text or a reply that has begun,
"environment" to act in one."""


class Decoder(BaseModel, ABC):
    """A strategy that turns a token budget into a better answer. A file in this folder with a subclass is all it takes.

    The fields are the options that a request may set; their defaults are the paper's, unless the checkpoint's template
    pack has others. Options whose names end in `_model` name another served model, in `_models` a list of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: ClassVar[str]
    paper: ClassVar[str]
    """Where the strategy comes from."""
    needs: ClassVar[frozenset[Feature]] = frozenset()
    """What the engine must be able to do."""
    honours: ClassVar[frozenset[Honour]] = frozenset({"images", "logprobs", "stop", "structure", "tools"})
    """What of a request's wishes this decoder can pass on; the server refuses the others by name."""

    interactive: ClassVar[bool] = False
    """Whether it is of no use without an environment or the caller's tools; the server then refuses it."""

    @abstractmethod
    async def decode(self, task: Task, run: Run) -> Completion:
        """Answer the task and return the completion that holds the answer.

        An anytime algorithm: `run.answer` is called with every better answer, and `BudgetExhausted` is let through.
        """

    def nested(self) -> tuple[Decoder, ...]:
        """The decoders inside this one, itself first."""
        fields = (getattr(self, name) for name in type(self).model_fields)
        return (self, *(inner for value in fields if isinstance(value, Decoder) for inner in value.nested()))


def _inner(value: Any) -> Any:
    """A decoder from its name or from an object of name and options, at any depth."""
    if value is None or isinstance(value, Decoder):
        return value
    given = {"name": value} if isinstance(value, str) else value
    if not isinstance(given, Mapping) or not isinstance(given.get("name"), str):
        raise PydanticCustomError("decoder", "a decoder is a name or an object with a name and options")
    from decoders import registry  # the registry imports every decoder, and they import this module

    if given["name"] not in registry():
        raise PydanticCustomError("decoder", "unknown decoder {name}", {"name": repr(given["name"])[:80]})
    return registry()[given["name"]].model_validate({k: v for k, v in given.items() if k != "name"}, strict=True)


_NAMED = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}

Inner = Annotated[
    Decoder | None,
    BeforeValidator(_inner),
    PlainSerializer(lambda inner: inner and {"name": inner.name, **inner.model_dump()}),
    WithJsonSchema({"anyOf": [{"type": "string"}, _NAMED, {"type": "null"}]}),
]
"""An option that is a decoder: `"rc"` or `{"name": "rc", "turns": 4}`."""


class Solving(Decoder):
    """A decoder whose solutions may come from another one: where it would sample a solution, `inner` decodes."""

    inner: Inner = Field(default=None)
    """Another decoder that makes the solutions, with an equal share of the budget for each."""

    async def solve(
        self,
        prompt: Prompt,
        run: Run,
        *,
        role: str = "solve",
        max_tokens: int | None = None,
        final: bool = False,
        reply: bool = False,
        **sampling: Any,
    ) -> Completion:
        """One solution of `prompt`: a completion, or what the inner decoder makes of the prompt as its task."""
        if self.inner is None:
            return await run.generate(
                prompt, role=role, max_tokens=max_tokens, final=final, reply=reply or final, **sampling
            )
        task = Task(prompt.messages, verbatim=True)
        return await run.decode(self.inner, task, max_tokens=max_tokens, final=final)

    async def solutions(
        self,
        prompt: Prompt,
        n: int,
        run: Run,
        *,
        role: str = "solve",
        max_tokens: int | None = None,
        reply: bool = True,
        **sampling: Any,
    ) -> list[Completion]:
        """`n` solutions side by side; fewer, but at least one, where the purse does not last."""
        if self.inner is None:
            return await run.sample(prompt, n, role=role, max_tokens=max_tokens, reply=reply, **sampling)
        inner, task = self.inner, Task(prompt.messages, verbatim=True)

        async def one(branch: Run) -> Completion:
            return await branch.decode(inner, task, max_tokens=max_tokens)

        found = [c for c in await run.parallel([one] * n) if c is not None]
        if not found:
            raise BudgetExhausted("the budget ended before any of the inner decoders had an answer")
        return found


class Iterative(Solving):
    """A decoder that goes on in episodes (turns, rounds) and may stop once they no longer change the answer."""

    stop_when_stable: int = Field(default=0, ge=0, le=1024)
    """Stop once this many episodes in a row gave the same answer; 0, as in the papers, never stops early."""
    probe_tokens: int = Field(default=0, ge=0)
    """Where an episode was cut before its answer, tokens at most of a question for the answer so far; 0 asks none."""
    probes: int = Field(default=1, ge=1, le=64)
    """How often that question is asked; what most replies say counts."""

    def progress(self, task: Task, run: Run) -> Progress:
        """Watches the episodes of one decoding."""
        stable, tokens = self.stop_when_stable, self.probe_tokens
        return Progress(task, run, stable=stable, probe_tokens=tokens, probes=self.probes)
