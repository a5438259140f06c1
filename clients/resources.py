"""openai's resources with `decoder=`, `budget=` and streams that can be resumed; every other method is openai's own.

Rule: what is sent is decided in `clients.request`, how streams go on in `clients.resuming`; here they meet openai.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, Unpack, overload

from openai import Stream
from openai.resources import Chat as OpenAIChat
from openai.resources.chat import Completions as OpenAICompletions
from openai.resources.responses import Responses as OpenAIResponses
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from clients import request
from clients.request import ChatFields, ResponseFields, StreamedChatFields, StreamedResponseFields
from clients.resuming import Place, ResumableStream


class Completions(OpenAICompletions):
    """`chat.completions`."""

    # openai's marks for what is left out cannot be written in a TypedDict, hence no exact override
    @overload  # type: ignore[override]
    def create(self, **given: Unpack[StreamedChatFields]) -> Stream[ChatCompletionChunk]: ...

    @overload
    def create(self, **given: Unpack[ChatFields]) -> ChatCompletion: ...

    def create(self, **given: Any) -> Any:
        """The same as openai's, with `decoder`, `budget` and `resume`."""
        sent, create = request.chat(given), super().create
        first = create(**sent.fields)
        if not sent.resumable:
            return first

        def again(place: Place) -> Stream[ChatCompletionChunk]:
            return self._rest(place) if place.id else create(**sent.fields)

        return ResumableStream(first, again, self.cancel, Place())

    def follow(
        self, completion_id: str, *, after: int | None = None, owned: bool = False
    ) -> Stream[ChatCompletionChunk]:
        """The stream of a run that the server keeps, from its beginning or behind an event.

        Closing it stops the run only where that is `owned`.
        """
        place = Place(completion_id, after)
        return ResumableStream(self._rest(place), self._rest, self.cancel if owned else None, place)

    def cancel(self, completion_id: str) -> ChatCompletion:
        """End a run that the server keeps."""
        path = f"/chat/completions/{completion_id}/cancel"
        return self._client.post(path, cast_to=ChatCompletion, options={"timeout": 10.0})

    def _rest(self, place: Place) -> Stream[ChatCompletionChunk]:
        return self._client.get(
            f"/chat/completions/{place.id}",
            cast_to=ChatCompletionChunk,
            options=request.following(place.last),
            stream=True,
            stream_cls=Stream[ChatCompletionChunk],
        )


class Chat(OpenAIChat):
    """`chat`."""

    @cached_property
    def completions(self) -> Completions:
        """Chat completions."""
        return Completions(self._client)


class Responses(OpenAIResponses):
    """`responses`."""

    @overload  # type: ignore[override]
    def create(self, **given: Unpack[StreamedResponseFields]) -> Stream[ResponseStreamEvent]: ...

    @overload
    def create(self, **given: Unpack[ResponseFields]) -> Response: ...

    def create(self, **given: Any) -> Any:
        """The same as openai's, with `decoder`, `budget` and `resume`."""
        sent, create = request.response(given), super().create
        first = create(**sent.fields)
        if not sent.resumable:
            return first

        def again(place: Place) -> Stream[ResponseStreamEvent]:
            if place.id:
                return self.retrieve(place.id, stream=True, starting_after=place.after)
            anew: Stream[ResponseStreamEvent] = create(**sent.fields)
            return anew

        return ResumableStream(first, again, None if given.get("background") else self.cancel, Place())
