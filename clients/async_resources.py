"""`clients.resources` for `AsyncLongThink`. Rule: line by line the same, with `await`."""

from __future__ import annotations

from functools import cached_property
from typing import Any, Unpack, overload

from openai import AsyncStream
from openai.resources import AsyncChat as OpenAIChat
from openai.resources.chat import AsyncCompletions as OpenAICompletions
from openai.resources.responses import AsyncResponses as OpenAIResponses
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from clients import request
from clients.request import ChatFields, ResponseFields, StreamedChatFields, StreamedResponseFields
from clients.resuming import AsyncResumableStream, Place


class AsyncCompletions(OpenAICompletions):
    """`chat.completions`."""

    # openai's marks for what is left out cannot be written in a TypedDict, hence no exact override
    @overload  # type: ignore[override]
    async def create(self, **given: Unpack[StreamedChatFields]) -> AsyncStream[ChatCompletionChunk]: ...

    @overload
    async def create(self, **given: Unpack[ChatFields]) -> ChatCompletion: ...

    async def create(self, **given: Any) -> Any:
        """The same as openai's, with `decoder`, `budget` and `resume`."""
        sent, create = request.chat(given), super().create
        first = await create(**sent.fields)
        if not sent.resumable:
            return first

        async def again(place: Place) -> AsyncStream[ChatCompletionChunk]:
            return await self._rest(place) if place.id else await create(**sent.fields)

        return AsyncResumableStream(first, again, self.cancel, Place())

    async def follow(
        self, completion_id: str, *, after: int | None = None, owned: bool = False
    ) -> AsyncStream[ChatCompletionChunk]:
        """The stream of a run that the server keeps, from its beginning or behind an event.

        Closing it stops the run only where that is `owned`.
        """
        place = Place(completion_id, after)
        return AsyncResumableStream(await self._rest(place), self._rest, self.cancel if owned else None, place)

    async def cancel(self, completion_id: str) -> ChatCompletion:
        """End a run that the server keeps."""
        path = f"/chat/completions/{completion_id}/cancel"
        return await self._client.post(path, cast_to=ChatCompletion, options={"timeout": 10.0})

    async def _rest(self, place: Place) -> AsyncStream[ChatCompletionChunk]:
        return await self._client.get(
            f"/chat/completions/{place.id}",
            cast_to=ChatCompletionChunk,
            options=request.following(place.last),
            stream=True,
            stream_cls=AsyncStream[ChatCompletionChunk],
        )


class AsyncChat(OpenAIChat):
    """`chat`."""

    @cached_property
    def completions(self) -> AsyncCompletions:
        """Chat completions."""
        return AsyncCompletions(self._client)


class AsyncResponses(OpenAIResponses):
    """`responses`."""

    @overload  # type: ignore[override]
    async def create(self, **given: Unpack[StreamedResponseFields]) -> AsyncStream[ResponseStreamEvent]: ...

    @overload
    async def create(self, **given: Unpack[ResponseFields]) -> Response: ...

    async def create(self, **given: Any) -> Any:
        """The same as openai's, with `decoder`, `budget` and `resume`."""
        sent, create = request.response(given), super().create
        first = await create(**sent.fields)
        if not sent.resumable:
            return first

        async def again(place: Place) -> AsyncStream[ResponseStreamEvent]:
            if place.id:
                return await self.retrieve(place.id, stream=True, starting_after=place.after)
            anew: AsyncStream[ResponseStreamEvent] = await create(**sent.fields)
            return anew

        return AsyncResumableStream(first, again, None if given.get("background") else self.cancel, Place())
