"""One request's world: every call a decoder makes goes through its `Run`, which budgets, records and replays it.

Rule: a recorded call is returned without touching the engine, so every decoder resumes without a line of its own.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from decoders.core.acting import Acting
from decoders.core.budget import Budget
from decoders.core.calls import Call, Journal, Until, World
from decoders.core.engine import Tokenizing
from decoders.core.episode import Episode, Opener
from decoders.core.errors import BudgetExhausted, InvalidOutput, InvalidRequest
from decoders.core.memory import Memory
from decoders.core.messages import Prompt, Sampling
from decoders.core.outbox import Outbox
from decoders.core.structure import canonical, schema
from decoders.core.task import Model, Reply, Task
from decoders.core.trace import Completion, Record, Step, Trace
from decoders.prompts import Format, Pack

if TYPE_CHECKING:
    from decoders.base import Decoder

T = TypeVar("T")


class Run(Acting):
    """Hands a decoder tokens, and keeps its budget, its trace and its best answer so far.

    A step's key is its place in program order inside its scope, so two coroutines must not share one scope: use
    `sample` or `parallel`, which give each branch a scope of its own. That is what makes replay exact.
    """

    def __init__(
        self,
        models: Mapping[str, Model],
        model: str,
        budget: Budget,
        *,
        sampling: Sampling | None = None,
        reply: Reply | None = None,
        seed: int = 0,
        recorded: Iterable[Record] = (),
        journal: Journal | None = None,
        environment: Opener | None = None,
        memory: Memory | None = None,
    ) -> None:
        steps = {step.key: step for step in recorded}
        trace = Trace(model=model, seed=seed, budget=budget.tokens, pack="")
        chosen = sampling or Sampling(max_tokens=budget.tokens)
        self._world = World(models, model, chosen, seed, steps, trace, reply or Reply(), journal, memory)
        self.budget = budget
        self.episode = Episode(environment, self._world, budget) if environment else None
        self.best: Completion | None = None
        self._parent: Run | None = None
        self._path: tuple[int, ...] = ()
        self._calls = 0
        self._quiet = False
        self._owner: asyncio.Task[Any] | None = None
        self._rng: random.Random | None = None
        pack = self.pack()
        trace.pack = f"{pack.name}@{pack.version}"

    @property
    def trace(self) -> Trace:
        """The record of all steps so far, branches included."""
        return self._world.trace

    @property
    def outbox(self) -> Outbox:
        """Where the events go."""
        return self._world.outbox

    @property
    def rng(self) -> random.Random:
        """Randomness for a decoder's own choices: the same in every run of the same seed and scope."""
        if self._rng is None:
            self._rng = random.Random(f"{self._world.seed}/{self._path}")
        return self._rng

    def pack(self, model: str | None = None) -> Pack:
        """The template pack of a model (the request's by default)."""
        return self._world.served(model).pack

    def pack_of(self, step: Step) -> Pack:
        """The template pack of the model that a recorded step has asked."""
        served = self._world.models.values()
        return next((model.pack for model in served if model.engine.model == step.model), self.pack())

    @property
    def format(self) -> Format:
        """The form in which the caller wants the answer."""
        return self.pack().format(self._world.reply.answer_format)

    def prompt(self, name: str, task: Task, *, model: str | None = None, prefix: str = "", **values: object) -> Prompt:
        """The conversation with its question put into template `name`; the reply begins with `prefix`.

        The prompt `solve` takes the question's place, and what the question shows beside its text stays with it. Behind
        tool calls any other prompt is a turn of its own, and the conversation before it is left as it is. A verbatim
        task is rendered already where its question is to be solved.
        """
        if task.verbatim and name == "solve":
            return Prompt(task.messages, prefix)
        pack = self.pack(model)
        values["answer_format"], values["wanted_format"] = self._formats(pack, model)
        rendered = (pack.fill if task.verbatim else pack.render)(name, question=task.question, **values)
        if task.since and name != "solve":
            return Prompt((*task.messages, *rendered), prefix)
        return Prompt((*task.history, *task.attach(rendered), *task.since), prefix)

    def _formats(self, pack: Pack, model: str | None) -> tuple[str, str]:
        """How to ask for the answer's form: in general, and where it is the caller's wish that no engine ensures."""
        reply = self._world.reply
        if not reply.structure:
            form = pack.format(reply.answer_format).instruction
            return form, form if reply.answer_format else ""
        form = pack.structured(schema(reply.structure))
        return form, "" if "structure" in self._world.served(model).engine.features else form

    def asking(self, prompt: Prompt) -> Prompt:
        """A prompt for the reply: the caller's tools go with it."""
        wanted = self._world.reply
        if not wanted.tools:
            return prompt
        return dataclasses.replace(prompt, tools=wanted.tools, tool_choice=wanted.tool_choice)

    def same(self, completion: Completion) -> str:
        """What two completions must share to count as the same answer: the extracted answer, or the tool calls."""
        if completion.tool_calls:
            return str([(call.name, call.arguments) for call in completion.tool_calls])
        if self._world.reply.structure:
            return canonical(completion.answer)
        return self.pack().extract(completion.answer, self._world.reply.answer_format)

    def allows(self, decoder: Decoder, task: Task) -> bool:
        """Whether a decoder and those inside it honour what the caller wants and need no more than the engine has."""
        wanted, features = self._world.reply.wishes | task.wishes, self._world.served(None).engine.features
        return all(wanted <= inner.honours and inner.needs <= features for inner in decoder.nested())

    def answer(self, completion: Completion) -> None:
        """Keep the best answer so far: it is the reply should the budget end now."""
        self.best = completion
        if self._parent is not None and self._parent.best is None:
            self._parent.answer(completion)

    def check(self, reply: Completion) -> None:
        """Raises `InvalidOutput` for a complete reply that is not what the caller asked for."""
        if reply.finish != "length" and not self._world.reply.takes(reply.answer, reply.tool_calls):
            raise InvalidOutput("the model's answer does not have the form that was asked for")

    async def tokenize(self, prompt: Prompt, model: str | None = None) -> tuple[int, ...]:
        """The prompt's token ids. Raises `InvalidRequest` where the engine has no tokenizer to offer."""
        engine = self._world.served(model).engine
        if not isinstance(engine, Tokenizing):
            raise InvalidRequest(f"{engine.model} tells no token ids of prompts", param="decoder")
        return await engine.tokenize(prompt)

    async def room(self, prompt: Prompt, model: str | None = None) -> int:
        """Completion tokens that fit behind this prompt; the whole context where the engine cannot count."""
        engine = self._world.served(model).engine
        try:
            return engine.context_length - await engine.count(prompt)
        except InvalidRequest:  # some upstreams cannot count; a prompt that is wrong is refused when it is asked
            return engine.context_length

    async def generate(
        self,
        prompt: Prompt,
        *,
        role: str,
        max_tokens: int | None = None,
        final: bool = False,
        reply: bool = False,
        model: str | None = None,
        confidence: int = 0,
        until: Until | None = None,
        calls: bool = True,
        **sampling: Any,
    ) -> Completion:
        """One completion of at most `max_tokens` (all that is left by default).

        `reply` says that the completion may become the reply, so that the caller's tools, response format, stop strings
        and log-probabilities apply; `final` that it is the reply, so that its answer part can be streamed as such.
        With `confidence` each token's confidence is recorded, over so many alternatives. `until` may end the completion
        at any chunk. Without `calls` even a reply calls none of the caller's tools. Further keywords replace fields of
        the request's sampling. Raises `BudgetExhausted` before anything is generated.
        """
        key = self._next_key()
        shown = final and not self._quiet and self._certain(model)
        call = self._call(prompt, role, model, max_tokens, shown, reply or final, sampling)
        call = dataclasses.replace(call, confidence=confidence, until=until, prompt=call.prompt if calls else prompt)
        return (await self._world.call(call, [key], key, self.budget))[0]

    async def sample(
        self,
        prompt: Prompt,
        n: int,
        *,
        role: str,
        max_tokens: int | None = None,
        reply: bool = False,
        model: str | None = None,
        confidence: int = 0,
        **sampling: Any,
    ) -> list[Completion]:
        """`n` completions of one prompt; fewer, but at least one, when the purse holds less than `n` tokens.

        Where the purse does not hold `n * max_tokens`, all completions get equal shares of it.
        """
        group = self._next_key()
        call = self._call(prompt, role, model, max_tokens, False, reply, sampling)
        call = dataclasses.replace(call, confidence=confidence)
        return await self._world.call(call, [f"{group}.{i}" for i in range(n)], group, self.budget)

    async def decode(
        self, decoder: Decoder, task: Task, *, max_tokens: int | None = None, final: bool = False
    ) -> Completion:
        """Let another decoder answer, in a scope of its own and with at most `max_tokens` of this purse.

        Its best answer so far comes back when its purse is empty; raises `BudgetExhausted` where there is none. Only as
        `final` its answer is streamed as the reply.
        """
        place = int(self._next_key().rpartition(".")[2])
        share = self.budget if max_tokens is None else self.budget.share(max_tokens)
        if share.left < 1:
            raise BudgetExhausted("nothing is left for another decoder")
        branch = self._branch((place, 0), share, quiet=self._quiet or not final)
        try:
            return await decoder.decode(task, branch)
        except BudgetExhausted:
            if branch.best is None:
                raise
            return branch.best.model_copy(update={"finish": "length"})

    async def parallel(self, branches: Sequence[Callable[[Run], Awaitable[T]]]) -> list[T | None]:
        """Run branches side by side, each with its own scope and an equal share of the purse.

        A branch whose share ends before it returns gives None; one whose share is nothing is not begun, or branches
        inside branches would cost time and memory without ever costing a token.
        """
        group = int(self._next_key().rpartition(".")[2])
        begun = min(len(branches), max(self.budget.left, 0))
        shares = self.budget.split(max(begun, 1))

        async def one(index: int) -> T | None:
            try:
                return await branches[index](self._branch((group, index), shares[index], quiet=True))
            except BudgetExhausted:
                return None

        tasks = [asyncio.ensure_future(one(i)) for i in range(begun)]
        try:
            return [*await asyncio.gather(*tasks), *[None] * (len(branches) - begun)]
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def memory(self) -> Memory | None:
        """What keeps turns that the caller does not see."""
        return self._world.memory

    def _call(
        self,
        prompt: Prompt,
        role: str,
        model: str | None,
        max_tokens: int | None,
        final: bool,
        reply: bool,
        sampling: Mapping[str, Any],
    ) -> Call:
        return Call(self.asking(prompt) if reply else prompt, role, model, max_tokens, final, reply, sampling)

    def _certain(self, model: str | None) -> bool:
        """Whether a final step's text can be shown as it comes: JSON that was shown cannot be corrected any more."""
        if not self._world.reply.structure:
            return True
        constrained = "structure" in self._world.served(model).engine.features
        return constrained and self.best is None and (self._parent is None or self._parent._certain(model))

    def _branch(self, place: tuple[int, int], budget: Budget, *, quiet: bool) -> Run:
        branch = object.__new__(Run)
        branch._world, branch.budget, branch.best = self._world, budget, None
        branch._parent, branch._path, branch._calls, branch._owner = self, (*self._path, *place), 0, None
        branch._quiet, branch._rng, branch.episode = quiet, None, None
        return branch

    def _next_key(self) -> str:
        task = asyncio.current_task()
        if self._owner is not None and self._owner is not task:
            raise RuntimeError("two coroutines call one Run: use run.sample or run.parallel for work side by side")
        self._owner = task
        self._calls += 1
        return ".".join(map(str, (*self._path, self._calls - 1)))
