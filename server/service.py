"""From a validated question to runs: which model, which decoder with which options, how much budget, how sampled.

Rule: nothing here knows HTTP or a dialect of it. Every API fills an `Ask`; the service turns it into an `Order` or
raises the `InvalidRequest` that names the field.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import partial
from typing import Any

from decoders import Decoder, build, registry
from decoders.core.budget import Budget
from decoders.core.engine import Tokenizing
from decoders.core.errors import InvalidRequest, UnknownDecoder, UnknownModel
from decoders.core.messages import Message, Prompt, Sampling
from decoders.core.run import Run
from decoders.core.task import Model, Reply, Task
from decoders.core.trace import Record
from server import wishes
from server.admission.caller import Caller
from server.aliases import Alias
from server.budgets import Effort, purse
from server.environments import EnvironmentChoice, Environments
from server.hidden import HiddenTurns
from server.media import Media
from server.tenants import Served

_REPLY = {"stop", "logprobs", "structure"}
"""Fields of a request's sampling that are about the reply, not about every step on the way to it."""
_SAMPLING = {f.name for f in fields(Sampling)} - {"max_tokens", "seed", "n"} - _REPLY

Journal = Callable[[int, Record], Awaitable[None]]
"""Takes each finished step of each choice, by its index."""


@dataclass(frozen=True, slots=True)
class Ask:
    """What a client wants, in no dialect. `sampling` holds only the fields the client has set.

    `tools`, `tool_choice` and `sampling["structure"]` are JSON as in `Prompt` and `Sampling`. `names` says what the
    dialect calls a field, where that is not what chat completions call it: errors name fields.

    Instead of a conversation there may be `prompts` to complete as they are. `prefix` is the beginning of the reply to
    a conversation. `max_tokens` is for all choices together unless it is meant for `each`.
    """

    model: str
    messages: tuple[Message, ...] = ()
    prompts: tuple[Prompt, ...] = ()
    prefix: str = ""
    decoder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    max_tokens: int | None = None
    max_tokens_param: str = "max_completion_tokens"
    each: bool = False
    effort: Effort | None = None
    thinking_cap: int | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    tools: str = ""
    tool_choice: str = ""
    parallel_tool_calls: bool = True
    answer_format: str = ""
    environment: EnvironmentChoice | None = None
    deadline: float | None = None
    """Seconds after which the best answer so far is the reply."""
    seed: int | None = None
    n: int = 1
    steps: bool = False
    """Whether the end of each step is told."""
    names: Mapping[str, str] = field(default_factory=dict)
    caller: Caller = field(default_factory=Caller)


@dataclass(frozen=True, slots=True)
class Order:
    """What will be done: everything resolved, nothing started. Each task is done `n` times."""

    model: str
    decoder: Decoder
    tasks: tuple[Task, ...]
    sampling: Sampling
    reply: Reply
    seed: int
    budget: int
    n: int
    deadline: float | None = None
    environment: EnvironmentChoice | None = None
    steps: bool = False
    """Whether the end of each step is told."""
    labels: tuple[str, ...] = ()
    """Of the tenants whose models have a part in it: what is kept of it is theirs too."""

    @property
    def choices(self) -> int:
        """How many answers there will be: `n` for the first task, then `n` for the next."""
        return self.n * len(self.tasks)

    def task(self, index: int) -> Task:
        """What one choice answers."""
        return self.tasks[index // self.n]


class Service:
    """The served models with the server's limits and defaults."""

    def __init__(
        self,
        models: Mapping[str, Model],
        *,
        decoder: str,
        max_budget: int,
        effort: Effort,
        environments: Environments | None = None,
        aliases: Mapping[str, Alias] | None = None,
        memory: HiddenTurns | None = None,
        media_hosts: Sequence[str] = (),
    ) -> None:
        if decoder not in registry():
            raise UnknownDecoder(f"unknown decoder {decoder!r}: there are {', '.join(registry())}", param="decoder")
        self.models = Served(models)
        self.environments = environments or Environments({})
        self.aliases = aliases or {}
        self._memory = memory
        self.decoder = decoder
        self._max_budget = max_budget
        self._effort = effort
        self.media = Media(media_hosts)

    def order(self, ask: Ask) -> Order:
        """Resolve an ask. Raises `UnknownModel`, `UnknownDecoder` or `InvalidRequest`, each with its `param`."""
        if alias := self.aliases.get(ask.model):
            ask = alias.applied(ask)
        name, suffix = self.resolve(ask.model)
        self.media.check(ask.messages, ask.names.get("messages", "messages"))
        tasks = tuple(Task(prompt=prompt) for prompt in ask.prompts) or (Task(ask.messages, prefix=ask.prefix),)
        choices, terms = ask.n * len(tasks), ask.caller.terms
        budget = purse(
            terms.budget(self._max_budget),
            tokens=ask.max_tokens * choices if ask.each and ask.max_tokens else ask.max_tokens,
            tokens_param=ask.max_tokens_param,
            effort=ask.effort,
            cap=ask.thinking_cap,
            default=self._effort,
        )
        if budget < choices:
            raise InvalidRequest(f"n is {ask.n}, but the budget is only {budget} tokens", param="n")
        decoder, reply = self._build(ask, name, suffix), _reply(ask)
        wishes.check(ask, reply, decoder, self.models, name)
        involved = wishes.involved(decoder, name)
        terms.check(involved, [inner.name for inner in decoder.nested()])
        priority = terms.prioritise(ask.sampling.get("priority"))
        wanted = {**ask.sampling, **({} if priority is None else {"priority": priority})}
        param = ask.names.get("environment", "environment")
        acting = self.environments.resolve(ask.environment, param) if ask.environment else None
        return Order(
            model=name,
            decoder=decoder,
            tasks=tasks,
            sampling=Sampling(**{**_defaults(self.models[name]), **_without(wanted, _REPLY), "max_tokens": budget}),
            reply=reply,
            seed=secrets.randbits(31) if ask.seed is None else ask.seed,
            budget=budget,
            n=ask.n,
            deadline=ask.deadline,
            environment=acting,
            steps=ask.steps,
            labels=self.models.labels(involved),
        )

    def runs(
        self, order: Order, recorded: Mapping[int, Sequence[Record]] | None = None, journal: Journal | None = None
    ) -> list[Run]:
        """A run for each choice. The purse is the request's: they get equal shares of it, seeds count up to `n`.

        `recorded` are the steps of each choice that need not be generated again; `journal` takes those that are.
        """
        whole = Budget(order.budget, None if order.deadline is None else time.monotonic() + order.deadline)
        shares = [whole] if order.choices == 1 else whole.split(order.choices)
        acting = self.environments.opener(order.environment, order.seed) if order.environment else None
        memory = self._memory.of(order.labels) if self._memory else None
        return [
            Run(
                self.models,
                order.model,
                share,
                sampling=order.sampling,
                reply=order.reply,
                seed=order.seed + i % order.n,
                recorded=(recorded or {}).get(i, ()),
                journal=partial(journal, i) if journal else None,
                environment=acting,
                memory=memory,
            )
            for i, share in enumerate(shares)
        ]

    def resolve(self, model: str) -> tuple[str, str | None]:
        """Served model and decoder behind a name such as `longthink-tiny`, `longthink-tiny:rc` or an alias."""
        if alias := self.aliases.get(model):
            base, suffix = self.resolve(alias.model)
            return base, alias.decoder or suffix
        if model in self.models:
            return model, None
        base, colon, decoder = model.rpartition(":")
        if not colon or base not in self.models:
            known = ", ".join(self.models)
            raise UnknownModel(f"the model {model!r} does not exist: there is {known}", param="model")
        if decoder not in registry():
            raise UnknownDecoder(f"unknown decoder {decoder!r}: there are {', '.join(registry())}", param="model")
        return base, decoder

    def check_aliases(self) -> None:
        """Raises `InvalidRequest` or `ValueError` for an alias that means nothing here, or something else too."""
        for name, alias in self.aliases.items():
            if name in self.models or alias.model in self.aliases:
                raise ValueError(f"the alias {name} is a model's name already, or stands for another alias")
            base, decoder = self.resolve(name)
            build(decoder or self.decoder, alias.options, self.models[base].pack)
            if alias.choice is not None:
                self.environments.resolve(alias.choice)

    def tokenizer(self, model: str) -> Tokenizing:
        """The tokenizer of a served model. Raises `InvalidRequest` where its engine has none to offer."""
        engine = self.models[model].engine
        if not isinstance(engine, Tokenizing):
            message = f"the engine of the model {model!r} does not show its token ids"
            raise InvalidRequest(message, param="model", code="unsupported_by_engine")
        return engine

    async def token_ids(self, model: str, prompt: Prompt) -> tuple[int, ...]:
        """The ids of a prompt as the model reads it. Raises `InvalidRequest` where the engine does not tell."""
        if prompt.token_ids is not None:
            return prompt.token_ids
        return await self.tokenizer(model).tokenize(prompt)

    def _build(self, ask: Ask, model: str, suffix: str | None) -> Decoder:
        if ask.decoder and suffix and ask.decoder != suffix:
            raise InvalidRequest(f"the model's name says {suffix}, decoder says {ask.decoder}", param="decoder")
        usual = "direct" if ask.prompts or ask.prefix else "tti" if ask.environment else self.decoder
        name = ask.decoder or suffix or usual
        options = dict(ask.options)
        if not (ask.decoder or suffix) and ask.environment and ask.environment.toolbox:
            # whoever sends an MCP server expects the usual loop, which ends with the first answer
            options = {"min_answers": 1, **options}
        decoder = build(name, options, self.models[model].pack)
        for inner in decoder.nested():
            for option, value in wishes.other_models(inner):
                if value not in self.models:
                    message = f"decoder.{option}: the model {value!r} does not exist"
                    raise InvalidRequest(message, param=f"decoder.{option}", code="model_not_found")
        return decoder


def _reply(ask: Ask) -> Reply:
    wanted = {k: v for k, v in ask.sampling.items() if k in _REPLY}
    if ask.answer_format and wanted.get("structure"):
        message = "answer_format and response_format both ask for a form of the answer: send one of them"
        raise InvalidRequest(message, param="answer_format")
    one_call, raw = not ask.parallel_tool_calls, bool(ask.prompts)
    return Reply(wanted, ask.tools, ask.tool_choice, ask.answer_format, one_call, raw)


def _without(values: Mapping[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name not in names}


def _defaults(model: Model) -> dict[str, Any]:
    """How the checkpoint wants to be sampled, where its engine knows."""
    known: Mapping[str, Any] = getattr(model.engine, "defaults", {})
    return {name: value for name, value in known.items() if name in _SAMPLING and value is not None}
