"""`LongThink` and `AsyncLongThink`: openai's clients, which also know decoders, budgets and runs.

Rule: whatever an `openai.OpenAI` can be told, these can be told too, and it means the same.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from openai import AsyncOpenAI, OpenAI

from clients.asking import Question, asked, first, in_background, kept, located, streamed, tape
from clients.async_resources import AsyncChat, AsyncResponses
from clients.decoders import Decoder
from clients.request import Budget
from clients.resources import Chat, Responses
from clients.run import AsyncRun, Run
from clients.tape import Tape


class LongThink(OpenAI):
    """`openai.OpenAI` for a longthink server, by default the one on this machine; works with any other one as well.

    Without arguments `LONGTHINK_BASE_URL` and `LONGTHINK_API_KEY` are read, then openai's own variables.
    """

    def __init__(self, *, base_url: str | None = None, api_key: str | None = None, **options: Any) -> None:
        super().__init__(**located(base_url, api_key), **options)

    @cached_property
    def chat(self) -> Chat:
        """Chat completions."""
        return Chat(self)

    @cached_property
    def responses(self) -> Responses:
        """Responses."""
        return Responses(self)

    @cached_property
    def default_model(self) -> str:
        """The first model that the server lists."""
        return first(self.models.list().data)

    def decoders(self) -> list[dict[str, Any]]:
        """What the server says of its decoders: name, paper, options as JSON Schema, each model's defaults."""
        found: Any = self.get("/decoders", cast_to=object)
        return list(found["data"])

    def solve(
        self,
        question: Question,
        *,
        decoder: Decoder | None = None,
        budget: Budget | None = None,
        model: str | None = None,
        **fields: Any,
    ) -> Run:
        """Ask, and give back the run at work: iterate for its events, or take its `text`.

        `fields` are those of chat completions, such as `seed` or `temperature`.
        """
        sent = asked(question, decoder, budget, model or self.default_model, fields)
        completions = self.chat.completions
        if not kept(sent):
            return Run(tape(sent, owned=True), lambda: completions.create(**streamed(sent)), completions).open()
        # asked for first and streamed then, so that it has an id and can be stopped before it says anything
        id = completions.create(**in_background(sent)).id
        return Run(tape(sent, id, owned=True), lambda: completions.follow(id, owned=True), completions)

    def start(
        self,
        question: Question,
        *,
        decoder: Decoder | None = None,
        budget: Budget | None = None,
        model: str | None = None,
        **fields: Any,
    ) -> Run:
        """The same in the background, where the run goes on without this client; keep its `id` to come back."""
        sent = asked(question, decoder, budget, model or self.default_model, fields)
        completions = self.chat.completions
        queued = completions.create(**in_background(sent))
        return Run(tape(sent, queued.id), lambda: completions.follow(queued.id), completions)

    def run(self, id: str) -> Run:
        """A run that the server keeps, by its id."""
        completions = self.chat.completions
        return Run(Tape(id=id), lambda: completions.follow(id), completions)


class AsyncLongThink(AsyncOpenAI):
    """`LongThink` over `openai.AsyncOpenAI`."""

    def __init__(self, *, base_url: str | None = None, api_key: str | None = None, **options: Any) -> None:
        super().__init__(**located(base_url, api_key), **options)

    @cached_property
    def chat(self) -> AsyncChat:
        """Chat completions."""
        return AsyncChat(self)

    @cached_property
    def responses(self) -> AsyncResponses:
        """Responses."""
        return AsyncResponses(self)

    async def default_model(self) -> str:
        """The first model that the server lists."""
        return first((await self.models.list()).data)

    async def decoders(self) -> list[dict[str, Any]]:
        """What the server says of its decoders: name, paper, options as JSON Schema, each model's defaults."""
        found: Any = await self.get("/decoders", cast_to=object)
        return list(found["data"])

    async def solve(
        self,
        question: Question,
        *,
        decoder: Decoder | None = None,
        budget: Budget | None = None,
        model: str | None = None,
        **fields: Any,
    ) -> AsyncRun:
        """Ask, and give back the run at work: iterate for its events, or `wait()` and take its `text`."""
        sent = asked(question, decoder, budget, model or await self.default_model(), fields)
        completions = self.chat.completions
        if not kept(sent):
            return await AsyncRun(
                tape(sent, owned=True), lambda: completions.create(**streamed(sent)), completions
            ).open()  # fmt: skip
        id = (await completions.create(**in_background(sent))).id
        return AsyncRun(tape(sent, id, owned=True), lambda: completions.follow(id, owned=True), completions)

    async def start(
        self,
        question: Question,
        *,
        decoder: Decoder | None = None,
        budget: Budget | None = None,
        model: str | None = None,
        **fields: Any,
    ) -> AsyncRun:
        """The same in the background, where the run goes on without this client; keep its `id` to come back."""
        sent = asked(question, decoder, budget, model or await self.default_model(), fields)
        completions = self.chat.completions
        queued = await completions.create(**in_background(sent))
        return AsyncRun(tape(sent, queued.id), lambda: completions.follow(queued.id), completions)

    def run(self, id: str) -> AsyncRun:
        """A run that the server keeps, by its id."""
        completions = self.chat.completions
        return AsyncRun(Tape(id=id), lambda: completions.follow(id), completions)
